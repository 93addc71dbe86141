// SPDX-License-Identifier: GPL-2.0
//~ lifetime may not live long enough
//! An attribute goes with its request.

use wgk::genetlink::{
    Attr,
    Info, //
};

/// Keeps one.
#[cfg(misuse)]
pub fn keep(info: &Info<'_>) -> Option<Attr<'static>> {
    info.attrs().get(1)
}

/// Passes one on.
#[cfg(not(misuse))]
pub fn keep<'a>(info: &Info<'a>) -> Option<Attr<'a>> {
    info.attrs().get(1)
}
