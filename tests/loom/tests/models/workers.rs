// SPDX-License-Identifier: GPL-2.0
//! The workers of a stage: whatever is in the ring, a worker looks at the ring after it was put in.

use loom::{
    sync::{
        atomic::{
            AtomicBool,
            Ordering::Relaxed, //
        },
        Arc, //
    },
    thread, //
};
use wireguard_rs_loom::{
    atomic::{
        Atomic,
        Full, //
    },
    model,
    workers::Workers,
    Times, //
};

/// A stage whose ring orders nothing.
struct Stage {
    /// Whoever looks may see what was there before.
    stale: bool,
    ring: Vec<AtomicBool>,
    workers: Workers,
    /// A work item for each CPU: whether it is queued. As C has it: `queue_work_on()` sets the bit
    /// and a worker thread clears it before it runs the item, each fully ordered whatever it finds.
    queued: Vec<Atomic<bool>>,
}

impl Stage {
    fn new(cpus: usize, places: usize, stale: bool) -> Arc<Self> {
        Arc::new(Self {
            stale,
            ring: (0..places).map(|_| AtomicBool::new(false)).collect(),
            workers: Workers::new(),
            queued: (0..cpus).map(|_| Atomic::new(false)).collect(),
        })
    }

    /// Puts something into the ring, which counts as so many segments. Whether a worker was called;
    /// the first looked at is that of `cpu`.
    fn submit(&self, n: usize, segments: usize, cpu: usize) -> bool {
        // An exchange, as loom may forget a store that comes after another thread's exchange.
        self.ring[n].swap(true, Relaxed);
        let mut next = (cpu..).map(|cpu| (cpu % self.queued.len()) as u32);
        let next = || next.next().unwrap();
        let cpus = || self.queued.len() as u32;
        let called = self.workers.submitted(segments, 0, cpus, next);
        if let Some(cpu) = called {
            self.queued[cpu as usize].xchg(true, Full);
        }
        called.is_some()
    }

    fn pop(&self) -> Option<usize> {
        // The lock of who takes something out: only one gets it. An exchange sees what is there now.
        let got =
            |place: &AtomicBool| (!self.stale || place.load(Relaxed)) && place.swap(false, Relaxed);
        self.ring.iter().position(got)
    }

    /// Runs the item of `cpu`, if it is queued, from its start to its end. How many it took, and how
    /// many of them late; `None` if it was not queued.
    fn run(&self, cpu: usize, segments: [usize; 3]) -> Option<(usize, usize)> {
        if !self.queued[cpu].xchg(false, Full) {
            return None;
        }
        let (mut took, mut late) = (0, 0);
        let number = cpu as u32;
        self.workers.began(number);
        loop {
            let mut next = self.pop();
            if next.is_none() {
                self.workers.ended(number);
                next = self.pop();
                if next.is_none() {
                    return Some((took, late));
                }
                self.workers.began(number);
                late += 1;
            }
            self.workers.taken(next.map_or(0, |n| segments[n]));
            took += 1;
        }
    }

    /// Runs what is queued, and then nothing may be left.
    fn settle(&self, segments: [usize; 3]) {
        while (0..self.queued.len()).any(|cpu| self.run(cpu, segments).is_some()) {}
        assert_eq!(self.pop(), None, "it waits, and nobody is up");
        assert!(self.submit(0, 1, 0), "all have ended");
    }
}

/// Two submit while a worker that was called before works, or ends, and there is no other. The second
/// of them has so much that it would call one.
#[test]
fn nothing_waits_without_a_worker() {
    const SEGMENTS: [usize; 3] = [1, 1, 9];
    let [called, kept, late, again] = [(); 4].map(|()| Times::default());
    let (c, k, l, a) = (called.clone(), kept.clone(), late.clone(), again.clone());
    model(2, move || {
        let stage = Stage::new(1, 3, true);
        assert!(stage.submit(0, SEGMENTS[0], 0), "nobody is up");
        let worker = {
            let stage = stage.clone();
            // The same item may be queued again while it runs, but it does not run twice at once.
            thread::spawn(move || [(); 2].map(|()| stage.run(0, SEGMENTS)))
        };
        let other = {
            let stage = stage.clone();
            thread::spawn(move || stage.submit(2, SEGMENTS[2], 0))
        };
        let called = stage.submit(1, SEGMENTS[1], 0);
        let other = other.join().unwrap();
        match called || other {
            true => c.count(),
            false => k.count(),
        }
        let runs = worker.join().unwrap();
        if runs.iter().flatten().any(|(_, late)| *late != 0) {
            l.count();
        }
        if runs[1].is_some() {
            a.count();
        }
        stage.settle(SEGMENTS);
    });
    called.must_not_be_none("the worker ended too early");
    kept.must_not_be_none("the worker was up");
    late.must_not_be_none("the worker found something when it looked once more");
    again.must_not_be_none("the item was queued again while it ran");
}

/// Two CPUs; the worker of one runs and ends as somebody submits too much for one.
#[test]
fn two_are_called() {
    const SEGMENTS: [usize; 3] = [9; 3];
    let [both, one] = [(); 2].map(|()| Times::default());
    let (b, o) = (both.clone(), one.clone());
    model(2, move || {
        let stage = Stage::new(2, 3, true);
        assert!(stage.submit(0, SEGMENTS[0], 0), "nobody is up");
        let worker = {
            let stage = stage.clone();
            thread::spawn(move || stage.run(0, SEGMENTS))
        };
        match [1, 2].map(|n| stage.submit(n, SEGMENTS[n], 0)) {
            [true, true] => b.count(),
            [false, false] => panic!("one worker for so much"),
            _ => o.count(),
        }
        worker.join().unwrap();
        stage.settle(SEGMENTS);
    });
    both.must_not_be_none("each called one, as one had ended");
    one.must_not_be_none("both were up");
}

/// Two workers and two submitters, so that a worker takes what is not counted yet, and the other
/// finds less counted than there is.
#[test]
fn taken_before_it_is_counted() {
    const SEGMENTS: [usize; 3] = [1; 3];
    let [none, some] = [(); 2].map(|()| Times::default());
    let (n, s) = (none.clone(), some.clone());
    model(1, move || {
        let stage = Stage::new(2, 2, false);
        // Two are called, for nothing.
        for _ in 0..2 {
            let mut cpus = 0..;
            let next = || cpus.next().unwrap();
            let next = stage.workers.submitted(9, 0, || 2, next);
            stage.queued[next.unwrap() as usize].xchg(true, Full);
        }
        stage.workers.taken(18);
        let other = {
            let stage = stage.clone();
            thread::spawn(move || stage.submit(1, 1, 0))
        };
        let worker = {
            let stage = stage.clone();
            thread::spawn(move || stage.run(1, SEGMENTS))
        };
        let called = stage.submit(0, 1, 0);
        stage.run(0, SEGMENTS);
        worker.join().unwrap();
        match called || other.join().unwrap() {
            false => n.count(),
            true => s.count(),
        }
        stage.settle(SEGMENTS);
    });
    none.must_not_be_none("nobody was called");
    some.must_not_be_none("somebody was called");
}
