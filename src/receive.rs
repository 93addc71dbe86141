// SPDX-License-Identifier: GPL-2.0
//! The way of a packet in: sorted by message type, decrypted, put back in order, checked, delivered.
//! Handshake messages are in `receive/handshake.rs`.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use wgk::{
    atomic::HotAtomic,
    batch::{
        Batch,
        CryptJob,
        SubmitError,
        Taken, //
    },
    cpu,
    log::Text,
    napi::NapiContext,
    netdevice::Counter,
    rcu::{
        read_lock,
        RcuArc, //
    },
    skb_list::SkbList,
    skbuff::{
        Datagram,
        InnerError,
        SkBuff,
        UdpPacket, //
    },
    time::boottime_coarse_ns,
    udp_tunnel::UdpReceiver, //
};

use zerocopy::FromBytes;

use crate::{
    conduct,
    device::Device,
    drops::Reason,
    messages::{
        classify,
        data_len,
        DataHeader,
        Kind, //
    },
    napis::{
        NapiSet,
        Receiver, //
    },
    peer::Peer,
    queueing::{
        Task,
        Worker, //
    },
    rx_schedule::{
        Finished,
        Member, //
    },
    session::Session, //
};

mod handshake;

pub(crate) use handshake::Handshakes;

/// Bytes that tell a message's type apart; the smallest prefix [`classify`] wants.
const TYPE_LEN: usize = 4;

impl UdpReceiver for Device {
    /// A datagram arrived on one of the device's sockets. Softirq, under RCU.
    fn receive(this: &Self, datagram: Datagram) {
        let Ok(mut packet) = datagram.udp_payload() else {
            this.drops.add(Reason::RxHeader, 1);
            return;
        };
        let len = packet.len();
        let kind = packet.head(TYPE_LEN).and_then(|head| classify(head, len));
        match kind {
            None => this.drops.add(Reason::RxType, 1),
            Some(Kind::Data) => receive_data(this, packet),
            Some(_) => handshake::queue(this, packet),
        }
    }
}

/// Finds the session of a transport message and queues the message for decryption.
fn receive_data(device: &Device, mut packet: UdpPacket) {
    let ds = packet.ecn_dsfield();
    let Some((index, counter)) = packet
        .head(size_of::<DataHeader>())
        .and_then(|head| DataHeader::ref_from_prefix(head).ok())
        .map(|(header, _)| (header.receiver_index.get(), header.counter.get()))
    else {
        device.drops.add(Reason::RxMemory, 1);
        return;
    };
    let guard = read_lock();
    let Some(resources) = device.resources.load(&guard) else {
        device.drops.add(Reason::RxDown, 1);
        return;
    };
    let Some(found) = resources.indices.lookup(index, &guard) else {
        device.drops.add(Reason::RxIndex, 1);
        return;
    };
    let usable = found.keys().is_some() && !found.peer.is_dead();
    let Some(session) = usable.then(|| found.try_get()).flatten() else {
        device.drops.add(Reason::RxNoKeys, 1);
        return;
    };
    let mut skb = packet.into_inner();
    skb.set_ds(ds);
    let mut list = SkbList::new();
    list.push_back(skb);
    let Some(batch) = Batch::new(list, session, counter) else {
        return;
    };
    // `found` will do from here on: the packet has the session's one reference of its own.
    match resources.decrypt.submit(&found.peer.rx, batch) {
        Ok(()) => (),
        Err(SubmitError::Full(batch)) => device.drops.add(Reason::RxQueue, batch.len()),
        Err(SubmitError::RingFull) => {
            // It keeps its place in the peer's queue, marked dead.
            device.drops.add(Reason::RxQueue, 1);
            resources.napis.wake(found.peer.clone());
        }
    }
}

/// What is done with batches on their way in: opened, and handed to the peer's NAPI instance.
pub(crate) struct Decrypt(pub(crate) Arc<NapiSet<Peer>>);

impl Task<Session> for Decrypt {
    fn run(&self, worker: &Worker<'_, Session>) {
        let mut finished = Finished::new();
        let poll = |instance| self.0.poll(instance);
        while let Some(job) = worker.next() {
            let session = decrypt(job);
            finished.add(self.0.list(session.peer.clone()), poll);
            cpu::cond_resched();
        }
        finished.end(poll);
    }
}

/// Opens the segments of a batch. Process context (crypto worker). Returns the session, whose
/// peer's NAPI instance is to be scheduled.
fn decrypt(mut job: CryptJob<Session>) -> RcuArc<Session> {
    let session = job.owner().clone();
    let failed = match session.receiving_key(boottime_coarse_ns()) {
        Some(key) => job
            .segments_mut()
            .any(|(nonce, mut segment)| !segment.open(nonce, key.as_bytes()))
            .then_some(Reason::RxAuth),
        None => Some(Reason::RxExpired),
    };
    if let Some(reason) = failed {
        session.peer.device.drops.add(reason, job.len());
    }
    job.finish(failed.is_none())
}

impl Member for Peer {
    fn instance(&self) -> &HotAtomic<u32> {
        &self.instance
    }

    fn has_ready(&self) -> bool {
        self.rx.has_ready()
    }
}

impl Receiver for Peer {
    /// In order: segments at the head of the peer's queue that are decrypted.
    fn deliver(this: &RcuArc<Self>, napi: &NapiContext<'_>, budget: usize) -> usize {
        let Some(mut queue) = this.rx.try_consume() else {
            return 0;
        };
        let mut taken = 0;
        while taken < budget {
            match queue.take_segment() {
                None => break,
                Some(Taken::Dead(batch)) => taken += batch.len(),
                Some(Taken::Packet { skb, nonce, owner }) => {
                    taken += 1;
                    if owner.accept_counter(&mut queue, nonce) {
                        deliver_one(this, napi, &owner, skb);
                    } else {
                        this.device.drops.add(Reason::RxReplay, 1);
                        wgk::net_dbg_ratelimited!(
                            "{}: Packet has invalid nonce {}\n",
                            this.device.name(),
                            nonce
                        );
                    }
                }
            }
        }
        taken.min(budget)
    }

    fn discard(this: &RcuArc<Self>) {
        if let Some(mut queue) = this.rx.try_consume() {
            while let Some(taken) = queue.take_segment() {
                // What is dead was counted when it died.
                if let Taken::Packet { .. } = taken {
                    this.device.drops.add(Reason::RxDown, 1);
                }
            }
        }
    }
}

/// One authentic transport message: what it tells about the peer, and the packet in it.
fn deliver_one(peer: &RcuArc<Peer>, napi: &NapiContext<'_>, session: &Session, mut skb: SkBuff) {
    let Some(endpoint) = skb.outer_source() else {
        peer.device.drops.add(Reason::RxHeader, 1);
        return;
    };
    let ds = skb.ds();
    peer.set_endpoint(&endpoint);

    let is_data = skb.len() != 0;
    conduct::transport_received(peer, peer.confirm_session(session), is_data);

    let guard = read_lock();
    let device = &peer.device;
    let Some(dev) = device.dev.get(&guard) else {
        device.drops.add(Reason::RxDown, 1);
        return;
    };
    if !is_data {
        peer.count_rx(data_len(0));
        dev.rx_stats_add(data_len(0));
        wgk::net_dbg_ratelimited!(
            "{}: Receiving keepalive packet from peer {} ({})\n",
            dev.name(),
            peer.id,
            endpoint
        );
        skb.consume();
        return;
    }

    let inner = match skb.inner() {
        Ok(inner) => inner,
        Err(InnerError::Type) => {
            wgk::net_dbg_ratelimited!(
                "{}: Packet is neither ipv4 nor ipv6 from peer {} ({})\n",
                dev.name(),
                peer.id,
                endpoint
            );
            dev.count(Counter::RxErrors, 1);
            dev.count(Counter::RxFrameErrors, 1);
            device.drops.add(Reason::RxInnerType, 1);
            return;
        }
        Err(InnerError::Size) => {
            wgk::net_dbg_ratelimited!(
                "{}: Packet has incorrect size from peer {} ({})\n",
                dev.name(),
                peer.id,
                endpoint
            );
            dev.count(Counter::RxErrors, 1);
            dev.count(Counter::RxLengthErrors, 1);
            device.drops.add(Reason::RxInnerLength, 1);
            return;
        }
    };
    let len = skb.len();
    let Ok(packet) = skb.prepare_rx(ds, inner.total_len) else {
        device.drops.add(Reason::RxMemory, 1);
        return;
    };
    // Cryptokey routing: the sender must be the peer that packets to this address would go to.
    let routed = device.allowed_ips.lookup(inner.src, &guard);
    if routed.is_none_or(|r| r.id != peer.id) {
        wgk::net_dbg_ratelimited!(
            "{}: Packet has unallowed src IP ({}) from peer {} ({})\n",
            dev.name(),
            Text(inner.src),
            peer.id,
            endpoint
        );
        dev.count(Counter::RxErrors, 1);
        dev.count(Counter::RxFrameErrors, 1);
        device.drops.add(Reason::RxSource, 1);
        return;
    }
    napi.gro_receive(packet);
    peer.count_rx(data_len(len));
    dev.rx_stats_add(data_len(len));
}
