// SPDX-License-Identifier: GPL-2.0
//! Statics that keep some objects of one type.

use super::Rng;
use crate::kept::Kept;
use core::sync::atomic::{
    AtomicBool,
    Ordering::Relaxed, //
};

const PLACES: usize = 8;

/// Some places for objects. Nothing is done with a lock held but by [`Pool::with`].
pub(super) struct Pool<T: Send + Unpin + 'static> {
    places: [Kept<T>; PLACES],
    closed: AtomicBool,
}

impl<T: Send + Unpin + 'static> Pool<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: [const { Kept::new() }; PLACES],
            closed: AtomicBool::new(false),
        }
    }

    /// Takes an object, if there is one where it looks.
    pub(super) fn take(&self, rng: &mut Rng) -> Option<T> {
        self.places[rng.below(PLACES)].take()
    }

    /// Puts an object somewhere; one that was there is dropped.
    pub(super) fn put(&self, rng: &mut Rng, value: T) {
        if self.closed.load(Relaxed) {
            return;
        }
        self.places[rng.below(PLACES)].put(value);
    }

    /// Puts an object in a place of its own, where it stays until [`Pool::take_at`].
    pub(super) fn put_at(&self, place: usize, value: T) {
        self.places[place].put(value);
    }

    /// Takes it out again.
    pub(super) fn take_at(&self, place: usize) -> Option<T> {
        self.places[place].take()
    }

    /// Uses an object where it is, with bottom halves off and a lock held.
    pub(super) fn with<R>(&self, rng: &mut Rng, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.places[rng.below(PLACES)].with(f)
    }

    /// Drops all.
    pub(super) fn clear(&self) {
        self.places.iter().for_each(|place| drop(place.take()));
    }

    /// Drops all, and what is still put in.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.clear();
    }
}
