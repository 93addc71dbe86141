// SPDX-License-Identifier: GPL-2.0
//! The fields of `struct sk_buff` that this crate uses, without ownership.
//!
//! Wraps [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h). Any context.
//!
//! Safety review: `Documentation/safety.md#skbuffrawrs`.

use super::{
    ETH_P_IP,
    ETH_P_IPV6,
    L3, //
};
use crate::bindings;
use core::{
    ffi::c_void,
    ptr::NonNull,
    slice,
    sync::atomic::{
        AtomicPtr,
        AtomicU32, //
    },
};

/// What this crate keeps in `skb->cb` while it owns a packet.
///
/// The first two fields belong to the packet; the others are those of the batch, and mean something
/// only in the first packet of one (see [`crate::batch`]).
#[repr(C)]
pub(crate) struct Cb {
    pub(crate) mtu: u32,
    pub(crate) ds: u8,
    _reserved: [u8; 3],
    pub(crate) state: AtomicU32,
    pub(crate) count: u32,
    pub(crate) first_nonce: u64,
    pub(crate) owner: *const c_void,
    pub(crate) tail: *mut kernel::bindings::sk_buff,
    pub(crate) link: Link,
}

/// A link of an order queue: what a batch and the queue's stub have in common.
pub(crate) struct Link {
    pub(crate) next: AtomicPtr<Link>,
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

    /// Takes `n` bytes off the front; they stay in the buffer, in front of the data.
    ///
    /// # Safety
    ///
    /// The `sk_buff` must be valid, not be used meanwhile, and its first `n` bytes be linear.
    #[inline]
    pub(crate) unsafe fn pull(self, n: usize) {
        // SAFETY: By the requirement, the data stays inside the linear part.
        unsafe {
            (*self.as_ptr()).len -= n as u32;
            (*self.as_ptr()).data = self.data().add(n);
        }
    }
}
