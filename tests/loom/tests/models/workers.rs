// SPDX-License-Identifier: GPL-2.0
//! The workers of a stage: whatever is in the ring has a worker that is up or was called.

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
    model,
    workers::Workers,
    Times, //
};

/// A stage whose ring orders nothing: whoever looks may see what was there before.
struct Stage {
    ring: [AtomicBool; 2],
    workers: Workers,
}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: [AtomicBool::new(false), AtomicBool::new(false)],
            workers: Workers::new(),
        })
    }

    /// Whether a worker was called.
    fn submit(&self, n: usize) -> bool {
        // An exchange, as loom may forget a store that comes after another thread's exchange.
        self.ring[n].swap(true, Relaxed);
        self.workers.submitted(1, 0)
    }

    fn pop(&self) -> bool {
        // The lock of who takes something out: only one gets it.
        let got = |place: &AtomicBool| place.load(Relaxed) && place.swap(false, Relaxed);
        self.ring.iter().any(got)
    }

    /// A worker, from its start to its end; how many it took, and how many of them late.
    fn work(&self) -> (usize, usize) {
        let (mut took, mut late) = (0, 0);
        loop {
            if !self.pop() {
                self.workers.ended();
                if !self.pop() {
                    return (took, late);
                }
                self.workers.resumed();
                late += 1;
            }
            self.workers.taken(1);
            took += 1;
        }
    }
}

/// Two submit while a worker that was called before works, or ends.
#[test]
fn nothing_waits_without_a_worker() {
    let [called, kept, late] = [(); 3].map(|()| Times::default());
    let (c, k, l) = (called.clone(), kept.clone(), late.clone());
    model(3, move || {
        let stage = Stage::new();
        assert!(stage.submit(0), "nobody is up");
        let worker = {
            let stage = stage.clone();
            thread::spawn(move || stage.work())
        };
        let other = {
            let stage = stage.clone();
            thread::spawn(move || stage.submit(1))
        };
        let another = other.join().unwrap();
        let (took, when_ended) = worker.join().unwrap();
        if another {
            c.count();
            // It runs late, and need not find anything.
            assert_eq!(took + stage.work().0, 2);
        } else {
            k.count();
            assert_eq!(took, 2, "it waits, and nobody is up");
        }
        if when_ended != 0 {
            l.count();
        }
        assert!(stage.submit(0), "all have ended");
    });
    called.must_not_be_none("the worker ended too early");
    kept.must_not_be_none("the worker was up");
    late.must_not_be_none("the worker found something when it looked once more");
}

/// Two workers and two submitters, so that a worker takes what is not counted yet, and the other
/// finds less counted than there is.
#[test]
fn taken_before_it_is_counted() {
    let [none, some] = [(); 2].map(|()| Times::default());
    let (n, s) = (none.clone(), some.clone());
    model(2, move || {
        let stage = Stage::new();
        // Two are up, for nothing.
        for _ in 0..2 {
            stage.workers.submitted(9, 0);
            stage.workers.taken(9);
        }
        let submitters = [0, 1].map(|n| {
            let stage = stage.clone();
            thread::spawn(move || stage.submit(n))
        });
        let other = {
            let stage = stage.clone();
            thread::spawn(move || stage.work().0)
        };
        let mut took = stage.work().0;
        took += other.join().unwrap();
        let mut called = 0;
        for submitter in submitters {
            called += usize::from(submitter.join().unwrap());
        }
        for _ in 0..called {
            took += stage.work().0;
        }
        match called {
            0 => n.count(),
            _ => s.count(),
        }
        assert_eq!(took, 2, "it waits, and nobody is up");
        assert!(stage.submit(0), "all have ended");
    });
    none.must_not_be_none("nobody was called");
    some.must_not_be_none("somebody was called");
}
