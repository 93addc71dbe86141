// SPDX-License-Identifier: GPL-2.0
//! How long a packet to a peer may be to leave in one piece, for who wants to be told.
//!
//! As long as nobody asked for it, what is too long for the path leaves in fragments, as with the C driver, and
//! is lost where they are not let through. Where it was asked for, the longest packet is learnt from
//! the route that messages leave by, and a longer one is refused, so that its sender can be told.
//!
//! Lock-free, any context.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use wgk::atomic::{
    HotAtomic,
    Relaxed, //
};

use crate::messages::data_len;

/// Nobody asked.
const OFF: u32 = 0;
/// Nothing was learnt yet: nothing is too long.
const UNKNOWN: u32 = u32::MAX;

/// What is known of a peer's path.
pub struct Fit {
    /// Bytes of the longest packet that fits, at least 1; or one of the two above.
    longest: HotAtomic<u32>,
}

impl Fit {
    /// Not asked for.
    pub const fn new() -> Self {
        Self {
            longest: HotAtomic::new(OFF),
        }
    }

    /// Whether packets are to leave in one piece.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.longest.load(Relaxed) != OFF
    }

    /// Bytes of the longest packet to be accepted; `None` if any is.
    #[inline]
    pub fn longest(&self) -> Option<u32> {
        Some(self.longest.load(Relaxed)).filter(|&n| n != OFF && n != UNKNOWN)
    }

    /// Asks for it, or no more. By one at a time.
    pub fn switch(&self, on: bool) {
        if on != self.is_on() {
            self.longest.store(if on { UNKNOWN } else { OFF }, Relaxed);
        }
    }

    /// Messages of up to `payload` bytes leave in one piece, headers below them not counted.
    ///
    /// If that is switched off, or learnt otherwise, at the same time, it may be forgotten: the next
    /// message tells again.
    #[inline]
    pub fn learn(&self, payload: usize) {
        // What a message has besides the packet. Padding is cut to what fits.
        let longest = payload.saturating_sub(data_len(0)).max(1);
        let longest = u32::try_from(longest).unwrap_or(UNKNOWN);
        let old = self.longest.load(Relaxed);
        if old != OFF && old != longest {
            let _ = self.longest.cmpxchg(old, longest, Relaxed);
        }
    }

    /// The path is another one.
    pub fn forget(&self) {
        let old = self.longest.load(Relaxed);
        if old != OFF {
            let _ = self.longest.cmpxchg(old, UNKNOWN, Relaxed);
        }
    }
}

impl Default for Fit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_learns_nothing() {
        let fit = Fit::new();
        fit.learn(1000);
        fit.forget();
        assert!(!fit.is_on());
        assert_eq!(fit.longest(), None);
        fit.switch(false);
        assert!(!fit.is_on());
    }

    #[test]
    fn learns_and_forgets() {
        let fit = Fit::default();
        fit.switch(true);
        assert!(fit.is_on());
        assert_eq!(fit.longest(), None);
        // A path of 1500 over IPv6: what wg-quick sets an interface's MTU to.
        fit.learn(1500 - 40 - 8);
        assert_eq!(fit.longest(), Some(1420));
        fit.learn(1280 - 40 - 8);
        assert_eq!(fit.longest(), Some(1200));
        fit.switch(true);
        assert_eq!(fit.longest(), Some(1200));
        fit.forget();
        assert!(fit.is_on());
        assert_eq!(fit.longest(), None);
        fit.learn(600);
        fit.switch(false);
        assert_eq!(fit.longest(), None);
        assert!(!fit.is_on());
    }

    #[test]
    fn at_the_ends() {
        let fit = Fit::new();
        fit.switch(true);
        for (payload, longest) in [
            (0, Some(1)),
            (32, Some(1)),
            (33, Some(1)),
            (34, Some(2)),
            (u32::MAX as usize + 31, Some(u32::MAX - 1)),
            (u32::MAX as usize + 32, None),
            (usize::MAX, None),
        ] {
            fit.learn(payload);
            assert_eq!(fit.longest(), longest, "{payload}");
            assert!(fit.is_on());
        }
    }
}
