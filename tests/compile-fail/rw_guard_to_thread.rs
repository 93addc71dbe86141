// SPDX-License-Identifier: GPL-2.0
//~ E0277
//~ cannot be sent between threads safely
//! So is a read-write lock.

use wgk::lock::RwLockBh;

fn run<T: Send>(f: impl FnOnce() -> T) -> T {
    f()
}

/// The content.
pub fn read(lock: &RwLockBh<u32>) -> u32 {
    #[cfg(misuse)]
    let value = *run(|| lock.read());
    #[cfg(not(misuse))]
    let value = run(|| *lock.read());
    value
}
