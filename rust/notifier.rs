// SPDX-License-Identifier: GPL-2.0

//! Being told that the machine is about to sleep, or has slept, or that it is a clone of another.
//!
//! All these calls come in process context and may sleep.
//!
//! C headers: [`include/linux/suspend.h`](srctree/include/linux/suspend.h),
//! [`include/linux/random.h`](srctree/include/linux/random.h)
//!
//! Safety review: `Documentation/safety.md#notifierrs`.

use crate::{
    bindings,
    module::NotifierGuest, //
};
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// Whether this kernel is built for machines that sleep all the time, as part of normal operation,
/// so that sleeping is no reason to forget keys.
pub const SLEEPS_ROUTINELY: bool = cfg!(CONFIG_PM_AUTOSLEEP) || cfg!(CONFIG_PM_USERSPACE_AUTOSLEEP);

/// Something to be told about.
pub trait Event: sealed::Chain {}

mod sealed {
    use super::*;

    /// # Safety
    ///
    /// Once `unregister` has returned, the notifier is not called any more, nor is such a call
    /// going on.
    pub unsafe trait Chain: 'static {
        /// # Safety
        ///
        /// `nb` must stay valid and unmoved until `unregister`, if this returned 0.
        unsafe fn register(nb: *mut kernel::bindings::notifier_block) -> c_int;
        /// # Safety
        ///
        /// `nb` must be registered.
        unsafe fn unregister(nb: *mut kernel::bindings::notifier_block);
        fn matters(action: c_ulong) -> bool;
    }
}

/// The machine is about to be suspended or hibernated.
pub struct Sleep(());

impl Event for Sleep {}

// SAFETY: The chain is a blocking one: its lock is held for reading by the calls, for writing by
// the unregistration.
unsafe impl sealed::Chain for Sleep {
    unsafe fn register(nb: *mut kernel::bindings::notifier_block) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::register_pm_notifier(nb.cast()) }
    }

    unsafe fn unregister(nb: *mut kernel::bindings::notifier_block) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::unregister_pm_notifier(nb.cast()) }
    }

    fn matters(action: c_ulong) -> bool {
        action == bindings::PM_HIBERNATION_PREPARE as c_ulong
            || action == bindings::PM_SUSPEND_PREPARE as c_ulong
    }
}

/// The machine has slept, or was about to and did not: what follows each [`Sleep`]. Userspace runs again.
/// Also the end of an attempt to resume from hibernation, in the kernel that was to be replaced.
pub struct Wake(());

impl Event for Wake {}

// SAFETY: As for `Sleep`, whose chain it is.
unsafe impl sealed::Chain for Wake {
    unsafe fn register(nb: *mut kernel::bindings::notifier_block) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::register_pm_notifier(nb.cast()) }
    }

    unsafe fn unregister(nb: *mut kernel::bindings::notifier_block) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::unregister_pm_notifier(nb.cast()) }
    }

    fn matters(action: c_ulong) -> bool {
        action == bindings::PM_POST_HIBERNATION as c_ulong
            || action == bindings::PM_POST_SUSPEND as c_ulong
            || action == bindings::PM_POST_RESTORE as c_ulong
    }
}

/// The virtual machine was cloned or restored from a snapshot: what it believes to be unique is
/// not. Never happens with a kernel without `CONFIG_VMGENID`.
pub struct VmFork(());

impl Event for VmFork {}

// SAFETY: As for `Sleep`.
unsafe impl sealed::Chain for VmFork {
    unsafe fn register(nb: *mut kernel::bindings::notifier_block) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::register_random_vmfork_notifier(nb.cast()) }
    }

    unsafe fn unregister(nb: *mut kernel::bindings::notifier_block) {
        // SAFETY: By the safety requirements of this function.
        unsafe { bindings::unregister_random_vmfork_notifier(nb.cast()) }
    }

    fn matters(_action: c_ulong) -> bool {
        true
    }
}

/// Who wants to be told about `E`.
pub trait Notify<E: Event>: Send + Sync + 'static {
    /// It happened, or is about to. Process context, may sleep.
    fn notify(&self);
}

#[repr(C)]
struct Block<T> {
    nb: Opaque<kernel::bindings::notifier_block>,
    target: T,
}

/// A registration: `T` is told about every `E` until this is dropped.
///
/// Dropping it waits for a call that is going on, so it must not be dropped in one, nor with locks
/// held that the calls take.
///
/// # Invariants
///
/// `block` comes from a `KBox`, and its `nb` is registered, with [`called`](Self::called).
pub struct Notifier<E: Event, T: Notify<E>> {
    block: *mut Block<T>,
    _guest: NotifierGuest,
    _p: PhantomData<(E, KBox<Block<T>>)>,
}

// SAFETY: The registration may be undone by any task, and the target is `Send`.
unsafe impl<E: Event, T: Notify<E>> Send for Notifier<E, T> {}
// SAFETY: A shared reference gives access to the target only, which is `Sync`.
unsafe impl<E: Event, T: Notify<E>> Sync for Notifier<E, T> {}

impl<E: Event, T: Notify<E>> Notifier<E, T> {
    /// Registers `target`. Process context.
    pub fn register(target: T) -> Result<Self> {
        let guest = NotifierGuest::new();
        let nb = kernel::bindings::notifier_block {
            notifier_call: Some(Self::called),
            next: core::ptr::null_mut(),
            priority: 0,
        };
        let block = KBox::into_raw(KBox::new(
            Block {
                nb: Opaque::new(nb),
                target,
            },
            GFP_KERNEL,
        )?);
        // SAFETY: The box is neither moved nor freed before the block is unregistered.
        let ret = unsafe { E::register(Opaque::cast_into(&raw const (*block).nb)) };
        if ret != 0 {
            // SAFETY: It is not registered, so this is the only pointer to the box.
            drop(unsafe { KBox::from_raw(block) });
            return Err(Error::from_errno(ret));
        }
        // INVARIANT: Registered above.
        Ok(Self {
            block,
            _guest: guest,
            _p: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Only called by a notifier chain, with the `nb` of a `Block<T>` that is registered.
    unsafe extern "C" fn called(
        nb: *mut kernel::bindings::notifier_block,
        action: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        if E::matters(action) {
            // SAFETY: `nb` is the first field of a `Block<T>`; that is freed only after it was
            // unregistered, which waits for this call, and only borrowed shared until then.
            unsafe { &(*nb.cast::<Block<T>>()).target }.notify();
        }
        // `NOTIFY_DONE`.
        0
    }
}

impl<E: Event, T: Notify<E>> Drop for Notifier<E, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is registered.
        unsafe { E::unregister(Opaque::cast_into(&raw const (*self.block).nb)) };
        // SAFETY: By the type invariants this comes from a `KBox`; the chain does not know it any
        // more.
        drop(unsafe { KBox::from_raw(self.block) });
    }
}
