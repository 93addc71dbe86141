// SPDX-License-Identifier: GPL-2.0
//! Received packets: from the UDP layer to the payload, from an opened payload to a packet of ours.
//!
//! Wraps [`include/linux/udp.h`](srctree/include/linux/udp.h),
//! [`include/net/ip_tunnels.h`](srctree/include/net/ip_tunnels.h) and
//! [`include/net/inet_ecn.h`](srctree/include/net/inet_ecn.h). Any context but hardirq; nothing
//! sleeps.
//!
//! Safety review: `Documentation/safety.md#skbuffreceivers`.

use super::{
    lossy,
    Owned,
    RawSkb,
    SkBuff,
    ETH_P_IP,
    ETH_P_IPV6,
    IPV4_HEADER,
    IPV6_HEADER,
    UDP_HEADER, //
};
use crate::{
    bindings,
    udp_tunnel::Endpoint, //
};
use core::{
    net::{
        IpAddr,
        Ipv4Addr, //
    },
    slice, //
};

/// What an inner packet says about itself, from [`SkBuff::inner`].
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Its length, at most that of the buffer it came in; the rest is padding.
    pub total_len: usize,
    /// Its source address.
    pub src: IpAddr,
}

/// What is wrong with an inner packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InnerError {
    /// It claims a length that cannot be.
    Size,
    /// It is neither IPv4 nor IPv6.
    Type,
}

/// What the UDP layer received, with nothing checked: even whether it is one packet.
///
/// Dropping it frees it, and counts as a loss.
///
/// # Invariants
///
/// `0` is tied to nothing (see [`SkBuff`]).
pub struct Datagram(Owned);

lossy!(Datagram, 0);

impl Datagram {
    /// Takes over a packet that the UDP layer received.
    ///
    /// # Safety
    ///
    /// `raw` must be a valid `sk_buff` that is on no list, and the caller must own the only
    /// reference to it and pass it on. Its route may be an uncounted one, if that was set in this
    /// read-side section.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: RawSkb) -> Self {
        // INVARIANT: It is untied.
        // SAFETY: By the requirement.
        unsafe {
            raw.untie();
            Self(Owned::new(raw))
        }
    }

    /// Checks the packet's outer headers and leaves the UDP payload as its data.
    ///
    /// A packet whose headers are not what they should be is handed back; so is one that stands for
    /// several (which only comes from a network card that takes one tunnel for another).
    pub fn udp_payload(self) -> Result<UdpPacket, Self> {
        let raw = self.0.raw();
        // SAFETY: Valid and ours by the type invariants. The range to pull is linear: the UDP
        // header is, as `payload_bounds` saw, and trimming does not reach it.
        unsafe {
            match payload_bounds(raw) {
                Some((offset, len))
                    if !raw.is_gso() && raw.trim(offset + len) && raw.pull(offset) =>
                {
                    // What is known of its checksum is of no use any more.
                    (*raw.headers()).set_ip_summed(kernel::bindings::CHECKSUM_NONE as u8);
                }
                _ => return Err(self),
            }
        }
        // INVARIANT: The data is the payload, behind linear headers. It is one packet, as was seen.
        Ok(UdpPacket(SkBuff(self.0)))
    }
}

/// Where the UDP payload starts, from the start of the data, and its length.
///
/// # Safety
///
/// The `sk_buff` must be valid and not be changed meanwhile.
unsafe fn payload_bounds(raw: RawSkb) -> Option<(usize, usize)> {
    // SAFETY: By the requirement.
    let (udp, start, len) = unsafe {
        raw.l3_protocol()?;
        let udp = raw.transport_bytes(UDP_HEADER)?;
        let transport = usize::from((*raw.headers()).transport_header);
        (udp, transport.checked_sub(raw.headroom())?, raw.len())
    };
    let room = len.checked_sub(start)?;
    let udp_len = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    if udp_len < UDP_HEADER || udp_len > room {
        return None;
    }
    Some((start + UDP_HEADER, udp_len - UDP_HEADER))
}

impl SkBuff {
    /// Where the outer headers, which are in front of the data, say the packet came from.
    pub fn outer_source(&self) -> Option<Endpoint> {
        // SAFETY: Valid by the type invariants; while `self` is borrowed nobody changes the data.
        unsafe {
            let udp = self.raw().transport_bytes(UDP_HEADER)?;
            let port = u16::from_be_bytes([udp[0], udp[1]]);
            let iif = (*self.raw().headers()).skb_iif;
            match self.raw().protocol() {
                ETH_P_IP => {
                    let ip = self.raw().network_bytes(IPV4_HEADER)?;
                    Some(Endpoint::V4 {
                        addr: ip[12..16].try_into().ok()?,
                        port,
                        pad: [0; 8],
                        src: ip[16..20].try_into().ok()?,
                        src_ifindex: iif,
                    })
                }
                ETH_P_IPV6 => {
                    let ip = self.raw().network_bytes(IPV6_HEADER)?;
                    let addr: [u8; 16] = ip[8..24].try_into().ok()?;
                    Some(Endpoint::V6 {
                        addr,
                        port,
                        flowinfo: 0,
                        scope_id: if needs_scope(&addr) { iif as u32 } else { 0 },
                        src: ip[24..40].try_into().ok()?,
                        src_ifindex: iif,
                    })
                }
                _ => None,
            }
        }
    }

    /// Checks the IP header that the data starts with.
    pub fn inner(&mut self) -> Result<Inner, InnerError> {
        // SAFETY: Valid and ours by the type invariants, and borrowed while the header is read.
        unsafe {
            if !self.raw().may_pull(IPV4_HEADER) {
                return Err(InnerError::Type);
            }
            let version = *self.raw().data() >> 4;
            if version == 6 && !self.raw().may_pull(IPV6_HEADER) {
                return Err(InnerError::Type);
            }
            let header = slice::from_raw_parts(self.raw().data(), self.raw().head_len());
            let (total_len, src) = match version {
                4 => {
                    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
                    let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
                    (total_len, IpAddr::V4(src))
                }
                6 => {
                    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
                    let mut src = [0; 16];
                    src.copy_from_slice(&header[8..24]);
                    (payload + IPV6_HEADER, IpAddr::V6(src.into()))
                }
                _ => return Err(InnerError::Type),
            };
            if (version == 4 && total_len < IPV4_HEADER) || total_len > self.len() {
                return Err(InnerError::Size);
            }
            Ok(Inner { total_len, src })
        }
    }

    /// Makes a packet that [`SkBuff::inner`] approved one that a device received: cut to
    /// `total_len`, checksums vouched for, congestion marks of the outer header (`outer_ds`) taken
    /// over.
    ///
    /// Everything else about it is forgotten, whatever was done to it before: headers, marks,
    /// offloads, the socket that it was sent from. Handed back if memory is short, or if its data
    /// does not start with an IP header.
    pub fn prepare_rx(self, outer_ds: u8, total_len: usize) -> Result<RxPacket, SkBuff> {
        let Ok(total_len) = u32::try_from(total_len) else {
            return Err(self);
        };
        // SAFETY: Valid and ours by the type invariants. The IP header that ECN marking touches is
        // the one that `ip_tunnel_parse_protocol` finds inside the data.
        let prepared =
            unsafe { bindings::skb_receive_prepare(self.raw().as_ptr(), outer_ds, total_len) };
        if !prepared {
            return Err(self);
        }
        // INVARIANT: The shim has made it so.
        Ok(RxPacket(self.0))
    }
}

/// A packet that can be handed up: [`NapiContext::gro_receive`](crate::napi::NapiContext).
///
/// Dropping it frees it, and counts as a loss.
///
/// # Invariants
///
/// - MAC and network header are where the data starts, which is an IP header of the packet's
///   protocol, and its link-layer header is empty. The layers above take that for granted: a packet
///   without would have them write in front of its buffer.
/// - It is tied to nothing (see [`SkBuff`]): a route of another family would be used for one of the
///   protocol's. Its device is that of the NAPI context that hands it up.
/// - It has no socket: that would be taken for one that it is for.
/// - No clone has its buffer: GRO moves the pieces from there.
pub struct RxPacket(Owned);

lossy!(RxPacket, 0);

impl RxPacket {
    /// Gives the `sk_buff` up. The receiver owns the reference.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut kernel::bindings::sk_buff {
        self.0.into_raw().as_ptr()
    }
}

/// Whether an address means something on one link only, so that an interface must be named.
fn needs_scope(addr: &[u8; 16]) -> bool {
    let link_local = addr[0] == 0xfe && addr[1] & 0xc0 == 0x80;
    let multicast = addr[0] == 0xff && matches!(addr[1] & 0x0f, 1 | 2);
    link_local || multicast
}

/// A received UDP packet; its data is the payload.
///
/// # Invariants
///
/// The transport header was linear, and in front of the data, when this was made. (Whether the
/// headers still are is checked at each look.)
pub struct UdpPacket(SkBuff);

lossy!(UdpPacket, 0);

impl UdpPacket {
    /// Bytes of payload.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first `n` bytes of the payload; `None` if there are less, or memory is short.
    #[inline]
    pub fn head(&mut self, n: usize) -> Option<&[u8]> {
        // SAFETY: Valid and ours by the invariants of `SkBuff`; `n` bytes are linear then, and
        // stay as they are while `self` is borrowed.
        unsafe {
            let raw = self.0.raw();
            raw.may_pull(n)
                .then(|| slice::from_raw_parts(raw.data(), n))
        }
    }

    /// Who sent it.
    #[inline]
    pub fn source(&self) -> Endpoint {
        self.0.outer_source().unwrap_or(Endpoint::None)
    }

    /// The outer header's DS field.
    #[inline]
    pub fn ecn_dsfield(&self) -> u8 {
        // SAFETY: Valid by the invariants of `SkBuff`; `self` is borrowed.
        let Some(ip) = (unsafe { self.0.raw().network_bytes(2) }) else {
            return 0;
        };
        // SAFETY: As above.
        match unsafe { self.0.raw().protocol() } {
            ETH_P_IP => ip[1],
            ETH_P_IPV6 => ip[0] << 4 | ip[1] >> 4,
            _ => 0,
        }
    }

    /// The packet, its data being the payload.
    #[inline]
    pub fn into_inner(self) -> SkBuff {
        self.0
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_skbuff_receive)]
mod tests {
    use super::*;
    use crate::skbuff::MAX_HEADROOM;
    use kernel::prelude::*;

    /// An IPv4 packet with a UDP header and eight bytes of payload.
    const PACKET: [u8; 36] = {
        let mut packet = [0; 36];
        packet[0] = 0x45;
        packet[3] = 36;
        packet[25] = 16;
        packet
    };

    /// As `prepare_rx`, of a packet that is looked at afterwards.
    fn prepare(skb: &SkBuff, total_len: u32) -> bool {
        // SAFETY: Ours.
        unsafe { bindings::skb_receive_prepare(skb.raw().as_ptr(), 0, total_len) }
    }

    /// What the UDP layer would have received, `headroom` bytes into its buffer.
    fn received(headroom: usize) -> Result<Datagram> {
        let skb = SkBuff::with_payload(&PACKET, headroom, GFP_KERNEL)?;
        let raw = skb.raw();
        // SAFETY: Ours.
        unsafe {
            (*raw.headers()).protocol = ETH_P_IP.to_be();
            (*raw.headers()).network_header = headroom as u16;
            (*raw.headers()).transport_header = (headroom + IPV4_HEADER) as u16;
            Ok(Datagram::from_raw(skb.0.into_raw()))
        }
    }

    #[test]
    fn payload() -> Result {
        assert_eq!(received(64)?.udp_payload().ok().ok_or(EINVAL)?.len(), 8);
        // The payload would start where offsets are not told any more.
        let last = MAX_HEADROOM - IPV4_HEADER - UDP_HEADER;
        assert!(received(last)?.udp_payload().is_ok());
        assert!(received(last + 1)?.udp_payload().is_err());
        Ok(())
    }

    /// One that stands for several is not taken for one.
    #[test]
    fn several_in_one() -> Result {
        let datagram = received(64)?;
        let skb = datagram.0.raw().as_ptr();
        // SAFETY: Ours; what is shared of a buffer is at its end.
        unsafe {
            let shared = (*skb).head.add((*skb).end as usize);
            (*shared.cast::<kernel::bindings::skb_shared_info>()).gso_size = 4;
        }
        assert!(datagram.udp_payload().is_err());
        Ok(())
    }

    #[test]
    fn prepared() -> Result {
        let skb = SkBuff::with_payload(&PACKET, 64, GFP_KERNEL)?;
        // No IP header would be left.
        for total_len in [0, 1, 19] {
            let cut = SkBuff::with_payload(&PACKET, 64, GFP_KERNEL)?;
            assert!(!prepare(&cut, total_len));
        }
        assert!(prepare(&skb, 30));
        assert_eq!(skb.len(), 30);
        // SAFETY: Ours.
        unsafe {
            assert_eq!(skb.raw().protocol(), ETH_P_IP);
            assert_eq!((*skb.raw().headers()).network_header, 64);
            assert_eq!((*skb.raw().headers()).mac_header, 64);
        }
        Ok(())
    }

    /// A clone's buffer stays as it is, whatever the layers above do.
    #[test]
    fn prepared_clone() -> Result {
        let original = SkBuff::with_payload(&PACKET, 64, GFP_KERNEL)?;
        // SAFETY: Both are ours, and `skb_clone` leaves the new one to us.
        unsafe {
            let clone =
                kernel::bindings::skb_clone(original.raw().as_ptr(), kernel::bindings::GFP_KERNEL);
            assert!(!clone.is_null());
            let clone = SkBuff::from_raw(clone);
            let head = |skb: &SkBuff| (*skb.raw().as_ptr()).head;
            assert!(head(&clone) == head(&original));
            assert!(prepare(&clone, 36));
            assert!(head(&clone) != head(&original));
        }
        Ok(())
    }

    /// The socket that a packet was sent from is not the one that it is received by.
    #[test]
    fn prepared_without_socket() -> Result {
        /// # Safety
        ///
        /// Called by the kernel for a valid packet that it orphans.
        unsafe extern "C" fn destructor(skb: *mut kernel::bindings::sk_buff) {
            // SAFETY: By the requirement.
            unsafe { (*skb).__bindgen_anon_3.__bindgen_anon_1._skb_refdst = 0 };
        }
        let skb = SkBuff::with_payload(&PACKET, 64, GFP_KERNEL)?;
        let ptr = skb.raw().as_ptr();
        // SAFETY: Ours; the function above is one for packets without a socket.
        unsafe {
            (*ptr).__bindgen_anon_3.__bindgen_anon_1.destructor = Some(destructor);
            assert!(prepare(&skb, 36));
            assert!((*ptr)
                .__bindgen_anon_3
                .__bindgen_anon_1
                .destructor
                .is_none());
        }
        Ok(())
    }
}
