// SPDX-License-Identifier: GPL-2.0
//! A module of safe code only that tries to get undefined behaviour out of crate `wgk`.
//!
//! `attempt=N` at insmod chooses one of [`ATTEMPTS`]; without it they are listed. Each is a set of
//! hooks into what a driver does: load, the life of a device of kind `misuse`, packets, the end of a
//! namespace. The guest's part (which devices, namespaces and packets there are, and when they go) is
//! the attempt's *scene*, see `guest.py`; a device whose name begins with `poke` is never made, but
//! calls a hook.
//!
//! What an attempt saw it says in a line `misuse: NAME: WORD: ...` of the kernel log. `refused` is an
//! error or a `None` instead of what was asked for, `harmless` is that it went on and nothing happened,
//! `broken` that the crate kept less than it promises. Whether the kernel says anything else is what
//! the sanitizer kernel is for.
#![forbid(unsafe_code)]
// A pattern that was to be a constant.
#![deny(non_snake_case)]
#![crate_name = "wgk_misuse"]

use kernel::prelude::*;

use wgk::{
    errno::ECANCELED,
    netdevice::{
        for_each_device,
        Driver,
        LinkOps,
        NetDevCell,
        NetDevice,
        RegisteredDevice,
        Setup, //
    },
    netns::{
        Net,
        PernetHandler,
        PernetOps, //
    },
    rcu::RcuArc,
    rtnl::Rtnl,
    skbuff::TxPacket, //
};

mod attempt;
mod device;
mod devices;
mod fuzz;
mod kept;
mod lives;
mod namespaces;
mod netlink;
mod packets;

use attempt::Attempt;
use device::Device;

wgk::module! {
    type: Module,
    name: "wgk_misuse",
    authors: ["The wireguard_rs developers"],
    description: "Misuses of crate wgk, in safe Rust",
    license: "GPL",
    params: {
        attempt: u32 {
            default: 0,
            description: "which attempt, from 1; 0: list them",
        },
        seed: u64 {
            default: 1,
            description: "seed of the fuzzer",
        },
        calls: u64 {
            default: 0,
            description: "calls that the fuzzer makes",
        },
    },
}

/// All of them. A test in the guest wants each to have been tried.
static ATTEMPTS: &[&[&Attempt]] = &[
    devices::ATTEMPTS,
    &[&fuzz::FUZZ],
    lives::ATTEMPTS,
    namespaces::ATTEMPTS,
    netlink::ATTEMPTS,
    packets::ATTEMPTS,
];

/// The one that is tried.
fn current() -> &'static Attempt {
    let number = *module_parameters::attempt.value_ref() as usize;
    number
        .checked_sub(1)
        .and_then(|index| ATTEMPTS.iter().flat_map(|some| some.iter()).nth(index))
        .copied()
        .unwrap_or(&Attempt::NONE)
}

/// Says what came of the attempt.
#[macro_export]
macro_rules! report {
    ($word:ident, $($arg:tt)+) => {
        ::kernel::pr_info!(
            "misuse: {}: {}: {}\n",
            $crate::current().name,
            stringify!($word),
            ::kernel::prelude::fmt!($($arg)+),
        )
    };
}

struct Misuse;

impl Driver for Misuse {
    type Device = Device;
    const KIND: &'static CStr = c"misuse";

    fn setup(setup: &mut Setup<'_>) {
        (current().setup)(setup)
    }

    fn newlink(rtnl: &Rtnl, dev: &NetDevice, link_net: &Net) -> Result<RcuArc<Device>> {
        if dev.name().as_bytes().starts_with(b"poke") {
            (current().poke)(rtnl);
            return Err(ECANCELED);
        }
        let device = Device::new(link_net)?;
        (current().newlink)(rtnl, dev, &device)?;
        Ok(device)
    }

    fn dev_cell(device: &Device) -> &NetDevCell {
        &device.cell
    }

    fn registered(dev: &RegisteredDevice, device: &RcuArc<Device>) {
        (current().registered)(dev, device)
    }

    fn open(rtnl: &Rtnl, device: &RcuArc<Device>, dev: &RegisteredDevice) -> Result {
        (current().open)(rtnl, device, dev)
    }

    fn stop(rtnl: &Rtnl, device: &RcuArc<Device>, dev: &RegisteredDevice) {
        (current().stop)(rtnl, device, dev)
    }

    fn xmit(device: &Device, dev: &RegisteredDevice, packet: TxPacket<'_>) -> Result {
        (current().xmit)(device, dev, packet)
    }

    fn uninit(rtnl: &Rtnl, device: &RcuArc<Device>, dev: &NetDevice) {
        (current().uninit)(rtnl, device, dev);
        device.sockets.replace(None);
    }

    fn destroyed(device: &Device) {
        (current().destroyed)(device)
    }
}

impl PernetHandler for Misuse {
    fn exit_rtnl(rtnl: &Rtnl, net: &Net) {
        // The guest waits for this line. At unload, when the hooks go, it comes for every namespace.
        pr_info!("misuse: namespace ends\n");
        (current().exit)(rtnl, net);
        for_each_device::<Misuse>(rtnl, |device| {
            if device.net.is(net) && !current().keeps_sockets {
                device.sockets.replace(None);
            }
        });
    }
}

struct Module {
    _links: LinkOps<Misuse>,
    _pernet: PernetOps<Misuse>,
    _unload: Unload,
}

/// Lets the attempt have the last word.
struct Unload;

impl Drop for Unload {
    fn drop(&mut self) {
        (current().unload)();
    }
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        if *module_parameters::attempt.value_ref() == 0 {
            for (index, attempt) in ATTEMPTS.iter().flat_map(|some| some.iter()).enumerate() {
                pr_info!(
                    "misuse: attempt {} {} {}\n",
                    index + 1,
                    attempt.name,
                    attempt.scene
                );
            }
        }
        let pernet = PernetOps::register()?;
        let links = LinkOps::register(module)?;
        (current().load)(module)?;
        Ok(Self {
            _links: links,
            _pernet: pernet,
            _unload: Unload,
        })
    }
}
