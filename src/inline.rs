// SPDX-License-Identifier: GPL-2.0
//! Which messages are sealed or opened where they come from, and not by a worker.
//!
//! A worker costs a message two context switches, which is more than the message itself costs. With many
//! messages these are shared, and what comes together is handled together; so a worker pays for all
//! but those that have no company anyway. Of a message that finds its peer's queue empty that is known
//! in two cases:
//!
//! - It is the first one in a tick of the coarse clock. Who sends as much as there is room for loses one
//!   message's worth of company per tick.
//! - It is short and takes its turn in a conversation: the one before, short and alone too, went the other
//!   way, and so it went on for a tick at least. In streams, also in two against each other, two go the
//!   same way sooner or later.
//!
//! And of many peers of a device that each have one message in a tick, which are company for the workers, only
//! a few go so.
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

/// Bytes of the largest message that takes its turn: a question, an answer, and not their bulk.
const SHORT: usize = 256;

/// A message that is alone and not a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lone {
    /// It may be a turn in a conversation.
    Short,
    /// It may not.
    Long,
}

/// What there is of these lengths in bytes, if it is one message, and not a large one.
#[inline]
pub fn lone(mut lens: impl Iterator<Item = usize>) -> Option<Lone> {
    let len = lens.next().filter(|&len| len <= LARGEST)?;
    if lens.next().is_some() {
        return None;
    }
    Some(if len <= SHORT {
        Lone::Short
    } else {
        Lone::Long
    })
}

/// The clock's ticks are longer than 2^`SHIFT` nanoseconds (65 µs).
const SHIFT: u32 = 16;

/// When a peer last had a message sealed, or opened, where it came from.
struct First {
    /// The clock then, in units of 2^`SHIFT` ns, without what does not fit.
    last: HotAtomic<u32>,
}

impl First {
    /// Long ago.
    const fn new() -> Self {
        Self {
            last: HotAtomic::new(0),
        }
    }

    /// Whether a message that finds the queue empty at `now_ns`, by the coarse clock, is the first in
    /// this tick; the next one is not. Of two at once, both may be.
    #[inline]
    fn is_first(&self, now_ns: u64) -> bool {
        // CAST: After 2^48 ns a moment looks like another one, and a message takes the other way.
        let now = (now_ns >> SHIFT) as u32;
        if self.last.load(Relaxed) == now {
            return false;
        }
        self.last.store(now, Relaxed);
        true
    }
}

/// Peers of a device whose first message of a tick may take no worker. Where there are more, as many
/// messages come that workers have something to share. (Two context switches per tick for each.)
const FEW: u32 = 4;

/// How many peers of a device have had a message sealed, or opened, where it came from, in this tick.
struct Few {
    /// The tick, as in [`First`] but without [`Self::COUNT`]'s bits; and, in these, how many.
    state: HotAtomic<u32>,
}

impl Few {
    /// The lowest bits.
    const COUNT: u32 = 7;

    /// Nobody, long ago.
    const fn new() -> Self {
        Self {
            state: HotAtomic::new(0),
        }
    }

    /// Whether one more may, at `now_ns` by the coarse clock; then it is counted. Of several at once, one may
    /// be forgotten.
    #[inline]
    fn has_room(&self, now_ns: u64) -> bool {
        // CAST: After 2^45 ns a moment looks like another one, and a few messages take the other way.
        let now = ((now_ns >> SHIFT) as u32) << Self::COUNT.count_ones();
        let state = self.state.load(Relaxed);
        let used = if state & !Self::COUNT == now {
            state & Self::COUNT
        } else {
            0
        };
        if used >= FEW {
            return false;
        }
        self.state.store(now | (used + 1), Relaxed);
        true
    }
}

/// What is known of all peers of a device together: shared by them.
pub struct Crowd {
    out: Few,
    inward: Few,
}

impl Crowd {
    /// Nothing was sent or received yet.
    pub const fn new() -> Self {
        Self {
            out: Few::new(),
            inward: Few::new(),
        }
    }
}

impl Default for Crowd {
    fn default() -> Self {
        Self::new()
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the peer.
    Out = 1,
    /// From the peer.
    In = 2,
}

/// Whether short messages with a peer go to and fro.
struct Turns {
    /// The two lowest bits: which way the last one went, 0 if there was none. Above them: when two in a
    /// row last went the same way, as in [`First`].
    state: HotAtomic<u32>,
}

/// The bits of [`Turns::state`] that are a [`Way`].
const WAY: u32 = 3;

impl Turns {
    /// Nothing was said yet.
    const fn new() -> Self {
        Self {
            state: HotAtomic::new(0),
        }
    }

    /// Notes a short message that goes this way at `now_ns`, by the coarse clock. Whether it takes its
    /// turn. Of several at once, one may be forgotten.
    #[inline]
    fn takes(&self, way: Way, now_ns: u64) -> bool {
        // CAST: After 2^46 ns a moment looks like another one, and a message takes the other way.
        let now = ((now_ns >> SHIFT) as u32) << WAY.count_ones();
        let state = self.state.load(Relaxed);
        let (since, last) = (state & !WAY, state & WAY);
        let repeated = last == way as u32;
        let next = if repeated { now } else { since } | way as u32;
        // Most messages of a stream change nothing.
        if next != state {
            self.state.store(next, Relaxed);
        }
        !repeated && last != 0 && since != now
    }
}

/// What is known of a peer's messages, for those that are to go without a worker.
pub struct Inline {
    out: First,
    inward: First,
    turns: Turns,
}

impl Inline {
    /// Nothing was sent or received yet.
    pub const fn new() -> Self {
        Self {
            out: First::new(),
            inward: First::new(),
            turns: Turns::new(),
        }
    }

    /// Whether a message goes without a worker if it may; to be asked for each one that is alone.
    /// `crowd`: of the device. `empty`: it finds the peer's queue for that way empty. `now_ns`: by the coarse
    /// clock.
    #[inline]
    pub fn suits(&self, crowd: &Crowd, lone: Lone, way: Way, empty: bool, now_ns: u64) -> bool {
        // Also of a message that must wait: it goes this way.
        let turn = lone == Lone::Short && self.turns.takes(way, now_ns);
        let (first, few) = match way {
            Way::Out => (&self.out, &crowd.out),
            Way::In => (&self.inward, &crowd.inward),
        };
        empty && (turn || first.is_first(now_ns) && few.has_room(now_ns))
    }
}

impl Default for Inline {
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
        let lone = |lens: &[usize]| lone(lens.iter().copied());
        assert_eq!(lone(&[0]), Some(Lone::Short));
        assert_eq!(lone(&[SHORT]), Some(Lone::Short));
        assert_eq!(lone(&[SHORT + 1]), Some(Lone::Long));
        assert_eq!(lone(&[LARGEST]), Some(Lone::Long));
        assert_eq!(lone(&[LARGEST + 1]), None);
        assert_eq!(lone(&[]), None);
        assert_eq!(lone(&[1, 1]), None);
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

    #[test]
    fn to_and_fro() {
        let turns = Turns::new();
        assert!(!turns.takes(Way::Out, TICK_NS), "answers nothing");
        for n in 0..100 {
            let now = (1 + n / 7) * TICK_NS;
            assert!(turns.takes(Way::In, now));
            assert!(turns.takes(Way::Out, now));
        }
    }

    #[test]
    fn a_stream_answers_nothing() {
        let turns = Turns::new();
        for n in 0..100 {
            assert!(!turns.takes(Way::Out, (1 + n / 7) * TICK_NS));
        }
    }

    #[test]
    fn what_suits() {
        let (inline, crowd) = (Inline::new(), Crowd::new());
        let mut now = TICK_NS;
        // The first of the tick, each way, short or not.
        assert!(inline.suits(&crowd, Lone::Long, Way::Out, true, now));
        assert!(!inline.suits(&crowd, Lone::Long, Way::Out, true, now));
        assert!(inline.suits(&crowd, Lone::Short, Way::In, true, now));
        // A turn; not with others in front of it, not if it is long.
        assert!(inline.suits(&crowd, Lone::Short, Way::Out, true, now));
        assert!(!inline.suits(&crowd, Lone::Short, Way::In, false, now));
        assert!(!inline.suits(&crowd, Lone::Long, Way::Out, true, now));
        // Not with others in front, and what had to wait used up nothing.
        now += TICK_NS;
        assert!(!inline.suits(&crowd, Lone::Long, Way::In, false, now));
        assert!(inline.suits(&crowd, Lone::Long, Way::In, true, now));
    }

    /// Each has one message in each tick.
    #[test]
    fn of_many_a_few() {
        let crowd = Crowd::new();
        let peers = [const { Inline::new() }; 100];
        for tick in 1..200 {
            let now = tick * TICK_NS;
            for way in [Way::In, Way::Out] {
                let here = |peer: &&Inline| peer.suits(&crowd, Lone::Long, way, true, now);
                assert_eq!(peers.iter().filter(here).count(), FEW as usize, "{way:?}");
            }
        }
    }

    /// Two streams against each other, one message in a row too much in each tick.
    #[test]
    fn two_in_a_row_end_it_for_a_tick() {
        let turns = Turns::new();
        let mut now = TICK_NS;
        for way in [Way::In, Way::Out] {
            turns.takes(way, now);
        }
        assert!(!turns.takes(Way::Out, now), "not its turn");
        for _ in 0..100 {
            assert!(!turns.takes(Way::In, now));
            assert!(!turns.takes(Way::Out, now));
        }
        now += TICK_NS;
        assert!(turns.takes(Way::In, now));
        assert!(!turns.takes(Way::In, now));
        assert!(!turns.takes(Way::Out, now));
    }
}
