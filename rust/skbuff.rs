// SPDX-License-Identifier: GPL-2.0
//! Socket buffers that this module owns.
//!
//! Wraps `struct sk_buff` of [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h). An
//! [`SkBuff`] is one packet; [`SkbList`](crate::skb_list::SkbList) is the packets of one burst;
//! [`Segment`] is a packet looked at inside such a list, which is where it is sealed and opened.
//! Where packets come in, or go to the stack, they are of other types, which say what they are ready
//! for: [`TxPacket`], [`Datagram`] and [`UdpPacket`], [`RxPacket`].
//!
//! Contexts: any but hardirq, unless stated. Nothing here sleeps, except that allocation with
//! `GFP_KERNEL` may.
//!
//! What a packet must not carry from one context into another (its route, its device) is taken off
//! where it enters, so that an [`SkBuff`] has nothing that could go before it.
//!
//! The offsets of a packet's headers are 16 bits wide, from the start of its buffer; the kernel does
//! not look whether they fit. So nothing here lets more than [`MAX_HEADROOM`] bytes come to lie in
//! front of a packet's data, or of its network header.
//!
//! Safety review: `Documentation/safety.md#skbuffrs`.

use crate::bindings;
use core::{
    ffi::c_int,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    alloc::{
        flags::GFP_KERNEL,
        Flags, //
    },
    fmt,
    prelude::*, //
};

mod aggregate;
mod chain;
mod raw;
mod receive;
mod segment;
mod transmit;

pub use aggregate::Datagrams;
pub(crate) use chain::{
    Chain,
    Together,
    MIN_MESSAGES, //
};
use raw::Owned;
pub(crate) use raw::{
    Cb,
    Link,
    RawSkb, //
};
pub use receive::{
    Datagram,
    Inner,
    InnerError,
    RxPacket,
    UdpPacket, //
};
pub use segment::{
    OpenError,
    SealError,
    Segment,
    DATA_HEADROOM,
    LOWER_HEADROOM, //
};
pub use transmit::TxPacket;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Size of an IPv4 header without options.
pub(crate) const IPV4_HEADER: usize = 20;
/// Size of an IPv6 header.
pub(crate) const IPV6_HEADER: usize = 40;
/// Size of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;
/// The most room behind the start of the data that an allocation may ask for, in bytes: what IP can
/// carry.
const MAX_ROOM: usize = 1 << 16;
/// The most that may lie in front of the data: half of what the offsets of headers can say, for the
/// layers above pull more off.
const MAX_HEADROOM: usize = 1 << 15;

/// A version of the internet protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum L3 {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for L3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            L3::V4 => "IPv4",
            L3::V6 => "IPv6",
        })
    }
}

/// A packet that can be kept.
///
/// It is just data, on no path: nothing in it can go away before it, and it keeps nothing from going
/// but the socket that it was sent from (until [`Segment::orphan`]). What came from a path is made one of these by [`TxPacket::gso_segment`] or
/// [`Datagram::udp_payload`], what goes on one is made of it by [`SkBuff::prepare_rx`] or the
/// senders of [`crate::udp_tunnel`].
///
/// There are two ends. Dropping it frees it and counts as a loss (`kfree_skb`, which drop monitors
/// report; [`Lossy::drop_for`](crate::drop_reason::Lossy) says why); [`SkBuff::consume`] is for a packet that did what it was
/// for.
///
/// # Invariants
///
/// `0` has neither route, nor conntrack entry, nor extensions, nor a device, and is not one that
/// stands for several (GSO).
pub struct SkBuff(Owned);

impl SkBuff {
    /// Takes over an `sk_buff`.
    ///
    /// # Safety
    ///
    /// `ptr` must be a valid `sk_buff` that is on no list, and the caller must own the only
    /// reference to it and pass it on. The type invariants must hold of it.
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: *mut kernel::bindings::sk_buff) -> Self {
        // INVARIANT: By the requirement.
        // SAFETY: By the requirement; so `ptr` is not null either.
        Self(unsafe { Owned::new(RawSkb::from(NonNull::new_unchecked(ptr))) })
    }

    #[inline]
    pub(crate) fn raw(&self) -> RawSkb {
        self.0.raw()
    }

    fn alloc(headroom: usize, tailroom: usize, flags: Flags) -> Result<Self> {
        if headroom > MAX_HEADROOM || tailroom > MAX_ROOM {
            return Err(EINVAL);
        }
        let gfp = if flags.contains(GFP_KERNEL) {
            kernel::bindings::GFP_KERNEL
        } else {
            kernel::bindings::GFP_ATOMIC
        };
        // SAFETY: No preconditions; the caller's flags fit its context.
        let ptr = unsafe { bindings::skb_with_room(headroom as u32, tailroom as u32, gfp) };
        if ptr.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: A new `sk_buff`, owned by nobody else, with nothing in it.
        Ok(unsafe { Self::from_raw(ptr) })
    }

    /// Makes a packet of `payload` with `headroom` bytes in front for the headers of lower layers.
    pub fn with_payload(payload: &[u8], headroom: usize, flags: Flags) -> Result<Self> {
        let skb = Self::alloc(headroom, payload.len(), flags)?;
        // SAFETY: The buffer has room for the payload, which `skb_put` returns the place for.
        unsafe {
            let dst =
                kernel::bindings::skb_put(skb.raw().as_ptr(), payload.len() as u32).cast::<u8>();
            ptr::copy_nonoverlapping(payload.as_ptr(), dst, payload.len());
        }
        Ok(skb)
    }

    /// Makes a packet without data that can grow by the given bytes in front and behind.
    pub fn empty(headroom: usize, tailroom: usize, flags: Flags) -> Result<Self> {
        Self::alloc(headroom, tailroom, flags)
    }

    /// Frees a packet that is used up. Not a loss: drop monitors do not report it.
    #[inline]
    pub fn consume(self) {
        self.0.consume();
    }

    /// Frees a packet of a batch, for the reason that it was marked with there.
    pub(crate) fn drop_as_marked(self) {
        self.0.drop_as_marked();
    }

    /// Bytes from the start of the data on.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { self.raw().len() }
    }

    /// Copies the first bytes of the data, linear or not; `false` if there are less.
    pub fn copy_data(&self, out: &mut [u8]) -> bool {
        let Ok(len) = c_int::try_from(out.len()) else {
            return false;
        };
        // SAFETY: Valid by the type invariants. It checks the length, and writes `len` bytes.
        unsafe {
            kernel::bindings::skb_copy_bits(self.raw().as_ptr(), 0, out.as_mut_ptr().cast(), len)
                == 0
        }
    }

    /// Stores a route MTU with the packet, for the calculation of its padding.
    #[inline]
    pub fn set_mtu(&mut self, mtu: u32) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { (*self.raw().cb()).mtu = mtu }
    }

    /// The DS field that this crate stored with the packet: of the outer header.
    #[inline]
    pub fn ds(&self) -> u8 {
        // SAFETY: Valid by the type invariants; any byte is a `u8`.
        unsafe { (*self.raw().cb()).ds }
    }

    /// Stores the outer header's DS field with the packet.
    #[inline]
    pub fn set_ds(&mut self, ds: u8) {
        // SAFETY: Valid and ours by the type invariants.
        unsafe { (*self.raw().cb()).ds = ds }
    }
}

/// Makes a type that is one packet, which is in this field, one that can be lost.
macro_rules! lossy {
    ($packet:ty, $field:tt) => {
        impl crate::drop_reason::Lossy for $packet {
            type Left = ();

            #[inline]
            fn packets(&self) -> usize {
                1
            }

            #[inline]
            fn drop_for(self, why: crate::drop_reason::DropReason) {
                self.$field.drop_for(why);
            }
        }
    };
}
use lossy;

lossy!(SkBuff, 0);
