// SPDX-License-Identifier: GPL-2.0
//! The timers and their model have the same happen to them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wireguard_rs_fuzz::Input;

#[path = "../../host/model/timers.rs"]
mod model;

use model::{
    run,
    Event,
    S, //
};

fn event(input: &mut Input<'_>) -> Event {
    let kind = input.below(23);
    let mut jitter = || u64::from(input.u32()) % (S / 3);
    match kind {
        0 => Event::Wait(u64::from(input.u16()) * (S / 256)),
        1 => Event::Wait(u64::from(input.u16()) * (S / 16)),
        2..=4 => Event::WaitForNext(i64::from(input.u8() % 5) - 2),
        5 => Event::DataSent(jitter()),
        6 | 7 => Event::DataReceived,
        8 => Event::AnySent,
        9 => Event::AnyReceived,
        // The interval comes from userspace: 16 bits of seconds.
        10 => Event::Traversal(u64::from(input.u16()) * S),
        11 => Event::Initiated(jitter()),
        12 => Event::Deferred(jitter()),
        13 => Event::Begun(input.bool()),
        14 => Event::Complete,
        15 => Event::Derived,
        16 => Event::Forgotten,
        17 => Event::Lastminute,
        18 => Event::Stop,
        19 => Event::Start,
        20 => Event::Moved,
        21 => Event::Lasts(u64::from(input.u16()) * (S / 256)),
        _ => Event::Slept,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let up = input.bool();
    let mut events = vec![];
    while !input.is_empty() {
        events.push(event(&mut input));
    }
    run(up, &events);
});
