// SPDX-License-Identifier: GPL-2.0
//! Events of the family `wireguard_rs`: what happens to devices and peers, told to who has joined its
//! group.
//!
//! Any context. If nobody listens, an event is one look at a bit. What is told about is not waited
//! for, and nobody waits for who is told: it is made on the spot, of what is at hand there, and sent to
//! the namespace that the interface is in. Documentation/observability.md says what each event
//! guarantees; the order in which two of them come is that in which they are made here. Changes of the
//! configuration are made, and told, with the device lock held, under which dumps are made as well: so a
//! dump has what was told of before it, and not what comes later.

use wgk::{
    atomic::Relaxed,
    genetlink::{
        Group,
        Message,
        NoSpace, //
    },
    lock::SpinLockBhGuard,
    netdevice::RegisteredDevice,
    netns::Net,
    rcu::read_lock,
    udp_tunnel::Endpoint, //
};

use crate::{
    conduct::Side,
    device::Device,
    failure::Failure,
    peer::Peer, //
};

/// The family's group.
pub(crate) static GROUP: Group = Group::new(c"events");

/// An interface was made.
const CMD_DEVICE_ADDED: u8 = 3;
/// The configuration of a device was changed, but for its peers.
const CMD_DEVICE_CHANGED: u8 = 4;
/// An interface goes, and all its peers.
const CMD_DEVICE_REMOVED: u8 = 5;
/// A peer was added.
const CMD_PEER_ADDED: u8 = 6;
/// A peer was configured that was there before.
const CMD_PEER_CHANGED: u8 = 7;
/// A peer is removed.
const CMD_PEER_REMOVED: u8 = 8;
/// A handshake was completed.
const CMD_SESSION_ESTABLISHED: u8 = 9;
/// There will be no other attempt to get an answer.
const CMD_HANDSHAKE_GIVEN_UP: u8 = 10;

/// Somebody called who is not configured.
const CMD_UNKNOWN_PEER: u8 = 12;

/// Handshake messages need a proof of where they come from.
const CMD_LOAD_BEGINS: u8 = 13;
/// They need none any more.
const CMD_LOAD_ENDS: u8 = 14;

/// A peer was heard from another place than before.
const CMD_ENDPOINT_CHANGED: u8 = 15;

/// A peer has no session any more.
const CMD_SESSION_EXPIRED: u8 = 17;

// ---- attributes that dumps have as well

/// The interface's index, u32.
pub(crate) const A_DEVICE_IFINDEX: u32 = 1;
/// The interface's name, string.
pub(crate) const A_DEVICE_IFNAME: u32 = 2;
/// How often the configuration was changed, u32.
pub(crate) const A_DEVICE_GENERATION: u32 = 4;
/// Who did it, u32.
const A_DEVICE_CAUSE: u32 = 5;

/// The interface's index, u32.
pub(crate) const A_PEER_IFINDEX: u32 = 1;
/// The interface's name, string.
pub(crate) const A_PEER_IFNAME: u32 = 2;
/// Its public key, 32 bytes.
pub(crate) const A_PEER_PUBLIC_KEY: u32 = 3;
/// Its number in the log, uint.
const A_PEER_ID: u32 = 4;
/// How often the device's configuration was changed, u32.
const A_PEER_GENERATION: u32 = 5;
/// Where it is: a socket address, if known.
const A_PEER_ENDPOINT: u32 = 6;
/// Who did it, u32.
const A_PEER_CAUSE: u32 = 7;
/// Who began the handshake, u32.
const A_PEER_SIDE: u32 = 8;
/// Why it came to nothing, u32.
const A_PEER_REASON: u32 = 9;

/// Who did it. The numbers are those of Documentation/netlink/specs/wireguard_rs.yaml.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Cause {
    /// A request, of the family `wireguard` or of this one.
    Netlink = 1,
    /// The interface comes or goes.
    Interface = 2,
    /// A network namespace goes.
    Namespace = 3,
}

/// Puts what all messages about a device have in common.
pub(crate) fn put_device(
    device: &Device,
    dev: &RegisteredDevice,
    msg: &mut Message<'_>,
) -> Result<(), NoSpace> {
    msg.put_u32(A_DEVICE_IFINDEX, dev.ifindex())?;
    msg.put_str(A_DEVICE_IFNAME, dev.name().as_bytes())?;
    msg.put_u32(A_DEVICE_GENERATION, device.generation.load(Relaxed))
}

/// Puts what all messages about a peer have in common.
pub(crate) fn put_peer(
    peer: &Peer,
    dev: &RegisteredDevice,
    msg: &mut Message<'_>,
) -> Result<(), NoSpace> {
    msg.put_u32(A_PEER_IFINDEX, dev.ifindex())?;
    msg.put_str(A_PEER_IFNAME, dev.name().as_bytes())?;
    msg.put_u32(A_PEER_GENERATION, peer.device.generation.load(Relaxed))?;
    msg.put(A_PEER_PUBLIC_KEY, peer.public_key())?;
    msg.put_uint(A_PEER_ID, peer.id)?;
    let (sockaddr, len) = peer.endpoint().to_sockaddr();
    if len != 0 {
        msg.put(A_PEER_ENDPOINT, &sockaddr[..len])?;
    }
    Ok(())
}

/// Puts what is known of who called and is no peer.
fn put_unknown(
    device: &Device,
    dev: &RegisteredDevice,
    key: &[u8; 32],
    source: &Endpoint,
    msg: &mut Message<'_>,
) -> Result<(), NoSpace> {
    msg.put_u32(A_PEER_IFINDEX, dev.ifindex())?;
    msg.put_str(A_PEER_IFNAME, dev.name().as_bytes())?;
    msg.put_u32(A_PEER_GENERATION, device.generation.load(Relaxed))?;
    msg.put(A_PEER_PUBLIC_KEY, key)?;
    let (sockaddr, len) = source.to_sockaddr();
    msg.put(A_PEER_ENDPOINT, &sockaddr[..len])
}

/// Calls `tell` with the interface of a device, and the namespace to be told. One that was never seen,
/// or is seen no more, is none that anybody could ask for.
#[inline]
fn at<R>(device: &Device, tell: impl FnOnce(&RegisteredDevice, &Net) -> R) -> Option<R> {
    let guard = read_lock();
    let dev = device.dev.get(&guard)?;
    Some(tell(dev, dev.net_rcu(&guard)))
}

/// Tells of a device.
fn tell_device(device: &Device, cmd: u8, cause: Cause) {
    at(device, |dev, net| {
        GROUP.send(net, cmd, |msg| {
            put_device(device, dev, msg)?;
            msg.put_u32(A_DEVICE_CAUSE, cause as u32)
        })
    });
}

/// Tells of a device, and nothing more.
fn tell_load(device: &Device, cmd: u8) {
    at(device, |dev, net| {
        GROUP.send(net, cmd, |msg| put_device(device, dev, msg))
    });
}

/// The turn to tell of a peer, if anybody listens: else no lock is taken. No lock of the peer may be
/// held.
#[inline]
fn turn(peer: &Peer) -> Option<SpinLockBhGuard<'_, ()>> {
    heard(&peer.device).then(|| peer.device.telling.lock())
}

/// Tells of a peer, with what `put` appends.
#[inline]
fn tell(peer: &Peer, cmd: u8, put: impl FnOnce(&mut Message<'_>) -> Result<(), NoSpace>) {
    if let Some(_turn) = turn(peer) {
        send(peer, cmd, put);
    }
}

/// The same, for whose turn it is.
fn send(peer: &Peer, cmd: u8, put: impl FnOnce(&mut Message<'_>) -> Result<(), NoSpace>) {
    at(&peer.device, |dev, net| {
        GROUP.send(net, cmd, |msg| {
            put_peer(peer, dev, msg)?;
            put(msg)
        })
    });
}

/// Tells of a peer, with one more attribute.
#[inline]
fn tell_peer(peer: &Peer, cmd: u8, attr: u32, value: u32) {
    tell(peer, cmd, |msg| msg.put_u32(attr, value));
}

/// Whether a peer, whose turn it is, may be told of yet: its removal was not told.
fn is_there(peer: &Peer) -> bool {
    !peer.removal_told.load(Relaxed) && !peer.is_dead()
}

/// Tells of a peer that is not being removed, and nothing more.
fn tell_there(peer: &Peer, cmd: u8) {
    if let Some(_turn) = turn(peer).filter(|_| is_there(peer)) {
        send(peer, cmd, |_| Ok(()));
    }
}

/// Whether anybody listens. For who would go through many peers to tell of each.
pub(crate) fn heard(device: &Device) -> bool {
    at(device, |_, net| GROUP.has_listeners(net)).unwrap_or(false)
}

/// An interface was made. RTNL held.
pub(crate) fn device_added(device: &Device) {
    tell_device(device, CMD_DEVICE_ADDED, Cause::Interface);
}

/// The device's key, port or mark was set, or a switch of ours, or it has lost its sockets for good.
/// Device lock held.
pub(crate) fn device_changed(device: &Device, cause: Cause) {
    tell_device(device, CMD_DEVICE_CHANGED, cause);
}

/// The interface goes, and all its peers. RTNL held.
pub(crate) fn device_removed(device: &Device, cause: Cause) {
    tell_device(device, CMD_DEVICE_REMOVED, cause);
}

/// The device is under load from now on.
pub(crate) fn load_begins(device: &Device) {
    tell_load(device, CMD_LOAD_BEGINS);
}

/// The device is under load no more.
pub(crate) fn load_ends(device: &Device) {
    tell_load(device, CMD_LOAD_ENDS);
}

/// A peer was added. Device lock held.
pub(crate) fn peer_added(peer: &Peer) {
    tell_peer(peer, CMD_PEER_ADDED, A_PEER_CAUSE, Cause::Netlink as u32);
}

/// A peer was configured that was there before. Device lock held.
pub(crate) fn peer_changed(peer: &Peer) {
    tell_peer(peer, CMD_PEER_CHANGED, A_PEER_CAUSE, Cause::Netlink as u32);
}

/// A peer is removed, and its device stays. Device lock held.
pub(crate) fn peer_removed(peer: &Peer) {
    // Many are told of before the first one is unlinked.
    peer.removal_told.store(true, Relaxed);
    tell_peer(peer, CMD_PEER_REMOVED, A_PEER_CAUSE, Cause::Netlink as u32);
}

/// An initiation opened to a key that no peer has; whether its sender has the private key is not known.
pub(crate) fn unknown_peer(device: &Device, key: &[u8; 32], source: &Endpoint) {
    at(device, |dev, net| {
        GROUP.send(net, CMD_UNKNOWN_PEER, |msg| {
            put_unknown(device, dev, key, source, msg)
        })
    });
}

/// A peer was heard from another place than before; this is where it is now.
pub(crate) fn endpoint_changed(peer: &Peer) {
    tell_there(peer, CMD_ENDPOINT_CHANGED);
}

/// A handshake is complete: both sides have the keys.
pub(crate) fn session_established(peer: &Peer, side: Side) {
    let turn = turn(peer);
    // Also if nobody hears of it: who looks now will see it.
    peer.end_owed.store(true, Relaxed);
    if turn.is_some() {
        send(peer, CMD_SESSION_ESTABLISHED, |msg| {
            msg.put_u32(A_PEER_SIDE, side as u32)
        });
    }
}

/// A session may be over: tells that the peer has none any more, unless the one in use has time left,
/// which is what `left` says, and this returns. Nothing is told of the peer in between; so a session that
/// `left` doesn't see begins after this.
pub(crate) fn session_expired(peer: &Peer, left: impl FnOnce() -> u64) -> u64 {
    let turn = turn(peer);
    let left = left();
    if left == 0 && peer.end_owed.load(Relaxed) {
        peer.end_owed.store(false, Relaxed);
        if turn.is_some() && is_there(peer) {
            send(peer, CMD_SESSION_EXPIRED, |_| Ok(()));
        }
    }
    left
}

/// There will be no other attempt to get an answer, until somebody wants one again.
pub(crate) fn handshake_given_up(peer: &Peer, why: Failure) {
    tell_peer(peer, CMD_HANDSHAKE_GIVEN_UP, A_PEER_REASON, why as u32);
}
