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
    most: usize,
}

impl<O: RcuObject> Stage<O> {
    /// A stage that does `task` in workers of `queue`. May sleep.
    ///
    /// It holds as many batches as its ring has room for, and an order queue. With `most` its bounds
    /// are as many messages as well: nothing is added where so many wait for a worker already, or are
    /// under way in one order queue. A batch stays whole, so it may end above that.
    pub(crate) fn new(
        queue: Arc<WorkQueue>,
        task: KBox<dyn Task<O>>,
        most: Option<usize>,
    ) -> Result<Self> {
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
        if order.messages().max(jobs.workers.waiting()) >= self.most {
            return Err(SubmitError::Full(batch));
        }
        jobs.ring.submit(order, batch)?;
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
#[kernel::macros::kunit_tests(wg_queueing)]
mod tests {
    use super::*;
    use kernel::sync::Completion;
    use wgk::{
        batch::{
            Done,
            MAX_BATCHES, //
        },
        rcu::RcuArc,
        workqueue::WqFlags, //
    };

    /// Who has proved where he is and who has not take turns, each the oldest first; who was not asked
    /// came before.
    #[test]
    fn turns() -> Result {
        let mut lists = Lists::EMPTY;
        let waiting = [
            (Proof::Missing, 1),
            (Proof::Missing, 2),
            (Proof::Missing, 3),
            (Proof::Given, 4),
            (Proof::Given, 5),
            (Proof::NotAsked, 6),
        ];
        for (proof, len) in waiting {
            let message = SkBuff::with_payload(&[0; 6][..len], 0, GFP_KERNEL)?;
            lists.by_proof[proof as usize].push_back(message);
        }
        for (proof, len) in [
            (Proof::NotAsked, 6),
            (Proof::Given, 4),
            (Proof::Missing, 1),
            (Proof::Given, 5),
            (Proof::Missing, 2),
            (Proof::Missing, 3),
        ] {
            let (message, of) = lists.pop().ok_or(EINVAL)?;
            assert_eq!((of, message.len()), (proof, len));
            message.consume();
        }
        assert!(lists.pop().is_none());
        Ok(())
    }

    struct Owner;

    impl RcuObject for Owner {}

    /// Does not begin before it is told to, once for all.
    struct Held(Arc<Completion>);

    impl Task<Owner> for Held {
        fn run(&self, worker: &Worker<'_, Owner>) {
            self.0.wait_for_completion();
            while let Some(job) = worker.next() {
                drop(job.finish());
            }
        }
    }

    type Order = Pin<KBox<OrderQueue<Owner>>>;

    /// A stage whose workers are held, and two order queues.
    struct Bench {
        go: Arc<Completion>,
        queue: Arc<WorkQueue>,
        stage: Stage<Owner>,
        one: Order,
        other: Order,
    }

    impl Bench {
        fn new(most: Option<usize>) -> Result<Self> {
            let go = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
            let queue = WorkQueue::alloc(fmt!("wg-queueing"), WqFlags::PERCPU, 0)?;
            let queue = Arc::new(queue, GFP_KERNEL)?;
            let task = KBox::new(Held(go.clone()), GFP_KERNEL)?;
            Ok(Self {
                stage: Stage::new(queue.clone(), task, most)?,
                go,
                queue,
                one: KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?,
                other: KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?,
            })
        }

        /// Whether a batch of so many messages is taken. If not, it must come back whole.
        fn submit(&self, order: &Order, messages: usize) -> Result<bool> {
            let mut list = SkbList::new();
            for _ in 0..messages {
                list.push_back(SkBuff::with_payload(&[0], 0, GFP_KERNEL)?);
            }
            let owner = RcuArc::new(Owner, GFP_KERNEL)?;
            let batch = Batch::new(list, owner, 0).ok_or(EINVAL)?;
            match self.stage.submit(order, batch) {
                Ok(_) => Ok(true),
                Err(SubmitError::Full(batch)) if batch.len() == messages => Ok(false),
                Err(_) => Err(EINVAL),
            }
        }

        /// Has the workers do what there is.
        fn work(&self) {
            self.go.complete_all();
            self.queue.flush();
        }

        /// Takes all that is done; how many batches that was.
        fn consume(order: &Order) -> Result<usize> {
            let mut consumer = order.try_consume().ok_or(EINVAL)?;
            let mut batches = 0;
            while let Some(Done::Ok(_)) = consumer.next() {
                batches += 1;
            }
            Ok(batches)
        }
    }

    impl Drop for Bench {
        /// Also if a test fails: a worker that is held would be for ever, and order queues are to be
        /// empty.
        fn drop(&mut self) {
            self.work();
            let _ = (Self::consume(&self.one), Self::consume(&self.other));
        }
    }

    /// Messages that nobody has begun with are everybody's.
    #[test]
    fn bounded_in_messages_that_wait() -> Result {
        let bench = Bench::new(Some(10))?;
        for order in [&bench.one, &bench.other, &bench.one] {
            // Less than ten wait.
            assert!(bench.submit(order, 4)?);
        }
        for messages in [1, 4] {
            // Twelve wait.
            assert!(!bench.submit(&bench.one, messages)?);
            // Whosever they are.
            assert!(!bench.submit(&bench.other, messages)?);
        }
        bench.work();
        // None waits.
        assert!(bench.submit(&bench.one, 4)?);
        bench.work();
        assert_eq!(Bench::consume(&bench.one)?, 3);
        assert_eq!(Bench::consume(&bench.other)?, 1);
        Ok(())
    }

    /// Those that are done and not consumed are their order queue's.
    #[test]
    fn bounded_in_messages_under_way() -> Result {
        let bench = Bench::new(Some(10))?;
        for messages in [3, 7] {
            assert!(bench.submit(&bench.one, messages)?);
        }
        bench.work();
        // Ten are under way.
        assert!(!bench.submit(&bench.one, 1)?);
        // None of these is.
        assert!(bench.submit(&bench.other, 30)?);
        bench.work();
        // Thirty are.
        assert!(!bench.submit(&bench.other, 1)?);
        assert_eq!(Bench::consume(&bench.one)?, 2);
        // None is any more.
        assert!(bench.submit(&bench.one, 1)?);
        bench.work();
        assert_eq!(Bench::consume(&bench.one)?, 1);
        assert_eq!(Bench::consume(&bench.other)?, 1);
        Ok(())
    }

    /// In batches, a burst counts as one.
    #[test]
    fn bounded_in_batches() -> Result {
        let bench = Bench::new(None)?;
        for n in 0..MAX_BATCHES {
            assert!(bench.submit(&bench.one, if n < 9 { 100 } else { 1 })?);
        }
        assert!(!bench.submit(&bench.one, 1)?);
        bench.work();
        assert!(!bench.submit(&bench.one, 1)?);
        assert_eq!(Bench::consume(&bench.one)?, MAX_BATCHES as usize);
        assert!(bench.submit(&bench.one, 1)?);
        Ok(())
    }
}
