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
    SkBuff,
    ETH_P_IP,
    ETH_P_IPV6,
    IPV4_HEADER,
    IPV6_HEADER, //
};
use crate::{
    bindings,
    netdevice::NetDevice,
    udp_tunnel::Endpoint, //
};
use core::{
    net::{
        IpAddr,
        Ipv4Addr, //
    },
    slice, //
};

/// Size of a UDP header.
const UDP_HEADER: usize = 8;

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

impl SkBuff {
    /// Checks a received packet's outer headers and leaves the UDP payload as its data.
    ///
    /// A packet whose headers are not what they should be is handed back.
    pub fn udp_payload(self) -> Result<UdpPacket, SkBuff> {
        match self.udp_payload_bounds() {
            // SAFETY: Valid and ours by the type invariants. The range to pull is linear: the UDP
            // header is, as `udp_payload_bounds` saw, and trimming does not reach it.
            Some((offset, len)) => unsafe {
                if bindings::pskb_trim(self.raw().as_ptr(), (offset + len) as u32) < 0 {
                    return Err(self);
                }
                self.raw().pull(offset);
                if self.len() != len {
                    return Err(self);
                }
                // INVARIANT: The data is the payload, behind linear headers.
                Ok(UdpPacket(self))
            },
            None => Err(self),
        }
    }

    /// Where the UDP payload starts, from the start of the data, and its length.
    fn udp_payload_bounds(&self) -> Option<(usize, usize)> {
        self.l3_protocol()?;
        // SAFETY: Valid by the type invariants; `self` is borrowed. `head <= data`.
        let (udp, start) = unsafe {
            let udp = self.raw().transport_bytes(UDP_HEADER)?;
            let headroom = self.raw().data().offset_from((*self.raw().as_ptr()).head) as usize;
            let transport = usize::from((*self.raw().headers()).transport_header);
            (udp, transport.checked_sub(headroom)?)
        };
        let room = self.len().checked_sub(start)?;
        let udp_len = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
        if udp_len < UDP_HEADER || udp_len > room {
            return None;
        }
        Some((start + UDP_HEADER, udp_len - UDP_HEADER))
    }

    /// Where the outer headers, which are in front of the data, say the packet came from.
    pub fn outer_source(&self) -> Option<Endpoint> {
        // SAFETY: Valid by the type invariants; while `self` is borrowed nobody changes the data.
        unsafe {
            let udp = self.raw().transport_bytes(UDP_HEADER)?;
            let port = u16::from_be_bytes([udp[0], udp[1]]);
            let iif = (*self.raw().headers()).skb_iif;
            match self.protocol() {
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
                    })
                }
                _ => None,
            }
        }
    }

    /// Forgets everything about the packet that is not its data: headers, marks, the device it
    /// came from. For a packet that leaves a tunnel; its data then starts with its own header.
    #[inline]
    pub fn strip_outer(&mut self) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { bindings::skb_reset(self.raw().as_ptr(), false) }
    }

    /// Checks the IP header that the data starts with, after [`SkBuff::strip_outer`].
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

    /// Makes a packet that [`SkBuff::inner`] approved one that `dev` received: cut to `total_len`,
    /// checksums vouched for, congestion marks of the outer header (`outer_ds`) taken over.
    ///
    /// Hands it back if memory is short, or if its data does not start with an IP header.
    pub fn prepare_rx(
        self,
        dev: &NetDevice,
        outer_ds: u8,
        total_len: usize,
    ) -> Result<RxPacket, SkBuff> {
        let Ok(total_len) = u32::try_from(total_len) else {
            return Err(self);
        };
        // SAFETY: Valid and ours by the type invariants. The IP header that ECN marking touches is
        // the one that `ip_tunnel_parse_protocol` finds inside the data. `dev` lives through this
        // function, and nothing looks at the pointer afterwards: `Napi` sets it anew.
        let prepared = unsafe {
            bindings::skb_receive_prepare(self.raw().as_ptr(), dev.as_ptr(), outer_ds, total_len)
        };
        if !prepared {
            return Err(self);
        }
        // INVARIANT: The shim has set them.
        Ok(RxPacket(self))
    }
}

/// A packet that can be handed up: [`NapiContext::gro_receive`](crate::napi::NapiContext).
///
/// # Invariants
///
/// MAC and network header are where the data starts, which is an IP header of the packet's
/// protocol, and its link-layer header is empty. The layers above take that for granted: a packet
/// without would have them write in front of its buffer.
pub struct RxPacket(SkBuff);

impl RxPacket {
    /// The packet.
    #[inline]
    pub fn into_inner(self) -> SkBuff {
        self.0
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
        match self.0.protocol() {
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
