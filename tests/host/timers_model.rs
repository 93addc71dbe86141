// SPDX-License-Identifier: GPL-2.0

//! The timers against a model of independent kernel timers, one per rule of the paper (§6) and ours,
//! over random histories. No clock is read and nobody sleeps.

use proptest::prelude::*;
use wireguard_rs_core::timers::Timers;

#[path = "model/timers.rs"]
mod model;

use model::{
    run,
    Driver,
    Event,
    S, //
};

fn event() -> impl Strategy<Value = Event> {
    let jitter = 0..S / 3;
    prop_oneof![
        4 => (0..12 * S).prop_map(Event::Wait),
        1 => (0..700 * S).prop_map(Event::Wait),
        8 => (-2i64..3).prop_map(Event::WaitForNext),
        4 => jitter.clone().prop_map(Event::DataSent),
        6 => Just(Event::DataReceived),
        2 => Just(Event::AnySent),
        2 => Just(Event::AnyReceived),
        3 => prop_oneof![Just(0), Just(S), 1..70 * S].prop_map(Event::Traversal),
        5 => jitter.prop_map(Event::Initiated),
        3 => (0..6 * S).prop_map(Event::Deferred),
        1 => Just(Event::KeepaliveFailed),
        1 => any::<bool>().prop_map(Event::Begun),
        1 => Just(Event::Complete),
        1 => Just(Event::Derived),
        1 => Just(Event::Forgotten),
        1 => Just(Event::Lastminute),
        2 => Just(Event::Moved),
        3 => prop_oneof![Just(0), 1..5 * S, 1..180 * S].prop_map(Event::Lasts),
        1 => Just(Event::Slept),
        1 => Just(Event::Stop),
        3 => Just(Event::Start),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn same_actions_at_the_same_times(
        up in any::<bool>(),
        events in prop::collection::vec(event(), 1..150),
    ) {
        run(up, &events);
    }

    /// A peer that never answers, with traffic of any kind around: that is what reaches giving up.
    #[test]
    fn nobody_answers(noise in prop::collection::vec(prop::option::weighted(0.3, event()), 60)) {
        let mut events = vec![];
        for noise in noise {
            events.push(Event::Initiated(7));
            match noise {
                Some(Event::Complete | Event::Begun(_) | Event::Stop) | None => {}
                Some(event) => events.push(event),
            }
            events.push(Event::WaitForNext(0));
            events.push(Event::Wait(6 * S));
        }
        run(true, &events);
    }
}

/// Why there is one kernel timer: a busy tunnel hardly ever touches it.
#[test]
fn traffic_leaves_the_kernel_timer_alone() {
    let mut driver = Driver {
        timers: Timers::new(true),
        armed: None,
        armings: 0,
        told: false,
    };
    let mut now = S;
    let mut done = vec![];
    // 100 s of a packet each way per millisecond.
    for _ in 0..100_000 {
        now += S / 1000;
        done.extend(driver.advance(now));
        for event in [
            Event::Traversal(25 * S),
            Event::AnySent,
            Event::DataSent(0),
            Event::AnyReceived,
            Event::Traversal(25 * S),
            Event::DataReceived,
        ] {
            driver.event(now, event);
        }
    }
    assert_eq!(done, []);
    assert!(driver.armings < 20, "{} armings", driver.armings);
}
