// SPDX-License-Identifier: GPL-2.0
//~ E0515
//! Nor is it returned past the guard.

use wgk::rcu::{
    read_lock,
    RcuSyncCell, //
};

/// The content.
#[cfg(misuse)]
pub fn look(cell: &RcuSyncCell<u32>) -> Option<&u32> {
    let guard = read_lock();
    cell.load(&guard)
}

/// A copy of it.
#[cfg(not(misuse))]
pub fn look(cell: &RcuSyncCell<u32>) -> Option<u32> {
    let guard = read_lock();
    cell.load(&guard).copied()
}
