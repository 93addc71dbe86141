// SPDX-License-Identifier: GPL-2.0
//! `peer-get`: one peer by its public key, or all of a device.
//!
//! A dump in parts goes on behind the last peer's number, and is marked as torn if the configuration
//! was changed since, as that of the family `wireguard`. What is not configuration, counters, queues,
//! sessions and handshakes, is of the moment at which each peer is looked at.

use kernel::{
    error::code::{
        EMSGSIZE,
        ENODEV,
        ENOENT, //
    },
    prelude::*, //
};

use wgk::{
    atomic::Relaxed,
    genetlink::{
        policy,
        DoOp,
        DumpMsg,
        DumpOp,
        DumpStatus,
        GetOp,
        Info,
        Message,
        NoSpace,
        Permission,
        Policy, //
    },
    netdevice::RegisteredDevice,
    rcu::{
        read_lock,
        RcuArc, //
    },
    rtnl::Rtnl,
    time::boottime_coarse_ns, //
};

use super::{
    named,
    put_len,
    sockets_net, //
};
use crate::{
    conduct::Side,
    device::Device,
    events::{
        self,
        A_PEER_IFINDEX,
        A_PEER_IFNAME,
        A_PEER_PUBLIC_KEY, //
    },
    messages::NSEC_PER_SEC,
    peer::Peer, //
};

/// Get one peer, or all of a device.
const CMD_PEER_GET: u8 = 2;
/// Change a peer.
const CMD_PEER_SET: u8 = 16;

/// When the last handshake was completed, uint; absent: never.
const A_PEER_LAST_HANDSHAKE: u32 = 10;
/// Bytes sent, uint.
const A_PEER_TX_BYTES: u32 = 11;
/// Bytes received, uint.
const A_PEER_RX_BYTES: u32 = 12;
/// The session that is sent with, a nest; absent: none.
const A_PEER_SESSION: u32 = 13;
/// A session waits for the peer's first message, flag.
const A_PEER_UNCONFIRMED: u32 = 14;
/// Packets that wait for a session, u32.
const A_PEER_STAGED: u32 = 15;
/// Messages on their way out, u32.
const A_PEER_TX_QUEUED: u32 = 16;
/// Messages on their way in, u32.
const A_PEER_RX_QUEUED: u32 = 17;
/// Initiations sent without an answer yet, u32; absent: no handshake of ours is under way.
const A_PEER_INITIATIONS: u32 = 18;
/// The last handshake that failed, a nest; absent: none.
const A_PEER_FAILURE: u32 = 19;
/// How often it was heard from another place than before, u32.
const A_PEER_ROAMED: u32 = 20;
/// Whether what is too long to leave in one piece is refused, u8: 0 or 1.
const A_PEER_AUTO_MTU: u32 = 21;
/// Bytes of the longest packet that leaves in one piece, u32; absent: not asked for, or nothing was sent yet.
const A_PEER_PATH_MTU: u32 = 22;
/// What of the peer's was dropped: a nest with a number for each reason of which there is one; absent: nothing.
const A_PEER_DROPS: u32 = 23;

/// Whole seconds since the keys were derived, uint.
const A_SESSION_AGE: u32 = 1;
/// Who began it, u32.
const A_SESSION_SIDE: u32 = 2;
/// It may be used for sending, flag.
const A_SESSION_USABLE: u32 = 3;

/// When, uint.
const A_FAILURE_TIME: u32 = 1;
/// Why, u32.
const A_FAILURE_REASON: u32 = 2;
/// There were no more attempts, flag.
const A_FAILURE_GAVE_UP: u32 = 3;

static PEER_POLICY: [Policy; A_PEER_PUBLIC_KEY as usize + 1] = policy::table(&[
    (A_PEER_IFINDEX, Policy::U32),
    (A_PEER_IFNAME, Policy::nul_string(15)),
    (A_PEER_PUBLIC_KEY, Policy::exact_len(32)),
]);

static SET_POLICY: [Policy; A_PEER_AUTO_MTU as usize + 1] = policy::table(&[
    (A_PEER_IFINDEX, Policy::U32),
    (A_PEER_IFNAME, Policy::nul_string(15)),
    (A_PEER_PUBLIC_KEY, Policy::exact_len(32)),
    (A_PEER_AUTO_MTU, Policy::max_u8(1)),
]);

/// Puts all there is about a peer.
fn put_peer(peer: &Peer, dev: &RegisteredDevice, msg: &mut Message<'_>) -> Result<(), NoSpace> {
    events::put_peer(peer, dev, msg)?;
    let last = peer.last_handshake_ns();
    if last != 0 {
        msg.put_uint(A_PEER_LAST_HANDSHAKE, last)?;
    }
    msg.put_uint(A_PEER_TX_BYTES, peer.tx_bytes.load(Relaxed))?;
    msg.put_uint(A_PEER_RX_BYTES, peer.rx_bytes.load(Relaxed))?;
    put_sessions(peer, msg)?;
    let staged = peer.staged.lock().len();
    put_len(msg, A_PEER_STAGED, staged)?;
    put_len(msg, A_PEER_TX_QUEUED, peer.tx.messages())?;
    put_len(msg, A_PEER_RX_QUEUED, peer.rx.messages())?;
    let (initiations, failure) = peer.handshake_progress();
    if let Some(n) = initiations {
        msg.put_u32(A_PEER_INITIATIONS, n)?;
    }
    if let Some(failure) = failure {
        let nest = msg.nest_start(A_PEER_FAILURE)?;
        msg.put_uint(A_FAILURE_TIME, failure.at_ns)?;
        msg.put_u32(A_FAILURE_REASON, failure.why as u32)?;
        if failure.gave_up {
            msg.put(A_FAILURE_GAVE_UP, &[])?;
        }
        msg.nest_end(nest);
    }
    msg.put_u32(A_PEER_ROAMED, peer.path.read().roamed)?;
    msg.put_u8(A_PEER_AUTO_MTU, peer.fit.is_on().into())?;
    if let Some(longest) = peer.fit.longest() {
        msg.put_u32(A_PEER_PATH_MTU, longest)?;
    }
    if !peer.drops.is_empty() {
        let nest = msg.nest_start(A_PEER_DROPS)?;
        peer.drops
            .each(|reason, n| msg.put_uint(reason as u32 + 1, n))?;
        msg.nest_end(nest);
    }
    Ok(())
}

/// The peer of the device that a request names. Device lock held.
fn named_peer(device: &Device, info: &Info<'_>) -> Result<RcuArc<Peer>> {
    let Some(key) = info.attrs().get(A_PEER_PUBLIC_KEY) else {
        return Err(info.lacks(A_PEER_PUBLIC_KEY as u16, c"which peer?", EINVAL));
    };
    key.array()
        .and_then(|key| device.peer_by_key(&key))
        .ok_or_else(|| info.refuse(key, c"the device has no such peer", ENOENT))
}

/// Puts what can be seen of a peer's sessions from outside.
fn put_sessions(peer: &Peer, msg: &mut Message<'_>) -> Result<(), NoSpace> {
    let guard = read_lock();
    let current = peer.keypairs.current(&guard);
    if let Some((session, keys)) = current.as_ref().and_then(|s| Some((s, s.keys()?))) {
        let now = boottime_coarse_ns();
        let age = now.saturating_sub(keys.origin.birthdate_ns) / NSEC_PER_SEC;
        let side = if keys.origin.initiator {
            Side::Initiator
        } else {
            Side::Responder
        };
        let nest = msg.nest_start(A_PEER_SESSION)?;
        msg.put_uint(A_SESSION_AGE, age)?;
        msg.put_u32(A_SESSION_SIDE, side as u32)?;
        if session.may_send(now) {
            msg.put(A_SESSION_USABLE, &[])?;
        }
        msg.nest_end(nest);
    }
    if peer.keypairs.next(&guard).is_some() {
        msg.put(A_PEER_UNCONFIRMED, &[])?;
    }
    Ok(())
}

/// Answers for the one peer that is named.
pub(crate) struct GetPeer;

impl GetOp for GetPeer {
    const CMD: u8 = CMD_PEER_GET;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &PEER_POLICY;

    fn get(info: &Info<'_>, reply: &mut Message<'_>) -> Result {
        let rtnl = Rtnl::lock();
        let device = named(&rtnl, info)?;
        // Its locks nest as they do in a dump.
        let _config = device.config.lock();
        let peer = named_peer(&device, info)?;
        let dev = device.dev.get_rtnl(&rtnl).ok_or(ENODEV)?;
        Ok(put_peer(&peer, dev, reply)?)
    }
}

/// Changes one peer: what the request has is set, all else stays.
pub(crate) struct SetPeer;

impl DoOp for SetPeer {
    const CMD: u8 = CMD_PEER_SET;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &SET_POLICY;

    fn run(info: &Info<'_>) -> Result {
        let rtnl = Rtnl::lock();
        let device = named(&rtnl, info)?;
        let _config = device.config.lock();
        let peer = named_peer(&device, info)?;
        if let Some(on) = info.attrs().get(A_PEER_AUTO_MTU).map(|a| a.u8() != 0) {
            sockets_net(&device)?;
            if on != peer.fit.is_on() {
                device.grow_generation();
                peer.fit.switch(on);
                events::peer_changed(&peer);
            }
        }
        Ok(())
    }
}

/// Dumps the peers of a device, a message for each, in the order in which they were added.
pub(crate) struct DumpPeers;

/// Where a dump goes on: behind the peer with this number. The peer may be gone, and the device, too.
pub(crate) struct Behind {
    device: RcuArc<Device>,
    last: u64,
}

impl DumpOp for DumpPeers {
    const CMD: u8 = CMD_PEER_GET;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &PEER_POLICY;
    type State = Behind;

    fn start(info: &Info<'_>) -> Result<Behind> {
        let rtnl = Rtnl::lock();
        if let Some(key) = info.attrs().get(A_PEER_PUBLIC_KEY) {
            return Err(info.refuse(key, c"a dump has all peers of the device", EINVAL));
        }
        Ok(Behind {
            device: named(&rtnl, info)?,
            last: 0,
        })
    }

    fn dump(state: &mut Behind, msg: &mut DumpMsg<'_>, info: &Info<'_>) -> Result<DumpStatus> {
        let rtnl = Rtnl::lock();
        // Of one that is gone the peers are being removed by who has the device lock: see the dump of
        // the family `wireguard`.
        let dev = state.device.dev.get_rtnl(&rtnl).ok_or(ENODEV)?;
        // Who was allowed to ask need not be where it has moved to.
        if dev.net(&rtnl).id() != info.net().id() {
            return Err(ENODEV);
        }
        let config = state.device.config.lock();
        let generation = state.device.generation.load(Relaxed);
        // Also if there is no peer left to be put in this part.
        msg.of_generation(generation);
        while let Some(peer) = config.peers.next_after(state.last) {
            let put = msg
                .begin(Self::CMD, generation)
                .and_then(|()| put_peer(peer, dev, msg));
            if put.is_err() {
                msg.cancel();
                // Without a peer in it, the next buffer would be no better.
                return if msg.is_empty() {
                    Err(EMSGSIZE)
                } else {
                    Ok(DumpStatus::More)
                };
            }
            msg.end();
            state.last = peer.id;
        }
        Ok(DumpStatus::Done)
    }
}
