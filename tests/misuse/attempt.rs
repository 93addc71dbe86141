// SPDX-License-Identifier: GPL-2.0
//! What an attempt is.

use crate::{
    current,
    device::Device, //
};
use kernel::prelude::*;
use wgk::{
    napi::NapiContext,
    netdevice::{
        NetDevice,
        RegisteredDevice,
        Setup, //
    },
    netns::Net,
    rcu::RcuArc,
    rtnl::Rtnl,
    skbuff::{
        Datagram,
        Datagrams,
        TxPacket, //
    },
};

/// Hooks into a driver, each doing nothing unless an attempt says otherwise.
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    /// What the guest does, see `guest.py`.
    pub(crate) scene: &'static str,
    /// The sockets of a device stay when the namespace goes, which a driver must not let happen.
    pub(crate) keeps_sockets: bool,
    pub(crate) load: fn(&'static ThisModule) -> Result,
    pub(crate) setup: fn(&mut Setup<'_>),
    pub(crate) newlink: fn(&Rtnl, &NetDevice, &RcuArc<Device>) -> Result,
    pub(crate) registered: fn(&RegisteredDevice, &RcuArc<Device>),
    pub(crate) open: fn(&Rtnl, &RcuArc<Device>, &RegisteredDevice) -> Result,
    pub(crate) stop: fn(&Rtnl, &RcuArc<Device>, &RegisteredDevice),
    pub(crate) xmit: fn(&Device, &RegisteredDevice, TxPacket<'_>) -> Result,
    pub(crate) receive: fn(&Device, Datagram),
    /// What arrived at once; calls `receive` for each of it.
    pub(crate) arrived: fn(&Device, Datagrams),
    pub(crate) poll: fn(&NapiContext<'_>) -> usize,
    pub(crate) uninit: fn(&Rtnl, &RcuArc<Device>, &NetDevice),
    pub(crate) destroyed: fn(&Device),
    pub(crate) exit: fn(&Rtnl, &Net),
    /// A device `poke...` was asked for.
    pub(crate) poke: fn(&Rtnl),
    /// The module goes; its devices and hooks are gone.
    pub(crate) unload: fn(),
}

impl Attempt {
    /// The well-behaved driver of an IP tunnel that leads nowhere.
    pub(crate) const NONE: Self = Self {
        name: "none",
        scene: "load",
        keeps_sockets: false,
        load: |_| Ok(()),
        setup: |setup| {
            setup.tunnel(1420, 65535);
        },
        newlink: |_, _, _| Ok(()),
        registered: |_, _| (),
        open: |_, _, _| Ok(()),
        stop: |_, _, _| (),
        xmit: |_, _, _| Ok(()),
        receive: |_, _| (),
        arrived: |this, datagrams| {
            for datagram in datagrams {
                (current().receive)(this, datagram);
            }
        },
        poll: |_| 0,
        uninit: |_, _, _| (),
        destroyed: |_| (),
        exit: |_, _| (),
        poke: |_| (),
        unload: || (),
    };
}
