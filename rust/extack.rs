// SPDX-License-Identifier: GPL-2.0

//! Extended acknowledgements: a sentence along with an error number, for userspace.
//!
//! C header: [`include/linux/netlink.h`](srctree/include/linux/netlink.h)
//!
//! Safety review: `Documentation/safety.md#extackrs`.

use kernel::{
    bindings,
    prelude::*, //
};

/// Where a request's answer can be given a message.
///
/// # Invariants
///
/// `ptr` is null, or points to the ack of the request that is handled, which only this thread
/// uses. Only ever lent to a callback.
pub struct ExtAck {
    ptr: *mut bindings::netlink_ext_ack,
}

impl ExtAck {
    /// # Safety
    ///
    /// `ptr` must be null, or valid for as long as the returned value is used, and used by this
    /// thread alone.
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::netlink_ext_ack) -> Self {
        Self { ptr }
    }

    /// Sets the message; what does not fit into 79 bytes is cut off.
    pub fn set_msg(&self, msg: &CStr) {
        if self.ptr.is_null() {
            return;
        }
        // SAFETY: Valid and ours by the type invariants; no reference to it exists elsewhere.
        let ack = unsafe { &mut *self.ptr };
        // Copied, so that it stays when the module goes before the answer does.
        let bytes = msg.to_bytes();
        let len = bytes.len().min(ack._msg_buf.len() - 1);
        ack._msg_buf[..len].copy_from_slice(&bytes[..len]);
        ack._msg_buf[len] = 0;
        ack._msg = ack._msg_buf.as_ptr();
    }
}
