// SPDX-License-Identifier: GPL-2.0
//! The generic netlink family `wireguard`, version 1: all of a device's configuration.
//!
//! The interface is `Documentation/netlink/specs/wireguard.yaml` of the kernel. Handlers run in process
//! context with the family's lock held, and take RTNL and the device lock. Attributes reach them
//! checked against the policies below; what the policies can't say is checked here.

use core::net::IpAddr;

use kernel::{
    error::code::{
        EMSGSIZE,
        ENODEV, //
    },
    prelude::*, //
};

use wgk::{
    atomic::Relaxed,
    errno::EBADR,
    genetlink::{
        policy,
        DumpMsg,
        DumpOp,
        DumpStatus,
        Info,
        NoSpace,
        Op,
        Permission,
        Policy, //
    },
    netdevice,
    rcu::{
        read_lock,
        RcuArc, //
    },
    rtnl::Rtnl,
    uapi, //
};

use crate::{
    allowedips::Cursor,
    device::{
        Config,
        Device, //
    },
    interface::WireGuard,
    messages::NSEC_PER_SEC,
    peer::Peer, //
};

mod set;

use set::SetDevice;
use uapi::wireguard as wg;

const KEY_LEN: usize = 32;
/// Entries of a table of peer attributes.
const PEER_ATTRS: usize = wg::WGPEER_A_PROTOCOL_VERSION as usize + 1;
/// Entries of a table of prefix attributes.
const PREFIX_ATTRS: usize = wg::WGALLOWEDIP_A_FLAGS as usize + 1;

static ALLOWEDIP_POLICY: [Policy; PREFIX_ATTRS] = policy::table(&[
    (wg::WGALLOWEDIP_A_FAMILY, Policy::U16),
    (wg::WGALLOWEDIP_A_IPADDR, Policy::min_len(4)),
    (wg::WGALLOWEDIP_A_CIDR_MASK, Policy::U8),
    (
        wg::WGALLOWEDIP_A_FLAGS,
        Policy::mask_u32(wg::WGALLOWEDIP_F_REMOVE_ME),
    ),
]);

static PEER_POLICY: [Policy; PEER_ATTRS] = policy::table(&[
    (wg::WGPEER_A_PUBLIC_KEY, Policy::exact_len(KEY_LEN as u16)),
    (
        wg::WGPEER_A_PRESHARED_KEY,
        Policy::exact_len(KEY_LEN as u16),
    ),
    (
        wg::WGPEER_A_FLAGS,
        Policy::mask_u32(
            wg::WGPEER_F_REMOVE_ME | wg::WGPEER_F_REPLACE_ALLOWEDIPS | wg::WGPEER_F_UPDATE_ONLY,
        ),
    ),
    (wg::WGPEER_A_ENDPOINT, Policy::min_len(16)),
    (wg::WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, Policy::U16),
    (wg::WGPEER_A_LAST_HANDSHAKE_TIME, Policy::exact_len(16)),
    (wg::WGPEER_A_RX_BYTES, Policy::U64),
    (wg::WGPEER_A_TX_BYTES, Policy::U64),
    (
        wg::WGPEER_A_ALLOWEDIPS,
        Policy::nested_array(&ALLOWEDIP_POLICY),
    ),
    (wg::WGPEER_A_PROTOCOL_VERSION, Policy::U32),
]);

static GET_POLICY: [Policy; wg::WGDEVICE_A_IFNAME as usize + 1] = policy::table(&[
    (wg::WGDEVICE_A_IFINDEX, Policy::U32),
    (wg::WGDEVICE_A_IFNAME, Policy::nul_string(15)),
]);

static SET_POLICY: [Policy; wg::WGDEVICE_A_PEERS as usize + 1] = policy::table(&[
    (wg::WGDEVICE_A_IFINDEX, Policy::U32),
    (wg::WGDEVICE_A_IFNAME, Policy::nul_string(15)),
    (
        wg::WGDEVICE_A_PRIVATE_KEY,
        Policy::exact_len(KEY_LEN as u16),
    ),
    (wg::WGDEVICE_A_PUBLIC_KEY, Policy::exact_len(KEY_LEN as u16)),
    (
        wg::WGDEVICE_A_FLAGS,
        Policy::mask_u32(wg::WGDEVICE_F_REPLACE_PEERS),
    ),
    (wg::WGDEVICE_A_LISTEN_PORT, Policy::U16),
    (wg::WGDEVICE_A_FWMARK, Policy::U32),
    (wg::WGDEVICE_A_PEERS, Policy::nested_array(&PEER_POLICY)),
]);

/// The family's operations, by command.
pub(crate) static OPS: [Op; 2] = [Op::dump::<GetDevice>(), Op::act::<SetDevice>()];

/// Finds the interface that a request names, by index or by name but not by both: in these
/// attributes.
///
/// `EBADR` for both or neither, `ENODEV` if there is none, `EOPNOTSUPP` if it's not of our kind.
pub(crate) fn lookup(
    rtnl: &Rtnl,
    info: &Info<'_>,
    ifindex: u32,
    ifname: u32,
) -> Result<RcuArc<Device>> {
    let attrs = info.attrs();
    match (attrs.get(ifindex), attrs.get(ifname)) {
        (Some(index), None) => netdevice::find_by_index::<WireGuard>(rtnl, info.net(), index.u32()),
        (None, Some(name)) => netdevice::find_by_name::<WireGuard>(rtnl, info.net(), name),
        _ => Err(EBADR),
    }
}

/// The interface that a request of this family names; errors as for [`lookup`].
fn named(rtnl: &Rtnl, info: &Info<'_>) -> Result<RcuArc<Device>> {
    lookup(rtnl, info, wg::WGDEVICE_A_IFINDEX, wg::WGDEVICE_A_IFNAME)
}

// ---- WG_CMD_GET_DEVICE ----

/// Dumps one device, in as many parts as it takes.
pub(crate) struct GetDevice;

/// Where a dump goes on. By number and cursor, not by pointer: what they name may be gone.
pub(crate) struct DumpState {
    device: RcuArc<Device>,
    /// The last peer that was dumped in whole.
    last_peer: Option<u64>,
    /// The next prefix of the peer after that one, if some were dumped already.
    next_prefix: Option<Cursor>,
    /// State of the trie when that peer was begun; 0: none was.
    prefixes_seq: u64,
}

impl DumpOp for GetDevice {
    const CMD: u8 = wg::WG_CMD_GET_DEVICE as u8;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &GET_POLICY;
    type State = DumpState;

    fn start(info: &Info<'_>) -> Result<DumpState> {
        let rtnl = Rtnl::lock();
        Ok(DumpState {
            device: named(&rtnl, info)?,
            last_peer: None,
            next_prefix: None,
            prefixes_seq: 0,
        })
    }

    fn dump(state: &mut DumpState, msg: &mut DumpMsg<'_>, _info: &Info<'_>) -> Result<DumpStatus> {
        let _rtnl = Rtnl::lock();
        let device = state.device.clone();
        // Of one that is gone the peers are being removed, without RTNL, by who has this lock: that may
        // take seconds, which are not to be waited for here. To userspace the dump is torn.
        let there = device.dev.get(&read_lock()).is_some();
        let config = there.then(|| device.config.lock());

        let generation = config
            .as_ref()
            .map_or(0, |_| device.generation.load(Relaxed));
        msg.begin(Self::CMD, generation)?;
        if state.last_peer.is_none() {
            put_device(&device, msg)?;
        }
        let Some(config) = config else {
            msg.end();
            return Ok(DumpStatus::Done);
        };
        let nest = msg.nest_start(wg::WGDEVICE_A_PEERS)?;
        // Where the last part ended there is no peer any more: the sequence number tells userspace
        // that the dump is torn, so there's no use in finding the right place.
        let gone = state.last_peer.is_some_and(|id| !config.peers.contains(id));
        if gone || config.peers.is_empty() {
            msg.nest_cancel(nest);
            msg.end();
            return Ok(DumpStatus::Done);
        }
        let mut progress = false;
        loop {
            let before = state.next_prefix;
            let Some(peer) = config.peers.next_after(state.last_peer.unwrap_or(0)) else {
                break;
            };
            match put_peer(&device, &config, peer, state, msg) {
                Ok(()) => {
                    state.last_peer = Some(peer.id);
                    progress = true;
                }
                Err(NoSpace) => {
                    progress |= state.next_prefix != before;
                    msg.nest_end(nest);
                    msg.end();
                    // A part with nothing in it would be followed by another, for ever.
                    return if progress {
                        Ok(DumpStatus::More)
                    } else {
                        Err(EMSGSIZE)
                    };
                }
            }
        }
        msg.nest_end(nest);
        msg.end();
        Ok(DumpStatus::Done)
    }
}

/// Puts the device's own attributes.
fn put_device(device: &Device, msg: &mut DumpMsg<'_>) -> Result {
    let (ifindex, name) = {
        let guard = read_lock();
        let dev = device.dev.get(&guard).ok_or(ENODEV)?;
        (dev.ifindex(), dev.name())
    };
    let identity = device.identity.read();
    msg.put_u16(
        wg::WGDEVICE_A_LISTEN_PORT,
        device.listen_port.load(Relaxed) as u16,
    )?;
    msg.put_u32(wg::WGDEVICE_A_FWMARK, device.fwmark.load(Relaxed))?;
    msg.put_u32(wg::WGDEVICE_A_IFINDEX, ifindex)?;
    msg.put_str(wg::WGDEVICE_A_IFNAME, name.as_bytes())?;
    if let Some(identity) = identity.as_ref() {
        msg.put(wg::WGDEVICE_A_PRIVATE_KEY, identity.private().as_bytes())?;
        msg.put(wg::WGDEVICE_A_PUBLIC_KEY, identity.public())?;
    }
    Ok(())
}

/// Puts one peer, or the rest of it. On an error `state` tells whether a part of its prefixes stayed
/// in the message; otherwise nothing of the peer did.
fn put_peer(
    device: &Device,
    config: &Config,
    peer: &RcuArc<Peer>,
    state: &mut DumpState,
    msg: &mut DumpMsg<'_>,
) -> Result<(), NoSpace> {
    let nest = msg.nest_start(0)?;
    if let Err(e) = put_peer_base(peer, state.next_prefix.is_none(), msg) {
        msg.nest_cancel(nest);
        return Err(e);
    }

    let mut prefixes = device
        .allowed_ips
        .prefixes(&config.prefixes, peer, state.next_prefix)
        .peekable();
    let seq = config.prefixes.seq();
    if state.prefixes_seq == 0 && prefixes.peek().is_some() {
        state.prefixes_seq = seq;
    }
    // A cursor into a trie that changed since leads nowhere; the dump is torn anyhow.
    if prefixes.peek().is_some() && state.prefixes_seq == seq {
        let list = match msg.nest_start(wg::WGPEER_A_ALLOWEDIPS) {
            Ok(list) => list,
            Err(e) => {
                msg.nest_cancel(nest);
                return Err(e);
            }
        };
        for (addr, cidr, cursor) in prefixes {
            if let Err(e) = put_prefix(addr, cidr, msg) {
                msg.nest_end(list);
                msg.nest_end(nest);
                state.next_prefix = Some(cursor);
                return Err(e);
            }
        }
        msg.nest_end(list);
    }
    msg.nest_end(nest);
    state.next_prefix = None;
    state.prefixes_seq = 0;
    Ok(())
}

/// Puts a peer's public key and, for the first part of it, everything but its prefixes.
fn put_peer_base(peer: &Peer, whole: bool, msg: &mut DumpMsg<'_>) -> Result<(), NoSpace> {
    msg.put(wg::WGPEER_A_PUBLIC_KEY, peer.public_key())?;
    if !whole {
        return Ok(());
    }
    msg.put(
        wg::WGPEER_A_PRESHARED_KEY,
        peer.handshake.lock().noise.psk().as_bytes(),
    )?;
    let last = peer.last_handshake_ns();
    let mut timespec = [0; 16];
    timespec[..8].copy_from_slice(&(last / NSEC_PER_SEC).to_ne_bytes());
    timespec[8..].copy_from_slice(&(last % NSEC_PER_SEC).to_ne_bytes());
    msg.put(wg::WGPEER_A_LAST_HANDSHAKE_TIME, &timespec)?;
    msg.put_u16(
        wg::WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
        peer.keepalive_s.load(Relaxed) as u16,
    )?;
    let pad = wg::WGPEER_A_UNSPEC;
    msg.put_u64(wg::WGPEER_A_TX_BYTES, peer.tx_bytes.load(Relaxed), pad)?;
    msg.put_u64(wg::WGPEER_A_RX_BYTES, peer.rx_bytes.load(Relaxed), pad)?;
    msg.put_u32(wg::WGPEER_A_PROTOCOL_VERSION, 1)?;
    let (sockaddr, len) = peer.endpoint().to_sockaddr();
    if len != 0 {
        msg.put(wg::WGPEER_A_ENDPOINT, &sockaddr[..len])?;
    }
    Ok(())
}

/// Puts one prefix, or nothing.
fn put_prefix(addr: IpAddr, cidr: u8, msg: &mut DumpMsg<'_>) -> Result<(), NoSpace> {
    let nest = msg.nest_start(0)?;
    let mut put = || {
        msg.put_u8(wg::WGALLOWEDIP_A_CIDR_MASK, cidr)?;
        match addr {
            IpAddr::V4(a) => {
                msg.put_u16(wg::WGALLOWEDIP_A_FAMILY, uapi::AF_INET)?;
                msg.put(wg::WGALLOWEDIP_A_IPADDR, &a.octets())
            }
            IpAddr::V6(a) => {
                msg.put_u16(wg::WGALLOWEDIP_A_FAMILY, uapi::AF_INET6)?;
                msg.put(wg::WGALLOWEDIP_A_IPADDR, &a.octets())
            }
        }
    };
    match put() {
        Ok(()) => {
            msg.nest_end(nest);
            Ok(())
        }
        Err(e) => {
            msg.nest_cancel(nest);
            Err(e)
        }
    }
}
