// SPDX-License-Identifier: GPL-2.0
//! Socket buffers that this module owns.
//!
//! Wraps `struct sk_buff` of [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h). An
//! [`SkBuff`] is one packet; [`SkbList`](crate::skb_list::SkbList) is the packets of one burst;
//! [`Segment`] is a packet looked at inside such a list, which is where it is sealed and opened.
//!
//! Contexts: any but hardirq, unless stated. Nothing here sleeps, except that allocation with
//! `GFP_KERNEL` may.
//!
//! What a packet must not carry from one context into another is taken off where it enters: the
//! device pointer is only set while a device is borrowed, and a received packet loses its
//! (possibly uncounted) route.
//!
//! Safety review: `Documentation/safety.md#skbuffrs`.

use crate::{
    bindings,
    netdevice::NetDevice,
    skb_list::SkbList, //
};
use core::{
    ffi::c_int,
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr, //
    },
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    alloc::{
        flags::GFP_KERNEL,
        Flags, //
    },
    error::from_err_ptr,
    fmt,
    prelude::*, //
};

mod raw;
mod receive;
mod segment;

pub(crate) use raw::{
    Cb,
    Link,
    RawSkb, //
};
pub use receive::{
    Inner,
    InnerError,
    RxPacket,
    UdpPacket, //
};
pub use segment::{
    Segment,
    DATA_HEADROOM,
    LOWER_HEADROOM, //
};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Size of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Size of an IPv6 header.
const IPV6_HEADER: usize = 40;
/// The most room behind the start of the data that an allocation may ask for, in bytes.
const MAX_ROOM: usize = 1 << 20;
/// The most in front of it: the offsets of headers are 16 bits wide.
const MAX_HEADROOM: usize = 1 << 15;

/// A version of the internet protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum L3 {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for L3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            L3::V4 => "IPv4",
            L3::V6 => "IPv6",
        })
    }
}

/// A packet.
///
/// Dropping it frees it and counts as a loss (`kfree_skb`); [`SkBuff::consume`] is for a packet
/// that did what it was for.
///
/// # Invariants
///
/// `0` is a valid `sk_buff` on no list, and this object owns the only reference to it. Its device
/// pointer is null, or that of a device that the caller of whoever made this object keeps; no
/// method uses it.
pub struct SkBuff(RawSkb);

// SAFETY: An `sk_buff` is bound to no context; the object owns it alone.
unsafe impl Send for SkBuff {}
// SAFETY: Methods with `&self` only read.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// Takes over an `sk_buff` from the kernel.
    ///
    /// # Safety
    ///
    /// `ptr` must be a valid `sk_buff` that is on no list, and the caller must own the only
    /// reference to it and pass it on. Its route, if any, must be a counted one.
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: *mut kernel::bindings::sk_buff) -> Self {
        // SAFETY: `ptr` is not null, by the requirement.
        let raw = RawSkb::from(unsafe { NonNull::new_unchecked(ptr) });
        // SAFETY: By the requirement. The kernel may have left what was the next on a list.
        unsafe { raw.set_next(ptr::null_mut()) };
        // INVARIANT: By the requirement.
        Self(raw)
    }

    /// Takes over a packet that the UDP layer received.
    ///
    /// # Safety
    ///
    /// As for [`SkBuff::from_raw`], but the route may be an uncounted one.
    #[inline]
    pub(crate) unsafe fn from_received(ptr: *mut kernel::bindings::sk_buff) -> Self {
        // SAFETY: By the requirement; the route goes in the next lines.
        let skb = unsafe { Self::from_raw(ptr) };
        skb.drop_route();
        // SAFETY: The packet is ours alone.
        unsafe { skb.0.set_dev(ptr::null_mut()) };
        skb
    }

    /// Gives the `sk_buff` up. The receiver owns the reference.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut kernel::bindings::sk_buff {
        let ptr = self.0.as_ptr();
        core::mem::forget(self);
        ptr
    }

    #[inline]
    pub(crate) fn raw(&self) -> RawSkb {
        self.0
    }

    #[inline]
    fn drop_route(&self) {
        // SAFETY: The `sk_buff` is valid and ours by the type invariants.
        unsafe {
            if (*self.0.as_ptr())
                .__bindgen_anon_3
                .__bindgen_anon_1
                ._skb_refdst
                != 0
            {
                bindings::skb_dst_drop(self.0.as_ptr());
            }
        }
    }

    fn alloc(headroom: usize, tailroom: usize, flags: Flags) -> Result<Self> {
        if headroom > MAX_HEADROOM || tailroom > MAX_ROOM {
            return Err(EINVAL);
        }
        let gfp = if flags.contains(GFP_KERNEL) {
            kernel::bindings::GFP_KERNEL
        } else {
            kernel::bindings::GFP_ATOMIC
        };
        // SAFETY: No preconditions; the caller's flags fit its context.
        let ptr = unsafe { bindings::skb_with_room(headroom as u32, tailroom as u32, gfp) };
        if ptr.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: A new `sk_buff`, owned by nobody else, without a route.
        Ok(unsafe { Self::from_raw(ptr) })
    }

    /// Makes a packet of `payload` with `headroom` bytes in front for the headers of lower layers.
    pub fn with_payload(payload: &[u8], headroom: usize, flags: Flags) -> Result<Self> {
        let skb = Self::alloc(headroom, payload.len(), flags)?;
        // SAFETY: The buffer has room for the payload, which `skb_put` returns the place for.
        unsafe {
            let dst = kernel::bindings::skb_put(skb.0.as_ptr(), payload.len() as u32).cast::<u8>();
            ptr::copy_nonoverlapping(payload.as_ptr(), dst, payload.len());
        }
        Ok(skb)
    }

    /// Makes a packet without data that can grow by the given bytes in front and behind.
    pub fn empty(headroom: usize, tailroom: usize, flags: Flags) -> Result<Self> {
        Self::alloc(headroom, tailroom, flags)
    }

    /// Frees a packet that is done with. Not a loss, so drop monitors do not report it.
    #[inline]
    pub fn consume(self) {
        // SAFETY: The reference is ours by the type invariants, and `into_raw` gave it up.
        unsafe { bindings::consume_skb(self.into_raw()) }
    }

    /// Bytes from the start of the data on.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { self.0.len() }
    }

    /// Copies the first bytes of the data, linear or not; `false` if there are less.
    pub fn copy_data(&self, out: &mut [u8]) -> bool {
        let Ok(len) = c_int::try_from(out.len()) else {
            return false;
        };
        // SAFETY: Valid by the type invariants. It checks the length, and writes `len` bytes.
        unsafe {
            kernel::bindings::skb_copy_bits(self.0.as_ptr(), 0, out.as_mut_ptr().cast(), len) == 0
        }
    }

    /// The memory that the packet occupies, in bytes.
    #[inline]
    pub fn truesize(&self) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.0.as_ptr()).truesize as usize }
    }

    /// The EtherType that whoever made the packet gave it.
    #[inline]
    pub fn protocol(&self) -> u16 {
        // SAFETY: Valid by the type invariants.
        unsafe { self.0.protocol() }
    }

    /// The IP version, if the network header and the EtherType agree on one.
    #[inline]
    pub fn l3_protocol(&self) -> Option<L3> {
        // SAFETY: Valid by the type invariants.
        let l3 = unsafe { self.0.parse_l3() }?;
        let expected = match l3 {
            L3::V4 => ETH_P_IP,
            L3::V6 => ETH_P_IPV6,
        };
        (self.protocol() == expected).then_some(l3)
    }

    /// The source address in the network header.
    #[inline]
    pub fn src_addr(&self) -> Option<IpAddr> {
        self.addrs().map(|(src, _)| src)
    }

    /// The destination address in the network header.
    #[inline]
    pub fn dst_addr(&self) -> Option<IpAddr> {
        self.addrs().map(|(_, dst)| dst)
    }

    fn addrs(&self) -> Option<(IpAddr, IpAddr)> {
        // SAFETY: Valid by the type invariants. While `self` is borrowed nobody changes the data.
        let (first, rest) = unsafe {
            match self.0.parse_l3()? {
                L3::V4 => self.0.network_bytes(IPV4_HEADER)?.split_at(12),
                L3::V6 => self.0.network_bytes(IPV6_HEADER)?.split_at(8),
            }
        };
        if first.len() == 12 {
            let (src, dst) = rest.split_at(4);
            let addr = |b: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(b).unwrap_or_default());
            Some((addr(src).into(), addr(dst).into()))
        } else {
            let (src, dst) = rest.split_at(16);
            let addr = |b: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(b).unwrap_or_default());
            Some((addr(src).into(), addr(dst).into()))
        }
    }

    /// The MTU of the packet's route, if it has one.
    #[inline]
    pub fn dst_mtu(&self) -> Option<u32> {
        // SAFETY: Valid by the type invariants; a route that is there is counted.
        match unsafe { bindings::skb_dst_mtu(self.0.as_ptr()) } {
            0 => None,
            mtu => Some(mtu),
        }
    }

    /// Whether the packet stands for several that are still to be segmented.
    #[inline]
    pub fn is_gso(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::skb_is_gso(self.0.as_ptr()) }
    }

    /// The route MTU that this crate stored with the packet; 0 if none was.
    #[inline]
    pub fn mtu(&self) -> u32 {
        // SAFETY: Valid by the type invariants; any bytes are a `u32`.
        unsafe { (*self.0.cb()).mtu }
    }

    /// Stores a route MTU with the packet, for the calculation of its padding.
    #[inline]
    pub fn set_mtu(&mut self, mtu: u32) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { (*self.0.cb()).mtu = mtu }
    }

    /// The DS field that this crate stored with the packet: of the outer header.
    #[inline]
    pub fn ds(&self) -> u8 {
        // SAFETY: Valid by the type invariants; any byte is a `u8`.
        unsafe { (*self.0.cb()).ds }
    }

    /// Stores the outer header's DS field with the packet.
    #[inline]
    pub fn set_ds(&mut self, ds: u8) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { (*self.0.cb()).ds = ds }
    }

    /// Turns a packet that `dev` is to transmit into the packets that go over the wire.
    ///
    /// The flow hash is taken before, once for all of them. Each packet of the result has lost its
    /// route and its device and has an MTU of 0 stored with it. A packet that cannot be segmented
    /// is handed back.
    pub fn gso_segment(self, dev: &NetDevice) -> Result<SkbList, (SkBuff, Error)> {
        let ptr = self.0.as_ptr();
        // SAFETY: Valid and ours by the type invariants; `dev` lives through this function, so the
        // flow dissector may look at it.
        unsafe {
            self.0.set_dev(dev.as_ptr());
            bindings::skb_get_hash(ptr);
        }
        let mut list = SkbList::new();
        if !self.is_gso() {
            list.push_segment(self);
            return Ok(list);
        }
        // SAFETY: Valid and ours by the type invariants. The original stays ours.
        let mut next = match from_err_ptr(unsafe { bindings::skb_gso_segment(ptr) }) {
            Ok(segments) => segments,
            Err(e) => return Err((self, e)),
        };
        self.consume();
        while let Some(raw) = RawSkb::new(next) {
            // SAFETY: The list that segmentation returns belongs to its caller, who takes it apart
            // here: each is valid, and unlinked by `from_raw` after its link was read.
            unsafe {
                next = raw.next();
                raw.set_next(ptr::null_mut());
                let skb = bindings::skb_share_check(raw.as_ptr());
                if !skb.is_null() {
                    list.push_segment(SkBuff::from_raw(skb));
                }
            }
        }
        Ok(list)
    }

    /// Makes the packet a list entry: without route, device and stored data.
    #[inline]
    pub(crate) fn detach(self) -> Self {
        self.drop_route();
        // SAFETY: Valid and ours by the type invariants.
        unsafe {
            self.0.set_dev(ptr::null_mut());
            (*self.0.cb()).mtu = 0;
            (*self.0.cb()).ds = 0;
        }
        self
    }

    /// Tells the sender of a packet that `dev` was to transmit that its destination cannot be
    /// reached.
    pub fn icmp_unreachable(&mut self, dev: &NetDevice) {
        // SAFETY: Valid and ours by the type invariants; `dev` lives through this function.
        unsafe {
            self.0.set_dev(dev.as_ptr());
            bindings::icmp_unreachable(self.0.as_ptr());
        }
    }

    /// Stops accounting the packet to the socket it came from.
    #[inline]
    pub fn orphan(&mut self) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { bindings::skb_orphan(self.0.as_ptr()) }
    }
}

impl Drop for SkBuff {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariants.
        unsafe {
            kernel::bindings::sk_skb_reason_drop(
                ptr::null(),
                self.0.as_ptr(),
                kernel::bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
            )
        }
    }
}
