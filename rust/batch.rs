// SPDX-License-Identifier: GPL-2.0
//! Batches: what moves between the stages of the data path.
//!
//! A [`Batch`] is the packets of one burst under one owner (the session whose key they are sealed
//! or opened with) with consecutive nonces. It goes two ways at once ([`CryptRing::submit`]):
//!
//! ```text
//!              +--> CryptRing (per device) --pop--> CryptJob: any worker, any order --+
//!   Batch -----|                                                                state | release
//!              +--> OrderQueue (per peer) --------> Consumer: one at a time, in order <+ acquire
//! ```
//!
//! Who submits a batch may also work on it there and then ([`CryptJob::begin`]): it has its place in the
//! order queue, and never was in the ring.
//!
//! The ring hands out the work, the order queue remembers the order. The worker has the packets to
//! itself until it stores the outcome in the batch's state with release semantics; whoever
//! consumes the order queue loads it with acquire semantics, and touches nothing of the batch but
//! its link before it has seen an outcome. With anything weaker a CPU could see the outcome before
//! the packets' data, and send plaintext or deliver ciphertext (FreeBSD-EN-24:06).
//!
//! Nothing is allocated: the state of a batch is in the control buffer of its first packet, the
//! packets are chained by their links. All of this is private, so that a batch can become one
//! buffer with many segments.
//!
//! Contexts: [`CryptRing::new`] sleeps; everything else works in process and softirq context.
//! Built on [`include/linux/ptr_ring.h`](srctree/include/linux/ptr_ring.h); the order queue is
//! Dmitry Vyukov's intrusive queue of many producers and one consumer.
//!
//! Safety review: `Documentation/safety.md#batchrs`.

use crate::{
    atomic::{
        Acquire,
        HotAtomic,
        Relaxed,
        Release, //
    },
    bindings,
    cpu::handover_delay,
    drop_reason::{
        DropReason,
        Lossy, //
    },
    field::Invariant,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    skb_list::{
        IterMut,
        SkbList, //
    },
    skbuff::{
        Cb,
        Link,
        RawSkb,
        Segment,
        SkBuff, //
    },
};
use core::{
    marker::PhantomData,
    mem::{
        offset_of,
        ManuallyDrop, //
    },
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

mod cell;
mod order;

pub use cell::ConsumerCell;
pub use order::{
    Consumer,
    Done,
    OrderQueue,
    Taken, //
};

/// The batches that a ring of the usual size holds at most, and every order queue.
pub const MAX_BATCHES: u32 = 1024;

/// A worker has, or will have, the packets.
const UNCRYPTED: u32 = 0;
/// The worker did what it was to do.
const CRYPTED: u32 = 1;
/// The packets are of no use any more.
const DEAD: u32 = 2;

/// A burst of packets under one owner, with consecutive nonces.
///
/// Dropping it frees the packets and gives up the owner. Packets that were lost in it, as its worker
/// said, are freed for that reason.
///
/// # Invariants
///
/// `head` starts a null-terminated chain of valid `sk_buff`s that this object owns alone. Its
/// control buffer holds their number, the last of them, the first nonce, and a reference to the
/// owner, from `RcuArc::<K>::into_raw`.
pub struct Batch<K: RcuObject> {
    head: RawSkb,
    _owner: PhantomData<RcuArc<K>>,
}

// SAFETY: Owns packets and a reference, which are `Send`.
unsafe impl<K: RcuObject> Send for Batch<K> {}
// SAFETY: Methods with `&self` only read, and lend out the owner, which is `Sync`.
unsafe impl<K: RcuObject> Sync for Batch<K> {}

impl<K: RcuObject> Batch<K> {
    /// Makes the packets of `list` a batch, with the nonces from `first_nonce` on. `None` if there
    /// are no packets.
    #[inline]
    pub fn new(list: SkbList, owner: RcuArc<K>, first_nonce: u64) -> Option<Self> {
        let (head, tail, len) = list.into_raw()?;
        // SAFETY: The chain is ours alone now, so its first control buffer is as well.
        unsafe {
            let cb = head.cb();
            (*cb).state = HotAtomic::new(UNCRYPTED);
            (*cb).count = len as u32;
            (*cb).first_nonce = first_nonce;
            (*cb).owner = RcuArc::into_raw(owner).as_ptr().cast();
            (*cb).tail = tail.as_ptr();
            // None of them is lost yet.
            let mut next = Some(head);
            while let Some(packet) = next {
                (*packet.cb()).lost = 0;
                next = RawSkb::new(packet.next());
            }
        }
        // INVARIANT: Just written.
        Some(Self {
            head,
            _owner: PhantomData,
        })
    }

    /// # Safety
    ///
    /// The type invariants must hold of `head`, and the caller give the batch up.
    #[inline]
    unsafe fn from_head(head: RawSkb) -> Self {
        // INVARIANT: By the requirement.
        Self {
            head,
            _owner: PhantomData,
        }
    }

    #[inline]
    fn into_head(self) -> RawSkb {
        ManuallyDrop::new(self).head
    }

    #[inline]
    fn cb(&self) -> *mut Cb {
        // SAFETY: Valid by the type invariants.
        unsafe { self.head.cb() }
    }

    /// Packets in the batch.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.cb()).count as usize }
    }

    /// Takes the batch apart.
    #[inline]
    pub fn into_parts(self) -> (SkbList, RcuArc<K>, u64) {
        let cb = self.cb();
        let head = self.into_head();
        // SAFETY: The batch was ours, and by its invariants this is what its control buffer holds.
        // The reference leaves it here, the only time.
        unsafe {
            let tail = RawSkb::new((*cb).tail).unwrap_or(head);
            (
                SkbList::from_raw(head, tail, (*cb).count as usize),
                RcuArc::from_raw(NonNull::new_unchecked((*cb).owner.cast_mut().cast())),
                (*cb).first_nonce,
            )
        }
    }
}

impl<K: RcuObject> Lossy for Batch<K> {
    type Left = ();

    #[inline]
    fn packets(&self) -> usize {
        self.len()
    }

    fn drop_for(self, why: DropReason) {
        // SAFETY: The chain is ours by the type invariants.
        unsafe { lose_all(self.head, why) };
    }
}

impl<K: RcuObject> Drop for Batch<K> {
    fn drop(&mut self) {
        // SAFETY: `self` is not used after it, and has no other destructor.
        let (mut list, _owner, _) = unsafe { Self::from_head(self.head) }.into_parts();
        while let Some(skb) = list.pop_front() {
            skb.drop_as_marked();
        }
    }
}

/// Says that all packets of a batch are lost, for this reason if none was said before.
///
/// # Safety
///
/// `head` must start the chain of a batch, whose packets nobody else uses.
#[cold]
unsafe fn lose_all(head: RawSkb, why: DropReason) {
    let mut next = Some(head);
    while let Some(packet) = next {
        // SAFETY: By the requirement.
        unsafe {
            let cb = packet.cb();
            if (*cb).lost == 0 {
                (*cb).lost = why.mark();
            }
            next = RawSkb::new(packet.next());
        }
    }
}

/// Why a batch was not submitted, or not in full.
pub enum SubmitError<K: RcuObject> {
    /// Too much is under way already, most likely of this peer; nothing was done.
    Full(Batch<K>),
    /// The device has too much work. The batch is in the order queue, dead, its packets lost
    /// ([`DropReason::FullRing`]): the caller must see to it that the queue is consumed.
    RingFull,
}

/// A queue of batches to be worked on by whichever worker is free, bounded.
///
/// Dropping it marks what is in it dead (see [`CryptJob`]), lost as the device goes
/// ([`DropReason::DevReady`]); who has the order queues should then consume them, for batches keep
/// their owners.
///
/// # Invariants
///
/// `ring` is initialised. Each pointer in it is the head of a batch of owner type `K`, in state
/// `UNCRYPTED`, that is in an order queue, or was leaked from one; until its state changes, its
/// packets are to be used only by whoever takes the pointer out.
pub struct CryptRing<K: RcuObject> {
    ring: KBox<Opaque<bindings::ptr_ring>>,
    _owner: Invariant<K>,
}

// SAFETY: The ring has locks of its own; batches and owners are `Send`.
unsafe impl<K: RcuObject> Send for CryptRing<K> {}
// SAFETY: As above.
unsafe impl<K: RcuObject> Sync for CryptRing<K> {}

impl<K: RcuObject> CryptRing<K> {
    /// Makes a ring with room for `capacity` batches. Sleeps.
    pub fn new(capacity: u32) -> Result<Self> {
        let ring = KBox::new(Opaque::<bindings::ptr_ring>::zeroed(), GFP_KERNEL)?;
        let size = i32::try_from(capacity).map_err(|_| EINVAL)?;
        // SAFETY: The memory is ours, and stays where it is: in its box.
        to_result(unsafe {
            bindings::ptr_ring_init(ring.get(), size, kernel::bindings::GFP_KERNEL)
        })?;
        // INVARIANT: Initialised, and empty.
        Ok(Self {
            ring,
            _owner: PhantomData,
        })
    }

    /// Puts a batch in line: behind the others of `order`, and up for work.
    ///
    /// After success the caller starts a worker, which calls [`CryptRing::pop`].
    #[inline]
    pub fn submit(&self, order: &OrderQueue<K>, batch: Batch<K>) -> Result<(), SubmitError<K>> {
        // Only the worker's rights are ours now, and they go into the ring.
        let head = order.push(batch).map_err(SubmitError::Full)?;
        // INVARIANT: `head` is that of a batch in state `UNCRYPTED` in an order queue, whose packets
        // nobody else may use.
        // SAFETY: Initialised by the type invariants.
        if unsafe { bindings::ptr_ring_produce_bh(self.ring.get(), head.as_ptr().cast()) } != 0 {
            // ORDERING: Release: the batch is the consumer's from here on.
            // SAFETY: It did not get into the ring, so it cannot have been freed, and its packets are
            // still ours.
            unsafe {
                lose_all(head, DropReason::FullRing);
                (*head.cb()).state.store(DEAD, Release);
            }
            return Err(SubmitError::RingFull);
        }
        Ok(())
    }

    /// Whether there is nothing in it, as far as can be told without its lock: while others take batches
    /// out, it may look empty when it is not. Any context.
    #[inline]
    pub fn seems_empty(&self) -> bool {
        // SAFETY: Initialised by the type invariants; a ring keeps its size, so its head is a place of it
        // at all times.
        unsafe { bindings::ptr_ring_seems_empty(self.ring.get()) }
    }

    /// Takes the next batch to work on.
    #[inline]
    pub fn pop(&self) -> Option<CryptJob<K>> {
        handover_delay();
        // SAFETY: Initialised by the type invariants.
        let head = RawSkb::new(unsafe { bindings::ptr_ring_consume_bh(self.ring.get()) }.cast())?;
        // SAFETY: By the type invariants of the ring.
        Some(unsafe { CryptJob::new(head) })
    }
}

impl<K: RcuObject> Drop for CryptRing<K> {
    fn drop(&mut self) {
        while let Some(job) = self.pop() {
            drop(job.drop_for(DropReason::DevReady));
        }
        // SAFETY: Initialised by the type invariants, and not used any more.
        unsafe { bindings::ptr_ring_cleanup(self.ring.get()) }
    }
}

/// A batch that a worker has to itself, or who submitted it.
///
/// Ends with [`CryptJob::finish`]; or, with the batch dead, by [`Lossy::drop_for`]. If it is dropped
/// instead, the batch is dead without a reason. If it is forgotten, the order queue stalls at this
/// batch for good.
///
/// # Invariants
///
/// `head` is the head of a batch in state `UNCRYPTED` that is in an order queue or leaked, and its
/// packets are this object's to use. `owner` is its owner, without a reference of its own.
pub struct CryptJob<K: RcuObject> {
    head: RawSkb,
    owner: ManuallyDrop<RcuArc<K>>,
}

// SAFETY: Has packets and shares a reference, which are `Send` and `Sync`.
unsafe impl<K: RcuObject> Send for CryptJob<K> {}
// SAFETY: As above.
unsafe impl<K: RcuObject> Sync for CryptJob<K> {}

impl<K: RcuObject> CryptJob<K> {
    /// Puts a batch in line, behind the others of `order`, to be worked on by the caller. If the peer
    /// has too many batches under way, it is handed back.
    ///
    /// What is behind it waits for it: the caller should not.
    #[inline]
    pub fn begin(order: &OrderQueue<K>, batch: Batch<K>) -> Result<Self, Batch<K>> {
        let head = order.push(batch)?;
        // SAFETY: `head` is that of a batch in state `UNCRYPTED` of this owner type, in an order
        // queue, whose packets are ours.
        Ok(unsafe { Self::new(head) })
    }

    /// # Safety
    ///
    /// The type invariants must hold of `head`.
    #[inline]
    unsafe fn new(head: RawSkb) -> Self {
        // SAFETY: By the requirement the packets are ours to use, and the batch is not freed before
        // its state changes. The reference to the owner stays the batch's: this is a copy that is
        // never dropped.
        let owner = unsafe {
            let owner = (*head.cb()).owner.cast_mut().cast::<K>();
            ManuallyDrop::new(RcuArc::from_raw(NonNull::new_unchecked(owner)))
        };
        // INVARIANT: By the requirement.
        Self { head, owner }
    }

    /// The owner.
    #[inline]
    pub fn owner(&self) -> &RcuArc<K> {
        &self.owner
    }

    /// Packets in the batch.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: Valid by the type invariants.
        unsafe { (*self.head.cb()).count as usize }
    }

    /// Visits the packets in order, each with its nonce.
    #[inline]
    pub fn segments_mut(&mut self) -> impl Iterator<Item = (u64, Segment<'_>)> {
        // SAFETY: Valid by the type invariants. The packets are ours, and borrowed for as long as
        // the iterator.
        let (first, iter) = unsafe {
            let first = (*self.head.cb()).first_nonce;
            (first, IterMut::new(Some(self.head)))
        };
        iter.enumerate()
            .map(move |(i, segment)| (first.wrapping_add(i as u64), segment))
    }

    /// Hands the batch, which went well, to whoever consumes the order queue, and returns the owner,
    /// with which to find and start them. (The consumer may free the batch, and its reference, at
    /// once.) Packets of it may be lost all the same (`Segment`'s [`Lossy::drop_for`]).
    #[inline]
    pub fn finish(self) -> RcuArc<K> {
        self.end(CRYPTED)
    }

    #[inline]
    fn end(self, outcome: u32) -> RcuArc<K> {
        let job = ManuallyDrop::new(self);
        let owner = RcuArc::clone(&job.owner);
        // SAFETY: By the type invariants; `job` is not used after.
        unsafe { job.publish(outcome) };
        owner
    }

    /// # Safety
    ///
    /// `self` must not be used after.
    #[inline]
    unsafe fn publish(&self, outcome: u32) {
        // ORDERING: Release: pairs with the acquire in `Consumer`, who then sees all that was done
        // to the packets.
        // SAFETY: The batch is alive until its state changes, by the type invariants.
        unsafe { (*self.head.cb()).state.store(outcome, Release) }
    }
}

impl<K: RcuObject> Lossy for CryptJob<K> {
    /// The owner, as of [`CryptJob::finish`].
    type Left = RcuArc<K>;

    #[inline]
    fn packets(&self) -> usize {
        self.len()
    }

    /// Hands the batch to whoever consumes the order queue, dead, to be freed.
    fn drop_for(self, why: DropReason) -> RcuArc<K> {
        // SAFETY: The packets are ours by the type invariants.
        unsafe { lose_all(self.head, why) };
        self.end(DEAD)
    }
}

impl<K: RcuObject> Drop for CryptJob<K> {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped.
        unsafe { self.publish(DEAD) }
    }
}
