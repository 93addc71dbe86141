// SPDX-License-Identifier: GPL-2.0
//~ E0505
//! What was found under an RCU guard is not used after it.

use wgk::rcu::{
    read_lock,
    RcuCell, //
};

/// Whether there is something.
pub fn look(cell: &RcuCell<()>) -> bool {
    let guard = read_lock();
    let found = cell.load(&guard);
    #[cfg(misuse)]
    drop(guard);
    found.is_some()
}
