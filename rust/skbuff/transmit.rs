// SPDX-License-Identifier: GPL-2.0
//! Packets that a device is to transmit, in the callback that gets them.
//!
//! Wraps [`include/net/dst.h`](srctree/include/net/dst.h),
//! [`include/net/gso.h`](srctree/include/net/gso.h) and
//! [`net/ipv4/icmp.c`](srctree/net/ipv4/icmp.c)'s `icmp_ndo_send()`. Softirq context, or bottom
//! halves disabled, under RCU: that of `ndo_start_xmit`.
//!
//! Safety review: `Documentation/safety.md#skbufftransmitrs`.

use super::{
    lossy,
    Owned,
    RawSkb,
    SkBuff,
    ETH_P_IP,
    ETH_P_IPV6,
    IPV4_HEADER,
    IPV6_HEADER,
    L3, //
};
use crate::{
    bindings,
    netdevice::NetDevice,
    skb_list::SkbList, //
};
use core::{
    marker::PhantomData,
    net::IpAddr, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// Bytes of a packet that every link must take (RFC 791).
const IPV4_MIN_MTU: u32 = 68;
/// The same (RFC 8200).
const IPV6_MIN_MTU: u32 = 1280;

/// A packet that a device is to transmit, as the stack hands it over: with its route.
///
/// A route is good for as long as its namespace is, a conntrack entry keeps that from going. So this
/// lives no longer than the callback, and stays on its CPU; what can be kept are the packets that it
/// is turned into ([`TxPacket::gso_segment`]), which have neither. Dropping it frees it, and counts
/// as a loss.
///
/// # Invariants
///
/// The route of `skb`, if any, may be used for `'a`. Its device is one that is borrowed for `'a`.
pub struct TxPacket<'a> {
    skb: Owned,
    /// The callback, and that it is of this CPU.
    _callback: PhantomData<(&'a NetDevice, *mut ())>,
}

lossy!(TxPacket<'_>, skb);

impl<'a> TxPacket<'a> {
    /// Takes over what `dev` is to transmit. If others have the packet as well, that is a clone of
    /// it. `None` if memory for that is short.
    ///
    /// # Safety
    ///
    /// `ptr` must be a valid `sk_buff` that is on no list, and the caller pass a reference to it on.
    /// Its route, if any, must be counted, or have been set in a read-side section that lasts for
    /// `'a`.
    #[inline]
    pub(crate) unsafe fn new(
        ptr: *mut kernel::bindings::sk_buff,
        dev: &'a NetDevice,
    ) -> Option<Self> {
        // SAFETY: By the requirement; after `unshare` the reference is the only one.
        let skb = unsafe {
            let raw = RawSkb::new(ptr)?.unshare()?;
            raw.set_dev(dev.as_ptr());
            Owned::new(raw)
        };
        // INVARIANT: By the requirement, and as just set.
        Some(Self {
            skb,
            _callback: PhantomData,
        })
    }

    #[inline]
    fn raw(&self) -> RawSkb {
        self.skb.raw()
    }

    /// The IP version, if the network header and the EtherType agree on one.
    #[inline]
    pub fn l3_protocol(&self) -> Option<L3> {
        // SAFETY: Valid by the type invariants.
        unsafe { self.raw().l3_protocol() }
    }

    /// The destination address in the network header.
    #[inline]
    pub fn dst_addr(&self) -> Option<IpAddr> {
        // It is the last field.
        self.addr_before_end(0)
    }

    /// The source address in the network header.
    pub fn src_addr(&self) -> Option<IpAddr> {
        // The destination's is behind it.
        self.addr_before_end(1)
    }

    /// The address in the network header behind which so many others come.
    #[inline]
    fn addr_before_end(&self, others: usize) -> Option<IpAddr> {
        // SAFETY: Valid by the type invariants. While `self` is borrowed nobody changes the data.
        unsafe {
            match self.raw().parse_l3()? {
                L3::V4 => {
                    let header = self.raw().network_bytes(IPV4_HEADER - 4 * others)?;
                    Some(IpAddr::from(*header.last_chunk::<4>()?))
                }
                L3::V6 => {
                    let header = self.raw().network_bytes(IPV6_HEADER - 16 * others)?;
                    Some(IpAddr::from(*header.last_chunk::<16>()?))
                }
            }
        }
    }

    /// Source and destination port, in host order, of a datagram or the first fragment of one, with
    /// headers as this host makes them for a UDP socket without options: in one piece, and none in
    /// between but that of IPv6 for fragments. `None` for everything else.
    #[inline]
    pub fn udp_ports(&self) -> Option<(u16, u16)> {
        /// UDP's number, and that of IPv6's fragment header.
        const UDP: u8 = 17;
        const FRAGMENT: u8 = 44;

        // SAFETY: Valid by the type invariants. While `self` is borrowed nobody changes the data.
        let (raw, protocol) = unsafe { (self.raw(), self.raw().protocol()) };
        // SAFETY: As above.
        let bytes = |n| unsafe { raw.network_bytes(n) };
        let udp = match protocol {
            ETH_P_IP => {
                let [0x45, _, _, _, _, _, fragment, offset, _, UDP, ..] = bytes(IPV4_HEADER)?
                else {
                    return None;
                };
                (fragment & 0x1f == 0 && *offset == 0).then_some(IPV4_HEADER)?
            }
            ETH_P_IPV6 => match bytes(IPV6_HEADER)?[6] {
                UDP => IPV6_HEADER,
                FRAGMENT => {
                    let [UDP, _, offset, low, ..] = bytes(IPV6_HEADER + 8)?[IPV6_HEADER..] else {
                        return None;
                    };
                    (offset == 0 && low & 0xf8 == 0).then_some(IPV6_HEADER + 8)?
                }
                _ => return None,
            },
            _ => return None,
        };
        let [a, b, c, d] = bytes(udp + 4)?[udp..] else {
            return None;
        };
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// Whether this host made it, as far as can be told: it came in by no interface.
    pub fn is_from_here(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.raw().headers()).skb_iif == 0 }
    }

    /// The MTU of the packet's route, if it has one.
    #[inline]
    pub fn dst_mtu(&self) -> Option<u32> {
        // SAFETY: Valid by the type invariants, the route as well.
        match unsafe { bindings::skb_dst_mtu(self.raw().as_ptr()) } {
            0 => None,
            mtu => Some(mtu),
        }
    }

    /// Tells the sender of the packet that its destination cannot be reached; nobody, if the packet
    /// has no route by which it came that is one of its protocol.
    pub fn icmp_unreachable(&mut self) {
        // SAFETY: Valid and ours by the type invariants; so are its route and its device.
        unsafe { bindings::icmp_unreachable(self.raw().as_ptr()) }
    }

    /// If it (or a packet that it stands for) has more than `longest` bytes, and nobody on the way may
    /// fragment it: what its sender is to be told as the MTU. That is no less than what the protocol
    /// wants of every link; what has no more than that is not refused.
    #[inline]
    pub fn must_shrink_to(&self, longest: u32) -> Option<u32> {
        /// Of IPv4's flags, in the upper byte of the field.
        const DONT_FRAGMENT: u8 = 0x40;

        // SAFETY: Valid by the type invariants. While `self` is borrowed nobody changes the data.
        let mtu = unsafe {
            match self.raw().parse_l3()? {
                L3::V4 if self.raw().network_bytes(IPV4_HEADER)?[6] & DONT_FRAGMENT == 0 => {
                    return None
                }
                L3::V4 => longest.max(IPV4_MIN_MTU),
                L3::V6 => longest.max(IPV6_MIN_MTU),
            }
        };
        // SAFETY: Valid by the type invariants.
        let fits = unsafe { bindings::skb_fits(self.raw().as_ptr(), mtu) };
        (!fits).then_some(mtu)
    }

    /// Tells the sender of the packet which MTU there is; nobody, as for
    /// [`icmp_unreachable`](Self::icmp_unreachable).
    #[cold]
    pub fn icmp_too_big(&mut self, mtu: u32) {
        // SAFETY: Valid and ours by the type invariants; so are its route and its device.
        unsafe { bindings::icmp_too_big(self.raw().as_ptr(), mtu) }
    }

    /// Turns the packet into those that go over the wire: itself, or (if it stands for several, as
    /// GSO has it) its segments.
    ///
    /// The flow hash is taken before, once for all of them. What ties the packet to its path goes:
    /// route, conntrack entry, extensions, device. Each packet of the result has an MTU of 0 stored
    /// with it. One that cannot be segmented is handed back; one that was is used up, which is no
    /// loss.
    pub fn gso_segment(self) -> Result<SkbList, (Self, Error)> {
        let ptr = self.raw().as_ptr();
        let mut list = SkbList::new();
        // SAFETY: Valid and ours by the type invariants; the flow dissector may look at its device.
        let gso = unsafe {
            bindings::skb_get_hash(ptr);
            self.raw().is_gso()
        };
        if !gso {
            // SAFETY: Ours, on no list, and just this packet.
            list.push_back(unsafe { detach(self.skb.into_raw()) });
            return Ok(list);
        }
        // SAFETY: Valid and ours by the type invariants. The original stays ours.
        let mut next = match from_err_ptr(unsafe { bindings::skb_gso_segment(ptr) }) {
            Ok(segments) if !segments.is_null() => segments,
            Ok(_) => return Err((self, EINVAL)),
            Err(e) => return Err((self, e)),
        };
        self.skb.consume();
        while let Some(raw) = RawSkb::new(next) {
            // SAFETY: The list that segmentation returns belongs to its caller, who takes it apart
            // here: each is valid, and unlinked after its link was read. Asked for without a
            // feature, as the shim does, segmentation leaves nothing to be segmented.
            unsafe {
                next = raw.next();
                raw.set_next(core::ptr::null_mut());
                if let Some(raw) = raw.unshare() {
                    list.push_back(detach(raw));
                }
            }
        }
        Ok(list)
    }
}

/// Makes a packet one that can be kept, with nothing stored with it.
///
/// # Safety
///
/// As for [`Owned::new`]; and the packet must not be one that is still to be segmented.
#[inline]
unsafe fn detach(raw: RawSkb) -> SkBuff {
    // SAFETY: By the requirement; nothing ties it any more.
    unsafe {
        raw.untie();
        (*raw.cb()).mtu = 0;
        (*raw.cb()).ds = 0;
        SkBuff::from_raw(raw.as_ptr())
    }
}
