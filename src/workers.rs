// SPDX-License-Identifier: GPL-2.0
//! How many workers a stage of the data path has up: enough for what waits, and no more.
//!
//! Waking a worker costs more than sealing a small packet: an inter-processor interrupt, two context
//! switches, and the sender's place on the CPU if it is woken there. A worker that is up takes
//! whatever is in the ring, so another one is worth its waking only if there is more in the ring
//! than this one should do alone. (The C driver wakes the next CPU's worker for every packet.)
//!
//! The ring itself is the caller's (it may be several: who looks, looks at all of them), as is a work
//! item for each CPU. Who puts something in calls [`Workers::submitted`] afterwards, and queues the item
//! of the CPU that this names, if it names one. A work item that begins to run calls [`Workers::began`].
//! If it finds the ring empty, it calls [`Workers::ended`] and looks once more; if there is something
//! after all, it has begun again.
//!
//! # No lost wake-ups
//!
//! *Whatever is in the ring, a worker looks at the ring after it was put in.*
//!
//! There is a mark for each CPU: its worker is up, or called. Who sets a CPU's mark queues that CPU's
//! item afterwards, or is that item, running. Queueing an item means that it begins to run later,
//! also if it was queued already (then just as well: the work queue code orders the one with the
//! other). An item that runs takes its CPU's mark away in the end, and looks at the ring after that.
//! So for each mark that was ever set there is a worker to take it away, and to look at the ring then.
//!
//! Who puts something in either sees a mark in `submitted`, or sets one. In both cases a worker takes
//! that mark away later than `submitted` changed the same word; so it sees what was put in.
//!
//! No mark stands for a worker that may turn out not to exist, hence nothing is ever taken back but
//! by who looks at the ring afterwards; and it does not matter who takes away whose mark. `tests/loom`
//! tries the orders of events.
//!
//! Any context; lock-free.

#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use wgk::atomic::{
    Acquire,
    HotAtomic,
    Relaxed,
    Release, //
};

/// Segments that may wait for each worker that is up before another one is called.
const SHARE: i64 = 8;

/// If there was always something waiting for so long, the workers that are up may be held up (their
/// CPUs may belong to a real-time task), so another one is called. Nanoseconds; some ticks, as the
/// clock is coarse. One call in so long costs nothing if they are only busy.
const STALLED_NS: u64 = 10_000_000;

/// CPUs that are looked at for one whose worker is not up. The next submission goes on with others:
/// when all are up, each looks in vain.
const TRIES: usize = 2;

/// The marks are the bits from this one on. CPUs whose numbers are equal modulo `CPUS` share one, and
/// count as one.
const MARKS: u32 = 32;
/// The number of marks.
const CPUS: u32 = u64::BITS - MARKS;
/// What the bits below hold when nothing waits. It can be less for a moment: what was put in may be
/// taken before it is counted.
const NONE_WAIT: u64 = 1 << (MARKS - 1);

/// The workers of a stage, one for each CPU, and the segments that wait for them.
pub struct Workers {
    /// The marks, and segments in the ring.
    state: HotAtomic<u64>,
    /// When something began to wait, or a worker was last called.
    since: HotAtomic<u64>,
}

impl Workers {
    /// No workers, nothing waits.
    pub fn new() -> Self {
        Self {
            state: HotAtomic::new(NONE_WAIT),
            since: HotAtomic::new(0),
        }
    }

    /// Notes that `segments` were put into the ring at `now` (nanoseconds, a coarse clock will do).
    ///
    /// Returns the CPU whose work item the caller must queue, if any. `next` names CPUs that are
    /// online, one after the other; `cpus` is how many it goes round.
    #[inline]
    pub fn submitted(
        &self,
        segments: usize,
        now: u64,
        cpus: impl FnOnce() -> u32,
        next: impl FnMut() -> u32,
    ) -> Option<u32> {
        // ORDERING: Release: pairs with the acquire in `ended`.
        let old = self.state.fetch_add(segments as u64, Release);
        let before = waiting(old);
        let after = before + segments as i64;
        let up = (old >> MARKS).count_ones();
        let call = up == 0
            // Where all are up there is nobody to look for.
            || after > SHARE && after > SHARE * i64::from(up) && up < cpus()
            || before > 0 && now.wrapping_sub(self.since.load(Relaxed)) > STALLED_NS;
        if call || before <= 0 {
            self.since.store(now, Relaxed);
        }
        if call {
            self.choose(old, next)
        } else {
            None
        }
    }

    /// Segments in the ring, roughly.
    #[inline]
    pub fn waiting(&self) -> usize {
        usize::try_from(waiting(self.state.load(Relaxed))).unwrap_or(0)
    }

    /// How many are up, or called.
    pub fn up(&self) -> u32 {
        (self.state.load(Relaxed) >> MARKS).count_ones()
    }

    /// Marks a CPU that has no mark in `state`.
    fn choose(&self, state: u64, mut next: impl FnMut() -> u32) -> Option<u32> {
        let cpu = (0..TRIES)
            .map(|_| next())
            .find(|cpu| state & mark(*cpu) == 0)?;
        // If there is a mark now, it was set since, so there's nothing to do: somebody else calls,
        // or has begun.
        self.set(cpu).then_some(cpu)
    }

    /// Marks a CPU; whether it was not marked.
    fn set(&self, cpu: u32) -> bool {
        let mut old = self.state.load(Relaxed);
        while old & mark(cpu) == 0 {
            match self.state.cmpxchg(old, old | mark(cpu), Relaxed) {
                Ok(_) => return true,
                Err(seen) => old = seen,
            }
        }
        false
    }

    /// The work item of `cpu` begins to run; or it has found something when it looked once more.
    #[inline]
    pub fn began(&self, cpu: u32) {
        // Whoever had it called has set the mark. It is gone if the item was queued while it ran.
        self.set(cpu);
    }

    /// The work item of `cpu` found the ring empty. It must look once more before it ends.
    #[inline]
    pub fn ended(&self, cpu: u32) {
        let mut old = self.state.load(Relaxed);
        // ORDERING: Acquire: pairs with the release in `submitted`. Either this comes first, and who
        // submits does not find the mark; or the worker now sees what was put into the ring.
        while let Err(seen) = self.state.cmpxchg(old, old & !mark(cpu), Acquire) {
            old = seen;
        }
    }

    /// Notes that a worker took `segments` out of the ring.
    #[inline]
    pub fn taken(&self, segments: usize) {
        self.state.fetch_sub(segments as u64, Relaxed);
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}

/// The bit that says that the worker of `cpu` is up, or called.
fn mark(cpu: u32) -> u64 {
    1 << (MARKS + cpu % CPUS)
}

/// Segments that wait.
fn waiting(state: u64) -> i64 {
    (state % (1 << MARKS)) as i64 - NONE_WAIT as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A stage on a machine with so many CPUs.
    struct Machine {
        workers: Workers,
        cpus: u32,
        last: u32,
    }

    impl Machine {
        fn new(cpus: u32) -> Self {
            Self {
                workers: Workers::new(),
                cpus,
                last: cpus - 1,
            }
        }

        fn submitted(&mut self, segments: usize, now: u64) -> Option<u32> {
            let next = || {
                self.last = (self.last + 1) % self.cpus;
                self.last
            };
            self.workers.submitted(segments, now, || self.cpus, next)
        }

        fn is_idle(&self) -> bool {
            self.workers.state.load(Relaxed) == NONE_WAIT
        }
    }

    #[test]
    fn one_worker_for_little() {
        let mut m = Machine::new(4);
        assert_eq!(m.submitted(1, 0), Some(0), "nobody is up");
        for n in 2..=SHARE {
            assert_eq!(m.submitted(1, 0), None, "{n} segments are one worker's");
        }
        assert_eq!(m.submitted(1, 0), Some(1), "too many for one");
        for n in 10..=2 * SHARE {
            assert_eq!(m.submitted(1, 0), None, "{n} segments are two workers'");
        }
        assert_eq!(m.submitted(1, 0), Some(2), "too many for two");
    }

    #[test]
    fn a_burst_calls_another_one() {
        let mut m = Machine::new(4);
        assert_eq!(m.submitted(40, 0), Some(0));
        assert_eq!(m.submitted(40, 0), Some(1));
        assert_eq!(m.workers.waiting(), 80);
        m.workers.taken(40);
        assert_eq!(m.workers.waiting(), 40);
        assert_eq!(m.submitted(40, 0), Some(2));
        // Another one's, whose submitter has not counted yet.
        m.workers.taken(120);
        assert_eq!(m.workers.waiting(), 0);
    }

    #[test]
    fn who_ends_is_not_counted_on() {
        let mut m = Machine::new(2);
        assert_eq!(m.submitted(3, 0), Some(0));
        m.workers.began(0);
        m.workers.taken(3);
        m.workers.ended(0);
        assert_eq!(m.submitted(1, 0), Some(1), "nobody is up any more");
    }

    #[test]
    fn taken_before_it_was_counted() {
        let mut m = Machine::new(2);
        assert_eq!(m.submitted(1, 0), Some(0));
        m.workers.taken(1);
        // Another submitter's, whose count is yet to come.
        m.workers.taken(5);
        m.workers.ended(0);
        assert_eq!(
            m.submitted(5, 0),
            Some(1),
            "nobody is up, so one is called in any case"
        );
        m.workers.ended(1);
        assert!(m.is_idle());
    }

    /// Nobody counts on a worker because it was called for the second time, before it began.
    #[test]
    fn the_only_cpu_was_called_already() {
        let mut m = Machine::new(1);
        assert_eq!(m.submitted(9, 0), Some(0));
        assert_eq!(m.submitted(1, 0), None, "too many, but nobody else to call");
        m.workers.began(0);
        m.workers.taken(10);
        m.workers.ended(0);
        assert_eq!(m.submitted(1, 0), Some(0), "nobody is up");
    }

    #[test]
    fn a_worker_is_not_called_twice() {
        let mut m = Machine::new(2);
        assert_eq!(m.submitted(9, 0), Some(0));
        assert_eq!(m.submitted(9, 0), Some(1));
        m.workers.ended(1);
        // The next in turn would be CPU 0, whose worker is up.
        assert_eq!(m.submitted(9, 0), Some(1));
        for _ in 0..9 {
            assert_eq!(m.submitted(9, 0), None, "both are up");
        }
    }

    /// Queued while it runs, after it had ended and before it found something more: the same worker
    /// runs twice, and is one at any time.
    #[test]
    fn queued_while_it_runs() {
        let mut m = Machine::new(1);
        assert_eq!(m.submitted(1, 0), Some(0));
        m.workers.began(0);
        m.workers.taken(1);
        m.workers.ended(0);
        assert_eq!(m.submitted(1, 0), Some(0));
        m.workers.began(0);
        m.workers.taken(1);
        m.workers.ended(0);
        assert!(m.is_idle());
        // For that call.
        m.workers.began(0);
        assert_eq!(m.submitted(1, 0), None, "it is up");
        m.workers.taken(1);
        m.workers.ended(0);
        assert!(m.is_idle());
    }

    #[test]
    fn others_step_in_for_a_worker_that_is_held_up() {
        let mut m = Machine::new(4);
        assert_eq!(m.submitted(1, 100 * MS), Some(0));
        assert_eq!(m.submitted(1, 105 * MS), None);
        assert_eq!(m.submitted(1, 110 * MS), None, "that is not long yet");
        assert_eq!(
            m.submitted(1, 111 * MS),
            Some(1),
            "something waited for 11 ms"
        );
        assert_eq!(m.submitted(1, 112 * MS), None, "one was called just now");
        m.workers.taken(5);
        assert_eq!(m.submitted(1, 150 * MS), None, "nothing had waited");
        assert_eq!(m.submitted(1, 160 * MS), None);
        assert_eq!(
            m.submitted(1, 161 * MS),
            Some(2),
            "the first of these waited for 11 ms"
        );
    }

    #[test]
    fn as_many_workers_as_marks() {
        let mut m = Machine::new(100);
        for cpu in 0..CPUS {
            assert_eq!(m.submitted(99, 0), Some(cpu));
        }
        assert_eq!(m.submitted(99, 0), None);
        m.workers.ended(5);
        // Whoever is the first of those that share the mark; four are tried at a time.
        let mut called = (0..25).filter_map(|_| m.submitted(99, 0));
        assert_eq!(called.next().map(|cpu| cpu % CPUS), Some(5));
        assert_eq!(called.next(), None);
    }
}
