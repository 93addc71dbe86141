// SPDX-License-Identifier: GPL-2.0
//! References and cells: an object is seen whole, and destroyed after all that was done with it.

use loom::{
    cell::UnsafeCell,
    sync::Arc,
    thread, //
};
use std::mem::ManuallyDrop;
use wireguard_rs_loom::{
    alloc::{
        KBox,
        GFP_KERNEL, //
    },
    model,
    rcu::{
        barrier,
        read_lock,
        RcuArc,
        RcuCell,
        RcuObject,
        RcuSyncCell, //
    },
    twin_rcu::softirq,
    Times, //
};

/// Plain memory, in which loom sees races.
struct Plain(UnsafeCell<u32>);

// SAFETY: Loom ends the execution before an access that races.
unsafe impl Sync for Plain {}
// SAFETY: As above.
unsafe impl Send for Plain {}

impl Plain {
    fn new(value: u32) -> Self {
        let cell = UnsafeCell::new(0);
        // SAFETY: Loom has checked it.
        cell.with_mut(|v| unsafe { *v = value });
        Self(cell)
    }

    fn get(&self) -> u32 {
        // SAFETY: Loom has checked it.
        self.0.with(|v| unsafe { *v })
    }

    fn set(&self, to: u32) {
        // SAFETY: Loom has checked it.
        self.0.with_mut(|v| unsafe { *v = to });
    }
}

/// Says in a log when it is destroyed.
struct Object {
    value: Plain,
    log: Option<Arc<Plain>>,
    other: Option<RcuArc<Object>>,
}

impl RcuObject for Object {}

impl Drop for Object {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_ne!(self.value.get(), 0, "destroyed twice");
        self.value.set(0);
        if let Some(log) = &self.log {
            log.set(log.get() + 1);
        }
    }
}

fn plain(value: u32) -> Object {
    Object {
        value: Plain::new(value),
        log: None,
        other: None,
    }
}

fn object(value: u32) -> RcuArc<Object> {
    RcuArc::new(plain(value), GFP_KERNEL).unwrap()
}

/// Two threads use an object and drop their references: it is destroyed after both.
#[test]
fn destroyed_after_all_uses() {
    model(3, || {
        let first = object(7);
        let second = first.clone();
        let [first, second] = [first, second].map(|object| {
            thread::spawn(move || {
                assert_eq!(object.value.get(), 7);
                drop(object);
                softirq();
            })
        });
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// A reader finds a published object whole, and it stays while the reader looks at it; with a
/// reference also after that.
#[test]
fn published_and_taken_back() {
    let [seen, kept, missed, late] = [(); 4].map(|()| Times::default());
    let (s, k, m, l) = (seen.clone(), kept.clone(), missed.clone(), late.clone());
    model(3, move || {
        let cell = Arc::new(RcuCell::<Object>::empty());
        let reader = {
            let (cell, s, k, m, l) = (cell.clone(), s.clone(), k.clone(), m.clone(), l.clone());
            thread::spawn(move || {
                let guard = read_lock();
                let Some(found) = cell.load(&guard) else {
                    return m.count();
                };
                s.count();
                assert_eq!(found.value.get(), 7);
                let kept = found.try_get();
                drop(guard);
                match kept {
                    Some(kept) => {
                        k.count();
                        assert_eq!(kept.value.get(), 7);
                    }
                    None => l.count(),
                }
            })
        };
        cell.swap(Some(object(7)));
        drop(cell.swap(None));
        softirq();
        reader.join().unwrap();
    });
    seen.must_not_be_none("the reader found it");
    kept.must_not_be_none("the reader kept it");
    missed.must_not_be_none("the reader came too early or late");
    late.must_not_be_none("the reader found it without references");
}

/// What the model above would say if readers were not waited for.
#[test]
#[should_panic = "Causality violation"]
fn without_grace_period_it_is_noticed() {
    model(3, || {
        let cell = Arc::new(RcuCell::new(Some(object(7))));
        let reader = {
            let cell = cell.clone();
            thread::spawn(move || {
                let guard = read_lock();
                if let Some(found) = cell.load(&guard) {
                    found.value.get();
                }
            })
        };
        let old = cell.swap(None).unwrap();
        old.value.set(1);
        reader.join().unwrap();
    });
}

/// Two writers at once: each looks at what it got from the other.
#[test]
fn swapped_by_two() {
    let exchanged = Times::default();
    let e = exchanged.clone();
    model(3, move || {
        let cell = Arc::new(RcuCell::<Object>::empty());
        let writers = [1, 2].map(|n| {
            let (cell, e) = (cell.clone(), e.clone());
            thread::spawn(move || {
                // A failure here is to end the test, not to drop the object.
                if let Some(old) = cell.swap(Some(object(n))).map(ManuallyDrop::new) {
                    assert_eq!(old.value.get(), 3 - n);
                    e.count();
                    drop(ManuallyDrop::into_inner(old));
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
    });
    exchanged.must_not_be_none("one got the other's");
}

/// A box that is replaced by two, one after the other or at once, while it is read.
#[test]
fn sync_cell_waits_for_readers() {
    let [old, new, other] = [(); 3].map(|()| Times::default());
    let (o, n, t) = (old.clone(), new.clone(), other.clone());
    model(2, move || {
        let boxed = |value| KBox::new(plain(value), GFP_KERNEL).unwrap();
        let cell = Arc::new(RcuSyncCell::new(Some(boxed(1))));
        let reader = {
            let (cell, o, n, t) = (cell.clone(), o.clone(), n.clone(), t.clone());
            thread::spawn(move || {
                let guard = read_lock();
                match cell.load(&guard).map(|found| found.value.get()) {
                    Some(1) => o.count(),
                    Some(2) => n.count(),
                    Some(3) => t.count(),
                    other => panic!("found {other:?}"),
                }
            })
        };
        let writer = {
            let cell = cell.clone();
            thread::spawn(move || cell.replace(Some(boxed(2))))
        };
        cell.replace(Some(boxed(3)));
        reader.join().unwrap();
        writer.join().unwrap();
        cell.replace(None);
    });
    old.must_not_be_none("the reader found the old one");
    new.must_not_be_none("the reader found one writer's");
    other.must_not_be_none("the reader found the other writer's");
}

/// After `barrier()` everything is destroyed that lost its last reference before, and what its
/// destructor dropped; and that has been seen.
#[test]
fn barrier_waits_for_destructors() {
    let [early, late] = [(); 2].map(|()| Times::default());
    let (e, l) = (early.clone(), late.clone());
    model(3, move || {
        let log = Arc::new(Plain::new(0));
        let logging = |other| Object {
            log: Some(log.clone()),
            other,
            value: Plain::new(1),
        };
        let make = |o| RcuArc::new(o, GFP_KERNEL).unwrap();
        let outer = make(logging(Some(make(logging(None)))));
        assert!(outer.other.is_some());
        drop(outer);
        let cpu = {
            let (e, l) = (e.clone(), l.clone());
            thread::spawn(move || {
                softirq();
                e.count();
                softirq();
                l.count();
            })
        };
        barrier();
        assert_eq!(log.get(), 2, "a destructor has not run");
        cpu.join().unwrap();
    });
    early.must_not_be_none("another CPU ran callbacks");
    late.must_not_be_none("another CPU ran callbacks twice");
}
