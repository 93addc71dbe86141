// SPDX-License-Identifier: GPL-2.0
//! Tracepoints `wireguard_rs:*`.
//!
//! Each is declared in `helpers/trace.h`, and hangs on a static key of its own: while nobody has
//! enabled it, it costs a no-op instruction, and what it would be told is not looked at. What comes
//! first in all of them is the interface: its index (0: it is not there any more) and name. Any context
//! but NMI; where RCU is watching, as it is wherever the driver runs.
//!
//! What is told is for root (tracefs, or `CAP_PERFMON`), and still no secret: names and numbers that
//! the log has as well, and words.
//!
//! The kernel's `declare_trace!` is for events of its own bindings only; this is the same for ours.
//!
//! C header: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h).
//!
//! Safety review: `Documentation/safety.md#tracers`.

use crate::netdevice::NetName;
use core::ffi::CStr;
use kernel::prelude::*;

/// What C takes for an argument.
trait Argument {
    type C;
    #[cfg_attr(not(CONFIG_TRACEPOINTS), expect(dead_code))]
    fn into_c(self) -> Self::C;
}

impl Argument for u32 {
    type C = Self;
    fn into_c(self) -> Self {
        self
    }
}

impl Argument for u64 {
    type C = Self;
    fn into_c(self) -> Self {
        self
    }
}

impl Argument for &'static CStr {
    type C = *const kernel::ffi::c_char;
    fn into_c(self) -> Self::C {
        self.as_char_ptr()
    }
}

macro_rules! tracepoints {
    ($($(#[$doc:meta])+ $name:ident($($arg:ident: $type:ty),+);)+) => {$(
        $(#[$doc])+
        ///
        /// `args` is called only if somebody traces this.
        #[inline(always)]
        pub fn $name(args: impl FnOnce() -> ((u32, NetName), $($type),+)) {
            #[cfg(CONFIG_TRACEPOINTS)]
            {
                // Out of the way of who is not traced.
                #[cold]
                #[inline(never)]
                fn tell(args: impl FnOnce() -> ((u32, NetName), $($type),+)) {
                    let ((ifindex, ifname), $($arg),+) = args();
                    kernel::macros::paste! {
                        // SAFETY: The types are those of C's prototype, which bindgen has seen.
                        // Strings end with NUL, and are copied before this returns.
                        unsafe {
                            crate::bindings::[<rust_do_trace_ $name>](
                                ifindex,
                                ifname.as_ptr(),
                                $($arg.into_c()),+
                            )
                        }
                    }
                }

                let traced = kernel::macros::paste! {
                    // SAFETY: The static key of a tracepoint that is defined in C.
                    unsafe {
                        kernel::jump_label::static_branch_unlikely!(
                            crate::bindings::[<__tracepoint_ $name>],
                            kernel::bindings::tracepoint,
                            key
                        )
                    }
                };
                if traced {
                    tell(args);
                }
            }
            #[cfg(not(CONFIG_TRACEPOINTS))]
            drop(args);
        }
    )+};
}

tracepoints! {
    /// Packets were dropped: of this peer (0: of none that is known), for this reason, so many.
    packet_dropped(peer: u64, reason: &'static CStr, packets: u32);

    /// A queue was full, of this peer or (0) of all: what was for it is dropped.
    queue_full(peer: u64, queue: &'static CStr);

    /// A handshake message was sent to a peer (0: a cookie), of this kind; or was not, and why.
    handshake_sent(peer: u64, kind: &'static CStr, outcome: &'static CStr);

    /// A handshake message was worked on: of this peer, if it was accepted (else 0), of this kind, and
    /// what became of it.
    handshake_received(peer: u64, kind: &'static CStr, outcome: &'static CStr);

    /// A session has keys: of this peer, which number the log has for it, who began it.
    session_begun(peer: u64, session: u64, side: &'static CStr);

    /// Nobody uses a session any more, its keys are gone.
    session_ended(peer: u64, session: u64, side: &'static CStr);

    /// A deadline of a peer has passed: which.
    timer_fired(peer: u64, timer: &'static CStr);

    /// A worker is called to a stage of the interface, on this CPU.
    worker_called(stage: &'static CStr, cpu: u32);
}
