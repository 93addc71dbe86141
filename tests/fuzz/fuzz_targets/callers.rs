// SPDX-License-Identifier: GPL-2.0
//! The calls of who is not configured and their model are told the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};
use wireguard_rs_fuzz::Input;

#[path = "../../host/model/callers.rs"]
mod model;

use model::{
    run,
    Step, //
};

fn source(input: &mut Input<'_>) -> IpAddr {
    let (kind, n) = (input.u8(), input.u8());
    if kind & 1 == 0 {
        IpAddr::V4(Ipv4Addr::from_bits(n.into()))
    } else {
        // The lower half is his own to choose.
        let bits = (u128::from(n) << 64) | u128::from(kind);
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    }
}

/// One operation, or a whole run of them: pushing the oldest out takes more than are kept.
fn step(input: &mut Input<'_>, steps: &mut Vec<Step>) {
    match input.below(9) {
        0 => steps.push(Step::Wait(u64::from(input.u32()))),
        1 => steps.push(Step::Wait(u64::from(input.u8()) * 1_000_000)),
        2 => steps.push(Step::Has(input.u8())),
        3 => steps.push(Step::Want(input.u8())),
        4 => steps.extend((0..1 + input.u8() % 8).map(|_| Step::Take)),
        5 | 6 => {
            let (key, message) = (input.u8(), u16::from(input.u8()));
            let source = source(input);
            steps.push(Step::Call(key, message, source, input.u8()));
        }
        7 => {
            let (first, n) = (input.u16(), u16::from(input.u8()));
            let same = input.bool();
            steps.extend((first..first.saturating_add(n)).map(|m| {
                let source = if same { 7 } else { m.into() };
                let source = IpAddr::V4(Ipv4Addr::from_bits(source));
                Step::Call(m as u8, m, source, 0)
            }));
        }
        _ => steps.push(Step::Clear),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mut steps = vec![];
    while !input.is_empty() && steps.len() < 2000 {
        step(&mut input, &mut steps);
    }
    run(&steps);
});
