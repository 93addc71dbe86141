// SPDX-License-Identifier: GPL-2.0
//! The way of a packet in: sorted by message type, decrypted, put back in order, checked, delivered;
//! and handshake messages.

use wgk::{
    batch::{
        Batch,
        CryptJob,
        SubmitError,
        Taken, //
    },
    crypto::without_traces,
    log::Text,
    napi::NapiContext,
    netdevice::Counter,
    random,
    rcu::{
        read_lock,
        RcuArc, //
    },
    skb_list::SkbList,
    skbuff::{
        InnerError,
        SkBuff,
        UdpPacket, //
    },
    time::{
        boottime_coarse_ns,
        realtime, //
    },
    udp_tunnel::{
        Endpoint,
        UdpReceiver, //
    }, //
};

use zerocopy::FromBytes;

use crate::{
    device::{
        Device,
        NeedsCookie, //
    },
    drops::Reason,
    load,
    messages::{
        claims_proof,
        classify,
        data_len,
        CookieReply,
        DataHeader,
        Initiation,
        Kind,
        Response,
        COOKIE_NONCE_LEN,
        KEEPALIVE_TIMEOUT_NS,
        MAX_QUEUED_INCOMING_HANDSHAKES,
        MAX_QUEUED_UNPROVEN,
        REJECT_AFTER_TIME_NS,
        REKEY_TIMEOUT_NS, //
    },
    noise,
    peer::Peer,
    send,
    session::Session,
    socket, //
};

/// Bytes that tell a message's type apart; the smallest prefix [`classify`] wants.
const TYPE_LEN: usize = 4;

impl UdpReceiver for Device {
    /// A datagram arrived on one of the device's sockets. Softirq, under RCU.
    fn receive(this: &Self, skb: SkBuff) {
        let Ok(mut packet) = skb.udp_payload() else {
            this.drops.add(Reason::RxHeader, 1);
            return;
        };
        let len = packet.len();
        let kind = packet.head(TYPE_LEN).and_then(|head| classify(head, len));
        match kind {
            None => this.drops.add(Reason::RxType, 1),
            Some(Kind::Data) => receive_data(this, packet),
            Some(_) => queue_handshake(this, packet),
        }
    }
}

/// Queues a handshake message for the workers, or drops it if they are swamped or there is no
/// randomness to answer with.
fn queue_handshake(device: &Device, mut packet: UdpPacket) {
    let guard = read_lock();
    let Some(resources) = device.resources.load(&guard) else {
        device.drops.add(Reason::RxDown, 1);
        return;
    };
    let queue = resources.handshake.context();
    let len = packet.len();
    // A flood from addresses that are not the flooder's has no MAC2. It may not take all the room,
    // so that who has got a cookie gets in, and sooner.
    let room = if device.load.is_on() && !packet.head(len).is_some_and(claims_proof) {
        MAX_QUEUED_UNPROVEN
    } else {
        MAX_QUEUED_INCOMING_HANDSHAKES
    };
    let refused = if !random::ready() {
        Some(Reason::HandshakeEntropy)
    } else if queue.push(packet.into_inner(), room).is_err() {
        Some(Reason::HandshakeQueue)
    } else {
        None
    };
    if let Some(reason) = refused {
        device.drops.add(reason, 1);
        wgk::net_dbg_ratelimited!("{}: Dropping handshake packet\n", device.name());
        return;
    }
    resources.kick_handshake();
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
    let Some(batch) = Batch::new(list, session.clone(), counter) else {
        return;
    };
    match resources.decrypt(&session.peer.rx, batch) {
        Ok(()) => (),
        Err(SubmitError::Full(batch)) => device.drops.add(Reason::RxQueue, batch.len()),
        Err(SubmitError::RingFull) => {
            // It keeps its place in the peer's queue, marked dead.
            device.drops.add(Reason::RxQueue, 1);
            resources.decrypt.context().schedule_receive(session);
        }
    }
}

/// Opens the segments of a batch. Process context (crypto worker). Returns the session, whose
/// peer's NAPI instance is to be scheduled.
pub(crate) fn decrypt(mut job: CryptJob<Session>) -> RcuArc<Session> {
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

/// Delivers up to `budget` segments of `peer` that are at the head of its queue and decrypted;
/// returns how many it took. Softirq (NAPI poll).
pub(crate) fn deliver(peer: &RcuArc<Peer>, napi: &NapiContext<'_>, budget: usize) -> usize {
    let Some(mut queue) = peer.rx.try_consume() else {
        return 0;
    };
    let mut taken = 0;
    while taken < budget {
        match queue.take_segment() {
            None => break,
            Some(Taken::Dead(batch)) => taken += batch.len(),
            Some(Taken::Packet { skb, nonce, owner }) => {
                taken += 1;
                if owner.accept_counter(nonce) {
                    deliver_one(peer, napi, &owner, skb);
                } else {
                    peer.device.drops.add(Reason::RxReplay, 1);
                    wgk::net_dbg_ratelimited!(
                        "{}: Packet has invalid nonce {}\n",
                        peer.device.name(),
                        nonce
                    );
                }
            }
        }
    }
    taken.min(budget)
}

/// Drops what is decrypted at the head of `peer`'s queue, when there is nobody to deliver to.
pub(crate) fn discard(peer: &RcuArc<Peer>) {
    if let Some(mut queue) = peer.rx.try_consume() {
        while let Some(taken) = queue.take_segment() {
            // What is dead was counted when it died.
            if let Taken::Packet { .. } = taken {
                peer.device.drops.add(Reason::RxDown, 1);
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
    skb.strip_outer();
    peer.set_endpoint(&endpoint);

    let confirmed = peer.confirm_session(session);
    if confirmed {
        complete_handshake(peer);
        send::send_staged(RcuArc::as_rcu_ref(peer));
    }
    keep_key_fresh(peer);

    let is_data = skb.len() != 0;
    Peer::on_timers(peer, |s, now| {
        s.timers.any_authenticated_packet_received();
        s.timers
            .any_authenticated_packet_traversal(now, peer.keepalive_ns());
        if is_data {
            s.timers.data_received(now);
        }
    });

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
    let Ok(packet) = skb.prepare_rx(dev, ds, inner.total_len) else {
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

/// Notes a completed handshake.
fn complete_handshake(peer: &RcuArc<Peer>) {
    Peer::on_timers(peer, |s, _| {
        s.timers.handshake_complete();
        s.last_handshake = realtime();
    });
}

/// A side that only receives: renews the session before it expires under the sender's feet, once.
fn keep_key_fresh(peer: &RcuArc<Peer>) {
    let due = {
        let guard = read_lock();
        peer.keypairs.current(&guard).is_some_and(|s| {
            s.initiator_older_than(
                REJECT_AFTER_TIME_NS - KEEPALIVE_TIMEOUT_NS - REKEY_TIMEOUT_NS,
                boottime_coarse_ns(),
            )
        })
    };
    if due && Peer::on_timers(peer, |s, _| s.timers.begin_lastminute_handshake()) {
        send::queue_initiation(RcuArc::as_rcu_ref(peer), false);
    }
}

/// Whether `device` is under load, with so many handshake messages waiting.
fn under_load(device: &Device, queued: usize, now_ns: u64) -> bool {
    match device.load.check(queued, now_ns) {
        load::State::Idle => false,
        load::State::Over => {
            device.end_of_load();
            false
        }
        load::State::Loaded => true,
    }
}

/// Works on one handshake message. Process context (handshake worker); `queued` messages wait.
pub(crate) fn handshake(device: &RcuArc<Device>, skb: SkBuff, queued: usize) {
    // Its headers and length were checked before it was queued.
    let len = skb.len();
    let mut buffer = [0u8; size_of::<Initiation>()];
    let (Some(source), Some(message)) = (skb.outer_source(), buffer.get_mut(..len)) else {
        device.drops.add(Reason::RxHeader, 1);
        return;
    };
    if !skb.copy_data(message) {
        device.drops.add(Reason::RxHeader, 1);
        return;
    }
    let message: &[u8] = message;
    let now = boottime_coarse_ns();

    if classify(message, len) == Some(Kind::CookieReply) {
        wgk::net_dbg_ratelimited!(
            "{}: Receiving cookie response from {}\n",
            device.name(),
            source
        );
        consume_cookie(device, message, now);
        return;
    }

    let loaded = under_load(device, queued, now);
    let needs_cookie = match device.check_macs(message, &source, loaded, now) {
        Ok(NeedsCookie(needs_cookie)) => needs_cookie,
        Err(reason) => {
            device.drops.add(reason, 1);
            wgk::net_dbg_ratelimited!(
                "{}: Invalid MAC of handshake, dropping packet from {}\n",
                device.name(),
                source
            );
            return;
        }
    };
    if needs_cookie {
        device.drops.add(Reason::HandshakeCookie, 1);
        device.load.unproven();
    }
    let peer = match classify(message, len) {
        Some(Kind::Initiation) => {
            let Ok((initiation, _)) = Initiation::ref_from_prefix(message) else {
                return;
            };
            if needs_cookie {
                socket::send_cookie(
                    device,
                    &source,
                    &initiation.macs,
                    initiation.sender_index.get(),
                    now,
                );
                return;
            }
            let peer = without_traces(|| consume_initiation(device, initiation, now));
            let Some(peer) = peer else {
                device.drops.add(Reason::HandshakeInvalid, 1);
                wgk::net_dbg_ratelimited!(
                    "{}: Invalid handshake initiation from {}\n",
                    device.name(),
                    source
                );
                return;
            };
            peer.set_endpoint(&source);
            wgk::net_dbg_ratelimited!(
                "{}: Receiving handshake initiation from peer {} ({})\n",
                device.name(),
                peer.id,
                source
            );
            send::send_response(&peer);
            peer
        }
        Some(Kind::Response) => {
            let Ok((response, _)) = Response::ref_from_prefix(message) else {
                return;
            };
            if needs_cookie {
                socket::send_cookie(
                    device,
                    &source,
                    &response.macs,
                    response.sender_index.get(),
                    now,
                );
                return;
            }
            let Some(peer) = without_traces(|| consume_response(device, response)) else {
                device.drops.add(Reason::HandshakeInvalid, 1);
                wgk::net_dbg_ratelimited!(
                    "{}: Invalid handshake response from {}\n",
                    device.name(),
                    source
                );
                return;
            };
            peer.set_endpoint(&source);
            wgk::net_dbg_ratelimited!(
                "{}: Receiving handshake response from peer {} ({})\n",
                device.name(),
                peer.id,
                source
            );
            if without_traces(|| peer.begin_session()) {
                Peer::on_timers(&peer, |s, now| s.timers.session_derived(now));
                complete_handshake(&peer);
                // Sends what is staged, or an empty packet: either confirms the session to the
                // responder at once.
                send::send_keepalive(RcuArc::as_rcu_ref(&peer));
            }
            peer
        }
        _ => return,
    };
    peer.count_rx(len);
    device.rx_stats_add(len);
    Peer::on_timers(&peer, |s, now| {
        s.timers.any_authenticated_packet_received();
        s.timers
            .any_authenticated_packet_traversal(now, peer.keepalive_ns());
    });
}

/// Authenticates an initiation and finds its peer, whose state it then sets. Process context.
fn consume_initiation(
    device: &RcuArc<Device>,
    message: &Initiation,
    now_ns: u64,
) -> Option<RcuArc<Peer>> {
    let identity = device.identity.read();
    let identity = identity.as_ref()?;
    let opened = noise::open_initiation(message, identity)?;
    let peer = device.peer_by_key(opened.remote_static())?;
    let shared = peer.handshake.lock().noise.static_static(identity)?;
    let authenticated = opened.authenticate(&shared)?;
    let mut state = peer.handshake.lock();
    if peer.is_dead() {
        return None;
    }
    state.noise.commit_initiation(authenticated, now_ns).ok()?;
    drop(state);
    Some(peer)
}

/// Authenticates the answer to an initiation of ours. Process context.
fn consume_response(device: &RcuArc<Device>, message: &Response) -> Option<RcuArc<Peer>> {
    let identity = device.identity.read();
    let identity = identity.as_ref()?;
    let peer = device.peer_by_index(message.receiver_index.get(), |s| s.keys().is_none())?;
    let context = peer.handshake.lock().noise.response_context()?;
    let authenticated = context.open(message, identity)?;
    peer.handshake
        .lock()
        .noise
        .commit_response(authenticated)
        .then_some(())?;
    Some(peer)
}

/// Keeps the cookie of a cookie reply for the next handshake message to that peer.
fn consume_cookie(device: &RcuArc<Device>, message: &[u8], now_ns: u64) {
    let Ok((reply, _)) = CookieReply::ref_from_prefix(message) else {
        return;
    };
    let Some(peer) = device.peer_by_index(reply.receiver_index.get(), |_| true) else {
        device.drops.add(Reason::CookieInvalid, 1);
        return;
    };
    let consumed = peer
        .cookie
        .lock()
        .consume_reply(peer.public_key(), reply, now_ns);
    if !consumed {
        device.drops.add(Reason::CookieInvalid, 1);
        wgk::net_dbg_ratelimited!(
            "{}: Could not decrypt invalid cookie response\n",
            device.name()
        );
    }
}

/// The bytes of an address that a cookie is bound to: address, then port, in network order.
pub(crate) fn cookie_source(source: &Endpoint, bytes: &mut [u8; 18]) -> usize {
    let (addr, port): (&[u8], u16) = match source {
        Endpoint::V4 { addr, port, .. } => (addr, *port),
        Endpoint::V6 { addr, port, .. } => (addr, *port),
        Endpoint::None => (&[], 0),
    };
    let len = addr.len();
    bytes[..len].copy_from_slice(addr);
    bytes[len..len + 2].copy_from_slice(&port.to_be_bytes());
    len + 2
}

/// A fresh secret for cookies.
pub(crate) fn fresh_cookie_secret() -> [u8; 32] {
    let mut secret = [0; 32];
    random::fill(&mut secret);
    secret
}

/// A fresh nonce for a cookie reply.
pub(crate) fn fresh_cookie_nonce() -> [u8; COOKIE_NONCE_LEN] {
    let mut nonce = [0; COOKIE_NONCE_LEN];
    random::fill(&mut nonce);
    nonce
}
