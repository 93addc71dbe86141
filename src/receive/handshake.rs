// SPDX-License-Identifier: GPL-2.0
//! Handshake messages on their way in: queued, let in or sent a cookie, authenticated, answered.

use core::ffi::CStr;

use wgk::{
    crypto::without_traces,
    random,
    rcu::{
        read_lock,
        Guard,
        RcuArc, //
    },
    skb_list::SkbList,
    skbuff::{
        SkBuff,
        UdpPacket, //
    },
    time::boottime_coarse_ns,
    trace,
    udp_tunnel::Endpoint, //
};

use zerocopy::FromBytes;

use crate::{
    admission::Admitted,
    conduct,
    device::Device,
    drops::{
        Reason,
        NOBODY, //
    },
    failure::Failure,
    messages::{
        claims_proof,
        classify,
        kind_name,
        CookieReply,
        Initiation,
        Kind,
        Response, //
    },
    noise,
    on_demand,
    overload,
    peer::Peer,
    queueing::{
        Handler,
        Proof, //
    },
    resources::{
        self,
        Resources, //
    },
    socket, //
};

/// Queues a handshake message for the workers, or drops it if they are swamped or there is no
/// randomness to answer with.
pub(super) fn queue(device: &Device, mut packet: UdpPacket) {
    let guard = read_lock();
    let Some(resources) = device.resources.load(&guard) else {
        device.lose(Reason::RxDown, packet);
        return;
    };
    let proof = if device.admission.load.is_on() {
        proof(device, resources, &mut packet, &guard)
    } else {
        Ok(Proof::NotAsked)
    };
    let message = packet.into_inner();
    let queued = match proof {
        _ if !random::ready() => Err((message, Reason::HandshakeEntropy)),
        Err(reason) => Err((message, reason)),
        Ok(proof) => {
            let pushed = resources.handshake.push(message, proof);
            pushed.map_err(|message| (message, Reason::HandshakeQueue))
        }
    };
    match queued {
        Ok(cpu) => device.trace_worker(c"handshake", Some(cpu)),
        Err((message, reason)) => {
            device.lose(reason, message);
            wgk::net_dbg_ratelimited!("{}: Dropping handshake packet\n", device.name());
        }
    }
}

/// What a handshake message under load proves of its sender: it has a MAC2 made with a cookie of ours,
/// or is a cookie reply for an index of ours, which nobody knows who does not see our messages. An error
/// if it is to be dropped. Softirq.
///
/// An initiation costs 6 blocks of BLAKE2s here, and none without MAC2.
fn proof(
    device: &Device,
    resources: &Resources,
    packet: &mut UdpPacket,
    guard: &Guard,
) -> Result<Proof, Reason> {
    let (source, len) = (packet.source(), packet.len());
    let Some(message) = packet.head(len).filter(|message| claims_proof(message)) else {
        return Ok(Proof::Missing);
    };
    let now = boottime_coarse_ns();
    if classify(message, len) == Some(Kind::CookieReply) {
        let index = CookieReply::ref_from_prefix(message)
            .map_or(0, |(reply, _)| reply.receiver_index.get());
        return Ok(match resources.indices.lookup(index, guard) {
            Some(_) => device.admission.prove_reply(index, now),
            None => Proof::Missing,
        });
    }
    device.admission.prove(message, &source, now)
}

/// What tracepoints say of a message that was let in.
const ACCEPTED: &CStr = c"accepted";

/// What is done with the handshake messages of a device.
pub(crate) struct Handshakes(pub(crate) RcuArc<Device>);

impl Handler for Handshakes {
    fn handle(&self, message: SkBuff, proof: Proof, queued: usize) {
        handshake(&self.0, message, proof, queued);
    }

    fn purged(&self, messages: SkbList) {
        self.0.lose(Reason::RxDown, messages);
    }
}

/// Works on one handshake message, which is used up if it was let in or answered, and lost otherwise.
/// Process context (handshake worker); `queued` messages wait.
fn handshake(device: &RcuArc<Device>, skb: SkBuff, proof: Proof, queued: usize) {
    // Its headers and length were checked before it was queued.
    let len = skb.len();
    let mut buffer = [0u8; size_of::<Initiation>()];
    let (Some(source), Some(message)) = (skb.outer_source(), buffer.get_mut(..len)) else {
        device.lose(Reason::RxHeader, skb);
        return;
    };
    if !skb.copy_data(message) {
        device.lose(Reason::RxHeader, skb);
        return;
    }
    let message: &[u8] = message;
    let now = boottime_coarse_ns();
    let kind = classify(message, len);
    let told = |peer: u64, outcome: &'static CStr| {
        trace::handshake_received(|| (device.traced(), peer, kind_name(kind), outcome));
    };
    let refuse = |reason: Reason, skb| {
        told(NOBODY, reason.name());
        device.lose(reason, skb);
    };

    if kind == Some(Kind::CookieReply) {
        wgk::net_dbg_ratelimited!(
            "{}: Receiving cookie response from {}\n",
            device.name(),
            source
        );
        match consume_cookie(device, message, now) {
            Some(peer) => {
                told(peer, ACCEPTED);
                skb.consume();
            }
            None => refuse(Reason::CookieInvalid, skb),
        }
        return;
    }

    let loaded = overload::under_load(device, queued, now);
    let admitted = device.admission.check(message, &source, proof, loaded, now);
    let needs_cookie = match admitted {
        Ok(admitted) => admitted == Admitted::Cookie,
        Err(reason) => {
            refuse(reason, skb);
            wgk::net_dbg_ratelimited!(
                "{}: Invalid MAC of handshake, dropping packet from {}\n",
                device.name(),
                source
            );
            return;
        }
    };
    if needs_cookie {
        // Not lost to who traces it: its answer is the cookie.
        told(NOBODY, Reason::HandshakeCookie.name());
        device.note_lost(Reason::HandshakeCookie, 1);
        device.admission.load.refused();
    }
    let peer = match kind {
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
                skb.consume();
                return;
            }
            let unknown = |key: &_| on_demand::unknown(device, key, initiation, &source, now);
            let peer = without_traces(|| consume_initiation(device, initiation, now, unknown));
            let Some(peer) = peer else {
                refuse(Reason::HandshakeInvalid, skb);
                wgk::net_dbg_ratelimited!(
                    "{}: Invalid handshake initiation from {}\n",
                    device.name(),
                    source
                );
                return;
            };
            told(peer.id, ACCEPTED);
            respond(device, &peer, &source);
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
                skb.consume();
                return;
            }
            let Some(peer) = without_traces(|| consume_response(device, response)) else {
                refuse(Reason::HandshakeInvalid, skb);
                wgk::net_dbg_ratelimited!(
                    "{}: Invalid handshake response from {}\n",
                    device.name(),
                    source
                );
                return;
            };
            told(peer.id, ACCEPTED);
            Peer::set_endpoint(&peer, &source);
            wgk::net_dbg_ratelimited!(
                "{}: Receiving handshake response from peer {} ({})\n",
                device.name(),
                peer.id,
                source
            );
            conduct::response_accepted(&peer);
            peer
        }
        _ => return,
    };
    count(device, &peer, len);
    skb.consume();
}

/// Counts a message that was let in, and makes ready for what its sender is to send. May sleep.
fn count(device: &Device, peer: &Peer, len: usize) {
    peer.count_rx(len);
    device.rx_stats_add(len);
    resources::keep_up_napis(device);
}

/// Answers the initiation of a peer that was just accepted. Process context.
fn respond(device: &Device, peer: &RcuArc<Peer>, source: &Endpoint) {
    Peer::called_from(peer, source);
    wgk::net_dbg_ratelimited!(
        "{}: Receiving handshake initiation from peer {} ({})\n",
        device.name(),
        peer.id,
        source
    );
    conduct::initiation_accepted(peer);
}

/// Works on an initiation that was kept, if there is its peer by now. It was counted as dropped; if it
/// is not let in now either, that is all. Process context.
pub(crate) fn answer(
    device: &RcuArc<Device>,
    message: &Initiation,
    source: &Endpoint,
    now_ns: u64,
) {
    // No peer: it was removed since.
    let peer = without_traces(|| consume_initiation(device, message, now_ns, |_| ()));
    if let Some(peer) = peer {
        trace::handshake_received(|| {
            (
                device.traced(),
                peer.id,
                kind_name(Some(Kind::Initiation)),
                ACCEPTED,
            )
        });
        respond(device, &peer, source);
        count(device, &peer, size_of::<Initiation>());
    }
}

/// Authenticates an initiation and finds its peer, whose state it then sets; `unknown` is told of a
/// public key that no peer has. Process context.
fn consume_initiation(
    device: &RcuArc<Device>,
    message: &Initiation,
    now_ns: u64,
    unknown: impl FnOnce(&[u8; 32]),
) -> Option<RcuArc<Peer>> {
    let identity = device.identity.read();
    let identity = identity.as_ref()?;
    let opened = noise::open_initiation(message, identity)?;
    let Some(peer) = device.peer_by_key(opened.remote_static()) else {
        // What is claimed goes no further than this.
        unknown(opened.remote_static());
        return None;
    };
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
    let Some(authenticated) = context.open(message, identity) else {
        // Who does not see our messages does not know their index: this is most likely the peer.
        peer.handshake_failed(Failure::BadAnswer);
        return None;
    };
    peer.handshake
        .lock()
        .noise
        .commit_response(authenticated)
        .then_some(())?;
    Some(peer)
}

/// Keeps the cookie of a cookie reply for the next handshake message to that peer, whose number it
/// returns. `None` if it was not asked for, or is not authentic.
fn consume_cookie(device: &RcuArc<Device>, message: &[u8], now_ns: u64) -> Option<u64> {
    let (reply, _) = CookieReply::ref_from_prefix(message).ok()?;
    let peer = device.peer_by_index(reply.receiver_index.get(), |_| true)?;
    let consumed = peer
        .cookie
        .lock()
        .consume_reply(peer.public_key(), reply, now_ns);
    if !consumed {
        wgk::net_dbg_ratelimited!(
            "{}: Could not decrypt invalid cookie response\n",
            device.name()
        );
    }
    consumed.then_some(peer.id)
}
