// SPDX-License-Identifier: GPL-2.0

//! Pointers that readers follow under RCU; see [`rcu`](crate::rcu), which has them all.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)
//!
//! Safety review: `Documentation/safety.md#rcu_cellrs`.

use crate::{
    atomic::{
        Acquire,
        Full,
        HotAtomic,
        Relaxed, //
    },
    rcu::{
        may_wait,
        synchronize_net,
        Guard,
        RcuArc,
        RcuObject,
        RcuRef, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::prelude::*;

/// A pointer to an object that readers follow under RCU; it owns a reference to the object.
///
/// # Invariants
///
/// `ptr` is null or comes from [`RcuArc::into_raw`], and the cell owns that reference.
pub struct RcuCell<T: RcuObject> {
    ptr: HotAtomic<*mut T>,
    _p: PhantomData<RcuArc<T>>,
}

impl<T: RcuObject> RcuCell<T> {
    /// An empty cell.
    #[inline]
    pub const fn empty() -> Self {
        // INVARIANT: Null.
        Self {
            ptr: HotAtomic::new(ptr::null_mut()),
            _p: PhantomData,
        }
    }

    /// A cell with this content.
    #[inline]
    pub fn new(value: Option<RcuArc<T>>) -> Self {
        // INVARIANT: The pointer owns the reference that `value` owned.
        Self {
            ptr: HotAtomic::new(Self::to_ptr(value)),
            _p: PhantomData,
        }
    }

    #[inline]
    fn to_ptr(value: Option<RcuArc<T>>) -> *mut T {
        value.map_or(ptr::null_mut(), |arc| RcuArc::into_raw(arc).as_ptr())
    }

    /// Looks at the content.
    #[inline]
    pub fn load<'g>(&self, _guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        // ORDERING: Acquire, which includes what `rcu_dereference()` guarantees: the object is
        // seen as it was when it was published.
        let ptr = NonNull::new(self.ptr.load(Acquire))?;
        // SAFETY: The cell's own reference kept the count above zero when the pointer was loaded,
        // which was inside the read-side critical section; so the grace period after which the
        // object is freed ends after it, and thus after `'g`.
        Some(unsafe { RcuRef::from_raw(ptr) })
    }

    /// Replaces the content and returns the old one, which readers may still be looking at; the
    /// reference can be dropped right away.
    #[inline]
    pub fn swap(&self, value: Option<RcuArc<T>>) -> Option<RcuArc<T>> {
        // ORDERING: Release publishes the object's initialisation; acquire as in `load`.
        let old = self.ptr.xchg(Self::to_ptr(value), Full);
        // INVARIANT: The cell owns the new pointer's reference.
        //
        // SAFETY: By the type invariants, the old pointer comes from `into_raw`, and the swap has
        // made its reference ours.
        NonNull::new(old).map(|ptr| unsafe { RcuArc::from_raw(ptr) })
    }

    /// Puts `value` into the cell if that is empty; else hands it back: somebody else was there first.
    #[inline]
    pub fn fill(&self, value: RcuArc<T>) -> Result<(), RcuArc<T>> {
        let new = RcuArc::into_raw(value);
        // ORDERING: Release publishes the object's initialisation.
        // INVARIANT: If it takes place, the cell owns the new pointer's reference.
        match self.ptr.cmpxchg(ptr::null_mut(), new.as_ptr(), Full) {
            Ok(_) => Ok(()),
            // SAFETY: From `into_raw` just now, and nobody else has seen it.
            Err(_) => Err(unsafe { RcuArc::from_raw(new) }),
        }
    }

    /// Whether the cell is empty. Only a hint if others change it.
    #[inline]
    pub fn is_null(&self) -> bool {
        self.ptr.load(Relaxed).is_null()
    }

    /// Whether the cell points to `object`. Only a hint if others change it.
    #[inline]
    pub fn points_to(&self, object: &T) -> bool {
        ptr::eq(self.ptr.load(Relaxed), object)
    }
}

impl<T: RcuObject> Drop for RcuCell<T> {
    #[inline]
    fn drop(&mut self) {
        drop(self.swap(None));
    }
}

/// A box that readers follow under RCU, and whose replacement waits for them.
///
/// For values whose destructor may sleep.
///
/// # Invariants
///
/// `ptr` is null or the result of a `KBox::into_raw` that the cell owns.
pub struct RcuSyncCell<T: Send + Sync + 'static> {
    ptr: HotAtomic<*mut T>,
    _p: PhantomData<KBox<T>>,
}

impl<T: Send + Sync + 'static> RcuSyncCell<T> {
    /// A cell with this content.
    #[inline]
    pub fn new(value: Option<KBox<T>>) -> Self {
        // INVARIANT: The pointer comes from `KBox::into_raw`.
        Self {
            ptr: HotAtomic::new(Self::to_ptr(value)),
            _p: PhantomData,
        }
    }

    #[inline]
    fn to_ptr(value: Option<KBox<T>>) -> *mut T {
        value.map_or(ptr::null_mut(), KBox::into_raw)
    }

    /// Looks at the content.
    #[inline]
    pub fn load<'g>(&self, _guard: &'g Guard) -> Option<&'g T> {
        // ORDERING: As in `RcuCell::load`.
        let ptr = self.ptr.load(Acquire);
        // SAFETY: Whoever takes the box out of the cell waits for a grace period before it is
        // dropped. That grace period cannot end before the read-side critical section in which the
        // pointer was loaded does. While published, the value is only borrowed shared.
        unsafe { ptr.as_ref() }
    }

    /// Replaces the content, waits until no reader can see the old one, and drops that.
    ///
    /// May be called by several at once: each takes out, waits for and drops what it replaced.
    /// Sleeps, unless the cell was empty; process context only, without a [`Guard`] held. Called
    /// otherwise, it warns and leaks the old value, which the caller itself may be looking at, as
    /// far as the kernel can tell: see [`may_wait`].
    pub fn replace(&self, value: Option<KBox<T>>) {
        // ORDERING: As in `RcuCell::swap`.
        let old = self.ptr.xchg(Self::to_ptr(value), Full);
        // INVARIANT: The cell owns the new box; the old one is ours alone.
        if !old.is_null() {
            if !may_wait() {
                pr_err!("RCU-protected value replaced where nobody can wait: leaked\n");
                return;
            }
            synchronize_net();
            // SAFETY: By the type invariants this comes from `KBox::into_raw`; the swap made it
            // unreachable, and a grace period has passed since.
            drop(unsafe { KBox::from_raw(old) });
        }
    }
}

impl<T: Send + Sync + 'static> Drop for RcuSyncCell<T> {
    /// Sleeps, unless the cell is empty: a value obtained from [`RcuSyncCell::load`] is bounded by
    /// the guard, not by the cell.
    fn drop(&mut self) {
        self.replace(None);
    }
}
