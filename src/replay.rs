// SPDX-License-Identifier: GPL-2.0

//! Which counters of a receiving key were seen: the sliding window of RFC 6479 (paper §5.4.6).
//!
//! A ring of 64-bit words holds one bit per counter. The window moves by whole words: those that
//! come into use are cleared, and nothing is ever shifted. So the word that holds the newest
//! counter is only partly in use, and the window that can be relied upon is one word shorter than
//! the ring, 8128 counters.
//!
//! The receiver checks a counter only after the packet has been authenticated, and has the window
//! to itself: test and set are one step. Nothing here sleeps or allocates: any context.

#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use crate::messages::{
    COUNTER_BITS_TOTAL,
    COUNTER_WINDOW_SIZE,
    REJECT_AFTER_MESSAGES, //
};

/// Bits per word of the ring.
const WORD_BITS: u64 = u64::BITS as u64;
/// Words in the ring.
const WORDS: usize = (COUNTER_BITS_TOTAL / WORD_BITS) as usize;

const _: () = assert!(WORDS.is_power_of_two());
const _: () = assert!(COUNTER_WINDOW_SIZE == COUNTER_BITS_TOTAL - WORD_BITS);
// Neither the successor of an acceptable counter nor that plus the window overflows.
const _: () = assert!(REJECT_AFTER_MESSAGES < u64::MAX - COUNTER_WINDOW_SIZE);

/// The counters that a receiving key has accepted.
///
/// # Invariants
///
/// - `next` is 0, or one more than the greatest counter that was accepted; at most
///   `REJECT_AFTER_MESSAGES`.
/// - The bit of position `p` (a counter plus one) is bit `p % 64` of word `p / 64 % WORDS`. For
///   the `WORDS` word numbers up to and including `next / 64`, it is set if and only if that
///   counter was accepted.
pub struct ReplayWindow {
    next: u64,
    ring: [u64; WORDS],
}

/// The word of the ring that has number `word`.
#[inline]
const fn slot(word: u64) -> usize {
    // CAST: Less than `WORDS` after the mask.
    (word & (WORDS as u64 - 1)) as usize
}

impl ReplayWindow {
    /// Nothing was accepted yet.
    pub const fn new() -> Self {
        // INVARIANT: No bit is set, and no counter was accepted.
        Self {
            next: 0,
            ring: [0; WORDS],
        }
    }

    /// Accepts `counter`, unless it was before, is too old to tell, or past the limit of a key.
    #[inline]
    pub fn accept(&mut self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES {
            return false;
        }
        // Positions, not counters, are compared and stored: a window of 8128 then ends at the same
        // counter as the C driver's.
        let position = counter + 1;
        if position + COUNTER_WINDOW_SIZE < self.next {
            return false;
        }

        let word = position / WORD_BITS;
        if position > self.next {
            let newest = self.next / WORD_BITS;
            // No more than all words need clearing, however far the jump.
            let fresh = (word - newest).min(WORDS as u64);
            for i in 1..=fresh {
                self.ring[slot(newest + i)] = 0;
            }
            // INVARIANT: The words between the old and the new newest one came into use empty; the
            // bit of `position` itself is set below.
            self.next = position;
        }

        let bit = 1 << (position % WORD_BITS);
        let seen = &mut self.ring[slot(word)];
        let new = *seen & bit == 0;
        *seen |= bit;
        new
    }

    /// The greatest counter that was accepted.
    #[inline]
    #[cfg_attr(
        all(CONFIG_RUST, not(CONFIG_KUNIT = "y")),
        expect(dead_code, reason = "for tests")
    )]
    pub const fn greatest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether the key has received as many messages as a key may: its owner stops using it.
    #[inline]
    pub const fn exhausted(&self) -> bool {
        self.next >= REJECT_AFTER_MESSAGES
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_replay))]
mod tests {
    use super::*;

    const W: u64 = COUNTER_WINDOW_SIZE;
    const LIMIT: u64 = REJECT_AFTER_MESSAGES;

    #[test]
    fn each_counter_once() {
        let mut w = ReplayWindow::new();
        assert!(w.greatest().is_none());
        for c in [0, 1, 9, 8, 7] {
            assert!(w.accept(c));
            assert!(!w.accept(c));
            // However often it is tried.
            assert!(!w.accept(c));
        }
        assert!(w.greatest() == Some(9));
    }

    #[test]
    fn window_reaches_back_exactly_its_size() {
        for newest in [W, W + 1, W + 17, 4 * W, 1 << 40, LIMIT - 1] {
            let mut w = ReplayWindow::new();
            assert!(w.accept(newest));
            assert!(w.accept(newest - W));
            assert!(!w.accept(newest - W));
            if newest > W {
                assert!(!w.accept(newest - W - 1));
                assert!(!w.accept(0));
            }
            assert!(w.accept(newest - 1));
            assert!(w.accept(newest - W + 1));
            assert!(w.greatest() == Some(newest));
        }
    }

    #[test]
    fn whole_window_in_either_direction() {
        let mut up = ReplayWindow::new();
        let mut down = ReplayWindow::new();
        for c in 0..=W {
            assert!(up.accept(c));
            assert!(down.accept(W - c));
        }
        for c in 0..=W {
            assert!(!up.accept(c));
            assert!(!down.accept(c));
        }
        // One more, and the oldest one is out of sight.
        assert!(up.accept(W + 1));
        assert!(!up.accept(0));
    }

    #[test]
    fn oldest_of_a_full_window_is_still_known() {
        let mut w = ReplayWindow::new();
        for c in 1..=W {
            assert!(w.accept(c));
        }
        assert!(w.accept(0));
        assert!(!w.accept(0));

        let mut w = ReplayWindow::new();
        for c in 2..=W + 1 {
            assert!(w.accept(c));
        }
        assert!(w.accept(1));
        assert!(!w.accept(0));
    }

    #[test]
    fn a_jump_leaves_nothing_behind() {
        for jump in [W, 2 * W, COUNTER_BITS_TOTAL, 1 << 33] {
            let mut w = ReplayWindow::new();
            for c in 0..COUNTER_BITS_TOTAL {
                assert!(w.accept(c));
            }
            let newest = COUNTER_BITS_TOTAL - 1 + jump;
            assert!(w.accept(newest));
            for c in newest - W..newest {
                assert!(w.accept(c) == (c >= COUNTER_BITS_TOTAL));
            }
        }
    }

    #[test]
    fn limit_of_a_key() {
        let mut w = ReplayWindow::new();
        assert!(!w.accept(LIMIT));
        assert!(w.greatest().is_none());
        assert!(w.accept(LIMIT - 2));
        assert!(!w.exhausted());
        assert!(w.accept(LIMIT - 1));
        assert!(w.exhausted());
        for c in [
            LIMIT - 2,
            LIMIT - 1,
            LIMIT,
            LIMIT + 1,
            LIMIT + 2,
            u64::MAX,
            0,
        ] {
            assert!(!w.accept(c));
        }
        assert!(w.accept(LIMIT - 3));
        assert!(w.greatest() == Some(LIMIT - 1));
    }
}
