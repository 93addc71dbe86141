// SPDX-License-Identifier: GPL-2.0
//~ E0428
//! A module is declared once, by the crate's macro, which does not ask what the caller's crate has by the
//! name of `kernel`.

#[cfg(misuse)]
extern crate kernel as real_kernel;
#[cfg(misuse)]
extern crate self as kernel;
#[cfg(misuse)]
pub use real_kernel::*;

/// As that of the `kernel` crate, but that it declares no modules.
#[cfg(misuse)]
pub mod prelude {
    pub use real_kernel::prelude::*;
    #[macro_export]
    macro_rules! nothing {
        ($($info:tt)*) => {};
    }
    pub use crate::nothing as module;
}

use kernel::{
    prelude::{
        Result,
        ThisModule, //
    },
    Module, //
};

/// What a guest of this one would outlive.
pub struct State;

impl Module for State {
    fn init(_: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

wgk::module! {
    type: State,
    name: "guarded",
    authors: ["nobody"],
    description: "Waits for its guests",
    license: "GPL",
}

#[cfg(misuse)]
real_kernel::prelude::module! {
    type: State,
    name: "unguarded",
    authors: ["nobody"],
    description: "Does not",
    license: "GPL",
}
