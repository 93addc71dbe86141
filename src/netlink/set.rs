// SPDX-License-Identifier: GPL-2.0
//! `WG_CMD_SET_DEVICE`: changes of a device, its peers and their prefixes.

use core::net::IpAddr;

use kernel::prelude::*;

use wgk::{
    atomic::Relaxed,
    crypto::{
        without_traces,
        x25519_clamp,
        Secret, //
    },
    errno::EPFNOSUPPORT,
    genetlink::{
        Attr,
        Attrs,
        DoOp,
        Info,
        Parsed,
        Permission,
        Policy, //
    },
    rcu::RcuArc,
    rtnl::Rtnl,
    uapi,
    udp_tunnel::Endpoint, //
};

use super::{
    named,
    wg,
    KEY_LEN,
    PEER_ATTRS,
    PREFIX_ATTRS,
    SET_POLICY, //
};
use crate::{
    device::{
        Config,
        Device, //
    },
    events::{
        self,
        Cause, //
    },
    noise::StaticIdentity,
    on_demand,
    peer::{
        self,
        Peer, //
    },
    send,
    socket, //
};

/// The key in an attribute.
fn secret(attr: Option<Attr<'_>>) -> Option<Secret<KEY_LEN>> {
    Some(Secret::from_bytes(attr?.array()?))
}

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
    let rtnl = Rtnl::lock();
    let device = named(&rtnl, info)?;
    let mut config = device.config.lock();
    let attrs = info.attrs();

    if attrs.get(wg::WGDEVICE_A_LISTEN_PORT).is_some() || attrs.get(wg::WGDEVICE_A_FWMARK).is_some()
    {
        // These act in the namespace of the sockets, which need not be the caller's.
        let net = device.creating_net.get().ok_or(EPERM)?;
        if !net.ns_capable_admin() {
            return Err(EPERM);
        }
    }

    device.grow_generation();
    let result = set_own(&device, &mut config, &attrs);
    if OWN.iter().any(|attr| attrs.get(*attr).is_some()) {
        events::device_changed(&device, Cause::Netlink);
    }
    result?;
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

/// The attributes of a device itself that change something.
const OWN: [u32; 3] = [
    wg::WGDEVICE_A_PRIVATE_KEY,
    wg::WGDEVICE_A_LISTEN_PORT,
    wg::WGDEVICE_A_FWMARK,
];

/// Changes the device itself, and removes its peers if they are to be replaced.
fn set_own(device: &RcuArc<Device>, config: &mut Config, attrs: &Attrs<'_>) -> Result {
    if let Some(mark) = attrs.get(wg::WGDEVICE_A_FWMARK).map(|a| a.u32()) {
        device.fwmark.store(mark, Relaxed);
        // Routes were chosen by the old mark.
        config.each_peer(|p| p.clear_endpoint_source());
    }
    if let Some(port) = attrs.get(wg::WGDEVICE_A_LISTEN_PORT).map(|a| a.u16()) {
        set_port(device, config, port)?;
    }
    let flags = attrs.get(wg::WGDEVICE_A_FLAGS).map_or(0, |a| a.u32());
    if flags & wg::WGDEVICE_F_REPLACE_PEERS != 0 {
        if events::heard(device) {
            config.each_peer(|peer| events::peer_removed(peer));
        }
        peer::remove_all(device, config);
    }
    if let Some(key) = secret(attrs.get(wg::WGDEVICE_A_PRIVATE_KEY)) {
        set_private_key(device, config, key);
    }
    Ok(())
}

/// Moves the sockets to `port`, or notes it for when the interface comes up.
fn set_port(device: &RcuArc<Device>, config: &Config, port: u16) -> Result {
    if device.listen_port.load(Relaxed) == u32::from(port) {
        return Ok(());
    }
    config.each_peer(|p| p.clear_endpoint_source());
    match config.binding.present() {
        Ok(bound) if device.is_up() => socket::init(device, bound, port),
        // Not now.
        _ => {
            device.listen_port.store(port.into(), Relaxed);
            Ok(())
        }
    }
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
    let identity = StaticIdentity::from_private(key);
    // A device does not talk to itself.
    if let Some(peer) = identity
        .as_ref()
        .and_then(|identity| device.peer_by_key(identity.public()))
    {
        events::peer_removed(&peer);
        peer::remove(config, &peer);
    }
    device.set_identity(config, identity, |peer, first| {
        // Its sessions were made with the old key: no more is sent with them.
        peer.expire_keypairs();
        if first {
            send::send_staged(RcuArc::as_rcu_ref(peer));
        }
    });
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

    let (peer, added) = match device.peer_by_key(&public_key) {
        Some(peer) => (peer, false),
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
            let preshared_key = preshared_key.clone().unwrap_or_else(Secret::zero);
            let peer = Peer::create(device, config, public_key, preshared_key)?;
            on_demand::expected(device, &peer);
            (peer, true)
        }
    };
    if flags & wg::WGPEER_F_REMOVE_ME != 0 {
        events::peer_removed(&peer);
        peer::remove(config, &peer);
        return Ok(());
    }
    let result = configure(device, config, &peer, flags, preshared_key, attrs);
    // Also if it has failed: what was done stays done.
    if added {
        events::peer_added(&peer);
    } else {
        events::peer_changed(&peer);
    }
    on_demand::wanted(device, &public_key);
    result
}

/// Configures one peer.
fn configure(
    device: &RcuArc<Device>,
    config: &mut Config,
    peer: &RcuArc<Peer>,
    flags: u32,
    preshared_key: Option<Secret<KEY_LEN>>,
    attrs: &Parsed<'_, PEER_ATTRS>,
) -> Result {
    if let Some(key) = preshared_key {
        peer.handshake.lock().noise.set_psk(key);
    }
    let place = peer.place();
    if let Some(endpoint) = attrs.get(wg::WGPEER_A_ENDPOINT).and_then(endpoint) {
        peer.configure_endpoint(&endpoint);
    }
    if flags & wg::WGPEER_F_REPLACE_ALLOWEDIPS != 0 {
        device
            .allowed_ips
            .remove_by_peer(&mut config.prefixes, peer);
    }
    if let Some(prefixes) = attrs.get(wg::WGPEER_A_ALLOWEDIPS) {
        for nested in prefixes.nested() {
            let attrs = nested.parse_nested::<PREFIX_ATTRS>()?;
            set_prefix(device, config, peer, &attrs)?;
        }
    }
    let up = device.is_up();
    if let Some(interval) = attrs
        .get(wg::WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL)
        .map(|a| a.u16())
    {
        let before = peer.keepalive_s.xchg(interval.into(), Relaxed);
        if before == 0 && interval != 0 && up {
            send::send_keepalive(RcuArc::as_rcu_ref(peer));
        }
    }
    if up {
        if peer.place() != place {
            send::moved_by_user(RcuArc::as_rcu_ref(peer));
        }
        send::send_staged(RcuArc::as_rcu_ref(peer));
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
