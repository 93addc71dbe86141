// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! A batch only goes into queues of its kind of owner.

use wgk::{
    batch::{
        Batch,
        CryptRing,
        OrderQueue, //
    },
    rcu::RcuObject, //
};

/// Another kind of owner.
pub struct Other;
impl RcuObject for Other {}

#[cfg(misuse)]
type Owner = Other;
#[cfg(not(misuse))]
type Owner = ();

/// Hands it over.
pub fn submit(ring: &CryptRing<()>, order: &OrderQueue<()>, batch: Batch<Owner>) -> bool {
    ring.submit(order, batch).is_ok()
}
