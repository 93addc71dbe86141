// SPDX-License-Identifier: GPL-2.0
//! The rate limiter and its model are asked the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};
use wireguard_rs_fuzz::Input;

#[path = "../../host/model/ratelimiter.rs"]
mod model;

use model::{
    run,
    Step,
    CAPACITY,
    MS, //
};

fn v4(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(n))
}

/// One operation, or a whole run of them: filling the table takes more than [`CAPACITY`].
fn step(input: &mut Input<'_>, steps: &mut Vec<Step>) {
    let net = u64::from(input.u8() & 1);
    match input.below(8) {
        0 => steps.push(Step::Wait(u64::from(input.u8()) * MS)),
        1 => steps.push(Step::Wait(u64::from(input.u32() >> 5))),
        2 => steps.push(Step::Packet(net, v4(input.u32()))),
        3 | 4 => steps.push(Step::Packet(net, v4(u32::from(input.u8())))),
        5 => {
            let (upper, lower) = (input.u8(), input.u8());
            let bits = (u128::from(upper) << 64) | u128::from(lower);
            steps.push(Step::Packet(net, IpAddr::V6(Ipv6Addr::from_bits(bits))));
        }
        6 => {
            let n = input.u8() % 8;
            let packet = Step::Packet(net, v4(u32::from(input.u8())));
            steps.extend((0..n).map(|_| packet.clone()));
        }
        _ => {
            let (first, n) = (u32::from(input.u8()), u32::from(input.u8()));
            let n = n % (CAPACITY as u32 + 16);
            steps.extend((first..first + n).map(|i| Step::Packet(net, v4(i))));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let key = input.array();
    let mut steps = vec![];
    while !input.is_empty() && steps.len() < 2000 {
        step(&mut input, &mut steps);
    }
    run(key, &steps);
});
