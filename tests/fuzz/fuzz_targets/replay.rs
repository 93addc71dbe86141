// SPDX-License-Identifier: GPL-2.0
//! The replay window and its model take the same counters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wireguard_rs_fuzz::Input;

#[path = "../../host/model/replay.rs"]
mod model;

use model::{
    run,
    Step, //
};

fn step(input: &mut Input<'_>) -> Step {
    match input.below(8) {
        0 => Step::Forward(u64::from(input.u8())),
        1 => Step::Forward(u64::from(input.u16())),
        2 => Step::Back(u64::from(input.u8())),
        3 => Step::Back(u64::from(input.u16())),
        4 | 5 => Step::Edge(i64::from(input.u8() as i8)),
        6 => Step::Limit(i64::from(input.u16() as i16)),
        _ => Step::Any(input.u64()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let start = input.u64();
    let mut steps = vec![];
    while !input.is_empty() {
        steps.push(step(&mut input));
    }
    run(start, &steps);
});
