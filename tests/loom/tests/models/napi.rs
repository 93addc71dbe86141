// SPDX-License-Identifier: GPL-2.0
//! From a worker that has finished a batch to the poll that delivers it: the driver's part with the
//! list, the order queue and what is in src/rx_schedule.rs, on a model of NAPI.
//!
//! Every batch is finished by somebody, so in the end every batch must have been delivered, in order,
//! whatever the order of events, by who is scheduled: nobody else looks.

use loom::{
    sync::Arc,
    thread, //
};
use std::{
    env,
    sync::Mutex, //
};
use wireguard_rs_loom::{
    alloc::GFP_KERNEL,
    atomic::{
        Atomic,
        Full,
        HotAtomic,
        Relaxed, //
    },
    batch::{
        Batch,
        CryptJob,
        CryptRing,
        OrderQueue,
        Taken, //
    },
    finished::Finished,
    kernel::prelude::{
        boxed,
        made, //
    },
    model,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    rx_schedule::{
        self,
        Instances,
        Member,
        Turn, //
    },
    sched_list::{
        impl_has_sched_node,
        SchedList,
        SchedNode, //
    },
    skb_list::SkbList,
    skbuff::SkBuff,
    Times, //
};

/// Whether this is to go wrong, to see that a model notices.
fn mutated(how: &str) -> bool {
    env::var("LOOM_MUTATE").is_ok_and(|what| what == how)
}

const SCHED: u32 = 1;
const MISSED: u32 = 2;
const DISABLE: u32 = 4;
const THREADED: u32 = 8;
const SCHED_THREADED: u32 = 16;

/// `struct napi_struct`, as far as its state goes. All changes of the state are fully ordered
/// in C (`try_cmpxchg()` and the like).
struct Napi {
    state: Atomic<u32>,
    /// On the poll list of some CPU, which has its softirq raised. (One flag will do: nobody puts it on
    /// a list who has not set `SCHED` before.)
    listed: Atomic<bool>,
}

impl Napi {
    fn new(state: u32) -> Self {
        Self {
            state: Atomic::new(state),
            listed: Atomic::new(false),
        }
    }

    /// A loop around `try_cmpxchg()`; the state before.
    fn change(&self, to: impl Fn(u32) -> Option<u32>) -> Result<u32, u32> {
        let mut old = self.state.load(Relaxed);
        loop {
            let new = to(old).ok_or(old)?;
            match self.state.cmpxchg(old, new, Full) {
                Ok(_) => return Ok(old),
                Err(seen) => old = seen,
            }
        }
    }

    fn set(&self, bits: u32) {
        let _ = self.change(|old| Some(old | bits));
    }

    fn clear(&self, bits: u32) {
        let _ = self.change(|old| Some(old & !bits));
    }

    fn is(&self, bits: u32) -> bool {
        self.state.load(Relaxed) & bits != 0
    }

    /// `napi_schedule()`
    fn schedule(&self) {
        // napi_schedule_prep()
        let old = self.change(|old| {
            let missed = old & SCHED != 0 && !mutated("schedule");
            (old & DISABLE == 0).then_some(old | SCHED | if missed { MISSED } else { 0 })
        });
        if old.is_ok_and(|old| old & SCHED == 0) {
            self.start();
        }
    }

    /// `____napi_schedule()`
    fn start(&self) {
        if self.is(THREADED) {
            self.set(SCHED_THREADED);
        } else {
            assert!(!self.listed.xchg(true, Full), "on two lists");
        }
    }

    /// `napi_complete_done()`
    fn complete(&self) {
        let old = self.change(|old| {
            assert!(old & SCHED != 0, "polled without need");
            let again = old & MISSED != 0 && !mutated("complete");
            let new = old & !(SCHED | MISSED | SCHED_THREADED);
            Some(new | if again { SCHED } else { 0 })
        });
        if old.unwrap() & MISSED != 0 && !mutated("complete") {
            self.start();
        }
    }

    /// `__napi_poll()`: whether to poll again. `poll` says whether it used up its budget.
    fn poll(&self, poll: impl FnOnce() -> bool) -> bool {
        if !self.is(SCHED) {
            return false;
        }
        if !poll() {
            self.complete();
            return false;
        }
        if self.is(DISABLE) {
            self.complete();
            return false;
        }
        true
    }

    /// A softirq: whether there was something to do.
    fn softirq(&self, poll: impl FnOnce() -> bool) -> bool {
        let listed = self.listed.xchg(false, Full);
        if listed && self.poll(poll) && !mutated("repoll") {
            assert!(!self.listed.xchg(true, Full), "on two lists");
        }
        listed
    }

    /// The thread of this instance: whether there was something to do. It is woken after the bit was
    /// set, and `wake_up_process()` and `set_current_state()` are full barriers; hence an exchange.
    fn thread(&self, mut poll: impl FnMut() -> bool) -> bool {
        let woken = self.change(Some).is_ok_and(|old| old & SCHED_THREADED != 0);
        if woken {
            while self.poll(&mut poll) && !mutated("repoll") {}
        }
        woken
    }

    /// `napi_disable()`. Others must see to it that polls go on.
    fn disable(&self) {
        self.set(DISABLE);
        while self
            .change(|old| (old & SCHED == 0).then_some((old | SCHED) & !THREADED))
            .is_err()
        {
            thread::yield_now();
        }
        self.clear(DISABLE);
    }

    /// The first half of `napi_stop_kthread()`. Others must see to it that polls go on.
    fn no_thread(&self) {
        while self
            .change(|old| {
                (old & SCHED_THREADED != 0 || old & SCHED == 0).then_some(old & !THREADED)
            })
            .is_err()
        {
            thread::yield_now();
        }
        while self.is(SCHED_THREADED) {
            thread::yield_now();
        }
    }
}

struct Session(RcuArc<Peer>);
impl RcuObject for Session {}

struct Peer {
    rx: Box<OrderQueue<Session>>,
    sched: SchedNode,
    instance: HotAtomic<u32>,
}
impl RcuObject for Peer {}
impl_has_sched_node! { impl HasSchedNode for Peer { self.sched } }

impl Member for Peer {
    fn instance(&self) -> &HotAtomic<u32> {
        &self.instance
    }

    fn has_ready(&self) -> bool {
        self.rx.has_ready() && !mutated("ready")
    }
}

/// An instance.
struct Place {
    scheduled: SchedList<Peer>,
    /// No lock of loom's: it orders nothing. There is one poll at a time, and this is checked.
    turn: Mutex<Turn<Peer>>,
    napi: Napi,
    /// What GRO holds until it is told to let go, in order. For the tests, as is `Path::stack`.
    gro: Mutex<Vec<u32>>,
}

/// A device with one instance or more, and peers with one session each, all on the first to begin
/// with.
struct Path {
    ring: CryptRing<Session>,
    places: Vec<Place>,
    budget: usize,
    /// Packets that are in the stack, in order. For the tests, not for what is tested.
    stack: Mutex<Vec<u32>>,
}

impl Instances<Peer> for Path {
    fn push(&self, number: u32, peer: RcuArc<Peer>) -> bool {
        self.place(number).scheduled.push(peer)
    }

    fn schedule(&self, number: u32) {
        if !mutated("hand") {
            self.place(number).napi.schedule();
        }
    }

    fn idle_beside(&self, number: u32, _: &mut u32) -> Option<u32> {
        let other = (number + 1) % self.places.len() as u32;
        let idle = self.place(other).scheduled.is_empty();
        (idle && other != number).then_some(other)
    }
}

impl Path {
    fn new(state: u32, budget: usize) -> Arc<Self> {
        Self::with_instances(1, state, budget)
    }

    fn with_instances(count: usize, state: u32, budget: usize) -> Arc<Self> {
        let place = |_| Place {
            scheduled: SchedList::new(),
            turn: Mutex::new(Turn::new()),
            napi: Napi::new(state),
            gro: Mutex::new(vec![]),
        };
        Arc::new(Self {
            ring: CryptRing::new(4).unwrap(),
            places: (0..count).map(place).collect(),
            budget,
            stack: Mutex::new(vec![]),
        })
    }

    fn place(&self, number: u32) -> &Place {
        &self.places[number as usize]
    }

    /// The first instance.
    fn napi(&self) -> &Napi {
        &self.places[0].napi
    }

    fn submit(&self, session: &RcuArc<Session>, values: &[u32]) {
        let batch = Self::batch(session, values);
        assert!(self.ring.submit(&session.0.rx, batch).is_ok());
    }

    fn batch(session: &RcuArc<Session>, values: &[u32]) -> Batch<Session> {
        let mut list = SkbList::new();
        for value in values {
            list.push_back(SkBuff::new(*value));
        }
        Batch::new(list, session.clone(), values[0].into()).unwrap()
    }

    /// Opened by who receives it.
    fn open_here(&self, session: &RcuArc<Session>, value: u32) {
        let job = CryptJob::begin(&session.0.rx, Self::batch(session, &[value]));
        self.work(job.ok());
    }

    /// As a worker does it: so many batches, then it sees that there is none.
    fn work(&self, jobs: impl IntoIterator<Item = CryptJob<Session>>) {
        let poll = |number| self.place(number).napi.schedule();
        let mut finished = Finished::new(poll);
        for job in jobs {
            let messages = job.len();
            let session = job.finish();
            let listed = rx_schedule::list(self, session.0.clone());
            if let Some(instance) = listed {
                finished.turn_to(|other| *other == instance);
            }
            finished.add(messages, listed);
        }
    }

    /// The driver's poll function; whether it used up its budget.
    fn poll(&self, number: usize) -> bool {
        let place = &self.places[number];
        let mut turn = place.turn.try_lock().expect("polled twice at once");
        let deliver = |peer: &RcuArc<Peer>, most: usize| {
            let mut queue = peer.rx.try_consume().expect("nobody else consumes");
            let mut count = 0;
            while count < most {
                match queue.take_segment() {
                    None => break,
                    Some(Taken::Dead(_) | Taken::Lost(..)) => panic!("nothing is given up"),
                    Some(Taken::Packet { skb, .. }) => {
                        count += 1;
                        place.gro.lock().unwrap().push(skb.value());
                    }
                }
            }
            count
        };
        let flush = || {
            if !mutated("flush") {
                self.flush(number);
            }
        };
        let number = number as u32;
        let budget = self.budget;
        rx_schedule::poll(
            self,
            number,
            &place.scheduled,
            &mut turn,
            budget,
            deliver,
            flush,
        ) == budget
    }

    /// GRO lets go of what it holds.
    fn flush(&self, number: usize) {
        let mut held = self.places[number].gro.lock().unwrap();
        self.stack.lock().unwrap().append(&mut held);
    }

    fn delivered(&self) -> usize {
        let held = |place: &Place| place.gro.lock().unwrap().len();
        self.stack.lock().unwrap().len() + self.places.iter().map(held).sum::<usize>()
    }

    /// Polls an instance, by whoever it is whose turn it would be; whether somebody was scheduled.
    fn turn_of(&self, number: usize) -> bool {
        let napi = &self.places[number].napi;
        napi.softirq(|| self.poll(number)) | napi.thread(|| self.poll(number))
    }

    /// The first instance's.
    fn turn(&self) -> bool {
        self.turn_of(0)
    }

    /// When all workers have ended: what is scheduled runs. Then all must have been delivered; the
    /// instances that came first let go last, so that only who had to let go before is in order.
    fn settle(&self) -> Vec<u32> {
        while (0..self.places.len()).fold(false, |any, number| any | self.turn_of(number)) {}
        for (number, place) in self.places.iter().enumerate().rev() {
            assert!(!place.napi.is(SCHED | MISSED | SCHED_THREADED));
            self.flush(number);
        }
        self.stack.lock().unwrap().clone()
    }
}

fn session() -> RcuArc<Session> {
    let peer = Peer {
        rx: boxed(OrderQueue::new()),
        sched: made(SchedNode::new()),
        instance: HotAtomic::new(0),
    };
    let peer = RcuArc::new(peer, GFP_KERNEL).unwrap();
    RcuArc::new(Session(peer), GFP_KERNEL).unwrap()
}

/// Two workers finish batches of one peer, in any order, while it is polled by a softirq or a thread,
/// with budget for all or for one packet at a time.
fn two_workers(state: u32, budget: usize) {
    let [none, some, all] = [(); 3].map(|()| Times::default());
    let (n, s, a) = (none.clone(), some.clone(), all.clone());
    model(2, move || {
        let path = Path::new(state, budget);
        let session = session();
        path.submit(&session, &[1]);
        path.submit(&session, &[2]);
        drop(session);
        let workers = [(); 2].map(|()| {
            let path = path.clone();
            let job = path.ring.pop();
            thread::spawn(move || path.work(job))
        });
        path.turn();
        match path.delivered() {
            0 => n.count(),
            1 => s.count(),
            _ => a.count(),
        }
        workers.map(|worker| worker.join().unwrap());
        assert_eq!(path.settle(), [1, 2], "finished and not delivered");
    });
    none.must_not_be_none("nothing was finished when it was polled, or nobody had it polled");
    some.must_not_be_none("one batch was delivered at first");
    if budget > 1 {
        all.must_not_be_none("both were delivered at first");
    }
}

#[test]
fn polled_by_a_softirq() {
    two_workers(0, 64);
}

#[test]
fn polled_by_a_softirq_with_a_small_budget() {
    two_workers(0, 1);
}

#[test]
fn polled_by_a_thread() {
    two_workers(THREADED, 64);
}

#[test]
fn polled_by_a_thread_with_a_small_budget() {
    two_workers(THREADED, 1);
}

/// The worker's own CPU polls: as soon as it has scheduled the instance, in its context. Another one
/// has finished more by then, or has not.
#[test]
fn polled_by_workers() {
    let [missed, alone] = [(); 2].map(|()| Times::default());
    let (m, a) = (missed.clone(), alone.clone());
    model(2, move || {
        let path = Path::new(0, 64);
        let session = session();
        path.submit(&session, &[1]);
        path.submit(&session, &[2]);
        drop(session);
        let jobs = [path.ring.pop(), path.ring.pop()];
        let workers = jobs.map(|job| {
            let path = path.clone();
            thread::spawn(move || {
                path.work(job);
                path.turn()
            })
        });
        let polled = workers.map(|worker| worker.join().unwrap());
        match polled.contains(&false) {
            true => m.count(),
            false => a.count(),
        }
        assert_eq!(path.settle(), [1, 2], "finished and not delivered");
    });
    missed.must_not_be_none("one of them had nothing to poll, as the other was at it");
    alone.must_not_be_none("both polled");
}

/// One message is with a worker, as the next is opened by who receives it, and its CPU polls.
#[test]
fn opened_where_it_arrives() {
    let [none, both] = [(); 2].map(|()| Times::default());
    let (n, b) = (none.clone(), both.clone());
    model(2, move || {
        let path = Path::new(0, 64);
        let session = session();
        path.submit(&session, &[1]);
        let worker = {
            let path = path.clone();
            let job = path.ring.pop();
            thread::spawn(move || path.work(job))
        };
        path.open_here(&session, 2);
        drop(session);
        path.turn();
        match path.delivered() {
            0 => n.count(),
            2 => b.count(),
            // The first alone, if the worker was ready in the midst of the poll.
            _ => {}
        }
        worker.join().unwrap();
        assert_eq!(path.settle(), [1, 2], "finished and not delivered");
    });
    none.must_not_be_none("the worker was not ready");
    both.must_not_be_none("the worker came first");
}

/// Two peers on one instance, with more than a poll's budget; one worker has the poll for both put
/// off, and the other finishes what comes behind.
#[test]
fn two_peers() {
    let early = Times::default();
    let e = early.clone();
    model(2, move || {
        let path = Path::new(0, 1);
        let sessions = [session(), session()];
        path.submit(&sessions[0], &[1, 2]);
        path.submit(&sessions[1], &[3]);
        path.submit(&sessions[0], &[4]);
        drop(sessions);
        let [first, second, third] = [(); 3].map(|()| path.ring.pop().unwrap());
        let workers = [vec![first, second], vec![third]].map(|jobs| {
            let path = path.clone();
            thread::spawn(move || path.work(jobs))
        });
        path.turn();
        if path.delivered() != 0 {
            e.count();
        }
        workers.map(|worker| worker.join().unwrap());
        let mut order = path.settle();
        let at = |value| order.iter().position(|v| *v == value);
        assert!(at(1) < at(2) && at(2) < at(4), "{order:?}");
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3, 4], "finished and not delivered");
    });
    early.must_not_be_none("something was delivered at first");
}

/// A peer moves to the second instance, as a worker finishes what comes behind and both instances
/// poll. What it had delivered is in the stack before what it delivers there.
#[test]
fn a_peer_moves() {
    let [moving, moved] = [(); 2].map(|()| Times::default());
    let (before, after) = (moving.clone(), moved.clone());
    model(2, move || {
        let path = Path::with_instances(2, 0, 1);
        let sessions = [session(), session()];
        path.submit(&sessions[0], &[1]);
        path.submit(&sessions[0], &[2]);
        path.submit(&sessions[1], &[3]);
        path.submit(&sessions[0], &[4]);
        let [first, second, other, last] = [(); 4].map(|()| path.ring.pop().unwrap());
        path.work([first]);
        // Uses the budget up, which makes the next poll look for another instance.
        assert!(path.turn());
        path.work([second, other]);
        let worker = {
            let path = path.clone();
            thread::spawn(move || path.work([last]))
        };
        let poller = {
            let path = path.clone();
            thread::spawn(move || path.turn_of(1))
        };
        path.turn();
        path.turn();
        if poller.join().unwrap() {
            after.count();
        } else {
            before.count();
        }
        worker.join().unwrap();
        let mut order = path.settle();
        let peer = &sessions[0].0;
        assert_eq!(peer.instance.load(Relaxed), 1, "it did not move");
        let at = |value| order.iter().position(|v| *v == value);
        assert!(at(1) < at(2) && at(2) < at(4), "{order:?}");
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3, 4], "finished and not delivered");
    });
    moving.must_not_be_none("the second instance was polled later");
    moved.must_not_be_none("the second instance polled at once");
}

/// The administrator switches to a thread and back, as workers finish and polls run.
#[test]
fn threaded_is_switched() {
    let [thread, softirq] = [(); 2].map(|()| Times::default());
    let (t, s) = (thread.clone(), softirq.clone());
    model(1, move || {
        let path = Path::new(0, 64);
        let session = session();
        path.submit(&session, &[1]);
        path.submit(&session, &[2]);
        drop(session);
        let jobs = [path.ring.pop(), path.ring.pop()];
        let worker = {
            let path = path.clone();
            thread::spawn(move || {
                for job in jobs {
                    path.work(job);
                }
            })
        };
        let poller = {
            let path = path.clone();
            let (t, s) = (t.clone(), s.clone());
            thread::spawn(move || {
                if path.napi().softirq(|| path.poll(0)) {
                    s.count();
                }
                if path.napi().thread(|| path.poll(0)) {
                    t.count();
                }
            })
        };
        path.napi().set(THREADED);
        worker.join().unwrap();
        poller.join().unwrap();
        assert_eq!(path.settle(), [1, 2], "finished and not delivered");
    });
    thread.must_not_be_none("a thread polled");
    softirq.must_not_be_none("a softirq polled");
}

/// The thread is to go, as a worker finishes: it owns the instance until it has completed.
#[test]
fn the_thread_is_stopped() {
    model(1, || {
        let path = Path::new(THREADED, 64);
        let session = session();
        path.submit(&session, &[1]);
        path.submit(&session, &[2]);
        drop(session);
        let jobs = [path.ring.pop(), path.ring.pop()];
        let worker = {
            let path = path.clone();
            thread::spawn(move || {
                for job in jobs {
                    path.work(job);
                }
            })
        };
        let stopper = {
            let path = path.clone();
            thread::spawn(move || path.napi().no_thread())
        };
        while path.napi().is(THREADED | SCHED_THREADED) {
            path.turn();
            thread::yield_now();
        }
        worker.join().unwrap();
        stopper.join().unwrap();
        assert_eq!(path.settle(), [1, 2], "finished and not delivered");
    });
}

/// The device goes: workers have ended, but a poll is under way, or is to come, or has used up its
/// budget. What it leaves is discarded, as by the drop of the driver's `NapiSet`.
#[test]
fn disabled() {
    let [all, some] = [(); 2].map(|()| Times::default());
    let (a, s) = (all.clone(), some.clone());
    model(3, move || {
        let path = Path::new(0, 1);
        let session = session();
        path.submit(&session, &[1]);
        path.submit(&session, &[2]);
        drop(session);
        path.work([path.ring.pop().unwrap(), path.ring.pop().unwrap()]);
        let poller = {
            let path = path.clone();
            thread::spawn(move || {
                // Nothing is scheduled any more once it has been completed.
                while path.turn() {
                    thread::yield_now();
                }
            })
        };
        path.napi().disable();
        poller.join().unwrap();
        assert!(!path.napi().listed.xchg(false, Full));
        let left: Vec<_> = path.places[0].turn.lock().unwrap().drain().collect();
        let listed: Vec<_> = path.places[0].scheduled.take_all().collect();
        for peer in left.into_iter().chain(listed) {
            let mut queue = peer.rx.try_consume().unwrap();
            while queue.take_segment().is_some() {}
        }
        match path.delivered() {
            2 => a.count(),
            _ => s.count(),
        }
        // Nothing may be left: see `model`.
    });
    all.must_not_be_none("all was delivered");
    some.must_not_be_none("something was discarded");
}
