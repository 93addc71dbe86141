// SPDX-License-Identifier: GPL-2.0

//! Memory for many objects of one type, each of which takes as much as it needs.
//!
//! `kmalloc()` rounds up to the next of a few sizes, for objects of more than 512 bytes to a power of
//! two. Where there may be a million of them, that is worth a cache of their own: a [`SlabCache`] in a
//! static, made by the module's init. [`RcuArc::pin_init_in`] takes memory from it.
//!
//! The memory goes back by `kfree()`, which finds the cache by itself. So an object does not know
//! where its memory came from.
//!
//! # Lifetime
//!
//! Caches stay until the module's exit, or its failed init, is over; see [`module`](mod@crate::module).
//! Then no code of the module runs that could ask for memory, and RCU has destroyed all objects that
//! lost their last reference. What was leaked before stays: the kernel warns, and keeps the cache.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)
//!
//! Safety review: `Documentation/safety.md#slabrs`.

use crate::{
    atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    bindings,
    field::Invariant,
    rcu::{
        RcuArc,
        RcuObject, //
    },
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    alloc::AllocError,
    bindings::kmem_cache,
    prelude::*, //
};

/// What is the same for all types.
///
/// # Invariants
///
/// - `cache` is null, or a cache that [`destroy_all`] has not destroyed yet.
/// - `next` is only changed before this is in [`CREATED`], and by [`destroy_all`].
struct Slot {
    cache: Atomic<*mut kmem_cache>,
    next: Atomic<*mut Slot>,
}

/// The first of the slots that have a cache, all of which are in statics.
static CREATED: Atomic<*mut Slot> = Atomic::new(ptr::null_mut());

/// A cache of memory for `T`s in [`RcuArc`]s. In a static.
///
/// # Invariants
///
/// What is in `slot` is a cache of objects of the layout [`RcuArc::<T>::LAYOUT`](RcuArc::LAYOUT),
/// of at most [`MAX_SIZE`](Self::MAX_SIZE) bytes.
pub struct SlabCache<T: RcuObject> {
    name: &'static CStr,
    slot: Slot,
    _p: Invariant<T>,
}

impl<T: RcuObject> SlabCache<T> {
    /// More is not for a slab, whose layout C computes in 32 bits.
    pub const MAX_SIZE: usize = 8192;

    /// A cache that is still to be [created](Self::create); its name in `/proc/slabinfo`.
    ///
    /// Objects may have up to [`MAX_SIZE`](Self::MAX_SIZE) bytes: refused at compile time otherwise.
    pub const fn new(name: &'static CStr) -> Self {
        assert!(
            RcuArc::<T>::LAYOUT.size() <= Self::MAX_SIZE,
            "too large for a cache"
        );
        // INVARIANT: Null.
        Self {
            name,
            slot: Slot {
                cache: Atomic::new(ptr::null_mut()),
                next: Atomic::new(ptr::null_mut()),
            },
            _p: PhantomData,
        }
    }

    /// Makes it ready for use, if it is not yet. Sleeps.
    ///
    /// `ENOMEM` if memory is short.
    pub fn create(&'static self) -> Result {
        if !self.slot.cache.load(Relaxed).is_null() {
            return Ok(());
        }
        let layout = RcuArc::<T>::LAYOUT;
        // CAST: By the type invariants the size is small, and no alignment is larger.
        let (size, align) = (layout.size() as c_uint, layout.align() as c_uint);
        // SAFETY: The name is a string, and copied. The context is the caller's duty.
        let cache = unsafe { bindings::slab_create(self.name.as_char_ptr(), size, align) };
        // CAST: The same C type, declared twice.
        let cache = cache.cast::<kmem_cache>();
        if cache.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: A new cache of that layout.
        //
        // ORDERING: Full, thus release: who sees the cache sees it initialised.
        let filled = self.slot.cache.cmpxchg(ptr::null_mut(), cache, Full);
        if filled.is_err() {
            // SAFETY: It was made above, and nobody else knows it.
            unsafe { kernel::bindings::kmem_cache_destroy(cache) };
            return Ok(());
        }
        // Only whoever put the cache in gets here: the slot is not in the list.
        let slot = ptr::from_ref(&self.slot).cast_mut();
        let mut first = CREATED.load(Relaxed);
        loop {
            self.slot.next.store(first, Relaxed);
            // ORDERING: Full, thus release: who finds the slot finds what comes next.
            match CREATED.cmpxchg(first, slot, Full) {
                Ok(_) => return Ok(()),
                Err(seen) => first = seen,
            }
        }
    }

    /// Makes an `I`, which is what an [`RcuArc<T>`](RcuArc) points to, in memory of the cache. May
    /// sleep. An error also before [`create`](Self::create).
    pub(crate) fn pin_init<I>(&'static self, init: impl PinInit<I, Error>) -> Result<Pin<KBox<I>>> {
        const {
            let layout = RcuArc::<T>::LAYOUT;
            assert!(size_of::<I>() == layout.size() && align_of::<I>() == layout.align());
        }
        let memory = self.alloc()?.cast::<MaybeUninit<I>>();
        // SAFETY: Memory of this layout, which is ours. The box, which nobody can have grow, frees
        // it as `Kmalloc` does: by `kfree()`, which takes back what is from a cache as well.
        let memory = unsafe { KBox::from_raw(memory.as_ptr()) };
        memory.write_pin_init(init)
    }

    /// Memory for an object of [`RcuArc::<T>::LAYOUT`](RcuArc::LAYOUT), uninitialised; `kfree()`
    /// frees it.
    fn alloc(&'static self) -> Result<NonNull<u8>, AllocError> {
        // ORDERING: Acquire: pairs with the release in `create`.
        let cache = self.slot.cache.load(Acquire);
        if cache.is_null() {
            return Err(AllocError);
        }
        // SAFETY: By the type invariants, a cache; it is not destroyed while code of the module runs
        // that may call this.
        let memory = unsafe { bindings::slab_alloc(cache.cast(), kernel::bindings::GFP_KERNEL) };
        NonNull::new(memory.cast()).ok_or(AllocError)
    }
}

/// Destroys all caches. Sleeps.
///
/// # Safety
///
/// From now on nobody takes memory from a cache, or creates one; and nobody is about to.
pub(crate) unsafe fn destroy_all() {
    // ORDERING: Full, thus acquire: pairs with the release in `create`.
    let mut at = CREATED.xchg(ptr::null_mut(), Full);
    // SAFETY: Slots in the list are in statics.
    while let Some(slot) = unsafe { at.as_ref() } {
        let cache = slot.cache.xchg(ptr::null_mut(), Full);
        at = slot.next.load(Relaxed);
        // SAFETY: By the type invariants, a cache that was not destroyed yet, and by the requirement
        // nobody uses it. If there are objects left, C keeps it.
        unsafe { kernel::bindings::kmem_cache_destroy(cache) };
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_slab)]
mod tests {
    use super::*;
    use crate::rcu;
    use kernel::sync::Arc;

    /// Larger than 512 bytes, and no size of `kmalloc()`'s.
    struct Object {
        destroyed: Arc<Atomic<usize>>,
        filler: [u8; 700],
    }

    impl RcuObject for Object {}

    impl Drop for Object {
        fn drop(&mut self) {
            self.destroyed.fetch_add(1, Relaxed);
        }
    }

    static OBJECTS: SlabCache<Object> = SlabCache::new(c"wgk_slab_test");
    static NEVER: SlabCache<Object> = SlabCache::new(c"wgk_slab_never");

    #[test]
    fn objects_come_and_go() -> Result {
        OBJECTS.create()?;
        OBJECTS.create()?;
        let destroyed = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let mut all = KVec::new();
        for n in 0..200 {
            let object = Object {
                destroyed: destroyed.clone(),
                filler: [n as u8; 700],
            };
            all.push(RcuArc::pin_init_in(&OBJECTS, object)?, GFP_KERNEL)?;
        }
        for (n, object) in all.iter().enumerate() {
            assert!(object.filler.iter().all(|b| *b == n as u8));
        }
        drop(all);
        rcu::barrier();
        assert_eq!(destroyed.load(Relaxed), 200);
        Ok(())
    }

    #[test]
    fn nothing_comes_from_one_that_was_not_created() {
        assert!(NEVER.alloc().is_err());
    }
}
