// SPDX-License-Identifier: GPL-2.0
//! Statics that keep what was not meant to be kept.

use kernel::prelude::*;
use wgk::{
    lock::{
        new_spinlock_bh,
        SpinLockBh, //
    },
    rcu::{
        read_lock,
        RcuArc,
        RcuCell,
        RcuObject, //
    },
};

/// A place for a value, with a lock.
#[pin_data]
struct Place<T: Send + Unpin + 'static> {
    #[pin]
    value: SpinLockBh<Option<T>>,
}

impl<T: Send + Unpin + 'static> RcuObject for Place<T> {}

/// For statics: one value at a time, put in and taken out in any context.
pub(crate) struct Kept<T: Send + Unpin + 'static>(RcuCell<Place<T>>);

impl<T: Send + Unpin + 'static> Kept<T> {
    pub(crate) const fn new() -> Self {
        Self(RcuCell::empty())
    }

    /// Keeps `value`; what was there before is dropped, here. Without memory, so is `value`.
    pub(crate) fn put(&self, value: T) {
        drop(self.take());
        let place = pin_init!(Place {
            value <- new_spinlock_bh!(Some(value)),
        });
        if let Ok(place) = RcuArc::pin_init(place, GFP_ATOMIC) {
            // Somebody may have been faster. What is kept is dropped here, not by an RCU callback.
            let old = self.0.swap(Some(place));
            drop(old.and_then(|old| old.value.lock().take()));
        }
    }

    /// Takes the value out, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.swap(None)?.value.lock().take()
    }

    /// Calls `f` with the value, if there is one, with bottom halves off.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let guard = read_lock();
        let place = self.0.load(&guard)?;
        let mut value = place.get().value.lock();
        (*value).as_mut().map(f)
    }
}
