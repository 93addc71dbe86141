// SPDX-License-Identifier: GPL-2.0

//! The plainest model of the replay window: the set of all counters that were accepted.

use std::collections::HashSet;
use wireguard_rs_core::{
    messages::{
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
pub enum Step {
    Forward(u64),
    Back(u64),
    /// Around where the window ends.
    Edge(i64),
    /// Around where a key ends.
    Limit(i64),
    Any(u64),
}

/// Takes the steps, from the counter `start` on, with both.
pub fn run(start: u64, steps: &[Step]) {
    let mut window = ReplayWindow::new();
    let mut model = Model::default();
    assert_eq!(window.accept(start), model.accept(start));
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
        assert_eq!(
            window.accept(counter),
            model.accept(counter),
            "{} after {}",
            counter,
            greatest
        );
        assert_eq!(window.greatest(), model.greatest);
        assert_eq!(
            window.exhausted(),
            model.greatest >= Some(REJECT_AFTER_MESSAGES - 1)
        );
    }
}
