// SPDX-License-Identifier: GPL-2.0
//~ E0478
//~ E0495
//! The table of a family's operations is for ever, and so is what is in it.

use kernel::prelude::*;
use wgk::genetlink::{
    GetOp,
    Info,
    Message,
    Permission,
    Policy, //
};

/// An operation of something borrowed.
pub struct Borrowed<'a>(pub &'a u32);

macro_rules! operation {
    ($($of:tt)*) => {
        impl GetOp for $($of)* {
            const CMD: u8 = 1;
            const PERMISSION: Permission = Permission::NetnsAdmin;
            const POLICY: &'static [Policy] = &[];
            fn get(_info: &Info<'_>, _reply: &mut Message<'_>) -> Result {
                Ok(())
            }
        }
    };
}

#[cfg(misuse)]
operation!(Borrowed<'_>);
#[cfg(not(misuse))]
operation!(Borrowed<'static>);
