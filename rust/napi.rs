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
    module::NapiGuest,
    netdevice::NetDevice,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    skbuff::RxPacket, //
};
use core::{
    ffi::c_int,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
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

/// What the kernel sees of a [`Napi`].
///
/// # Invariants
///
/// `napi` is registered with its device, which it keeps, and enabled; from the drop of the `Napi`
/// on, it is neither, and not used. `ctx` is what its owner keeps until then.
#[pin_data]
struct Instance<C: NapiPoll> {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    ctx: *const C,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The `napi_struct` is made to be scheduled from anywhere; `C` is `Send` and `Sync`.
unsafe impl<C: NapiPoll> Send for Instance<C> {}
// SAFETY: As above.
unsafe impl<C: NapiPoll> Sync for Instance<C> {}

/// Freed by RCU, for lists of the kernel's are read that way.
impl<C: NapiPoll> RcuObject for Instance<C> {}

/// A NAPI context of a device.
///
/// Keeps the device; so it must be dropped before the device's unregistration can end, such as in
/// its `uninit` callback.
///
/// Lock order: making and dropping it take the device's instance lock (`netdev_lock()`), under RTNL
/// or without. Both sleep; the drop waits for a poll that is running, so it must not be waited for
/// by one.
///
/// # Invariants
///
/// `instance` is registered and enabled, and polls `ctx`.
pub struct Napi<C: NapiPoll> {
    instance: RcuArc<Instance<C>>,
    _ctx: Arc<C>,
    _guest: NapiGuest,
}

impl<C: NapiPoll> Napi<C> {
    /// Adds a NAPI context to `dev`, and enables it.
    pub fn new(dev: &NetDevice, ctx: Arc<C>, flags: Flags) -> Result<Self> {
        let guest = NapiGuest::new();
        let ptr = &raw const *ctx;
        let instance = RcuArc::pin_init(
            pin_init!(Instance {
                napi: Opaque::zeroed(),
                ctx: ptr,
                _pin: PhantomPinned,
            }),
            flags,
        )?;
        // SAFETY: The memory is zeroed, pinned, and lives until a grace period after `drop`, which
        // undoes this. `poll` is made for what it is part of.
        unsafe {
            bindings::napi_add(dev.as_ptr(), instance.napi.get(), Some(poll::<C>));
            bindings::napi_enable(instance.napi.get());
        }
        // INVARIANT: Done just now. `ctx` is kept with it.
        Ok(Self {
            instance,
            _ctx: ctx,
            _guest: guest,
        })
    }

    /// Has the context polled soon. Any context but hardirq; in process context, at once.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: Registered by the type invariants.
        unsafe { bindings::napi_schedule(self.instance.napi.get()) }
    }
}

impl<C: NapiPoll> Drop for Napi<C> {
    fn drop(&mut self) {
        // SAFETY: Registered and enabled by the type invariants. After `napi_disable` nothing
        // polls; the memory stays for a grace period after the last reference, which is ours.
        unsafe {
            bindings::napi_disable(self.instance.napi.get());
            bindings::napi_del(self.instance.napi.get());
        }
    }
}

/// A poll that is running.
///
/// # Invariants
///
/// `napi` is being polled by this CPU, for `'a`.
pub struct NapiContext<'a> {
    napi: *mut bindings::napi_struct,
    _poll: PhantomData<&'a ()>,
}

impl NapiContext<'_> {
    /// Hands a packet to the stack, as received by the device; GRO may merge it with others.
    #[inline]
    pub fn gro_receive(&self, packet: RxPacket) {
        // SAFETY: Being polled by the type invariants; the packet is ours and passes on, and its
        // headers are what the stack expects. The function gives it the device of the context.
        unsafe { bindings::napi_gro_receive(self.napi, packet.into_inner().into_raw()) }
    }
}

/// Called by the kernel to poll.
///
/// # Safety
///
/// `napi` must be that of a registered `Instance<C>`, in a poll on this CPU.
unsafe extern "C" fn poll<C: NapiPoll>(napi: *mut bindings::napi_struct, budget: c_int) -> c_int {
    // SAFETY: By the requirement; what is registered is not freed.
    let instance = unsafe { &*kernel::container_of!(Opaque::cast_from(napi), Instance<C>, napi) };
    // INVARIANT: The kernel polls `napi` now, on this CPU.
    let context = NapiContext {
        napi,
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
