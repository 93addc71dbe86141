// SPDX-License-Identifier: GPL-2.0
//~ E0423
//! What happened is told by the kernel, not by who wants to be told.

use wgk::notifier::{
    Sleep,
    VmFork,
    Wake, //
};

/// Makes them up.
#[cfg(misuse)]
pub fn made() {
    let _ = VmFork(()); //^ E0423
    let _ = Sleep(()); //^ E0423
    let _ = Wake(()); //^ E0423
}

/// Passes them on.
#[cfg(not(misuse))]
pub fn made(sleep: Sleep, wake: Wake, fork: VmFork) -> (Sleep, Wake, VmFork) {
    (sleep, wake, fork)
}
