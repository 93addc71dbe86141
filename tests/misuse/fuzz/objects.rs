// SPDX-License-Identifier: GPL-2.0
//! The fuzzer's counted objects: in cells, tables, lists, timers, work, batches.

use super::{
    work,
    Kind,
    Pool,
    Rng,
    CALLS,
    QUEUES, //
};
use core::{
    cmp::Ordering::{
        Equal,
        Greater,
        Less, //
    },
    sync::atomic::{
        AtomicU64,
        Ordering::Relaxed, //
    },
};
use kernel::{
    impl_has_work, new_work,
    prelude::*,
    workqueue::{
        Work,
        WorkItem, //
    },
};
use wgk::{
    batch::{
        Batch,
        CryptJob,
        CryptRing,
        Done,
        OrderQueue,
        SubmitError,
        Taken, //
    },
    drop_reason::{
        DropReason,
        Lossy, //
    },
    hashtable::{
        impl_has_index_node,
        impl_has_key_node,
        IndexNode,
        IndexTable,
        KeyNode,
        PubkeyTable, //
    },
    rcu::{
        read_lock,
        RcuArc,
        RcuCell,
        RcuObject,
        RcuSyncCell, //
    },
    sched_list::{
        impl_has_sched_node,
        SchedList,
        SchedNode,
        SchedQueue, //
    },
    skb_list::SkbList,
    time::mono_coarse_ns,
    timer::{
        impl_has_timer,
        new_timer,
        Timer,
        TimerCallback, //
    },
};

/// An object with a field of each kind.
#[pin_data]
pub(super) struct Object {
    /// Links lead to lower numbers, or they could make a ring.
    number: u64,
    link: RcuCell<Object>,
    #[pin]
    first: Timer<Self, 0>,
    #[pin]
    second: Timer<Self, 1>,
    #[pin]
    work: Work<Self>,
    #[pin]
    index: IndexNode,
    #[pin]
    key: KeyNode,
    #[pin]
    node: SchedNode,
}

impl RcuObject for Object {
    fn on_last_ref(&self) {
        let mut rng = Rng::of(Kind::Dropped);
        // Dropping one object here may drop the next.
        if rng.below(4) == 0 {
            drop(self.link.swap(None));
        }
    }
}

impl_has_timer! {
    impl HasTimer<0> for Object { self.first }
    impl HasTimer<1> for Object { self.second }
}
impl_has_work! { impl HasWork<Self> for Object { self.work } }
impl_has_index_node! { impl HasIndexNode for Object { self.index } }
impl_has_key_node! { impl HasKeyNode for Object { self.key } }
impl_has_sched_node! { impl HasSchedNode for Object { self.node } }

static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl Object {
    fn new(rng: &mut Rng) -> Result<RcuArc<Self>> {
        let mut key = [0; 32];
        // Some keys come twice.
        key[0] = rng.below(64) as u8;
        RcuArc::pin_init(
            pin_init!(Self {
                number: NUMBERS.fetch_add(1, Relaxed),
                link: RcuCell::empty(),
                first <- new_timer!(),
                second <- new_timer!(),
                work <- new_work!(),
                index <- IndexNode::new(),
                key <- KeyNode::new(key),
                node <- SchedNode::new(),
            }),
            GFP_ATOMIC,
        )
    }
}

impl TimerCallback<0> for Object {
    fn fired(this: RcuArc<Self>) {
        let mut rng = Rng::of(Kind::Fired);
        OBJECTS.put(&mut rng, this);
        super::quick(&mut rng, None);
    }
}

impl TimerCallback<1> for Object {
    fn fired(this: RcuArc<Self>) {
        if Rng::of(Kind::Fired).below(4) != 0 {
            Timer::<Self, 0>::arm(&this, mono_coarse_ns());
        }
    }
}

impl WorkItem for Object {
    type Pointer = RcuArc<Self>;

    fn run(this: RcuArc<Self>) {
        let mut rng = Rng::of(Kind::Ran);
        OBJECTS.put(&mut rng, this);
        super::quick(&mut rng, None);
    }
}

/// Makes a worker's calls.
#[pin_data]
pub(super) struct Task {
    number: u64,
    #[pin]
    work: Work<Task>,
}

impl RcuObject for Task {}
impl_has_work! { impl HasWork<Self> for Task { self.work } }

impl Task {
    pub(super) fn new(number: u64) -> Result<RcuArc<Self>> {
        RcuArc::pin_init(
            pin_init!(Self {
                number,
                work <- new_work!(),
            }),
            GFP_KERNEL,
        )
    }
}

impl WorkItem for Task {
    type Pointer = RcuArc<Self>;

    fn run(this: RcuArc<Self>) {
        work(this.number);
    }
}

struct Tables {
    indices: Pin<KBox<IndexTable<Object>>>,
    keys: Pin<KBox<PubkeyTable<Object>>>,
}

/// A ring and an order queue.
struct Stage {
    ring: CryptRing<Object>,
    order: Pin<KBox<OrderQueue<Object>>>,
}

static OBJECTS: Pool<RcuArc<Object>> = Pool::new();
static TABLES: Pool<Tables> = Pool::new();
static STAGES: Pool<Stage> = Pool::new();
static JOBS: Pool<CryptJob<Object>> = Pool::new();
static BATCHES: Pool<Batch<Object>> = Pool::new();
static TAKEN: Pool<SchedQueue<Object>> = Pool::new();
static SYNC: Pool<KBox<RcuSyncCell<u64>>> = Pool::new();
static CELLS: [RcuCell<Object>; 4] = [const { RcuCell::empty() }; 4];
static LISTS: [SchedList<Object>; 2] = [const { SchedList::new() }; 2];

/// One call on an object, in any context.
pub(super) fn quick(rng: &mut Rng) {
    let Some(object) = OBJECTS.take(rng) else {
        if let Ok(object) = Object::new(rng) {
            OBJECTS.put(rng, object);
        }
        return;
    };
    let soon = mono_coarse_ns() + (rng.next() & 0xff_ffff);
    match rng.below(22) {
        0 => return,
        1 => Timer::<Object, 0>::arm(&object, soon),
        2 => Timer::<Object, 1>::arm(&object, soon),
        3 => drop(object.first.disarm()),
        4 => drop(object.second.disarm()),
        5 => OBJECTS.put(rng, object.clone()),
        6 => {
            if let Some(other) = OBJECTS.take(rng) {
                match other.number.cmp(&object.number) {
                    Less => drop(object.link.swap(Some(other))),
                    // The same: linked to itself it would stay for ever.
                    Equal => (),
                    Greater => {
                        drop(other.link.swap(Some(object)));
                        return;
                    }
                }
            }
        }
        7 => {
            let guard = read_lock();
            let linked = object.link.load(&guard).and_then(|linked| linked.try_get());
            if let Some(linked) = linked {
                OBJECTS.put(rng, linked);
            }
        }
        8 => drop(CELLS[rng.below(4)].swap(Some(object.clone()))),
        9 => {
            let guard = read_lock();
            let cell = &CELLS[rng.below(4)];
            if let Some(found) = cell.load(&guard) {
                let _ = (found.number, cell.points_to(&object), cell.is_null());
                if let Some(found) = found.try_get() {
                    OBJECTS.put(rng, found);
                }
            }
        }
        10 => {
            let key = rng.below(32) as u32;
            TABLES.with(rng, |tables| {
                let _ = tables.indices.insert_random(object.clone(), &mut || key);
            });
        }
        11 => {
            TABLES.with(rng, |tables| {
                let _ = tables.keys.insert(object.clone());
            });
        }
        12 => {
            TABLES.with(rng, |tables| {
                tables.indices.remove(&object);
                tables.keys.remove(&object)
            });
        }
        13 => {
            let (index, mut key) = (rng.below(32) as u32, [0; 32]);
            key[0] = rng.below(64) as u8;
            let found = TABLES.with(rng, |tables| {
                let guard = read_lock();
                let by_index = tables
                    .indices
                    .lookup(index, &guard)
                    .and_then(|o| o.try_get());
                by_index.or_else(|| tables.keys.lookup(&key, &guard).and_then(|o| o.try_get()))
            });
            if let Some(found) = found.flatten() {
                OBJECTS.put(rng, found);
            }
        }
        14 => drop(LISTS[rng.below(2)].push(object.clone())),
        15 => {
            let mut taken = TAKEN.take(rng).unwrap_or_default();
            taken.refill(&LISTS[rng.below(2)]);
            if let Some(next) = taken.next() {
                if rng.below(2) == 0 {
                    next.node.begin();
                }
                OBJECTS.put(rng, next);
            }
            TAKEN.put(rng, taken);
        }
        16 => drop(object.node.begin()),
        17 => {
            let queued = object.clone();
            QUEUES.with(rng, |queue| queue.enqueue(queued));
        }
        18 => {
            if let Some(job) = STAGES.with(rng, |stage| stage.ring.pop()).flatten() {
                JOBS.put(rng, job);
            }
        }
        19 => {
            if let Some(mut job) = JOBS.take(rng) {
                for (nonce, mut segment) in job.segments_mut() {
                    let _ = segment.seal(&[4; 16], rng.below(20), nonce, &[7; 32]);
                    if rng.below(4) == 0 {
                        segment.drop_for(DropReason::SkbCsum);
                    }
                }
                match rng.below(4) {
                    0 => drop(job),
                    1 => drop(job.drop_for(DropReason::Nomem)),
                    _ => drop(job.finish()),
                }
            }
        }
        20 => consume(rng),
        _ => {
            if let Some(batch) = BATCHES.take(rng) {
                let (list, owner, _) = batch.into_parts();
                super::LISTS.put(rng, list);
                OBJECTS.put(rng, owner);
            }
        }
    }
    OBJECTS.put(rng, object);
}

/// Makes a batch of the packets and puts it in line.
pub(super) fn submit(rng: &mut Rng, list: SkbList) {
    let Some(owner) = OBJECTS.take(rng) else {
        return;
    };
    let Some(batch) = Batch::new(list, owner, rng.next()) else {
        return;
    };
    let _ = batch.len();
    if rng.below(8) == 0 {
        BATCHES.put(rng, batch);
        return;
    }
    let refused = STAGES.with(rng, |stage| stage.ring.submit(&stage.order, batch));
    if let Some(Err(SubmitError::Full(batch))) = refused {
        lose_or_keep(rng, batch);
    }
}

/// Has a batch lost, or keeps it.
fn lose_or_keep(rng: &mut Rng, batch: Batch<Object>) {
    if rng.below(2) == 0 {
        assert_eq!(batch.packets(), batch.len());
        batch.drop_for(DropReason::FullRing);
    } else {
        BATCHES.put(rng, batch);
    }
}

/// Takes something out of an order queue.
fn consume(rng: &mut Rng) {
    let by_packet = rng.below(2) == 0;
    let mut done = None;
    let mut taken = None;
    STAGES.with(rng, |stage| {
        if let Some(mut consumer) = stage.order.try_consume() {
            if by_packet {
                taken = consumer.take_segment();
            } else {
                done = consumer.next();
            }
        }
    });
    match taken {
        Some(Taken::Packet { skb, owner, .. }) => {
            super::PACKETS.put(rng, skb);
            OBJECTS.put(rng, owner);
        }
        Some(Taken::Lost(skb, why)) if rng.below(2) == 0 => skb.drop_for(why),
        Some(Taken::Lost(skb, _)) => super::PACKETS.put(rng, skb),
        Some(Taken::Dead(batch)) => drop(batch),
        None => (),
    }
    match done {
        Some(Done::Ok(batch)) => BATCHES.put(rng, batch),
        Some(Done::Dead(batch)) => drop(batch),
        None => (),
    }
}

/// One that may sleep.
pub(super) fn slow(rng: &mut Rng) -> Result {
    CALLS.fetch_add(1, Relaxed);
    match rng.below(7) {
        0 => TABLES.put(
            rng,
            Tables {
                indices: KBox::pin_init(IndexTable::new(), GFP_KERNEL)?,
                keys: KBox::pin_init(PubkeyTable::new(), GFP_KERNEL)?,
            },
        ),
        1 => drop(TABLES.take(rng)),
        2 => {
            STAGES.with(rng, |stage| (stage.order.has_ready(), stage.order.len()));
        }
        3 => {
            let cell = RcuSyncCell::new(Some(KBox::new(rng.next(), GFP_KERNEL)?));
            SYNC.put(rng, KBox::new(cell, GFP_KERNEL)?);
        }
        4 => {
            if let Some(cell) = SYNC.take(rng) {
                let seen = cell.load(&read_lock()).copied();
                cell.replace(seen.map(|seen| KBox::new(seen, GFP_KERNEL)).transpose()?);
                SYNC.put(rng, cell);
            }
        }
        5 => wgk::rcu::barrier(),
        _ => {
            let object = Object::new(rng)?;
            OBJECTS.put(rng, object);
        }
    }
    Ok(())
}

/// Before the first call.
pub(super) fn open() -> Result {
    for number in 0..3 {
        let stage = Stage {
            ring: CryptRing::new(4 << number)?,
            order: KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?,
        };
        STAGES.put_at(number, stage);
    }
    Ok(())
}

/// After the last.
pub(super) fn close() {
    OBJECTS.close();
    TABLES.close();
    JOBS.close();
    BATCHES.close();
    for place in 0..3 {
        if let Some(Stage { ring, order }) = STAGES.take_at(place) {
            // Marks what is in it dead, so that the queue can be emptied.
            drop(ring);
            drop(order);
        }
    }
    TAKEN.close();
    SYNC.close();
    CELLS.iter().for_each(|cell| drop(cell.swap(None)));
    LISTS.iter().for_each(|list| drop(list.take_all()));
}
