// SPDX-License-Identifier: GPL-2.0
//! Which messages are sealed or opened where they come from, and not by a worker.
//!
//! A worker costs a message two context switches, which is more than the message itself costs. With many
//! messages these are shared, and what comes together is handled together; so all but the first
//! message of an idle peer are better off with a worker. The first is one that finds its peer's queue
//! empty, once in each tick of the coarse clock. Somebody who waits for an answer sends such messages;
//! who sends as much as there is room for loses one message's worth of company per tick.
//!
//! What is tried with a queue that is empty alone: a stream of small messages then finds it empty
//! again each time, as every message is done when the next one comes, so none of them has company.
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

/// Bytes of the largest message for which somebody is kept waiting with bottom halves off.
const LARGEST: usize = 2048;

/// Whether there is one message, and not a large one, of these lengths in bytes.
#[inline]
pub fn is_small(mut lens: impl Iterator<Item = usize>) -> bool {
    lens.next().is_some_and(|len| len <= LARGEST) && lens.next().is_none()
}

/// The clock's ticks are longer than 2^`SHIFT` nanoseconds (65 µs).
const SHIFT: u32 = 16;

/// When a peer last had a message sealed, or opened, where it came from.
pub struct First {
    /// The clock then, in units of 2^`SHIFT` ns, without what does not fit.
    last: HotAtomic<u32>,
}

impl First {
    /// Long ago.
    pub const fn new() -> Self {
        Self {
            last: HotAtomic::new(0),
        }
    }

    /// Whether a message that finds the queue empty at `now_ns`, by the coarse clock, is the first in
    /// this tick; the next one is not. Of two at once, both may be.
    #[inline]
    pub fn is_first(&self, now_ns: u64) -> bool {
        // CAST: After 2^48 ns a moment looks like another one, and a message takes the other way.
        let now = (now_ns >> SHIFT) as u32;
        if self.last.load(Relaxed) == now {
            return false;
        }
        self.last.store(now, Relaxed);
        true
    }
}

impl Default for First {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: u64 = 1_000_000;

    #[test]
    fn one_and_not_large() {
        let small = |lens: &[usize]| is_small(lens.iter().copied());
        assert!(small(&[0]) && small(&[LARGEST]));
        assert!(!small(&[LARGEST + 1]));
        assert!(!small(&[]) && !small(&[1, 1]));
    }

    #[test]
    fn once_per_tick() {
        let first = First::new();
        for tick in 1..2000 {
            let now = tick * TICK_NS;
            assert!(first.is_first(now), "tick {tick}");
            assert!(!first.is_first(now));
            assert!(!first.is_first(now));
        }
    }

    #[test]
    fn after_a_long_time() {
        let first = First::new();
        let later = 12 * TICK_NS + (1 << 48);
        assert!(first.is_first(12 * TICK_NS));
        assert!(!first.is_first(later), "looks like the same tick");
        assert!(first.is_first(later + TICK_NS));
    }
}
