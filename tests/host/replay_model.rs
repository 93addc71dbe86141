// SPDX-License-Identifier: GPL-2.0

//! The replay window against the plainest model: the set of all counters that were accepted.

use proptest::prelude::*;
use wireguard_rs_core::{
    messages::{
        COUNTER_BITS_TOTAL,
        REJECT_AFTER_MESSAGES, //
    },
    replay::ReplayWindow, //
};

#[path = "model/replay.rs"]
mod model;

use model::{
    run,
    Step, //
};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u64..4).prop_map(Step::Forward),
        2 => (1..3 * COUNTER_BITS_TOTAL).prop_map(Step::Forward),
        8 => (0u64..70).prop_map(Step::Back),
        4 => (0..2 * COUNTER_BITS_TOTAL).prop_map(Step::Back),
        4 => (-70i64..70).prop_map(Step::Edge),
        1 => (-9000i64..40).prop_map(Step::Limit),
        1 => any::<u64>().prop_map(Step::Any),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Where most traffic is: small numbers, then jumps.
    #[test]
    fn from_the_start(steps in prop::collection::vec(step(), 1..400)) {
        run(0, &steps);
    }

    /// Towards the end of a key, where additions might wrap.
    #[test]
    fn near_the_limit(
        back in 0..4 * COUNTER_BITS_TOTAL,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        run(REJECT_AFTER_MESSAGES - back, &steps);
    }

    /// Reordering within the window loses nothing.
    #[test]
    fn any_order_within_the_window(
        base in 0..1u64 << 48,
        order in Just((0..2000u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut window = ReplayWindow::new();
        for i in &order {
            prop_assert!(window.accept(base + i));
        }
        for i in &order {
            prop_assert!(!window.accept(base + i));
        }
    }
}
