// SPDX-License-Identifier: GPL-2.0
//~ E0597
//! The right to consume a queue does not outlive it.

use wgk::{
    batch::{
        Consumer,
        OrderQueue, //
    }, //
};

/// Whether there is something to consume.
pub fn ready(make: impl Fn() -> kernel::prelude::Pin<kernel::alloc::KBox<OrderQueue<()>>>) -> bool {
    #[cfg(not(misuse))]
    let queue;
    let mut consumer: Option<Consumer<'_, ()>>;
    {
        #[cfg(misuse)]
        let queue;
        queue = make();
        consumer = queue.try_consume();
    }
    consumer.as_mut().is_some_and(|c| c.has_ready())
}
