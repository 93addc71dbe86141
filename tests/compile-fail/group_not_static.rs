// SPDX-License-Identifier: GPL-2.0
//~ E0597
//! The group of a family stays.

use wgk::genetlink::{
    Family,
    Group,
    Op, //
};

static OPS: [Op; 0] = [];
#[cfg(not(misuse))]
static GROUP: Group = Group::new(c"events");

/// Makes a family with a group.
pub fn make(module: &'static kernel::ThisModule) -> Family {
    #[cfg(misuse)]
    #[allow(non_snake_case)]
    let GROUP = Group::new(c"events");
    Family::with_events(module, c"mine", 1, &OPS, &GROUP)
}
