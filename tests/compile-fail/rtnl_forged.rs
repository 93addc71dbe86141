// SPDX-License-Identifier: GPL-2.0
//~ E0423
//! Evidence cannot be made up.

use kernel::types::NotThreadSafe;
use wgk::rtnl::{
    Rtnl,
    RtnlCell, //
};

/// The content.
pub fn read(cell: &RtnlCell<u32>, rtnl: &Rtnl) -> u32 {
    let _ = NotThreadSafe;
    #[cfg(misuse)]
    return cell.get(&Rtnl(NotThreadSafe));
    #[cfg(not(misuse))]
    cell.get(rtnl)
}
