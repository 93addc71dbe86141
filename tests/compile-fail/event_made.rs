// SPDX-License-Identifier: GPL-2.0
//~ E0423
//! What happened is told by the kernel, not by who wants to be told.

use wgk::notifier::{
    Sleep,
    VmFork, //
};

/// Makes both up.
#[cfg(misuse)]
pub fn made() {
    let _ = VmFork(()); //^ E0423
    let _ = Sleep(()); //^ E0423
}

/// Passes both on.
#[cfg(not(misuse))]
pub fn made(sleep: Sleep, fork: VmFork) -> (Sleep, VmFork) {
    (sleep, fork)
}
