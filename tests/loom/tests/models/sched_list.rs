// SPDX-License-Identifier: GPL-2.0
//! The list of objects that have something to do: nothing is overlooked, lost or served twice.
//! What the driver's `RxContext` (src/napis.rs) does with it.

use loom::{
    sync::{
        atomic::{
            AtomicUsize,
            Ordering::Relaxed, //
        },
        Arc, //
    },
    thread, //
};
use wireguard_rs_loom::{
    alloc::GFP_KERNEL,
    kernel::prelude::made,
    model,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    sched_list::{
        impl_has_sched_node,
        SchedList,
        SchedNode,
        SchedQueue, //
    },
    Times, //
};

/// A peer, in effect: two producers leave work with it.
struct Item {
    id: usize,
    /// Relaxed, so that nothing but the list makes it visible.
    left: [AtomicUsize; 2],
    node: SchedNode,
}

impl RcuObject for Item {}
impl_has_sched_node! { impl HasSchedNode for Item { self.node } }

fn item(id: usize) -> RcuArc<Item> {
    let item = Item {
        id,
        left: [AtomicUsize::new(0), AtomicUsize::new(0)],
        node: made(SchedNode::new()),
    };
    RcuArc::new(item, GFP_KERNEL).unwrap()
}

/// Serves what is queued, and notes what was seen of the work; how many there were.
fn serve(queue: &mut SchedQueue<Item>, seen: &mut [usize; 2]) -> usize {
    queue
        .inspect(|item| {
            assert!(item.node.begin(), "handed out and not taken");
            for (seen, left) in seen.iter_mut().zip(&item.left) {
                *seen = (*seen).max(left.load(Relaxed));
            }
        })
        .count()
}

/// Two producers, one object: who finds it scheduled relies on the other's push.
#[test]
fn work_is_never_overlooked() {
    let [empty, full, again] = [(); 3].map(|()| Times::default());
    let (e, f, a) = (empty.clone(), full.clone(), again.clone());
    model(3, move || {
        let list = Arc::new(SchedList::<Item>::new());
        let object = item(0);
        let producers = [0, 1].map(|n| {
            let (list, object) = (list.clone(), object.clone());
            thread::spawn(move || {
                object.left[n].store(1, Relaxed);
                list.push(object)
            })
        });
        let mut seen = [0; 2];
        let mut queue = list.take_all();
        match serve(&mut queue, &mut seen) {
            0 => e.count(),
            _ => f.count(),
        }
        queue.refill(&list);
        if serve(&mut queue, &mut seen) != 0 && seen == [1, 1] {
            a.count();
        }
        let listed = producers.map(|p| p.join().unwrap());
        assert!(listed.contains(&true));
        // Only what is still scheduled is served; the rest must have been seen.
        queue.refill(&list);
        serve(&mut queue, &mut seen);
        assert_eq!(seen, [1, 1], "work was overlooked");
        assert!(list.is_empty() && list.push(object), "still scheduled");
    });
    empty.must_not_be_none("the consumer came first");
    full.must_not_be_none("the consumer found something at first");
    again.must_not_be_none("the consumer had to come twice");
}

/// Two producers make what they push: the consumer sees whole objects, each once, those of one
/// producer in its order, and none is left.
#[test]
fn nothing_is_lost_or_served_twice() {
    let [full, both] = [(); 2].map(|()| Times::default());
    let (f, b) = (full.clone(), both.clone());
    model(2, move || {
        let list = Arc::new(SchedList::<Item>::new());
        let producers = [vec![0, 1], vec![2]].map(|ids| {
            let list = list.clone();
            thread::spawn(move || ids.into_iter().for_each(|id| assert!(list.push(item(id)))))
        });
        let mut order = vec![];
        let mut queue = list.take_all();
        let take = |queue: &mut SchedQueue<Item>, order: &mut Vec<usize>| {
            order.extend(queue.inspect(|o| assert!(o.node.begin())).map(|o| o.id));
        };
        take(&mut queue, &mut order);
        if !order.is_empty() {
            f.count();
        }
        if order.len() == 3 {
            b.count();
        }
        for producer in producers {
            producer.join().unwrap();
        }
        queue.refill(&list);
        take(&mut queue, &mut order);
        let at = |id| order.iter().position(|o| *o == id);
        assert!(at(0) < at(1), "{order:?}");
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
    });
    full.must_not_be_none("the consumer found something at first");
    both.must_not_be_none("the consumer came last");
}

/// Who has a reference may call what it likes: another thread begins the object that a consumer was
/// handed, and lists it elsewhere. The consumer's queue stays whole.
#[test]
fn others_may_begin_and_push() {
    let begun = Times::default();
    let b = begun.clone();
    model(3, move || {
        let (list, other) = (SchedList::<Item>::new(), Arc::new(SchedList::new()));
        let objects = [item(0), item(1)];
        for object in &objects {
            assert!(list.push(object.clone()));
        }
        let stranger = {
            let (other, object) = (other.clone(), objects[0].clone());
            thread::spawn(move || object.node.begin() && other.push(object))
        };
        let mut queue = list.take_all();
        let ids = [queue.next(), queue.next()].map(|o| o.unwrap().id);
        assert_eq!((ids, queue.is_empty()), ([0, 1], true));
        if stranger.join().unwrap() {
            b.count();
            assert_eq!(other.take_all().next().unwrap().id, 0);
        }
        for object in &objects {
            object.node.begin();
        }
    });
    begun.must_not_be_none("the other began it");
}
