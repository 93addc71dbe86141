// SPDX-License-Identifier: GPL-2.0
//! How many workers a stage of the data path has up: enough for what waits, and no more.
//!
//! Waking a worker costs more than sealing a small packet: an inter-processor interrupt, two context
//! switches, and the sender's place on the CPU if it is woken there. A worker that is up takes
//! whatever is in the ring, so another one is worth its waking only if there is more in the ring
//! than this one should do alone. (The C driver wakes the next CPU's worker for every packet.)
//!
//! The ring itself is the caller's. Who puts something in calls [`Workers::submitted`] afterwards. A
//! worker that finds nothing calls [`Workers::ended`], looks once more, and if there is something
//! after all, it is up again: [`Workers::resumed`]. Then whatever is in the ring has a worker that
//! is up, or was called: `tests/loom` tries the orders of events.
//!
//! Any context; lock-free.

#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::sync::atomic::{
    AtomicU64,
    Ordering::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};

/// Segments that may wait for each worker that is up before another one is called.
const SHARE: i64 = 8;

/// If there was always something waiting for so long, the workers that are up may be held up (their
/// CPUs may belong to a real-time task), so another one is called. Nanoseconds; some ticks, as the
/// clock is coarse. One call in so long costs nothing if they are only busy.
const STALLED_NS: u64 = 10_000_000;

/// One worker, in `Workers::state`; what waits is in the bits below.
const WORKER: u64 = 1 << 32;
/// What the lower half holds when nothing waits. It can be less for a moment: what was put in may
/// be taken before it is counted.
const NONE_WAIT: u64 = 1 << 31;

/// The workers of a stage, by number, and the segments that wait for them.
pub struct Workers {
    /// Workers that were called and have not ended, and segments in the ring.
    state: AtomicU64,
    /// When something began to wait, or a worker was last called.
    since: AtomicU64,
}

impl Workers {
    /// No workers, nothing waits.
    pub fn new() -> Self {
        Self {
            state: AtomicU64::new(NONE_WAIT),
            since: AtomicU64::new(0),
        }
    }

    /// Notes that `segments` were put into the ring at `now` (nanoseconds, a coarse clock will do).
    /// If this is true, the caller must call a worker, or [`Workers::not_called`] if it couldn't.
    #[inline]
    pub fn submitted(&self, segments: usize, now: u64) -> bool {
        // ORDERING: Release: pairs with the acquire in `ended`.
        let old = self.state.fetch_add(segments as u64, Release);
        let up = (old / WORKER) as i64;
        let before = waiting(old);
        let call = up == 0
            || before + segments as i64 > SHARE * up
            || before > 0 && now.wrapping_sub(self.since.load(Relaxed)) > STALLED_NS;
        if call || before <= 0 {
            self.since.store(now, Relaxed);
        }
        if call {
            self.state.fetch_add(WORKER, Relaxed);
        }
        call
    }

    /// Takes back what [`Workers::submitted`] announced: the worker was called before and has not
    /// begun yet, so it will see to what is in the ring.
    #[inline]
    pub fn not_called(&self) {
        self.state.fetch_sub(WORKER, Relaxed);
    }

    /// Notes that a worker took `segments` out of the ring.
    #[inline]
    pub fn taken(&self, segments: usize) {
        self.state.fetch_sub(segments as u64, Relaxed);
    }

    /// A worker found the ring empty. It must look once more before it ends.
    #[inline]
    pub fn ended(&self) {
        // ORDERING: Acquire: pairs with the release in `submitted`. Either this comes first, and who
        // submits finds one worker less; or the worker now sees what was put into the ring.
        self.state.fetch_sub(WORKER, Acquire);
    }

    /// A worker found something when it looked once more, and goes on.
    #[inline]
    pub fn resumed(&self) {
        self.state.fetch_add(WORKER, Relaxed);
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}

/// Segments that wait.
fn waiting(state: u64) -> i64 {
    (state % WORKER) as i64 - NONE_WAIT as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn one_worker_for_little() {
        let w = Workers::new();
        assert!(w.submitted(1, 0), "nobody is up");
        for n in 2..=SHARE {
            assert!(!w.submitted(1, 0), "{n} segments are one worker's");
        }
        assert!(w.submitted(1, 0), "too many for one");
        assert!(!w.submitted(1, 0), "two are up");
    }

    #[test]
    fn a_burst_calls_another_one() {
        let w = Workers::new();
        assert!(w.submitted(40, 0));
        assert!(w.submitted(40, 0));
        w.taken(40);
        assert!(w.submitted(40, 0));
    }

    #[test]
    fn who_ends_is_not_counted_on() {
        let w = Workers::new();
        assert!(w.submitted(3, 0));
        w.taken(3);
        w.ended();
        assert!(w.submitted(1, 0), "nobody is up any more");
    }

    #[test]
    fn taken_before_it_was_counted() {
        let w = Workers::new();
        assert!(w.submitted(1, 0));
        w.taken(1);
        // Another submitter's, whose count is yet to come.
        w.taken(5);
        w.ended();
        assert!(
            w.submitted(5, 0),
            "nobody is up, so one is called in any case"
        );
        w.ended();
        assert_eq!(w.state.load(Relaxed), NONE_WAIT);
    }

    #[test]
    fn the_one_called_was_waiting_to_begin() {
        let w = Workers::new();
        assert!(w.submitted(9, 0));
        assert!(w.submitted(1, 0));
        w.not_called();
        w.taken(10);
        w.ended();
        assert_eq!(w.state.load(Relaxed), NONE_WAIT);
    }

    #[test]
    fn others_step_in_for_a_worker_that_is_held_up() {
        let w = Workers::new();
        assert!(w.submitted(1, 100 * MS));
        assert!(!w.submitted(1, 105 * MS));
        assert!(w.submitted(1, 111 * MS), "something waited for 11 ms");
        assert!(!w.submitted(1, 112 * MS), "one was called just now");
        w.taken(4);
        assert!(!w.submitted(1, 150 * MS), "nothing had waited");
        assert!(!w.submitted(1, 160 * MS));
        assert!(
            w.submitted(1, 161 * MS),
            "the first of these waited for 11 ms"
        );
    }
}
