// SPDX-License-Identifier: GPL-2.0
//! Misuses of lives: objects that go at the wrong time or never, in the wrong place, or twice, and
//! what is left when the module goes.

use crate::{
    attempt::Attempt,
    device::{
        napi,
        Device, //
    },
    kept::Kept,
    namespaces::Greedy,
    report,
    Misuse, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering::Relaxed, //
};
use kernel::{
    impl_has_work, new_work,
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use wgk::{
    hashtable::{
        impl_has_index_node,
        IndexNode,
        IndexTable, //
    },
    netdevice::{
        LinkOps,
        Watcher, //
    },
    notifier::{
        Notifier,
        Notify,
        Sleep, //
    },
    percpu::{
        new_percpu_work,
        PerCpuWorker, //
    },
    rcu::{
        self,
        read_lock,
        RcuArc,
        RcuCell,
        RcuObject,
        RcuSyncCell, //
    },
    sched_list::{
        impl_has_sched_node,
        SchedList,
        SchedNode, //
    },
    time::mono_coarse_ns,
    timer::{
        impl_has_timer,
        new_timer,
        Timer,
        TimerCallback, //
    },
    udp_tunnel::{
        Bound,
        SocketPair, //
    },
    workqueue::{
        WorkQueue,
        WqFlags, //
    },
};

pub(crate) static ATTEMPTS: &[&Attempt] = &[
    // A static is never dropped: the timer is armed when the module is to go. It waits, until the
    // timer's callback has taken the object out.
    &Attempt {
        name: "timer-in-a-static",
        scene: "load",
        load: |_| {
            let object = Object::new()?;
            object.leaves.store(true, Relaxed);
            Timer::<Object>::arm(&object, mono_coarse_ns() + 3000 * MS);
            STATIC.swap(Some(object));
            report!(harmless, "armed");
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "work-in-flight",
        scene: "load",
        load: |_| {
            let object = Object::new()?;
            object.slow.store(1500, Relaxed);
            let queue = WorkQueue::alloc(fmt!("misuse"), WqFlags::UNBOUND, 1)?;
            queue.enqueue(object.clone());
            QUEUE.put(queue);
            report!(harmless, "queued");
            Ok(())
        },
        unload: || drop(QUEUE.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "percpu-work-dropped-queued",
        scene: "load",
        load: |_| {
            let queue = WorkQueue::alloc(fmt!("misuse"), WqFlags::PERCPU, 1)?;
            let queue = Arc::new(queue, GFP_KERNEL)?;
            let counter = Arc::new(Counter::new(), GFP_KERNEL)?;
            for _ in 0..20 {
                let work = new_percpu_work!(queue.clone(), counter.clone())?;
                work.enqueue_on(0);
                fsleep(Delta::from_millis(1));
                work.enqueue_on(0);
                work.enqueue_on(u32::MAX);
                drop(work);
                if counter.now.load(Relaxed) != 0 {
                    report!(broken, "it runs after its drop");
                }
            }
            report!(harmless, "dropped");
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "objects-of-objects",
        scene: "load",
        load: |_| {
            // Each is dropped by the destructor of the one before.
            let mut chain = None;
            for _ in 0..100 {
                chain = Some(RcuArc::new(Chain(RcuCell::new(chain)), GFP_KERNEL)?);
            }
            drop(chain);
            report!(harmless, "dropped");
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "last-reference-in-the-timer",
        scene: "load",
        load: |_| {
            for _ in 0..50 {
                Timer::<Object>::arm(&Object::new()?, mono_coarse_ns());
            }
            let object = Object::new()?;
            Timer::<Object>::arm(&object, mono_coarse_ns());
            // The timer sees one reference: its own.
            drop(object);
            fsleep(Delta::from_millis(50));
            report!(harmless, "gone");
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "queued-twice-on-two-queues",
        scene: "load",
        load: |_| {
            let first = WorkQueue::alloc(fmt!("misuse-1"), WqFlags::UNBOUND, 1)?;
            let second = WorkQueue::alloc(fmt!("misuse-2"), WqFlags::UNBOUND, 1)?;
            let object = Object::new()?;
            object.slow.store(50, Relaxed);
            let queued = (0..4)
                .filter(|n| [&first, &second][n % 2].enqueue(object.clone()))
                .count();
            drop((first, second));
            let (ran, most) = (object.fired.load(Relaxed), object.most.load(Relaxed));
            if most == 1 && ran as usize == queued {
                report!(harmless, "queued {}, ran {}", queued, ran);
            } else {
                report!(broken, "queued {}, ran {}, {} at once", queued, ran, most);
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "sync-cell-under-guard",
        scene: "load",
        load: |_| {
            let cell = RcuSyncCell::new(Some(KBox::new(1u32, GFP_KERNEL)?));
            let guard = read_lock();
            let old = cell.load(&guard).copied();
            cell.replace(None);
            report!(refused, "{:?} replaced where nobody can wait", old);
            drop(guard);
            drop(cell);
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "two-tables",
        scene: "load",
        load: |_| {
            let tables = [
                KBox::pin_init(IndexTable::<Object>::new(), GFP_KERNEL)?,
                KBox::pin_init(IndexTable::<Object>::new(), GFP_KERNEL)?,
            ];
            let object = Object::new()?;
            let mut next = || 7;
            tables[0].insert_random(object.clone(), &mut next)?;
            let again = tables[0].insert_random(object.clone(), &mut next).is_err();
            let other = tables[1].insert_random(object.clone(), &mut next).is_err();
            let removed = tables[1].remove(&object);
            match (again, other, removed) {
                (true, true, false) => report!(refused, "in one table, once"),
                seen => report!(broken, "{:?}", seen),
            }
            let found = tables[0].lookup(7, &read_lock()).is_some();
            tables[0].remove(&object);
            let back = tables[0].insert_random(object, &mut next).is_err();
            report!(refused, "found {}, never again {}", found, back);
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "two-lists",
        scene: "load",
        load: |_| {
            let lists = [SchedList::<Object>::new(), SchedList::<Object>::new()];
            let object = Object::new()?;
            let pushed = [0, 1, 0, 1].map(|list: usize| lists[list].push(object.clone()));
            let mut queue = lists[0].take_all();
            let taken = queue.next();
            let while_taken = lists[1].push(object.clone());
            let begun = taken.map(|taken| taken.node.begin());
            let after = [1, 0].map(|list: usize| lists[list].push(object.clone()));
            report!(
                refused,
                "{:?} {} {:?} {:?}",
                pushed,
                while_taken,
                begun,
                after
            );
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "kind-twice",
        scene: "load",
        load: |module| {
            match LinkOps::<Misuse>::register(module) {
                Err(e) => report!(refused, "{:?}", e),
                Ok(_) => report!(broken, "registered twice"),
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "load-fails-at-the-end",
        scene: "not-loaded",
        load: |_| {
            drop(Object::new()?);
            Timer::<Object>::arm(&Object::new()?, mono_coarse_ns() + 200 * MS);
            report!(harmless, "fails now");
            Err(EIO)
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "barrier-in-load",
        scene: "load",
        load: |_| {
            for _ in 0..1000 {
                drop(Object::new()?);
            }
            rcu::barrier();
            match OBJECTS.load(Relaxed) {
                0 => report!(harmless, "all are gone"),
                n => report!(broken, "{} are left", n),
            }
            Ok(())
        },
        ..Attempt::NONE
    },
    // The last of all: the module is there for good.
    &Attempt {
        name: "everything-forgotten",
        scene: "stays",
        keeps_sockets: true,
        load: |_| {
            core::mem::forget(Notifier::<Sleep, _>::register(Listener)?);
            core::mem::forget(Watcher::<Greedy>::register()?);
            let queue = Arc::new(
                WorkQueue::alloc(fmt!("misuse"), WqFlags::PERCPU, 1)?,
                GFP_KERNEL,
            )?;
            let work = new_percpu_work!(queue, Arc::new(Counter::new(), GFP_KERNEL)?)?;
            work.enqueue_on(0);
            core::mem::forget(work);
            let object = Object::new()?;
            Timer::<Object>::arm(&object, mono_coarse_ns() + 2000 * MS);
            core::mem::forget(object);
            core::mem::forget(KBox::pin_init(IndexTable::<Object>::new(), GFP_KERNEL)?);
            report!(harmless, "forgotten");
            Ok(())
        },
        newlink: |_, dev, _| {
            core::mem::forget(napi(dev)?);
            Ok(())
        },
        registered: |_, this| {
            let Some(net) = this.net.get() else {
                return;
            };
            if let Ok(pair) = SocketPair::open(&net, 0, &Bound::ANY, this) {
                SOCKETS.put(pair);
            }
        },
        poke: |_| report!(harmless, "sockets dropped: {}", SOCKETS.take().is_some()),
        ..Attempt::NONE
    },
];

const MS: u64 = 1_000_000;

static STATIC: RcuCell<Object> = RcuCell::empty();
static SOCKETS: Kept<SocketPair<Device>> = Kept::new();
static QUEUE: Kept<WorkQueue> = Kept::new();
static OBJECTS: AtomicU32 = AtomicU32::new(0);

struct Chain(#[expect(dead_code, reason = "for its drop")] RcuCell<Chain>);

impl RcuObject for Chain {}

/// An object with one of each kind of field.
#[pin_data]
struct Object {
    _counted: Counted,
    /// Times that the timer fired or the work ran.
    fired: AtomicU32,
    now: AtomicU32,
    most: AtomicU32,
    /// Milliseconds that the work takes.
    slow: AtomicU32,
    /// The timer takes the object out of the static.
    leaves: AtomicBool,
    #[pin]
    timer: Timer<Self>,
    #[pin]
    work: Work<Self>,
    #[pin]
    index: IndexNode,
    #[pin]
    node: SchedNode,
}

impl RcuObject for Object {}
impl_has_timer! { impl HasTimer for Object { self.timer } }
impl_has_work! { impl HasWork<Self> for Object { self.work } }
impl_has_index_node! { impl HasIndexNode for Object { self.index } }
impl_has_sched_node! { impl HasSchedNode for Object { self.node } }

impl Object {
    fn new() -> Result<RcuArc<Self>> {
        OBJECTS.fetch_add(1, Relaxed);
        RcuArc::pin_init(
            pin_init!(Self {
                _counted: Counted,
                fired: AtomicU32::new(0),
                now: AtomicU32::new(0),
                most: AtomicU32::new(0),
                slow: AtomicU32::new(0),
                leaves: AtomicBool::new(false),
                timer <- new_timer!(),
                work <- new_work!(),
                index <- IndexNode::new(),
                node <- SchedNode::new(),
            }),
            GFP_KERNEL,
        )
    }
}

/// Is counted in [`OBJECTS`].
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        OBJECTS.fetch_sub(1, Relaxed);
    }
}

impl TimerCallback for Object {
    fn fired(this: RcuArc<Self>) {
        this.fired.fetch_add(1, Relaxed);
        if this.leaves.load(Relaxed) {
            report!(harmless, "fired");
            drop(STATIC.swap(None));
        }
    }
}

impl WorkItem for Object {
    type Pointer = RcuArc<Self>;

    fn run(this: RcuArc<Self>) {
        let now = this.now.fetch_add(1, Relaxed) + 1;
        this.most.fetch_max(now, Relaxed);
        fsleep(Delta::from_millis(this.slow.load(Relaxed).into()));
        this.fired.fetch_add(1, Relaxed);
        this.now.fetch_sub(1, Relaxed);
    }
}

/// Counts how often it runs at once.
struct Counter {
    now: AtomicU32,
    most: AtomicU32,
}

impl Counter {
    fn new() -> Self {
        Self {
            now: AtomicU32::new(0),
            most: AtomicU32::new(0),
        }
    }
}

impl PerCpuWorker for Counter {
    fn run(this: &Self, _cpu: u32) {
        let now = this.now.fetch_add(1, Relaxed) + 1;
        this.most.fetch_max(now, Relaxed);
        fsleep(Delta::from_millis(30));
        this.now.fetch_sub(1, Relaxed);
    }
}

struct Listener;

impl Notify<Sleep> for Listener {
    fn notify(&self) {
        report!(harmless, "called");
    }
}
