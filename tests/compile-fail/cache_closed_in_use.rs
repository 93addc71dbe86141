// SPDX-License-Identifier: GPL-2.0
//~ E0502
//! A route cache is emptied by who has it alone.

use wgk::dst_cache::DstCache;

/// Closes a cache and looks at it.
pub fn close(cache: &mut DstCache) {
    let shared = &*cache;
    #[cfg(misuse)]
    cache.close();
    shared.reset();
    #[cfg(not(misuse))]
    cache.close();
}
