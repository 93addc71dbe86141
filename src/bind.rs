// SPDX-License-Identifier: GPL-2.0
//! Sockets that are bound to a network device (an uplink, a VRF) or to an address, for who asks.
//!
//! What they are bound to stays through all that opens them anew. A network device is known by its index, and
//! so is never taken for another one that gets its name; when it goes, so do the sockets, until they
//! are bound anew: nothing shall leave another way.
//!
//! Process context, RTNL held, and the device lock where nothing else is said.

use core::net::{
    Ipv4Addr,
    Ipv6Addr, //
};

use kernel::prelude::*;

use wgk::{
    atomic::Relaxed,
    errno::{
        EADDRNOTAVAIL,
        EBADR,
        ELOOP, //
    },
    genetlink::{
        Info,
        Message,
        NoSpace, //
    },
    netdevice::{
        index_of,
        name_of,
        RegisteredDevice, //
    },
    netns::Net,
    rcu::RcuArc,
    rtnl::Rtnl,
    udp_tunnel::Bound, //
};

use crate::{
    device::{
        Binding,
        Config,
        Device, //
    },
    events::{
        self,
        Cause, //
    },
    socket, //
};

/// The network device that the sockets are bound to, u32; in a request, 0 is none.
pub(crate) const A_DEVICE_BIND_IFINDEX: u32 = 15;
/// Its name; in a request in the place of the index.
pub(crate) const A_DEVICE_BIND_IFNAME: u32 = 16;
/// Our IPv4 address, 4 bytes; in a request, 0.0.0.0 is any.
pub(crate) const A_DEVICE_BIND_IPV4: u32 = 17;
/// Our IPv6 address, 16 bytes; in a request, :: is any.
pub(crate) const A_DEVICE_BIND_IPV6: u32 = 18;
/// The network device is gone, and so are the sockets, flag.
const A_DEVICE_BIND_GONE: u32 = 19;

/// What a request wants the sockets to be bound to: what it does not name stays as it is. `None`: it names
/// nothing. `net` is the namespace of the sockets.
///
/// `ENXIO` there is no such network device, `ELOOP` it is the interface itself, `EADDRNOTAVAIL` the address is
/// one of many hosts, `EBADR` it names the device twice.
pub(crate) fn asked(
    rtnl: &Rtnl,
    device: &Device,
    config: &Config,
    net: &Net,
    info: &Info<'_>,
) -> Result<Option<Bound>> {
    let attrs = info.attrs();
    let mut bound = *config.binding.bound();
    let by = match (
        attrs.get(A_DEVICE_BIND_IFINDEX),
        attrs.get(A_DEVICE_BIND_IFNAME),
    ) {
        (Some(_), Some(name)) => return Err(info.refuse(name, c"index or name, not both", EBADR)),
        (Some(index), None) => {
            bound.ifindex = index.u32();
            Some(index)
        }
        (None, Some(name)) => {
            // That of none, if there is none.
            bound.ifindex = index_of(rtnl, net, name).unwrap_or(u32::MAX);
            Some(name)
        }
        (None, None) => None,
    };
    let (v4, v6) = (attrs.get(A_DEVICE_BIND_IPV4), attrs.get(A_DEVICE_BIND_IPV6));
    let Some(first) = by.or(v4).or(v6) else {
        return Ok(None);
    };
    // Another one may have the index meanwhile.
    let lost = by.is_none() && matches!(config.binding, Binding::Gone(_));
    if bound.ifindex != 0 && (lost || name_of(rtnl, net, bound.ifindex).is_none()) {
        return Err(info.refuse(first, c"no such device where the sockets are", ENXIO));
    }
    let own =
        |dev: &RegisteredDevice| dev.ifindex() == bound.ifindex && dev.net(rtnl).id() == net.id();
    if device.dev.get_rtnl(rtnl).is_some_and(own) {
        return Err(info.refuse(first, c"the interface itself", ELOOP));
    }
    if let Some(attr) = v4 {
        bound.v4 = attr.array().map(Ipv4Addr::from).ok_or(EINVAL)?;
        if bound.v4.is_multicast() || bound.v4.is_broadcast() {
            return Err(info.refuse(attr, c"not the address of a host", EADDRNOTAVAIL));
        }
    }
    if let Some(attr) = v6 {
        bound.v6 = attr.array().map(Ipv6Addr::from).ok_or(EINVAL)?;
        if bound.v6.is_multicast() {
            return Err(info.refuse(attr, c"not the address of a host", EADDRNOTAVAIL));
        }
    }
    Ok(Some(bound))
}

/// Binds the sockets, if there are any, and those to come. Whether that is a change. May sleep.
///
/// The port can't be held twice, so what comes meanwhile is lost, as on the way. On an error (as for
/// [`socket::init`]) they are bound as they were; if the port was taken meanwhile there are none, until this is
/// asked again.
pub(crate) fn set(device: &RcuArc<Device>, config: &mut Config, bound: Bound) -> Result<bool> {
    let binding = Binding::To(bound);
    let port = device.listen_port.load(Relaxed) as u16;
    let up = device.is_up();
    if config.binding == binding && (!up || device.has_sockets()) {
        return Ok(false);
    }
    if up {
        socket::close(device);
    }
    // Routes were chosen without that.
    config.each_peer(|p| p.clear_endpoint_source());
    if up {
        if let Err(e) = socket::init(device, &bound, port) {
            let old = config.binding.present();
            if old.is_ok_and(|old| socket::init(device, old, port).is_err()) {
                wgk::pr_err!("{}: The port was taken meanwhile\n", device.name());
                events::device_changed(device, Cause::Netlink);
            }
            return Err(e);
        }
    }
    device.bound_to.store(bound.ifindex, Relaxed);
    config.binding = binding;
    Ok(true)
}

/// A network device leaves a namespace. RTNL held, device lock not; may sleep.
pub(crate) fn gone(device: &RcuArc<Device>, net: &Net, ifindex: u32) {
    if device.bound_to.load(Relaxed) != ifindex || !device.creating_net.is(net) {
        return;
    }
    let mut config = device.config.lock();
    let Binding::To(bound) = config.binding else {
        return;
    };
    wgk::object_debug!("{}: Device of the sockets is gone\n", device.name());
    config.binding = Binding::Gone(bound);
    socket::close(device);
    config.each_peer(|p| p.clear_endpoint_source());
    events::device_changed(device, Cause::Interface);
}

/// Puts what the sockets are bound to; where they are not, nobody is told.
pub(crate) fn put(
    rtnl: &Rtnl,
    device: &Device,
    dev: &RegisteredDevice,
    config: &Config,
    msg: &mut Message<'_>,
) -> Result<(), NoSpace> {
    let net = dev.net(rtnl);
    if !device.creating_net.is(net) {
        return Ok(());
    }
    let bound = config.binding.bound();
    if bound.ifindex != 0 {
        msg.put_u32(A_DEVICE_BIND_IFINDEX, bound.ifindex)?;
        if matches!(config.binding, Binding::Gone(_)) {
            msg.put(A_DEVICE_BIND_GONE, &[])?;
        } else if let Some(name) = name_of(rtnl, net, bound.ifindex) {
            msg.put_str(A_DEVICE_BIND_IFNAME, name.as_bytes())?;
        }
    }
    if !bound.v4.is_unspecified() {
        msg.put(A_DEVICE_BIND_IPV4, &bound.v4.octets())?;
    }
    if !bound.v6.is_unspecified() {
        msg.put(A_DEVICE_BIND_IPV6, &bound.v6.octets())?;
    }
    Ok(())
}
