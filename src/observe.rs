// SPDX-License-Identifier: GPL-2.0
//! The generic netlink family `wireguard_rs`, version 1: what who may configure a device may also
//! see of it and switch, beyond what the family `wireguard` has.
//!
//! The interface is Documentation/netlink/specs/wireguard_rs.yaml; `scripts/lint` holds the numbers
//! here and the reasons of `drops.rs` against it. Handlers run in process context with the family's
//! lock held, and take RTNL.

use kernel::{
    error::code::{
        EMSGSIZE,
        ENODEV, //
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
        Op,
        Permission,
        Policy, //
    },
    netdevice::for_each_device,
    netfilter::LocalIn,
    netns::{
        Net,
        NetRef, //
    },
    rcu::{
        read_lock,
        RcuArc, //
    },
    rtnl::Rtnl, //
};

use crate::{
    bind::{
        self,
        A_DEVICE_BIND_IFINDEX,
        A_DEVICE_BIND_IFNAME,
        A_DEVICE_BIND_IPV4,
        A_DEVICE_BIND_IPV6, //
    },
    device::Device,
    events::{
        self,
        Cause,
        A_DEVICE_IFINDEX,
        A_DEVICE_IFNAME,
        A_PEER_IFINDEX,
        A_PEER_IFNAME, //
    },
    interface::WireGuard,
    netlink, //
};

mod peer;

use peer::{
    DumpPeers,
    GetPeer,
    SetPeer, //
};

/// Get one device, or all of the namespace.
const CMD_DEVICE_GET: u8 = 1;
/// Change a device.
const CMD_DEVICE_SET: u8 = 11;

/// What was dropped: a nest with a number for each reason.
const A_DEVICE_DROPS: u32 = 3;
/// Handshake messages need a proof of where they come from, flag.
const A_DEVICE_UNDER_LOAD: u32 = 7;
/// Handshake messages that wait for a worker, or are with one, u32.
const A_DEVICE_HANDSHAKES: u32 = 8;
/// Workers that encrypt, u32.
const A_DEVICE_ENCRYPTING: u32 = 9;
/// Workers that decrypt, u32.
const A_DEVICE_DECRYPTING: u32 = 10;
/// Peers, u32.
const A_DEVICE_PEERS: u32 = 11;
/// Prefixes of all peers, u32.
const A_DEVICE_ALLOWED_IPS: u32 = 12;
/// Indices in use, u32.
const A_DEVICE_INDICES: u32 = 13;
/// Whether packets of UDP's GSO kind that never met GRO are taken whole, u8: 0 or 1.
const A_DEVICE_LOCAL_GSO: u32 = 6;
/// Whether outer packets have the DSCP of what is in them, u8: 0 or 1.
const A_DEVICE_COPY_DSCP: u32 = 14;

/// What is about the sockets.
const ABOUT_SOCKETS: [u32; 6] = [
    A_DEVICE_LOCAL_GSO,
    A_DEVICE_COPY_DSCP,
    A_DEVICE_BIND_IFINDEX,
    A_DEVICE_BIND_IFNAME,
    A_DEVICE_BIND_IPV4,
    A_DEVICE_BIND_IPV6,
];

static DEVICE_POLICY: [Policy; A_DEVICE_IFNAME as usize + 1] = policy::table(&[
    (A_DEVICE_IFINDEX, Policy::U32),
    (A_DEVICE_IFNAME, Policy::nul_string(15)),
]);

static SET_POLICY: [Policy; A_DEVICE_BIND_IPV6 as usize + 1] = policy::table(&[
    (A_DEVICE_IFINDEX, Policy::U32),
    (A_DEVICE_IFNAME, Policy::nul_string(15)),
    (A_DEVICE_LOCAL_GSO, Policy::max_u8(1)),
    (A_DEVICE_COPY_DSCP, Policy::max_u8(1)),
    (A_DEVICE_BIND_IFINDEX, Policy::U32),
    (A_DEVICE_BIND_IFNAME, Policy::nul_string(15)),
    (A_DEVICE_BIND_IPV4, Policy::exact_len(4)),
    (A_DEVICE_BIND_IPV6, Policy::exact_len(16)),
]);

/// The family's operations, by command.
pub(crate) static OPS: [Op; 6] = [
    Op::get::<GetDevice>(),
    Op::dump::<DumpDevices>(),
    Op::get::<GetPeer>(),
    Op::dump::<DumpPeers>(),
    Op::act::<SetDevice>(),
    Op::act::<SetPeer>(),
];

// One function finds the device for both.
const _: () = assert!(A_DEVICE_IFINDEX == A_PEER_IFINDEX && A_DEVICE_IFNAME == A_PEER_IFNAME);

/// Finds the interface that a request names; errors as for the family `wireguard`, but that the answer
/// says which attribute is at fault.
fn named(rtnl: &Rtnl, info: &Info<'_>) -> Result<RcuArc<Device>> {
    netlink::lookup(rtnl, info, A_DEVICE_IFINDEX, A_DEVICE_IFNAME).map_err(|error| {
        let attrs = info.attrs();
        match (attrs.get(A_DEVICE_IFINDEX), attrs.get(A_DEVICE_IFNAME)) {
            (Some(_), Some(name)) => info.refuse(name, c"index or name, not both", error),
            (Some(attr), None) | (None, Some(attr)) => {
                info.refuse(attr, c"no WireGuard device of this module", error)
            }
            (None, None) => info.lacks(A_DEVICE_IFNAME as u16, c"index or name?", error),
        }
    })
}

/// Puts all there is about a device. `ENODEV` if its interface is gone, `EMSGSIZE` without room.
fn put_device(rtnl: &Rtnl, device: &Device, msg: &mut Message<'_>) -> Result {
    let dev = device.dev.get_rtnl(rtnl).ok_or(ENODEV)?;
    events::put_device(device, dev, msg)?;
    let nest = msg.nest_start(A_DEVICE_DROPS)?;
    for (attr, value) in (1..).zip(device.drops.by_reason()) {
        msg.put_uint(attr, value)?;
    }
    msg.nest_end(nest);
    // Who has this has RTNL, while there is an interface.
    let config = device.config.lock();
    msg.put_u8(A_DEVICE_LOCAL_GSO, config.local_gso.is_some().into())?;
    msg.put_u8(A_DEVICE_COPY_DSCP, device.copy_dscp.load(Relaxed).into())?;
    bind::put(rtnl, device, dev, &config, msg)?;
    if device.admission.load.is_on() {
        msg.put(A_DEVICE_UNDER_LOAD, &[])?;
    }
    let guard = read_lock();
    if let Some(resources) = device.resources.load(&guard) {
        put_len(msg, A_DEVICE_HANDSHAKES, resources.handshake.len())?;
        put_len(msg, A_DEVICE_ENCRYPTING, resources.encrypt.workers_up())?;
        put_len(msg, A_DEVICE_DECRYPTING, resources.decrypt.workers_up())?;
        put_len(msg, A_DEVICE_INDICES, resources.indices.len())?;
    }
    put_len(msg, A_DEVICE_PEERS, config.peers.len())?;
    Ok(put_len(
        msg,
        A_DEVICE_ALLOWED_IPS,
        config.prefixes.usage().prefixes,
    )?)
}

/// Puts a length.
fn put_len(msg: &mut Message<'_>, attr: u32, len: usize) -> Result<(), NoSpace> {
    msg.put_u32(attr, u32::try_from(len).unwrap_or(u32::MAX))
}

/// Answers for the one device that is named.
pub(crate) struct GetDevice;

impl GetOp for GetDevice {
    const CMD: u8 = CMD_DEVICE_GET;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &DEVICE_POLICY;

    fn get(info: &Info<'_>, reply: &mut Message<'_>) -> Result {
        let rtnl = Rtnl::lock();
        let device = named(&rtnl, info)?;
        put_device(&rtnl, &device, reply)
    }
}

/// Changes one device: what the request has is set, all else stays.
pub(crate) struct SetDevice;

impl DoOp for SetDevice {
    const CMD: u8 = CMD_DEVICE_SET;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &SET_POLICY;

    fn run(info: &Info<'_>) -> Result {
        let rtnl = Rtnl::lock();
        let device = named(&rtnl, info)?;
        let attrs = info.attrs();
        let switch = |attr| attrs.get(attr).map(|a| a.u8() != 0);
        let mut config = device.config.lock();
        let mut changed = false;
        // First what may be refused: then nothing of the request is done.
        let mut local_gso = None;
        if ABOUT_SOCKETS.iter().any(|&attr| attrs.get(attr).is_some()) {
            let net = sockets_net(&device)?;
            if let Some(on) =
                switch(A_DEVICE_LOCAL_GSO).filter(|on| *on != config.local_gso.is_some())
            {
                local_gso = Some(on.then(|| LocalIn::register(&net)).transpose()?);
            }
            if let Some(bound) = bind::asked(&rtnl, &device, &config, &net, info)? {
                changed |= bind::set(&device, &mut config, bound)?;
            }
        }
        if let Some(hook) = local_gso {
            config.local_gso = hook;
            changed = true;
        }
        if let Some(on) = switch(A_DEVICE_COPY_DSCP) {
            changed |= on != device.copy_dscp.load(Relaxed);
            device.copy_dscp.store(on, Relaxed);
        }
        if changed {
            events::device_changed(&device, Cause::Netlink);
        }
        Ok(())
    }
}

/// The namespace of the sockets, for what acts there: it need not be the caller's. `EPERM` without the right to it, or
/// if it is gone.
fn sockets_net(device: &Device) -> Result<NetRef> {
    let net = device.creating_net.get().ok_or(EPERM)?;
    if !net.ns_capable_admin() {
        return Err(EPERM);
    }
    Ok(net)
}

/// Dumps the devices of a namespace, a message for each.
pub(crate) struct DumpDevices;

/// Where a dump goes on: behind this index. What comes and goes meanwhile is in it or not.
pub(crate) struct Last(u32);

impl DumpOp for DumpDevices {
    const CMD: u8 = CMD_DEVICE_GET;
    const PERMISSION: Permission = Permission::NetnsAdmin;
    const POLICY: &'static [Policy] = &DEVICE_POLICY;
    type State = Last;

    fn start(info: &Info<'_>) -> Result<Last> {
        let attrs = info.attrs();
        // It means all of them, whatever the request may say.
        match attrs.get(A_DEVICE_IFINDEX).or(attrs.get(A_DEVICE_IFNAME)) {
            Some(attr) => Err(info.refuse(attr, c"a dump has all devices", EINVAL)),
            None => Ok(Last(0)),
        }
    }

    fn dump(last: &mut Last, msg: &mut DumpMsg<'_>, info: &Info<'_>) -> Result<DumpStatus> {
        let rtnl = Rtnl::lock();
        while let Some((index, device)) = next_device(&rtnl, info.net(), last.0) {
            // Each message stands for itself: there is no generation that could differ.
            let put = msg
                .begin(Self::CMD, 1)
                .map_err(Error::from)
                .and_then(|()| put_device(&rtnl, &device, msg));
            if let Err(e) = put {
                msg.cancel();
                // Without a device in it, the next buffer would be no better.
                return if e == EMSGSIZE && !msg.is_empty() {
                    Ok(DumpStatus::More)
                } else {
                    Err(e)
                };
            }
            msg.end();
            last.0 = index;
        }
        Ok(DumpStatus::Done)
    }
}

/// The device with the lowest index above `last` in `net`.
fn next_device(rtnl: &Rtnl, net: &Net, last: u32) -> Option<(u32, RcuArc<Device>)> {
    let mut next: Option<(u32, RcuArc<Device>)> = None;
    for_each_device::<WireGuard>(rtnl, |device| {
        let Some(dev) = device.dev.get_rtnl(rtnl) else {
            return;
        };
        let index = dev.ifindex();
        if dev.net(rtnl).id() == net.id()
            && index > last
            && next.as_ref().is_none_or(|(lowest, _)| index < *lowest)
        {
            next = Some((index, device.clone()));
        }
    });
    next
}
