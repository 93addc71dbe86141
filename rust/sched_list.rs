// SPDX-License-Identifier: GPL-2.0

//! A lock-free list of objects that have something to do.
//!
//! Many producers push, one consumer takes all and serves them in the order of their coming. An
//! object is on the list at most once, however often it is pushed.
//!
//! # Protocol
//!
//! A producer leaves what is to be done where the consumer looks for it, *then* calls
//! [`SchedList::push`]. The consumer takes objects from [`SchedQueue`]; for each it calls
//! [`SchedNode::begin`] and *then* looks. What a producer left is never overlooked:
//!
//! - If its `push` comes before `begin` (in the order in which they change the node's state), it
//!   finds the object scheduled and leaves it so. Both are read-modify-write operations, `push`
//!   with release and `begin` with acquire semantics, so what the producer left before `push` is
//!   seen after `begin`.
//! - If it comes after, it finds the object idle and puts it on the list again, so that the
//!   consumer gets it once more.
//!
//! # States
//!
//! A node is idle (0), listed (`SCHEDULED`: on a list or queue, which owns a reference to the
//! object and alone uses the link), or taken (`SCHEDULED | TAKEN`: handed out, not on any list).
//! Idle to listed by `push`, to taken by the queue, to idle by `begin`; all by atomic operations on
//! the one word. So whoever calls these methods in whatever
//! order, a node is never linked twice: `begin` does nothing unless the node is taken, and `push`
//! nothing unless it is idle.
//!
//! Any context. Cf. [`include/linux/llist.h`](srctree/include/linux/llist.h).
//!
//! Safety review: `Documentation/safety.md#sched_listrs`.

use crate::{
    atomic::{
        Acquire,
        Full,
        HotAtomic,
        Relaxed,
        Release, //
    },
    field::HasField,
    rcu::{
        RcuArc,
        RcuObject, //
    },
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::prelude::*;

/// Says which field is the node.
///
/// ```ignore
/// impl_has_sched_node! { impl HasSchedNode for Peer { self.node } }
/// ```
///
/// With more than one in an object, `HasSchedNode<1>` is the one of type `SchedNode<1>`, for lists
/// of type `SchedList<Peer, 1>`.
#[macro_export]
macro_rules! impl_has_sched_node {
    ($(impl HasSchedNode$(<$id:tt>)? for $self:ty { self.$field:ident })*) => {$(
        $crate::field::impl_has_field! {
            impl HasField<$crate::sched_list::SchedNode$(<$id>)?> for $self { self.$field }
        }
    )*};
}
pub use impl_has_sched_node;

/// The node is on a list, or taken and not begun.
const SCHEDULED: u32 = 1;
/// The node was handed out and not begun.
const TAKEN: u32 = 2;

/// What makes an object fit for a [`SchedList`].
///
/// # Invariants
///
/// `next` is only accessed by whoever has changed the state to listed, until the node is on a list,
/// and from then on by whoever owns that list.
#[pin_data]
pub struct SchedNode<const ID: u64 = 0> {
    next: HotAtomic<*mut SchedNode<ID>>,
    state: HotAtomic<u32>,
    #[pin]
    _pin: PhantomPinned,
}

impl<const ID: u64> SchedNode<ID> {
    /// An idle node.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            next: HotAtomic::new(ptr::null_mut()),
            state: HotAtomic::new(0),
            _pin: PhantomPinned,
        })
    }

    /// To be called by the consumer that was given the object, before it looks what there is to
    /// do: from here on, `push` schedules it again. Returns false, and does nothing, if the object
    /// was not handed out by a [`SchedQueue`].
    #[inline]
    pub fn begin(&self) -> bool {
        // ORDERING: Acquire pairs with the release in `push`. No release: the `push` that reads this
        // synchronises with the queue's `next`, whose release sequence this is part of, and so
        // writes the link after it was read.
        self.state.cmpxchg(SCHEDULED | TAKEN, 0, Acquire).is_ok()
    }

    /// Makes an idle node a listed one, which is the caller's to link; whether it is scheduled already.
    #[inline]
    fn set_scheduled(&self) -> bool {
        let mut old = self.state.load(Relaxed);
        loop {
            // ORDERING: Release: the consumer's `begin` sees what was done before this; by a
            // read-modify-write operation even if the object is scheduled already and nothing is
            // changed. Acquire: the link was read, by the queue's `next` before `begin`, before it
            // is written by the caller.
            match self.state.cmpxchg(old, old | SCHEDULED, Full) {
                Ok(_) => return old & SCHEDULED != 0,
                Err(seen) => old = seen,
            }
        }
    }
}

/// A list to push to.
///
/// # Invariants
///
/// The nodes linked from `head` are listed, each of an object that the list owns a reference to.
pub struct SchedList<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64 = 0> {
    head: HotAtomic<*mut SchedNode<ID>>,
    _p: PhantomData<RcuArc<P>>,
}

impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> SchedList<P, ID> {
    /// An empty list.
    pub const fn new() -> Self {
        // INVARIANT: Empty.
        Self {
            head: HotAtomic::new(ptr::null_mut()),
            _p: PhantomData,
        }
    }

    /// Whether the list is empty. Only a hint if others push.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Relaxed).is_null()
    }

    /// Schedules an object; false if it is scheduled already, on this list or another. In either
    /// case the consumer will look at it once more. The reference is the list's, or dropped.
    #[inline]
    pub fn push(&self, object: RcuArc<P>) -> bool {
        if object.field().set_scheduled() {
            return false;
        }
        // It was idle and is listed now, by this call, so the link is ours.
        let object = RcuArc::into_raw(object);
        // SAFETY: The pointer points to a `P`.
        let node = unsafe { P::field_of(object) };
        let mut head = self.head.load(Relaxed);
        loop {
            // SAFETY: The object is alive, as the pointer owns a reference.
            unsafe { node.as_ref() }.next.store(head, Relaxed);
            // INVARIANT: The node is listed, and the list owns the reference now.
            //
            // ORDERING: Release: who takes the list sees the link.
            match self.head.cmpxchg(head, node.as_ptr(), Release) {
                Ok(_) => return true,
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes all objects, to be iterated over in the order in which they were pushed.
    pub fn take_all(&self) -> SchedQueue<P, ID> {
        let mut queue = SchedQueue::new();
        queue.refill(self);
        queue
    }
}

impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Default for SchedList<P, ID> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Drop for SchedList<P, ID> {
    /// Drops all objects; they can be scheduled again, elsewhere.
    fn drop(&mut self) {
        drop(self.take_all());
    }
}

/// The objects that a consumer has taken and not served yet, in order.
///
/// An iterator; keep it between rounds to serve those first that came first.
///
/// # Invariants
///
/// The nodes linked from `first` to `last` are listed, each of an object that the queue owns a
/// reference to; `last` is valid unless `first` is null, and its link is null.
pub struct SchedQueue<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64 = 0> {
    first: *mut SchedNode<ID>,
    last: *mut SchedNode<ID>,
    _p: PhantomData<RcuArc<P>>,
}

// SAFETY: A queue owns references to objects, which are `Send` and `Sync`.
unsafe impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Send for SchedQueue<P, ID> {}
// SAFETY: A shared reference gives access to nothing but whether it is empty.
unsafe impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Sync for SchedQueue<P, ID> {}

// The objects are pinned, the pointers to them need not be.
impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Unpin for SchedQueue<P, ID> {}

impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> SchedQueue<P, ID> {
    /// An empty queue.
    pub const fn new() -> Self {
        // INVARIANT: Empty.
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            _p: PhantomData,
        }
    }

    /// Whether the queue is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Appends all objects of `list`, which is empty then.
    pub fn refill(&mut self, list: &SchedList<P, ID>) {
        if list.is_empty() {
            return;
        }
        // ORDERING: Acquire pairs with the release in `push`: the links are visible.
        let mut node = list.head.xchg(ptr::null_mut(), Acquire);
        // The list has the newest first: turn it around.
        let last = node;
        let mut first = ptr::null_mut();
        while let Some(n) = NonNull::new(node) {
            // SAFETY: By the invariants of the list, the nodes belong to objects to which it owned
            // references, and now this function does; the links are ours as well.
            let next = &unsafe { n.as_ref() }.next;
            node = next.load(Relaxed);
            next.store(first, Relaxed);
            first = n.as_ptr();
        }
        if !first.is_null() {
            self.append(first, last);
        }
    }

    /// # Invariants
    ///
    /// (`INVARIANT` for callers: the nodes from `first` to `last` are listed, not null and end with
    /// a null link, and their references are the queue's from here on.)
    fn append(&mut self, first: *mut SchedNode<ID>, last: *mut SchedNode<ID>) {
        if self.first.is_null() {
            self.first = first;
        } else {
            // SAFETY: By the type invariants, `last` is a node of an object that the queue owns a
            // reference to.
            unsafe { &*self.last }.next.store(first, Relaxed);
        }
        self.last = last;
    }
}

impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Default for SchedQueue<P, ID> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Iterator for SchedQueue<P, ID> {
    type Item = RcuArc<P>;

    #[inline]
    fn next(&mut self) -> Option<RcuArc<P>> {
        let node = NonNull::new(self.first)?;
        // SAFETY: By the type invariants, this is a node of an object that the queue owns a
        // reference to.
        let n = unsafe { node.as_ref() };
        self.first = n.next.load(Relaxed);
        // It is listed, and nobody else takes it from this queue, so that's what it is now.
        //
        // ORDERING: Release: the link was read before anyone else may write it. Pairs with the
        // acquires of `push` and `begin`. A read-modify-write operation, for the pushes
        // before it have released what `begin` is to see.
        n.state.xchg(SCHEDULED | TAKEN, Release);
        // SAFETY: The node was derived from the pointer to an object, which owned the reference
        // that the queue had.
        Some(unsafe { RcuArc::from_raw(P::container_of(node)) })
    }
}

impl<P: RcuObject + HasField<SchedNode<ID>>, const ID: u64> Drop for SchedQueue<P, ID> {
    /// Drops what is left; these objects can be scheduled again, but what there was to do for them
    /// is not done: for teardown only.
    fn drop(&mut self) {
        for object in self.by_ref() {
            object.field().begin();
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_sched_list)]
mod tests {
    use super::*;

    #[pin_data]
    struct Item {
        n: u32,
        #[pin]
        node: SchedNode,
    }

    impl RcuObject for Item {}
    impl_has_sched_node! { impl HasSchedNode for Item { self.node } }

    fn items() -> Result<KVec<RcuArc<Item>>> {
        let mut items = KVec::new();
        for n in 1..=4 {
            items.push(
                RcuArc::pin_init(pin_init!(Item { n, node <- SchedNode::new() }), GFP_KERNEL)?,
                GFP_KERNEL,
            )?;
        }
        Ok(items)
    }

    #[test]
    fn order_and_rescheduling() -> Result {
        let list = SchedList::<Item>::new();
        let items = items()?;
        for item in &items {
            assert!(list.push(item.clone()) && !list.push(item.clone()));
            // Listed, not taken.
            assert!(!item.node.begin());
        }
        let mut queue = list.take_all();
        let first = queue.next().ok_or(EINVAL)?;
        assert!(!list.push(first.clone()));
        assert!(first.node.begin() && !first.node.begin());
        assert!(list.push(first));
        queue.refill(&list);
        let mut order = 0;
        for item in queue {
            assert!(item.node.begin());
            order = order * 10 + item.n;
        }
        assert_eq!(order, 2341);
        Ok(())
    }

    #[test]
    fn abandoned_objects_can_be_scheduled_again() -> Result {
        let list = SchedList::<Item>::new();
        let items = items()?;
        for item in &items {
            list.push(item.clone());
        }
        let mut queue = list.take_all();
        let _ = queue.next();
        drop(queue);
        assert!(items[0].node.begin());
        for item in &items {
            assert!(list.push(item.clone()));
        }
        drop(list);
        let another = SchedList::new();
        assert!(items.iter().all(|item| another.push(item.clone())));
        Ok(())
    }
}
