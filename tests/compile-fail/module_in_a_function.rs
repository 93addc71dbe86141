// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! A module is declared in the crate's root: elsewhere, its code would be that of another type, unguarded.

use kernel::{
    prelude::*,
    Module, //
};

/// What a guest of this one would outlive.
pub struct State;

impl Module for State {
    fn init(_: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[cfg(not(misuse))]
wgk::module! {
    type: State,
    name: "guarded",
    authors: ["nobody"],
    description: "Waits for its guests",
    license: "GPL",
}

/// The `kernel` crate's macro looks for this in the root.
#[cfg(misuse)]
type LocalModule = State;

/// Never called.
#[cfg(misuse)]
pub fn declares() {
    wgk::module! {
        type: State,
        name: "unguarded",
        authors: ["nobody"],
        description: "Does not",
        license: "GPL",
    }

    impl kernel::ModuleMetadata for State {
        const NAME: &'static CStr = <GuardedModule as kernel::ModuleMetadata>::NAME;
        const THIS_MODULE: ThisModule = <GuardedModule as kernel::ModuleMetadata>::THIS_MODULE;
    }
}
