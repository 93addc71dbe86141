// SPDX-License-Identifier: GPL-2.0
//~ E0080
//! A cache's objects are small: C counts their bytes in 32 bits.

use kernel::prelude::*;
use wgk::{
    rcu::{
        RcuArc,
        RcuObject, //
    },
    slab::SlabCache, //
};

/// As large as it may be.
#[cfg(not(misuse))]
const SIZE: usize = 4096;
/// What is left of that in 32 bits is next to nothing.
#[cfg(misuse)]
const SIZE: usize = 1 << 32;

/// Many bytes.
pub struct Object([u8; SIZE]);

impl RcuObject for Object {}

static OBJECTS: SlabCache<Object> = SlabCache::new(c"objects");

/// Makes one.
pub fn make(init: impl PinInit<Object, Error>) -> Result<RcuArc<Object>> {
    OBJECTS.create()?;
    RcuArc::pin_init_in(&OBJECTS, init)
}
