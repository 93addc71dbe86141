// SPDX-License-Identifier: GPL-2.0
//~ E0277
//~ cannot be sent between threads safely
//! Work runs in another thread: what goes with it must be fit for it.

use kernel::{
    prelude::*,
    workqueue::{
        impl_has_work,
        Work,
        WorkItem, //
    }, //
};
use wgk::{
    rcu::{
        RcuArc,
        RcuObject, //
    },
    workqueue::WorkQueue, //
};

#[cfg(misuse)]
type Data = *mut u8;
#[cfg(not(misuse))]
type Data = u8;

/// A work item.
#[pin_data]
pub struct Item {
    data: Data,
    #[pin]
    work: Work<Item>,
}

impl RcuObject for Item {}
impl_has_work! { impl HasWork<Item> for Item { self.work } }

impl WorkItem for Item {
    type Pointer = RcuArc<Item>;

    fn run(this: RcuArc<Item>) {
        let _ = this.data;
    }
}

/// Queues it.
pub fn queue(queue: &WorkQueue, item: RcuArc<Item>) -> bool {
    queue.enqueue(item)
}
