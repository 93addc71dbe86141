// SPDX-License-Identifier: GPL-2.0
//! Stages of work that all CPUs share: a bounded queue, and a worker on each CPU that takes from it.
//!
//! A [`Stage`] has batches encrypted or decrypted, a [`MessageQueue`] has single messages worked
//! on. What is done with them is told when they are made ([`Task`], [`Handler`]); so this file knows
//! nothing of peers or devices. How many CPUs are woken for a stage is decided in `workers.rs`.

use core::cell::Cell;
use kernel::{
    prelude::*,
    sync::Arc, //
};

use wgk::{
    atomic::{
        Atomic,
        HotAtomic,
        Relaxed, //
    },
    batch::{
        Batch,
        CryptJob,
        CryptRing,
        OrderQueue,
        SubmitError, //
    },
    cpu,
    lock::{
        new_spinlock_bh,
        SpinLockBh, //
    },
    percpu::{
        new_percpu_work,
        PerCpuWork,
        PerCpuWorker, //
    },
    rcu::RcuObject,
    skb_list::SkbList,
    skbuff::SkBuff,
    time::boottime_coarse_ns,
    workqueue::WorkQueue, //
};

use crate::{
    messages::{
        MAX_QUEUED_INCOMING_HANDSHAKES,
        MAX_QUEUED_PACKETS,
        MAX_QUEUED_UNPROVEN, //
    },
    workers::Workers, //
};

/// What a stage does with its batches.
pub(crate) trait Task<O: RcuObject>: Send + Sync {
    /// Takes batches until there are none (it must not end before), and sees to what is finished.
    /// Process context.
    fn run(&self, worker: &Worker<'_, O>);
}

/// Messages that a peer has under way at most if it has little: the batch with which they become more goes
/// into [`Jobs::bulk`].
const SPARSE: usize = 32;

/// Batches that wait, and the workers that see to them.
///
/// Batches of peers that have little under way have a ring of their own, and do not wait behind all that
/// a peer has that sends, or is sent, as much as it can. A worker takes from both in turns where there is
/// something in both; so neither waits for ever, and a batch waits for as many of the other ring as are
/// before it in its own. (fq_codel has sparse flows go first with the same aim.) The order of a peer's
/// batches is its order queue's, whichever ring each went through.
struct Jobs<O: RcuObject> {
    sparse: CryptRing<O>,
    bulk: CryptRing<O>,
    /// Of both.
    workers: Workers,
}

impl<O: RcuObject> Jobs<O> {
    /// The next batch, of the ring whose turn it is if there seems to be one there. If there is none, both
    /// rings were looked at for certain.
    fn pop(&self, bulk_next: &Cell<bool>) -> Option<CryptJob<O>> {
        let bulk = bulk_next.get();
        let (first, second) = if bulk {
            (&self.bulk, &self.sparse)
        } else {
            (&self.sparse, &self.bulk)
        };
        if !first.seems_empty() {
            if let Some(job) = first.pop() {
                bulk_next.set(!bulk);
                return Some(job);
            }
        }
        second.pop().or_else(|| first.pop())
    }
}

/// A CPU's worker, while it runs.
pub(crate) struct Worker<'a, O: RcuObject> {
    jobs: &'a Jobs<O>,
    /// Whose work item this is.
    cpu: u32,
    /// Which ring's turn it is.
    bulk_next: Cell<bool>,
}

impl<'a, O: RcuObject> Worker<'a, O> {
    fn begin(jobs: &'a Jobs<O>, cpu: u32) -> Self {
        jobs.workers.began(cpu);
        Self {
            jobs,
            cpu,
            bulk_next: Cell::new(false),
        }
    }

    /// The next batch; `None` if the worker is to end, and not to ask again.
    pub(crate) fn next(&self) -> Option<CryptJob<O>> {
        let jobs = self.jobs;
        let job = jobs.pop(&self.bulk_next).or_else(|| {
            jobs.workers.ended(self.cpu);
            let late = jobs.pop(&self.bulk_next)?;
            jobs.workers.began(self.cpu);
            Some(late)
        })?;
        jobs.workers.taken(job.len());
        Some(job)
    }
}

/// What the workers of a stage share.
struct Shared<O: RcuObject> {
    jobs: Jobs<O>,
    task: KBox<dyn Task<O>>,
}

impl<O: RcuObject> PerCpuWorker for Shared<O> {
    fn run(ctx: &Self, cpu: u32) {
        ctx.task.run(&Worker::begin(&ctx.jobs, cpu));
    }
}

/// A stage of the data path.
pub(crate) struct Stage<O: RcuObject> {
    work: PerCpuWork<Shared<O>>,
    last_cpu: Atomic<i32>,
    most: usize,
}

impl<O: RcuObject> Stage<O> {
    /// A stage that does `task` in workers of `queue`. May sleep.
    ///
    /// It holds as many batches as its rings have room for, and an order queue. With `most` its bounds
    /// are as many messages as well: nothing is added where so many wait for a worker already (a quarter
    /// more, if it is of a peer that has little under way), or are under way in one order queue. A batch
    /// stays whole, so it may end above that.
    pub(crate) fn new(
        queue: Arc<WorkQueue>,
        task: KBox<dyn Task<O>>,
        most: Option<usize>,
    ) -> Result<Self> {
        let shared = Arc::new(
            Shared {
                jobs: Jobs {
                    sparse: CryptRing::new(MAX_QUEUED_PACKETS as u32)?,
                    bulk: CryptRing::new(MAX_QUEUED_PACKETS as u32)?,
                    workers: Workers::new(),
                },
                task,
            },
            GFP_KERNEL,
        )?;
        Ok(Self {
            work: new_percpu_work!(queue, shared, "wireguard::crypt")?,
            last_cpu: Atomic::new(-1),
            most: most.unwrap_or(usize::MAX),
        })
    }

    /// Has a batch worked on, and keeps its place in `order`. Calls another CPU's worker, unless
    /// those that are up are enough; says which. On an error see [`CryptRing::submit`];
    /// [`SubmitError::Full`] may also stand for the stage as a whole. Any context.
    #[inline]
    pub(crate) fn submit(
        &self,
        order: &OrderQueue<O>,
        batch: Batch<O>,
    ) -> Result<Option<u32>, SubmitError<O>> {
        let segments = batch.len();
        let jobs = &self.work.context().jobs;
        let (under_way, waiting) = (order.messages(), jobs.workers.waiting());
        let (ring, room) = if under_way + segments <= SPARSE {
            // What is above is theirs alone. Not more: messages can be long, and peers many.
            (&jobs.sparse, self.most.saturating_add(self.most / 4))
        } else {
            (&jobs.bulk, self.most)
        };
        if under_way >= self.most || waiting >= room {
            return Err(SubmitError::Full(batch));
        }
        ring.submit(order, batch)?;
        let next = || cpu::next_online(&self.last_cpu);
        let called = jobs
            .workers
            .submitted(segments, boottime_coarse_ns(), cpu::usable, next);
        if let Some(cpu) = called {
            self.work.enqueue_on(cpu);
        }
        Ok(called)
    }

    /// Workers that are up, or called; of CPUs that share a mark one. Any context.
    pub(crate) fn workers_up(&self) -> usize {
        self.work.context().jobs.workers.up() as usize
    }
}

/// What is known of a message's sender when it is queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// Nobody has asked.
    NotAsked = 0,
    /// He was asked to prove where he is, and has not.
    Missing = 1,
    /// He has proved where he is, and does not come too often.
    Given = 2,
}

/// What is done with the messages of a queue.
pub(crate) trait Handler: Send + Sync {
    /// Works on one message; `queued` wait, this one counted. Process context.
    fn handle(&self, message: SkBuff, proof: Proof, queued: usize);

    /// Drops messages unseen. Any context.
    fn purged(&self, messages: SkbList);
}

/// Messages that wait: a list for each [`Proof`], in each the oldest first.
struct Lists {
    by_proof: [SkbList; 3],
    /// Whose turn it is, where both wait.
    given_next: bool,
}

impl Lists {
    const EMPTY: Self = Self {
        by_proof: [const { SkbList::new() }; 3],
        given_next: true,
    };

    fn pop_from(&mut self, proof: Proof) -> Option<(SkBuff, Proof)> {
        Some((self.by_proof[proof as usize].pop_front()?, proof))
    }

    /// The next message. Those that nobody has asked came before the load, or after it. Of the others,
    /// each in turn: who has proved where he is does not wait behind a flood of those who have not, nor
    /// keeps he them from getting a cookie.
    fn pop(&mut self) -> Option<(SkBuff, Proof)> {
        let order = if self.given_next {
            [Proof::NotAsked, Proof::Given, Proof::Missing]
        } else {
            [Proof::NotAsked, Proof::Missing, Proof::Given]
        };
        let next = order.into_iter().find_map(|proof| self.pop_from(proof))?;
        if next.1 != Proof::NotAsked {
            self.given_next = next.1 == Proof::Missing;
        }
        Some(next)
    }
}

/// Messages that wait for a worker; bounded.
#[pin_data]
struct Messages {
    #[pin]
    queue: SpinLockBh<Lists>,
    /// Messages queued or being worked on: the measure of load.
    len: HotAtomic<u32>,
    handler: KBox<dyn Handler>,
}

impl PerCpuWorker for Messages {
    fn run(ctx: &Self, _cpu: u32) {
        loop {
            let Some((message, proof)) = ctx.queue.lock().pop() else {
                return;
            };
            ctx.handler.handle(message, proof, ctx.len());
            ctx.len.fetch_sub(1, Relaxed);
            cpu::cond_resched();
        }
    }
}

impl Messages {
    fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }
}

/// A queue of messages, and the workers that see to them.
pub(crate) struct MessageQueue {
    work: PerCpuWork<Messages>,
    last_cpu: Atomic<i32>,
}

impl MessageQueue {
    /// A queue whose messages go to `handler`, in workers of `queue`. May sleep.
    pub(crate) fn new(queue: Arc<WorkQueue>, handler: KBox<dyn Handler>) -> Result<Self> {
        let messages = Arc::pin_init(
            try_pin_init!(Messages {
                queue <- new_spinlock_bh!(Lists::EMPTY, "Messages::queue"),
                len: HotAtomic::new(0),
                handler,
            }? Error),
            GFP_KERNEL,
        )?;
        Ok(Self {
            work: new_percpu_work!(queue, messages, "wireguard::handshake_receive")?,
            last_cpu: Atomic::new(-1),
        })
    }

    /// Messages queued or being worked on. Any context.
    pub(crate) fn len(&self) -> usize {
        self.work.context().len()
    }

    /// Queues a message and calls a worker, on the CPU that is returned; hands the message back if there is no
    /// room, or the queue is contended while half full (then the sender floods, and a lock that many CPUs
    /// fight for would cost more than the message). Once anybody is asked for a proof, half of the room is
    /// for who has given one, and half for who has not. Any context.
    pub(crate) fn push(&self, message: SkBuff, proof: Proof) -> Result<u32, SkBuff> {
        let messages = self.work.context();
        let len = messages.len();
        if len >= MAX_QUEUED_INCOMING_HANDSHAKES {
            return Err(message);
        }
        let queue = if len > MAX_QUEUED_INCOMING_HANDSHAKES / 2 && proof != Proof::Given {
            messages.queue.try_lock()
        } else {
            Some(messages.queue.lock())
        };
        let Some(mut queue) = queue else {
            return Err(message);
        };
        let (len, given) = (messages.len(), queue.by_proof[Proof::Given as usize].len());
        let full = match proof {
            _ if len >= MAX_QUEUED_INCOMING_HANDSHAKES => true,
            Proof::NotAsked => false,
            Proof::Missing => len.saturating_sub(given) >= MAX_QUEUED_UNPROVEN,
            Proof::Given => given >= MAX_QUEUED_INCOMING_HANDSHAKES - MAX_QUEUED_UNPROVEN,
        };
        if full {
            return Err(message);
        }
        queue.by_proof[proof as usize].push_back(message);
        messages.len.fetch_add(1, Relaxed);
        drop(queue);
        let cpu = cpu::next_online(&self.last_cpu);
        self.work.enqueue_on(cpu);
        Ok(cpu)
    }

    /// Drops what is queued; what is being worked on goes on. Any context.
    pub(crate) fn purge(&self) {
        let messages = self.work.context();
        let lists = core::mem::replace(&mut *messages.queue.lock(), Lists::EMPTY);
        let mut list = SkbList::new();
        for of_proof in lists.by_proof {
            list.append(of_proof);
        }
        messages.len.fetch_sub(list.len() as u32, Relaxed);
        messages.handler.purged(list);
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;
