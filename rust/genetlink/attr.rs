// SPDX-License-Identifier: GPL-2.0

//! Received netlink attributes.
//!
//! An attribute's payload can be overwritten while others look at the message ([`Attr::wipe`]), so
//! no reference to it is ever handed out: it is copied out. Lengths were checked against the
//! policy when the message was parsed; what is here checks bounds again and never relies on it.
//!
//! C header: [`include/net/netlink.h`](srctree/include/net/netlink.h)
//!
//! Safety review: `Documentation/safety.md#genetlinkattrrs`.

use crate::bindings;
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

const HDRLEN: usize = size_of::<bindings::nlattr>();

/// One attribute of a received message.
///
/// # Invariants
///
/// `data` is valid for reads and writes of `len` bytes for `'a`, and only accessed by the thread
/// that handles the message, through raw pointers.
#[derive(Clone, Copy)]
pub struct Attr<'a> {
    data: *mut u8,
    len: usize,
    /// As in the message, flags included.
    ty: u16,
    // Neither `Send` nor `Sync`: a `Cell` behind a reference, and a raw pointer.
    _p: PhantomData<&'a [Cell<u8>]>,
}

impl<'a> Attr<'a> {
    /// # Safety
    ///
    /// `attr` must point to an attribute, header and payload, that is valid for reads and writes
    /// for `'a`, and in the hands of the current thread.
    #[inline]
    unsafe fn from_raw(attr: *mut bindings::nlattr) -> Self {
        // SAFETY: The header is valid by the safety requirements; messages are aligned to four
        // bytes, but nothing here depends on that.
        let header = unsafe { attr.read_unaligned() };
        // INVARIANT: The payload follows the header; `nla_len` counts both.
        Self {
            // SAFETY: Right behind the header, in or one past the end of the same message.
            data: unsafe { attr.cast::<u8>().add(HDRLEN) },
            len: usize::from(header.nla_len).saturating_sub(HDRLEN),
            ty: header.nla_type,
            _p: PhantomData,
        }
    }

    /// Its address in the message: that of its header, for comparing.
    pub(super) fn header(&self) -> *const bindings::nlattr {
        self.data.wrapping_sub(HDRLEN).cast()
    }

    /// Length of the payload in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies the first bytes of the payload to `dst` and returns how many: the shorter length.
    pub fn copy_to(&self, dst: &mut [u8]) -> usize {
        let n = self.len.min(dst.len());
        // SAFETY: `n` is not more than either has. They don't overlap: `dst` is exclusively
        // borrowed, and no reference to a payload exists.
        unsafe { ptr::copy_nonoverlapping(self.data, dst.as_mut_ptr(), n) };
        n
    }

    /// Returns the payload if it has exactly `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&self) -> Option<[u8; N]> {
        (self.len == N).then(|| self.prefix())
    }

    /// The first bytes of the payload, with zeroes for those that are missing.
    #[inline]
    fn prefix<const N: usize>(&self) -> [u8; N] {
        if self.len >= N {
            // SAFETY: The payload has as many bytes; an array of them needs no alignment.
            return unsafe { self.data.cast::<[u8; N]>().read() };
        }
        let mut out = [0; N];
        self.copy_to(&mut out);
        out
    }

    /// The payload as a number of one byte, 0 if it is shorter.
    #[inline]
    pub fn u8(&self) -> u8 {
        self.prefix::<1>()[0]
    }

    /// The payload as a number in the host's byte order; missing bytes are zero.
    #[inline]
    pub fn u16(&self) -> u16 {
        u16::from_ne_bytes(self.prefix())
    }

    /// The payload as a number in the host's byte order; missing bytes are zero.
    #[inline]
    pub fn u32(&self) -> u32 {
        u32::from_ne_bytes(self.prefix())
    }

    /// Copies a string out: the payload up to its first NUL. `None` if it does not fit with a NUL
    /// at its end; the rest of the array is zero.
    pub fn string<const N: usize>(&self) -> Option<[u8; N]> {
        let mut out = [0; N];
        let n = self.copy_to(&mut out);
        let end = out[..n].iter().position(|&b| b == 0).unwrap_or(n);
        if end >= N {
            return None;
        }
        out[end..].fill(0);
        Some(out)
    }

    /// Overwrites the payload in the message with zeroes, and not just if it pays off.
    ///
    /// For keys, once they have been copied out: the message is freed without being cleared.
    pub fn wipe(&self) {
        for i in 0..self.len {
            // SAFETY: Within the payload, which is valid for writes, and which no reference
            // points into.
            unsafe { self.data.add(i).write_volatile(0) };
        }
    }

    /// The attributes in this one, whatever their types (`nla_for_each_nested`).
    ///
    /// Ends at the first that does not fit into what is left, as in C.
    #[inline]
    pub fn nested(&self) -> Nested<'a> {
        Nested {
            at: self.data,
            left: self.len,
            _p: PhantomData,
        }
    }

    /// Sorts the attributes in this one by type (`nla_parse_nested` without a policy).
    ///
    /// `N` is the highest type plus one. Fails with `EINVAL`, like C, if the nested flag is
    /// missing, a type is unknown, or bytes are left over; the contents are not validated, which
    /// for a request that was validated with nested policies has been done.
    pub fn parse_nested<const N: usize>(&self) -> Result<Parsed<'a, N>> {
        const { assert!(N > 0 && N <= u16::MAX as usize) };
        if self.ty & bindings::NLA_F_NESTED as u16 == 0 {
            return Err(EINVAL);
        }
        let mut table = [ptr::null_mut::<bindings::nlattr>(); N];
        let strict = bindings::netlink_validation_NL_VALIDATE_TRAILING
            | bindings::netlink_validation_NL_VALIDATE_MAXTYPE
            | bindings::netlink_validation_NL_VALIDATE_UNSPEC
            | bindings::netlink_validation_NL_VALIDATE_STRICT_ATTRS
            | bindings::netlink_validation_NL_VALIDATE_NESTED;
        // SAFETY: `table` has `N` entries, one more than the highest type; the payload is valid
        // for reads of its length, which is below 64 KiB. Policy and extended ack may be null.
        to_result(unsafe {
            bindings::__nla_parse(
                table.as_mut_ptr(),
                N as c_int - 1,
                self.data.cast(),
                self.len as c_int,
                ptr::null(),
                strict,
                ptr::null_mut(),
            )
        })?;
        // INVARIANT: `__nla_parse` puts attributes in the table that lie in the payload as a whole,
        // header and contents; for their validity see our own invariants.
        Ok(Parsed {
            table,
            _p: PhantomData,
        })
    }
}

/// Iterator over nested attributes, see [`Attr::nested`].
///
/// # Invariants
///
/// `at` is valid for reads and writes of `left` bytes for `'a`.
pub struct Nested<'a> {
    at: *mut u8,
    left: usize,
    _p: PhantomData<&'a [Cell<u8>]>,
}

impl<'a> Iterator for Nested<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        if self.left < HDRLEN {
            return None;
        }
        // CAST: An attribute starts with its header.
        let attr = self.at.cast::<bindings::nlattr>();
        // SAFETY: A header fits, as was just checked.
        let len = usize::from(unsafe { attr.read_unaligned() }.nla_len);
        if len < HDRLEN || len > self.left {
            return None;
        }
        // SAFETY: All of the attribute lies in what is left.
        let item = unsafe { Attr::from_raw(attr) };
        let step = len
            .next_multiple_of(bindings::NLA_ALIGNTO as usize)
            .min(self.left);
        // INVARIANT: As much less is left.
        self.left -= step;
        // SAFETY: `step` was not more than what was left.
        self.at = unsafe { self.at.add(step) };
        Some(item)
    }
}

/// Attributes sorted by type, see [`Attr::parse_nested`]. Of several of one type the last counts.
///
/// # Invariants
///
/// Each entry of `table` is null or points to an attribute of the request, valid for `'a`.
pub struct Parsed<'a, const N: usize> {
    table: [*mut bindings::nlattr; N],
    _p: PhantomData<&'a [Cell<u8>]>,
}

impl<'a, const N: usize> Parsed<'a, N> {
    /// The attribute of type `ty`, if the nest has one.
    #[inline]
    pub fn get(&self, ty: u32) -> Option<Attr<'a>> {
        let attr = *self.table.get(ty as usize)?;
        // SAFETY: By the type invariants.
        (!attr.is_null()).then(|| unsafe { Attr::from_raw(attr) })
    }
}

/// The attributes of a request, sorted by type, and validated by the operation's policy.
///
/// # Invariants
///
/// `table` is null or points to `max + 1` pointers, each null or to an attribute of the request,
/// valid for `'a`.
#[derive(Clone, Copy)]
pub struct Attrs<'a> {
    table: *mut *mut bindings::nlattr,
    max: u16,
    _p: PhantomData<&'a [Cell<u8>]>,
}

impl<'a> Attrs<'a> {
    /// # Safety
    ///
    /// As the type invariants say.
    pub(super) unsafe fn new(table: *mut *mut bindings::nlattr, max: u16) -> Self {
        Self {
            table,
            max,
            _p: PhantomData,
        }
    }

    /// The attribute of type `ty`, if the request has one.
    pub fn get(&self, ty: u32) -> Option<Attr<'a>> {
        if self.table.is_null() || ty > u32::from(self.max) {
            return None;
        }
        // SAFETY: `ty` is not above the maximum.
        let attr = unsafe { *self.table.add(ty as usize) };
        // SAFETY: By the type invariants.
        (!attr.is_null()).then(|| unsafe { Attr::from_raw(attr) })
    }
}
