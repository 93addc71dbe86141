// SPDX-License-Identifier: GPL-2.0
//~ E0594
//! What is pinned in a lock stays there, also for who has it locked.

use core::marker::PhantomPinned;
use wgk::lock::RwSemaphore;

/// Puts another value in.
#[cfg(misuse)]
pub fn replace(lock: &RwSemaphore<PhantomPinned>) {
    *lock.write() = PhantomPinned;
}

/// Puts another value in.
#[cfg(not(misuse))]
pub fn replace(lock: &RwSemaphore<u32>) {
    *lock.write() = 1;
}
