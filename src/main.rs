// SPDX-License-Identifier: GPL-2.0
//! wireguard_rs: the WireGuard driver, in safe Rust.
//!
//! The protocol is in the files that also build on the host (see `lib.rs`): they take time and
//! randomness as arguments and give back what is to be done. The files beside them tie that to the
//! kernel through crate `wgk`, where everything is that the compiler cannot check.
#![deny(unsafe_code)]
// A pattern that was to be a constant.
#![deny(non_snake_case)]
#![crate_name = "wireguard_rs"]

use kernel::prelude::*;

use wgk::{
    genetlink::{
        self,
        Family, //
    },
    netdevice::{
        LinkOps,
        Watcher, //
    },
    netns::PernetOps,
    notifier::{
        Notifier,
        Sleep,
        VmFork,
        Wake, //
    }, //
};

mod admission;
mod allowedips;
mod bind;
mod callers;
mod conduct;
mod cookie;
mod device;
mod drops;
mod events;
mod expiry;
mod failure;
mod finished;
mod fit;
mod inline;
mod interface;
mod keypairs;
mod life;
mod load;
mod messages;
mod napis;
mod netlink;
mod noise;
mod observe;
mod on_demand;
mod overload;
mod peer;
mod peerlist;
mod peerlookup;
mod queueing;
mod ratelimiter;
mod reasons;
mod receive;
mod replay;
mod resources;
mod rx_schedule;
mod send;
mod session;
mod socket;
mod timers;
mod workers;

use interface::WireGuard;

wgk::module! {
    type: Module,
    name: "wireguard_rs",
    authors: ["The wireguard_rs developers"],
    description: "WireGuard secure network tunnel, in Rust",
    license: "GPL",
    alias: ["rtnl-link-wireguard", "net-pf-16-proto-16-family-wireguard"],
}

/// Version 1 of the family `wireguard`.
static FAMILY: Family = Family::new(wgk::module::this_module(), c"wireguard", 1, &netlink::OPS);

/// Version 1 of the family `wireguard_rs`.
static OBSERVE: Family = Family::with_events(
    wgk::module::this_module(),
    c"wireguard_rs",
    1,
    &observe::OPS,
    &events::GROUP,
);

/// What the module registers. Dropped in this order: first nothing new can be asked for, then the
/// interfaces go, then what notifies them. Then `wgk::module!` waits for what is still under way.
struct Module {
    _observe: genetlink::Registration,
    _genetlink: genetlink::Registration,
    _links: LinkOps<WireGuard>,
    _watcher: Watcher<WireGuard>,
    _pernet: PernetOps<WireGuard>,
    _vm_fork: Notifier<VmFork, WireGuard>,
    _wake: Notifier<Wake, WireGuard>,
    _pm: Notifier<Sleep, WireGuard>,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        peer::create_cache()?;
        let pm = Notifier::register(WireGuard)?;
        let wake = Notifier::register(WireGuard)?;
        let vm_fork = Notifier::register(WireGuard)?;
        let pernet = PernetOps::register()?;
        let watcher = Watcher::register()?;
        let links = LinkOps::register(module)?;
        let genetlink = FAMILY.register()?;
        let observe = OBSERVE.register()?;
        pr_info!("WireGuard in Rust loaded\n");
        Ok(Self {
            _observe: observe,
            _genetlink: genetlink,
            _links: links,
            _watcher: watcher,
            _pernet: pernet,
            _vm_fork: vm_fork,
            _wake: wake,
            _pm: pm,
        })
    }
}
