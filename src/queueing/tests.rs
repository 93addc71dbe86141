// SPDX-License-Identifier: GPL-2.0
//! Tests of the stages and of the queue of messages: who waits for whom, and what there is room for.
//!
//! A module in a module, as the macro of the kernel's KUnit wants the body where it stands.

#[kernel::macros::kunit_tests(wg_queueing)]
mod suite {
    use super::super::*;
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

    /// A stage whose workers are held, and three order queues.
    struct Bench {
        go: Arc<Completion>,
        queue: Arc<WorkQueue>,
        stage: Stage<Owner>,
        one: Order,
        other: Order,
        third: Order,
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
                third: KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?,
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
            for order in [&self.one, &self.other, &self.third] {
                let _ = Self::consume(order);
            }
        }
    }

    /// One message more than a peer has under way that has little.
    const BULK: usize = SPARSE + 1;

    /// Messages that nobody has begun with are everybody's who has much under way.
    #[test]
    fn bounded_in_messages_that_wait() -> Result {
        let bench = Bench::new(Some(2 * BULK + 1))?;
        for order in [&bench.one, &bench.other, &bench.one] {
            // Less than that wait.
            assert!(bench.submit(order, BULK)?);
        }
        for messages in [1, BULK] {
            // More than that wait.
            assert!(!bench.submit(&bench.one, messages)?);
            // Whosever they are.
            assert!(!bench.submit(&bench.other, messages)?);
        }
        bench.work();
        // None waits.
        assert!(bench.submit(&bench.one, BULK)?);
        bench.work();
        assert_eq!(Bench::consume(&bench.one)?, 3);
        assert_eq!(Bench::consume(&bench.other)?, 1);
        Ok(())
    }

    /// Where there is no room for who has much under way, there is a quarter more for those who have little.
    #[test]
    fn room_for_who_has_little() -> Result {
        let bench = Bench::new(Some(4 * BULK))?;
        for _ in 0..4 {
            assert!(bench.submit(&bench.one, BULK)?);
        }
        assert!(!bench.submit(&bench.other, BULK)?);
        for n in 0..SPARSE {
            assert_eq!(bench.other.messages(), n);
            assert!(bench.submit(&bench.other, 1)?);
        }
        // It has much under way now.
        assert!(!bench.submit(&bench.other, 1)?);
        assert!(bench.submit(&bench.third, 1)?);
        // That is all there is room for.
        assert!(!bench.submit(&bench.third, 1)?);
        bench.work();
        assert_eq!(Bench::consume(&bench.one)?, 4);
        assert_eq!(Bench::consume(&bench.other)?, SPARSE);
        assert_eq!(Bench::consume(&bench.third)?, 1);
        Ok(())
    }

    /// Who has little under way waits for one batch, and not for all of who has much; who has much waits
    /// for one of those at a time.
    #[test]
    fn in_turns() -> Result {
        let bench = Bench::new(None)?;
        for _ in 0..4 {
            assert!(bench.submit(&bench.one, BULK)?);
        }
        for _ in 0..6 {
            assert!(bench.submit(&bench.other, 1)?);
        }
        // Beside those that are held.
        let worker = Worker::begin(&bench.stage.work.context().jobs, 0);
        let mut taken = 0;
        for messages in [1, BULK, 1, BULK, 1, BULK, 1, BULK, 1, 1] {
            let job = worker.next().ok_or(EINVAL)?;
            assert_eq!(job.len(), messages);
            drop(job.finish());
            taken += 1;
        }
        assert_eq!(taken, 10);
        assert!(worker.next().is_none());
        bench.work();
        assert_eq!(Bench::consume(&bench.one)?, 4);
        assert_eq!(Bench::consume(&bench.other)?, 6);
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
