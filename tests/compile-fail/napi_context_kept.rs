// SPDX-License-Identifier: GPL-2.0
//~ lifetime may not live long enough
//! The right to hand packets up ends with the poll.

use wgk::napi::NapiContext;

/// Keeps it.
#[cfg(misuse)]
pub fn keep(napi: &NapiContext<'_>) -> &'static NapiContext<'static> {
    napi
}

/// Passes it on.
#[cfg(not(misuse))]
pub fn keep<'a, 'b>(napi: &'a NapiContext<'b>) -> &'a NapiContext<'b> {
    napi
}
