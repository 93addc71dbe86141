// SPDX-License-Identifier: GPL-2.0
//! Where a peer is: an address and port, and our own address that it talks to.
//!
//! The outer forms are `struct sockaddr_in` and `sockaddr_in6`
//! ([`include/uapi/linux/in.h`](srctree/include/uapi/linux/in.h),
//! [`in6.h`](srctree/include/uapi/linux/in6.h)). Plain values, any context.
//!
//! Safety review: `Documentation/safety.md#udp_tunnelendpointrs`.

use core::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};
use kernel::fmt::{
    self,
    Write, //
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Size of `struct sockaddr_in`.
const SOCKADDR_IN: usize = 16;
/// Size of `struct sockaddr_in6`.
const SOCKADDR_IN6: usize = 28;
/// The bits of `sin6_flowinfo` that are a flow label.
const FLOWINFO_MASK: u32 = 0x0fff_ffff;

/// The two ends of a path to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// Not known.
    #[default]
    None,
    /// Over IPv4.
    V4 {
        /// The peer's address.
        addr: [u8; 4],
        /// The peer's UDP port, in host order.
        port: u16,
        /// What userspace left in `sin_zero`; it gets it back.
        pad: [u8; 8],
        /// Our address; zeros: any.
        src: [u8; 4],
        /// The interface that the peer's packets come in by; 0: any.
        src_ifindex: i32,
    },
    /// Over IPv6.
    V6 {
        /// The peer's address.
        addr: [u8; 16],
        /// The peer's UDP port, in host order.
        port: u16,
        /// What userspace said the flow was, in host order; it gets it back.
        flowinfo: u32,
        /// The interface, if `addr` means something on one link only.
        scope_id: u32,
        /// Our address; zeros: any.
        src: [u8; 16],
        /// As above.
        src_ifindex: i32,
    },
}

impl Endpoint {
    /// The peer's address.
    #[inline]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::None => None,
            Self::V4 { addr, .. } => Some(Ipv4Addr::from(*addr).into()),
            Self::V6 { addr, .. } => Some(Ipv6Addr::from(*addr).into()),
        }
    }

    /// The peer's UDP port, in host order; 0 if it is not known.
    #[inline]
    pub fn port(&self) -> u16 {
        match self {
            Self::None => 0,
            Self::V4 { port, .. } | Self::V6 { port, .. } => *port,
        }
    }

    /// Whether packets take the same path to both.
    pub fn same_path(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (
                Self::V4 {
                    addr,
                    port,
                    pad: _,
                    src,
                    src_ifindex,
                },
                Self::V4 {
                    addr: a,
                    port: p,
                    pad: _,
                    src: s,
                    src_ifindex: i,
                },
            ) => port == p && addr == a && src == s && src_ifindex == i,
            (
                Self::V6 {
                    addr,
                    port,
                    flowinfo: _,
                    scope_id,
                    src,
                    src_ifindex,
                },
                Self::V6 {
                    addr: a,
                    port: p,
                    flowinfo: _,
                    scope_id: id,
                    src: s,
                    src_ifindex: i,
                },
            ) => port == p && addr == a && scope_id == id && src == s && src_ifindex == i,
            _ => false,
        }
    }

    /// Whether both are of the same place, whatever our address.
    pub fn same_place(&self, other: &Self) -> bool {
        let (mut this, mut other) = (*self, *other);
        this.clear_src();
        other.clear_src();
        this.same_path(&other)
    }

    /// Reads a socket address: 16 bytes of the IPv4 family, or 28 of the IPv6 one.
    pub fn from_sockaddr(bytes: &[u8]) -> Option<Self> {
        let family = u16::from_ne_bytes(*bytes.first_chunk()?);
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        match (family, bytes.len()) {
            (AF_INET, SOCKADDR_IN) => Some(Self::V4 {
                addr: *bytes.get(4..)?.first_chunk()?,
                port,
                pad: *bytes.get(8..)?.first_chunk()?,
                src: [0; 4],
                src_ifindex: 0,
            }),
            (AF_INET6, SOCKADDR_IN6) => Some(Self::V6 {
                addr: *bytes.get(8..)?.first_chunk()?,
                port,
                flowinfo: u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?),
                scope_id: u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?),
                src: [0; 16],
                src_ifindex: 0,
            }),
            _ => None,
        }
    }

    /// Writes a socket address; the second value is its length, 0 if there is none.
    pub fn to_sockaddr(&self) -> ([u8; SOCKADDR_IN6], usize) {
        let mut out = [0; SOCKADDR_IN6];
        match self {
            Self::None => (out, 0),
            Self::V4 {
                addr, port, pad, ..
            } => {
                out[..2].copy_from_slice(&AF_INET.to_ne_bytes());
                out[2..4].copy_from_slice(&port.to_be_bytes());
                out[4..8].copy_from_slice(addr);
                out[8..16].copy_from_slice(pad);
                (out, SOCKADDR_IN)
            }
            Self::V6 {
                addr,
                port,
                flowinfo,
                scope_id,
                ..
            } => {
                out[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
                out[2..4].copy_from_slice(&port.to_be_bytes());
                out[4..8].copy_from_slice(&flowinfo.to_be_bytes());
                out[8..24].copy_from_slice(addr);
                out[24..28].copy_from_slice(&scope_id.to_ne_bytes());
                (out, SOCKADDR_IN6)
            }
        }
    }

    /// Forgets our end of the path, so that routing chooses it anew.
    pub fn clear_src(&mut self) {
        match self {
            Self::None => {}
            Self::V4 {
                src, src_ifindex, ..
            } => {
                *src = [0; 4];
                *src_ifindex = 0;
            }
            Self::V6 {
                src, src_ifindex, ..
            } => {
                *src = [0; 16];
                *src_ifindex = 0;
            }
        }
    }
}

/// As `%pISpfsc` prints the socket address in C.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("(einval)"),
            Self::V4 { addr, port, .. } => {
                let [a, b, c, d] = addr;
                write!(f, "{a}.{b}.{c}.{d}:{port}")
            }
            Self::V6 {
                addr,
                port,
                flowinfo,
                scope_id,
                ..
            } => {
                f.write_char('[')?;
                write_compressed(f, addr)?;
                let flow = flowinfo & FLOWINFO_MASK;
                write!(f, "]:{port}/{flow}%{scope_id}")
            }
        }
    }
}

/// Writes an IPv6 address the short way: the first of the longest runs of two or more zero words
/// left out, an embedded IPv4 address as one.
fn write_compressed(f: &mut fmt::Formatter<'_>, addr: &[u8; 16]) -> fmt::Result {
    let mut words = [0u16; 8];
    for (word, bytes) in words.iter_mut().zip(addr.chunks_exact(2)) {
        *word = u16::from_be_bytes([bytes[0], bytes[1]]);
    }
    let mapped = words[..5] == [0; 5] && words[5] == 0xffff;
    // ISATAP: the lower half is 00-00-5e-fe (or 02-…), then the address.
    let isatap = words[4] | 0x0200 == 0x0200 && words[5] == 0x5efe;
    let v4 = mapped || isatap;
    let range = &words[..if v4 { 6 } else { 8 }];

    let (mut gap, mut gap_len) = (0, 1);
    for start in 0..range.len() {
        let run = range[start..].iter().take_while(|word| **word == 0).count();
        if run > gap_len {
            (gap, gap_len) = (start, run);
        }
    }
    let mut i = 0;
    let mut colon = false;
    while i < range.len() {
        if gap_len > 1 && i == gap {
            f.write_str("::")?;
            i += gap_len;
            colon = false;
            continue;
        }
        if colon {
            f.write_char(':')?;
        }
        write!(f, "{:x}", range[i])?;
        colon = true;
        i += 1;
    }
    if v4 {
        if colon {
            f.write_char(':')?;
        }
        let [.., a, b, c, d] = addr;
        write!(f, "{a}.{b}.{c}.{d}")?;
    }
    Ok(())
}
