// SPDX-License-Identifier: GPL-2.0
//~ E0478
//~ E0495
//! And must not borrow: nobody knows when its grace period ends.

use wgk::rcu::RcuObject;

/// Looks at something.
pub struct Object<'a>(pub &'a u32);

#[cfg(misuse)]
impl<'a> RcuObject for Object<'a> {}
#[cfg(not(misuse))]
impl RcuObject for Object<'static> {}
