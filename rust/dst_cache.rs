// SPDX-License-Identifier: GPL-2.0
//! A cache of the route to one destination, per CPU.
//!
//! Wraps [`include/net/dst_cache.h`](srctree/include/net/dst_cache.h). Only
//! [`udp_tunnel`](crate::udp_tunnel) looks into it, with bottom halves disabled.
//!
//! A route belongs to the network namespace of the socket that it was looked up for. So, before
//! that namespace goes, its caches are to be emptied ([`DstCache::reset_now`]) or dropped, as its
//! sockets are to be closed; the owner of both has a hook for that in [`netns`](crate::netns).

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    alloc::{
        flags::GFP_KERNEL,
        Flags, //
    },
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A route cache.
///
/// # Invariants
///
/// `0` is initialised, and its per-CPU part only used with bottom halves disabled, or by the one
/// who has the cache to itself.
pub struct DstCache(Opaque<bindings::dst_cache>);

// A pointer to the per-CPU part and a time: nothing in it refers to where it is.
impl Unpin for DstCache {}

// SAFETY: Bound to no context.
unsafe impl Send for DstCache {}
// SAFETY: `reset` is a plain store that lookups expect; lookups are per CPU and with bottom halves
// disabled, so no two work on the same part at once.
unsafe impl Sync for DstCache {}

impl DstCache {
    /// Makes an empty cache. Per-CPU memory: with `GFP_KERNEL` sleeps.
    pub fn new(flags: Flags) -> Result<Self> {
        let cache = Opaque::zeroed();
        let gfp = if flags.contains(GFP_KERNEL) {
            kernel::bindings::GFP_KERNEL
        } else {
            kernel::bindings::GFP_ATOMIC
        };
        // SAFETY: The memory is ours. The structure holds no pointer to itself, so it may move.
        to_result(unsafe { bindings::dst_cache_init(cache.get(), gfp) })?;
        // INVARIANT: Initialised.
        Ok(Self(cache))
    }

    /// Makes every CPU forget its route with its next lookup. Any context.
    #[inline]
    pub fn reset(&self) {
        // SAFETY: Initialised by the type invariants; a store that may race with lookups.
        unsafe { bindings::dst_cache_reset(self.0.get()) }
    }

    /// Forgets all routes now. Any context.
    pub fn reset_now(&mut self) {
        // SAFETY: Initialised by the type invariants, and ours alone, so there is no lookup.
        unsafe { bindings::dst_cache_reset_now(self.0.get()) }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> NonNull<bindings::dst_cache> {
        NonNull::from(&self.0).cast()
    }
}

impl Drop for DstCache {
    fn drop(&mut self) {
        // SAFETY: Initialised by the type invariants, and not used any more.
        unsafe { bindings::dst_cache_destroy(self.0.get()) }
    }
}
