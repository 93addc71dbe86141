// SPDX-License-Identifier: GPL-2.0
//! A hook that lets packets of UDP's GSO kind through to tunnels' sockets whole.
//!
//! A [`UdpSocket`](crate::udp_tunnel::UdpSocket) takes datagrams that GRO has put together as one packet,
//! for they bear a mark by then. What is as large when it comes, from a veth, the loopback device or the
//! host of a virtual machine, never meets GRO, and the UDP layer takes it apart before such a socket sees
//! it (`udp_unexpected_gso()` in [`include/linux/udp.h`](srctree/include/linux/udp.h)). Where a
//! [`LocalIn`] is, it gets the mark as well, in `NF_INET_LOCAL_IN`, behind all hooks but others of the
//! last priority.
//!
//! Every packet for a host of that namespace pays for it, with a call that looks at one field; so it is
//! for who asks. `nft list hooks` shows it.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)
//!
//! Safety review: `Documentation/safety.md#netfilterrs`.

use crate::{
    atomic::{
        Atomic,
        Relaxed, //
    },
    module::HookGuest,
    netns::{
        Net,
        WeakNet, //
    }, //
};
use kernel::prelude::*;

/// Keeps the hook in a namespace, for IPv4 and, if the kernel has that, IPv6.
///
/// There is one hook in a namespace for as many of these as there are. It goes with the last of them, or
/// at the end of the namespace.
///
/// # Invariants
///
/// Counted in the namespace's [`HookCount`], unless that has ended.
pub struct LocalIn {
    net: WeakNet,
    _guest: HookGuest,
}

impl LocalIn {
    /// Sets the hook. Process context, also under RTNL; sleeps.
    ///
    /// Fails with `ENODEV` if the namespace is being torn down or no
    /// [`PernetOps`](crate::netns::PernetOps) is registered, with `EOPNOTSUPP` if the kernel has no
    /// netfilter, `E2BIG` if there are 1024 hooks already, or `ENOMEM`.
    pub fn register(net: &Net) -> Result<Self> {
        let weak = WeakNet::new(net)?;
        let guest = HookGuest::new();
        weak.with_hooks(|net, hooks| hooks.add(net))
            .unwrap_or(Err(ENODEV))?;
        // INVARIANT: Counted just now.
        Ok(Self {
            net: weak,
            _guest: guest,
        })
    }
}

impl Drop for LocalIn {
    fn drop(&mut self) {
        // By the type invariants, it is counted, if the namespace is still there.
        self.net.with_hooks(|net, hooks| hooks.remove(net));
    }
}

/// How many [`LocalIn`]s a namespace has.
///
/// # Invariants
///
/// The hook is set if and only if the count is not zero. Only changed under one mutex, that of
/// `netns.rs`.
pub(crate) struct HookCount(Atomic<usize>);

impl HookCount {
    pub(crate) const fn new() -> Self {
        // INVARIANT: No hook.
        Self(Atomic::new(0))
    }

    fn add(&self, net: &Net) -> Result {
        let count = self.0.load(Relaxed);
        if count == 0 {
            hook::set(net)?;
        }
        // INVARIANT: Set above, or before.
        self.0.store(count + 1, Relaxed);
        Ok(())
    }

    fn remove(&self, net: &Net) {
        let count = self.0.load(Relaxed);
        // INVARIANT: With the last one it goes.
        self.0.store(count - 1, Relaxed);
        if count == 1 {
            hook::unset(net);
        }
    }

    /// For the namespace's exit hook.
    pub(crate) fn end(&self, net: &Net) {
        if self.0.load(Relaxed) != 0 {
            // INVARIANT: It goes here.
            self.0.store(0, Relaxed);
            hook::unset(net);
        }
    }
}

#[cfg(CONFIG_NETFILTER)]
mod hook {
    use super::*;
    use crate::{
        bindings,
        skbuff::RawSkb,
        udp_tunnel::ipv6_enabled, //
    };
    use core::{
        ffi::{
            c_uint,
            c_void, //
        },
        mem::MaybeUninit,
        ptr::NonNull, //
    };
    use kernel::error::to_result;

    /// What is said of a packet that is of UDP's GSO kind, and of a guest's that nobody has looked at.
    const L4: c_uint = kernel::bindings::SKB_GSO_UDP_L4 as c_uint;
    const DODGY: c_uint = kernel::bindings::SKB_GSO_DODGY as c_uint;
    /// What GRO's aggregates for a tunnel's socket bear (`wg_helper_udp_gro_complete()`).
    const MARK: c_uint = (kernel::bindings::SKB_GSO_UDP_TUNNEL_CSUM
        | kernel::bindings::SKB_GSO_TUNNEL_REMCSUM) as c_uint;

    /// What is registered: the kernel reads it as long as it is.
    #[repr(transparent)]
    struct Ops(bindings::nf_hook_ops);

    // SAFETY: Never written to; the list and the RCU head in it are of users of other interfaces.
    unsafe impl Sync for Ops {}

    const fn ops<const V6: bool>() -> Ops {
        // SAFETY: Numbers and pointers that may be null.
        let mut ops: bindings::nf_hook_ops = unsafe { MaybeUninit::zeroed().assume_init() };
        ops.hook = Some(local_in::<V6>);
        ops.pf = if V6 {
            bindings::NFPROTO_IPV6
        } else {
            bindings::NFPROTO_IPV4
        } as u8;
        ops.hooknum = bindings::nf_inet_hooks_NF_INET_LOCAL_IN;
        // Filters and translators have had their say.
        ops.priority = i32::MAX;
        Ops(ops)
    }

    static V4: Ops = ops::<false>();
    static V6: Ops = ops::<true>();

    /// Sets the hook in `net`, which is there until it is unset.
    pub(super) fn set(net: &Net) -> Result {
        // SAFETY: The namespace is there while borrowed, and `ops` stays.
        let register = |ops: &'static Ops| unsafe {
            to_result(bindings::nf_register_net_hook(
                net.as_ptr().cast(),
                &raw const ops.0,
            ))
        };
        register(&V4)?;
        if ipv6_enabled() {
            register(&V6).inspect_err(|_| unregister(net, &V4))?;
        }
        Ok(())
    }

    /// Undoes what [`set`] did. A call of the hook may still be going on in a read-side section.
    pub(super) fn unset(net: &Net) {
        if ipv6_enabled() {
            unregister(net, &V6);
        }
        unregister(net, &V4);
    }

    fn unregister(net: &Net, ops: &'static Ops) {
        // SAFETY: As in `set`. (Of what is not registered it would warn.)
        unsafe { bindings::nf_unregister_net_hook(net.as_ptr().cast(), &raw const ops.0) };
    }

    /// Marks a packet that its socket takes whole.
    ///
    /// # Safety
    ///
    /// Called by netfilter in `NF_INET_LOCAL_IN`, with a valid packet that is nobody else's, under RCU.
    unsafe extern "C" fn local_in<const V6: bool>(
        _priv: *mut c_void,
        skb: *mut kernel::bindings::sk_buff,
        _state: *const bindings::nf_hook_state,
    ) -> c_uint {
        // SAFETY: By the requirement. What is shared with a clone is not written to.
        unsafe {
            let raw = RawSkb::from(NonNull::new_unchecked(skb));
            let shared = raw.shared_info();
            if raw.is_gso()
                && (*shared).gso_type & !DODGY == L4
                && bindings::udp_takes_whole(skb, V6)
            {
                (*shared).gso_type |= MARK;
            }
        }
        bindings::NF_ACCEPT
    }
}

#[cfg(not(CONFIG_NETFILTER))]
mod hook {
    use super::*;
    use crate::errno::EOPNOTSUPP;

    pub(super) fn set(_net: &Net) -> Result {
        Err(EOPNOTSUPP)
    }

    pub(super) fn unset(_net: &Net) {}
}
