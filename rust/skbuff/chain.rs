// SPDX-License-Identifier: GPL-2.0
//! Messages that leave together: consecutive ones of equal size, as one GSO packet.
//!
//! The first of them is the packet, the others are its `frag_list`, whose end is where a message
//! ends: so nothing is copied, and where a packet can't go on as it is, segmentation
//! ([`net/ipv4/udp_offload.c`](srctree/net/ipv4/udp_offload.c)) gives each message back as it was,
//! behind headers like the first one's. Any context but hardirq.
//!
//! Safety review: `Documentation/safety.md#skbuffchainrs`.

use super::{
    Owned,
    RawSkb,
    IPV6_HEADER,
    UDP_HEADER, //
};
use crate::{
    bindings,
    skb_list::SkbList, //
};
use core::ptr;

/// The fewest messages of a chain: of less, making one packet and segments of it costs more than
/// sending each by itself does.
pub(crate) const MIN_MESSAGES: usize = 4;
/// The most messages of a chain. More are more than the buffer of a receiver's socket may take.
const MAX_MESSAGES: usize = 32;
/// The most bytes of a chain: with the headers of UDP and IPv6, an IP packet.
const MAX_BYTES: usize = u16::MAX as usize - IPV6_HEADER - UDP_HEADER;

/// What a way takes as one packet; less than a chain, as it may be, is none.
pub(crate) struct Together {
    /// The most bytes of each message.
    pub(crate) message: usize,
    /// The most bytes of all.
    pub(crate) bytes: usize,
    /// The most messages.
    pub(crate) messages: usize,
    /// Chains are not taken apart on this host, but where they are received.
    pub(crate) whole: bool,
}

impl Together {
    /// Messages leave one by one.
    pub(crate) const NOT: Self = Self {
        message: 0,
        bytes: 0,
        messages: 0,
        whole: false,
    };
}

/// What leaves as one packet: a message, or several.
///
/// # Invariants
///
/// `skb` is a message, which stands for no more than itself, or a GSO packet (of UDP's kind, which is
/// still to get its headers) of `messages` segments, the first of which is its linear part and the
/// others linear members of its `frag_list`.
pub(crate) struct Chain {
    skb: Owned,
    messages: usize,
    ds: u8,
}

impl Chain {
    /// Takes off the front of `list` what can leave as one packet. `None` if the list is empty.
    ///
    /// Those that leave together are equal in size (the last may be shorter), in DS field, flow
    /// hash, priority and the socket that they are accounted to, and within the bounds of the way.
    #[inline]
    pub(crate) fn take(list: &mut SkbList, way: &Together) -> Option<Self> {
        let messages = match list.len() {
            0..MIN_MESSAGES => 1,
            _ => alike(list, way),
        };
        let (head, _, _) = list.split_front(messages).into_raw()?;
        // SAFETY: The packets were the list's, which gave them up; `alike` found that they can be
        // linked.
        unsafe {
            let ds = (*head.cb()).ds;
            if messages > 1 {
                link(head, messages);
            }
            // INVARIANT: As just made.
            Some(Self {
                skb: Owned::new(head),
                messages,
                ds,
            })
        }
    }

    /// Messages in it.
    #[inline]
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// The DS field that this crate stored with them.
    #[inline]
    pub(crate) fn ds(&self) -> u8 {
        self.ds
    }

    /// Gives the `sk_buff` up. The receiver owns the reference.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut kernel::bindings::sk_buff {
        self.skb.into_raw().as_ptr()
    }
}

/// How many packets at the front of the list can leave as one; 1 if it's just the first one.
fn alike(list: &SkbList, way: &Together) -> usize {
    let (most, total) = (way.messages.min(MAX_MESSAGES), way.bytes.min(MAX_BYTES));
    let mut packets = list.iter_raw();
    let Some(first) = packets.next() else {
        return 1;
    };
    // SAFETY: Packets of a list are valid, and nobody changes one while the list is borrowed.
    unsafe {
        let len = first.len();
        // A clone shares the place where the others are to be noted.
        if len == 0 || len > way.message || !plain(first) || (*first.as_ptr()).cloned() != 0 {
            return 1;
        }
        let (mut messages, mut bytes) = (1, len);
        for packet in packets {
            let more = packet.len();
            if messages >= most
                || more > len
                || more == 0
                || bytes + more > total
                || !plain(packet)
                || !same(first, packet)
            {
                break;
            }
            messages += 1;
            bytes += more;
            if more < len {
                break;
            }
        }
        // Some owners want to be told of each packet. Those that count bytes don't; but who takes a
        // chain apart on this host hands the packets on to the owner only if it's that of a datagram
        // socket. TCP would take its bytes for sent, and send more.
        let owner_agrees = match destructor(first) {
            None => true,
            Some(_) if way.whole => bindings::skb_is_wmem(first.as_ptr()),
            Some(f) => f == bindings::sock_wfree as usize,
        };
        if messages < MIN_MESSAGES || !owner_agrees {
            return 1;
        }
        messages
    }
}

/// Whether all of the packet is linear, and nobody wants to know when it is sent.
///
/// # Safety
///
/// The `sk_buff` must be valid, and not be changed meanwhile.
#[inline]
unsafe fn plain(packet: RawSkb) -> bool {
    // SAFETY: By the requirement.
    unsafe {
        let shared = packet.shared_info();
        packet.is_linear() && (*shared).nr_frags == 0 && (*shared).tx_flags == 0
    }
}

/// The address of what is called when the packet is freed, for who owns it.
///
/// # Safety
///
/// The `sk_buff` must be valid, and not be changed meanwhile.
#[inline]
unsafe fn destructor(packet: RawSkb) -> Option<usize> {
    // SAFETY: By the requirement.
    let function = unsafe {
        (*packet.as_ptr())
            .__bindgen_anon_3
            .__bindgen_anon_1
            .destructor
    };
    function.map(|f| f as usize)
}

/// Whether the queues on the way could treat the packets alike.
///
/// # Safety
///
/// The `sk_buff`s must be valid, and not be changed meanwhile.
#[inline]
unsafe fn same(a: RawSkb, b: RawSkb) -> bool {
    // SAFETY: By the requirement.
    unsafe {
        let owner = |skb: RawSkb| ((*skb.as_ptr()).sk, destructor(skb));
        let (x, y) = (a.headers(), b.headers());
        (*a.cb()).ds == (*b.cb()).ds
            && (*x).hash == (*y).hash
            && (*x).priority == (*y).priority
            && owner(a) == owner(b)
    }
}

/// Makes one packet of `messages` that are linked, from `head` on.
///
/// # Safety
///
/// The packets must be valid and the caller's alone, found by [`alike`], and the last one's link be
/// null.
unsafe fn link(head: RawSkb, messages: usize) {
    let skb = head.as_ptr();
    // SAFETY: By the requirement. The buffer of the first one is no clone's, so what it shares is its
    // own. What is written says what is so: lengths and sizes are the sums of those of the members,
    // and what they are accounted with goes over to the first, which has the same owner.
    unsafe {
        let shared = head.shared_info();
        (*shared).frag_list = head.next();
        (*shared).gso_size = head.len() as u16;
        (*shared).gso_segs = messages as u16;
        (*shared).gso_type = kernel::bindings::SKB_GSO_UDP_L4 as u32;
        // The tunnel code counts the bytes from the inner header on: without the outer ones of the
        // first message. So it takes off those of the others as well.
        let outer = (*head.headers())
            .inner_network_header
            .wrapping_sub(head.headroom() as u16);
        (*head.headers()).inner_network_header = (*head.headers())
            .inner_network_header
            .wrapping_add(outer.wrapping_mul(messages as u16 - 1));

        let mut next = RawSkb::new(head.next());
        head.set_next(ptr::null_mut());
        while let Some(packet) = next {
            let member = packet.as_ptr();
            (*skb).len += (*member).len;
            (*skb).data_len += (*member).len;
            (*skb).truesize += (*member).truesize;
            (*member).sk = ptr::null_mut();
            (*member).__bindgen_anon_3.__bindgen_anon_1.destructor = None;
            next = RawSkb::new(packet.next());
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_skbuff_chain)]
mod tests {
    use super::*;
    use crate::skbuff::SkBuff;
    use kernel::prelude::*;

    const FITS: usize = 1400;
    const WAY: Together = Together {
        message: FITS,
        bytes: usize::MAX,
        messages: usize::MAX,
        whole: true,
    };

    fn list(lens: &[usize]) -> Result<SkbList> {
        let mut list = SkbList::new();
        for (i, &len) in lens.iter().enumerate() {
            let payload = KVec::from_elem(i as u8, len, GFP_KERNEL)?;
            list.push_back(SkBuff::with_payload(&payload, 100, GFP_KERNEL)?);
        }
        Ok(list)
    }

    /// How many messages each packet has that leaves.
    fn packets(mut list: SkbList, way: &Together) -> Result<KVec<usize>> {
        let mut packets = KVec::new();
        while let Some(chain) = Chain::take(&mut list, way) {
            packets.push(chain.messages(), GFP_KERNEL)?;
        }
        assert!(list.is_empty());
        Ok(packets)
    }

    /// The packet has all that its members have, and each of them once.
    #[test]
    fn is_the_sum_of_its_members() -> Result {
        const LENS: [usize; 5] = [100, 100, 100, 100, 60];
        let mut list = list(&LENS)?;
        let truesizes = list
            .iter_raw()
            // SAFETY: Packets of a list are valid.
            .map(|p| unsafe { (*p.as_ptr()).truesize })
            .sum();
        let chain = Chain::take(&mut list, &WAY).ok_or(EINVAL)?;
        assert!(list.is_empty());
        assert_eq!(chain.messages(), 5);
        let mut bytes = [0u8; 460];
        // SAFETY: The packet is ours, and so is what is in it; its length was checked.
        unsafe {
            let skb = chain.skb.raw().as_ptr();
            assert_eq!(((*skb).len, (*skb).data_len), (460, 360));
            assert_eq!((*skb).truesize, truesizes);
            let shared = chain.skb.raw().shared_info();
            assert_eq!(((*shared).gso_size, (*shared).gso_segs), (100, 5));
            assert!(chain.skb.raw().is_gso());
            assert_eq!(
                kernel::bindings::skb_copy_bits(skb, 0, bytes.as_mut_ptr().cast(), 460),
                0
            );
        }
        for (i, &byte) in bytes.iter().enumerate() {
            assert_eq!(usize::from(byte), i / 100);
        }
        Ok(())
    }

    #[test]
    fn within_bounds() -> Result {
        for (lens, fits, expected) in [
            (&[][..], FITS, &[][..]),
            (&[100; 1], FITS, &[1]),
            (&[100; MIN_MESSAGES - 1], FITS, &[1; MIN_MESSAGES - 1]),
            (&[100; MIN_MESSAGES], FITS, &[MIN_MESSAGES]),
            (&[100; 40], FITS, &[MAX_MESSAGES, 8]),
            (&[FITS; 4], FITS, &[4]),
            (&[FITS + 1; 4], FITS, &[1; 4]),
            (&[100; 4], 0, &[1; 4]),
            (&[4000; 20], 4000, &[16, 4]),
            // A shorter one ends a chain, a longer one begins another, one without data is alone.
            (&[100, 100, 100, 60, 60, 60, 60, 60], FITS, &[4, 4]),
            (&[60, 60, 60, 60, 100, 100, 100, 100], FITS, &[4, 4]),
            (&[100, 60, 100, 60, 100, 60], FITS, &[1; 6]),
            (&[100, 100, 100, 100, 0, 0, 0, 0], FITS, &[4, 1, 1, 1, 1]),
        ] {
            let way = Together {
                message: fits,
                ..WAY
            };
            assert!(packets(list(lens)?, &way)?[..] == *expected);
        }
        Ok(())
    }

    /// What a device takes at once is what it gets at once.
    #[test]
    fn as_the_way_takes_it() -> Result {
        for (messages, bytes, expected) in [
            (10, 65_536, &[10, 10][..]),
            (10, 550, &[5, 5, 5, 5]),
            (1, 65_536, &[1; 20]),
            (64, 399, &[1; 20]),
        ] {
            let way = Together {
                messages,
                bytes,
                ..WAY
            };
            assert!(packets(list(&[100; 20])?, &way)?[..] == *expected);
        }
        assert!(packets(list(&[100; 20])?, &Together::NOT)?[..] == [1; 20]);
        Ok(())
    }

    /// Of whom each packet is accounted to, by size, only a datagram socket has chains taken apart.
    #[test]
    fn owners() -> Result {
        type Destructor = unsafe extern "C" fn(*mut kernel::bindings::sk_buff);
        for (owner, whole, expected) in [
            (bindings::sock_wfree as Destructor, false, &[9][..]),
            (bindings::sock_wfree as Destructor, true, &[9]),
            (bindings::tcp_wfree as Destructor, false, &[1; 9]),
            (bindings::tcp_wfree as Destructor, true, &[9]),
        ] {
            let mut list = list(&[100; 9])?;
            let own = |p: RawSkb, owner| {
                // SAFETY: The packet is ours. Nobody calls the function, for it is taken back.
                unsafe { (*p.as_ptr()).__bindgen_anon_3.__bindgen_anon_1.destructor = owner }
            };
            list.iter_raw().for_each(|p| own(p, Some(owner)));
            let way = Together { whole, ..WAY };
            let mut found = KVec::new();
            while let Some(chain) = Chain::take(&mut list, &way) {
                own(chain.skb.raw(), None);
                found.push(chain.messages(), GFP_KERNEL)?;
            }
            assert!(found[..] == *expected);
        }
        Ok(())
    }

    /// A way to change a packet.
    type Change = unsafe fn(RawSkb);

    /// Packets that some queue on the way could treat differently don't leave together, nor do those
    /// for each of which somebody waits.
    #[test]
    fn only_what_is_alike() -> Result {
        /// # Safety
        ///
        /// None: nobody is told.
        unsafe extern "C" fn told(_skb: *mut kernel::bindings::sk_buff) {}
        const CHANGES: [Change; 6] = [
            // SAFETY: As for all of them: they are called for a valid packet that is the caller's
            // alone, and what is written is what the field may have.
            |p| unsafe { (*p.cb()).ds = 4 },
            // SAFETY: As above.
            |p| unsafe { (*p.headers()).hash = 5 },
            // SAFETY: As above.
            |p| unsafe { (*p.headers()).priority = 6 },
            // SAFETY: As above.
            |p| unsafe { (*p.shared_info()).tx_flags = 1 },
            // SAFETY: As above.
            |p| unsafe { (*p.as_ptr()).set_cloned(1) },
            // SAFETY: As above.
            |p| unsafe { (*p.as_ptr()).__bindgen_anon_3.__bindgen_anon_1.destructor = Some(told) },
        ];
        for (i, change) in CHANGES.into_iter().enumerate() {
            let list = list(&[100; 9])?;
            // SAFETY: Packets of a list are valid, and this one is ours.
            unsafe { change(list.iter_raw().nth(4).ok_or(EINVAL)?) };
            // Who shares the buffer of a member is served by the copy that segmentation makes.
            let expected: &[usize] = if i == 4 { &[9] } else { &[4, 1, 4] };
            assert!(packets(list, &WAY)?[..] == *expected);

            let list = self::list(&[100; 9])?;
            // SAFETY: As above.
            list.iter_raw().for_each(|p| unsafe { change(p) });
            let expected: &[usize] = if i > 2 { &[1; 9] } else { &[9] };
            assert!(packets(list, &WAY)?[..] == *expected);
        }
        Ok(())
    }
}
