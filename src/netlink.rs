// SPDX-License-Identifier: GPL-2.0
//! The generic netlink family `wireguard`, version 1: all of a device's configuration.
//!
//! The interface is `Documentation/netlink/specs/wireguard.yaml` of the kernel. Handlers run in process
//! context with the family's lock held, and take RTNL and the device lock. Attributes reach them
//! checked against the policies below; what the policies can't say is checked here.

use core::{
    net::IpAddr,
    sync::atomic::Ordering::Relaxed, //
};

use kernel::{
    error::code::{
        EBADR,
        EMSGSIZE,
        ENODEV,
        EPFNOSUPPORT, //
    },
    prelude::*, //
};

use wgk::{
    crypto::{
        without_traces,
        x25519_clamp,
        Secret, //
    },
    genetlink::{
        policy,
        Attr,
        DoOp,
        DumpMsg,
        DumpOp,
        DumpStatus,
        Info,
        NoSpace,
        Op,
        Parsed,
        Permission,
        Policy, //
    },
    netdevice,
    rcu::{
        read_lock,
        RcuArc, //
    },
    rtnl::Rtnl,
    uapi,
    udp_tunnel::Endpoint, //
};

use crate::{
    allowedips::Cursor,
    device::{
        Config,
        Device,
        WireGuard, //
    },
    noise::StaticIdentity,
    peer::{
        self,
        Peer, //
    },
    send,
    socket, //
};

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

/// Finds the interface that a request names, by index or by name but not by both.
///
/// `EBADR` for both or neither, `ENODEV` if there is none, `EOPNOTSUPP` if it's not of our kind.
fn lookup(rtnl: &Rtnl, info: &Info<'_>) -> Result<RcuArc<Device>> {
    let attrs = info.attrs();
    match (
        attrs.get(wg::WGDEVICE_A_IFINDEX),
        attrs.get(wg::WGDEVICE_A_IFNAME),
    ) {
        (Some(index), None) => netdevice::find_by_index::<WireGuard>(rtnl, info.net(), index.u32()),
        (None, Some(name)) => netdevice::find_by_name::<WireGuard>(rtnl, info.net(), name),
        _ => Err(EBADR),
    }
}

/// The key in an attribute.
fn secret(attr: Option<Attr<'_>>) -> Option<Secret<KEY_LEN>> {
    Some(Secret::from_bytes(attr?.array()?))
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
            device: lookup(&rtnl, info)?,
            last_peer: None,
            next_prefix: None,
            prefixes_seq: 0,
        })
    }

    fn dump(state: &mut DumpState, msg: &mut DumpMsg<'_>, _info: &Info<'_>) -> Result<DumpStatus> {
        let _rtnl = Rtnl::lock();
        let device = state.device.clone();
        let config = device.config.lock();

        msg.begin(Self::CMD, config.generation)?;
        if state.last_peer.is_none() {
            put_device(&device, msg)?;
        }
        let nest = msg.nest_start(wg::WGDEVICE_A_PEERS)?;
        // Where the last part ended there is no peer any more: the sequence number tells userspace
        // that the dump is torn, so there's no use in finding the right place.
        let gone = state.last_peer.is_some_and(|id| !config.peers.contains(id));
        if gone || config.peers.len() == 0 {
            msg.nest_cancel(nest);
            msg.end();
            return Ok(DumpStatus::Done);
        }
        let mut progress = false;
        loop {
            let before = state.next_prefix;
            let put = config
                .peers
                .with_next(state.last_peer.unwrap_or(0), |peer| {
                    put_peer(&device, &config, peer, state, msg)?;
                    state.last_peer = Some(peer.id);
                    Ok::<(), NoSpace>(())
                });
            match put {
                None => break,
                Some(Ok(())) => progress = true,
                Some(Err(NoSpace)) => {
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
    msg.put_u16(wg::WGDEVICE_A_LISTEN_PORT, device.listen_port.load(Relaxed))?;
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
    let last = peer.last_handshake();
    let mut timespec = [0; 16];
    timespec[..8].copy_from_slice(&last.sec.to_ne_bytes());
    timespec[8..].copy_from_slice(&i64::from(last.nsec).to_ne_bytes());
    msg.put(wg::WGPEER_A_LAST_HANDSHAKE_TIME, &timespec)?;
    msg.put_u16(
        wg::WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
        peer.keepalive_s.load(Relaxed),
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

// ---- WG_CMD_SET_DEVICE ----

/// Changes one device. What was done before an error stays done, as with the C driver.
pub(crate) struct SetDevice;

impl DoOp for SetDevice {
    const CMD: u8 = wg::WG_CMD_SET_DEVICE as u8;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &SET_POLICY;

    fn run(info: &Info<'_>) -> Result {
        let result = without_traces(|| set_device(info));
        // The request's buffer may live on; our key shall not live in it.
        if let Some(key) = info.attrs().get(wg::WGDEVICE_A_PRIVATE_KEY) {
            key.wipe();
        }
        result
    }
}

fn set_device(info: &Info<'_>) -> Result {
    let attrs = info.attrs();
    let rtnl = Rtnl::lock();
    let device = lookup(&rtnl, info)?;
    let mut config = device.config.lock();

    let flags = attrs.get(wg::WGDEVICE_A_FLAGS).map_or(0, |a| a.u32());
    let port = attrs.get(wg::WGDEVICE_A_LISTEN_PORT).map(|a| a.u16());
    let fwmark = attrs.get(wg::WGDEVICE_A_FWMARK).map(|a| a.u32());
    if port.is_some() || fwmark.is_some() {
        // These act in the namespace of the sockets, which need not be the caller's.
        let net = device.creating_net.get().ok_or(EPERM)?;
        if !net.ns_capable_admin() {
            return Err(EPERM);
        }
    }

    config.generation = config.generation.wrapping_add(1);

    if let Some(mark) = fwmark {
        device.fwmark.store(mark, Relaxed);
        // Routes were chosen by the old mark.
        config.peers.iter().for_each(|p| p.clear_endpoint_source());
    }
    if let Some(port) = port {
        set_port(&device, &config, port)?;
    }
    if flags & wg::WGDEVICE_F_REPLACE_PEERS != 0 {
        peer::remove_all(&device, &mut config);
    }
    if let Some(key) = secret(attrs.get(wg::WGDEVICE_A_PRIVATE_KEY)) {
        set_private_key(&device, &mut config, key);
    }
    if let Some(peers) = attrs.get(wg::WGDEVICE_A_PEERS) {
        for nested in peers.nested() {
            let attrs = nested.parse_nested::<PEER_ATTRS>()?;
            let result = set_peer(&device, &mut config, &attrs);
            if let Some(key) = attrs.get(wg::WGPEER_A_PRESHARED_KEY) {
                key.wipe();
            }
            result?;
        }
    }
    Ok(())
}

/// Moves the sockets to `port`, or notes it for when the interface comes up.
fn set_port(device: &RcuArc<Device>, config: &Config, port: u16) -> Result {
    if device.listen_port.load(Relaxed) == port {
        return Ok(());
    }
    config.peers.iter().for_each(|p| p.clear_endpoint_source());
    if !device.is_up() {
        device.listen_port.store(port, Relaxed);
        return Ok(());
    }
    socket::init(device, port)
}

/// Sets the private key, unless it is set to that already.
fn set_private_key(device: &RcuArc<Device>, config: &mut Config, key: Secret<KEY_LEN>) {
    let same = match device.identity.read().as_ref() {
        // Compared with what a dump shows: a key that was not clamped counts as another.
        Some(identity) => identity.private().ct_eq(&key),
        // Nothing was ever set, or a null key last: what that leaves, clamped.
        None => {
            let mut none = Secret::zero();
            if config.key_was_set() {
                x25519_clamp(&mut none);
            }
            none.ct_eq(&key)
        }
    };
    if same {
        return;
    }
    device.set_private_key(config, StaticIdentity::from_private(key));
}

/// The address in an attribute, if it is one of a family and length that fit together.
fn endpoint(attr: Attr<'_>) -> Option<Endpoint> {
    let mut sockaddr = [0; 28];
    if attr.len() > sockaddr.len() {
        return None;
    }
    let len = attr.copy_to(&mut sockaddr);
    Endpoint::from_sockaddr(&sockaddr[..len])
}

/// Adds, changes or removes one peer.
fn set_peer(
    device: &RcuArc<Device>,
    config: &mut Config,
    attrs: &Parsed<'_, PEER_ATTRS>,
) -> Result {
    let public_key = attrs
        .get(wg::WGPEER_A_PUBLIC_KEY)
        .and_then(|a| a.array::<KEY_LEN>())
        .ok_or(EINVAL)?;
    let preshared_key = secret(attrs.get(wg::WGPEER_A_PRESHARED_KEY));
    let mut flags = attrs.get(wg::WGPEER_A_FLAGS).map_or(0, |a| a.u32());
    if attrs
        .get(wg::WGPEER_A_PROTOCOL_VERSION)
        .is_some_and(|a| a.u32() != 1)
    {
        return Err(EPFNOSUPPORT);
    }

    let peer = match device.peer_by_key(&public_key) {
        Some(peer) => peer,
        None => {
            if flags & (wg::WGPEER_F_REMOVE_ME | wg::WGPEER_F_UPDATE_ONLY) != 0 {
                return Ok(());
            }
            // Nothing to replace in a new peer.
            flags &= !wg::WGPEER_F_REPLACE_ALLOWEDIPS;
            let ours = device
                .identity
                .read()
                .as_ref()
                .is_some_and(|i| *i.public() == public_key);
            if ours {
                // Passed over in silence, so that one list of peers can be given to all of them.
                return Ok(());
            }
            Peer::create(
                device,
                config,
                public_key,
                preshared_key.clone().unwrap_or_else(Secret::zero),
            )?
        }
    };
    if flags & wg::WGPEER_F_REMOVE_ME != 0 {
        peer::remove(config, &peer);
        return Ok(());
    }
    if let Some(key) = preshared_key {
        peer.handshake.lock().noise.set_psk(key);
    }
    if let Some(endpoint) = attrs.get(wg::WGPEER_A_ENDPOINT).and_then(endpoint) {
        peer.set_endpoint(&endpoint);
    }
    if flags & wg::WGPEER_F_REPLACE_ALLOWEDIPS != 0 {
        device
            .allowed_ips
            .remove_by_peer(&mut config.prefixes, &peer);
    }
    if let Some(prefixes) = attrs.get(wg::WGPEER_A_ALLOWEDIPS) {
        for nested in prefixes.nested() {
            let attrs = nested.parse_nested::<PREFIX_ATTRS>()?;
            set_prefix(device, config, &peer, &attrs)?;
        }
    }
    let up = device.is_up();
    if let Some(interval) = attrs
        .get(wg::WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL)
        .map(|a| a.u16())
    {
        let before = peer.keepalive_s.swap(interval, Relaxed);
        if before == 0 && interval != 0 && up {
            send::send_keepalive(RcuArc::as_rcu_ref(&peer));
        }
    }
    if up {
        send::send_staged(RcuArc::as_rcu_ref(&peer));
    }
    Ok(())
}

/// Adds or removes one prefix of a peer.
fn set_prefix(
    device: &Device,
    config: &mut Config,
    peer: &RcuArc<Peer>,
    attrs: &Parsed<'_, PREFIX_ATTRS>,
) -> Result {
    let (Some(family), Some(addr), Some(cidr)) = (
        attrs.get(wg::WGALLOWEDIP_A_FAMILY),
        attrs.get(wg::WGALLOWEDIP_A_IPADDR),
        attrs.get(wg::WGALLOWEDIP_A_CIDR_MASK),
    ) else {
        return Err(EINVAL);
    };
    let (family, cidr) = (family.u16(), cidr.u8());
    let flags = attrs.get(wg::WGALLOWEDIP_A_FLAGS).map_or(0, |a| a.u32());
    let addr: IpAddr = match (family, cidr) {
        (uapi::AF_INET, ..=32) => addr.array::<4>().ok_or(EINVAL)?.into(),
        (uapi::AF_INET6, ..=128) => addr.array::<16>().ok_or(EINVAL)?.into(),
        _ => return Err(EINVAL),
    };
    if flags & wg::WGALLOWEDIP_F_REMOVE_ME != 0 {
        device
            .allowed_ips
            .remove(&mut config.prefixes, addr, cidr, peer);
        return Ok(());
    }
    Ok(device
        .allowed_ips
        .insert(&mut config.prefixes, addr, cidr, peer)?)
}
