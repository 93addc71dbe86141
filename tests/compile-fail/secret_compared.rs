// SPDX-License-Identifier: GPL-2.0
//~ E0369
//! Secrets are not compared in a way that time tells.

use wgk::crypto::Secret;

/// Whether they are the same.
pub fn same(a: &Secret<32>, b: &Secret<32>) -> bool {
    #[cfg(misuse)]
    return a == b;
    #[cfg(not(misuse))]
    a.ct_eq(b)
}
