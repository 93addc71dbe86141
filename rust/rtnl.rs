// SPDX-License-Identifier: GPL-2.0

//! The RTNL mutex, as a guard and as evidence, and what it protects.
//!
//! Whoever has a `&`[`Rtnl`] runs while its own thread holds the mutex: because it locked it
//! ([`Rtnl::lock`]), or because the kernel calls it that way. Functions that need the mutex ask
//! for the evidence, and data that it protects sits in an [`RtnlCell`].
//!
//! The mutex sleeps: process context only. Releasing it finishes what was unregistered meanwhile
//! (`netdev_run_todo()`), and so runs the destructors of network devices.
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)
//!
//! Safety review: `Documentation/safety.md#rtnlrs`.

pub use crate::netdevice::{
    find_by_index,
    find_by_name,
    for_each_device, //
};

use crate::bindings;
use core::{
    cell::Cell,
    ops::Deref, //
};
use kernel::types::NotThreadSafe;

/// Evidence that the current thread holds the RTNL mutex.
///
/// # Invariants
///
/// The mutex is held by the current thread for as long as a value of this type is borrowed.
pub struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// Locks the mutex.
    ///
    /// Deadlocks if the caller holds it already, thus in every callback that gets a `&Rtnl`.
    #[inline]
    pub fn lock() -> RtnlGuard {
        // SAFETY: No requirements; it sleeps until it has the mutex.
        unsafe { bindings::rtnl_lock() };
        // SAFETY: Just locked; the guard unlocks it when the `Rtnl` in it can't be borrowed any
        // more.
        RtnlGuard(unsafe { Self::assume_held() })
    }

    /// Makes the evidence for a callback.
    ///
    /// # Safety
    ///
    /// The current thread must hold the mutex, and go on doing so until the last borrow of the
    /// returned value ends.
    #[inline]
    pub(crate) unsafe fn assume_held() -> Self {
        // INVARIANT: By the safety requirements.
        Self(NotThreadSafe)
    }
}

/// Holds the RTNL mutex until dropped.
#[must_use = "the mutex is released when the guard is dropped"]
pub struct RtnlGuard(Rtnl);

impl Deref for RtnlGuard {
    type Target = Rtnl;

    #[inline]
    fn deref(&self) -> &Rtnl {
        &self.0
    }
}

impl Drop for RtnlGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The guard was made by `Rtnl::lock`, and is not `Send`: this thread holds the
        // mutex.
        unsafe { bindings::rtnl_unlock() };
    }
}

/// A value that is read and written under the RTNL mutex only.
pub struct RtnlCell<T: Copy>(Cell<T>);

// SAFETY: `get` and `set` are only called while the calling thread holds the one mutex, hence
// never by two threads at once; that the value crosses threads is what `T: Send` is for. No
// reference to the inside is ever handed out.
unsafe impl<T: Copy + Send> Sync for RtnlCell<T> {}

impl<T: Copy> RtnlCell<T> {
    /// Makes a cell.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self(Cell::new(value))
    }

    /// Copies the value out.
    #[inline]
    pub fn get(&self, _rtnl: &Rtnl) -> T {
        self.0.get()
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, _rtnl: &Rtnl, value: T) {
        self.0.set(value);
    }
}
