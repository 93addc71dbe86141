// SPDX-License-Identifier: GPL-2.0

//! Locks that the `kernel` crate lacks.
//!
//! - [`SpinLockBh`]: a spinlock that keeps softirqs away, for data that process context shares
//!   with them. Made by [`new_spinlock_bh!`](crate::new_spinlock_bh).
//! - [`RwLockBh`]: the same for many readers, made by [`new_rwlock_bh!`](crate::new_rwlock_bh).
//! - [`RwSemaphore`]: sleeps, made by [`new_rwsem!`](crate::new_rwsem).
//!
//! Each place that makes locks is a lock class of its own for lockdep, as in C.
//!
//! The spinning locks may be taken in process and softirq context, not in hardirq, and not with
//! interrupts disabled; what holds one must not sleep. A read guard must not be taken while
//! another of the same lock is held, or a waiting writer blocks both.
//!
//! A guard that is forgotten leaves its lock locked.
//!
//! C headers: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h),
//! [`include/linux/rwlock.h`](srctree/include/linux/rwlock.h),
//! [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)
//!
//! Safety review: `Documentation/safety.md#lockrs`.

use crate::bindings;
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        lock::{
            Backend,
            Guard,
            Lock, //
        },
        LockClassKey, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use pin_init::Wrapper as _;

/// Creates a [`SpinLockBh`](crate::lock::SpinLockBh) initialiser with a name, if one is given, and
/// a lock class of its own.
#[macro_export]
macro_rules! new_spinlock_bh {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::lock::SpinLockBh::new(
            $inner, ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub use new_spinlock_bh;

/// Creates an [`RwLockBh`](crate::lock::RwLockBh) initialiser with a name, if one is given, and a
/// lock class of its own.
#[macro_export]
macro_rules! new_rwlock_bh {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::lock::RwLockBh::new(
            $inner, ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub use new_rwlock_bh;

/// Creates an [`RwSemaphore`](crate::lock::RwSemaphore) initialiser with a name, if one is given,
/// and a lock class of its own.
#[macro_export]
macro_rules! new_rwsem {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::lock::RwSemaphore::new(
            $inner, ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub use new_rwsem;

/// A `spinlock_t` taken with bottom halves disabled.
pub type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// What [`SpinLockBh::lock`] returns.
pub type SpinLockBhGuard<'a, T> = Guard<'a, T, SpinLockBhBackend>;

/// The backend of [`SpinLockBh`].
pub struct SpinLockBhBackend;

// SAFETY: `spinlock_t` ensures mutual exclusion, and the default `relock` locks as `lock` does.
unsafe impl Backend for SpinLockBhBackend {
    type State = kernel::bindings::spinlock_t;
    type GuardState = ();

    #[inline]
    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: `ptr` is valid for writes, `name` and `key` are valid forever, by the safety
        // requirements of this function.
        unsafe { kernel::bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) {
        // SAFETY: The lock is initialised, by the safety requirements of this function.
        unsafe { bindings::spin_lock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        // SAFETY: The lock is initialised, by the safety requirements of this function.
        (unsafe { bindings::spin_trylock_bh(ptr.cast()) } != 0).then_some(())
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, _state: &()) {
        // SAFETY: The caller owns the lock, by the safety requirements of this function.
        unsafe { bindings::spin_unlock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The lock is initialised, by the safety requirements of this function.
        unsafe { kernel::bindings::spin_assert_is_held(ptr) }
    }
}

/// How an [`RwLock`] locks.
///
/// # Safety
///
/// - After `write` and until `write_unlock` there is no other holder of either kind.
/// - After `read` and until `read_unlock` there is no writer.
pub unsafe trait RwBackend {
    /// The C lock.
    type State;

    /// Initialises the lock.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for writes, `name` and `key` valid forever.
    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    );

    /// Locks for reading.
    ///
    /// # Safety
    ///
    /// The lock must be initialised.
    unsafe fn read(ptr: *mut Self::State);

    /// Undoes [`read`](Self::read).
    ///
    /// # Safety
    ///
    /// The caller must have locked it for reading.
    unsafe fn read_unlock(ptr: *mut Self::State);

    /// Locks for writing.
    ///
    /// # Safety
    ///
    /// The lock must be initialised.
    unsafe fn write(ptr: *mut Self::State);

    /// Undoes [`write`](Self::write).
    ///
    /// # Safety
    ///
    /// The caller must have locked it for writing.
    unsafe fn write_unlock(ptr: *mut Self::State);
}

/// A lock for many readers or one writer.
#[pin_data]
pub struct RwLock<T, B: RwBackend> {
    #[pin]
    state: Opaque<B::State>,
    #[pin]
    data: UnsafeCell<T>,
}

/// An `rwlock_t` taken with bottom halves disabled.
pub type RwLockBh<T> = RwLock<T, RwLockBhBackend>;

/// An `rw_semaphore`. Process context; may sleep, and so may who holds it.
pub type RwSemaphore<T> = RwLock<T, RwSemaphoreBackend>;

// SAFETY: The lock owns its data.
unsafe impl<T: Send, B: RwBackend> Send for RwLock<T, B> {}
// SAFETY: A writer has the data for itself, for which `T: Send` is needed; readers share it, for
// which `T: Sync` is.
unsafe impl<T: Send + Sync, B: RwBackend> Sync for RwLock<T, B> {}

impl<T, B: RwBackend> RwLock<T, B> {
    /// A lock around `data`; see the macros of this module.
    pub fn new(
        data: impl PinInit<T>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for writes; `name` and `key` are static.
            state <- Opaque::ffi_init(|slot| unsafe {
                B::init(slot, name.as_char_ptr(), key.as_ptr())
            }),
            data <- UnsafeCell::pin_init(data),
        })
    }

    /// Locks for reading.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T, B> {
        // SAFETY: The only constructor initialises the lock.
        unsafe { B::read(self.state.get()) };
        // INVARIANT: Locked above.
        ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Locks for writing.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T, B> {
        // SAFETY: The only constructor initialises the lock.
        unsafe { B::write(self.state.get()) };
        // INVARIANT: Locked above.
        WriteGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }
}

impl<T> RwLockBh<T> {
    /// Locks for reading, unless that would mean to wait. Also for who may have locked it for reading
    /// already: with a writer that waits, [`read`](Self::read) would then wait for ever.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T, RwLockBhBackend>> {
        // SAFETY: The only constructor initialises the lock.
        if !unsafe { bindings::read_trylock_bh(self.state.get().cast()) } {
            return None;
        }
        // INVARIANT: Locked above.
        Some(ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        })
    }
}

/// Shared access to what an [`RwLock`] protects.
///
/// # Invariants
///
/// The lock is held for reading by this task or CPU, on behalf of this guard.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct ReadGuard<'a, T, B: RwBackend> {
    lock: &'a RwLock<T, B>,
    _not_send: NotThreadSafe,
}

// SAFETY: A shared guard only gives shared access to the data.
unsafe impl<T: Sync, B: RwBackend> Sync for ReadGuard<'_, T, B> {}

impl<T, B: RwBackend> Deref for ReadGuard<'_, T, B> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants there is no writer while the guard lives.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T, B: RwBackend> Drop for ReadGuard<'_, T, B> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held for reading.
        unsafe { B::read_unlock(self.lock.state.get()) }
    }
}

/// Exclusive access to what an [`RwLock`] protects.
///
/// # Invariants
///
/// The lock is held for writing by this task or CPU, on behalf of this guard.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct WriteGuard<'a, T, B: RwBackend> {
    lock: &'a RwLock<T, B>,
    _not_send: NotThreadSafe,
}

// SAFETY: A shared guard only gives shared access to the data.
unsafe impl<T: Sync, B: RwBackend> Sync for WriteGuard<'_, T, B> {}

impl<T, B: RwBackend> Deref for WriteGuard<'_, T, B> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants nobody else has access while the guard lives.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: Unpin, B: RwBackend> DerefMut for WriteGuard<'_, T, B> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants nobody else has access while the guard lives.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T, B: RwBackend> Drop for WriteGuard<'_, T, B> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held for writing.
        unsafe { B::write_unlock(self.lock.state.get()) }
    }
}

/// The backend of [`RwLockBh`].
pub struct RwLockBhBackend;

// SAFETY: `rwlock_t` ensures it.
unsafe impl RwBackend for RwLockBhBackend {
    type State = kernel::bindings::rwlock_t;

    #[inline]
    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::rwlock_init(ptr.cast(), name, key.cast()) }
    }

    #[inline]
    unsafe fn read(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::read_lock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn read_unlock(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::read_unlock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn write(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::write_lock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn write_unlock(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::write_unlock_bh(ptr.cast()) }
    }
}

/// The backend of [`RwSemaphore`].
pub struct RwSemaphoreBackend;

// SAFETY: `rw_semaphore` ensures it.
unsafe impl RwBackend for RwSemaphoreBackend {
    type State = kernel::bindings::rw_semaphore;

    #[inline]
    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: By the safety requirements of this function.
        unsafe { kernel::bindings::__init_rwsem(ptr, name, key) }
    }

    #[inline]
    unsafe fn read(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { kernel::bindings::down_read(ptr) }
    }

    #[inline]
    unsafe fn read_unlock(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { kernel::bindings::up_read(ptr) }
    }

    #[inline]
    unsafe fn write(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { kernel::bindings::down_write(ptr) }
    }

    #[inline]
    unsafe fn write_unlock(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function.
        unsafe { kernel::bindings::up_write(ptr) }
    }
}
