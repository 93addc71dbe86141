// SPDX-License-Identifier: GPL-2.0
//~ E0505
//! A device that is found through its cell may go when the guard has gone.

use wgk::{
    netdevice::NetDevCell,
    rcu::read_lock, //
};

/// Its MTU.
pub fn mtu(cell: &NetDevCell) -> u32 {
    let guard = read_lock();
    let dev = cell.get(&guard);
    #[cfg(misuse)]
    drop(guard);
    dev.map_or(0, |dev| dev.mtu())
}
