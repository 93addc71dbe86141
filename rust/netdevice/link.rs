// SPDX-License-Identifier: GPL-2.0

//! Kinds of devices: their registration with rtnetlink, and the list of the devices of each.
//!
//! Registered kinds are in a list, by the type that implements [`Driver`]. So a device can be told
//! by its `rtnl_link_ops`: those of a kind's entry are on no other device, and what is behind such
//! a device is the private area of that kind.
//!
//! Safety review: `Documentation/safety.md#netdevicelinkrs`.

use super::{
    adapter::{
        Adapter,
        Link,
        Node,
        PrevLink, //
        Priv,
    },
    Driver,
    NetName, //
};
use crate::{
    bindings,
    errno::EOPNOTSUPP,
    field::Invariant,
    genetlink::Attr,
    module::LinkGuest,
    netns::Net,
    rcu::{
        self,
        RcuArc, //
    },
    rtnl::{
        Rtnl,
        RtnlCell, //
    }, //
};
use core::{
    any::TypeId,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A registered kind.
struct Kind {
    /// Of the [`Driver`].
    driver: TypeId,
    ops: Opaque<bindings::rtnl_link_ops>,
    /// The registered devices of this kind.
    devices: RtnlCell<Link>,
    next: RtnlCell<KindPtr>,
}

/// Pointer to a kind; null at the end.
#[derive(Clone, Copy)]
struct KindPtr(*const Kind);

// SAFETY: Just an address.
unsafe impl Send for KindPtr {}

/// The first registered kind.
///
/// All in this list are allocated: a kind is taken out, under RTNL, before it is freed.
static KINDS: RtnlCell<KindPtr> = RtnlCell::new(KindPtr(ptr::null()));

/// Finds the entry of a driver.
fn kind_of<D: Driver>(rtnl: &Rtnl) -> Option<&Kind> {
    let mut at = KINDS.get(rtnl).0;
    // SAFETY: Null or allocated, as said at `KINDS`, and not taken out before RTNL is released.
    while let Some(kind) = unsafe { at.as_ref() } {
        if kind.driver == TypeId::of::<D>() {
            return Some(kind);
        }
        at = kind.next.get(rtnl).0;
    }
    None
}

/// Puts a device in the list of its kind; it must stay until it is removed.
pub(super) fn insert<D: Driver>(rtnl: &Rtnl, node: &Node) {
    // There is always one: devices are made through it.
    let Some(kind) = kind_of::<D>(rtnl) else {
        return;
    };
    let next = kind.devices.get(rtnl);
    node.next.set(rtnl, next);
    node.prev.set(rtnl, PrevLink(&kind.devices));
    // SAFETY: Null or a device of the list, which stays until it is removed.
    if let Some(next) = unsafe { next.0.as_ref() } {
        next.prev.set(rtnl, PrevLink(&node.next));
    }
    kind.devices.set(rtnl, Link(node));
}

/// Takes a device out of its list, if it is in one.
pub(super) fn remove(rtnl: &Rtnl, node: &Node) {
    let prev = node.prev.get(rtnl);
    node.prev.set(rtnl, PrevLink(ptr::null()));
    // SAFETY: Null or the cell that points to this node: in another device of the list, or in the
    // kind, which stays until all its devices have gone.
    if let Some(prev_next) = unsafe { prev.0.as_ref() } {
        let next = node.next.get(rtnl);
        prev_next.set(rtnl, next);
        // SAFETY: As in `insert`.
        if let Some(next) = unsafe { next.0.as_ref() } {
            next.prev.set(rtnl, prev);
        }
    }
}

/// Registration of a kind of device. Dropping it deletes all devices of the kind.
///
/// As for every registration, the module must drop it before it goes, and that of its
/// [`PernetOps`](crate::netns::PernetOps) after it.
///
/// # Invariants
///
/// `kind` came from a box; it is in the list, and registered.
pub struct LinkOps<D: Driver> {
    kind: NonNull<Kind>,
    _guest: LinkGuest,
    _p: Invariant<D>,
}

// SAFETY: Can be dropped by any thread, and that is all.
unsafe impl<D: Driver> Send for LinkOps<D> {}
// SAFETY: As above; there are no methods.
unsafe impl<D: Driver> Sync for LinkOps<D> {}

impl<D: Driver> LinkOps<D> {
    /// Registers the kind. Process context, without RTNL.
    ///
    /// Fails with `EEXIST` if there is a kind of that name. rtnetlink does not hold the module: the
    /// argument is there to say that this is for a module's init.
    pub fn register(_module: &'static ThisModule) -> Result<Self> {
        const { Priv::<D>::ALIGNED };
        let guest = LinkGuest::new();
        let kind = KBox::new(
            Kind {
                driver: TypeId::of::<D>(),
                ops: Opaque::zeroed(),
                devices: RtnlCell::new(Link(ptr::null())),
                next: RtnlCell::new(KindPtr(ptr::null())),
            },
            GFP_KERNEL,
        )?;
        let kind = KBox::into_raw(kind);
        // SAFETY: Just allocated; only freed at the end of this function, or by `drop`.
        let entry = unsafe { &*kind };
        let ops = entry.ops.get();
        // SAFETY: Zeroed, and nobody knows it yet.
        unsafe {
            (*ops).kind = kernel::str::as_char_ptr_in_const_context(D::KIND);
            (*ops).priv_size = size_of::<Priv<D>>();
            (*ops).setup = Some(Adapter::<D>::setup);
            (*ops).newlink = Some(Adapter::<D>::newlink);
        }
        let inserted = {
            let rtnl = Rtnl::lock();
            if kind_of::<D>(&rtnl).is_some() {
                Err(EEXIST)
            } else {
                entry.next.set(&rtnl, KINDS.get(&rtnl));
                KINDS.set(&rtnl, KindPtr(kind));
                Ok(())
            }
        };
        let registered = inserted.and_then(|()| {
            // SAFETY: Complete, and stays where it is until it is unregistered.
            to_result(unsafe { bindings::rtnl_link_register(ops) }).inspect_err(|_| {
                Self::forget(entry);
            })
        });
        match registered {
            // INVARIANT: As was just done.
            Ok(()) => Ok(Self {
                // SAFETY: A box is not null.
                kind: unsafe { NonNull::new_unchecked(kind) },
                _guest: guest,
                _p: PhantomData,
            }),
            Err(e) => {
                // SAFETY: From `into_raw` above; in no list and not registered.
                drop(unsafe { KBox::from_raw(kind) });
                Err(e)
            }
        }
    }

    /// Takes the kind out of the list.
    fn forget(kind: &Kind) {
        let rtnl = Rtnl::lock();
        let mut at = &KINDS;
        // SAFETY: As in `kind_of`.
        while let Some(other) = unsafe { at.get(&rtnl).0.as_ref() } {
            if ptr::eq(other, kind) {
                at.set(&rtnl, other.next.get(&rtnl));
                return;
            }
            at = &other.next;
        }
    }
}

impl<D: Driver> Drop for LinkOps<D> {
    fn drop(&mut self) {
        // SAFETY: Allocated by the type invariants.
        let kind = unsafe { self.kind.as_ref() };
        // Deletes the devices, and returns when all of them have been destroyed: those that others
        // have unregistered just before it waits for (`rtnl_lock_unregistering_all()`), and its
        // own are destroyed where it releases RTNL. Nor is anybody left who has found the kind in
        // rtnetlink's list: for that, the shim waits where the kernel does not.
        // SAFETY: Registered by the type invariants.
        unsafe { bindings::link_ops_unregister(kind.ops.get()) };
        Self::forget(kind);
        // The states' destructors have not necessarily run.
        rcu::barrier();
        // SAFETY: From `into_raw` by the type invariants. In no list any more, not registered, and
        // there is no device that could point to it.
        drop(unsafe { KBox::from_raw(self.kind.as_ptr()) });
    }
}

/// Calls `f` for each registered device of a driver, the youngest first.
pub fn for_each_device<D: Driver>(rtnl: &Rtnl, mut f: impl FnMut(&RcuArc<D::Device>)) {
    let Some(kind) = kind_of::<D>(rtnl) else {
        return;
    };
    let mut at = kind.devices.get(rtnl);
    // SAFETY: Null or a device of the list, which is not removed while we hold RTNL and `f` runs:
    // nothing that `f` can do unregisters a device without taking RTNL.
    while let Some(node) = unsafe { at.0.as_ref() } {
        // SAFETY: A registered device of `D`: it is in the list of that.
        if let Some(this) = unsafe { Priv::<D>::this(node.dev) } {
            f(this);
        }
        at = node.next.get(rtnl);
    }
}

/// The state of `dev`, if that is a device of `D`.
///
/// # Safety
///
/// `dev` must be null or a device that is registered for as long as RTNL is held.
unsafe fn check<D: Driver>(
    rtnl: &Rtnl,
    dev: *mut bindings::net_device,
) -> Result<RcuArc<D::Device>> {
    let dev = NonNull::new(dev).ok_or(ENODEV)?.as_ptr();
    let kind = kind_of::<D>(rtnl).ok_or(EOPNOTSUPP)?;
    // SAFETY: Valid by the safety requirements.
    if !ptr::eq(unsafe { (*dev).rtnl_link_ops }, kind.ops.get()) {
        return Err(EOPNOTSUPP);
    }
    // SAFETY: It has the operations of the kind, so it was made with them, and its private area is
    // of that type; registered, so it went through `newlink`.
    unsafe { Priv::<D>::this(dev) }.cloned().ok_or(ENODEV)
}

/// Finds the state of a device by the device's index.
///
/// `ENODEV` if there is none in `net`, `EOPNOTSUPP` if it is not one of `D`.
pub fn find_by_index<D: Driver>(rtnl: &Rtnl, net: &Net, ifindex: u32) -> Result<RcuArc<D::Device>> {
    // SAFETY: Valid by the type invariants of `Net`, and RTNL is held. The index is compared, so
    // that one out of range is just not found.
    let dev = unsafe { bindings::__dev_get_by_index(net.as_ptr(), ifindex as c_int) };
    // SAFETY: What is found is listed, and stays so while RTNL is held.
    unsafe { check::<D>(rtnl, dev) }
}

/// Finds the state of a device by the device's name, as it is in an attribute; errors as for
/// [`find_by_index`].
pub fn find_by_name<D: Driver>(
    rtnl: &Rtnl,
    net: &Net,
    name: Attr<'_>,
) -> Result<RcuArc<D::Device>> {
    let name: [u8; NetName::SIZE] = name.string().ok_or(ENODEV)?;
    // SAFETY: As above; the name ends with NUL, see `Attr::string`.
    let dev = unsafe { bindings::__dev_get_by_name(net.as_ptr(), name.as_ptr()) };
    // SAFETY: As above.
    unsafe { check::<D>(rtnl, dev) }
}
