// SPDX-License-Identifier: GPL-2.0
//~ E0277
//~ cannot be shared between threads safely
//! That a thread holds RTNL is no evidence for another.

use wgk::rtnl::Rtnl;

fn run<T: Send>(value: T) {
    drop(value)
}

/// Passes something on.
pub fn pass(rtnl: &Rtnl) {
    #[cfg(misuse)]
    run(rtnl);
    #[cfg(not(misuse))]
    run(core::ptr::from_ref(rtnl).is_null());
}
