// SPDX-License-Identifier: GPL-2.0

//! Events: messages that nobody asked for, to who has joined a group.
//!
//! A [`Group`] is a `static`, and so can be sent to from anywhere, at any time: it knows its family
//! only while that is registered. A family has one at most.
//!
//! ```ignore
//! static EVENTS: Group = Group::new(c"events");
//! static FAMILY: Family = Family::with_events(module, c"mine", 1, &OPS, &EVENTS);
//! EVENTS.send(net, CMD_CHANGED, |msg| msg.put_u32(1, 2));
//! ```
//!
//! C header: [`include/net/genetlink.h`](srctree/include/net/genetlink.h)
//!
//! Safety review: `Documentation/safety.md#genetlinkmcastrs`.

use super::{
    c_name,
    msg::{
        Message,
        NoSpace,
        Reply, //
    }, //
};
use crate::{
    atomic::{
        Acquire,
        Atomic,
        Full,
        HotAtomic,
        Release, //
    },
    bindings,
    netns::Net,
    rcu, //
};
use core::ptr;
use kernel::prelude::*;

/// A multicast group. To join it takes `CAP_NET_ADMIN` in the user namespace that owns the network
/// namespace (`GENL_MCAST_CAP_NET_ADMIN`).
///
/// # Invariants
///
/// `family` is null, or points to a `'static` family that is registered and has this group as its
/// only one; it stays registered until a grace period has passed after `family` became null.
pub struct Group {
    /// What C knows of it; never written to.
    c: bindings::genl_multicast_group,
    family: HotAtomic<*mut bindings::genl_family>,
    /// 1 while there is a [`Claim`].
    claimed: Atomic<u32>,
}

impl Group {
    /// Makes a group. For statics.
    pub const fn new(name: &'static CStr) -> Self {
        let mut c: bindings::genl_multicast_group = pin_init::zeroed();
        c.name = c_name(name);
        // CAST: One of two bits.
        c.flags = bindings::WGK_GENL_MCAST_CAP_NET_ADMIN as u8;
        Self {
            c,
            // INVARIANT: Null is always fine.
            family: HotAtomic::new(ptr::null_mut()),
            claimed: Atomic::new(0),
        }
    }

    /// The group, for the family that has it.
    pub(super) const fn as_ptr(&'static self) -> *const bindings::genl_multicast_group {
        &raw const self.c
    }

    /// Reserves it for one registration. `EBUSY` if another has it.
    pub(super) fn claim(&'static self) -> Result<Claim> {
        // ORDERING: Full, as there is no less of it that excludes.
        self.claimed.cmpxchg(0, 1, Full).map_err(|_| EBUSY)?;
        // INVARIANT: Set above.
        Ok(Claim(self))
    }

    /// Whether anybody has joined, in this namespace or another. Any context.
    #[inline]
    pub fn has_listeners(&self, net: &Net) -> bool {
        let _guard = rcu::read_lock();
        let family = self.family.load(Acquire);
        if family.is_null() {
            return false;
        }
        // SAFETY: It is registered for as long as the guard lives, by the type invariants; the
        // namespace is valid.
        unsafe { bindings::genl_group_has_listeners(family, net.as_ptr()) }
    }

    /// Sends an event to all who have joined in `net`: a message `cmd` with the attributes that `put`
    /// appends, for which there is room for 512 bytes at least. If nobody has, or the family is not
    /// registered, nothing is done, and `put` not called.
    ///
    /// Who can't get it, for want of memory or of room in his queue, or because not all of it fits,
    /// is told so by `ENOBUFS` from his next `recvmsg()`.
    ///
    /// Any context but hardirq; `put` must not sleep. Of two events that one thread sends, everybody
    /// gets the first one first.
    #[inline]
    pub fn send(
        &self,
        net: &Net,
        cmd: u8,
        put: impl FnOnce(&mut Message<'_>) -> Result<(), NoSpace>,
    ) {
        let _guard = rcu::read_lock();
        let family = self.family.load(Acquire);
        if family.is_null() {
            return;
        }
        // SAFETY: As in `has_listeners`.
        if unsafe { bindings::genl_group_has_listeners(family, net.as_ptr()) } {
            // SAFETY: Registered for as long as the guard lives.
            unsafe { send_to(family, net, cmd, put) };
        }
    }
}

/// Makes the event and sends it.
///
/// # Safety
///
/// `family` must be registered, and have one group; both until this returns.
#[cold]
unsafe fn send_to(
    family: *const bindings::genl_family,
    net: &Net,
    cmd: u8,
    put: impl FnOnce(&mut Message<'_>) -> Result<(), NoSpace>,
) {
    let made = Reply::event().and_then(|mut event| {
        // SAFETY: By the safety requirements.
        let mut message = unsafe { event.message(family) };
        message.open(0, 0, 0, cmd)?;
        put(&mut message)?;
        message.end();
        Ok(event.into_raw())
    });
    match made {
        // SAFETY: By the safety requirements; the buffer is given up.
        Ok(Some(skb)) => unsafe {
            bindings::genl_group_send(family, net.as_ptr(), skb);
        },
        // Taken back.
        Ok(None) => {}
        // SAFETY: By the safety requirements.
        Err(_) => unsafe { bindings::genl_group_lost(family, net.as_ptr()) },
    }
}

/// A registration's right to its group. Given back when dropped.
///
/// # Invariants
///
/// `claimed` of the group is 1 because of this.
pub(super) struct Claim(&'static Group);

impl Claim {
    /// Lets events be sent.
    ///
    /// # Safety
    ///
    /// `family` must be `'static`, registered, and have the group as its only one; before it is
    /// unregistered, [`withdraw`](Self::withdraw) must be called.
    pub(super) unsafe fn publish(&self, family: *mut bindings::genl_family) {
        // ORDERING: Release: pairs with the acquires of who sends, who then sees the numbers that
        // the family was given.
        // INVARIANT: By the safety requirements.
        self.0.family.store(family, Release);
    }

    /// Lets none be sent any more; when this returns, nobody is about to. Sleeps.
    pub(super) fn withdraw(&self) {
        // INVARIANT: Null is always fine.
        self.0.family.store(ptr::null_mut(), Release);
        rcu::synchronize_net();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // ORDERING: Release: the next one to claim it comes after what this one did.
        self.0.claimed.store(0, Release);
    }
}
