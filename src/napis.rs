// SPDX-License-Identifier: GPL-2.0
//! The NAPI instances of a device, and how its peers share them.
//!
//! There is an instance per CPU, not per peer. A peer belongs to one of them for good, so its
//! packets stay in order although the instance may be polled on any CPU. What is done for a peer in
//! a poll is told by [`Receiver`].

use kernel::{
    prelude::*,
    sync::Arc, //
};

use wgk::{
    cpu,
    field::HasField,
    lock::{
        new_spinlock_bh,
        SpinLockBh, //
    },
    napi::{
        Napi,
        NapiContext,
        NapiPoll, //
    },
    netdevice::NetDevice,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    sched_list::{
        SchedList,
        SchedNode,
        SchedQueue, //
    }, //
};

use crate::rx_schedule;

/// Something with packets to deliver.
pub(crate) trait Receiver: RcuObject + HasField<SchedNode> {
    /// Decides which instance it belongs to.
    fn number(&self) -> u64;

    /// Whether there is something to deliver.
    fn has_ready(&self) -> bool;

    /// Delivers up to `budget` packets and returns how many it took. Softirq.
    fn deliver(this: &RcuArc<Self>, napi: &NapiContext<'_>, budget: usize) -> usize;

    /// Drops what could be delivered, as there is nobody to deliver to.
    fn discard(this: &RcuArc<Self>);
}

/// What one NAPI instance polls: peers that have something decrypted at the head of their queue.
#[pin_data]
struct RxContext<R: Receiver> {
    scheduled: SchedList<R>,
    /// Peers taken from `scheduled` but not served yet. Only the poll touches it; the lock says so.
    #[pin]
    taken: SpinLockBh<SchedQueue<R>>,
}

impl<R: Receiver> NapiPoll for RxContext<R> {
    fn poll(ctx: &Self, napi: &NapiContext<'_>, budget: usize) -> usize {
        rx_schedule::poll(
            &ctx.scheduled,
            &mut ctx.taken.lock(),
            budget,
            |peer, share| R::deliver(peer, napi, share),
            R::has_ready,
        )
    }
}

/// A NAPI instance and what it polls.
struct Instance<R: Receiver> {
    napi: Napi<RxContext<R>>,
    ctx: Arc<RxContext<R>>,
}

/// The NAPI instances of a device.
pub(crate) struct NapiSet<R: Receiver>(KVec<Instance<R>>);

impl<R: Receiver> NapiSet<R> {
    /// An instance for each CPU that is online. May sleep.
    pub(crate) fn new(dev: &NetDevice) -> Result<Self> {
        let mut set = KVec::new();
        // Instances are not bound to CPUs: more than can be polled at once are of no use.
        let online = (0..cpu::count()).filter(|cpu| cpu::is_online(*cpu)).count();
        for _ in 0..online.max(1) {
            let ctx = Arc::pin_init(
                try_pin_init!(RxContext {
                    scheduled: SchedList::new(),
                    taken <- new_spinlock_bh!(SchedQueue::new(), "RxContext::taken"),
                }? Error),
                GFP_KERNEL,
            )?;
            let napi = Napi::new(dev, ctx.clone(), GFP_KERNEL)?;
            set.push(Instance { napi, ctx }, GFP_KERNEL)?;
        }
        Ok(Self(set))
    }

    /// Puts `peer` on its instance's list; if it wasn't there, returns the instance, which is to be
    /// polled soon.
    pub(crate) fn list(&self, peer: RcuArc<R>) -> Option<usize> {
        let number = peer.number().checked_rem(self.0.len() as u64)? as usize;
        let instance = self.0.get(number)?;
        instance.ctx.scheduled.push(peer).then_some(number)
    }

    /// Has an instance polled.
    pub(crate) fn poll(&self, instance: usize) {
        if let Some(instance) = self.0.get(instance) {
            instance.napi.schedule();
        }
    }

    /// Has `peer` served by its instance, soon.
    pub(crate) fn wake(&self, peer: RcuArc<R>) {
        if let Some(instance) = self.list(peer) {
            self.poll(instance);
        }
    }
}

impl<R: Receiver> Drop for NapiSet<R> {
    fn drop(&mut self) {
        for Instance { napi, ctx } in self.0.drain_all() {
            // Ends polling. A poll that had used up its budget may leave peers on the list, and
            // their packets hold references that only serving or dropping them gives back.
            drop(napi);
            ctx.taken.lock().by_ref().for_each(|p| R::discard(&p));
            ctx.scheduled.take_all().for_each(|p| R::discard(&p));
        }
    }
}
