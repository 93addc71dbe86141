// SPDX-License-Identifier: GPL-2.0
//! A packet inside a list, and the AEAD over it.
//!
//! ChaCha20-Poly1305 over `sk_buff` data. Nearly every packet is one linear, unshared piece; it is
//! worked on in place by [`crypto::aead`](crate::crypto::aead). The others take the scatterlist way
//! of [`lib/crypto/chacha20poly1305.c`](srctree/lib/crypto/chacha20poly1305.c).
//!
//! Contexts: any but hardirq; nothing sleeps.
//!
//! Safety review: `Documentation/safety.md#skbuffsegmentrs`.

use super::{
    RawSkb,
    SkBuff,
    IPV6_HEADER,
    L3,
    MAX_HEADROOM,
    UDP_HEADER, //
};
use crate::{
    bindings,
    crypto::aead,
    drop_reason::{
        DropReason,
        Lossy, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr,
    slice, //
};
use kernel::error::code::ENOMEM;

/// Bytes of a Poly1305 tag.
const TAG: usize = 16;
/// Bytes of the header in front of a sealed packet.
const HEADER: usize = 16;
/// Bytes to keep in front of a packet to be sealed: for its header, and for those below.
pub const DATA_HEADROOM: usize = (HEADER + LOWER_HEADROOM).next_multiple_of(4);

const _: () = assert!(DATA_HEADROOM >= aead::FRONT && DATA_HEADROOM >= HEADER);

/// Bytes to keep in front of a UDP payload: IPv6, UDP, and `NET_SKB_PAD` for the link layer.
pub const LOWER_HEADROOM: usize = IPV6_HEADER + UDP_HEADER + {
    let line = bindings::WGK_L1_CACHE_BYTES as usize;
    if line > 32 {
        line
    } else {
        32
    }
};

/// Why a packet was not sealed. It is in an undefined state and must not be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealError {
    /// Memory is short.
    NoMemory,
    /// The packet contradicts itself, or is too long.
    Malformed,
}

/// Why a packet was not opened. Its data starts where it did, but need not be what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Memory is short.
    NoMemory,
    /// It is too short, or its headers are where they can't be.
    Malformed,
    /// It is not authentic.
    Forged,
}

/// A packet, borrowed from the list it is in.
///
/// # Invariants
///
/// `raw` is a valid `sk_buff` that belongs to what is borrowed for `'a`, and nobody else uses its
/// data or its packet fields meanwhile. Its links are the list's.
pub struct Segment<'a> {
    raw: RawSkb,
    _list: PhantomData<&'a mut SkBuff>,
}

impl Segment<'_> {
    /// # Safety
    ///
    /// The type invariants must hold for the lifetime that the caller chooses.
    #[inline]
    pub(crate) unsafe fn new(raw: RawSkb) -> Self {
        // INVARIANT: By the requirement.
        Self {
            raw,
            _list: PhantomData,
        }
    }

    /// Bytes from the start of the data on.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { self.raw.len() }
    }

    /// The route MTU stored with the packet; 0 if none was.
    #[inline]
    pub fn mtu(&self) -> u32 {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.raw.cb()).mtu }
    }

    /// Stores a route MTU with the packet, for the calculation of its padding.
    #[inline]
    pub fn set_mtu(&mut self, mtu: u32) {
        // SAFETY: Valid, and the field ours, by the type invariants.
        unsafe { (*self.raw.cb()).mtu = mtu }
    }

    /// Stores the outer header's DS field with the packet.
    #[inline]
    pub fn set_ds(&mut self, ds: u8) {
        // SAFETY: Valid, and the field ours, by the type invariants.
        unsafe { (*self.raw.cb()).ds = ds }
    }

    /// Stores the DS field of the packet's own IP header with it; 0 if it has none.
    #[inline]
    pub fn copy_ds(&mut self) {
        // SAFETY: Valid by the type invariants, and nobody else changes the data.
        let ds = unsafe {
            match (self.raw.l3_protocol(), self.raw.network_bytes(2)) {
                (Some(L3::V4), Some(&[_, tos])) => tos,
                (Some(L3::V6), Some(&[high, low])) => high << 4 | low >> 4,
                _ => 0,
            }
        };
        self.set_ds(ds);
    }

    /// Stops accounting the packet to the socket it came from.
    #[inline]
    pub fn orphan(&mut self) {
        // SAFETY: Valid by the type invariants; the owner is one of the packet's fields.
        unsafe { bindings::skb_orphan(self.raw.as_ptr()) }
    }

    /// Seals a packet in place: `header`, then ciphertext of the data and `padding` zeros, then
    /// the tag. The DS field that is stored with it ([`SkBuff::ds`](crate::skbuff::SkBuff::ds)) keeps its
    /// code point, and gets the congestion bits of the inner header, as C's tunnels do it.
    ///
    /// One can be sealed several times over; not for ever, as each header moves those of the packet
    /// further away from the start of the buffer. One in very many pieces is copied into one.
    pub fn seal(
        &mut self,
        header: &[u8; HEADER],
        padding: usize,
        nonce: u64,
        key: &[u8; 32],
    ) -> Result<(), SealError> {
        let Some(plain_len) = self.len().checked_add(padding) else {
            return Err(SealError::Malformed);
        };
        if padding > u16::MAX.into() || plain_len > (i32::MAX as usize) - HEADER - TAG {
            return Err(SealError::Malformed);
        }
        // What is in front of the headers may be made more, by what one header and those of lower
        // layers want, and their offsets are counted up by it.
        // SAFETY: Valid by the type invariants.
        if usize::from(unsafe { (*self.raw.headers()).network_header }) > MAX_HEADROOM {
            return Err(SealError::Malformed);
        }
        let tail = padding + TAG;
        let skb = self.raw.as_ptr();
        let mut trailer = ptr::null_mut();
        // SAFETY: Valid by the type invariants.
        let mut ds = unsafe { (*self.raw.cb()).ds };
        // SAFETY: Valid by the type invariants; the out pointers are to locals.
        let pieces = unsafe {
            bindings::skb_seal_prepare(
                skb,
                DATA_HEADROOM as u32,
                tail as u32,
                &mut ds,
                &mut trailer,
            )
        };
        self.set_ds(ds);
        if pieces < 0 {
            return Err(if pieces == ENOMEM.to_errno() {
                SealError::NoMemory
            } else {
                SealError::Malformed
            });
        }
        if pieces > 0 {
            // SAFETY: As above. The preparation made the data ours, counted its pieces, and found
            // the one with room for the tail; there is headroom for the header.
            let sealed = unsafe {
                bindings::skb_seal_sg(
                    skb,
                    trailer,
                    pieces,
                    header.as_ptr(),
                    HEADER as u32,
                    padding as u32,
                    nonce,
                    key.as_ptr(),
                )
            };
            return sealed.then_some(()).ok_or(SealError::Malformed);
        }
        // SAFETY: The preparation returned 0: the data is linear, in a buffer of ours alone, with
        // `tail` bytes behind it and `DATA_HEADROOM` before it, which is no less than `aead::FRONT`
        // and `HEADER`. So `skb_put` and `skb_push` stay in the buffer; so does the slice, which
        // starts in the headroom, where nothing is to be kept, and ends with what `skb_put`
        // returned. All of it is initialised: front and tail here, the data by who made it.
        unsafe {
            (*self.raw.headers()).inner_network_header = self.raw.headroom() as u16;
            let end = kernel::bindings::skb_put(skb, tail as u32).cast::<u8>();
            ptr::write_bytes(end, 0, tail);
            let front = self.raw.data().sub(aead::FRONT);
            ptr::write_bytes(front, 0, aead::FRONT);
            let whole = slice::from_raw_parts_mut(front, aead::FRONT + plain_len + TAG);
            if !aead::seal_in_place(whole, nonce, key) {
                return Err(SealError::Malformed);
            }
            let start = kernel::bindings::skb_push(skb, HEADER as u32).cast::<u8>();
            ptr::copy_nonoverlapping(header.as_ptr(), start, HEADER);
        }
        Ok(())
    }

    /// Opens in place a packet whose data is a header and what [`Segment::seal`] puts behind it:
    /// header and tag are cut off, the plaintext (padding included) is left.
    ///
    /// The outer IP and UDP headers stay in front for [`SkBuff::outer_source`]. One in very many
    /// pieces is copied into one.
    pub fn open(&mut self, nonce: u64, key: &[u8; 32]) -> Result<(), OpenError> {
        let len = self.len();
        if len < HEADER + TAG {
            return Err(OpenError::Malformed);
        }
        let skb = self.raw.as_ptr();
        // SAFETY: Valid by the type invariants. The network header, if it lies in front of the
        // data, lies in the buffer's headroom, so counting it in stays in the buffer.
        unsafe {
            let network = usize::from((*self.raw.headers()).network_header);
            let Some(outer) = self.raw.headroom().checked_sub(network) else {
                return Err(OpenError::Malformed);
            };
            let pieces = if self.raw.is_linear() && !self.raw.is_cloned() {
                0
            } else {
                bindings::skb_open_prepare(skb, outer as u32)
            };
            if pieces < 0 || !self.raw.may_pull(HEADER) {
                return Err(OpenError::NoMemory);
            }
            let authentic = if pieces > 0 {
                match bindings::skb_open_sg(skb, HEADER as u32, pieces, nonce, key.as_ptr()) {
                    1 => true,
                    0 => false,
                    _ => return Err(OpenError::Malformed),
                }
            } else {
                // The data is linear, and ours alone.
                let text = self.raw.data().add(HEADER);
                let text = slice::from_raw_parts_mut(text, len - HEADER);
                aead::open_in_place(text, nonce, key)
            };
            if !authentic {
                return Err(OpenError::Forged);
            }
            if !self.raw.trim(len - TAG) {
                return Err(OpenError::NoMemory);
            }
            if !self.raw.pull(HEADER) {
                return Err(OpenError::Malformed);
            }
        }
        Ok(())
    }

    /// Forgets everything about the packet that depends on the side of the tunnel it was on. With
    /// `encapsulating`, the flow hash stays.
    #[inline]
    pub fn scrub(&mut self, encapsulating: bool) {
        // SAFETY: Valid by the type invariants; links and control buffer are not touched.
        unsafe { bindings::skb_reset(self.raw.as_ptr(), encapsulating) }
    }
}

impl Lossy for Segment<'_> {
    type Left = ();

    #[inline]
    fn packets(&self) -> usize {
        1
    }

    /// Says that this packet of its batch is of no use; the others may be. Who takes them one by one
    /// is told ([`Taken::Lost`](crate::batch::Taken)), if the batch went well.
    #[inline]
    fn drop_for(self, why: DropReason) {
        // SAFETY: Valid, and the field ours, by the type invariants.
        unsafe { (*self.raw.cb()).lost = why.mark() }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_skbuff_segment)]
mod tests {
    use super::*;
    use crate::{
        skb_list::SkbList,
        skbuff::{
            ETH_P_IP,
            ETH_P_IPV6, //
        }, //
    };
    use kernel::prelude::*;

    const KEY: [u8; 32] = [7; 32];
    const FRONT: [u8; HEADER] = [1; HEADER];

    fn list(payload: &[u8], headroom: usize) -> Result<SkbList> {
        let mut list = SkbList::new();
        list.push_back(SkBuff::with_payload(payload, headroom, GFP_KERNEL)?);
        Ok(list)
    }

    fn headroom(segment: &Segment<'_>) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { segment.raw.headroom() }
    }

    /// Copies the first bytes of the data.
    fn copy_head(segment: &Segment<'_>, out: &mut [u8]) {
        // SAFETY: Valid by the type invariants; the length is checked, and nobody else uses it.
        unsafe {
            assert!(out.len() <= segment.raw.head_len());
            ptr::copy_nonoverlapping(segment.raw.data(), out.as_mut_ptr(), out.len());
        }
    }

    #[test]
    fn sealed_and_opened() -> Result {
        let mut list = list(b"plain text", DATA_HEADROOM)?;
        let mut segment = list.iter_mut().next().ok_or(EINVAL)?;
        assert_eq!(segment.seal(&FRONT, 6, 5, &KEY), Ok(()));
        assert_eq!(segment.len(), HEADER + 16 + TAG);
        assert_eq!(segment.open(5, &KEY), Ok(()));
        let mut plain = [1; 16];
        copy_head(&segment, &mut plain);
        assert_eq!(&plain, b"plain text\0\0\0\0\0\0");
        assert_eq!(segment.seal(&FRONT, 0, 5, &KEY), Ok(()));
        assert_eq!(segment.open(6, &KEY), Err(OpenError::Forged));
        Ok(())
    }

    /// Attempts that fail leave the data where it is, however many there are.
    #[test]
    fn failing_moves_nothing() -> Result {
        let payload = KVec::from_elem(0x55, 20_000, GFP_KERNEL)?;
        let mut list = list(&payload, DATA_HEADROOM)?;
        let mut segment = list.iter_mut().next().ok_or(EINVAL)?;
        for nonce in 0..2_000 {
            assert_eq!(segment.open(nonce, &KEY), Err(OpenError::Forged));
        }
        assert_eq!(segment.len(), payload.len());
        assert_eq!(headroom(&segment), DATA_HEADROOM);
        Ok(())
    }

    /// What was sealed several times over can be opened only as often as there is room in front for
    /// what is taken off.
    #[test]
    fn opened_within_bounds() -> Result {
        let mut sealed = list(&[0; 8], DATA_HEADROOM)?;
        let mut segment = sealed.iter_mut().next().ok_or(EINVAL)?;
        for _ in 0..3 {
            assert_eq!(segment.seal(&FRONT, 0, 1, &KEY), Ok(()));
        }
        let mut bytes = [0; 8 + 3 * (HEADER + TAG)];
        copy_head(&segment, &mut bytes);

        let near_the_end = MAX_HEADROOM - 2 * HEADER;
        let mut again = list(&bytes, near_the_end)?;
        let mut segment = again.iter_mut().next().ok_or(EINVAL)?;
        assert_eq!(segment.open(1, &KEY), Ok(()));
        assert_eq!(segment.open(1, &KEY), Ok(()));
        // Authentic, and too near the end. What it is after that, it is opened no further.
        assert_eq!(segment.open(1, &KEY), Err(OpenError::Malformed));
        for _ in 0..2 {
            assert!(segment.open(1, &KEY).is_err());
        }
        assert_eq!(headroom(&segment), MAX_HEADROOM);
        Ok(())
    }

    /// Nor is a packet sealed whose headers are too far away from the start of the buffer.
    #[test]
    fn sealed_within_bounds() -> Result {
        let mut list = list(&[0; 8], MAX_HEADROOM)?;
        let mut segment = list.iter_mut().next().ok_or(EINVAL)?;
        for (offset, sealed) in [(MAX_HEADROOM, true), (MAX_HEADROOM + 1, false)] {
            // SAFETY: Valid by the type invariants; nothing of this packet is read by that offset.
            unsafe { (*segment.raw.headers()).network_header = offset as u16 };
            assert_eq!(segment.seal(&FRONT, 0, 1, &KEY).is_ok(), sealed);
        }
        Ok(())
    }

    /// The outer header begins with the DS field of the inner one if that was asked for, and in any case has
    /// its congestion bits: "experienced" becomes "could be told".
    #[test]
    fn ds_of_the_outer_header() -> Result {
        for (protocol, head, copied, sealed) in [
            (ETH_P_IP, [0x45, 0xb9], 0xb9, 0xb9),
            (ETH_P_IP, [0x45, 0xbb], 0xbb, 0xba),
            (ETH_P_IPV6, [0x6b, 0x9f], 0xb9, 0xb9),
            (ETH_P_IPV6, [0x6f, 0xcf], 0xfc, 0xfc),
            // Not what it says it is, or nothing.
            (ETH_P_IPV6, [0x45, 0xb9], 0, 2),
            (0, [0x45, 0xb9], 0, 0),
        ] {
            for copy in [true, false] {
                let mut payload = [0; 40];
                payload[..2].copy_from_slice(&head);
                let mut list = list(&payload, DATA_HEADROOM)?;
                let mut segment = list.iter_mut().next().ok_or(EINVAL)?;
                // SAFETY: Valid by the type invariants, and the header is where the data is.
                unsafe {
                    let headers = &mut *segment.raw.headers();
                    headers.protocol = protocol.to_be();
                    headers.network_header = DATA_HEADROOM as u16;
                }
                // SAFETY: Valid by the type invariants.
                let ds = |segment: &Segment<'_>| unsafe { (*segment.raw.cb()).ds };
                if copy {
                    segment.copy_ds();
                }
                assert_eq!(ds(&segment), if copy { copied } else { 0 });
                assert_eq!(segment.seal(&FRONT, 0, 1, &KEY), Ok(()));
                assert_eq!(ds(&segment), if copy { sealed } else { sealed & 3 });
            }
        }
        Ok(())
    }

    /// A checksum that would be that of bytes in front of the data, or be written behind it, is none
    /// of the packet.
    #[test]
    fn checksum_elsewhere() -> Result {
        for (start, offset, sealed) in [
            (0, 0, false),
            (DATA_HEADROOM - 2, 0, false),
            (DATA_HEADROOM, 60_000, false),
            (DATA_HEADROOM + 7, 0, false),
            (DATA_HEADROOM + 6, 0, true),
        ] {
            let mut list = list(&[0; 8], DATA_HEADROOM)?;
            let mut segment = list.iter_mut().next().ok_or(EINVAL)?;
            // SAFETY: Valid by the type invariants.
            unsafe {
                let headers = &mut *segment.raw.headers();
                headers.set_ip_summed(kernel::bindings::CHECKSUM_PARTIAL as u8);
                headers.__bindgen_anon_1.__bindgen_anon_1.csum_start = start as u16;
                headers.__bindgen_anon_1.__bindgen_anon_1.csum_offset = offset;
            }
            assert_eq!(segment.seal(&FRONT, 0, 1, &KEY).is_ok(), sealed);
        }
        Ok(())
    }
}
