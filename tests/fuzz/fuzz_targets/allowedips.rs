// SPDX-License-Identifier: GPL-2.0
//! The tries and their model: prefixes as they come from netlink, addresses as from packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr, //
    },
    sync::OnceLock, //
};
use wgk::rcu::Domain;
use wireguard_rs_fuzz::Input;

#[path = "../../host/model/allowedips.rs"]
mod model;

use model::{
    run,
    Op,
    PEERS, //
};

/// Any address; or one with few different bits, so that prefixes cover, meet and part.
fn addr(input: &mut Input<'_>) -> IpAddr {
    let kind = input.u8();
    let few = || (kind >> 2) & 63;
    match kind & 3 {
        0 => IpAddr::V4(Ipv4Addr::from_bits(input.u32())),
        1 => {
            let shift = input.u8() % 32;
            IpAddr::V4(Ipv4Addr::from_bits(u32::from(few()) << shift))
        }
        2 => IpAddr::V6(Ipv6Addr::from_bits(input.u128())),
        _ => {
            let shift = input.u8() % 128;
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(few()) << shift))
        }
    }
}

/// A prefix that netlink lets pass: not longer than the address.
fn prefix(input: &mut Input<'_>) -> (IpAddr, u8) {
    let (addr, cidr) = (addr(input), input.u8());
    let width = if addr.is_ipv4() { 32 } else { 128 };
    (addr, cidr % (width + 1))
}

fn op(input: &mut Input<'_>) -> Op {
    let who = usize::from(input.u8());
    let (who, kind) = (who / 16 % PEERS, who % 16);
    match kind {
        0..=4 => {
            let (addr, cidr) = prefix(input);
            Op::Insert(who, addr, cidr)
        }
        5 => {
            let (addr, cidr) = prefix(input);
            Op::InsertShort(who, addr, cidr, u64::from(input.u8() % 4))
        }
        6..=8 => Op::Remove(who, usize::from(input.u8())),
        9 => {
            let (addr, cidr) = prefix(input);
            Op::RemoveAny(who, addr, cidr)
        }
        10 => Op::Move(who, usize::from(input.u8())),
        11 => Op::RemoveByPeer(who),
        12 => Op::RemoveAll,
        13 => Op::Reader(input.bool()),
        _ => Op::Lookup(addr(input)),
    }
}

fuzz_target!(|bytes: &[u8]| {
    // One for all runs: each leaves it empty, and domains are never freed.
    static DOMAIN: OnceLock<Domain> = OnceLock::new();
    let mut input = Input::new(bytes);
    let mut ops = vec![];
    while !input.is_empty() {
        ops.push(op(&mut input));
    }
    run(*DOMAIN.get_or_init(Domain::new), &ops);
});
