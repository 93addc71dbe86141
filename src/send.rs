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
        Consumer,
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
    skb_list::SkbList,
    skbuff::TxPacket,
    time::boottime_coarse_ns,
    udp_tunnel::may_send_here,
    workqueue::WorkQueue, //
};

use zerocopy::transmute;

use crate::{
    conduct,
    device::Device,
    drops::Reason,
    finished::Finished,
    inline::{
        Lone,
        Way, //
    },
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
    resources::{
        wake_transmit,
        Resources, //
    },
    session::Session,
    socket, //
};

mod handshake;
mod party;

use party::Transmitter;

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

    let packets = {
        let mut staged = peer.staged.lock();
        // Most often nothing waits.
        if staged.is_empty() {
            burst
        } else {
            // Make room before the burst is added, so that the burst itself stays whole.
            while staged.len() > MAX_STAGED_PACKETS {
                drop(staged.pop_front());
                dev.count(Counter::TxDropped, 1);
                device.drops.add(Reason::TxStaged, 1);
            }
            staged.append(burst);
            staged.take()
        }
    };
    conduct::send(&Transmitter(peer), packets);
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
/// With `here`, what it is, its one message may be sealed and sent before this returns.
fn submit(session: &RcuArc<Session>, batch: Batch<Session>, here: Option<Lone>) {
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
    let here = here.is_some_and(|lone| {
        let empty = peer.tx.is_empty();
        peer.inline
            .suits(lone, Way::Out, empty, boottime_coarse_ns())
    });
    let submitted = if here && may_send_here() {
        send_here(resources, peer, batch).map_err(SubmitError::Full)
    } else {
        resources.encrypt.submit(&peer.tx, batch)
    };
    match submitted {
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

/// Seals a batch, and sends it with what is in front of it in the peer's queue; hands it back if that is
/// full. Bottom halves off, under RCU.
fn send_here(
    resources: &Resources,
    peer: &RcuArc<Peer>,
    batch: Batch<Session>,
) -> Result<(), Batch<Session>> {
    encrypt(CryptJob::begin(&peer.tx, batch)?);
    cpu::handover_delay();
    let left = peer.tx.consume_for(|queue| {
        transmit(peer, queue);
    });
    // The transmit work may have found that somebody was at it. Or it is at it itself.
    if left {
        resources.wake_transmit(peer);
    }
    Ok(())
}

/// What is done with batches on their way out: sealed, and handed to the peer's transmit work, which
/// runs in this work queue.
pub(crate) struct Encrypt(pub(crate) Arc<WorkQueue>);

impl Task<Session> for Encrypt {
    fn run(&self, worker: &Worker<'_, Session>) {
        let mut sealed = Finished::new(|s: RcuArc<Session>| wake_transmit(&self.0, &s.peer));
        while let Some(job) = worker.next() {
            let (peer, messages) = (job.owner().peer.id, job.len());
            sealed.turn_to(|session| session.peer.id == peer);
            sealed.add(messages, Some(encrypt(job)));
            cpu::cond_resched();
        }
    }
}

/// Encrypts the segments of a batch. Process context (crypto worker), or with bottom halves off.
/// Returns the session, whose peer's transmit work is to be scheduled.
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

/// Messages that leave in one go; or a burst more. They have the timers, the route and the peer's
/// path to themselves once, and bottom halves stay off for so long.
const GATHERED: usize = 64;

/// Transmit work: sends, in order, the batches at the head of the peer's queue that are encrypted.
impl WorkItem<WORK_TRANSMIT> for Peer {
    type Pointer = RcuArc<Peer>;

    fn run(this: RcuArc<Peer>) {
        let Some(mut queue) = this.tx.try_consume() else {
            return;
        };
        while transmit(&this, &mut queue) {
            cpu::cond_resched();
        }
    }
}

/// Sends what is encrypted at the head of the queue, in one go. Whether there was something.
fn transmit(peer: &RcuArc<Peer>, queue: &mut Consumer<'_, Session>) -> bool {
    let messages = gather(peer, queue);
    let some = !messages.is_empty();
    if some {
        conduct::transport_leaves(peer, || socket::send_messages(peer, messages));
    }
    some
}

/// What is encrypted at the head of the queue now: nothing waits for more. Empty if nothing is.
fn gather(peer: &Peer, queue: &mut Consumer<'_, Session>) -> SkbList {
    let mut messages = SkbList::new();
    while messages.len() < GATHERED {
        match queue.next() {
            None => break,
            Some(Done::Ok(batch)) => messages.append(batch.into_parts().0),
            Some(Done::Dead(batch)) => peer.device.count(Counter::TxDropped, batch.len() as u64),
        }
    }
    messages
}
