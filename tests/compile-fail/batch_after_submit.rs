// SPDX-License-Identifier: GPL-2.0
//~ E0382
//! A batch belongs to the queues once it was handed over.

use wgk::batch::{
    Batch,
    CryptRing,
    OrderQueue, //
};

/// How many packets were handed over.
pub fn submit(ring: &CryptRing<()>, order: &OrderQueue<()>, batch: Batch<()>) -> usize {
    #[cfg(not(misuse))]
    let len = batch.len();
    drop(ring.submit(order, batch));
    #[cfg(misuse)]
    let len = batch.len();
    len
}
