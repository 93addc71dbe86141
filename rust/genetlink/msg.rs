// SPDX-License-Identifier: GPL-2.0

//! Messages under construction: those of a dump, the answer to a request, an event.
//!
//! What does not fit is reported as [`NoSpace`] and leaves the message as it was; a nest or the
//! whole message can then be taken back, and the dump goes on in the next buffer.
//!
//! C header: [`include/net/netlink.h`](srctree/include/net/netlink.h)
//!
//! Safety review: `Documentation/safety.md#genetlinkmsgrs`.

use crate::{
    bindings,
    errno::ENODATA, //
};
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr, //
};
use kernel::prelude::*;

const HDRLEN: usize = size_of::<bindings::nlattr>();

/// Room for the attributes of a reply, in bytes.
const REPLY_SIZE: usize = 4000;
/// Room for those of an event, in bytes.
pub(super) const EVENT_SIZE: usize = 512;

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

/// A buffer with at most one message that is under construction: attributes are appended to it.
///
/// # Invariants
///
/// - `skb` is used by this object alone for `'a`; it is linear, at most 64 KiB of it are used, and
///   all that is used is initialised.
/// - `family` is registered.
/// - `open` is the offset of a complete generic netlink header, behind its netlink header.
pub struct Message<'a> {
    skb: *mut bindings::sk_buff,
    family: *const bindings::genl_family,
    open: Option<usize>,
    _p: PhantomData<&'a mut [u8]>,
}

impl Message<'_> {
    /// No message yet.
    ///
    /// # Safety
    ///
    /// As the type invariants say.
    pub(super) unsafe fn new(
        skb: *mut bindings::sk_buff,
        family: *const bindings::genl_family,
    ) -> Self {
        Self {
            skb,
            family,
            open: None,
            _p: PhantomData,
        }
    }

    /// Opens a message with these headers, when none is open. Returns its (empty) user header.
    pub(super) fn open(
        &mut self,
        portid: u32,
        seq: u32,
        flags: u32,
        cmd: u8,
    ) -> Result<*mut c_void, NoSpace> {
        if !self.fits(size_of::<bindings::nlmsghdr>() + size_of::<bindings::genlmsghdr>()) {
            return Err(NoSpace);
        }
        // SAFETY: Valid by the type invariants. CAST: The flags of a header are 16 bits.
        let hdr = unsafe {
            bindings::genlmsg_put(self.skb, portid, seq, self.family, flags as c_int, cmd)
        };
        if hdr.is_null() {
            return Err(NoSpace);
        }
        // `hdr` is behind both headers, at the end of what is used now (we have no user header).
        let open = self.len();
        // INVARIANT: The headers were just put there.
        self.open = Some(open);
        Ok(hdr)
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

    /// Ends the open message, if any.
    pub fn end(&mut self) {
        if let Some(open) = self.open.take() {
            // SAFETY: By the type invariants this is the user header of a message in the buffer.
            unsafe { bindings::genl_msg_end(self.skb, self.at(open).cast()) };
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
        unsafe { kernel::bindings::skb_trim(self.skb, len as u32) };
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

    /// Appends a number of up to 64 bits in four bytes, or in eight if it needs them, without padding
    /// (`nla_put_uint`).
    #[inline]
    pub fn put_uint(&mut self, ty: u32, value: u64) -> Result<(), NoSpace> {
        match u32::try_from(value) {
            Ok(small) => self.put_u32(ty, small),
            Err(_) => self.put(ty, &value.to_ne_bytes()),
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

/// The buffer that a dump fills.
///
/// One message at a time: [`begin`](Self::begin), attributes, then [`end`](Message::end) or
/// [`cancel`](Message::cancel). A message that is still open when the dump callback returns is ended
/// if it succeeded, and cancelled otherwise.
///
/// # Invariants
///
/// `cb` is that of a running `dumpit` callback, and used by it alone for the message's lifetime.
pub struct DumpMsg<'a> {
    message: Message<'a>,
    cb: *mut bindings::netlink_callback,
}

impl DumpMsg<'_> {
    /// # Safety
    ///
    /// As the type invariants of this and of [`Message`] say.
    pub(super) unsafe fn new(
        skb: *mut bindings::sk_buff,
        cb: *mut bindings::netlink_callback,
        family: *const bindings::genl_family,
    ) -> Self {
        Self {
            // SAFETY: By the safety requirements.
            message: unsafe { Message::new(skb, family) },
            cb,
        }
    }

    /// Starts a message; one that is still open is ended first.
    ///
    /// `seq` is the generation of what is dumped, not 0: if it differs from the previous message's
    /// of the same dump, this one is marked as inconsistent (`NLM_F_DUMP_INTR`), and userspace
    /// starts over.
    pub fn begin(&mut self, cmd: u8, seq: u32) -> Result<(), NoSpace> {
        self.message.end();
        // SAFETY: `cb` is valid; so is its `skb`, the request, and its header `nlh`.
        let (portid, nlseq) = unsafe {
            (*self.cb).seq = seq;
            (
                bindings::netlink_cb_portid((*self.cb).skb),
                (*(*self.cb).nlh).nlmsg_seq,
            )
        };
        let hdr = self
            .message
            .open(portid, nlseq, bindings::NLM_F_MULTI, cmd)?;
        // SAFETY: `hdr` is the user header of the message just put, as it asks for.
        unsafe { bindings::genl_dump_check_consistent(self.cb, hdr) };
        Ok(())
    }

    /// Says of which generation this part is, as [`begin`](Self::begin) does, for the case that
    /// there is no message in it: then the end of the dump is marked.
    pub fn of_generation(&mut self, seq: u32) {
        // SAFETY: `cb` is valid.
        unsafe { (*self.cb).seq = seq };
    }
}

impl<'a> Deref for DumpMsg<'a> {
    type Target = Message<'a>;

    #[inline]
    fn deref(&self) -> &Message<'a> {
        &self.message
    }
}

impl DerefMut for DumpMsg<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.message
    }
}

/// The answer to a request, or an event, owned until it is sent.
///
/// # Invariants
///
/// `skb` is a buffer of netlink's that this object owns.
pub(super) struct Reply {
    skb: *mut bindings::sk_buff,
}

impl Reply {
    /// An empty buffer with room for [`REPLY_SIZE`] bytes of attributes, or somewhat more. Sleeps.
    pub(super) fn new() -> Result<Self> {
        Self::alloc(REPLY_SIZE, kernel::bindings::GFP_KERNEL)
    }

    /// An empty buffer with room for [`EVENT_SIZE`] bytes of attributes, or somewhat more. Any context.
    pub(super) fn event() -> Result<Self> {
        Self::alloc(EVENT_SIZE, kernel::bindings::GFP_ATOMIC)
    }

    fn alloc(size: usize, flags: bindings::gfp_t) -> Result<Self> {
        // SAFETY: An FFI call without requirements other than the context.
        let skb = unsafe { bindings::genlmsg_new(size, flags) };
        if skb.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Just made.
        Ok(Self { skb })
    }

    /// The message in it, none yet.
    ///
    /// # Safety
    ///
    /// `family` must be registered for as long as the message is there.
    pub(super) unsafe fn message(&mut self, family: *const bindings::genl_family) -> Message<'_> {
        // SAFETY: By the type invariants, and borrowed for as long as the message; a new buffer of
        // netlink's is linear and empty.
        unsafe { Message::new(self.skb, family) }
    }

    /// Sends it to who made the request. `ENODATA` if nothing is in it: its message was cancelled.
    ///
    /// # Safety
    ///
    /// `info` must be that of a running callback; a message in the buffer must be complete.
    pub(super) unsafe fn send(self, info: *const bindings::genl_info) -> Result {
        // SAFETY: By the type invariants.
        if unsafe { (*self.skb).len } == 0 {
            return Err(ENODATA);
        }
        let skb = core::mem::ManuallyDrop::new(self).skb;
        // SAFETY: By the safety requirements; the buffer is given up, in any case.
        kernel::error::to_result(unsafe { bindings::genlmsg_reply(skb, info) })
    }

    /// Gives the buffer away, unless nothing is in it: its message was cancelled.
    pub(super) fn into_raw(self) -> Option<*mut bindings::sk_buff> {
        // SAFETY: By the type invariants.
        if unsafe { (*self.skb).len } == 0 {
            return None;
        }
        Some(core::mem::ManuallyDrop::new(self).skb)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::nlmsg_free(self.skb) }
    }
}
