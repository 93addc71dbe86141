// SPDX-License-Identifier: GPL-2.0
//! A cache of the route to one destination, per CPU.
//!
//! Wraps [`include/net/dst_cache.h`](srctree/include/net/dst_cache.h). Only
//! [`udp_tunnel`](crate::udp_tunnel) looks into it, with bottom halves disabled.
//!
//! A route belongs to the network namespace of the socket that it was looked up for, down to the
//! memory that counts it: none may be left when that namespace goes. So a cache is of the namespace
//! whose route came first, is listed there ([`CacheList`]) as long as it can hold one, and the
//! namespace's exit hook empties what is listed. Nobody has to give anything back, and nobody is
//! waited for; a cache that is forgotten costs memory and nothing else.
//!
//! The memory for routes is there once there is a route.
//!
//! Safety review: `Documentation/safety.md#dst_cachers`.

use crate::{
    atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    bindings,
    cpu,
    lock::{
        new_spinlock_bh,
        SpinLockBh, //
    },
    netns::WeakNet, //
};
use core::{
    cell::Cell,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A route cache.
///
/// Holds routes of one namespace, that of the first; those of another are not kept, until
/// [`reset_now`](Self::reset_now).
///
/// # Invariants
///
/// `routes` is null, [`CLOSED`], or a [`Routes`] from a box, which this owns. Once it is one, it
/// changes through `&mut self` only.
pub struct DstCache {
    routes: Atomic<*mut Routes>,
}

/// In the place of the routes of a cache that takes none any more.
const CLOSED: *mut Routes = NonNull::dangling().as_ptr();

/// The routes of a cache.
///
/// # Invariants
///
/// - `cache` is initialised, and all routes in it are of `home`. Its per-CPU part is used
///   - by lookups, under RCU with bottom halves disabled, in a critical section in which `home`
///     is alive ([`WeakNet::is_alive`]). Two of one CPU exclude each other by the lock that
///     `dst_cache.c` has for that where disabled bottom halves do not suffice (`PREEMPT_RT`);
///   - by [`CacheList::empty`], under the list's lock, once all of these have ended;
///   - by the owner, when it has the [`DstCache`] to itself and this is not in the list.
/// - `listed`, `next` and `prev` belong to the list of `home`, and are used under its lock.
pub(crate) struct Routes {
    cache: Opaque<bindings::dst_cache>,
    home: WeakNet,
    next: Cell<*const Routes>,
    prev: Cell<*const Routes>,
    listed: Cell<bool>,
}

impl Routes {
    /// Makes an empty one, of the namespace `home`; in no list. Any context.
    fn new(home: &WeakNet) -> Result<KBox<Self>> {
        let routes = KBox::new(
            Self {
                cache: Opaque::zeroed(),
                home: home.clone(),
                next: Cell::new(ptr::null()),
                prev: Cell::new(ptr::null()),
                listed: Cell::new(false),
            },
            GFP_ATOMIC,
        )?;
        // SAFETY: The memory is ours. On an error there is nothing in it, and it is just freed.
        to_result(unsafe {
            bindings::dst_cache_init(routes.cache.get(), kernel::bindings::GFP_ATOMIC)
        })?;
        // INVARIANT: Initialised, and empty.
        Ok(routes)
    }

    /// The C object.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::dst_cache {
        self.cache.get()
    }

    /// Empties and frees it. Any context.
    ///
    /// # Safety
    ///
    /// `this` must come from [`KBox::into_raw`], be complete, and be nobody else's but the list's.
    unsafe fn free(this: *mut Self) {
        // SAFETY: By the requirement.
        let routes = unsafe { &*this };
        routes.home.caches().remove(routes);
        // SAFETY: Initialised by the type invariants; not in the list any more, and ours.
        unsafe { bindings::dst_cache_destroy(routes.cache.get()) };
        // SAFETY: By the requirement; in no list.
        drop(unsafe { KBox::from_raw(this) });
    }
}

// SAFETY: Owns its `Routes`, which is bound to no context.
unsafe impl Send for DstCache {}
// SAFETY: Of a shared cache, `reset` does a plain store that lookups expect; `of` and `fill` are
// atomic, and their callers keep to the invariants of `Routes`.
unsafe impl Sync for DstCache {}

impl DstCache {
    /// Makes an empty cache.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            routes: Atomic::new(ptr::null_mut()),
        }
    }

    /// The routes, if there may be any.
    #[inline]
    fn routes(&self) -> Option<&Routes> {
        // ORDERING: Acquire: pairs with the release in `begin`; the object was initialised.
        let routes = self.routes.load(Acquire);
        if routes == CLOSED {
            return None;
        }
        // SAFETY: By the type invariants null or ours, and freed by `&mut self` only.
        unsafe { routes.as_ref() }
    }

    /// Makes every CPU forget its route with its next lookup. Any context.
    #[inline]
    pub fn reset(&self) {
        if let Some(routes) = self.routes() {
            // SAFETY: Initialised by the type invariants; a store that may race with lookups.
            unsafe { bindings::dst_cache_reset(routes.as_ptr()) }
        }
    }

    /// Forgets all routes, and which namespace they were of, now. Any context.
    pub fn reset_now(&mut self) {
        if *self.routes.get_mut() != CLOSED {
            self.replace(ptr::null_mut());
        }
    }

    /// Forgets all routes now, and keeps none from here on: for who goes, but is not gone yet. Any
    /// context.
    pub fn close(&mut self) {
        self.replace(CLOSED);
    }

    /// Frees what is there; `value` is null or [`CLOSED`].
    fn replace(&mut self, value: *mut Routes) {
        // INVARIANT: By the requirement.
        let old = core::mem::replace(self.routes.get_mut(), value);
        if !old.is_null() && old != CLOSED {
            // SAFETY: By the type invariants, and taken out just now. Lookups borrow `self`.
            unsafe { Routes::free(old) };
        }
    }

    /// Where to look for a route of `net`.
    ///
    /// # Safety
    ///
    /// In a read-side critical section with bottom halves disabled, to which the use of what is
    /// returned is confined.
    #[inline]
    pub(crate) unsafe fn of(&self, net: &WeakNet) -> Option<&Routes> {
        self.routes()
            .filter(|routes| routes.home.same(net) && net.is_alive())
    }

    /// Where to keep a route of `net`; `None` if the cache is another namespace's or closed, the
    /// namespace is going, or memory is short.
    ///
    /// # Safety
    ///
    /// As for [`DstCache::of`].
    #[inline]
    pub(crate) unsafe fn fill(&self, net: &WeakNet) -> Option<&Routes> {
        if self.routes.load(Relaxed).is_null() {
            self.begin(net);
        }
        // SAFETY: By the requirement.
        unsafe { self.of(net) }
    }

    /// Makes it a cache of `net`, unless it is one already. Under RCU.
    #[cold]
    fn begin(&self, net: &WeakNet) {
        let Ok(routes) = Routes::new(net) else {
            return;
        };
        let routes = KBox::into_raw(routes);
        // SAFETY: From a box. It stays where it is until `Routes::free`, which takes it out.
        if unsafe { net.caches().insert(&*routes, net) } {
            // INVARIANT: From a box; in the list before anybody can fill it.
            // ORDERING: Release: pairs with the acquire in `routes`.
            let others = self.routes.cmpxchg(ptr::null_mut(), routes, Release);
            if others.is_ok() {
                return;
            }
        }
        // SAFETY: From a box, and not stored.
        unsafe { Routes::free(routes) };
    }
}

impl Default for DstCache {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for DstCache {
    fn drop(&mut self) {
        self.close();
    }
}

/// The caches that may hold routes of one namespace.
///
/// # Invariants
///
/// What is in the list is a [`Routes`] of this namespace with `listed` set, and is not freed before
/// it was removed.
#[pin_data]
pub(crate) struct CacheList {
    #[pin]
    first: SpinLockBh<First>,
}

/// The first in the list; null: none.
struct First(*const Routes);

// SAFETY: Just an address; what uses it argues for itself.
unsafe impl Send for First {}

impl CacheList {
    /// Makes an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            first <- new_spinlock_bh!(First(ptr::null()), "CacheList::first"),
        })
    }

    /// Puts `routes`, which is in no list, in this one, that of `net`; false, and it is not, if
    /// that is going. Any context, under RCU.
    ///
    /// # Safety
    ///
    /// `routes` must stay until it is removed.
    unsafe fn insert(&self, routes: &Routes, net: &WeakNet) -> bool {
        let mut first = self.first.lock();
        // `empty` comes a grace period after it stops being alive, so it finds what is put in here.
        if !net.is_alive() {
            return false;
        }
        routes.next.set(first.0);
        routes.prev.set(ptr::null());
        routes.listed.set(true);
        // SAFETY: In the list, by the type invariants.
        if let Some(next) = unsafe { first.0.as_ref() } {
            next.prev.set(routes);
        }
        // INVARIANT: By the requirement.
        first.0 = routes;
        true
    }

    /// Takes `routes` out if it is in; afterwards the list does not use it any more. Any context.
    fn remove(&self, routes: &Routes) {
        Self::unlink(&mut self.first.lock(), routes);
    }

    /// Empties all caches of the list, and the list. Process context.
    ///
    /// # Safety
    ///
    /// The namespace must not be alive any more, and a grace period have passed since.
    pub(crate) unsafe fn empty(&self) {
        loop {
            {
                let mut first = self.first.lock();
                // SAFETY: In the list, by the type invariants; not removed while we hold the lock.
                let Some(routes) = (unsafe { first.0.as_ref() }) else {
                    return;
                };
                Self::unlink(&mut first, routes);
                // SAFETY: Initialised by the type invariants of `Routes`. There are no lookups, by
                // the requirement; and its owner does not touch it without having removed it, for
                // which the lock is needed that we hold.
                unsafe { bindings::dst_cache_reset_now(routes.as_ptr()) };
            }
            // There may be as many as there are peers.
            cpu::cond_resched();
        }
    }

    fn unlink(first: &mut First, routes: &Routes) {
        if !routes.listed.replace(false) {
            return;
        }
        let (prev, next) = (routes.prev.get(), routes.next.get());
        // SAFETY: Null, or in the list by the type invariants.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => first.0 = next,
        }
        // SAFETY: As above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.prev.set(prev);
        }
    }
}
