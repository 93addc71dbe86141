// SPDX-License-Identifier: GPL-2.0
//~ E0277
//~ cannot be sent between threads safely
//! A spin lock is released by the CPU that took it.

use wgk::lock::SpinLockBh;

fn run<T: Send>(f: impl FnOnce() -> T) -> T {
    f()
}

/// The content.
pub fn read(lock: &SpinLockBh<u32>) -> u32 {
    #[cfg(misuse)]
    let value = *run(|| lock.lock());
    #[cfg(not(misuse))]
    let value = run(|| *lock.lock());
    value
}
