// SPDX-License-Identifier: GPL-2.0
//~ E0277
//~ cannot be sent between threads safely
//! A read-side critical section is left by the task that entered it.

use wgk::rcu::read_lock;

fn run<T: Send>(f: impl FnOnce() -> T) -> T {
    f()
}

/// Enters and leaves.
pub fn enter() {
    #[cfg(misuse)]
    drop(run(read_lock));
    #[cfg(not(misuse))]
    run(|| drop(read_lock()));
}
