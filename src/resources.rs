// SPDX-License-Identifier: GPL-2.0
//! What a device has going while its interface exists, and its orderly end.
//!
//! Three stages run on every CPU: handshakes, encryption, decryption. Work is queued for a CPU, but not bound
//! to it: where a real-time task has that one, the scheduler runs it on another. Encryption and decryption
//! take batches from a ring that all CPUs share and hand them to the one place per peer that keeps
//! the order: its transmit work, or one of the device's NAPI instances.
//!
//! [`Resources`] is published to the data path under RCU. Taking it away and waiting for readers
//! stops all new work; then its `Drop` lets what is under way run to its end, in the order in which
//! packets flow. So no batch is ever left in a queue that nobody serves. Only the workers of
//! handshakes end later, without RTNL: see [`HandshakeWorkers`].

use kernel::{
    prelude::*,
    sync::Arc, //
};

use wgk::{
    cpu,
    hashtable::{
        IndexTable,
        PubkeyTable, //
    },
    netdevice::NetDevice,
    rcu::{
        read_lock,
        RcuArc, //
    },
    workqueue::{
        WorkQueue,
        WqFlags, //
    }, //
};

use crate::{
    device::Device,
    messages::MAX_QUEUED_PACKETS,
    napis::NapiSet,
    peer::{
        Peer,
        WORK_TRANSMIT, //
    },
    queueing::{
        Handler,
        MessageQueue,
        Stage,
        Task, //
    },
    session::Session, //
};

/// Everything of a device that needs process context to end.
pub(crate) struct Resources {
    /// By public key: peers.
    pub(crate) public_keys: Pin<KBox<PubkeyTable<Peer>>>,
    /// By our index: sessions, pending and established.
    pub(crate) indices: Pin<KBox<IndexTable<Session>>>,
    /// Handshake messages that were received.
    pub(crate) handshake: Arc<MessageQueue>,
    /// Batches on their way out.
    pub(crate) encrypt: Stage<Session>,
    /// Batches on their way in.
    pub(crate) decrypt: Stage<Session>,
    /// Who delivers what is decrypted.
    pub(crate) napis: Arc<NapiSet<Peer>>,
    /// For handshakes that we begin, and for what else sleeps.
    pub(crate) handshake_send_wq: Arc<WorkQueue>,
    crypt_wq: Arc<WorkQueue>,
}

/// What the stages do.
pub(crate) trait Tasks {
    /// The work of handshakes.
    fn handshake(&self) -> Result<KBox<dyn Handler>>;

    /// The work of encryption; what is done is sent by workers of `crypt_wq`.
    fn encrypt(&self, crypt_wq: &Arc<WorkQueue>) -> Result<KBox<dyn Task<Session>>>;

    /// The work of decryption; what is done is delivered by `napis`.
    fn decrypt(&self, napis: &Arc<NapiSet<Peer>>) -> Result<KBox<dyn Task<Session>>>;
}

impl Resources {
    /// Makes the queues and workers of a device, whose interface `dev` is about to be registered; with
    /// `handshakes` it shares those of handshakes. May sleep.
    pub(crate) fn new(
        dev: &NetDevice,
        tasks: &impl Tasks,
        handshakes: &HandshakeWorkers,
    ) -> Result<KBox<Self>> {
        let name = dev.name();
        let crypt_wq = Arc::new(
            WorkQueue::alloc(
                fmt!("wg-crypt-{name}"),
                WqFlags::MEM_RECLAIM | WqFlags::UNBOUND,
                0,
            )?,
            GFP_KERNEL,
        )?;
        let napis = NapiSet::new(dev)?;
        Ok(KBox::new(
            Self {
                public_keys: KBox::pin_init(PubkeyTable::new(), GFP_KERNEL)?,
                indices: KBox::pin_init(IndexTable::new(), GFP_KERNEL)?,
                handshake: handshakes.messages.clone(),
                // A burst of ours counts as one, as it does in the queue that it comes from.
                encrypt: Stage::new(crypt_wq.clone(), tasks.encrypt(&crypt_wq)?, None)?,
                // What others send counts by messages: else all would wait behind who sends in
                // large batches.
                decrypt: Stage::new(
                    crypt_wq.clone(),
                    tasks.decrypt(&napis)?,
                    Some(MAX_QUEUED_PACKETS),
                )?,
                napis,
                handshake_send_wq: handshakes.send_wq.clone(),
                crypt_wq,
            },
            GFP_KERNEL,
        )?)
    }

    /// Has the peer's transmit work look at the head of its queue. Any context.
    pub(crate) fn wake_transmit(&self, peer: &RcuArc<Peer>) {
        wake_transmit(&self.crypt_wq, peer);
    }
}

/// Has the peer's transmit work look at the head of its queue, in a worker of `crypt_wq`. Any
/// context.
pub(crate) fn wake_transmit(crypt_wq: &WorkQueue, peer: &RcuArc<Peer>) {
    cpu::handover_delay();
    let cpu = cpu::choose_online(&peer.tx_cpu, peer.id);
    crypt_wq.enqueue_on::<_, WORK_TRANSMIT>(cpu, peer.clone());
}

/// The NAPI instances, to be used without a guard, by whoever holds RTNL or is a worker of handshakes:
/// the device waits for these before it goes ([`HandshakeWorkers`]). They may be the last to hold the
/// instances, which ends these; may sleep.
fn napis(device: &Device) -> Option<Arc<NapiSet<Peer>>> {
    let guard = read_lock();
    Some(device.resources.load(&guard)?.napis.clone())
}

/// The NAPI instance for a peer that is about to be one of `peers`. May sleep; device lock held.
pub(crate) fn join_napis(device: &Device, peers: usize) -> Result<u32> {
    let napis = napis(device).ok_or(ENODEV)?;
    napis.set_peers(peers);
    napis.keep_up();
    Ok(napis.assign())
}

/// Notes that `peers` remain. Device lock held.
pub(crate) fn leave_napis(device: &Device, peers: usize) {
    let guard = read_lock();
    if let Some(resources) = device.resources.load(&guard) {
        resources.napis.set_peers(peers);
    }
}

/// Makes NAPI instances for CPUs that have come. May sleep; for a handshake's worker: whoever is to
/// send us packets has made a handshake within two minutes.
pub(crate) fn keep_up_napis(device: &Device) {
    let lags = {
        let guard = read_lock();
        device
            .resources
            .load(&guard)
            .is_some_and(|resources| resources.napis.lags())
    };
    if lags {
        if let Some(napis) = napis(device) {
            napis.keep_up();
        }
    }
}

impl Drop for Resources {
    /// With RTNL held: waits for workers that nothing stops, and for nobody else. Those of handshakes
    /// are [`HandshakeWorkers`]'.
    fn drop(&mut self) {
        // No new work arrives: the data path does not see these queues any more, nor does a worker
        // that is still busy with a handshake. Encryption and decryption first; then, flushed again,
        // the transmit works that those scheduled. The NAPI instances go with the last reference
        // to them, after their polls have emptied their lists: that of the decryption, unless a
        // worker is about to make one more, which then finds that it can't, at the latest when the
        // device has ended those that there are.
        self.handshake.purge();
        self.crypt_wq.flush();
        self.crypt_wq.flush();
    }
}

/// The workers of a device's handshakes. They end after everything else, and without RTNL.
///
/// Their workqueues are freezable, as with the C driver: what is queued while the machine goes to
/// sleep waits until it has woken up. Whoever flushes such a queue then waits as long. With RTNL
/// held that would be for ever, as the devices of a machine may want RTNL to be put to sleep.
pub(crate) struct HandshakeWorkers {
    messages: Arc<MessageQueue>,
    receive_wq: Arc<WorkQueue>,
    send_wq: Arc<WorkQueue>,
}

impl HandshakeWorkers {
    /// Makes the workers of a device, whose interface `dev` is about to be registered. May sleep.
    pub(crate) fn new(dev: &NetDevice, tasks: &impl Tasks) -> Result<Self> {
        let name = dev.name();
        let receive_wq = Arc::new(
            WorkQueue::alloc(
                fmt!("wg-kex-{name}"),
                WqFlags::FREEZABLE | WqFlags::UNBOUND,
                0,
            )?,
            GFP_KERNEL,
        )?;
        let send_wq = Arc::new(
            WorkQueue::alloc(
                fmt!("wg-kex-{name}"),
                WqFlags::UNBOUND | WqFlags::FREEZABLE,
                0,
            )?,
            GFP_KERNEL,
        )?;
        let messages = MessageQueue::new(receive_wq.clone(), tasks.handshake()?)?;
        Ok(Self {
            messages: Arc::new(messages, GFP_KERNEL)?,
            receive_wq,
            send_wq,
        })
    }
}

impl Drop for HandshakeWorkers {
    /// Sleeps, if the machine is going to sleep until it has woken up: not with RTNL held.
    fn drop(&mut self) {
        // Nothing queues any more, as there are no `Resources`: what is queued finds its peer dead.
        self.messages.purge();
        self.receive_wq.flush();
        self.send_wq.flush();
    }
}
