// SPDX-License-Identifier: GPL-2.0
//! The queues and workers that a device has while it exists, and their orderly end.
//!
//! Three stages run on every CPU: handshakes, encryption, decryption. Encryption and decryption
//! take batches from a ring that all CPUs share and hand them to the one place per peer that keeps
//! the order: its transmit work, or one of the device's NAPI instances. How many CPUs are woken for
//! a ring is decided in `workers.rs`. There is a NAPI instance per CPU, not per peer. A peer belongs
//! to one of them for good, so its packets stay in order although the instance may be polled on any
//! CPU.
//!
//! [`Resources`] is published to the data path under RCU. Taking it away and waiting for readers
//! stops all new work; then its `Drop` lets what is under way run to its end, in the order in which
//! packets flow. So no batch is ever left in a queue that nobody serves.

use core::sync::atomic::{
    AtomicI32,
    AtomicU32,
    Ordering::Relaxed, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};

use wgk::{
    batch::{
        Batch,
        CryptJob,
        CryptRing,
        OrderQueue,
        SubmitError, //
    },
    cpu,
    hashtable::{
        IndexTable,
        PubkeyTable, //
    },
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
    percpu::{
        new_percpu_work,
        PerCpuWork,
        PerCpuWorker, //
    },
    rcu::RcuArc,
    sched_list::{
        SchedList,
        SchedQueue, //
    },
    skb_list::SkbList,
    skbuff::SkBuff,
    time::boottime_coarse_ns,
    workqueue::{
        WorkQueue,
        WqFlags, //
    }, //
};

use crate::{
    device::Device,
    drops::Reason,
    messages::{
        MAX_QUEUED_INCOMING_HANDSHAKES,
        MAX_QUEUED_PACKETS, //
    },
    peer::{
        Peer,
        WORK_TRANSMIT, //
    },
    receive,
    send,
    session::Session,
    workers::Workers, //
};

/// Batches that a worker decrypts before it has them delivered. More would give GRO no more to merge,
/// but overrun the socket buffers of who receives small packets.
const BURST: usize = 16;

/// Segments of one peer that a poll delivers before it turns to the next peer.
const FAIR_SHARE: usize = 16;

/// Batches that wait for encryption or decryption, and the workers that see to them.
pub(crate) struct Jobs {
    ring: CryptRing<Session>,
    workers: Workers,
}

impl Jobs {
    fn new() -> Result<Self> {
        Ok(Self {
            ring: CryptRing::new(MAX_QUEUED_PACKETS as u32)?,
            workers: Workers::new(),
        })
    }

    /// The next batch for the worker that asks; `None` if it is to end.
    fn next(&self) -> Option<CryptJob<Session>> {
        let job = self.ring.pop().or_else(|| {
            self.workers.ended();
            let late = self.ring.pop()?;
            self.workers.resumed();
            Some(late)
        })?;
        self.workers.taken(job.len());
        Some(job)
    }
}

/// Encryption: what waits for it, and where finished batches go.
pub(crate) struct EncryptStage {
    jobs: Jobs,
    crypt_wq: Arc<WorkQueue>,
}

impl PerCpuWorker for EncryptStage {
    fn run(ctx: &Self) {
        while let Some(job) = ctx.jobs.next() {
            ctx.schedule_transmit(send::encrypt(job));
            cpu::cond_resched();
        }
    }
}

impl EncryptStage {
    /// Has the peer's transmit work look at the head of its queue.
    pub(crate) fn schedule_transmit(&self, session: RcuArc<Session>) {
        let peer = &session.peer;
        let cpu = cpu::choose_online(&peer.tx_cpu, peer.id);
        self.crypt_wq
            .enqueue_on::<_, WORK_TRANSMIT>(cpu, peer.clone());
    }
}

/// Decryption: what waits for it, and where finished batches go.
pub(crate) struct DecryptStage {
    jobs: Jobs,
    napis: Arc<NapiSet>,
}

impl PerCpuWorker for DecryptStage {
    fn run(ctx: &Self) {
        // An instance is polled when there's a burst to deliver, not for each packet: in process
        // context a poll would begin at once, find one packet, and leave nothing for GRO to merge.
        let mut waiting = None;
        let mut jobs = 0;
        while let Some(job) = ctx.jobs.next() {
            let session = receive::decrypt(job);
            if let Some(instance) = ctx.napis.list(session.peer.clone()) {
                if let Some(other) = waiting.replace(instance).filter(|w| *w != instance) {
                    ctx.napis.poll(other);
                }
            }
            jobs += 1;
            if jobs % BURST == 0 {
                if let Some(instance) = waiting.take() {
                    ctx.napis.poll(instance);
                }
            }
            cpu::cond_resched();
        }
        if let Some(instance) = waiting {
            ctx.napis.poll(instance);
        }
    }
}

impl DecryptStage {
    /// Has the peer's NAPI instance look at the head of its queue.
    pub(crate) fn schedule_receive(&self, session: RcuArc<Session>) {
        if let Some(instance) = self.napis.list(session.peer.clone()) {
            self.napis.poll(instance);
        }
    }
}

/// Handshake messages that wait for a worker; bounded, oldest first.
#[pin_data]
pub(crate) struct HandshakeStage {
    #[pin]
    queue: SpinLockBh<SkbList>,
    /// Messages queued or being worked on: the measure of load.
    len: AtomicU32,
    device: RcuArc<Device>,
}

impl HandshakeStage {
    /// Queues a message; hands it back if there are `room` already, or the queue is contended while
    /// half full (then the sender floods, and a lock that many CPUs fight for would cost more than
    /// the message).
    pub(crate) fn push(&self, skb: SkBuff, room: usize) -> Result<(), SkBuff> {
        let len = self.len();
        if len >= room {
            return Err(skb);
        }
        let queue = if len > MAX_QUEUED_INCOMING_HANDSHAKES / 2 {
            self.queue.try_lock()
        } else {
            Some(self.queue.lock())
        };
        let Some(mut queue) = queue else {
            return Err(skb);
        };
        if queue.len() >= room {
            return Err(skb);
        }
        queue.push_back(skb);
        self.len.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Messages queued or being worked on.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    /// Drops what is queued; what is being worked on stays counted in `len`.
    pub(crate) fn purge(&self) {
        let list = self.queue.lock().take();
        self.len.fetch_sub(list.len() as u32, Relaxed);
        self.device.drops.add(Reason::RxDown, list.len());
    }
}

impl PerCpuWorker for HandshakeStage {
    fn run(ctx: &Self) {
        loop {
            let Some(skb) = ctx.queue.lock().pop_front() else {
                return;
            };
            receive::handshake(&ctx.device, skb, ctx.len());
            ctx.len.fetch_sub(1, Relaxed);
            cpu::cond_resched();
        }
    }
}

/// What one NAPI instance polls: peers that have something decrypted at the head of their queue.
#[pin_data]
pub(crate) struct RxContext {
    scheduled: SchedList<Peer>,
    /// Peers taken from `scheduled` but not served yet. Only the poll touches it; the lock says so.
    #[pin]
    taken: SpinLockBh<SchedQueue<Peer>>,
}

impl NapiPoll for RxContext {
    fn poll(ctx: &Self, napi: &NapiContext<'_>, budget: usize) -> usize {
        let mut taken = ctx.taken.lock();
        let mut done = 0;
        while done < budget {
            let peer = match taken.next() {
                Some(peer) => peer,
                None => {
                    taken.refill(&ctx.scheduled);
                    match taken.next() {
                        Some(peer) => peer,
                        None => break,
                    }
                }
            };
            // From here on a worker that finishes a batch of this peer puts it on the list again.
            peer.sched_begin();
            let share = FAIR_SHARE.min(budget - done);
            done += receive::deliver(&peer, napi, share);
            if peer.rx.has_ready() {
                ctx.scheduled.push(peer);
            }
        }
        done
    }
}

/// A NAPI instance and what it polls.
struct Instance {
    napi: Napi<RxContext>,
    ctx: Arc<RxContext>,
}

/// The NAPI instances of a device.
pub(crate) struct NapiSet(KVec<Instance>);

impl NapiSet {
    fn new(dev: &NetDevice) -> Result<Self> {
        let mut set = KVec::new();
        // Instances are not bound to CPUs: more than can be polled at once are of no use.
        let online = (0..cpu::count()).filter(|cpu| cpu::is_online(*cpu)).count();
        for _ in 0..online.max(1) {
            let ctx = Arc::pin_init(
                try_pin_init!(RxContext {
                    scheduled: SchedList::new(),
                    taken <- new_spinlock_bh!(SchedQueue::new()),
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
    fn list(&self, peer: RcuArc<Peer>) -> Option<usize> {
        let number = peer.id.checked_rem(self.0.len() as u64)? as usize;
        let instance = self.0.get(number)?;
        instance.ctx.scheduled.push(peer).then_some(number)
    }

    /// Has an instance polled.
    fn poll(&self, instance: usize) {
        if let Some(instance) = self.0.get(instance) {
            instance.napi.schedule();
        }
    }
}

impl Drop for NapiSet {
    fn drop(&mut self) {
        for Instance { napi, ctx } in self.0.drain_all() {
            // Ends polling. A poll that had used up its budget may leave peers on the list, and
            // their packets hold references that only serving or dropping them gives back.
            drop(napi);
            ctx.taken.lock().by_ref().for_each(|p| receive::discard(&p));
            ctx.scheduled.take_all().for_each(|p| receive::discard(&p));
        }
    }
}

/// Everything of a device that needs process context to end.
pub(crate) struct Resources {
    /// By public key: peers.
    pub(crate) public_keys: Pin<KBox<PubkeyTable<Peer>>>,
    /// By our index: sessions, pending and established.
    pub(crate) indices: Pin<KBox<IndexTable<Session>>>,
    pub(crate) handshake: PerCpuWork<HandshakeStage>,
    pub(crate) encrypt: PerCpuWork<EncryptStage>,
    pub(crate) decrypt: PerCpuWork<DecryptStage>,
    handshake_receive_wq: WorkQueue,
    pub(crate) handshake_send_wq: WorkQueue,
    crypt_wq: Arc<WorkQueue>,
    last_cpu: AtomicI32,
}

impl Resources {
    /// Makes the queues and workers of `device`, whose interface `dev` is about to be registered.
    /// May sleep.
    pub(crate) fn new(device: &RcuArc<Device>, dev: &NetDevice) -> Result<KBox<Self>> {
        let name = dev.name();
        let handshake_receive_wq = WorkQueue::alloc(
            fmt!("wg-kex-{name}"),
            WqFlags::CPU_INTENSIVE | WqFlags::FREEZABLE | WqFlags::PERCPU,
            0,
        )?;
        let handshake_send_wq = WorkQueue::alloc(
            fmt!("wg-kex-{name}"),
            WqFlags::UNBOUND | WqFlags::FREEZABLE,
            0,
        )?;
        let crypt_wq = Arc::new(
            WorkQueue::alloc(
                fmt!("wg-crypt-{name}"),
                WqFlags::CPU_INTENSIVE | WqFlags::MEM_RECLAIM | WqFlags::PERCPU,
                0,
            )?,
            GFP_KERNEL,
        )?;
        let encrypt = Arc::new(
            EncryptStage {
                jobs: Jobs::new()?,
                crypt_wq: crypt_wq.clone(),
            },
            GFP_KERNEL,
        )?;
        let decrypt = Arc::new(
            DecryptStage {
                jobs: Jobs::new()?,
                napis: Arc::new(NapiSet::new(dev)?, GFP_KERNEL)?,
            },
            GFP_KERNEL,
        )?;
        let handshake = Arc::pin_init(
            try_pin_init!(HandshakeStage {
                queue <- new_spinlock_bh!(SkbList::new()),
                len: AtomicU32::new(0),
                device: device.clone(),
            }? Error),
            GFP_KERNEL,
        )?;
        Ok(KBox::new(
            Self {
                public_keys: KBox::pin_init(PubkeyTable::new(), GFP_KERNEL)?,
                indices: KBox::pin_init(IndexTable::new(), GFP_KERNEL)?,
                handshake: new_percpu_work!(handshake, "wireguard::handshake_receive")?,
                encrypt: new_percpu_work!(encrypt, "wireguard::encrypt")?,
                decrypt: new_percpu_work!(decrypt, "wireguard::decrypt")?,
                handshake_receive_wq,
                handshake_send_wq,
                crypt_wq,
                last_cpu: AtomicI32::new(-1),
            },
            GFP_KERNEL,
        )?)
    }

    /// Has a batch encrypted, and then sent in the order of `order`. On an error see
    /// [`CryptRing::submit`].
    #[inline]
    pub(crate) fn encrypt(
        &self,
        order: &OrderQueue<Session>,
        batch: Batch<Session>,
    ) -> Result<(), SubmitError<Session>> {
        self.submit(&self.encrypt, &self.encrypt.context().jobs, order, batch)
    }

    /// Has a batch decrypted, and then delivered in the order of `order`. On an error see
    /// [`CryptRing::submit`].
    #[inline]
    pub(crate) fn decrypt(
        &self,
        order: &OrderQueue<Session>,
        batch: Batch<Session>,
    ) -> Result<(), SubmitError<Session>> {
        self.submit(&self.decrypt, &self.decrypt.context().jobs, order, batch)
    }

    /// Puts a batch in line, and calls the next CPU's worker unless those that are up are enough.
    #[inline]
    fn submit<C: PerCpuWorker>(
        &self,
        work: &PerCpuWork<C>,
        jobs: &Jobs,
        order: &OrderQueue<Session>,
        batch: Batch<Session>,
    ) -> Result<(), SubmitError<Session>> {
        let segments = batch.len();
        jobs.ring.submit(order, batch)?;
        if jobs.workers.submitted(segments, boottime_coarse_ns())
            && !work.enqueue_on(&self.crypt_wq, cpu::next_online(&self.last_cpu))
        {
            jobs.workers.not_called();
        }
        Ok(())
    }

    /// Has some CPU's worker look at the handshake queue.
    pub(crate) fn kick_handshake(&self) {
        self.handshake
            .enqueue_on(&self.handshake_receive_wq, cpu::next_online(&self.last_cpu));
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        // No new work arrives: the data path does not see these queues any more. Handshakes first,
        // they can no longer start anything; then encryption and decryption; then, flushed again,
        // the transmit works that those scheduled. The NAPI instances go with the last reference
        // to the decryption stage, after their polls have emptied their lists.
        self.handshake.context().purge();
        self.handshake_receive_wq.flush();
        self.handshake_send_wq.flush();
        self.crypt_wq.flush();
        self.crypt_wq.flush();
    }
}
