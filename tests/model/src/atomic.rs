// SPDX-License-Identifier: GPL-2.0
//! Atomics as parts of a state: one event happens at a time, so their order means nothing.

use std::{
    hash::{
        Hash,
        Hasher, //
    },
    sync::{
        Mutex,
        PoisonError, //
    }, //
};

/// No ordering with other accesses.
pub struct Relaxed;
/// What comes after is ordered behind it.
pub struct Acquire;

/// Twin of the atomic of that name.
#[derive(Default, Debug)]
pub struct HotAtomic<T>(Mutex<T>);

/// Here there is no difference.
pub type Atomic<T> = HotAtomic<T>;

impl<T: Copy> HotAtomic<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The value.
    pub fn load<O>(&self, _: O) -> T {
        self.with(|value| *value)
    }

    /// Another value.
    pub fn store<O>(&self, new: T, _: O) {
        self.with(|value| *value = new);
    }

    /// Puts another value in; returns the one before.
    pub fn xchg<O>(&self, new: T, _: O) -> T {
        self.with(|value| std::mem::replace(value, new))
    }
}

impl<T: Copy + PartialEq> HotAtomic<T> {
    /// Puts `new` in if `old` is there; returns what was, as an error if it was not that.
    pub fn cmpxchg<O>(&self, old: T, new: T, _: O) -> Result<T, T> {
        self.with(|value| {
            if *value != old {
                return Err(*value);
            }
            *value = new;
            Ok(old)
        })
    }
}

macro_rules! counts {
    ($($t:ty)*) => {$(
        impl HotAtomic<$t> {
            /// Adds, wrapping around; returns the value before.
            pub fn fetch_add<O>(&self, n: $t, _: O) -> $t {
                self.with(|value| std::mem::replace(value, value.wrapping_add(n)))
            }
        }
    )*};
}
counts!(u32 u64);

impl<T: Copy> Clone for HotAtomic<T> {
    fn clone(&self) -> Self {
        Self::new(self.load(Relaxed))
    }
}

impl<T: Copy + PartialEq> PartialEq for HotAtomic<T> {
    fn eq(&self, other: &Self) -> bool {
        self.load(Relaxed) == other.load(Relaxed)
    }
}

impl<T: Copy + Eq> Eq for HotAtomic<T> {}

impl<T: Copy + Hash> Hash for HotAtomic<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.load(Relaxed).hash(state);
    }
}
