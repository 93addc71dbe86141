// SPDX-License-Identifier: GPL-2.0
//~ E0499
//! What belongs to the consumer of a queue is borrowed from it, one at a time: two borrows could be
//! of one cell.

use wgk::batch::{
    Consumer,
    ConsumerCell, //
};

/// Counts in two places.
pub fn count(
    consumer: &mut Consumer<'_, ()>,
    one: &ConsumerCell<(), u64>,
    other: &ConsumerCell<(), u64>,
) {
    let first = one.get(consumer);
    #[cfg(not(misuse))]
    first.into_iter().for_each(|n| *n += 1);
    let second = other.get(consumer);
    second.into_iter().for_each(|n| *n += 1);
    #[cfg(misuse)]
    first.into_iter().for_each(|n| *n += 1);
}
