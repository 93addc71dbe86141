// SPDX-License-Identifier: GPL-2.0

//! The replay window against the plainest model: the set of all counters that were accepted.

use proptest::prelude::*;
use std::collections::HashSet;
use wireguard_rs_core::{
    messages::{
        COUNTER_BITS_TOTAL,
        COUNTER_WINDOW_SIZE,
        REJECT_AFTER_MESSAGES, //
    },
    replay::ReplayWindow, //
};

/// The rule in one sentence: below the limit, not seen before, and at most a window behind.
#[derive(Default)]
struct Model {
    seen: HashSet<u64>,
    greatest: Option<u64>,
}

impl Model {
    fn accept(&mut self, counter: u64) -> bool {
        let oldest = self
            .greatest
            .map_or(0, |g| g.saturating_sub(COUNTER_WINDOW_SIZE));
        let good =
            counter < REJECT_AFTER_MESSAGES && counter >= oldest && self.seen.insert(counter);
        if good {
            self.greatest = self.greatest.max(Some(counter));
        }
        good
    }
}

/// The next counter, relative to the greatest one so far or to a border.
#[derive(Clone, Copy, Debug)]
enum Step {
    Forward(u64),
    Back(u64),
    /// Around where the window ends.
    Edge(i64),
    /// Around where a key ends.
    Limit(i64),
    Any(u64),
}

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

fn run(start: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut window = ReplayWindow::new();
    let mut model = Model::default();
    prop_assert_eq!(window.accept(start), model.accept(start));
    for step in steps {
        let greatest = model.greatest.unwrap_or(0);
        let counter = match *step {
            Step::Forward(n) => greatest.wrapping_add(n),
            Step::Back(n) => greatest.wrapping_sub(n),
            Step::Edge(n) => greatest
                .wrapping_sub(COUNTER_WINDOW_SIZE)
                .wrapping_add_signed(n),
            Step::Limit(n) => REJECT_AFTER_MESSAGES.wrapping_add_signed(n),
            Step::Any(n) => n,
        };
        prop_assert_eq!(
            window.accept(counter),
            model.accept(counter),
            "{} after {}",
            counter,
            greatest
        );
        prop_assert_eq!(window.greatest(), model.greatest);
        prop_assert_eq!(
            window.exhausted(),
            model.greatest >= Some(REJECT_AFTER_MESSAGES - 1)
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Where most traffic is: small numbers, then jumps.
    #[test]
    fn from_the_start(steps in prop::collection::vec(step(), 1..400)) {
        run(0, &steps)?;
    }

    /// Towards the end of a key, where additions might wrap.
    #[test]
    fn near_the_limit(
        back in 0..4 * COUNTER_BITS_TOTAL,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        run(REJECT_AFTER_MESSAGES - back, &steps)?;
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
