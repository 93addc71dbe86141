// SPDX-License-Identifier: GPL-2.0
//! Handshake messages on their way out: initiations, by a worker, and the responses to those of the
//! peer. When they are sent is decided in `conduct.rs`.

use kernel::{
    prelude::*,
    workqueue::WorkItem, //
};

use wgk::{
    crypto::{
        x25519_clamp,
        Secret, //
    },
    random,
    rcu::RcuArc,
    time::realtime, //
};

use crate::{
    conduct,
    failure::Failure,
    messages::{
        tai64n,
        Initiation,
        Response, //
    },
    peer::{
        HandshakeState,
        Peer,
        WORK_HANDSHAKE, //
    },
    session::Session, //
};

/// Handshake work: sends an initiation.
impl WorkItem<WORK_HANDSHAKE> for Peer {
    type Pointer = RcuArc<Peer>;

    fn run(this: RcuArc<Peer>) {
        conduct::send_initiation(&this);
    }
}

/// A fresh Curve25519 secret.
fn ephemeral() -> Secret<32> {
    let mut secret = Secret::zero();
    random::fill(secret.as_mut_bytes());
    x25519_clamp(&mut secret);
    secret
}

/// There is no memory, or the device is going, which ends the peer's timers, too.
const NO_MEMORY: Option<Failure> = Some(Failure::NoMemory);

/// Replaces the pending session of `state` by a new one and returns its index.
fn new_pending(peer: &RcuArc<Peer>, state: &mut HandshakeState) -> Result<u32, Option<Failure>> {
    if let Some(old) = state.pending.take() {
        peer.device.remove_index(&old);
    }
    let session = Session::new(peer.clone()).map_err(|_| NO_MEMORY)?;
    let index = peer
        .device
        .add_index(session.clone())
        .map_err(|_| NO_MEMORY)?;
    state.pending = Some(session);
    Ok(index)
}

/// Builds an initiation, without its MACs. Process context. `None` as an error: the peer is being
/// removed, which is no failure.
///
/// While the kernel has no randomness yet, this fails for now: the worker doesn't wait for it, since
/// removing the peer would have to wait for the worker.
pub(super) fn create_initiation(peer: &RcuArc<Peer>) -> Result<Initiation, Option<Failure>> {
    if !random::ready() {
        return Err(Some(Failure::NoEntropy));
    }
    let identity = peer.device.identity.read();
    let identity = identity.as_ref().ok_or(Some(Failure::NoKey))?;
    let mut state = peer.handshake.lock();
    if peer.is_dead() {
        return Err(None);
    }
    let index = new_pending(peer, &mut state)?;
    let now = realtime();
    // If not, the peer's key is of low order.
    state
        .noise
        .create_initiation(identity, index, ephemeral(), tai64n(now.sec, now.nsec))
        .ok_or(Some(Failure::BadKey))
}

/// Builds the response to the initiation that was just accepted, without its MACs. Process context.
/// Errors as for [`create_initiation`]; `None` also if that was given up since, for an initiation of
/// ours, whose index is to stay, or because the interface went down.
pub(super) fn create_response(peer: &RcuArc<Peer>) -> Result<Response, Option<Failure>> {
    if !random::ready() {
        return Err(Some(Failure::NoEntropy));
    }
    let _identity = peer.device.identity.read();
    let mut state = peer.handshake.lock();
    if peer.is_dead() || !state.noise.owes_response() {
        return Err(None);
    }
    let index = new_pending(peer, &mut state)?;
    state
        .noise
        .create_response(index, ephemeral())
        .ok_or(Some(Failure::BadKey))
}
