// SPDX-License-Identifier: GPL-2.0
//! The NAPI instances of a device, and how its peers share them.
//!
//! There are as many as can be of use: one to begin with, then no more than there are peers, or CPUs
//! to poll them on. They are not bound to CPUs. [`NapiSet::keep_up`] makes those that are missing,
//! in process context; they stay until the device's end. Which peers are served by which, and when:
//! [`rx_schedule`]. What is done for a peer in a poll is told by [`Receiver`].

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use wgk::{
    atomic::{
        Acquire,
        Atomic,
        HotAtomic,
        Relaxed,
        Release, //
    },
    cpu,
    lock::{
        new_spinlock_bh,
        SpinLockBh, //
    },
    napi::{
        Napi,
        NapiContext,
        NapiHandle,
        NapiPoll, //
    },
    netdevice::NetDevice,
    rcu::{
        read_lock,
        Guard,
        RcuArc,
        RcuCell,
        RcuObject,
        RcuRef, //
    },
    sched_list::SchedList, //
};

use crate::rx_schedule::{
    self,
    Instances,
    Member,
    Turn, //
};

/// Something with packets to deliver. Its instance is to begin with what [`NapiSet::assign`] said.
pub(crate) trait Receiver: Member {
    /// Delivers up to `budget` packets and returns how many it took. Softirq.
    fn deliver(this: &RcuArc<Self>, napi: &NapiContext<'_>, budget: usize) -> usize;

    /// Drops what could be delivered, as there is nobody to deliver to.
    fn discard(this: &RcuArc<Self>);
}

/// What others see of an instance.
struct Slot<R: Receiver> {
    /// Peers that have something decrypted at the head of their queue.
    scheduled: SchedList<R>,
    /// A poll is under way, or the last one used its budget up. A hint.
    busy: HotAtomic<bool>,
    handle: NapiHandle<RxContext<R>>,
}

impl<R: Receiver> RcuObject for Slot<R> {}

/// What the instances know of each other. Each place is empty until its instance is made, and filled
/// for good then; `len` says how many are, from the first on.
struct Shared<R: Receiver> {
    slots: KVec<RcuCell<Slot<R>>>,
    len: HotAtomic<u32>,
}

impl<R: Receiver> Shared<R> {
    fn get<'g>(&self, number: u32, guard: &'g Guard) -> Option<RcuRef<'g, Slot<R>>> {
        self.slots.get(number as usize)?.load(guard)
    }
}

/// As seen while the guard lasts.
struct Seen<'a, R: Receiver>(&'a Shared<R>, &'a Guard);

impl<R: Receiver> Instances<R> for Seen<'_, R> {
    fn push(&self, number: u32, peer: RcuArc<R>) -> bool {
        // There is one, as a peer has its number.
        let slot = self.0.get(number, self.1);
        slot.is_some_and(|slot| slot.scheduled.push(peer))
    }

    fn schedule(&self, number: u32) {
        if let Some(slot) = self.0.get(number, self.1) {
            slot.handle.schedule();
        }
    }

    /// Asks one instance, the next each time.
    fn idle_beside(&self, number: u32, probe: &mut u32) -> Option<u32> {
        *probe = probe.wrapping_add(1);
        let other = probe.checked_rem(self.0.len.load(Acquire))?;
        let slot = self.0.get(other, self.1)?;
        let idle = !slot.busy.load(Relaxed) && slot.scheduled.is_empty();
        (idle && other != number).then_some(other)
    }
}

/// What one NAPI instance polls: peers that have something decrypted at the head of their queue.
#[pin_data]
struct RxContext<R: Receiver> {
    number: u32,
    shared: Arc<Shared<R>>,
    /// Only the poll touches it; the lock says so.
    #[pin]
    turn: SpinLockBh<Turn<R>>,
}

impl<R: Receiver> NapiPoll for RxContext<R> {
    fn poll(ctx: &Self, napi: &NapiContext<'_>, budget: usize) -> usize {
        let guard = read_lock();
        let Some(slot) = ctx.shared.get(ctx.number, &guard) else {
            // Nobody has seen this instance yet.
            return 0;
        };
        slot.busy.store(true, Relaxed);
        let mut turn = ctx.turn.lock();
        let done = rx_schedule::poll(
            &Seen(&ctx.shared, &guard),
            ctx.number,
            &slot.scheduled,
            &mut turn,
            budget,
            |peer, share| R::deliver(peer, napi, share),
            || napi.flush(),
        );
        slot.busy.store(turn.is_exhausted(), Relaxed);
        done
    }
}

/// What keeps the instances going: those of one number belong together.
struct Kept<R: Receiver> {
    napis: KVec<Napi<RxContext<R>>>,
    contexts: KVec<Arc<RxContext<R>>>,
}

impl<R: Receiver> Kept<R> {
    /// Makes one more, with its thread if there's to be one: of `dev`, or of the device that those
    /// present are of. Sleeps.
    fn add(&mut self, shared: &Arc<Shared<R>>, dev: Option<&NetDevice>) -> Result {
        let number = self.napis.len();
        let place = shared.slots.get(number).ok_or(ENOSPC)?;
        let number = number as u32;
        let ctx = Arc::pin_init(
            try_pin_init!(RxContext {
                number,
                shared: shared.clone(),
                turn <- new_spinlock_bh!(Turn::new(), "RxContext::turn"),
            }? Error),
            GFP_KERNEL,
        )?;
        let napi = match (dev, self.napis.first()) {
            (Some(dev), _) => Napi::new(dev, ctx.clone(), GFP_KERNEL)?,
            (None, Some(first)) => first.sibling(ctx.clone(), GFP_KERNEL)?,
            (None, None) => return Err(ENODEV),
        };
        let slot = RcuArc::new(
            Slot {
                scheduled: SchedList::new(),
                busy: HotAtomic::new(false),
                handle: napi.handle(),
            },
            GFP_KERNEL,
        )?;
        self.napis.reserve(1, GFP_KERNEL)?;
        self.contexts.push(ctx, GFP_KERNEL)?;
        self.napis.push(napi, GFP_KERNEL)?;
        place.swap(Some(slot));
        // ORDERING: Release: who sees the number sees the instance in its place.
        shared.len.store(number + 1, Release);
        Ok(())
    }
}

impl<R: Receiver> Drop for Kept<R> {
    fn drop(&mut self) {
        // Ends polling, of all, for polls use each other's lists.
        self.napis.clear();
        // A poll that had used up its budget may leave peers behind, and their packets hold
        // references that only serving or dropping them gives back.
        for ctx in self.contexts.drain_all() {
            ctx.turn.lock().drain().for_each(|p| R::discard(&p));
            if let Some(slot) = ctx.shared.get(ctx.number, &read_lock()) {
                slot.scheduled.take_all().for_each(|p| R::discard(&p));
            }
        }
    }
}

/// The NAPI instances of a device.
#[pin_data]
pub(crate) struct NapiSet<R: Receiver> {
    shared: Arc<Shared<R>>,
    /// How many peers the device has.
    peers: Atomic<u32>,
    /// How often a peer was given an instance.
    assigned: Atomic<u32>,
    #[pin]
    instances: Mutex<Kept<R>>,
}

impl<R: Receiver> NapiSet<R> {
    /// One instance. May sleep.
    pub(crate) fn new(dev: &NetDevice) -> Result<Arc<Self>> {
        let mut slots = KVec::new();
        for _ in 0..cpu::count() {
            slots.push(RcuCell::empty(), GFP_KERNEL)?;
        }
        let len = HotAtomic::new(0);
        let shared = Arc::new(Shared { slots, len }, GFP_KERNEL)?;
        let set = Arc::pin_init(
            try_pin_init!(Self {
                shared,
                peers: Atomic::new(0),
                assigned: Atomic::new(0),
                instances <- new_mutex!(Kept {
                    napis: KVec::new(),
                    contexts: KVec::new(),
                }, "NapiSet::instances"),
            }? Error),
            GFP_KERNEL,
        )?;
        set.instances.lock().add(&set.shared, Some(dev))?;
        Ok(set)
    }

    /// Notes how many peers there are. Process context, device lock held.
    pub(crate) fn set_peers(&self, peers: usize) {
        self.peers.store(peers as u32, Relaxed);
    }

    /// Whether more instances would be of use, as peers or CPUs have come.
    pub(crate) fn lags(&self) -> bool {
        let wanted = self.peers.load(Relaxed).min(cpu::usable());
        self.shared.len.load(Relaxed) < wanted
    }

    /// Makes the instances that would be of use, as far as there is memory: without it, those present
    /// serve. May sleep.
    pub(crate) fn keep_up(&self) {
        if !self.lags() {
            return;
        }
        let mut instances = self.instances.lock();
        while self.lags() && instances.add(&self.shared, None).is_ok() {}
    }

    /// The instance that another peer should belong to: each has its turn. Any context.
    pub(crate) fn assign(&self) -> u32 {
        let turn = self.assigned.fetch_add(1, Relaxed);
        turn.checked_rem(self.shared.len.load(Acquire)).unwrap_or(0)
    }

    /// Puts `peer` on its instance's list; if it wasn't there, returns the instance, which is to be
    /// polled soon.
    pub(crate) fn list(&self, peer: RcuArc<R>) -> Option<u32> {
        rx_schedule::list(&Seen(&self.shared, &read_lock()), peer)
    }

    /// Has an instance polled.
    pub(crate) fn poll(&self, instance: u32) {
        cpu::handover_delay();
        Seen(&self.shared, &read_lock()).schedule(instance);
    }

    /// Has `peer` served by its instance, soon.
    pub(crate) fn wake(&self, peer: RcuArc<R>) {
        if let Some(instance) = self.list(peer) {
            self.poll(instance);
        }
    }
}
