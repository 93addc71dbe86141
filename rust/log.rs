// SPDX-License-Identifier: GPL-2.0

//! The kernel log.
//!
//! All lines begin with `wireguard: `, as those of the C driver do, whatever the module is called.
//!
//! What the C driver prints by `pr_debug()` and dynamic debug hangs on a switch here, as Rust's
//! `pr_debug!` is compiled out: the module parameter `debug_objects`, off by default, writable in
//! `/sys/module/*/parameters/` and declared in `helpers/log.c`. It is a static key, so that a line
//! costs a no-op instruction while it is off.
//!
//! Any context.
//!
//! C headers: [`include/linux/printk.h`](srctree/include/linux/printk.h),
//! [`include/linux/jump_label.h`](srctree/include/linux/jump_label.h)
//!
//! Safety review: `Documentation/safety.md#logrs`.

use kernel::{
    fmt,
    print::{
        call_printk,
        format_strings, //
    }, //
};

/// The switch; `struct wg_debug_switch` of `helpers/log.c`.
#[repr(C)]
struct DebugSwitch {
    key: kernel::bindings::static_key_false,
}

extern "C" {
    static wg_debug_switch: DebugSwitch;
}

/// Whether debug lines are on. Costs a no-op or a jump.
#[inline(always)]
pub fn debug_enabled() -> bool {
    // SAFETY: `wg_debug_switch` is a static key defined in C, of this type.
    unsafe { kernel::jump_label::static_branch_unlikely!(wg_debug_switch, DebugSwitch, key) }
}

/// Whether another of the network stack's rate-limited lines may be printed now.
#[inline]
pub fn net_ratelimit() -> bool {
    // SAFETY: An FFI call without requirements.
    unsafe { kernel::bindings::net_ratelimit() != 0 }
}

/// The levels of log lines.
#[derive(Clone, Copy)]
pub enum Level {
    /// `KERN_ERR`.
    Err,
    /// `KERN_WARNING`.
    Warning,
    /// `KERN_INFO`.
    Info,
    /// `KERN_DEBUG`.
    Debug,
}

/// Prints a line; use the macros. Not inlined, so that a line costs its caller little code.
#[cold]
#[inline(never)]
pub fn print(level: Level, args: fmt::Arguments<'_>) {
    let format = match level {
        Level::Err => &format_strings::ERR,
        Level::Warning => &format_strings::WARNING,
        Level::Info => &format_strings::INFO,
        Level::Debug => &format_strings::DEBUG,
    };
    // SAFETY: The format string is one of those it must be, the prefix ends with a null byte.
    unsafe { call_printk(format, crate::__LOG_PREFIX, args) }
}

/// Something of `core`'s that `kernel::fmt` does not know how to print, such as an address.
pub struct Text<T>(pub T);

impl<T: core::fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// Prints an error.
#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)+) => {
        $crate::log::print($crate::log::Level::Err, ::kernel::prelude::fmt!($($arg)+))
    };
}

/// Prints a warning.
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)+) => {
        $crate::log::print($crate::log::Level::Warning, ::kernel::prelude::fmt!($($arg)+))
    };
}

/// Prints some information.
#[macro_export]
macro_rules! pr_info {
    ($($arg:tt)+) => {
        $crate::log::print($crate::log::Level::Info, ::kernel::prelude::fmt!($($arg)+))
    };
}

/// Prints, if debug lines are on, that an object was created or destroyed; never rate-limited.
///
/// ```ignore
/// object_debug!("{}: Peer {} created\n", device.name(), peer.id);
/// ```
#[macro_export]
macro_rules! object_debug {
    ($($arg:tt)+) => {
        if $crate::log::debug_enabled() {
            $crate::log::print($crate::log::Level::Debug, ::kernel::prelude::fmt!($($arg)+))
        }
    };
}

/// Prints, if debug lines are on, what happened to a packet; rate-limited with the network stack.
#[macro_export]
macro_rules! net_dbg_ratelimited {
    ($($arg:tt)+) => {
        if $crate::log::debug_enabled() && $crate::log::net_ratelimit() {
            $crate::log::print($crate::log::Level::Debug, ::kernel::prelude::fmt!($($arg)+))
        }
    };
}

pub use {
    net_dbg_ratelimited,
    object_debug, //
};
