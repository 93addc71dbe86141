// SPDX-License-Identifier: GPL-2.0
//! The order queue: batches of one peer in the order they were submitted.
//!
//! Producers are lock-free, and may be many; they run in process or softirq context. A producer
//! that is interrupted between its two steps hides what was queued behind it, but not for good:
//! the batch it is queueing is not up for work yet, so somebody will start the consumer later.
//!
//! Safety review: `Documentation/safety.md#batchorderrs`.

use super::*;
use crate::atomic::Full;
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned, //
};

/// Batches of one peer in order, from many producers to one consumer at a time.
///
/// A pinned field of the peer. If it is dropped with batches that are still being worked on, those
/// are leaked, with a warning; so that this does not happen, owners keep what the queue is in.
///
/// # Invariants
///
/// - From `oldest` along `next` there are links of batches that were pushed, in order, and (once)
///   `stub`; the chain ends at `newest`, where a producer that is between its two steps has left a
///   gap before its link.
/// - Each batch in it belongs to this queue, but for the packets of those in state `UNCRYPTED`.
/// - `peeked` is null or the head of the batch before `oldest`, which was pushed with
///   `peeked_messages` messages.
/// - `oldest`, `peeked` and `peeked_messages` are only used by who set `consuming`, or has the queue
///   to itself.
#[pin_data(PinnedDrop)]
pub struct OrderQueue<K: RcuObject> {
    newest: HotAtomic<*mut Link>,
    /// [`BATCH`] for each batch, and 1 for each of its messages.
    held: HotAtomic<u64>,
    consuming: HotAtomic<bool>,
    oldest: UnsafeCell<*mut Link>,
    peeked: UnsafeCell<*mut kernel::bindings::sk_buff>,
    peeked_messages: UnsafeCell<u32>,
    stub: Link,
    #[pin]
    _pin: PhantomPinned,
    _owner: Invariant<K>,
}

/// A batch, in `held`.
const BATCH: u64 = 1 << 32;

const _: () = assert!(size_of::<OrderQueue<()>>() <= 48);

impl RcuObject for () {}

// SAFETY: What is not atomic is used under `consuming` only; batches are `Send`.
unsafe impl<K: RcuObject> Send for OrderQueue<K> {}
// SAFETY: As above.
unsafe impl<K: RcuObject> Sync for OrderQueue<K> {}

/// Where the link is in a batch's first packet.
const LINK: usize = offset_of!(kernel::bindings::sk_buff, cb) + offset_of!(Cb, link);

impl<K: RcuObject> OrderQueue<K> {
    /// An empty queue.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: The stub is the whole chain. It stays where it is, for the queue is pinned.
        pin_init!(&this in Self {
            // SAFETY: Only the address of a field is taken.
            newest: HotAtomic::new(unsafe { &raw mut (*this.as_ptr()).stub }),
            held: HotAtomic::new(0),
            consuming: HotAtomic::new(false),
            // SAFETY: Only the address of a field is taken.
            oldest: UnsafeCell::new(unsafe { &raw mut (*this.as_ptr()).stub }),
            peeked: UnsafeCell::new(ptr::null_mut()),
            peeked_messages: UnsafeCell::new(0),
            stub: Link {
                next: HotAtomic::new(ptr::null_mut()),
            },
            _pin: PhantomPinned,
            _owner: PhantomData,
        })
    }

    /// Batches in the queue, roughly.
    #[inline]
    pub fn len(&self) -> u32 {
        (self.held.load(Relaxed) / BATCH) as u32
    }

    /// Their messages, roughly. Those that were taken one by one count until their batch is at its end.
    #[inline]
    pub fn messages(&self) -> usize {
        (self.held.load(Relaxed) % BATCH) as usize
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a batch, which is `UNCRYPTED` from here on. Returns its head, whose packets (not the batch)
    /// are still the caller's.
    #[inline]
    pub(super) fn push(&self, batch: Batch<K>) -> Result<RawSkb, Batch<K>> {
        let counts_for = BATCH + u64::from(batch.len() as u32);
        // ORDERING: Relaxed: it only bounds the number. An overshoot is taken back at once.
        let held = self.held.fetch_add(counts_for, Relaxed);
        if held / BATCH >= MAX_BATCHES.into() {
            self.held.fetch_sub(counts_for, Relaxed);
            return Err(batch);
        }
        // SAFETY: The batch is ours.
        unsafe { (*batch.cb()).state = HotAtomic::new(UNCRYPTED) };
        let head = batch.into_head();
        // SAFETY: The batch was ours. INVARIANT: It belongs to the queue now.
        unsafe { self.link(&raw mut (*head.cb()).link) };
        Ok(head)
    }

    /// # Safety
    ///
    /// `link` must be that of a batch that the caller gives up, or the stub, and be in no chain.
    #[inline]
    unsafe fn link(&self, link: *mut Link) {
        // SAFETY: Valid by the requirement, and nobody else's yet. Written as a whole: the control
        // buffer has no `Link` in it before.
        unsafe {
            link.write(Link {
                next: HotAtomic::new(ptr::null_mut()),
            })
        };
        // ORDERING: The release makes the null visible to the next producer; the acquire makes
        // its predecessor's visible to it.
        let before = self.newest.xchg(link, Full);
        handover_delay();
        // ORDERING: Release: pairs with the acquires in `dequeue`, which then sees the batch.
        // SAFETY: It is not taken out, hence not freed, before there is something behind it.
        unsafe { (*before).next.store(link, Release) };
    }

    /// Takes the oldest batch out, whatever its state.
    ///
    /// # Safety
    ///
    /// The caller must have set `consuming`, or have the queue to itself.
    #[inline]
    unsafe fn dequeue(&self) -> Option<RawSkb> {
        let stub = (&raw const self.stub).cast_mut();
        // SAFETY: `oldest` is ours by the requirement. A link in the chain is valid: batches leave
        // it only here, and are not freed before.
        unsafe {
            let mut oldest = *self.oldest.get();
            let mut next = (*oldest).next.load(Acquire);
            if oldest == stub {
                if next.is_null() {
                    return None;
                }
                *self.oldest.get() = next;
                oldest = next;
                next = (*oldest).next.load(Acquire);
            }
            if next.is_null() {
                // The last one can only leave if something is behind it: the stub, unless a
                // producer is about to link something there.
                if oldest != self.newest.load(Relaxed) {
                    return None;
                }
                self.link(stub);
                next = (*oldest).next.load(Acquire);
                if next.is_null() {
                    return None;
                }
            }
            *self.oldest.get() = next;
            // It is not the stub, hence the link of a batch.
            RawSkb::new(oldest.byte_sub(LINK).cast())
        }
    }

    /// The oldest batch, and its state.
    ///
    /// # Safety
    ///
    /// As for `dequeue`.
    #[inline]
    unsafe fn peek(&self) -> Option<(RawSkb, u32)> {
        // SAFETY: By the requirement. A batch that was taken out is alive until it is unpeeked.
        unsafe {
            let head = match RawSkb::new(*self.peeked.get()) {
                Some(head) => head,
                None => {
                    let head = self.dequeue()?;
                    *self.peeked.get() = head.as_ptr();
                    *self.peeked_messages.get() = (*head.cb()).count;
                    head
                }
            };
            // ORDERING: Acquire: pairs with the releases of the state, which come after everything
            // that was done to the packets.
            Some((head, (*head.cb()).state.load(Acquire)))
        }
    }

    /// Takes the batch that was peeked.
    ///
    /// # Safety
    ///
    /// As for `dequeue`. `head` must be what `peek` returned, with a state other than `UNCRYPTED`.
    #[inline]
    unsafe fn unpeek(&self, head: RawSkb) -> Batch<K> {
        // SAFETY: By the requirement. With an outcome, the packets are the queue's as well, which
        // gives them up.
        unsafe {
            *self.peeked.get() = ptr::null_mut();
            // What it was queued as: packets of it may have been taken one by one.
            self.held
                .fetch_sub(BATCH + u64::from(*self.peeked_messages.get()), Relaxed);
            Batch::from_head(head)
        }
    }

    /// Becomes the consumer, unless somebody is.
    ///
    /// Work items and NAPI polls do not run twice at once, so with one of them per queue, and nobody
    /// who calls [`consume_for`](Self::consume_for), this does not fail.
    #[inline]
    pub fn try_consume(&self) -> Option<Consumer<'_, K>> {
        // ORDERING: The acquire pairs with the release of the consumer before. The release is for
        // who fails: it pairs with the acquire in `Consumer::end`.
        if self.consuming.xchg(true, Full) {
            return None;
        }
        // INVARIANT: We set it.
        Some(Consumer { queue: self })
    }

    /// Consumes once, with `take`, in the place of the work item that is called whenever a batch has got
    /// its outcome, and consumes the queue. Whether that is to be called now: because somebody else
    /// consumes, or because there are batches left.
    ///
    /// # Nothing is forgotten
    ///
    /// The work item may come while `take` is at it, and go without having done anything. But it came
    /// for a batch. Either `take` took that, or it is left, and then is seen to be: who fails to
    /// become the consumer says so by the exchange that fails, and this ends with an exchange that
    /// reads from it.
    #[inline]
    #[must_use = "if the work item is not called, batches may stay"]
    pub fn consume_for(&self, take: impl FnOnce(&mut Consumer<'_, K>)) -> bool {
        let Some(mut consumer) = self.try_consume() else {
            return true;
        };
        take(&mut consumer);
        consumer.end()
    }

    /// Whether the oldest batch can be taken. `false` while there is a consumer, who will see.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.is_empty() && self.try_consume().is_some_and(|mut c| c.has_ready())
    }
}

#[pinned_drop]
impl<K: RcuObject> PinnedDrop for OrderQueue<K> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Nobody else has the queue any more, so there is no producer or consumer; that
        // includes consumers that were forgotten.
        unsafe {
            while let Some((head, state)) = self.peek() {
                if state == UNCRYPTED {
                    // Its packets belong to a job or to a ring: leave it to them for good.
                    kernel::pr_warn!("order queue freed before its batches were done\n");
                    *self.peeked.get() = ptr::null_mut();
                } else {
                    drop(self.unpeek(head));
                }
            }
        }
    }
}

/// A batch with an outcome.
pub enum Done<K: RcuObject> {
    /// The worker did what it was to do.
    Ok(Batch<K>),
    /// To be dropped.
    Dead(Batch<K>),
}

/// Part of a batch with an outcome.
pub enum Taken<K: RcuObject> {
    /// One packet of a batch that went well.
    Packet {
        /// The packet.
        skb: SkBuff,
        /// Its nonce.
        nonce: u64,
        /// Its owner.
        owner: RcuArc<K>,
    },
    /// One packet that its worker lost (`Segment`'s [`Lossy::drop_for`]), of a batch that went well; and
    /// why.
    Lost(SkBuff, DropReason),
    /// All of a batch that did not, or what is left of one.
    Dead(Batch<K>),
}

/// The right to consume an order queue.
///
/// If it is forgotten, the queue is never consumed again.
///
/// # Invariants
///
/// This object set `queue.consuming`, and nobody else did since.
pub struct Consumer<'a, K: RcuObject> {
    queue: &'a OrderQueue<K>,
}

impl<K: RcuObject> Consumer<'_, K> {
    #[inline]
    fn peek(&mut self) -> Option<(RawSkb, u32)> {
        // SAFETY: We are the consumer by the type invariants.
        unsafe { self.queue.peek() }.filter(|(_, state)| *state != UNCRYPTED)
    }

    /// What is consumed.
    #[inline]
    pub(super) fn queue(&self) -> &OrderQueue<K> {
        self.queue
    }

    /// Ends consuming. Whether there are batches left, any of those among them for whose sake somebody
    /// tried to become the consumer meanwhile.
    #[inline]
    fn end(self) -> bool {
        let queue = ManuallyDrop::new(self).queue;
        // ORDERING: The release is that of the drop. The acquire pairs with the release of
        // `try_consume` where that fails: the batch that its caller came for is counted here.
        queue.consuming.xchg(false, Full);
        handover_delay();
        !queue.is_empty()
    }

    /// Whether the oldest batch can be taken.
    #[inline]
    pub fn has_ready(&mut self) -> bool {
        self.peek().is_some()
    }

    /// Takes the oldest batch, once it has an outcome.
    #[inline]
    #[expect(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Done<K>> {
        let (head, state) = self.peek()?;
        // SAFETY: We are the consumer by the type invariants; the batch has an outcome.
        let batch = unsafe { self.queue.unpeek(head) };
        Some(if state == CRYPTED {
            Done::Ok(batch)
        } else {
            Done::Dead(batch)
        })
    }

    /// Takes the first packet of the oldest batch, once that has an outcome; the rest stays where
    /// it is, for the next call or the next consumer.
    #[inline]
    pub fn take_segment(&mut self) -> Option<Taken<K>> {
        let (head, state) = self.peek()?;
        // SAFETY: We are the consumer by the type invariants. The batch has an outcome, so it and
        // its packets belong to the queue. If there is a second packet, that becomes the head, with
        // a control buffer to match, and the reference to the owner passes to it.
        unsafe {
            let cb = head.cb();
            let lost = DropReason::of_mark((*cb).lost);
            let next = match RawSkb::new(head.next()) {
                Some(next) if state == CRYPTED => next,
                _ => {
                    let batch = self.queue.unpeek(head);
                    if state != CRYPTED {
                        return Some(Taken::Dead(batch));
                    }
                    let (mut list, owner, nonce) = batch.into_parts();
                    let skb = list.pop_front()?;
                    return Some(match lost {
                        Some(why) => Taken::Lost(skb, why),
                        None => Taken::Packet { skb, nonce, owner },
                    });
                }
            };
            let rest = next.cb();
            (*rest).state = HotAtomic::new(state);
            (*rest).count = (*cb).count - 1;
            (*rest).first_nonce = (*cb).first_nonce.wrapping_add(1);
            (*rest).owner = (*cb).owner;
            (*rest).tail = (*cb).tail;
            *self.queue.peeked.get() = next.as_ptr();
            let skb = SkBuff::from_raw(head.as_ptr());
            if let Some(why) = lost {
                return Some(Taken::Lost(skb, why));
            }
            let owner = ManuallyDrop::new(RcuArc::from_raw(NonNull::new_unchecked(
                (*cb).owner.cast_mut().cast(),
            )));
            Some(Taken::Packet {
                skb,
                nonce: (*cb).first_nonce,
                owner: RcuArc::clone(&owner),
            })
        }
    }
}

impl<K: RcuObject> Drop for Consumer<'_, K> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: Release: the next consumer sees what we did to the queue.
        self.queue.consuming.store(false, Release);
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_batch)]
mod tests {
    use super::*;

    /// Says when nobody has it any more.
    struct Owner(&'static HotAtomic<u32>);

    impl RcuObject for Owner {
        fn on_last_ref(&self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    const PACKETS: u8 = 5;
    const FIRST: u64 = u64::MAX - 2;
    const GIVEN_UP: DropReason = DropReason::SkbCsum;

    /// Packets, each of one byte that says which it is.
    fn packets() -> Result<SkbList> {
        let mut list = SkbList::new();
        for i in 0..PACKETS {
            list.push_back(SkBuff::with_payload(&[i], 0, GFP_KERNEL)?);
        }
        Ok(list)
    }

    /// Makes a batch of the packets, under an owner of its own, and submits it.
    fn submit(
        ring: &CryptRing<Owner>,
        order: &OrderQueue<Owner>,
        list: SkbList,
        gone: &'static HotAtomic<u32>,
    ) -> Result {
        let owner = RcuArc::new(Owner(gone), GFP_KERNEL)?;
        let batch = Batch::new(list, owner, FIRST).ok_or(EINVAL)?;
        assert!(ring.submit(order, batch).is_ok());
        Ok(())
    }

    /// Has a worker give up some of the packets.
    fn work(ring: &CryptRing<Owner>, given_up: &[u8], ok: bool) -> Result {
        let mut job = ring.pop().ok_or(EINVAL)?;
        for (i, (nonce, segment)) in job.segments_mut().enumerate() {
            assert_eq!(nonce, FIRST.wrapping_add(i as u64));
            if given_up.contains(&(i as u8)) {
                segment.drop_for(GIVEN_UP);
            }
        }
        drop(if ok {
            job.finish()
        } else {
            job.drop_for(DropReason::Nomem)
        });
        Ok(())
    }

    fn number(skb: &SkBuff) -> Option<u8> {
        let mut byte = [0];
        (skb.len() == 1 && skb.copy_data(&mut byte)).then_some(byte[0])
    }

    /// Takes all of a batch: each of its packets is lost if it was given up, and else comes with its
    /// nonce.
    fn take(order: &OrderQueue<Owner>, given_up: &[u8]) -> Result<SkbList> {
        let mut lost = SkbList::new();
        for i in 0..PACKETS {
            // Whoever consumes the queue next.
            let taken = order.try_consume().ok_or(EINVAL)?.take_segment();
            match taken.ok_or(EINVAL)? {
                Taken::Packet { skb, nonce, .. } => {
                    assert_eq!(number(&skb), Some(i));
                    assert_eq!(nonce, FIRST.wrapping_add(i.into()));
                    assert!(!given_up.contains(&i));
                }
                Taken::Lost(skb, why) => {
                    assert_eq!(number(&skb), Some(i));
                    assert_eq!(why, GIVEN_UP);
                    assert!(given_up.contains(&i));
                    lost.push_back(skb);
                }
                Taken::Dead(_) => return Err(EINVAL),
            }
        }
        Ok(lost)
    }

    /// What a worker gives up is lost alone, wherever it is in its batch.
    #[test]
    fn given_up_alone() -> Result {
        static GONE: HotAtomic<u32> = HotAtomic::new(0);
        let ring = CryptRing::new(4)?;
        let order = KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?;
        let mut batches = 0;
        GONE.store(0, Relaxed);
        for given_up in [
            &[][..],
            &[0],
            &[2],
            &[4],
            &[0, 4],
            &[1, 2, 3],
            &[0, 1, 2, 3, 4],
        ] {
            submit(&ring, &order, packets()?, &GONE)?;
            work(&ring, given_up, true)?;
            let lost = take(&order, given_up)?;
            assert_eq!(lost.len(), given_up.len());
            assert!(order.is_empty() && !order.has_ready());
            batches += 1;
            assert_eq!(GONE.load(Relaxed), batches);
        }
        Ok(())
    }

    /// Of a batch that did not go well, nothing is told apart.
    #[test]
    fn given_up_and_failed() -> Result {
        static GONE: HotAtomic<u32> = HotAtomic::new(0);
        let ring = CryptRing::new(4)?;
        let order = KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?;
        submit(&ring, &order, packets()?, &GONE)?;
        work(&ring, &[0, 3], false)?;
        let taken = order.try_consume().ok_or(EINVAL)?.take_segment();
        let Some(Taken::Dead(batch)) = taken else {
            return Err(EINVAL);
        };
        assert_eq!(batch.len(), PACKETS.into());
        assert!(order.is_empty() && !order.has_ready());
        // Each is freed for what was said first.
        let (list, owner, _) = batch.into_parts();
        for (i, raw) in list.iter_raw().enumerate() {
            // SAFETY: Of the list.
            let why = DropReason::of_mark(unsafe { (*raw.cb()).lost });
            let first = [0, 3].contains(&i);
            assert_eq!(why, Some(if first { GIVEN_UP } else { DropReason::Nomem }));
        }
        drop(owner);
        assert_eq!(GONE.load(Relaxed), 1);
        Ok(())
    }

    /// In its next batch a packet is not lost because it was in the one before, whether that was
    /// taken apart or not.
    #[test]
    fn given_up_once() -> Result {
        static GONE: HotAtomic<u32> = HotAtomic::new(0);
        let ring = CryptRing::new(4)?;
        let order = KBox::pin_init(OrderQueue::new(), GFP_KERNEL)?;
        let all = [0, 1, 2, 3, 4];
        let mut list = packets()?;
        for whole in [true, false, false] {
            submit(&ring, &order, list, &GONE)?;
            work(&ring, &all, true)?;
            list = if whole {
                let done = order.try_consume().ok_or(EINVAL)?.next();
                let Some(Done::Ok(batch)) = done else {
                    return Err(EINVAL);
                };
                batch.into_parts().0
            } else {
                take(&order, &all)?
            };
            assert_eq!(list.len(), PACKETS.into());
        }
        submit(&ring, &order, list, &GONE)?;
        work(&ring, &[], true)?;
        assert!(take(&order, &[])?.is_empty());
        Ok(())
    }
}
