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
    drop_reason::Lossy,
    napi::NapiContext,
    rcu::{
        read_lock,
        Guard,
        RcuArc,
        RcuRef, //
    },
    skb_list::SkbList,
    skbuff::{
        Datagrams,
        OpenError,
        UdpPacket, //
    },
    time::boottime_coarse_ns,
    udp_tunnel::{
        may_receive_here,
        UdpReceiver, //
    }, //
};

use zerocopy::FromBytes;

use crate::{
    device::Device,
    drops::Reason,
    finished::Finished,
    inline::{
        self,
        Way, //
    },
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
    resources::Resources,
    rx_schedule::Member,
    session::Session, //
};

mod delivery;
mod handshake;

use delivery::Run;
pub(crate) use handshake::{
    answer,
    Handshakes, //
};

/// Bytes that tell a message's type apart; the smallest prefix [`classify`] wants.
const TYPE_LEN: usize = 4;

impl UdpReceiver for Device {
    /// Datagrams arrived on one of the device's sockets. Softirq, under RCU.
    fn receive(this: &Self, datagrams: Datagrams) {
        let guard = read_lock();
        let mut arrived = None;
        for datagram in datagrams {
            let mut packet = match datagram.udp_payload() {
                Ok(packet) => packet,
                Err(datagram) => {
                    this.lose(Reason::RxHeader, datagram);
                    continue;
                }
            };
            let len = packet.len();
            let kind = packet.head(TYPE_LEN).and_then(|head| classify(head, len));
            match kind {
                None => this.lose(Reason::RxType, packet),
                Some(Kind::Data) => Arrived::add(this, &mut arrived, packet, &guard),
                Some(_) => handshake::queue(this, packet),
            }
        }
        if let Some(arrived) = arrived {
            arrived.submit(this);
        }
    }
}

/// The most messages that are opened, and then delivered, in one go.
const MAX_ARRIVED: usize = 32;

/// Transport messages of one session, with consecutive counters: what becomes a batch.
struct Arrived<'g> {
    resources: &'g Resources,
    session: RcuRef<'g, Session>,
    index: u32,
    first: u64,
    messages: SkbList,
}

impl<'g> Arrived<'g> {
    /// Takes in a message: one more of those that `arrived` has, or the first of others, for whose
    /// sake those are submitted.
    #[inline]
    fn add(device: &Device, arrived: &mut Option<Self>, mut packet: UdpPacket, guard: &'g Guard) {
        let ds = packet.ecn_dsfield();
        let Some((index, counter)) = packet
            .head(size_of::<DataHeader>())
            .and_then(|head| DataHeader::ref_from_prefix(head).ok())
            .map(|(header, _)| (header.receiver_index.get(), header.counter.get()))
        else {
            device.lose(Reason::RxMemory, packet);
            return;
        };
        let mut skb = packet.into_inner();
        skb.set_ds(ds);
        if let Some(arrived) = arrived {
            if arrived.index == index
                && arrived.messages.len() < MAX_ARRIVED
                && arrived.first.wrapping_add(arrived.messages.len() as u64) == counter
            {
                arrived.messages.push_back(skb);
                return;
            }
        }
        if let Some(arrived) = arrived.take() {
            arrived.submit(device);
        }
        let Some(resources) = device.resources.load(guard) else {
            device.lose(Reason::RxDown, skb);
            return;
        };
        let Some(session) = resources.indices.lookup(index, guard) else {
            device.lose(Reason::RxIndex, skb);
            return;
        };
        if session.keys().is_none() || session.peer.is_dead() {
            session.peer.lose(Reason::RxNoKeys, skb);
            return;
        }
        let mut messages = SkbList::new();
        messages.push_back(skb);
        *arrived = Some(Self {
            resources,
            session,
            index,
            first: counter,
            messages,
        });
    }

    /// Queues the messages for decryption; or a single one is decrypted now, if its peer is idle.
    #[inline]
    fn submit(self, device: &Device) {
        let (resources, count) = (self.resources, self.messages.len());
        let lone = inline::lone(self.messages.lens());
        let Some(session) = self.session.try_get() else {
            self.session.peer.lose(Reason::RxNoKeys, self.messages);
            return;
        };
        let Some(batch) = Batch::new(self.messages, session, self.first) else {
            return;
        };
        // The session will do from here on: the batch has the one reference to it of its own.
        let peer = &self.session.peer;
        let here = lone.is_some_and(|lone| {
            let empty = peer.rx.is_empty();
            peer.inline
                .suits(&device.crowd, lone, Way::In, empty, boottime_coarse_ns())
        });
        let submitted = if here && may_receive_here() {
            open_here(resources, peer, batch)
                .map(|()| None)
                .map_err(SubmitError::Full)
        } else {
            resources.decrypt.submit(&peer.rx, batch)
        };
        match submitted {
            Ok(called) => device.trace_worker(c"decrypt", called),
            Err(SubmitError::Full(batch)) => peer.lose(Reason::RxQueue, batch),
            Err(SubmitError::RingFull) => {
                // It keeps its place in the peer's queue, marked dead, and is freed there.
                peer.note_lost(Reason::RxQueue, count);
                resources.napis.wake(peer.clone());
            }
        }
    }
}

/// Opens a batch, and has it delivered; hands it back if the peer's queue is full. Softirq, under RCU.
fn open_here(
    resources: &Resources,
    peer: &Peer,
    batch: Batch<Session>,
) -> Result<(), Batch<Session>> {
    let session = decrypt(CryptJob::begin(&peer.rx, batch)?);
    resources.napis.wake(session.peer.clone());
    Ok(())
}

/// What is done with batches on their way in: opened, and handed to the peer's NAPI instance.
pub(crate) struct Decrypt(pub(crate) Arc<NapiSet<Peer>>);

impl Task<Session> for Decrypt {
    fn run(&self, worker: &Worker<'_, Session>) {
        let mut finished = Finished::new(|instance| self.0.poll(instance));
        while let Some(job) = worker.next() {
            let messages = job.len();
            let session = decrypt(job);
            let listed = self.0.list(session.peer.clone());
            if let Some(instance) = listed {
                finished.turn_to(|other| *other == instance);
            }
            finished.add(messages, listed);
            cpu::cond_resched();
        }
    }
}

/// Opens the segments of a batch. Process context (crypto worker), or softirq. Returns the session, whose
/// peer's NAPI instance is to be scheduled.
fn decrypt(mut job: CryptJob<Session>) -> RcuArc<Session> {
    let session = job.owner().clone();
    let Some(key) = session.receiving_key(boottime_coarse_ns()) else {
        return session.peer.lose(Reason::RxExpired, job);
    };
    for (nonce, mut segment) in job.segments_mut() {
        if let Err(e) = segment.open(nonce, key.as_bytes()) {
            // What was forged is lost alone.
            let reason = match e {
                OpenError::NoMemory => Reason::RxMemory,
                OpenError::Malformed => Reason::RxHeader,
                OpenError::Forged => Reason::RxAuth,
            };
            session.peer.lose(reason, segment);
        }
    }
    job.finish()
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
                Some(Taken::Lost(skb, why)) => {
                    skb.drop_for(why);
                    taken += 1;
                }
                Some(Taken::Packet { skb, nonce, owner }) => {
                    taken += 1;
                    if owner.accept_counter(&mut queue, nonce) {
                        run.add(&owner, skb);
                    } else {
                        this.lose(Reason::RxReplay, skb);
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
                // What is dead or lost was counted when that became of it.
                match taken {
                    Taken::Packet { skb, .. } => this.lose(Reason::RxDown, skb),
                    Taken::Lost(skb, why) => skb.drop_for(why),
                    Taken::Dead(batch) => drop(batch),
                }
            }
        }
    }
}
