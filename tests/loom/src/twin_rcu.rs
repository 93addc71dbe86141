// SPDX-License-Identifier: GPL-2.0
//! RCU: what the kernel's promises, and nothing more.
//!
//! A grace period is over when all readers are that had begun when it did. Then all that they did
//! is before what comes after it; and a reader that begins after the start of a grace period has
//! all before it that came before the start. Nothing else is ordered: readers and writers only
//! meet in plain variables, which loom doesn't see (its threads are coroutines of one), led in by
//! a relaxed exchange, so that it tries all orders.
//!
//! Callbacks run when [`softirq`] is called, or `rcu_barrier()`.

use loom::{
    sync::atomic::{
        AtomicBool,
        AtomicUsize,
        Ordering::{
            Acquire,
            Relaxed,
            Release, //
        }, //
    },
    thread, //
};
use std::{
    cell::RefCell,
    env,
    ffi::c_ulong,
    marker::PhantomData,
    sync::OnceLock, //
};

/// In an object that waits for readers.
pub struct callback_head(());

type Callback = unsafe extern "C-unwind" fn(*mut callback_head);

/// RCU of one execution.
struct Rcu {
    order: &'static AtomicBool,
    /// Each end of a reader is released here.
    ended: &'static AtomicUsize,
    /// Each start of a grace period is released here.
    started: &'static AtomicUsize,
    /// Each end of a callback is released here.
    called: &'static AtomicUsize,
    running: usize,
    now: u64,
    last_start: u64,
    readers: Vec<u64>,
    callbacks: Vec<(u64, *mut callback_head, Callback)>,
}

thread_local! {
    static RCU: RefCell<Option<Rcu>> = const { RefCell::new(None) };
}

/// For a moment: no loom operation in `f`.
fn with<R>(f: impl FnOnce(&mut Rcu) -> R) -> R {
    RCU.with_borrow_mut(|rcu| f(rcu.as_mut().expect("only in model()")))
}

impl Rcu {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn is_over(&self, start: u64) -> bool {
        self.readers.iter().all(|since| *since > start)
    }
}

/// To be called when an execution begins, in its first thread.
pub(crate) fn begin() {
    // Loom keeps nothing in them, so there is little to leak; they outlive the execution's objects.
    let rcu = Rcu {
        order: Box::leak(Box::new(AtomicBool::new(false))),
        ended: Box::leak(Box::new(AtomicUsize::new(0))),
        started: Box::leak(Box::new(AtomicUsize::new(0))),
        called: Box::leak(Box::new(AtomicUsize::new(0))),
        running: 0,
        now: 0,
        last_start: 0,
        readers: Vec::new(),
        callbacks: Vec::new(),
    };
    RCU.set(Some(rcu));
}

/// Has loom try the others' operations before this one.
fn led_in() {
    with(|rcu| rcu.order).swap(true, Relaxed);
}

/// A read-side critical section.
pub struct Guard {
    since: u64,
    _not_send: PhantomData<*const ()>,
}

/// Begins one.
#[must_use]
pub fn read_lock() -> Guard {
    led_in();
    let (since, started) = with(|rcu| {
        let since = rcu.tick();
        rcu.readers.push(since);
        (since, (rcu.last_start != 0).then_some(rcu.started))
    });
    if let Some(started) = started {
        started.fetch_add(0, Acquire);
    }
    Guard {
        since,
        _not_send: PhantomData,
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        with(|rcu| rcu.ended).fetch_add(1, Release);
        with(|rcu| rcu.readers.retain(|since| *since != self.since));
    }
}

/// Begins a grace period; its number.
fn start() -> u64 {
    led_in();
    with(|rcu| rcu.started).fetch_add(1, Release);
    with(|rcu| {
        rcu.last_start = rcu.tick();
        rcu.last_start
    })
}

/// Whether that grace period is over.
fn over(start: u64) -> bool {
    led_in();
    let Some(ended) = with(|rcu| rcu.is_over(start).then_some(rcu.ended)) else {
        return false;
    };
    ended.fetch_add(0, Acquire);
    true
}

fn wait_for(start: u64) {
    while !over(start) {
        thread::yield_now();
    }
}

/// Waits for a grace period.
///
/// # Safety
///
/// None.
pub unsafe fn synchronize_net() {
    wait_for(start());
}

/// Begins a grace period.
///
/// # Safety
///
/// None.
pub unsafe fn start_poll_synchronize_rcu() -> c_ulong {
    start()
}

/// Whether a grace period is over.
///
/// # Safety
///
/// None.
pub unsafe fn poll_state_synchronize_rcu(start: c_ulong) -> bool {
    // To see that a model notices.
    static WEAKEN: OnceLock<bool> = OnceLock::new();
    let weaken = WEAKEN.get_or_init(|| env::var("LOOM_WEAKEN").is_ok_and(|w| w == "grace-period"));
    over(start) || *weaken
}

/// Has `callback` run after a grace period.
///
/// # Safety
///
/// `callback` must take `head`.
pub unsafe fn call_rcu(head: *mut callback_head, callback: Option<Callback>) {
    let start = start();
    let callback = callback.expect("always there");
    with(|rcu| rcu.callbacks.push((start, head, callback)));
}

/// Runs the callbacks whose grace period is over, in the calling thread.
pub fn softirq() {
    led_in();
    let (ready, started) = with(|rcu| {
        let all = std::mem::take(&mut rcu.callbacks);
        let (ready, waiting) = all.into_iter().partition::<Vec<_>, _>(|c| rcu.is_over(c.0));
        rcu.callbacks = waiting;
        rcu.running += ready.len();
        (ready, rcu.started)
    });
    for (start, head, callback) in ready {
        assert!(over(start));
        // What the caller of call_rcu() did is before the callback.
        started.fetch_add(0, Acquire);
        // SAFETY: By the requirement of `call_rcu`.
        unsafe { callback(head) };
        with(|rcu| rcu.called).fetch_add(1, Release);
        with(|rcu| rcu.running -= 1);
    }
}

/// Waits for the callbacks that there are. Those that are over already it leaves as they are: it
/// makes nothing of them visible.
///
/// # Safety
///
/// None.
pub unsafe fn rcu_barrier() {
    if with(|rcu| rcu.last_start == 0) {
        return;
    }
    // It takes its time: who calls it again does not read old values for ever.
    thread::yield_now();
    led_in();
    let last = with(|rcu| rcu.now);
    let waits = || with(|rcu| rcu.running != 0 || rcu.callbacks.iter().any(|c| c.0 <= last));
    if !waits() {
        return;
    }
    while waits() {
        softirq();
        thread::yield_now();
    }
    with(|rcu| rcu.called).fetch_add(0, Acquire);
}
