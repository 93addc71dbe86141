// SPDX-License-Identifier: GPL-2.0
//~ E0505
//! And one that is found under RTNL when that is released.

use wgk::{
    netdevice::NetDevCell,
    rtnl::Rtnl, //
};

/// Its MTU.
pub fn mtu(cell: &NetDevCell) -> u32 {
    let rtnl = Rtnl::lock();
    let dev = cell.get_rtnl(&rtnl);
    #[cfg(misuse)]
    drop(rtnl);
    dev.map_or(0, |dev| dev.mtu())
}
