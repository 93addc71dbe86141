// SPDX-License-Identifier: GPL-2.0
//! Datagrams that arrive as one packet, and are taken apart.
//!
//! GRO makes one packet of the datagrams of a flow that are equal in size
//! ([`net/ipv4/udp_offload.c`](srctree/net/ipv4/udp_offload.c)). Where the first one is its linear
//! part, and each other a packet of its `frag_list`, it is taken apart in place: nothing is copied but
//! the headers. Other layouts are segmented by the kernel, if it can. Softirq context, under RCU.
//!
//! Safety review: `Documentation/safety.md#skbuffaggregaters`.

use super::{
    Datagram,
    Owned,
    RawSkb,
    MAX_HEADROOM,
    UDP_HEADER, //
};
use crate::{
    bindings,
    drop_reason::{
        DropReason,
        Lossy, //
    }, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::error::from_err_ptr;

/// The longest headers of IP and UDP that are copied in front of a datagram.
const MAX_OUTER: usize = 128;
/// The most payload of a datagram.
const MAX_SIZE: usize = u16::MAX as usize - UDP_HEADER;

/// What the UDP layer received at once: the datagrams of one flow in order, nearly always one.
///
/// Dropping it frees those that were not taken, and they count as lost.
///
/// # Invariants
///
/// `next` starts a null-terminated chain of valid `sk_buff`s that this object owns alone. Their routes
/// may be uncounted ones, if they were set in this read-side section; it is not left before.
pub struct Datagrams {
    next: Option<RawSkb>,
    /// Not for other CPUs, nor for later: see the routes.
    _callback: core::marker::PhantomData<*mut ()>,
}

impl Datagrams {
    /// Takes over a packet that the UDP layer received.
    ///
    /// # Safety
    ///
    /// `ptr` must be a valid `sk_buff` that is on no list, and the caller must own the only
    /// reference to it and pass it on. Its route may be an uncounted one, if that was set in this
    /// read-side section, in which this object is used up.
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: NonNull<kernel::bindings::sk_buff>) -> Self {
        let mut raw = RawSkb::from(ptr);
        // SAFETY: By the requirement.
        unsafe {
            raw.set_next(ptr::null_mut());
            if raw.is_gso() {
                raw = apart(raw);
            }
        }
        // INVARIANT: By the requirement; what was taken apart is such a chain.
        Self {
            next: Some(raw),
            _callback: core::marker::PhantomData,
        }
    }
}

impl Iterator for Datagrams {
    type Item = Datagram;

    #[inline]
    fn next(&mut self) -> Option<Datagram> {
        let raw = self.next?;
        // SAFETY: Valid and ours by the type invariants, and unlinked here.
        unsafe {
            // INVARIANT: The rest of the chain.
            self.next = RawSkb::new(raw.next());
            raw.set_next(ptr::null_mut());
            Some(Datagram::from_raw(raw))
        }
    }
}

impl Datagrams {
    /// Frees those that were not taken, and tells drop monitors why.
    #[cold]
    pub(crate) fn drop_for(self, why: DropReason) {
        self.for_each(|datagram| datagram.drop_for(why));
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// Takes a packet that stands for several apart. What can't be is returned as it is: it is then found
/// not to be one datagram.
///
/// # Safety
///
/// As for [`Datagrams::from_raw`]; the result is the caller's.
#[cold]
unsafe fn apart(raw: RawSkb) -> RawSkb {
    // SAFETY: By the requirement. Segmentation leaves the original as it is, and its result, a
    // null-terminated chain, to its caller.
    unsafe {
        if (*raw.shared_info()).gso_type & kernel::bindings::SKB_GSO_UDP_L4 as u32 == 0 {
            return raw;
        }
        if let Some(plan) = Plan::of(raw) {
            plan.carry_out(raw);
            return raw;
        }
        if !segmentable(raw) {
            return raw;
        }
        match from_err_ptr(bindings::skb_udp_segment(raw.as_ptr())) {
            Ok(segments) => match RawSkb::new(segments) {
                Some(first) => {
                    Owned::new(raw).consume();
                    first
                }
                None => raw,
            },
            Err(_) => raw,
        }
    }
}

/// Whether the kernel can segment the packet. Of a `frag_list`, `skb_segment()` takes for granted what
/// GRO makes, and halts the machine (`BUG_ON`) over anything else: the linear part of a member starts
/// where a segment does, and that ends neither in it nor behind the member.
///
/// # Safety
///
/// The `sk_buff` must be valid and not be changed meanwhile, its headers be linear and in front of the
/// payload.
unsafe fn segmentable(raw: RawSkb) -> bool {
    // SAFETY: By the requirement; so the members of the list are valid, too.
    unsafe {
        let shared = raw.shared_info();
        let size = usize::from((*shared).gso_size);
        let payload_at = usize::from((*raw.headers()).transport_header) + UDP_HEADER;
        let payload = payload_at
            .checked_sub(raw.headroom())
            .and_then(|headers| raw.len().checked_sub(headers));
        let (Some(payload), 1..=MAX_SIZE) = (payload, size) else {
            return false;
        };
        let members =
            || core::iter::successors(RawSkb::new((*shared).frag_list), |m| RawSkb::new(m.next()));
        // In a tunnel it's not the outer header that segments are counted from.
        if (*raw.headers()).encapsulation() != 0 && members().next().is_some() {
            return false;
        }
        let total = members().map(|m| m.len()).sum::<usize>();
        let Some(mut at) = payload.checked_sub(total) else {
            return false;
        };
        for member in members() {
            let (len, linear) = (member.len(), member.head_len());
            let segment = size.min(payload - at);
            let fits = match linear {
                0 => true,
                _ if at % size == 0 => linear <= segment && segment <= len,
                // Its head is taken for a fragment.
                _ => (*member.as_ptr()).head_frag() != 0,
            };
            if len == 0 || !fits || !(*member.shared_info()).frag_list.is_null() {
                return false;
            }
            at += len;
        }
        true
    }
}

/// How to take an aggregate apart in place.
struct Plan {
    /// The first datagram's payload, from the start of the head's data on.
    payload: usize,
    /// Bytes of IP and UDP header in front of it.
    outer: usize,
    /// Bytes of payload of each datagram but the last.
    size: usize,
    /// What the members are charged for, of the packet's `truesize`.
    truesize: u32,
}

impl Plan {
    /// A plan, if the packet is one that is made of whole datagrams.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid, one of UDP's GSO kind, and not be changed meanwhile.
    unsafe fn of(raw: RawSkb) -> Option<Self> {
        // SAFETY: By the requirement; so the members of the list are valid, too.
        unsafe {
            let shared = raw.shared_info();
            let size = usize::from((*shared).gso_size);
            if size > MAX_SIZE
                || (*shared).nr_frags != 0
                || (*raw.headers()).encapsulation() != 0
                || raw.is_shared()
                // It was charged with all of it.
                || bindings::skb_is_wmem(raw.as_ptr())
            {
                return None;
            }
            let network = usize::from((*raw.headers()).network_header);
            let payload_at = usize::from((*raw.headers()).transport_header) + UDP_HEADER;
            let payload = payload_at.checked_sub(raw.headroom())?;
            let outer = payload_at.checked_sub(network)?;
            if !(UDP_HEADER..=MAX_OUTER).contains(&outer) || raw.head_len() != payload + size {
                return None;
            }
            // The headers are linear.
            raw.bytes_at(network, outer)?;
            let mut rest = raw.len() - raw.head_len();
            let mut truesize: u32 = 0;
            let mut next = RawSkb::new((*shared).frag_list);
            while let Some(member) = next {
                let len = member.len();
                next = RawSkb::new(member.next());
                if len == 0
                    || (if next.is_some() {
                        len != size
                    } else {
                        len > size
                    })
                    || len > rest
                    || member.head_len() != len
                    || !(outer..=MAX_HEADROOM).contains(&member.headroom())
                    || member.is_shared()
                {
                    return None;
                }
                rest -= len;
                truesize = truesize.checked_add((*member.as_ptr()).truesize)?;
            }
            (rest == 0 && truesize < (*raw.as_ptr()).truesize).then_some(Self {
                payload,
                outer,
                size,
                truesize,
            })
        }
    }

    /// Makes a chain of the packet and its members, each a datagram with headers like the first one's.
    ///
    /// # Safety
    ///
    /// The plan must be for `raw`, which is the caller's alone and has not been changed since.
    unsafe fn carry_out(&self, raw: RawSkb) {
        let skb = raw.as_ptr();
        // SAFETY: By the requirement, the packets and their buffers are nobody else's. As the plan's
        // maker saw, the headers are linear in the first one, and each member has room for them in
        // front of its data, which is all linear, and starts where an offset of 16 bits reaches.
        unsafe {
            let shared = raw.shared_info();
            let first = RawSkb::new((*shared).frag_list);
            (*shared).frag_list = ptr::null_mut();
            (*shared).gso_size = 0;
            (*shared).gso_segs = 0;
            (*shared).gso_type = 0;
            (*skb).len = (self.payload + self.size) as u32;
            (*skb).data_len = 0;
            (*skb).truesize -= self.truesize;
            let headers = raw.data().add(self.payload).sub(self.outer);
            set_udp_len(raw.data().add(self.payload), self.size);
            raw.set_next(first.map_or(ptr::null_mut(), RawSkb::as_ptr));

            let mut next = first;
            while let Some(member) = next {
                next = RawSkb::new(member.next());
                let len = member.len();
                ptr::copy_nonoverlapping(headers, member.data().sub(self.outer), self.outer);
                set_udp_len(member.data(), len);
                let payload_at = member.headroom();
                let (from, to) = (raw.headers(), member.headers());
                (*to).protocol = (*from).protocol;
                (*to).skb_iif = (*from).skb_iif;
                (*to).network_header = (payload_at - self.outer) as u16;
                (*to).transport_header = (payload_at - UDP_HEADER) as u16;
                // GRO said that the member's headers are nobody's, and counted that.
                (*member.as_ptr()).set_nohdr(0);
                (*member.shared_info()).dataref.counter = 1;
                (*member.as_ptr()).data = member.data().sub(UDP_HEADER);
                (*member.as_ptr()).len = (len + UDP_HEADER) as u32;
            }
        }
    }
}

/// Writes the length into the UDP header in front of a payload.
///
/// # Safety
///
/// A UDP header must lie there, and be the caller's to write to.
unsafe fn set_udp_len(payload: *mut u8, len: usize) {
    // SAFETY: By the requirement: the length is its third number.
    unsafe {
        payload
            .sub(UDP_HEADER)
            .add(4)
            .cast::<[u8; 2]>()
            .write(((len + UDP_HEADER) as u16).to_be_bytes())
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
