// SPDX-License-Identifier: GPL-2.0
//! The fields of `struct sk_buff` that this crate uses, without ownership.
//!
//! Wraps [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h). Any context.
//!
//! Safety review: `Documentation/safety.md#skbuffrawrs`.

use super::{
    ETH_P_IP,
    ETH_P_IPV6,
    L3,
    MAX_HEADROOM, //
};
use crate::{
    atomic::HotAtomic,
    bindings,
    drop_reason::DropReason, //
};
use core::{
    ffi::c_void,
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};

/// What this crate keeps in `skb->cb` while it owns a packet.
///
/// The first two fields belong to the packet; the others are those of the batch, and mean something
/// only in the first packet of one (see [`crate::batch`]).
#[repr(C)]
pub(crate) struct Cb {
    pub(crate) mtu: u32,
    pub(crate) ds: u8,
    /// In a batch: why this packet is lost ([`DropReason::mark`]); 0 while it is not.
    pub(crate) lost: u8,
    _reserved: [u8; 2],
    pub(crate) state: HotAtomic<u32>,
    pub(crate) count: u32,
    pub(crate) first_nonce: u64,
    pub(crate) owner: *const c_void,
    pub(crate) tail: *mut kernel::bindings::sk_buff,
    pub(crate) link: Link,
}

/// A link of an order queue: what a batch and the queue's stub have in common.
pub(crate) struct Link {
    pub(crate) next: HotAtomic<*mut Link>,
}

const _: () = assert!(size_of::<Cb>() <= 48 && align_of::<Cb>() <= 8);

/// The `sk_buff` of [`SkBuff`], [`Segment`] and the lists, with its fields.
///
/// Every method requires that the `sk_buff` is valid, and (for those that change it) that nobody
/// else uses it meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct RawSkb(NonNull<kernel::bindings::sk_buff>);

impl From<NonNull<kernel::bindings::sk_buff>> for RawSkb {
    #[inline]
    fn from(ptr: NonNull<kernel::bindings::sk_buff>) -> Self {
        Self(ptr)
    }
}

impl RawSkb {
    #[inline]
    pub(crate) fn new(ptr: *mut kernel::bindings::sk_buff) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }

    #[inline]
    pub(crate) const fn as_ptr(self) -> *mut kernel::bindings::sk_buff {
        self.0.as_ptr()
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn cb(self) -> *mut Cb {
        // SAFETY: Valid by the requirement; only an address is taken.
        unsafe { &raw mut (*self.as_ptr()).cb }.cast()
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid, and its link not be changed meanwhile.
    #[inline]
    pub(crate) unsafe fn next(self) -> *mut kernel::bindings::sk_buff {
        // SAFETY: By the requirement.
        unsafe { (*self.as_ptr()).__bindgen_anon_1.__bindgen_anon_1.next }
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid, and its link not be used meanwhile.
    #[inline]
    pub(crate) unsafe fn set_next(self, next: *mut kernel::bindings::sk_buff) {
        // SAFETY: By the requirement.
        unsafe { (*self.as_ptr()).__bindgen_anon_1.__bindgen_anon_1.next = next }
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid and not be used meanwhile.
    #[inline]
    pub(crate) unsafe fn set_dev(self, dev: *mut bindings::net_device) {
        // SAFETY: By the requirement.
        unsafe {
            (*self.as_ptr())
                .__bindgen_anon_1
                .__bindgen_anon_1
                .__bindgen_anon_1
                .dev = dev.cast()
        }
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn headers(
        self,
    ) -> *mut kernel::bindings::sk_buff__bindgen_ty_4__bindgen_ty_1 {
        // SAFETY: By the requirement; only an address is taken.
        unsafe { &raw mut (*self.as_ptr()).__bindgen_anon_4 }.cast()
    }

    /// What clones of a packet have in common, at the end of its buffer.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn shared_info(self) -> *mut kernel::bindings::skb_shared_info {
        // SAFETY: By the requirement; `end` is the offset at which it lies in the buffer.
        unsafe {
            let skb = self.as_ptr();
            (*skb).head.add((*skb).end as usize).cast()
        }
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn protocol(self) -> u16 {
        // SAFETY: By the requirement.
        u16::from_be(unsafe { (*self.headers()).protocol })
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn len(self) -> usize {
        // SAFETY: By the requirement.
        unsafe { (*self.as_ptr()).len as usize }
    }

    /// Bytes in the linear part.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn head_len(self) -> usize {
        // SAFETY: By the requirement. `data_len <= len` holds for every `sk_buff`.
        unsafe { (*self.as_ptr()).len.wrapping_sub((*self.as_ptr()).data_len) as usize }
    }

    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn data(self) -> *mut u8 {
        // SAFETY: By the requirement.
        unsafe { (*self.as_ptr()).data }
    }

    /// The linear part from `offset` after the start of the buffer's head on, `n` bytes.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid and its data not be changed for `'a`.
    #[inline]
    pub(crate) unsafe fn bytes_at<'a>(self, offset: usize, n: usize) -> Option<&'a [u8]> {
        // SAFETY: By the requirement. `head <= data` lie in one allocation.
        let (head, linear_end) = unsafe {
            let head = (*self.as_ptr()).head;
            let headroom = self.data().offset_from(head) as usize;
            (head, headroom + self.head_len())
        };
        if n > linear_end || offset > linear_end - n {
            return None;
        }
        // SAFETY: `[head, head + linear_end)` is allocated, and lives as long as the `sk_buff` is
        // not changed; the range was checked to be inside.
        Some(unsafe { slice::from_raw_parts(head.add(offset), n) })
    }

    /// The first `n` bytes of the network header, if they are linear.
    ///
    /// # Safety
    ///
    /// As for [`RawSkb::bytes_at`].
    #[inline]
    pub(crate) unsafe fn network_bytes<'a>(self, n: usize) -> Option<&'a [u8]> {
        // SAFETY: By the requirement.
        unsafe { self.bytes_at((*self.headers()).network_header.into(), n) }
    }

    /// The first `n` bytes of the transport header, if they are linear.
    ///
    /// # Safety
    ///
    /// As for [`RawSkb::bytes_at`].
    #[inline]
    pub(crate) unsafe fn transport_bytes<'a>(self, n: usize) -> Option<&'a [u8]> {
        // SAFETY: By the requirement.
        unsafe { self.bytes_at((*self.headers()).transport_header.into(), n) }
    }

    /// What the network header says it is.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn parse_l3(self) -> Option<L3> {
        // SAFETY: By the requirement. The function checks that the header is inside the data.
        match u16::from_be(unsafe { bindings::ip_tunnel_parse_protocol(self.as_ptr()) }) {
            ETH_P_IP => Some(L3::V4),
            ETH_P_IPV6 => Some(L3::V6),
            _ => None,
        }
    }

    /// Makes the first `n` bytes linear.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid and not be used meanwhile.
    #[inline]
    pub(crate) unsafe fn may_pull(self, n: usize) -> bool {
        // SAFETY: By the requirement.
        unsafe {
            if n <= self.head_len() {
                return true;
            }
            n <= self.len() && bindings::pskb_may_pull(self.as_ptr(), n as u32)
        }
    }

    /// Cuts the packet to `n` bytes, unless it is shorter. `false` if memory is short.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid and not be used meanwhile.
    #[inline]
    #[must_use]
    pub(crate) unsafe fn trim(self, n: usize) -> bool {
        // SAFETY: By the requirement; what is linear ends earlier, in the same buffer.
        unsafe {
            if n >= self.len() {
                return true;
            }
            if !self.is_linear() {
                return bindings::pskb_trim(self.as_ptr(), n as u32) == 0;
            }
            (*self.as_ptr()).len = n as u32;
            (*self.as_ptr()).tail = (self.headroom() + n) as u32;
        }
        true
    }

    /// Whether all of it is in the linear part.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn is_linear(self) -> bool {
        // SAFETY: By the requirement.
        unsafe { (*self.as_ptr()).data_len == 0 }
    }

    /// Whether it stands for several packets.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn is_gso(self) -> bool {
        // SAFETY: By the requirement.
        unsafe { (*self.shared_info()).gso_size != 0 }
    }

    /// Whether its buffer is somebody else's as well.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn is_cloned(self) -> bool {
        // SAFETY: By the requirement. `READ_ONCE`, as others may give theirs up meanwhile.
        unsafe {
            // Those to all of the buffer.
            let references = || {
                let all = (&raw const (*self.shared_info()).dataref.counter).read_volatile();
                all as u32 & bindings::WGK_SKB_DATAREF_MASK
            };
            (*self.as_ptr()).cloned() != 0 && references() != 1
        }
    }

    /// Whether others have it, or what is in it.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn is_shared(self) -> bool {
        // SAFETY: By the requirement. `READ_ONCE`, as others may put references meanwhile.
        unsafe {
            let users = (&raw const (*self.as_ptr()).users.refs.counter).read_volatile();
            users != 1 || self.is_cloned()
        }
    }

    /// Takes `n` bytes off the front; they stay in the buffer, in front of the data. `false`, and
    /// nothing is done, if more than [`MAX_HEADROOM`] would lie there.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid, not be used meanwhile, and its first `n` bytes be linear.
    #[inline]
    #[must_use]
    pub(crate) unsafe fn pull(self, n: usize) -> bool {
        // SAFETY: By the requirement, the data stays inside the linear part.
        unsafe {
            if self.headroom() + n > MAX_HEADROOM {
                return false;
            }
            (*self.as_ptr()).len -= n as u32;
            (*self.as_ptr()).data = self.data().add(n);
        }
        true
    }

    /// Bytes in front of the data.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn headroom(self) -> usize {
        // SAFETY: By the requirement. `head <= data` lie in one allocation.
        unsafe { self.data().offset_from((*self.as_ptr()).head) as usize }
    }

    /// The IP version, if the network header and the EtherType agree on one.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid.
    #[inline]
    pub(crate) unsafe fn l3_protocol(self) -> Option<L3> {
        // SAFETY: By the requirement.
        let (l3, protocol) = unsafe { (self.parse_l3()?, self.protocol()) };
        let expected = match l3 {
            L3::V4 => ETH_P_IP,
            L3::V6 => ETH_P_IPV6,
        };
        (protocol == expected).then_some(l3)
    }

    /// Makes the reference to it the only one: of a packet that others have as well, that is one to
    /// a clone. `None` if memory for that is short; then the reference is gone.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid, and the caller give up a reference to it.
    #[inline]
    pub(crate) unsafe fn unshare(self) -> Option<Self> {
        // SAFETY: By the requirement. `READ_ONCE`, as others may put references meanwhile.
        unsafe {
            let users = (&raw const (*self.as_ptr()).users.refs.counter).read_volatile();
            if users == 1 {
                return Some(self);
            }
            Self::new(bindings::skb_share_check(self.as_ptr()))
        }
    }

    /// Takes off what ties the packet to a path, and to the namespace of that: route, conntrack
    /// entry, extensions (such as IPsec's), device.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid and not be used meanwhile. Its route may be an uncounted one, if
    /// this is the read-side section in which it was set.
    #[inline]
    pub(crate) unsafe fn untie(self) {
        let skb = self.as_ptr();
        // SAFETY: By the requirement.
        unsafe {
            let mut tied = (*skb).__bindgen_anon_3.__bindgen_anon_1._skb_refdst != 0;
            #[cfg(CONFIG_NF_CONNTRACK)]
            {
                tied |= (*skb)._nfct != 0;
            }
            #[cfg(CONFIG_SKB_EXTENSIONS)]
            {
                tied |= (*skb).active_extensions != 0;
            }
            if tied {
                bindings::skb_untie(skb);
            }
            self.set_dev(ptr::null_mut());
        }
    }
}

/// An `sk_buff` that somebody owns; what it may have in it is up to the types that are made of
/// this. Dropping it is the loss of a packet.
///
/// # Invariants
///
/// `0` is a valid `sk_buff` on no list, and this object owns the only reference to it.
pub(crate) struct Owned(RawSkb);

// SAFETY: An `sk_buff` is bound to no context; the object owns it alone.
unsafe impl Send for Owned {}
// SAFETY: Methods with `&self` only read.
unsafe impl Sync for Owned {}

impl Owned {
    /// # Safety
    ///
    /// The `sk_buff` must be valid and on no list, and the caller own the only reference to it and
    /// pass it on.
    #[inline]
    pub(crate) unsafe fn new(raw: RawSkb) -> Self {
        // SAFETY: By the requirement. The kernel may have left what was the next on a list.
        unsafe { raw.set_next(ptr::null_mut()) };
        // INVARIANT: By the requirement.
        Self(raw)
    }

    #[inline]
    pub(crate) fn raw(&self) -> RawSkb {
        self.0
    }

    /// Gives the `sk_buff` up. The receiver owns the reference.
    #[inline]
    pub(crate) fn into_raw(self) -> RawSkb {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }

    /// Frees a packet that is used up. Not a loss: drop monitors do not report it.
    #[inline]
    pub(crate) fn consume(self) {
        // SAFETY: The reference is ours by the type invariants, and `into_raw` gave it up.
        unsafe { bindings::consume_skb(self.into_raw().as_ptr()) }
    }

    /// Frees a packet that is lost, and tells drop monitors why.
    #[inline]
    pub(crate) fn drop_for(self, why: DropReason) {
        // SAFETY: The reference is ours by the type invariants, and `into_raw` gave it up.
        unsafe { free(self.into_raw(), why) }
    }

    /// The same, for the reason that it was marked with as a part of a batch.
    pub(crate) fn drop_as_marked(self) {
        // SAFETY: Valid by the type invariants; any byte is a `u8`.
        let mark = unsafe { (*self.0.cb()).lost };
        self.drop_for(DropReason::of_mark(mark).unwrap_or(DropReason::NotSpecified));
    }
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariants.
        unsafe { free(self.0, DropReason::NotSpecified) }
    }
}

/// Frees a packet that is lost.
///
/// # Safety
///
/// The `sk_buff` must be valid and on no list, and the caller give a reference to it up.
#[inline]
unsafe fn free(raw: RawSkb, why: DropReason) {
    // SAFETY: By the requirement. No socket is told of.
    unsafe { kernel::bindings::sk_skb_reason_drop(ptr::null(), raw.as_ptr(), core_reason(why)) }
}

/// The kernel's number.
#[inline]
fn core_reason(why: DropReason) -> kernel::bindings::skb_drop_reason {
    use kernel::bindings::*;
    match why {
        DropReason::NotSpecified => skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
        DropReason::NoSocket => skb_drop_reason_SKB_DROP_REASON_NO_SOCKET,
        DropReason::SocketClose => skb_drop_reason_SKB_DROP_REASON_SOCKET_CLOSE,
        DropReason::HdrTrunc => skb_drop_reason_SKB_DROP_REASON_HDR_TRUNC,
        DropReason::UnhandledProto => skb_drop_reason_SKB_DROP_REASON_UNHANDLED_PROTO,
        DropReason::IpInhdr => skb_drop_reason_SKB_DROP_REASON_IP_INHDR,
        DropReason::IpRpfilter => skb_drop_reason_SKB_DROP_REASON_IP_RPFILTER,
        DropReason::IpOutnoroutes => skb_drop_reason_SKB_DROP_REASON_IP_OUTNOROUTES,
        DropReason::SkbCsum => skb_drop_reason_SKB_DROP_REASON_SKB_CSUM,
        DropReason::SkbGsoSeg => skb_drop_reason_SKB_DROP_REASON_SKB_GSO_SEG,
        DropReason::TcpOldSequence => skb_drop_reason_SKB_DROP_REASON_TCP_OLD_SEQUENCE,
        DropReason::CpuBacklog => skb_drop_reason_SKB_DROP_REASON_CPU_BACKLOG,
        DropReason::FullRing => skb_drop_reason_SKB_DROP_REASON_FULL_RING,
        DropReason::NeighQueuefull => skb_drop_reason_SKB_DROP_REASON_NEIGH_QUEUEFULL,
        DropReason::QueuePurge => skb_drop_reason_SKB_DROP_REASON_QUEUE_PURGE,
        DropReason::DevReady => skb_drop_reason_SKB_DROP_REASON_DEV_READY,
        DropReason::DevHdr => skb_drop_reason_SKB_DROP_REASON_DEV_HDR,
        DropReason::NoTxTarget => skb_drop_reason_SKB_DROP_REASON_NO_TX_TARGET,
        DropReason::PktTooBig => skb_drop_reason_SKB_DROP_REASON_PKT_TOO_BIG,
        DropReason::RecursionLimit => skb_drop_reason_SKB_DROP_REASON_RECURSION_LIMIT,
        DropReason::Nomem => skb_drop_reason_SKB_DROP_REASON_NOMEM,
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_skbuff_raw)]
mod tests {
    use super::*;
    use crate::skbuff::SkBuff;
    use kernel::prelude::*;

    /// Of a packet that somebody else has as well one gets another `sk_buff`, and gives its
    /// reference up.
    #[test]
    fn unshared() -> Result {
        let raw = SkBuff::with_payload(&[1, 2, 3], 64, GFP_KERNEL)?
            .0
            .into_raw();
        // SAFETY: The packet is ours; each reference is given up once, the second by `unshare`.
        unsafe {
            assert!(raw.unshare() == Some(raw));
            let users = &raw mut (*raw.as_ptr()).users.refs.counter;
            *users += 1;
            let other = raw.unshare();
            assert_eq!(*users, 1);
            drop(Owned::new(raw));
            let other = Owned::new(other.ok_or(ENOMEM)?);
            assert!(other.raw() != raw);
            assert_eq!(other.raw().bytes_at(64, 3), Some(&[1u8, 2, 3][..]));
        }
        Ok(())
    }

    /// No more is taken off the front than header offsets can be told for.
    #[test]
    fn pulled_within_bounds() -> Result {
        let skb = SkBuff::with_payload(&[0; 100], MAX_HEADROOM - 60, GFP_KERNEL)?;
        // SAFETY: The packet is ours, and linear.
        unsafe {
            assert!(!skb.raw().pull(61));
            assert_eq!(skb.raw().headroom(), MAX_HEADROOM - 60);
            assert!(skb.raw().pull(60));
            assert_eq!(skb.raw().headroom(), MAX_HEADROOM);
        }
        assert_eq!(skb.len(), 40);
        assert!(SkBuff::empty(MAX_HEADROOM + 1, 0, GFP_KERNEL).is_err());
        Ok(())
    }
}
