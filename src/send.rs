// SPDX-License-Identifier: GPL-2.0
//! The way of a packet out: staged, given nonces, encrypted, sent in order. Handshake messages are in
//! `send/handshake.rs`; `send/party.rs` carries out for a peer what `conduct.rs` decides.

use kernel::{
    prelude::*,
    sync::Arc,
    workqueue::WorkItem, //
};

use wgk::{
    batch::{
        Batch,
        CryptJob,
        Done,
        SubmitError, //
    },
    cpu,
    log::Text,
    netdevice::{
        Counter,
        RegisteredDevice, //
    },
    rcu::{
        read_lock,
        RcuArc,
        RcuRef, //
    },
    skbuff::TxPacket,
    workqueue::WorkQueue, //
};

use zerocopy::transmute;

use crate::{
    conduct,
    device::Device,
    drops::Reason,
    messages::{
        padding,
        DataHeader,
        Kind,
        MAX_STAGED_PACKETS, //
    },
    peer::{
        Peer,
        WORK_TRANSMIT, //
    },
    queueing::{
        Task,
        Worker, //
    },
    resources::wake_transmit,
    session::Session,
    socket, //
};

mod handshake;
mod party;

/// `ndo_start_xmit`: routes a packet by its destination to a peer and sends it there.
///
/// Softirq or process context with bottom halves off, under RCU. On an error the packet is gone and
/// counted, and its sender has been told by ICMP where there is one to tell:
/// `EPROTONOSUPPORT` not IP, `ENOKEY` no peer for this destination, `EDESTADDRREQ` the peer's address
/// is not known, or what segmentation failed with.
pub(crate) fn xmit(device: &Device, dev: &RegisteredDevice, skb: TxPacket<'_>) -> Result {
    let fail = |mut skb: TxPacket<'_>, tell: bool, reason: Reason, error: Error| {
        if tell {
            skb.icmp_unreachable();
        }
        dev.count(Counter::TxErrors, 1);
        device.drops.add(reason, 1);
        Err(error)
    };

    if skb.l3_protocol().is_none() {
        wgk::net_dbg_ratelimited!("{}: Invalid IP packet\n", dev.name());
        return fail(skb, false, Reason::TxType, EPROTONOSUPPORT);
    }
    let guard = read_lock();
    let destination = skb.dst_addr();
    let Some(peer) = destination.and_then(|a| device.allowed_ips.lookup(a, &guard)) else {
        if let Some(a) = destination {
            wgk::net_dbg_ratelimited!(
                "{}: No peer has allowed IPs matching {}\n",
                dev.name(),
                Text(a)
            );
        }
        return fail(skb, true, Reason::TxNoPeer, ENOKEY);
    };
    if !peer.has_endpoint() {
        wgk::net_dbg_ratelimited!(
            "{}: No valid endpoint has been configured or discovered for peer {}\n",
            dev.name(),
            peer.id
        );
        return fail(skb, true, Reason::TxNoEndpoint, EDESTADDRREQ);
    }

    let mtu = skb.dst_mtu().unwrap_or(dev.mtu());
    let mut burst = match skb.gso_segment() {
        Ok(list) => list,
        Err((skb, e)) => return fail(skb, true, Reason::TxSegment, e),
    };
    for mut segment in burst.iter_mut() {
        segment.set_mtu(mtu);
    }

    {
        let mut staged = peer.staged.lock();
        // Make room before the burst is added, so that the burst itself stays whole.
        while staged.len() > MAX_STAGED_PACKETS {
            drop(staged.pop_front());
            dev.count(Counter::TxDropped, 1);
            device.drops.add(Reason::TxStaged, 1);
        }
        staged.append(burst);
    }
    send_staged(peer);
    Ok(())
}

/// Sends what is staged, as one batch, or asks for a handshake if there is no session for it.
/// Any context but hard interrupt.
pub(crate) fn send_staged(peer: RcuRef<'_, Peer>) {
    conduct::send_staged(&peer);
}

/// Sends an empty packet, unless there are packets to send anyway. Any context but hard interrupt.
pub(crate) fn send_keepalive(peer: RcuRef<'_, Peer>) {
    conduct::send_keepalive(&peer);
}

/// Hands a batch to encryption. Dropped if the peer or the device is going away or queues are full.
fn submit(session: &RcuArc<Session>, batch: Batch<Session>) {
    let peer = &session.peer;
    let guard = read_lock();
    let Some(resources) = peer
        .device
        .resources
        .load(&guard)
        .filter(|_| !peer.is_dead())
    else {
        peer.device.count(Counter::TxDropped, batch.len() as u64);
        peer.device.drops.add(Reason::TxGone, batch.len());
        return;
    };
    let len = batch.len();
    match resources.encrypt.submit(&peer.tx, batch) {
        Ok(()) => (),
        Err(SubmitError::Full(batch)) => {
            peer.device.count(Counter::TxDropped, batch.len() as u64);
            peer.device.drops.add(Reason::TxQueue, batch.len());
        }
        Err(SubmitError::RingFull) => {
            peer.device.drops.add(Reason::TxQueue, len);
            // It keeps its place in the peer's queue, marked dead: the transmit work removes and
            // counts it.
            resources.wake_transmit(peer);
        }
    }
}

/// What is done with batches on their way out: sealed, and handed to the peer's transmit work, which
/// runs in this work queue.
pub(crate) struct Encrypt(pub(crate) Arc<WorkQueue>);

impl Task<Session> for Encrypt {
    fn run(&self, worker: &Worker<'_, Session>) {
        while let Some(job) = worker.next() {
            wake_transmit(&self.0, &encrypt(job).peer);
            cpu::cond_resched();
        }
    }
}

/// Encrypts the segments of a batch. Process context (crypto worker). Returns the session, whose
/// peer's transmit work is to be scheduled.
fn encrypt(mut job: CryptJob<Session>) -> RcuArc<Session> {
    let session = job.owner().clone();
    let Some(keys) = session.keys() else {
        session.peer.device.drops.add(Reason::TxSeal, job.len());
        return job.finish(false);
    };
    let mut ok = true;
    for (nonce, mut segment) in job.segments_mut() {
        let header: [u8; size_of::<DataHeader>()] = transmute!(DataHeader {
            kind: Kind::Data.word(),
            receiver_index: keys.session.remote_index.into(),
            counter: nonce.into(),
        });
        let pad = padding(segment.len(), segment.mtu());
        if !segment.seal(&header, pad, nonce, keys.session.sending.as_bytes()) {
            ok = false;
            break;
        }
        segment.scrub(true);
    }
    if !ok {
        session.peer.device.drops.add(Reason::TxSeal, job.len());
    }
    job.finish(ok)
}

/// Transmit work: sends, in order, the batches at the head of the peer's queue that are encrypted.
impl WorkItem<WORK_TRANSMIT> for Peer {
    type Pointer = RcuArc<Peer>;

    fn run(this: RcuArc<Peer>) {
        let Some(mut queue) = this.tx.try_consume() else {
            return;
        };
        while let Some(done) = queue.next() {
            match done {
                Done::Ok(batch) => send_batch(&this, batch),
                Done::Dead(batch) => this.device.count(Counter::TxDropped, batch.len() as u64),
            }
            cpu::cond_resched();
        }
    }
}

/// Sends an encrypted batch and lets the timers know.
fn send_batch(peer: &RcuArc<Peer>, batch: Batch<Session>) {
    conduct::transport_leaves(peer, || socket::send_batch(peer, batch));
}
