// SPDX-License-Identifier: GPL-2.0
//! What the tests take apart: packets as `skb_gro_receive()` leaves them
//! ([`net/core/gro.c`](srctree/net/core/gro.c)), and others that lie otherwise.
//!
//! Safety review: `Documentation/safety.md#skbuffaggregatekunitpacketsrs`.

use super::super::*;
use crate::{
    skbuff::{
        SkBuff,
        ETH_P_IP,
        ETH_P_IPV6,
        IPV4_HEADER,
        IPV6_HEADER,
        L3, //
    },
    udp_tunnel::Endpoint,
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Bytes in front of the link layer's header: with all headers, more than may be copied.
pub(super) const PAD: usize = 96;
pub(super) const ETHERNET: usize = 14;
pub(super) const DS: u8 = 0xb9;
pub(super) const IIF: i32 = 77;
pub(super) const PORT: u16 = 0x1234;
pub(super) const L4: u32 = kernel::bindings::SKB_GSO_UDP_L4 as u32;

/// Where the payload starts in a buffer.
pub(super) fn payload_at(l3: L3) -> usize {
    let ip = match l3 {
        L3::V4 => IPV4_HEADER,
        L3::V6 => IPV6_HEADER,
    };
    PAD + ETHERNET + ip + UDP_HEADER
}

/// Bytes that tell one datagram, and one place in it, from others.
pub(super) fn fill(number: usize, payload: &mut [u8]) {
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte = (number * 37 + i * 11 + (i >> 8)) as u8;
    }
}

/// The link layer's header, those of IP and UDP, and the payload of one datagram.
pub(super) fn frame(l3: L3, number: usize, len: usize) -> Result<KVec<u8>> {
    let headers = payload_at(l3) - PAD;
    let mut frame = KVec::from_elem(0, headers + len, GFP_KERNEL)?;
    let udp = headers - UDP_HEADER;
    let ip = &mut frame[ETHERNET..udp];
    let total = ((ip.len() + UDP_HEADER + len) as u16).to_be_bytes();
    match l3 {
        L3::V4 => {
            ip[..4].copy_from_slice(&[0x45, DS, total[0], total[1]]);
            ip[8..10].copy_from_slice(&[64, 17]);
            ip[12..16].copy_from_slice(&[192, 0, 2, 1]);
            ip[16..20].copy_from_slice(&[198, 51, 100, 2]);
        }
        L3::V6 => {
            ip[..2].copy_from_slice(&[0x60 | DS >> 4, DS << 4]);
            ip[4..6].copy_from_slice(&((UDP_HEADER + len) as u16).to_be_bytes());
            ip[6..8].copy_from_slice(&[17, 64]);
            (ip[8], ip[23], ip[24], ip[39]) = (0x20, 1, 0x20, 2);
        }
    }
    frame[udp..udp + 2].copy_from_slice(&PORT.to_be_bytes());
    frame[udp + 4..udp + 6].copy_from_slice(&((UDP_HEADER + len) as u16).to_be_bytes());
    // Each has another checksum.
    frame[udp + 6..udp + 8].copy_from_slice(&(number as u16 + 1).to_be_bytes());
    fill(number, &mut frame[headers..]);
    Ok(frame)
}

/// Who sent it.
pub(super) fn source(l3: L3) -> Endpoint {
    match l3 {
        L3::V4 => Endpoint::V4 {
            addr: [192, 0, 2, 1],
            port: PORT,
            pad: [0; 8],
            src: [198, 51, 100, 2],
            src_ifindex: IIF,
        },
        L3::V6 => Endpoint::V6 {
            addr: [0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            port: PORT,
            flowinfo: 0,
            scope_id: 0,
            src: [0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            src_ifindex: IIF,
        },
    }
}

/// A packet of `linear` bytes, at `at` in its buffer, and others in fragments.
pub(super) fn packet(bytes: &[u8], at: usize, linear: usize) -> Result<RawSkb> {
    let frags = bytes.len() - linear;
    if frags == 0 {
        return Ok(SkBuff::with_payload(bytes, at, GFP_KERNEL)?.0.into_raw());
    }
    let mut error = 0;
    // SAFETY: A new packet with the room that is asked for, which is what is used of it, the
    // fragments as far as they are filled.
    unsafe {
        let raw = RawSkb::new(kernel::bindings::alloc_skb_with_frags(
            at + linear,
            frags,
            0,
            &mut error,
            kernel::bindings::GFP_KERNEL,
        ))
        .ok_or(ENOMEM)?;
        let skb = raw.as_ptr();
        (*skb).data = raw.data().add(at);
        (*skb).tail += (at + linear) as u32;
        (*skb).len = bytes.len() as u32;
        (*skb).data_len = frags as u32;
        let (from, len) = (bytes.as_ptr().cast(), bytes.len() as i32);
        to_result(kernel::bindings::skb_store_bits(skb, 0, from, len))?;
        Ok(raw)
    }
}

/// How the bytes of an aggregate lie.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) l3: L3,
    /// Linear bytes of the first datagram's payload.
    pub(super) first: usize,
    /// The same of the others'.
    pub(super) other: usize,
    /// Datagrams in the first packet, and in each other.
    pub(super) together: usize,
    /// Bytes in front of a member's payload.
    pub(super) room: usize,
}

impl Layout {
    /// Each a packet, all linear.
    pub(super) fn list(l3: L3) -> Self {
        Self {
            l3,
            first: usize::MAX,
            other: usize::MAX,
            together: 1,
            room: payload_at(l3),
        }
    }

    /// An aggregate of datagrams of these lengths, as the UDP layer hands it on.
    pub(super) fn make(&self, lens: &[usize]) -> Result<RawSkb> {
        let mut number = 0;
        let mut parts = lens.chunks(self.together).map(|lens| {
            let mut bytes = frame(self.l3, number, lens[0])?;
            for len in lens {
                let start = bytes.len();
                if number % self.together != 0 {
                    bytes.resize(start + len, 0, GFP_KERNEL)?;
                    fill(number, &mut bytes[start..]);
                }
                number += 1;
            }
            Ok::<_, Error>(bytes)
        });
        let headers = payload_at(self.l3) - PAD;
        let first = parts.next().ok_or(EINVAL)??;
        let linear = (first.len() - headers).min(self.first);
        let head = packet(&first, PAD, headers + linear)?;
        let udp = payload_at(self.l3) - UDP_HEADER;
        // SAFETY: The packets are new, and nobody else's. The headers are linear.
        unsafe {
            let fields = &mut *head.headers();
            (fields.mac_header, fields.network_header) = (PAD as u16, (PAD + ETHERNET) as u16);
            fields.transport_header = udp as u16;
            fields.protocol = match self.l3 {
                L3::V4 => ETH_P_IP,
                L3::V6 => ETH_P_IPV6,
            }
            .to_be();
            fields.skb_iif = IIF;
            fields.set_ip_summed(kernel::bindings::CHECKSUM_PARTIAL as u8);
            fields.__bindgen_anon_1.__bindgen_anon_1.csum_start = udp as u16;
            fields.__bindgen_anon_1.__bindgen_anon_1.csum_offset = 6;
            let shared = head.shared_info();
            (*shared).gso_size = lens[0] as u16;
            (*shared).gso_segs = lens.len() as u16;
            (*shared).gso_type = L4 | kernel::bindings::SKB_GSO_UDP_TUNNEL_CSUM as u32;
            let mut last: Option<RawSkb> = None;
            for bytes in parts {
                let bytes = bytes?;
                let start = headers - headers.min(self.room);
                let linear = (bytes.len() - headers).min(self.other);
                let at = self.room - (headers - start);
                let member = packet(&bytes[start..], at, headers - start + linear)?;
                if !member.pull(headers - start) {
                    return Err(EINVAL);
                }
                // `__skb_header_release()`.
                (*member.as_ptr()).set_nohdr(1);
                (*member.shared_info()).dataref.counter = 1 + (1 << 16);
                match last {
                    Some(last) => last.set_next(member.as_ptr()),
                    None => (*shared).frag_list = member.as_ptr(),
                }
                last = Some(member);
                (*head.as_ptr()).len += (*member.as_ptr()).len;
                (*head.as_ptr()).data_len += (*member.as_ptr()).len;
                (*head.as_ptr()).truesize += (*member.as_ptr()).truesize;
            }
            if !head.pull(udp - PAD) {
                return Err(EINVAL);
            }
            set_udp_len(head.data().add(UDP_HEADER), head.len() - UDP_HEADER);
        }
        Ok(head)
    }
}

/// The packets of an aggregate: the first, and its members.
pub(super) fn packets(head: RawSkb) -> impl Iterator<Item = RawSkb> {
    core::iter::successors(Some(head), move |packet| {
        // SAFETY: Callers have the packet to themselves, and change none of its links meanwhile.
        RawSkb::new(unsafe {
            match *packet == head {
                true => (*head.shared_info()).frag_list,
                false => packet.next(),
            }
        })
    })
}
