// SPDX-License-Identifier: GPL-2.0
//! Misuses of what belongs to a network namespace: sockets, routes, the namespace itself.

use crate::{
    attempt::Attempt,
    device::Device,
    kept::Kept,
    report,
    Misuse, //
};
use core::{
    net::{
        Ipv4Addr,
        Ipv6Addr, //
    },
    sync::atomic::{
        AtomicU32,
        Ordering::Relaxed, //
    },
};
use kernel::prelude::*;
use wgk::{
    dst_cache::DstCache,
    netdevice::{
        for_each_device,
        name_of,
        RegisteredDevice,
        Watch,
        Watcher, //
    },
    netfilter::LocalIn,
    netns::{
        Net,
        NetRef,
        PernetHandler,
        PernetOps,
        WeakNet, //
    },
    rcu::{
        read_lock,
        RcuArc, //
    },
    rtnl::Rtnl,
    skbuff::SkBuff,
    udp_tunnel::{
        self,
        Bound,
        Endpoint,
        How,
        SocketPair, //
    },
};

pub(crate) static ATTEMPTS: &[&Attempt] = &[
    &Attempt {
        name: "one-cache-two-families",
        scene: "link",
        open: |_, this, dev| {
            Device::open_sockets(this)?;
            let cache = DstCache::new();
            for to in [loopback6, loopback4, loopback6, loopback4] {
                send(this, dev, to, Some(&cache));
            }
            Ok(())
        },
        receive: |this, packet| {
            let Ok(packet) = packet.udp_payload() else {
                return;
            };
            let version = match packet.source() {
                Endpoint::None => return,
                Endpoint::V4 { .. } => 0,
                Endpoint::V6 { .. } => 1,
            };
            this.received[version].fetch_add(1, Relaxed);
        },
        stop: |_, this, _| {
            let [v4, v6] = [0, 1].map(|version| this.received[version].load(Relaxed));
            if (v4, v6) == (2, 2) {
                report!(harmless, "all arrived");
            } else {
                report!(broken, "of 2 and 2 arrived {} and {}", v4, v6);
            }
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "one-cache-two-namespaces",
        scene: "two-devices",
        open: |_, this, dev| {
            Device::open_sockets(this)?;
            if CACHE.with(|_| ()).is_none() {
                CACHE.put(DstCache::new());
            }
            CACHE.with(|cache| {
                send(this, dev, loopback4, Some(cache));
                send(this, dev, loopback6, Some(cache));
            });
            Ok(())
        },
        receive: |this, _| {
            this.received[0].fetch_add(1, Relaxed);
        },
        stop: |_, this, _| {
            let arrived = this.received[0].load(Relaxed);
            if arrived == 2 {
                report!(harmless, "all arrived");
            } else {
                report!(broken, "of 2 arrived {}", arrived);
            }
        },
        unload: || drop(CACHE.take()),
        ..Attempt::NONE
    },
    // Nobody empties the cache: that is up to its namespace.
    &Attempt {
        name: "cache-beyond-namespace",
        scene: "netns",
        open: |_, this, dev| {
            Device::open_sockets(this)?;
            let cache = DstCache::new();
            send(this, dev, loopback6, Some(&cache));
            send(this, dev, loopback4, Some(&cache));
            CACHE.put(cache);
            report!(harmless, "kept a cache with routes");
            Ok(())
        },
        poke: |_| report!(harmless, "dropped it: {}", CACHE.take().is_some()),
        unload: || drop(CACHE.take()),
        ..Attempt::NONE
    },
    // The namespace takes its hook along, whoever still wants it.
    &Attempt {
        name: "hook-beyond-namespace",
        scene: "netns",
        registered: |_, this| {
            let Some(net) = this.net.get() else {
                return;
            };
            if let (Ok(one), Ok(other)) = (LocalIn::register(&net), LocalIn::register(&net)) {
                HOOK.put(one);
                OTHER_HOOK.put(other);
                report!(harmless, "the hook is wanted twice");
            }
        },
        exit: |_, net| {
            // In another namespace there is nothing to do.
            if !is_first(net) {
                drop(OTHER_HOOK.take());
            }
        },
        poke: |_| report!(harmless, "dropped it: {}", HOOK.take().is_some()),
        unload: || drop((HOOK.take(), OTHER_HOOK.take())),
        ..Attempt::NONE
    },
    // Dropped at the last moment; later is for "everything-forgotten".
    &Attempt {
        name: "sockets-until-the-end",
        scene: "netns",
        keeps_sockets: true,
        registered: |_, this| {
            let Some(net) = this.net.get() else {
                return;
            };
            if let Ok(pair) = SocketPair::open(&net, 0, &Bound::ANY, this) {
                SOCKETS.put(pair);
                report!(harmless, "kept sockets");
            }
        },
        destroyed: |_| report!(harmless, "the device is gone"),
        exit: |_, net| {
            if let Some(pair) = SOCKETS.take() {
                report!(
                    harmless,
                    "port {}, first namespace {}",
                    pair.port(),
                    is_first(net)
                );
            }
        },
        unload: || drop(SOCKETS.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "sockets-of-a-device-elsewhere",
        scene: "moved",
        open: |_, this, dev| {
            if this.net.get().is_some() {
                Device::open_sockets(this)?;
            }
            send(this, dev, loopback4, None);
            Ok(())
        },
        stop: |_, this, dev| send(this, dev, loopback6, None),
        ..Attempt::NONE
    },
    // To what is there and what is not, to the device itself, to addresses of nobody.
    &Attempt {
        name: "sockets-bound-oddly",
        scene: "moved",
        open: |_, this, dev| {
            let (mut bound, mut refused) = (0, 0);
            for ifindex in [0, 1, dev.ifindex(), 77, i32::MAX as u32, u32::MAX] {
                for (v4, v6) in [
                    (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
                    (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
                    (Ipv4Addr::BROADCAST, Ipv6Addr::UNSPECIFIED),
                    (Ipv4Addr::new(224, 0, 0, 1), Ipv6Addr::UNSPECIFIED),
                    (
                        Ipv4Addr::UNSPECIFIED,
                        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                    ),
                    (Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
                ] {
                    match Device::bind_sockets(this, &Bound { ifindex, v4, v6 }) {
                        Ok(()) => bound += 1,
                        Err(_) => refused += 1,
                    }
                    for to in [loopback4, loopback6] {
                        send(this, dev, to, None);
                    }
                }
            }
            report!(harmless, "bound {}, refused {}", bound, refused);
            Ok(())
        },
        stop: |_, this, dev| send(this, dev, loopback6, None),
        ..Attempt::NONE
    },
    &Attempt {
        name: "watcher-of-all-that-goes",
        scene: "netns",
        load: |_| {
            WATCHER.put(Watcher::register()?);
            Ok(())
        },
        registered: |_, this| WATCHED.put(this.net.clone()),
        poke: |_| report!(harmless, "{} have gone", GONE.load(Relaxed)),
        unload: || {
            drop(WATCHED.take());
            drop(WATCHER.take());
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "weak-beyond-namespace",
        scene: "netns",
        registered: |_, this| WEAK.put(this.net.clone()),
        poke: |_| match WEAK.with(|weak| weak.get().is_some()) {
            Some(false) => report!(refused, "no namespace"),
            Some(true) => report!(broken, "a namespace that is gone"),
            None => (),
        },
        unload: || drop(WEAK.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "weak-in-exit-hook",
        scene: "netns",
        registered: |_, this| WEAK.put(this.net.clone()),
        exit: |_, net| {
            if WEAK.with(|weak| weak.is(net)) != Some(true) {
                return;
            }
            match (WeakNet::new(net), net.try_get(), net.ns_capable_admin()) {
                (Err(_), None, false) => report!(refused, "nothing to be had of it"),
                _ => report!(broken, "it has users"),
            }
        },
        unload: || drop(WEAK.take()),
        ..Attempt::NONE
    },
    &Attempt {
        name: "namespace-kept",
        scene: "kept",
        registered: |_, this| {
            if let Some(net) = this.net.get() {
                NET.put(net);
            }
        },
        unload: || {
            // The hooks are gone, the namespace is not.
            if let Some(net) = NET.take() {
                match WeakNet::new(&net) {
                    Err(_) => report!(refused, "no hooks"),
                    Ok(_) => report!(broken, "remembered without hooks"),
                }
            }
        },
        ..Attempt::NONE
    },
    &Attempt {
        name: "hooks-twice",
        scene: "load",
        load: |_| {
            match PernetOps::<Other>::register() {
                Err(e) => report!(refused, "{:?}", e),
                Ok(_) => report!(broken, "registered twice"),
            }
            Ok(())
        },
        ..Attempt::NONE
    },
];

/// Wants of a device that goes, and of its namespace, all that there is.
pub(crate) struct Greedy;

impl Watch for Greedy {
    fn gone(rtnl: &Rtnl, net: &Net, ifindex: u32) {
        GONE.fetch_add(1, Relaxed);
        let _ = (name_of(rtnl, net, ifindex), name_of(rtnl, net, u32::MAX));
        let _ = (WeakNet::new(net), LocalIn::register(net), net.try_get());
        for_each_device::<Misuse>(rtnl, |this| {
            if this.net.is(net) {
                let bound = Bound {
                    ifindex,
                    ..Bound::ANY
                };
                let _ = Device::bind_sockets(this, &bound);
            }
        });
    }
}

static WATCHER: Kept<Watcher<Greedy>> = Kept::new();
static WATCHED: Kept<WeakNet> = Kept::new();
static GONE: AtomicU32 = AtomicU32::new(0);
static CACHE: Kept<DstCache> = Kept::new();
static SOCKETS: Kept<SocketPair<Device>> = Kept::new();
static HOOK: Kept<LocalIn> = Kept::new();
static OTHER_HOOK: Kept<LocalIn> = Kept::new();
static WEAK: Kept<WeakNet> = Kept::new();
static NET: Kept<NetRef> = Kept::new();

struct Other;

impl PernetHandler for Other {
    fn exit_rtnl(_rtnl: &wgk::rtnl::Rtnl, _net: &Net) {}
}

fn is_first(net: &Net) -> bool {
    net.id() == Net::init().id()
}

/// 127.0.0.1.
pub(crate) fn loopback4(port: u16) -> Endpoint {
    Endpoint::V4 {
        addr: [127, 0, 0, 1],
        port,
        pad: [0; 8],
        src: [0; 4],
        src_ifindex: 0,
    }
}

/// ::1.
pub(crate) fn loopback6(port: u16) -> Endpoint {
    let mut addr = [0; 16];
    addr[15] = 1;
    Endpoint::V6 {
        addr,
        port,
        flowinfo: 0,
        scope_id: 0,
        src: [0; 16],
        src_ifindex: 0,
    }
}

/// Sends a datagram to the device's own sockets.
pub(crate) fn send(
    this: &RcuArc<Device>,
    dev: &RegisteredDevice,
    to: fn(u16) -> Endpoint,
    cache: Option<&DstCache>,
) {
    let Ok(skb) = SkBuff::with_payload(b"misuse", 128, GFP_ATOMIC) else {
        return;
    };
    let guard = read_lock();
    if let Some(pair) = this.sockets.load(&guard) {
        let sent = udp_tunnel::xmit(pair, skb, &to(pair.port()), dev, &How::PLAIN, 0, cache);
        report!(harmless, "sent: {:?}", sent.result);
    } else {
        report!(refused, "no sockets");
    }
}
