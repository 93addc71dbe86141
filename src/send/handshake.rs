// SPDX-License-Identifier: GPL-2.0
//! Handshake messages on their way out: initiations, by a worker and at most one in five seconds, and
//! the responses to those of the peer.

use kernel::{
    prelude::*,
    workqueue::WorkItem, //
};

use wgk::{
    crypto::{
        without_traces,
        x25519_clamp,
        Secret, //
    },
    random,
    rcu::{
        read_lock,
        RcuArc,
        RcuRef, //
    },
    time::{
        boottime_coarse_ns,
        realtime, //
    }, //
};

use zerocopy::IntoBytes;

use super::jitter;
use crate::{
    messages::{
        tai64n,
        Initiation,
        Response,
        HANDSHAKE_DSCP, //
    },
    peer::{
        HandshakeState,
        Peer,
        WORK_HANDSHAKE, //
    },
    session::Session,
    socket, //
};

/// Has an initiation sent by a worker, unless one was sent just now. Any context but hard interrupt.
pub(crate) fn queue_initiation(peer: RcuRef<'_, Peer>, is_retry: bool) {
    let guard = read_lock();
    peer.note_initiation_wanted(is_retry);
    if !peer.may_send_handshake() || peer.is_dead() {
        return;
    }
    let Some(resources) = peer.device.resources.load(&guard) else {
        return;
    };
    if let Some(peer) = peer.try_get() {
        resources
            .handshake_send_wq
            .enqueue::<_, WORK_HANDSHAKE>(peer);
    }
}

/// Handshake work: sends an initiation.
impl WorkItem<WORK_HANDSHAKE> for Peer {
    type Pointer = RcuArc<Peer>;

    fn run(this: RcuArc<Peer>) {
        send_initiation(&this);
    }
}

/// Sends an initiation, at most one in five seconds. Process context.
fn send_initiation(peer: &RcuArc<Peer>) {
    if !peer.may_send_handshake() {
        return;
    }
    peer.note_handshake_sent();
    wgk::net_dbg_ratelimited!(
        "{}: Sending handshake initiation to peer {} ({})\n",
        peer.device.name(),
        peer.id,
        peer.endpoint()
    );
    let Some(mut message) = without_traces(|| create_initiation(peer)) else {
        return;
    };
    peer.cookie.lock().add_macs(
        peer.public_key(),
        message.as_mut_bytes(),
        boottime_coarse_ns(),
    );
    Peer::on_timers(peer, |s, now| {
        s.timers
            .any_authenticated_packet_traversal(now, peer.keepalive_ns());
        s.timers.any_authenticated_packet_sent();
    });
    peer.note_handshake_sent();
    // Before it is sent: once it is, the response may be processed on another CPU, and what that
    // takes back has to be there already.
    Peer::on_timers(peer, |s, now| s.timers.handshake_initiated(now, jitter));
    socket::send_message(peer, message.as_bytes(), HANDSHAKE_DSCP);
}

/// A fresh Curve25519 secret.
fn ephemeral() -> Secret<32> {
    let mut secret = Secret::zero();
    random::fill(secret.as_mut_bytes());
    x25519_clamp(&mut secret);
    secret
}

/// Replaces the pending session of `state` by a new one and returns its index.
fn new_pending(peer: &RcuArc<Peer>, state: &mut HandshakeState) -> Result<u32> {
    if let Some(old) = state.pending.take() {
        peer.device.remove_index(&old);
    }
    let session = Session::new(peer.clone())?;
    let index = peer.device.add_index(session.clone())?;
    state.pending = Some(session);
    Ok(index)
}

/// Builds an initiation, without its MACs. `None` if this device has no key, the peer is gone, the
/// keys don't agree on a secret, there's no memory, or the kernel has no randomness yet: then the
/// worker doesn't wait for it (removing the peer would have to wait for the worker), the next packet
/// or timer tries again.
fn create_initiation(peer: &RcuArc<Peer>) -> Option<Initiation> {
    if !random::ready() {
        return None;
    }
    let identity = peer.device.identity.read();
    let identity = identity.as_ref()?;
    let mut state = peer.handshake.lock();
    if peer.is_dead() {
        return None;
    }
    let index = new_pending(peer, &mut state).ok()?;
    let now = realtime();
    state
        .noise
        .create_initiation(identity, index, ephemeral(), tai64n(now.sec, now.nsec))
}

/// Answers an initiation that was just accepted. Process context.
pub(crate) fn send_response(peer: &RcuArc<Peer>) {
    peer.note_handshake_sent();
    wgk::net_dbg_ratelimited!(
        "{}: Sending handshake response to peer {} ({})\n",
        peer.device.name(),
        peer.id,
        peer.endpoint()
    );
    let Some(mut message) = without_traces(|| create_response(peer)) else {
        return;
    };
    peer.cookie.lock().add_macs(
        peer.public_key(),
        message.as_mut_bytes(),
        boottime_coarse_ns(),
    );
    if !without_traces(|| peer.begin_session()) {
        return;
    }
    Peer::on_timers(peer, |s, now| {
        s.timers.session_derived(now);
        s.timers
            .any_authenticated_packet_traversal(now, peer.keepalive_ns());
        s.timers.any_authenticated_packet_sent();
    });
    peer.note_handshake_sent();
    socket::send_message(peer, message.as_bytes(), HANDSHAKE_DSCP);
}

/// Builds a response, without its MACs.
fn create_response(peer: &RcuArc<Peer>) -> Option<Response> {
    if !random::ready() {
        return None;
    }
    let _identity = peer.device.identity.read();
    let mut state = peer.handshake.lock();
    if peer.is_dead() {
        return None;
    }
    let index = new_pending(peer, &mut state).ok()?;
    state.noise.create_response(index, ephemeral())
}
