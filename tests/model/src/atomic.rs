// SPDX-License-Identifier: GPL-2.0
//! Atomics as parts of a state: one event happens at a time, so their order means nothing.

use std::hash::{
    Hash,
    Hasher, //
};
pub use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// Twin of the atomic of that name.
        #[derive(Default, Debug)]
        pub struct $name(std::sync::atomic::$name);

        impl $name {
            /// Holds `value`.
            pub const fn new(value: $value) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }
            /// The value.
            pub fn load(&self, _: Ordering) -> $value {
                self.0.load(Ordering::Relaxed)
            }
            /// Another value.
            pub fn store(&self, value: $value, _: Ordering) {
                self.0.store(value, Ordering::Relaxed);
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self::new(self.load(Ordering::Relaxed))
            }
        }
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.load(Ordering::Relaxed) == other.load(Ordering::Relaxed)
            }
        }
        impl Eq for $name {}
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.load(Ordering::Relaxed).hash(state);
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

impl AtomicU32 {
    /// Adds; returns the value before.
    pub fn fetch_add(&self, n: u32, _: Ordering) -> u32 {
        self.0.fetch_add(n, Ordering::Relaxed)
    }
}

impl AtomicU64 {
    /// Adds; returns the value before.
    pub fn fetch_add(&self, n: u64, _: Ordering) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed)
    }
}
