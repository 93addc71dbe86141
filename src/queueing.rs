// SPDX-License-Identifier: GPL-2.0
//! Stages of work that all CPUs share: a bounded queue, and a worker on each CPU that takes from it.
//!
//! A [`Stage`] has batches encrypted or decrypted, a [`MessageQueue`] has single messages worked
//! on. What is done with them is told when they are made ([`Task`], [`Handler`]); so this file knows
//! nothing of peers or devices. How many CPUs are woken for a stage is decided in `workers.rs`.

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
        MAX_QUEUED_PACKETS, //
    },
    workers::Workers, //
};

/// What a stage does with its batches.
pub(crate) trait Task<O: RcuObject>: Send + Sync {
    /// Takes batches until there are none (it must not end before), and sees to what is finished.
    /// Process context.
    fn run(&self, worker: &Worker<'_, O>);
}

/// Batches that wait, and the workers that see to them.
struct Jobs<O: RcuObject> {
    ring: CryptRing<O>,
    workers: Workers,
}

/// A CPU's worker, while it runs.
pub(crate) struct Worker<'a, O: RcuObject> {
    jobs: &'a Jobs<O>,
    /// Whose work item this is.
    cpu: u32,
}

impl<'a, O: RcuObject> Worker<'a, O> {
    fn begin(jobs: &'a Jobs<O>, cpu: u32) -> Self {
        jobs.workers.began(cpu);
        Self { jobs, cpu }
    }

    /// The next batch; `None` if the worker is to end, and not to ask again.
    pub(crate) fn next(&self) -> Option<CryptJob<O>> {
        let Jobs { ring, workers } = self.jobs;
        let job = ring.pop().or_else(|| {
            workers.ended(self.cpu);
            let late = ring.pop()?;
            workers.began(self.cpu);
            Some(late)
        })?;
        workers.taken(job.len());
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
}

impl<O: RcuObject> Stage<O> {
    /// A stage that does `task` in workers of `queue`. May sleep.
    pub(crate) fn new(queue: Arc<WorkQueue>, task: KBox<dyn Task<O>>) -> Result<Self> {
        let shared = Arc::new(
            Shared {
                jobs: Jobs {
                    ring: CryptRing::new(MAX_QUEUED_PACKETS as u32)?,
                    workers: Workers::new(),
                },
                task,
            },
            GFP_KERNEL,
        )?;
        Ok(Self {
            work: new_percpu_work!(queue, shared, "wireguard::crypt")?,
            last_cpu: Atomic::new(-1),
        })
    }

    /// Messages that wait for a worker, roughly.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.work.context().jobs.workers.waiting()
    }

    /// Has a batch worked on, and keeps its place in `order`. Calls another CPU's worker, unless
    /// those that are up are enough. On an error see [`CryptRing::submit`]. Any context.
    #[inline]
    pub(crate) fn submit(
        &self,
        order: &OrderQueue<O>,
        batch: Batch<O>,
    ) -> Result<(), SubmitError<O>> {
        let segments = batch.len();
        let jobs = &self.work.context().jobs;
        jobs.ring.submit(order, batch)?;
        let next = || cpu::next_online(&self.last_cpu);
        let called = jobs
            .workers
            .submitted(segments, boottime_coarse_ns(), cpu::usable, next);
        if let Some(cpu) = called {
            self.work.enqueue_on(cpu);
        }
        Ok(())
    }
}

/// What is done with the messages of a queue.
pub(crate) trait Handler: Send + Sync {
    /// Works on one message; `queued` wait, this one counted. Process context.
    fn handle(&self, message: SkBuff, queued: usize);

    /// So many were dropped unseen. Any context.
    fn purged(&self, messages: usize);
}

/// Messages that wait for a worker; bounded, oldest first.
#[pin_data]
struct Messages {
    #[pin]
    queue: SpinLockBh<SkbList>,
    /// Messages queued or being worked on: the measure of load.
    len: HotAtomic<u32>,
    handler: KBox<dyn Handler>,
}

impl PerCpuWorker for Messages {
    fn run(ctx: &Self, _cpu: u32) {
        loop {
            let Some(message) = ctx.queue.lock().pop_front() else {
                return;
            };
            ctx.handler.handle(message, ctx.len());
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
                queue <- new_spinlock_bh!(SkbList::new(), "Messages::queue"),
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

    /// Queues a message and calls a worker; hands the message back if there are `room` already, or
    /// the queue is contended while half full (then the sender floods, and a lock that many CPUs
    /// fight for would cost more than the message). Any context.
    pub(crate) fn push(&self, message: SkBuff, room: usize) -> Result<(), SkBuff> {
        let messages = self.work.context();
        let len = messages.len();
        if len >= room {
            return Err(message);
        }
        let queue = if len > MAX_QUEUED_INCOMING_HANDSHAKES / 2 {
            messages.queue.try_lock()
        } else {
            Some(messages.queue.lock())
        };
        let Some(mut queue) = queue else {
            return Err(message);
        };
        if queue.len() >= room {
            return Err(message);
        }
        queue.push_back(message);
        messages.len.fetch_add(1, Relaxed);
        drop(queue);
        self.work.enqueue_on(cpu::next_online(&self.last_cpu));
        Ok(())
    }

    /// Drops what is queued; what is being worked on goes on. Any context.
    pub(crate) fn purge(&self) {
        let messages = self.work.context();
        let list = messages.queue.lock().take();
        messages.len.fetch_sub(list.len() as u32, Relaxed);
        messages.handler.purged(list.len());
    }
}
