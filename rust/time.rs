// SPDX-License-Identifier: GPL-2.0

//! Clocks, in nanoseconds.
//!
//! Coarse clocks advance with the tick and cost a few loads. Any context.
//!
//! C header: [`include/linux/timekeeping.h`](srctree/include/linux/timekeeping.h)
//!
//! Safety review: `Documentation/safety.md#timers`.

use crate::bindings;

/// A moment of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RealTime {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nsec: i32,
}

impl RealTime {
    /// Nanoseconds since 1970; before that, and after 2554, the nearest there is.
    pub fn since_epoch_ns(self) -> u64 {
        let sec = u64::try_from(self.sec).unwrap_or(0);
        let nsec = u64::try_from(self.nsec).unwrap_or(0);
        sec.saturating_mul(1_000_000_000).saturating_add(nsec)
    }
}

/// Nanoseconds since boot, suspend included. Birth dates are of this clock.
#[inline]
pub fn boottime_coarse_ns() -> u64 {
    // SAFETY: An FFI call without requirements.
    unsafe { bindings::ktime_get_coarse_boottime_ns() }
}

/// Nanoseconds since boot, without suspend. Timers run on this clock.
#[inline]
pub fn mono_coarse_ns() -> u64 {
    // SAFETY: An FFI call without requirements.
    unsafe { bindings::ktime_get_coarse_ns() }
}

/// The wall clock, precise.
pub fn realtime() -> RealTime {
    let mut now = kernel::bindings::timespec64 {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for writes.
    unsafe { kernel::bindings::ktime_get_real_ts64(&mut now) };
    RealTime {
        sec: now.tv_sec,
        // CAST: Below a billion.
        nsec: now.tv_nsec as i32,
    }
}
