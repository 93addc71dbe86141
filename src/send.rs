// SPDX-License-Identifier: GPL-2.0
//! The way of a packet out: staged, given nonces, encrypted, sent in order. Handshake messages are in
//! `send/handshake.rs`; `send/party.rs` carries out for a peer what `conduct.rs` decides.

use core::net::IpAddr;

use kernel::{
    error::code::EMSGSIZE,
    prelude::*,
    sync::Arc,
    workqueue::WorkItem, //
};

use wgk::{
    atomic::Relaxed,
    batch::{
        Batch,
        Consumer,
        CryptJob,
        Done,
        SubmitError, //
    },
    cpu,
    errno::{
        EDESTADDRREQ,
        ELOOP,
        ENOKEY,
        EPROTONOSUPPORT, //
    },
    log::Text,
    netdevice::{
        Counter,
        RegisteredDevice, //
    },
    rcu::{
        read_lock,
        Guard,
        RcuArc,
        RcuRef, //
    },
    skb_list::SkbList,
    skbuff::{
        SealError,
        TxPacket, //
    },
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
        MAX_STAGED_PACKETS,
        NSEC_PER_SEC, //
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
/// is not known, `ELOOP` the way there leads through here, `EMSGSIZE` it is too long to leave in one piece,
/// or what segmentation failed with.
pub(crate) fn xmit(device: &Device, dev: &RegisteredDevice, mut skb: TxPacket<'_>) -> Result {
    let fail =
        |mut skb: TxPacket<'_>, of: Option<&Peer>, tell: bool, reason: Reason, error: Error| {
            if tell {
                skb.icmp_unreachable();
            }
            dev.count(Counter::TxErrors, 1);
            match of {
                Some(peer) => peer.lose(reason, skb),
                None => device.lose(reason, skb),
            }
            Err(error)
        };

    if skb.l3_protocol().is_none() {
        wgk::net_dbg_ratelimited!("{}: Invalid IP packet\n", dev.name());
        return fail(skb, None, false, Reason::TxType, EPROTONOSUPPORT);
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
        return fail(skb, None, true, Reason::TxNoPeer, ENOKEY);
    };
    if !peer.has_endpoint() {
        wgk::net_dbg_ratelimited!(
            "{}: No valid endpoint has been configured or discovered for peer {}\n",
            dev.name(),
            peer.id
        );
        return fail(skb, Some(&*peer), true, Reason::TxNoEndpoint, EDESTADDRREQ);
    }
    if is_own_message(device, &peer, &skb, &guard) {
        tell_of_loop(device, dev, &peer, destination);
        peer.looped_s.store(boottime_s(), Relaxed);
        // Its sender is a socket of ours.
        return fail(skb, Some(&*peer), false, Reason::TxLoop, ELOOP);
    }
    if has_looped(&peer) {
        return fail(skb, Some(&*peer), true, Reason::TxLoop, ELOOP);
    }

    let mut mtu = skb.dst_mtu().unwrap_or(dev.mtu());
    if let Some(mut longest) = peer.fit.longest() {
        if skb.must_shrink_to(longest).is_some() {
            // What was learnt may be over, and nothing else be sent that would tell.
            socket::learn_path(&peer);
            longest = peer.fit.longest().unwrap_or(u32::MAX);
            if let Some(told) = skb.must_shrink_to(longest) {
                skb.icmp_too_big(told);
                return fail(skb, Some(&*peer), false, Reason::TxTooBig, EMSGSIZE);
            }
        }
        // Nor is it padded to more.
        mtu = mtu.min(longest);
    }
    let mut burst = match skb.gso_segment() {
        Ok(list) => list,
        Err((skb, e)) => return fail(skb, Some(&*peer), true, Reason::TxSegment, e),
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
                let Some(oldest) = staged.pop_front() else {
                    break;
                };
                dev.count(Counter::TxDropped, 1);
                peer.lose(Reason::TxStaged, oldest);
            }
            staged.append(burst);
            staged.take()
        }
    };
    conduct::send(&Transmitter(peer), packets);
    Ok(())
}

/// Whether a packet to `peer` is a message of ours to that very peer: the route to its endpoint leads
/// through the tunnel. Sent, it would come back, larger each time.
///
/// What only looks like one, as that of a tunnel of another host, is not from an address and port of
/// ours; or it is forwarded, and masquerading gave it both. A message to another peer may go through
/// this one.
#[inline]
fn is_own_message(device: &Device, peer: &Peer, skb: &TxPacket<'_>, guard: &Guard) -> bool {
    if !skb.is_from_here() {
        return false;
    }
    let Some((source, port)) = skb.udp_ports() else {
        return false;
    };
    if u32::from(source) != device.listen_port.load(Relaxed) {
        return false;
    }
    // Not by the peer's endpoint, whose lock may be held by who sends this.
    let (Some(from), Some(to), Some(pair)) =
        (skb.src_addr(), skb.dst_addr(), device.sockets.load(guard))
    else {
        return false;
    };
    conduct::place(to, port) == peer.place() && pair.has_address(from, guard)
}

/// Whether a message to `peer` came back in this second. Until it is over, other packets for it are refused, so
/// that their senders know; the first of the next one finds out whether it still does.
#[inline]
fn has_looped(peer: &Peer) -> bool {
    let at = peer.looped_s.load(Relaxed);
    at != 0 && boottime_s() == at
}

/// Seconds of boot time, from 1 on.
fn boottime_s() -> u32 {
    // CAST: For 136 years.
    (boottime_coarse_ns() / NSEC_PER_SEC) as u32 + 1
}

/// How long the log is not told of another loop of the device.
const LOOP_TOLD_NS: u64 = 60 * NSEC_PER_SEC;

/// Tells the log, once in [`LOOP_TOLD_NS`].
#[cold]
fn tell_of_loop(device: &Device, dev: &RegisteredDevice, peer: &Peer, to: Option<IpAddr>) {
    let (now, told) = (boottime_coarse_ns(), device.loop_told_ns.load(Relaxed));
    if told != 0 && now.wrapping_sub(told) < LOOP_TOLD_NS {
        return;
    }
    let first = device
        .loop_told_ns
        .cmpxchg(told, now.max(1), Relaxed)
        .is_ok();
    if let (true, Some(to)) = (first, to) {
        wgk::pr_warn!(
            "{}: The route to {}, where peer {} is, leads through the tunnel to that peer: nothing is sent there\n",
            dev.name(),
            Text(to),
            peer.id
        );
    }
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

/// Begins a handshake with a peer whose endpoint the user has changed, if somebody waits for one. The
/// interface is up. Any context but hard interrupt.
pub(crate) fn moved_by_user(peer: RcuRef<'_, Peer>) {
    conduct::moved_by_user(&peer);
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
        peer.lose(Reason::TxGone, batch);
        return;
    };
    let len = batch.len();
    let here = here.is_some_and(|lone| {
        let empty = peer.tx.is_empty();
        peer.inline.suits(
            &peer.device.crowd,
            lone,
            Way::Out,
            empty,
            boottime_coarse_ns(),
        )
    });
    let submitted = if here && may_send_here() {
        send_here(resources, peer, batch)
            .map(|()| None)
            .map_err(SubmitError::Full)
    } else {
        resources.encrypt.submit(&peer.tx, batch)
    };
    match submitted {
        Ok(called) => peer.device.trace_worker(c"encrypt", called),
        Err(SubmitError::Full(batch)) => {
            peer.device.count(Counter::TxDropped, batch.len() as u64);
            peer.lose(Reason::TxQueue, batch);
        }
        Err(SubmitError::RingFull) => {
            peer.note_lost(Reason::TxQueue, len);
            // It keeps its place in the peer's queue, marked dead: the transmit work removes, counts
            // and frees it.
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
        return session.peer.lose(Reason::TxGone, job);
    };
    let copy_dscp = session.peer.device.copy_dscp.load(Relaxed);
    let mut failed = None;
    for (nonce, mut segment) in job.segments_mut() {
        if copy_dscp {
            segment.copy_ds();
        }
        let header: [u8; size_of::<DataHeader>()] = transmute!(DataHeader {
            kind: Kind::Data.word(),
            receiver_index: keys.session.remote_index.into(),
            counter: nonce.into(),
        });
        let pad = padding(segment.len(), segment.mtu());
        if let Err(e) = segment.seal(&header, pad, nonce, keys.session.sending.as_bytes()) {
            failed = Some(match e {
                SealError::NoMemory => Reason::TxSeal,
                SealError::Malformed => Reason::TxMalformed,
            });
            break;
        }
        segment.scrub(true);
    }
    match failed {
        Some(reason) => session.peer.lose(reason, job),
        None => job.finish(),
    }
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
