// SPDX-License-Identifier: GPL-2.0
//! A cache of the route to one destination, per CPU.
//!
//! Wraps [`include/net/dst_cache.h`](srctree/include/net/dst_cache.h). Only
//! [`udp_tunnel`](crate::udp_tunnel) looks into it, with bottom halves disabled.
//!
//! A route belongs to the network namespace of the socket that it was looked up for, down to the
//! memory that counts it. So, before that namespace goes, its caches are to be emptied
//! ([`DstCache::reset_now`]) or dropped, as its sockets are to be closed; the owner of both has a
//! hook for that in [`netns`](crate::netns). A cache that has a route is counted, and the
//! namespace's end waits until there is none: also for those on their way to be dropped.
//!
//! Safety review: `Documentation/safety.md#dst_cachers`.

use crate::{
    bindings,
    netns::{
        Hold,
        WeakNet, //
    }, //
};
use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
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
/// - `cache` is initialised, and its per-CPU part only used with bottom halves disabled, or by the
///   one who has the cache to itself.
/// - `home` is null, and the cache empty, or `home` comes from [`Hold::into_raw`], and all routes in
///   the cache are of that namespace.
pub struct DstCache {
    cache: Opaque<bindings::dst_cache>,
    home: AtomicPtr<c_void>,
}

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
        // INVARIANT: Initialised, and empty.
        Ok(Self {
            cache,
            home: AtomicPtr::new(ptr::null_mut()),
        })
    }

    /// Makes every CPU forget its route with its next lookup. Any context.
    #[inline]
    pub fn reset(&self) {
        // SAFETY: Initialised by the type invariants; a store that may race with lookups.
        unsafe { bindings::dst_cache_reset(self.cache.get()) }
    }

    /// Forgets all routes now. Any context.
    pub fn reset_now(&mut self) {
        // SAFETY: Initialised by the type invariants, and ours alone, so there is no lookup.
        unsafe { bindings::dst_cache_reset_now(self.cache.get()) };
        self.leave();
    }

    /// Whether a route of `net` may be put in: the namespace is not going, and the routes that are
    /// in the cache, if any, are its own. Counts the cache if it is the first. Under RCU.
    #[inline]
    pub(crate) fn belongs_to(&self, net: &WeakNet) -> bool {
        match NonNull::new(self.home.load(Ordering::Relaxed)) {
            Some(home) => net.is_held_by(home),
            None => self.settle(net),
        }
    }

    #[cold]
    fn settle(&self, net: &WeakNet) -> bool {
        let Some(hold) = net.hold().map(Hold::into_raw) else {
            return false;
        };
        // INVARIANT: Still null, hence still empty: a route only comes after this.
        // ORDERING: Relaxed: only compared with, but by who has the cache to itself.
        let others = self.home.compare_exchange(
            ptr::null_mut(),
            hold.as_ptr(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        let Err(other) = others else {
            return true;
        };
        // SAFETY: From `into_raw` above; not stored.
        drop(unsafe { Hold::from_raw(hold) });
        NonNull::new(other).is_some_and(|home| net.is_held_by(home))
    }

    /// The cache is empty now: the namespace need not wait for it.
    fn leave(&mut self) {
        // INVARIANT: Null, and the cache is empty.
        if let Some(home) = NonNull::new(core::mem::replace(self.home.get_mut(), ptr::null_mut())) {
            // SAFETY: By the type invariants; taken out, so this happens once.
            drop(unsafe { Hold::from_raw(home) });
        }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> NonNull<bindings::dst_cache> {
        NonNull::from(&self.cache).cast()
    }
}

impl Drop for DstCache {
    fn drop(&mut self) {
        // SAFETY: Initialised by the type invariants, and not used any more.
        unsafe { bindings::dst_cache_destroy(self.cache.get()) };
        self.leave();
    }
}
