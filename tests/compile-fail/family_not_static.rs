// SPDX-License-Identifier: GPL-2.0
//~ E0597
//! A family that is registered is not freed.

use kernel::prelude::*;
use wgk::genetlink::{
    Family,
    Op, //
};

static OPS: [Op; 0] = [];

/// Registers it.
pub fn register(module: &'static ThisModule) -> Result {
    #[cfg(misuse)]
    let family = Family::new(module, c"test", 1, &OPS);
    #[cfg(misuse)]
    let family = &family;
    #[cfg(not(misuse))]
    let family: &'static Family = KBox::leak(KBox::new(
        Family::new(module, c"test", 1, &OPS),
        GFP_KERNEL,
    )?);
    drop(family.register()?);
    Ok(())
}
