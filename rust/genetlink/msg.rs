// SPDX-License-Identifier: GPL-2.0

//! Messages of a dump.
//!
//! What does not fit is reported as [`NoSpace`] and leaves the message as it was; a nest or the
//! whole message can then be taken back, and the dump goes on in the next buffer.
//!
//! C header: [`include/net/netlink.h`](srctree/include/net/netlink.h)
//!
//! Safety review: `Documentation/safety.md#genetlinkmsgrs`.

use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::{
    bindings,
    prelude::*, //
};

const HDRLEN: usize = size_of::<bindings::nlattr>();

/// The buffer is full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NoSpace;

impl From<NoSpace> for Error {
    #[inline]
    fn from(_: NoSpace) -> Error {
        EMSGSIZE
    }
}

/// Where a nest begins; to be ended or cancelled.
#[must_use = "a nest must be ended or cancelled"]
pub struct Nest {
    /// Offset of the nest's header from the start of the buffer.
    offset: usize,
}

/// The buffer that a dump fills.
///
/// One message at a time: [`begin`](Self::begin), attributes, then [`end`](Self::end) or
/// [`cancel`](Self::cancel). A message that is still open when the dump callback returns is ended
/// if it succeeded, and cancelled otherwise.
///
/// # Invariants
///
/// - `skb` and `cb` are those of a running `dumpit` callback, and used by it alone for `'a`; `skb`
///   is linear, at most 64 KiB of it are used, and all that is used is initialised.
/// - `open` is the offset of a complete generic netlink header, behind its netlink header.
pub struct DumpMsg<'a> {
    skb: *mut bindings::sk_buff,
    cb: *mut bindings::netlink_callback,
    family: *const bindings::genl_family,
    open: Option<usize>,
    _p: PhantomData<&'a mut [u8]>,
}

impl DumpMsg<'_> {
    /// # Safety
    ///
    /// As the type invariants say.
    pub(super) unsafe fn new(
        skb: *mut bindings::sk_buff,
        cb: *mut bindings::netlink_callback,
        family: *const bindings::genl_family,
    ) -> Self {
        Self {
            skb,
            cb,
            family,
            open: None,
            _p: PhantomData,
        }
    }

    /// Bytes used, of all messages in this buffer.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: Valid by the type invariants. CAST: 32 bits fit.
        unsafe { (*self.skb).len as usize }
    }

    /// Whether nothing has been written yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: Valid by the type invariants; callers stay within what is used.
        unsafe { (*self.skb).data.add(offset) }
    }

    /// Whether the attribute would keep all lengths within 16 bits.
    fn fits(&self, payload: usize) -> bool {
        // Twice the header: `nla_put_64bit` may pad with an empty attribute.
        payload <= usize::from(u16::MAX) - 2 * HDRLEN
            && self.len() + payload + 2 * HDRLEN + 3 <= usize::from(u16::MAX)
    }

    /// Starts a message; one that is still open is ended first.
    ///
    /// `seq` is the generation of what is dumped, not 0: if it differs from the previous message's
    /// of the same dump, this one is marked as inconsistent (`NLM_F_DUMP_INTR`), and userspace
    /// starts over.
    pub fn begin(&mut self, cmd: u8, seq: u32) -> Result<(), NoSpace> {
        self.end();
        // SAFETY: `cb` is valid; so is its `skb`, the request, and its header `nlh`.
        let (portid, nlseq) = unsafe {
            (*self.cb).seq = seq;
            (
                crate::bindings::netlink_cb_portid((*self.cb).skb),
                (*(*self.cb).nlh).nlmsg_seq,
            )
        };
        if !self.fits(size_of::<bindings::nlmsghdr>() + size_of::<bindings::genlmsghdr>()) {
            return Err(NoSpace);
        }
        // SAFETY: Valid by the type invariants; the family is registered, its request is handled.
        let hdr = unsafe {
            bindings::genlmsg_put(
                self.skb,
                portid,
                nlseq,
                self.family,
                bindings::NLM_F_MULTI as c_int,
                cmd,
            )
        };
        if hdr.is_null() {
            return Err(NoSpace);
        }
        // `hdr` is behind both headers, at the end of what is used now (we have no user header).
        let open = self.len();
        // INVARIANT: The headers were just put there.
        self.open = Some(open);
        // SAFETY: `hdr` is the user header of the message just put, as it asks for.
        unsafe { crate::bindings::genl_dump_check_consistent(self.cb, hdr) };
        Ok(())
    }

    /// Ends the open message, if any.
    pub fn end(&mut self) {
        if let Some(open) = self.open.take() {
            // SAFETY: By the type invariants this is the user header of a message in the buffer.
            unsafe { crate::bindings::genl_msg_end(self.skb, self.at(open).cast()) };
        }
    }

    /// Takes the open message back, if any.
    pub fn cancel(&mut self) {
        if let Some(open) = self.open.take() {
            self.trim(open - size_of::<bindings::nlmsghdr>() - size_of::<bindings::genlmsghdr>());
        }
    }

    fn trim(&mut self, len: usize) {
        // SAFETY: Only ever shortens a linear buffer.
        unsafe { crate::bindings::nlmsg_trim(self.skb, len as u32) };
    }

    /// Appends an attribute.
    ///
    /// As `nla_put` does, but inlined: with a call for each attribute, of which a peer has a dozen,
    /// calls are what a dump consists of.
    #[inline]
    pub fn put(&mut self, ty: u32, payload: &[u8]) -> Result<(), NoSpace> {
        if self.open.is_none() || !self.fits(payload.len()) {
            return Err(NoSpace);
        }
        let len = HDRLEN + payload.len();
        let total = len.next_multiple_of(bindings::NLA_ALIGNTO as usize);
        // SAFETY: Valid by the type invariants. A linear buffer's unused bytes are those between
        // `tail` and `end`, both from `head`, and there are enough of them for what is written.
        unsafe {
            let skb = self.skb;
            let room = (*skb).end.saturating_sub((*skb).tail);
            if (room as usize) < total {
                return Err(NoSpace);
            }
            let at = (*skb).head.add((*skb).tail as usize);
            (*skb).tail += total as u32;
            (*skb).len += total as u32;
            // CAST: `fits` keeps it within 16 bits; so are the types of attributes and their flags.
            let header = [(len as u16).to_ne_bytes(), (ty as u16).to_ne_bytes()];
            ptr::copy_nonoverlapping(header.as_ptr().cast(), at, HDRLEN);
            ptr::copy_nonoverlapping(payload.as_ptr(), at.add(HDRLEN), payload.len());
            ptr::write_bytes(at.add(len), 0, total - len);
        }
        Ok(())
    }

    /// Appends a number of one byte.
    #[inline]
    pub fn put_u8(&mut self, ty: u32, value: u8) -> Result<(), NoSpace> {
        self.put(ty, &[value])
    }

    /// Appends a 16-bit number.
    #[inline]
    pub fn put_u16(&mut self, ty: u32, value: u16) -> Result<(), NoSpace> {
        self.put(ty, &value.to_ne_bytes())
    }

    /// Appends a 32-bit number.
    #[inline]
    pub fn put_u32(&mut self, ty: u32, value: u32) -> Result<(), NoSpace> {
        self.put(ty, &value.to_ne_bytes())
    }

    /// Appends a 64-bit number, aligned where the architecture needs it, for which an empty
    /// attribute of type `pad` is put before it (`nla_put_u64_64bit`).
    #[inline]
    pub fn put_u64(&mut self, ty: u32, value: u64, pad: u32) -> Result<(), NoSpace> {
        if cfg!(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS) {
            // It needs none then.
            return self.put(ty, &value.to_ne_bytes());
        }
        if self.open.is_none() || !self.fits(size_of::<u64>()) {
            return Err(NoSpace);
        }
        // SAFETY: Valid by the type invariants; the payload is readable.
        let ret = unsafe {
            bindings::nla_put_64bit(
                self.skb,
                ty as c_int,
                size_of::<u64>() as c_int,
                (&raw const value).cast(),
                pad as c_int,
            )
        };
        if ret == 0 {
            Ok(())
        } else {
            Err(NoSpace)
        }
    }

    /// Appends a string, up to the first NUL or its end, and a NUL.
    pub fn put_str(&mut self, ty: u32, value: &[u8]) -> Result<(), NoSpace> {
        const MAX: usize = 256;
        let len = value.iter().position(|&b| b == 0).unwrap_or(value.len());
        let mut buf = [0; MAX];
        let buf = buf.get_mut(..len + 1).ok_or(NoSpace)?;
        buf[..len].copy_from_slice(&value[..len]);
        self.put(ty, buf)
    }

    /// Starts a nest.
    pub fn nest_start(&mut self, ty: u32) -> Result<Nest, NoSpace> {
        let offset = self.len();
        self.put(ty | bindings::NLA_F_NESTED, &[])?;
        Ok(Nest { offset })
    }

    /// The open message's attributes are from here on.
    fn holds(&self, nest: &Nest) -> bool {
        self.open.is_some_and(|open| nest.offset >= open)
            && nest.offset % bindings::NLA_ALIGNTO as usize == 0
            && nest.offset + HDRLEN <= self.len()
    }

    /// Ends a nest: what was put since is in it.
    ///
    /// A nest that is not one of the open message any more is ignored.
    pub fn nest_end(&mut self, nest: Nest) {
        if self.holds(&nest) {
            let len = self.len() - nest.offset;
            // CAST: `fits` keeps the whole buffer below 64 KiB.
            let len = (len as u16).to_ne_bytes();
            // `nla_len` is the first field of the header.
            for (i, byte) in len.into_iter().enumerate() {
                // SAFETY: The header lies in what is used, as `holds` has found. With a nest of
                // another buffer this could be something else than a header: then userspace gets a
                // garbled message, and the kernel does not read it.
                unsafe { self.at(nest.offset + i).write(byte) };
            }
        }
    }

    /// Takes a nest back, with all that was put since it was started.
    pub fn nest_cancel(&mut self, nest: Nest) {
        if self.holds(&nest) {
            self.trim(nest.offset);
        }
    }
}
