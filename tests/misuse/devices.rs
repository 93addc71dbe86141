// SPDX-License-Identifier: GPL-2.0
//! Misuses of devices and their NAPI instances.

use crate::{
    attempt::Attempt,
    device::{
        napi,
        Device,
        Poller, //
    },
    kept::Kept,
    report, //
};
use kernel::prelude::*;
use wgk::{
    napi::Napi,
    netdevice::NetDevice,
    netns::Net,
    rcu::{
        read_lock,
        RcuArc, //
    },
    rtnl::{
        for_each_device,
        Rtnl, //
    },
};

pub(crate) static ATTEMPTS: &[&Attempt] = &[
    // That they cannot send, count or report a carrier: send_unregistered, count_unregistered,
    // carrier_of_unregistered in tests/compile-fail.
    &Attempt {
        name: "looks-at-unregistered",
        scene: "failed",
        newlink: |rtnl, dev, _| {
            look(rtnl, dev);
            Ok(())
        },
        uninit: |rtnl, _, dev| look(rtnl, dev),
        ..Attempt::NONE
    },
    &Attempt {
        name: "napi-in-uninit-of-failed",
        scene: "failed",
        newlink: |_, dev, _| {
            NAPI.put(napi(dev)?);
            Ok(())
        },
        uninit: |_, _, dev| {
            NAPI.with(|napi| napi.schedule());
            match napi(dev) {
                // Whether it can be had or not, it ends with the device.
                Ok(napi) => {
                    report!(harmless, "one more");
                    NAPI.put(napi);
                }
                Err(e) => report!(refused, "{:?}", e),
            }
        },
        destroyed: |_| {
            NAPI.with(|napi| napi.schedule());
        },
        unload: || drop(NAPI.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "napi-beyond-namespace",
        scene: "netns",
        newlink: |_, dev, _| {
            NAPI.put(napi(dev)?);
            report!(harmless, "kept a NAPI instance");
            Ok(())
        },
        poke: |_| {
            let there = NAPI.with(|napi| napi.schedule()).is_some();
            report!(harmless, "scheduled: {}", there);
        },
        unload: || drop(NAPI.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "napi-of-failed-beyond-namespace",
        scene: "failed-netns",
        newlink: |_, dev, _| {
            NAPI.put(napi(dev)?);
            report!(harmless, "kept a NAPI instance");
            Err(EINVAL)
        },
        poke: |_| {
            let there = NAPI.with(|napi| napi.schedule()).is_some();
            report!(harmless, "scheduled: {}", there);
        },
        unload: || drop(NAPI.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "tso-max-size-0",
        scene: "tcp",
        setup: |setup| {
            setup.tunnel(1420, 65535).tso_max_size(0);
            report!(harmless, "set");
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "mtu-max",
        scene: "tcp",
        setup: |setup| {
            setup.tunnel(u32::MAX, u32::MAX);
            report!(harmless, "set");
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "room-max",
        scene: "broadcast",
        setup: |setup| {
            setup.tunnel(1420, 65535).room(u16::MAX, 0);
            report!(harmless, "set");
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "tail-max",
        scene: "broadcast",
        setup: |setup| {
            setup.tunnel(1420, 65535).room(0, u16::MAX);
            report!(harmless, "set");
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "cell-after-uninit",
        scene: "link",
        destroyed: |this| {
            let guard = read_lock();
            match this.cell.get(&guard) {
                None => report!(refused, "no device"),
                Some(_) => report!(broken, "a device that is gone"),
            }
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "state-beyond-device",
        scene: "netns",
        registered: |_, this| STATE.put(this.clone()),
        poke: |rtnl| {
            STATE.with(|this| match this.cell.get_rtnl(rtnl) {
                None => report!(refused, "no device"),
                Some(_) => report!(broken, "a device that is gone"),
            });
            let mut there = 0;
            for_each_device::<crate::Misuse>(rtnl, |_| there += 1);
            report!(harmless, "{} devices", there);
        },
        unload: || drop(STATE.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "napi-in-xmit",
        scene: "link",
        newlink: |_, dev, _| {
            NAPI.put(napi(dev)?);
            Ok(())
        },
        xmit: |_, _, _| {
            NAPI.with(|napi| napi.schedule());
            report!(harmless, "scheduled");
            Ok(())
        },
        uninit: |_, _, _| drop(NAPI.take()),
        ..Attempt::NONE
    },
];

static NAPI: Kept<Napi<Poller>> = Kept::new();
static STATE: Kept<RcuArc<Device>> = Kept::new();

/// Asks for all that a device that is not registered can tell.
fn look(rtnl: &Rtnl, dev: &NetDevice) {
    let first = dev.net(rtnl).id() == Net::init().id();
    dev.no_redirects(rtnl);
    dev.threaded_napi(rtnl);
    report!(
        harmless,
        "index {}, MTU {}, the first namespace {}",
        dev.ifindex(),
        dev.mtu(),
        first
    );
}
