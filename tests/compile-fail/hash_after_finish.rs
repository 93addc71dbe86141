// SPDX-License-Identifier: GPL-2.0
//~ E0382
//! A hash that ended has no state left.

use wgk::crypto::Blake2s;

/// Ends it.
pub fn finished(hash: Blake2s, out: &mut [u8; 32]) {
    hash.finish(out);
    #[cfg(misuse)]
    hash.finish(out);
}
