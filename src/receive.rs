// SPDX-License-Identifier: GPL-2.0
//! The way of a packet in: sorted by message type, decrypted, put back in order, checked, delivered.
//! Handshake messages are in `receive/handshake.rs`; delivery is in `receive/delivery.rs`.

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
    napi::NapiContext,
    rcu::{
        read_lock,
        RcuArc, //
    },
    skb_list::SkbList,
    skbuff::{
        Datagram,
        UdpPacket, //
    },
    time::boottime_coarse_ns,
    udp_tunnel::UdpReceiver, //
};

use zerocopy::FromBytes;

use crate::{
    device::Device,
    drops::Reason,
    messages::{
        classify,
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

mod delivery;
mod handshake;

use delivery::Run;
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
        let mut run = Run::new(this);
        let mut taken = 0;
        while taken < budget {
            match queue.take_segment() {
                None => break,
                Some(Taken::Dead(batch)) => taken += batch.len(),
                Some(Taken::Packet { skb, nonce, owner }) => {
                    taken += 1;
                    if owner.accept_counter(&mut queue, nonce) {
                        run.add(&owner, skb);
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
        run.deliver(napi, &read_lock());
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
