// SPDX-License-Identifier: GPL-2.0
//! Tests of how aggregates are taken apart: of packets as `skb_gro_receive()` leaves them
//! ([`net/core/gro.c`](srctree/net/core/gro.c)), and of packets as nobody should.
//!
//! Safety review: `Documentation/safety.md#skbuffaggregatekunitrs`.

mod packets;

#[kernel::macros::kunit_tests(wgk_skbuff_aggregate)]
mod tests {
    use super::{
        super::*,
        packets::*, //
    };
    use crate::{
        atomic::{
            HotAtomic,
            Relaxed, //
        },
        skbuff::L3,
    };
    use kernel::prelude::*;

    /// What has come out of an aggregate.
    #[derive(PartialEq, Eq, Debug)]
    enum Outcome {
        /// The datagrams, each in the buffer that it was in.
        InPlace,
        /// The datagrams.
        Copied,
        /// So many were found not to be one datagram: the packet as it was, or some of those that came
        /// out.
        Refused(usize),
        /// Something else.
        Wrong,
    }

    /// Takes the packet apart and looks whether these datagrams come out.
    ///
    /// # Safety
    ///
    /// As for [`Datagrams::from_raw`].
    unsafe fn outcome(head: RawSkb, l3: L3, lens: &[usize]) -> Result<Outcome> {
        let mut buffers = KVec::new();
        let mut truesizes = KVec::new();
        let mut bytes = KVec::from_elem(0u8, 1024, GFP_KERNEL)?;
        let mut wanted = KVec::from_elem(0u8, 1024, GFP_KERNEL)?;
        // SAFETY: By the requirement.
        let datagrams = unsafe {
            let members = packets(head).skip(1);
            let all = members.map(|m| (*m.as_ptr()).truesize).sum::<u32>();
            for packet in packets(head) {
                let truesize = (*packet.as_ptr()).truesize;
                let own = if packet == head {
                    truesize.wrapping_sub(all)
                } else {
                    truesize
                };
                truesizes.push(own, GFP_KERNEL)?;
                buffers.push((*packet.as_ptr()).head, GFP_KERNEL)?;
            }
            Datagrams::from_raw(NonNull::new_unchecked(head.as_ptr()))
        };
        let (mut number, mut refused, mut in_place, mut whole) = (0, 0, true, true);
        for datagram in datagrams {
            number += 1;
            let Ok(packet) = datagram.udp_payload() else {
                refused += 1;
                continue;
            };
            let Some(&len) = lens.get(number - 1) else {
                pr_err!("more than went in\n");
                return Ok(Outcome::Wrong);
            };
            let (from, ds) = (packet.source(), packet.ecn_dsfield());
            let skb = packet.into_inner();
            // SAFETY: Ours.
            let (buffer, truesize, nohdr, dataref) = unsafe {
                let ptr = skb.raw().as_ptr();
                let dataref = (*skb.raw().shared_info()).dataref.counter;
                ((*ptr).head, (*ptr).truesize, (*ptr).nohdr(), dataref)
            };
            in_place &= buffers.get(number - 1) == Some(&buffer);
            // As what was never part of another.
            whole &= truesizes.get(number - 1) == Some(&truesize) && (nohdr, dataref) == (0, 1);
            fill(number - 1, &mut wanted[..len]);
            let same = skb.len() == len
                && skb.copy_data(&mut bytes[..len])
                && bytes[..len] == wanted[..len];
            if !same || from != source(l3) || ds != DS {
                pr_err!(
                    "{number}: {} bytes for {len}, from {from:?}, DS {ds}\n",
                    skb.len()
                );
                return Ok(Outcome::Wrong);
            }
        }
        Ok(match (number, refused) {
            (n, 0) if n == lens.len() && in_place && whole => Outcome::InPlace,
            (_, 0) if in_place => {
                pr_err!("not what packets of their own are\n");
                Outcome::Wrong
            }
            (n, 0) if n == lens.len() => Outcome::Copied,
            (n, r) if n == lens.len() || n == r => Outcome::Refused(r),
            _ => {
                pr_err!("{number} of {}, {refused} refused\n", lens.len());
                Outcome::Wrong
            }
        })
    }

    /// So many datagrams, the last one shorter.
    fn lens(count: usize, size: usize, last: usize) -> Result<KVec<usize>> {
        let mut lens = KVec::from_elem(size, count, GFP_KERNEL)?;
        lens[count - 1] = last;
        Ok(lens)
    }

    /// Whatever their number and size, datagrams come out as they went in.
    #[test]
    fn what_went_in_comes_out() -> Result {
        for l3 in [L3::V4, L3::V6] {
            for count in 1..=64 {
                for (size, last) in [(97, 41), (1000, 1000), (1, 1)] {
                    let last = if count == 1 { size } else { last };
                    let lens = lens(count, size, last)?;
                    let head = Layout::list(l3).make(&lens)?;
                    // SAFETY: Ours, and on no list.
                    let outcome = unsafe { outcome(head, l3, &lens)? };
                    assert_eq!(outcome, Outcome::InPlace);
                }
            }
        }
        Ok(())
    }

    /// A datagram that is none of several is left alone.
    #[test]
    fn one_alone() -> Result {
        for l3 in [L3::V4, L3::V6] {
            let head = Layout::list(l3).make(&[100])?;
            // SAFETY: Ours, and on no list but that which it has left.
            let outcome = unsafe {
                (*head.shared_info()).gso_size = 0;
                head.set_next(head.as_ptr());
                outcome(head, l3, &[100])?
            };
            assert_eq!(outcome, Outcome::InPlace);
        }
        Ok(())
    }

    /// As network cards leave them, in pages, with or without the first bytes of each: segmented.
    #[test]
    fn in_fragments() -> Result {
        for l3 in [L3::V4, L3::V6] {
            for (first, other, together) in [
                (0, 0, 1),
                (0, 0, 3),
                (0, 0, 100),
                (60, 60, 1),
                (60, 60, 3),
                (200, 200, 3),
                (usize::MAX, 0, 1),
                (usize::MAX, 60, 1),
                (60, usize::MAX, 1),
                (60, 0, 100),
            ] {
                let layout = Layout {
                    first,
                    other,
                    together,
                    ..Layout::list(l3)
                };
                for last in [200, 60, 59] {
                    let lens = lens(9, 200, last)?;
                    let head = layout.make(&lens)?;
                    // SAFETY: Ours, and on no list.
                    let outcome = unsafe { outcome(head, l3, &lens)? };
                    assert_eq!(outcome, Outcome::Copied);
                }
            }
        }
        Ok(())
    }

    const LENS: [usize; 5] = [100, 100, 100, 100, 60];

    /// What can be odd about a packet that is made of [`LENS`].
    #[derive(Clone, Copy, Debug)]
    enum Odd {
        Nothing,
        Type(u32),
        Size(u16),
        /// The length of one of its packets but the first.
        Len(usize, usize),
        /// So many bytes more in the first one, which the members come behind.
        First(i32),
        /// So many bytes more than there are.
        Total(i32),
        /// A packet with some bytes of its own in another behind it.
        Nested(usize),
        Tunnel,
        /// Less is accounted for it than for its members.
        Truesize,
        /// As is that, and it has no place for the link layer's header, where segmentation begins.
        NoLink,
        /// The network header is so many bytes from the transport header.
        Network(i32),
    }

    impl Odd {
        /// # Safety
        ///
        /// The packet must be the caller's, and made of [`LENS`].
        unsafe fn make(self, head: RawSkb) -> Result {
            // SAFETY: By the requirement; a packet that becomes longer has the room for it.
            unsafe {
                let (skb, fields, shared) = (head.as_ptr(), head.headers(), head.shared_info());
                match self {
                    Self::Nothing => (),
                    Self::Type(gso_type) => (*shared).gso_type = gso_type,
                    Self::Size(size) => (*shared).gso_size = size,
                    Self::Len(nth, len) => {
                        let member = packets(head).nth(nth).ok_or(EINVAL)?.as_ptr();
                        let more = (len as u32).wrapping_sub((*member).len);
                        (*member).tail = (*member).tail.wrapping_add(more);
                        assert!((*member).tail <= (*member).end);
                        (*member).len = len as u32;
                        (*skb).len = (*skb).len.wrapping_add(more);
                        (*skb).data_len = (*skb).data_len.wrapping_add(more);
                    }
                    Self::Tunnel => (*fields).set_encapsulation(1),
                    Self::Truesize => (*skb).truesize = 900,
                    Self::NoLink => {
                        (*skb).truesize = 900;
                        (*fields).mac_header = u16::MAX;
                    }
                    Self::Network(at) => {
                        let at = i32::from((*fields).transport_header) + at;
                        (*fields).network_header = at as u16;
                    }
                    Self::First(more) => {
                        (*skb).tail = (*skb).tail.wrapping_add_signed(more);
                        assert!((*skb).tail <= (*skb).end);
                        (*skb).len = (*skb).len.wrapping_add_signed(more);
                    }
                    Self::Total(more) => {
                        (*skb).len = (*skb).len.wrapping_add_signed(more);
                        (*skb).data_len = (*skb).data_len.wrapping_add_signed(more);
                    }
                    Self::Nested(nth) => {
                        let member = packets(head).nth(nth).ok_or(EINVAL)?;
                        let (bytes, own) = ([0; 40], member.len() - 40);
                        (*member.as_ptr()).tail -= 40;
                        (*member.as_ptr()).data_len = 40;
                        assert_eq!(member.head_len(), own);
                        (*member.shared_info()).frag_list = packet(&bytes, 0, 40)?.as_ptr();
                    }
                }
            }
            Ok(())
        }
    }

    const FRAGLIST: u32 = kernel::bindings::SKB_GSO_FRAGLIST as u32;
    const DODGY: u32 = kernel::bindings::SKB_GSO_DODGY as u32;
    const TCP: u32 = kernel::bindings::SKB_GSO_TCPV4 as u32;
    const UFO: u32 = kernel::bindings::SKB_GSO_UDP as u32;

    const ODD: &[(Odd, Outcome)] = &[
        (Odd::Nothing, Outcome::InPlace),
        (Odd::Type(L4 | FRAGLIST), Outcome::InPlace),
        (Odd::Type(L4 | DODGY), Outcome::InPlace),
        (Odd::Type(TCP), Outcome::Refused(1)),
        (Odd::Type(UFO), Outcome::Refused(1)),
        (Odd::Type(0), Outcome::Refused(1)),
        (Odd::Size(50), Outcome::Refused(1)),
        (Odd::Size(99), Outcome::Refused(1)),
        (Odd::Size(101), Outcome::Refused(1)),
        (Odd::Size(200), Outcome::Refused(1)),
        (Odd::Size(9000), Outcome::Refused(1)),
        (Odd::Size(MAX_SIZE as u16 + 1), Outcome::Refused(1)),
        // To segmentation, that is "as the fragments are".
        (Odd::Size(u16::MAX), Outcome::Refused(1)),
        (Odd::Len(2, 0), Outcome::Refused(1)),
        (Odd::Len(2, 99), Outcome::Refused(1)),
        (Odd::Len(2, 101), Outcome::Refused(1)),
        (Odd::Len(4, 0), Outcome::Refused(1)),
        (Odd::Len(4, 101), Outcome::Refused(1)),
        (Odd::Tunnel, Outcome::Refused(1)),
        (Odd::Truesize, Outcome::Copied),
        (Odd::NoLink, Outcome::Refused(1)),
        (Odd::Network(20_000), Outcome::Refused(1)),
        (Odd::Network(1), Outcome::Refused(1)),
        (Odd::Network(-124), Outcome::Refused(1)),
        (Odd::First(-1), Outcome::Refused(1)),
        (Odd::First(1), Outcome::Refused(1)),
        (Odd::Total(1), Outcome::Refused(1)),
        (Odd::Total(-1), Outcome::Refused(1)),
        (Odd::Total(-101), Outcome::Refused(1)),
        (Odd::Nested(2), Outcome::Refused(1)),
        (Odd::Nested(4), Outcome::Refused(1)),
    ];

    /// What is not as it should be is segmented, or refused as one packet.
    #[test]
    fn odd_ones() -> Result {
        for l3 in [L3::V4, L3::V6] {
            for (odd, expected) in ODD {
                let head = Layout::list(l3).make(&LENS)?;
                // SAFETY: Ours, and on no list.
                let outcome = unsafe {
                    odd.make(head)?;
                    outcome(head, l3, &LENS)?
                };
                if outcome != *expected {
                    pr_err!("{odd:?}: {outcome:?}\n");
                }
                assert!(outcome == *expected);
            }
        }
        Ok(())
    }

    /// Nothing is written in front of a buffer, nor where an offset does not reach.
    #[test]
    fn room_for_headers() -> Result {
        for l3 in [L3::V4, L3::V6] {
            let outer = payload_at(l3) - PAD - ETHERNET;
            for (room, expected) in [
                (0, Outcome::Copied),
                (outer - 1, Outcome::Copied),
                (outer, Outcome::InPlace),
                (MAX_HEADROOM, Outcome::InPlace),
            ] {
                let layout = Layout {
                    room,
                    ..Layout::list(l3)
                };
                // SAFETY: Ours, and on no list.
                let outcome = unsafe { outcome(layout.make(&LENS)?, l3, &LENS)? };
                assert_eq!(outcome, expected);
            }
            let head = Layout {
                room: MAX_HEADROOM,
                ..Layout::list(l3)
            }
            .make(&LENS)?;
            // SAFETY: Ours, and on no list. Each member's first byte becomes one of its headroom.
            let outcome = unsafe {
                for member in packets(head).skip(1) {
                    (*member.as_ptr()).data = member.data().add(1);
                    (*member.as_ptr()).tail += 1;
                    let len = member.len();
                    ptr::copy(member.data().sub(1), member.data(), len);
                }
                // Whoever takes it apart, the offsets are refused later.
                assert!(Plan::of(head).is_none());
                outcome(head, l3, &LENS)?
            };
            assert_eq!(outcome, Outcome::Refused(4));
        }
        Ok(())
    }

    /// In a tunnel, without members, the kernel knows where segments begin.
    #[test]
    fn in_a_tunnel() -> Result {
        for first in [usize::MAX, 0] {
            let layout = Layout {
                first,
                together: LENS.len(),
                ..Layout::list(L3::V4)
            };
            let head = layout.make(&LENS)?;
            // SAFETY: Ours, and on no list.
            let outcome = unsafe {
                (*head.headers()).set_encapsulation(1);
                (*head.shared_info()).gso_type = L4;
                outcome(head, L3::V4, &LENS)?
            };
            assert_eq!(outcome, Outcome::Copied);
        }
        Ok(())
    }

    /// What others have of an aggregate stays as it is.
    #[test]
    fn shared() -> Result {
        for l3 in [L3::V4, L3::V6] {
            let headers = payload_at(l3) - PAD - ETHERNET;
            // Of a member that is referred to twice the kernel may overwrite the headers.
            for (nth, clone, kept) in [
                (0, true, headers),
                (0, false, headers),
                (2, true, headers),
                (2, false, 0),
            ] {
                let head = Layout::list(l3).make(&LENS)?;
                // SAFETY: Ours, and on no list; the other reference is ours as well.
                unsafe {
                    let shared = packets(head).nth(nth).ok_or(EINVAL)?;
                    let other = if clone {
                        let ptr = shared.as_ptr();
                        let gfp = kernel::bindings::GFP_KERNEL;
                        RawSkb::new(kernel::bindings::skb_clone(ptr, gfp)).ok_or(ENOMEM)?
                    } else {
                        (*shared.as_ptr()).users.refs.counter += 1;
                        shared
                    };
                    let front = payload_at(l3) - kept;
                    let mut before = KVec::new();
                    let bytes = other.bytes_at(front, kept + 60).ok_or(EINVAL)?;
                    before.extend_from_slice(bytes, GFP_KERNEL)?;
                    let outcome = outcome(head, l3, &LENS)?;
                    assert_eq!(outcome, Outcome::Copied);
                    let bytes = other.bytes_at(front, kept + 60).ok_or(EINVAL)?;
                    assert!(before[..] == *bytes);
                    assert_eq!((*other.as_ptr()).users.refs.counter, 1);
                    drop(Owned::new(other));
                }
            }
            // Nobody has it any more.
            let head = Layout::list(l3).make(&LENS)?;
            // SAFETY: As above.
            unsafe {
                let gfp = kernel::bindings::GFP_KERNEL;
                let other = kernel::bindings::skb_clone(head.as_ptr(), gfp);
                drop(Owned::new(RawSkb::new(other).ok_or(ENOMEM)?));
                assert_eq!(outcome(head, l3, &LENS)?, Outcome::InPlace);
            }
        }
        Ok(())
    }

    /// A socket that was charged with the whole packet gets all of it back.
    #[test]
    fn charged_with_all() -> Result {
        let head = Layout::list(L3::V4).make(&LENS)?;
        let own = |owner| {
            // SAFETY: Ours. Nobody calls the function, for it is taken back.
            unsafe {
                (*head.as_ptr())
                    .__bindgen_anon_3
                    .__bindgen_anon_1
                    .destructor = owner
            }
        };
        own(Some(bindings::sock_wfree));
        // SAFETY: Ours.
        let plan = unsafe { Plan::of(head) };
        own(None);
        assert!(plan.is_none());
        // SAFETY: Ours.
        assert!(unsafe { Plan::of(head) }.is_some());
        // SAFETY: Ours, and on no list.
        drop(unsafe { Owned::new(head) });
        Ok(())
    }

    static FREED: HotAtomic<u32> = HotAtomic::new(0);

    /// # Safety
    ///
    /// None: it only counts.
    unsafe extern "C" fn freed(_skb: *mut kernel::bindings::sk_buff) {
        FREED.fetch_add(1, Relaxed);
    }

    /// Each datagram is freed once, whether it was taken or not.
    #[test]
    fn freed_once() -> Result {
        for taken in 0..=LENS.len() {
            let head = Layout::list(L3::V4).make(&LENS)?;
            // SAFETY: Ours, and on no list.
            let mut datagrams = unsafe {
                for packet in packets(head) {
                    (*packet.as_ptr())
                        .__bindgen_anon_3
                        .__bindgen_anon_1
                        .destructor = Some(freed);
                }
                Datagrams::from_raw(NonNull::new_unchecked(head.as_ptr()))
            };
            FREED.store(0, Relaxed);
            for n in 1..=taken {
                drop(datagrams.next().ok_or(EINVAL)?.udp_payload());
                assert_eq!(FREED.load(Relaxed), n as u32);
            }
            drop(datagrams);
            assert_eq!(FREED.load(Relaxed), LENS.len() as u32);
        }
        Ok(())
    }
}
