// SPDX-License-Identifier: GPL-2.0
//! Batches: worked on by anyone, delivered once, whole, and in the order of their submission.

use loom::{
    sync::Arc,
    thread, //
};
use wireguard_rs_loom::{
    alloc::GFP_KERNEL,
    atomic::{
        Atomic,
        Full, //
    },
    batch::{
        Batch,
        Consumer,
        ConsumerCell,
        CryptJob,
        CryptRing,
        Done,
        OrderQueue,
        SubmitError,
        Taken, //
    },
    kernel::prelude::boxed,
    model,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    skb_list::SkbList,
    skbuff::SkBuff,
    Times, //
};

/// What workers add to a packet.
const SEALED: u32 = 100;

struct Owner;
impl RcuObject for Owner {}

/// A batch with these packets, whose nonces are what is in them.
fn batch(values: &[u32]) -> Batch<Owner> {
    let mut list = SkbList::new();
    for value in values {
        list.push_back(SkBuff::new(*value));
    }
    let owner = RcuArc::new(Owner, GFP_KERNEL).unwrap();
    Batch::new(list, owner, values[0].into()).unwrap()
}

fn seal(mut job: CryptJob<Owner>) {
    for (nonce, mut segment) in job.segments_mut() {
        segment.update(|value| {
            assert_eq!(u64::from(value), nonce);
            value + SEALED
        });
    }
    job.finish();
}

/// A device with one peer.
struct Path {
    ring: CryptRing<Owner>,
    order: Box<OrderQueue<Owner>>,
}

impl Path {
    fn new(capacity: u32) -> Self {
        Self {
            ring: CryptRing::new(capacity).unwrap(),
            order: boxed(OrderQueue::new()),
        }
    }

    fn submit(&self, values: &[u32]) -> Result<(), SubmitError<Owner>> {
        self.ring.submit(&self.order, batch(values))
    }

    /// Works on a batch, if there is one.
    fn work(&self) -> bool {
        self.ring.pop().map(seal).is_some()
    }

    /// Takes all batches that can be, if there is no consumer; their packets, as they were before.
    fn consume(&self, most: usize) -> Vec<u32> {
        let mut values = vec![];
        let Some(mut consumer) = self.order.try_consume() else {
            return values;
        };
        for _ in 0..most {
            match consumer.next() {
                None => break,
                Some(Done::Dead(batch)) => drop(batch),
                Some(Done::Ok(batch)) => {
                    let (mut list, _owner, nonce) = batch.into_parts();
                    while let Some(skb) = list.pop_front() {
                        values.push(skb.value() - SEALED);
                    }
                    assert_eq!(u64::from(values[values.len() - 1]), nonce);
                }
            }
        }
        values
    }

    /// The same packet by packet.
    fn consume_packet(&self) -> Option<u32> {
        match self.order.try_consume()?.take_segment()? {
            Taken::Dead(_) | Taken::Lost(..) => panic!("nothing is given up"),
            Taken::Packet { skb, nonce, .. } => {
                assert_eq!(u64::from(skb.value()), nonce + u64::from(SEALED));
                Some(skb.value() - SEALED)
            }
        }
    }
}

/// Two workers, each with a batch; the consumer never overtakes them, nor the batches each other.
#[test]
fn worked_on_by_two_delivered_in_order() {
    let [none, first, both] = [(); 3].map(|()| Times::default());
    let (n, f, b) = (none.clone(), first.clone(), both.clone());
    model(2, move || {
        let path = Arc::new(Path::new(2));
        for values in [1, 2] {
            assert!(path.submit(&[values]).is_ok());
        }
        let workers = [(); 2].map(|()| {
            let path = path.clone();
            thread::spawn(move || path.work())
        });
        let mut seen = path.consume(9);
        match seen[..] {
            [] => n.count(),
            [_] => f.count(),
            _ => b.count(),
        }
        for worker in workers {
            worker.join().unwrap();
        }
        // What the one could not take, for the other was at it.
        path.work();
        seen.extend(path.consume(9));
        assert_eq!(seen, [1, 2]);
    });
    none.must_not_be_none("the consumer came first");
    first.must_not_be_none("only the first batch was ready");
    both.must_not_be_none("the consumer came last");
}

/// Two producers and a consumer, who empties the queue now and then.
#[test]
fn submitted_by_two() {
    let [early, middle] = [(); 2].map(|()| Times::default());
    let (e, m) = (early.clone(), middle.clone());
    model(2, move || {
        let path = Arc::new(Path::new(4));
        assert!(path.submit(&[1]).is_ok());
        path.work();
        let producers = [2, 4].map(|value| {
            let path = path.clone();
            thread::spawn(move || {
                assert!(path.submit(&[value]).is_ok());
                path.work();
            })
        });
        let mut seen = path.consume(9);
        if seen == [1] {
            e.count();
        }
        seen.extend(path.consume(9));
        if seen.len() == 2 {
            m.count();
        }
        for producer in producers {
            producer.join().unwrap();
        }
        path.work();
        path.work();
        seen.extend(path.consume(9));
        assert_eq!(seen[0], 1, "{seen:?}");
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 4], "each once");
        assert!(path.order.is_empty());
    });
    early.must_not_be_none("the consumer emptied the queue before the others came");
    middle.must_not_be_none("the consumer came between the two");
}

/// One producer goes on while the consumer has the last batch in hand.
#[test]
fn the_last_leaves_as_another_comes() {
    model(3, || {
        let path = Arc::new(Path::new(4));
        assert!(path.submit(&[1]).is_ok());
        path.work();
        let producer = {
            let path = path.clone();
            thread::spawn(move || {
                for value in [2, 3] {
                    assert!(path.submit(&[value]).is_ok());
                    path.work();
                }
            })
        };
        let mut seen = path.consume(1);
        seen.extend(path.consume(1));
        producer.join().unwrap();
        seen.extend(path.consume(9));
        assert_eq!(seen, [1, 2, 3]);
    });
}

/// Two want to be the consumer: one at a time is, and goes on where the other was.
#[test]
fn one_consumer_at_a_time() {
    let [one, two, refused] = [(); 3].map(|()| Times::default());
    let (o, t, r) = (one.clone(), two.clone(), refused.clone());
    model(3, move || {
        let path = Arc::new(Path::new(2));
        assert!(path.submit(&[1, 2]).is_ok());
        assert!(path.submit(&[3]).is_ok());
        path.work();
        path.work();
        let other = {
            let path = path.clone();
            thread::spawn(move || path.consume_packet())
        };
        let here = path.consume_packet();
        let there = other.join().unwrap();
        let mut seen: Vec<u32> = here.into_iter().chain(there).collect();
        match (here, there) {
            (Some(1), Some(2)) => o.count(),
            (Some(2), Some(1)) => t.count(),
            _ => r.count(),
        }
        seen.sort_unstable();
        while let Some(value) = path.consume_packet() {
            seen.push(value);
        }
        assert_eq!(seen, [1, 2, 3]);
    });
    one.must_not_be_none("one came first");
    two.must_not_be_none("the other came first");
    refused.must_not_be_none("one was refused");
}

/// The ring is full, with a batch of another peer: the batch is dead, and freed by the consumer when
/// its producer is done with it.
#[test]
fn no_room_in_the_ring() {
    let [early, late] = [(); 2].map(|()| Times::default());
    let (e, l) = (early.clone(), late.clone());
    model(3, move || {
        let path = Arc::new(Path::new(1));
        assert!(path.submit(&[1]).is_ok());
        let other = Arc::new(boxed(OrderQueue::new()));
        let producer = {
            let (path, other) = (path.clone(), other.clone());
            thread::spawn(move || {
                let result = path.ring.submit(&other, batch(&[2]));
                assert!(matches!(result, Err(SubmitError::RingFull)));
            })
        };
        let consume = || match other.try_consume().unwrap().next() {
            Some(Done::Dead(batch)) => drop(batch),
            Some(Done::Ok(_)) => panic!("nobody has worked on it"),
            None => {}
        };
        consume();
        if other.is_empty() {
            // Not there yet, or gone.
            e.count();
        } else {
            l.count();
        }
        producer.join().unwrap();
        consume();
        assert!(other.is_empty());
        path.work();
        assert_eq!(path.consume(9), [1]);
    });
    early.must_not_be_none("the consumer freed it, or came too early");
    late.must_not_be_none("it was in the queue and not dead yet");
}

/// A peer whose batches are sent by a work item, or by who seals them.
struct Sender {
    path: Path,
    /// What was sent.
    sent: ConsumerCell<Owner, Vec<u32>>,
    /// Whether the work item is queued, as C has it: who queues it and the thread that is about to
    /// run it exchange a bit, each fully ordered whatever it finds.
    queued: Atomic<bool>,
}

impl Sender {
    fn new() -> Arc<Self> {
        let path = Path::new(4);
        Arc::new(Self {
            sent: ConsumerCell::new(&path.order, vec![]),
            path,
            queued: Atomic::new(false),
        })
    }

    fn send(&self, consumer: &mut Consumer<'_, Owner>) -> usize {
        let mut count = 0;
        while let Some(done) = consumer.next() {
            let Done::Ok(batch) = done else {
                panic!("all are sealed");
            };
            let value = batch.into_parts().0.pop_front().unwrap().value();
            self.sent.get(consumer).unwrap().push(value - SEALED);
            count += 1;
        }
        count
    }

    fn call(&self) {
        self.queued.xchg(true, Full);
    }

    /// What a worker does with one batch, if there is one.
    fn work(&self) {
        if self.path.work() {
            self.call();
        }
    }

    /// Runs the work item, if it is queued; how many batches it sent, or that it came in vain. To be
    /// called by one thread at a time.
    fn run(&self) -> Option<Result<usize, ()>> {
        self.queued.xchg(false, Full).then(|| {
            let mut consumer = self.path.order.try_consume().ok_or(())?;
            Ok(self.send(&mut consumer))
        })
    }

    /// Seals and sends a batch here. How many were sent; `None` if somebody else was at it.
    fn here(&self, value: u32) -> Option<usize> {
        let Ok(job) = CryptJob::begin(&self.path.order, batch(&[value])) else {
            panic!("there is room");
        };
        seal(job);
        let mut count = None;
        if self
            .path
            .order
            .consume_for(|consumer| count = Some(self.send(consumer)))
        {
            self.call();
        }
        count
    }

    /// Nothing waits but what has been called for; all that was sent.
    fn settle(&self) -> Vec<u32> {
        // What was submitted to a worker was worth a call of one.
        while self.path.work() {
            self.call();
        }
        while self.run().is_some() {}
        assert!(self.path.order.is_empty(), "forgotten");
        let mut consumer = self.path.order.try_consume().unwrap();
        self.sent.get(&mut consumer).unwrap().clone()
    }
}

/// One batch is with a worker when the next is sealed and sent by who submits it: it does not
/// overtake, and nothing stays, although the work item may come while somebody else sends.
#[test]
fn sent_here_behind_a_worker() {
    let [own, both, vain, busy] = [(); 4].map(|()| Times::default());
    let (o, b, v, y) = (own.clone(), both.clone(), vain.clone(), busy.clone());
    model(2, move || {
        let sender = Sender::new();
        assert!(sender.path.submit(&[1]).is_ok());
        let worker = {
            let sender = sender.clone();
            thread::spawn(move || {
                sender.work();
                sender.run()
            })
        };
        let here = sender.here(2);
        match here {
            Some(0) => o.count(),
            Some(2) => b.count(),
            None => y.count(),
            // The work item had sent the first one.
            Some(_) => {}
        }
        if worker.join().unwrap() == Some(Err(())) {
            v.count();
        }
        assert_eq!(sender.settle(), [1, 2]);
    });
    own.must_not_be_none("the first one was not sealed");
    both.must_not_be_none("both were sent there");
    vain.must_not_be_none("the work item came in vain");
    busy.must_not_be_none("the work item was at it");
}

/// A batch is sealed and sent by who submits it while others come, by way of a worker: what the work
/// item came for in vain is not forgotten.
#[test]
fn others_come_while_sent_here() {
    let [vain, again] = [(); 2].map(|()| Times::default());
    let (v, a) = (vain.clone(), again.clone());
    model(3, move || {
        let sender = Sender::new();
        let other = {
            let sender = sender.clone();
            thread::spawn(move || {
                assert!(sender.path.submit(&[2]).is_ok());
                sender.work();
                sender.run()
            })
        };
        let here = sender.here(1);
        if other.join().unwrap() == Some(Err(())) {
            v.count();
            if here == Some(1) {
                a.count();
            }
        }
        let mut sent = sender.settle();
        sent.sort_unstable();
        assert_eq!(sent, [1, 2], "each once");
    });
    vain.must_not_be_none("the work item came in vain");
    again.must_not_be_none("there was something left for it");
}

/// Two submit, seal and send at once, one of them twice: its own in order.
#[test]
fn two_send_here() {
    let busy = Times::default();
    let b = busy.clone();
    model(2, move || {
        let sender = Sender::new();
        let other = {
            let sender = sender.clone();
            thread::spawn(move || [1, 2].map(|value| sender.here(value)))
        };
        let mut here = vec![sender.here(3)];
        here.extend(other.join().unwrap());
        if here.contains(&None) {
            b.count();
        }
        let mut sent = sender.settle();
        let at = |value| sent.iter().position(|v| *v == value);
        assert!(at(1) < at(2), "{sent:?}");
        sent.sort_unstable();
        assert_eq!(sent, [1, 2, 3], "each once");
    });
    busy.must_not_be_none("one found the other at it");
}
