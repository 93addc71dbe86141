// SPDX-License-Identifier: GPL-2.0
//! NAPI contexts: polled reception, with GRO.
//!
//! Wraps `struct napi_struct` of
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h). A [`Napi`] of this module is
//! no hardware queue, but a place to hand received packets to the stack in order; so it cannot be
//! busy-polled. Whether it runs in softirq context or in a kernel thread of its own is the
//! administrator's choice: `/sys/class/net/NAME/threaded`.
//!
//! Safety review: `Documentation/safety.md#napirs`.

use crate::{
    bindings,
    drop_reason::{
        DropReason,
        Lossy, //
    },
    module::NapiGuest,
    netdevice::NetDevice,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    skbuff::RxPacket, //
};
use core::{
    cell::Cell,
    ffi::c_int,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// What a [`Napi`] polls.
pub trait NapiPoll: Send + Sync + 'static {
    /// Handles up to `budget` packets and returns how many it did.
    ///
    /// With less than `budget`, polling ends until the next [`Napi::schedule`]; what was scheduled
    /// during the poll makes it start again. `budget` is not 0. Softirq context, or bottom halves
    /// disabled; never twice at once for one `Napi`.
    fn poll(this: &Self, ctx: &NapiContext<'_>, budget: usize) -> usize;
}

/// What all instances begin with.
///
/// # Invariants
///
/// `napi` is added to its device and enabled, and the device there, from [`Napi::new`] until
/// `ended` is set; then it is neither, and scheduling it has no effect. `ended` is used in
/// [`with_napis`].
#[repr(C)]
struct Base {
    napi: Opaque<bindings::napi_struct>,
    ended: Cell<bool>,
}

impl Base {
    /// Ends polling, and takes the instance off its device, if that was not done. Sleeps; returns
    /// when the poll that was running has.
    fn end(&self, _: &InNapis) {
        if !self.ended.replace(true) {
            // SAFETY: Added and enabled by the type invariants, with its device there. After
            // `napi_disable` nothing polls.
            unsafe {
                bindings::napi_disable(self.napi.get());
                bindings::napi_del(self.napi.get());
            }
        }
    }
}

/// What the kernel sees of a [`Napi`].
///
/// # Invariants
///
/// `ctx` is there until `base` is ended.
#[pin_data]
#[repr(C)]
struct Instance<C: NapiPoll> {
    base: Base,
    ctx: *const C,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The `napi_struct` is made to be scheduled from anywhere; `C` is `Send` and `Sync`.
unsafe impl<C: NapiPoll> Send for Instance<C> {}
// SAFETY: As above; `ended` is used under a mutex.
unsafe impl<C: NapiPoll> Sync for Instance<C> {}

/// Freed by RCU, for lists of the kernel's are read that way.
impl<C: NapiPoll> RcuObject for Instance<C> {}

/// Evidence that the caller is in [`with_napis`].
struct InNapis(());

/// Runs `f` under the mutex of adding and ending instances, which it must not take again; may
/// sleep. Inside RTNL, outside the devices' instance locks.
fn with_napis<R>(f: impl FnOnce(&InNapis) -> R) -> R {
    // SAFETY: No requirements; the mutex is a static of the shim.
    unsafe { bindings::napis_lock() };
    let ret = f(&InNapis(()));
    // SAFETY: Locked above, by this thread.
    unsafe { bindings::napis_unlock() };
    ret
}

/// Whether instances may be added to a device.
pub(crate) struct Gate(Cell<bool>);

// SAFETY: Used in `with_napis` only.
unsafe impl Sync for Gate {}

impl Gate {
    /// An open one.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(true))
    }
}

/// Ends what instances `dev` has, and lets it have no more: for a device that goes. Sleeps, waits
/// for polls that are running.
pub(crate) fn end_all(dev: &NetDevice) {
    with_napis(|napis| {
        dev.napi_gate().0.set(false);
        // SAFETY: A valid device, by its type invariants. Its list changes in `with_napis` only.
        while let Some(napi) = NonNull::new(unsafe { bindings::netdev_first_napi(dev.as_ptr()) }) {
            // SAFETY: Devices of this crate have no instances but those of `Napi::new`, each of
            // which begins with a `Base` that begins with this, and which stay until they were
            // ended.
            unsafe { napi.cast::<Base>().as_ref() }.end(napis);
        }
    });
}

/// A NAPI context of a device.
///
/// Does not keep the device: it ends with it, after the
/// [`uninit`](crate::netdevice::Driver::uninit) callback at the latest, and what is left can only
/// be dropped.
///
/// Lock order: making and dropping it take a mutex of this file and the device's instance lock
/// (`netdev_lock()`), under RTNL or without. Both sleep; the drop waits for a poll that is running,
/// so it must not be waited for by one.
///
/// # Invariants
///
/// `instance` polls what `_ctx` keeps.
pub struct Napi<C: NapiPoll> {
    instance: RcuArc<Instance<C>>,
    _ctx: Arc<C>,
    _guest: NapiGuest,
}

impl<C: NapiPoll> Napi<C> {
    /// Adds a NAPI context to `dev`, and enables it. `ENODEV` if the device is on its way out.
    pub fn new(dev: &NetDevice, ctx: Arc<C>, flags: Flags) -> Result<Self> {
        Self::add(|_| Some(dev), ctx, flags)
    }

    /// Adds another NAPI context to the same device, and enables it. `ENODEV` as above.
    pub fn sibling(&self, ctx: Arc<C>, flags: Flags) -> Result<Self> {
        let base = &self.instance.base;
        // SAFETY: As long as this one has not ended its device is there, by the type invariants of
        // `Base`; it does not end while the mutex is held, and `add` does not use the device any
        // longer. It is one of this crate's, as the first was added by `new`.
        let dev = || unsafe { NetDevice::from_raw((*base.napi.get()).dev) };
        Self::add(|_| (!base.ended.get()).then(dev), ctx, flags)
    }

    /// Adds a context to the device that `dev` returns, if any.
    fn add<'d>(
        dev: impl FnOnce(&InNapis) -> Option<&'d NetDevice>,
        ctx: Arc<C>,
        flags: Flags,
    ) -> Result<Self> {
        // What `end_all` and `poll` go by.
        const { assert!(offset_of!(Base, napi) == 0 && offset_of!(Instance<C>, base) == 0) };
        let guest = NapiGuest::new();
        let ptr = &raw const *ctx;
        let instance = RcuArc::pin_init(
            pin_init!(Instance {
                base: Base {
                    napi: Opaque::zeroed(),
                    // INVARIANT: Not added yet.
                    ended: Cell::new(true),
                },
                ctx: ptr,
                _pin: PhantomPinned,
            }),
            flags,
        )?;
        with_napis(|napis| -> Result {
            let dev = dev(napis).filter(|dev| dev.napi_gate().0.get());
            let dev = dev.ok_or(ENODEV)?;
            // SAFETY: The device is valid; before it goes, `end_all` is called for it, which finds
            // what is added here. The memory is zeroed, pinned, and lives until a grace period
            // after it was ended. `poll` is made for what it is part of.
            unsafe {
                bindings::napi_add(dev.as_ptr(), instance.base.napi.get(), Some(poll::<C>));
            }
            // INVARIANT: Done just now.
            instance.base.ended.set(false);
            Ok(())
        })?;
        // INVARIANT: `ctx` is kept with it.
        Ok(Self {
            instance,
            _ctx: ctx,
            _guest: guest,
        })
    }

    /// Has the context polled soon, unless it has ended; if a poll is under way, once more after
    /// it. Any context but hardirq; in process context, at once.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: Was added by the type invariants of `Base`. Once ended it counts as scheduled for
        // ever: nothing happens, and nothing but its own memory is looked at.
        unsafe { bindings::napi_schedule(self.instance.base.napi.get()) }
    }

    /// What schedules this context, without keeping it.
    pub fn handle(&self) -> NapiHandle<C> {
        // INVARIANT: It is that of a `Napi`.
        NapiHandle(self.instance.clone())
    }
}

/// Schedules a [`Napi`], without keeping it: when that has ended, it does nothing.
///
/// # Invariants
///
/// The instance is, or was, that of a `Napi`.
pub struct NapiHandle<C: NapiPoll>(RcuArc<Instance<C>>);

impl<C: NapiPoll> NapiHandle<C> {
    /// As [`Napi::schedule`].
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: Was added, by the type invariants. Once ended it counts as scheduled for ever:
        // nothing happens, and nothing but its own memory is looked at, which our reference keeps.
        unsafe { bindings::napi_schedule(self.0.base.napi.get()) }
    }
}

impl<C: NapiPoll> Drop for Napi<C> {
    fn drop(&mut self) {
        // The memory stays for a grace period after the last reference, which is ours.
        with_napis(|napis| self.instance.base.end(napis));
    }
}

/// A poll that is running.
///
/// # Invariants
///
/// `napi` is being polled by this CPU, for `'a`. If `registered`, then its device has been.
pub struct NapiContext<'a> {
    napi: *mut bindings::napi_struct,
    registered: bool,
    _poll: PhantomData<&'a ()>,
}

impl NapiContext<'_> {
    /// Hands a packet to the stack, as received by the device; GRO may merge it with others.
    /// Dropped if the device is not registered yet.
    #[inline]
    pub fn gro_receive(&self, packet: RxPacket) {
        if !self.registered {
            packet.drop_for(DropReason::DevReady);
            return;
        }
        // SAFETY: Being polled by the type invariants; the packet is ours and passes on, and its
        // headers are what the stack expects. The function gives it the device of the context.
        // Where the stack keeps the packet for later, it keeps a reference to that, and a device
        // that has been registered is not freed before it is given back.
        unsafe { bindings::napi_gro_receive(self.napi, packet.into_raw()) }
    }

    /// Has GRO wait for nothing more to merge: at the end of the poll, all packets that it was given
    /// are in the stack.
    pub fn flush(&self) {
        // SAFETY: Being polled by the type invariants.
        unsafe { bindings::napi_flush(self.napi) }
    }
}

/// Called by the kernel to poll.
///
/// # Safety
///
/// `napi` must be that of an `Instance<C>` that has not ended, in a poll on this CPU.
unsafe extern "C" fn poll<C: NapiPoll>(napi: *mut bindings::napi_struct, budget: c_int) -> c_int {
    // SAFETY: By the requirement; it begins with this, and what is polled is not freed.
    let instance = unsafe { &*napi.cast::<Instance<C>>() };
    // SAFETY: The device is there until the instance has ended, which waits for this poll; it is
    // one of this crate's, for `Napi::new` takes no others.
    let dev = unsafe { NetDevice::from_raw((*napi).dev) };
    // INVARIANT: The kernel polls `napi` now, on this CPU.
    let context = NapiContext {
        napi,
        registered: dev.was_registered(),
        _poll: PhantomData,
    };
    let budget = usize::try_from(budget).unwrap_or(0);
    if budget == 0 {
        // netpoll, maybe with interrupts off: nothing may be received.
        return 0;
    }
    // SAFETY: `Napi` keeps it until polling has ended.
    let done = C::poll(unsafe { &*instance.ctx }, &context, budget).min(budget);
    if done < budget {
        // SAFETY: Being polled. Nothing touches it after.
        unsafe { bindings::napi_complete_done(napi, done as c_int) };
    }
    done as c_int
}
