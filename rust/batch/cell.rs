// SPDX-License-Identifier: GPL-2.0
//! What belongs to whoever consumes an order queue, such as the replay window of a session: one
//! consumer at a time is all the exclusion it needs, so there is no lock.
//!
//! Safety review: `Documentation/safety.md#batchcellrs`.

use super::{
    Consumer,
    OrderQueue, //
};
use crate::rcu::RcuObject;
use core::{
    cell::UnsafeCell,
    ptr, //
};

/// A value for the consumer of one order queue, which it takes no lock to get at. Any context in
/// which the queue may be consumed.
///
/// # Invariants
///
/// `value` is only accessed through an exclusive borrow of a consumer of the queue at the address
/// `queue`, for as long as that borrow, or by who has the cell to itself.
pub struct ConsumerCell<K: RcuObject, T> {
    queue: *const OrderQueue<K>,
    value: UnsafeCell<T>,
}

// SAFETY: The address is only compared. The value goes with the cell.
unsafe impl<K: RcuObject, T: Send> Send for ConsumerCell<K, T> {}
// SAFETY: As above. With a shared cell one consumer after the other has the value, on whatever CPU,
// but no two at once: `T` need not be `Sync`.
unsafe impl<K: RcuObject, T: Send> Sync for ConsumerCell<K, T> {}

impl<K: RcuObject, T> ConsumerCell<K, T> {
    /// A value for the consumers of `queue`.
    #[inline]
    pub fn new(queue: &OrderQueue<K>, value: T) -> Self {
        // INVARIANT: There is no access yet. The queue is pinned, as there is no other way to make
        // one: until it is dropped, no other is at its address.
        Self {
            queue,
            value: UnsafeCell::new(value),
        }
    }

    /// The value, for as long as `consumer` does nothing else; `None` if that consumes another queue.
    #[inline]
    pub fn get<'a>(&'a self, consumer: &'a mut Consumer<'_, K>) -> Option<&'a mut T> {
        // INVARIANT: The consumer is borrowed exclusively for as long as the value.
        //
        // SAFETY: A queue has one consumer at a time, and each sees what the one before it did
        // (acquire and release of `consuming`); the consumer borrows its queue, so that stays at the
        // address that was compared. Another queue that is at this address later begins its life
        // when nobody borrows the first one any more. So by the type invariants nobody else has the
        // value.
        ptr::eq(self.queue, consumer.queue()).then(|| unsafe { &mut *self.value.get() })
    }
}
