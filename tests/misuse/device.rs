// SPDX-License-Identifier: GPL-2.0
//! The state of a device of kind `misuse`, and what hangs on it.

use crate::current;
use core::sync::atomic::AtomicU32;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use wgk::{
    napi::{
        Napi,
        NapiContext,
        NapiPoll, //
    },
    netdevice::{
        NetDevCell,
        NetDevice, //
    },
    netns::{
        Net,
        WeakNet, //
    },
    rcu::{
        RcuArc,
        RcuObject,
        RcuSyncCell, //
    },
    skbuff::Datagrams,
    udp_tunnel::{
        Bound,
        SocketPair,
        UdpReceiver, //
    },
};

pub(crate) struct Device {
    pub(crate) cell: NetDevCell,
    pub(crate) net: WeakNet,
    pub(crate) sockets: RcuSyncCell<SocketPair<Device>>,
    /// Datagrams received, by version of IP.
    pub(crate) received: [AtomicU32; 2],
}

impl RcuObject for Device {}

impl Device {
    pub(crate) fn new(net: &Net) -> Result<RcuArc<Self>> {
        Ok(RcuArc::new(
            Self {
                cell: NetDevCell::new(),
                net: WeakNet::new(net)?,
                sockets: RcuSyncCell::new(None),
                received: [AtomicU32::new(0), AtomicU32::new(0)],
            },
            GFP_KERNEL,
        )?)
    }

    /// Opens sockets on any port of the namespace in which the device was made.
    pub(crate) fn open_sockets(this: &RcuArc<Self>) -> Result {
        Self::bind_sockets(this, &Bound::ANY)
    }

    /// The same, bound to something.
    pub(crate) fn bind_sockets(this: &RcuArc<Self>, bound: &Bound) -> Result {
        let net = this.net.get().ok_or(ENODEV)?;
        let pair = SocketPair::open(&net, 0, bound, this).map_err(|(_, e)| e)?;
        this.sockets.replace(Some(KBox::new(pair, GFP_KERNEL)?));
        Ok(())
    }
}

impl UdpReceiver for Device {
    fn receive(this: &Self, datagrams: Datagrams) {
        (current().arrived)(this, datagrams)
    }
}

/// Polls by the attempt's hook.
pub(crate) struct Poller;

impl NapiPoll for Poller {
    fn poll(_this: &Self, ctx: &NapiContext<'_>, _budget: usize) -> usize {
        (current().poll)(ctx)
    }
}

/// A NAPI instance of `dev`.
pub(crate) fn napi(dev: &NetDevice) -> Result<Napi<Poller>> {
    Napi::new(dev, Arc::new(Poller, GFP_KERNEL)?, GFP_KERNEL)
}
