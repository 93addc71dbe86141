// SPDX-License-Identifier: GPL-2.0

//! Reference-counted objects that RCU readers may look at without a reference.
//!
//! - [`RcuArc`] owns a reference. When the last one goes, the object is told
//!   ([`RcuObject::on_last_ref`]), and is destroyed and freed after a grace period.
//! - [`RcuRef`] is a borrowed look at an object, bounded by the [`Guard`] of a read-side critical
//!   section. The object's count may already be zero: [`RcuRef::try_get`] takes a reference unless
//!   it is.
//! - [`RcuCell`] is a pointer that can be read in a read-side critical section and replaced at any
//!   time; it owns a reference to its object.
//! - [`RcuSyncCell`] publishes a plain box and waits for the readers itself when it is replaced,
//!   so that the old value is dropped in the caller's, sleepable, context.
//!
//! # Contexts
//!
//! Taking and dropping references, [`RcuCell`] and [`GracePeriod`] work in any context but NMI. An
//! object's destructor runs in an RCU callback, thus in softirq context or with bottom halves
//! disabled: it must not sleep. [`synchronize_net`], [`barrier`] and [`RcuSyncCell::replace`]
//! sleep: not in atomic context, and, as for `synchronize_rcu()` in C, not while the caller itself
//! holds a [`Guard`].
//!
//! # Unloading
//!
//! Callbacks run code of this module. [`module`](mod@crate::module) sees to it that it stays until
//! they are over.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)
//!
//! Safety review: `Documentation/safety.md#rcurs`.

use crate::{
    atomic::{
        acquire_after_ctrl_dep,
        HotAtomic,
        Relaxed,
        Release, //
    },
    bindings,
    field::Invariant,
    rcu_barrier,
    slab::SlabCache, //
};
use core::{
    alloc::Layout,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings::{
        refcount_saturation_type_REFCOUNT_ADD_OVF as REFCOUNT_ADD_OVF,
        refcount_saturation_type_REFCOUNT_ADD_UAF as REFCOUNT_ADD_UAF,
        refcount_saturation_type_REFCOUNT_SUB_UAF as REFCOUNT_SUB_UAF, //
    },
    prelude::*,
    types::Opaque,
};

pub(crate) use crate::rcu_barrier::{
    finish,
    pending,
    settled, //
};
pub use crate::{
    rcu_barrier::{
        barrier,
        MAX_CHAIN, //
    },
    rcu_cell::{
        RcuCell,
        RcuSyncCell, //
    },
};
pub use kernel::sync::rcu::{
    read_lock,
    Guard, //
};

/// Objects that can live in an [`RcuArc`].
///
/// The object may be used from any context and CPU, hence `Send + Sync`, and outlives every borrow
/// that could be tracked, hence `'static`. Its destructor runs in an RCU callback and must not
/// sleep.
pub trait RcuObject: Send + Sync + 'static {
    /// Called once, when the reference count has dropped to zero and before the grace period.
    ///
    /// Runs in whatever context dropped the last reference: softirq is possible, and so are locks
    /// of the dropper. RCU readers may still look at the object, but nobody can get a reference
    /// any more.
    #[inline]
    fn on_last_ref(&self) {}
}

/// A reference count with the semantics of `refcount_t`: it saturates instead of wrapping around,
/// so that a leak of references never becomes a use after free.
///
/// Unlike `kernel::sync::Refcount`, whose every operation is a function call with a kernel built
/// by gcc, this one is inlined; references are taken and dropped per packet.
#[repr(transparent)]
struct Count(HotAtomic<i32>);

impl Count {
    const fn one() -> Self {
        Self(HotAtomic::new(1))
    }

    #[cold]
    #[inline(never)]
    fn saturate(&self, why: kernel::bindings::refcount_saturation_type) {
        // SAFETY: `refcount_t` is one `int`, as is `self`, and it is accessed atomically.
        unsafe { kernel::bindings::refcount_warn_saturate(self.0.as_ptr().cast(), why) }
    }

    /// `refcount_inc()`.
    #[inline]
    fn inc(&self) {
        // ORDERING: Relaxed, as the caller has a reference already.
        let old = self.0.fetch_add(1, Relaxed);
        if old <= 0 || old == i32::MAX {
            self.saturate(if old == 0 {
                REFCOUNT_ADD_UAF
            } else {
                REFCOUNT_ADD_OVF
            });
        }
    }

    /// `refcount_inc_not_zero()`.
    #[inline]
    fn inc_not_zero(&self) -> bool {
        let mut old = self.0.load(Relaxed);
        loop {
            if old == 0 {
                return false;
            }
            // ORDERING: Relaxed suffices: the pointer by which we got here was loaded with acquire
            // semantics, so the object's initialisation is visible.
            match self.0.cmpxchg(old, old.wrapping_add(1), Relaxed) {
                Ok(_) => break,
                Err(seen) => old = seen,
            }
        }
        if old < 0 || old == i32::MAX {
            self.saturate(REFCOUNT_ADD_OVF);
        }
        true
    }

    /// `refcount_dec_and_test()`.
    #[inline]
    fn dec_and_test(&self) -> bool {
        // ORDERING: Release, so that all uses through this reference happen before the object is
        // destroyed by whoever drops the last one.
        let old = self.0.fetch_sub(1, Release);
        if old == 1 {
            // ORDERING: Pairs with the releases of all other references.
            acquire_after_ctrl_dep();
            return true;
        }
        if old <= 0 {
            self.saturate(REFCOUNT_SUB_UAF);
        }
        false
    }
}

/// What an [`RcuArc`] points to.
///
/// `repr(C)`: the offset of `value` is the same in every crate and only depends on the alignment
/// of `T`. All pointers that leave this file as raw pointers point to `value`, and are derived
/// from a pointer to the whole allocation.
#[pin_data]
#[repr(C)]
struct Inner<T> {
    rcu: Opaque<kernel::bindings::callback_head>,
    refcount: Count,
    #[pin]
    value: T,
}

impl<T> Inner<T> {
    /// # Safety
    ///
    /// `value` must point to the `value` of an `Inner<T>`, with provenance for all of it.
    #[inline(always)]
    unsafe fn from_value(value: NonNull<T>) -> NonNull<Self> {
        // SAFETY: By the safety requirements there is an `Inner<T>` around the value.
        unsafe {
            value
                .byte_sub(core::mem::offset_of!(Inner<T>, value))
                .cast()
        }
    }

    /// # Safety
    ///
    /// `this` must point to an allocated `Inner<T>`.
    #[inline(always)]
    unsafe fn to_value(this: NonNull<Self>) -> NonNull<T> {
        // SAFETY: By the safety requirements the field is inside the allocation, so the pointer is
        // not null either.
        unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).value) }
    }
}

/// A reference to a pinned object that is freed by RCU.
///
/// # Invariants
///
/// `ptr` is the result of `KBox::into_raw` of a pinned, initialised `Inner<T>`, and this object
/// owns one of the references that its count counts. The `Inner<T>` is freed a grace period after
/// the count has become zero, and not before.
pub struct RcuArc<T: RcuObject> {
    ptr: NonNull<Inner<T>>,
    _p: PhantomData<(Inner<T>, Invariant<T>)>,
}

// SAFETY: An `RcuArc<T>` gives shared access to a `T`, for which `T: Sync` (a supertrait of
// `RcuObject`) is needed, and may be the one whose drop leads to the destruction of the `T` on
// another CPU, for which `T: Send` is.
unsafe impl<T: RcuObject> Send for RcuArc<T> {}
// SAFETY: As above; `&RcuArc<T>` can be cloned.
unsafe impl<T: RcuObject> Sync for RcuArc<T> {}

// The object is pinned, a reference to it need not be.
impl<T: RcuObject> Unpin for RcuArc<T> {}

impl<T: RcuObject> RcuArc<T> {
    /// Allocates an object and initialises it in place.
    pub fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Self>
    where
        Error: From<E>,
    {
        let inner = KBox::try_pin_init(
            try_pin_init!(Inner {
                rcu: Opaque::uninit(),
                refcount: Count::one(),
                value <- init,
            }? Error),
            flags,
        )?;
        Ok(Self::from_pinned(inner))
    }

    /// The memory of an object: what a [`SlabCache`] gives.
    pub(crate) const LAYOUT: Layout = Layout::new::<Inner<T>>();

    /// As [`pin_init`](Self::pin_init), with memory of a cache, which was
    /// [created](SlabCache::create). May sleep.
    pub fn pin_init_in<E>(cache: &'static SlabCache<T>, init: impl PinInit<T, E>) -> Result<Self>
    where
        Error: From<E>,
    {
        let inner = cache.pin_init(try_pin_init!(Inner {
            rcu: Opaque::uninit(),
            refcount: Count::one(),
            value <- init,
        }? Error))?;
        Ok(Self::from_pinned(inner))
    }

    /// Allocates an object and moves `value` into it.
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        let inner = KBox::new(
            Inner {
                rcu: Opaque::uninit(),
                refcount: Count::one(),
                value,
            },
            flags,
        )?;
        Ok(Self::from_box(inner))
    }

    #[inline]
    fn from_pinned(inner: Pin<KBox<Inner<T>>>) -> Self {
        // SAFETY: The box is not moved out of; what the pointer points to stays pinned.
        Self::from_box(unsafe { Pin::into_inner_unchecked(inner) })
    }

    #[inline]
    fn from_box(inner: KBox<Inner<T>>) -> Self {
        // INVARIANT: The count is one, and that reference is ours. From here on the object is only
        // reachable through shared references until it is dropped in place: it is pinned.
        Self {
            // SAFETY: A box is never null.
            ptr: unsafe { NonNull::new_unchecked(KBox::into_raw(inner)) },
            _p: PhantomData,
        }
    }

    /// Returns a borrowed view, as a reader under RCU would have it.
    #[inline]
    pub fn as_rcu_ref(this: &Self) -> RcuRef<'_, T> {
        // INVARIANT: The object lives for as long as the borrowed reference does.
        RcuRef {
            ptr: this.ptr,
            _p: PhantomData,
        }
    }

    /// Returns a pointer to the object, without affecting the reference count.
    #[inline]
    pub(crate) fn as_raw(this: &Self) -> NonNull<T> {
        // SAFETY: By the type invariants, `ptr` points to an allocated `Inner<T>`.
        unsafe { Inner::to_value(this.ptr) }
    }

    /// Turns a reference into a pointer to the object, which then owns it.
    #[inline]
    pub(crate) fn into_raw(this: Self) -> NonNull<T> {
        Self::as_raw(&ManuallyDrop::new(this))
    }

    /// Turns a pointer back into the reference that it owns.
    ///
    /// # Safety
    ///
    /// `ptr` must come from [`RcuArc::into_raw`], and be turned back only once for each such call.
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: NonNull<T>) -> Self {
        // INVARIANT: By the safety requirements, the pointer owns a reference.
        Self {
            // SAFETY: By the safety requirements, it points to the value of an `Inner<T>`.
            ptr: unsafe { Inner::from_value(ptr) },
            _p: PhantomData,
        }
    }

    /// Takes a reference unless the count is zero.
    ///
    /// # Safety
    ///
    /// `ptr` must come from [`RcuArc::into_raw`] or [`RcuArc::as_raw`], or be computed from a field
    /// of the object to the same effect, and the object must not have been freed for the duration
    /// of the call: the caller is in a read-side critical section that began before the object
    /// was unpublished, or the destructor of the object cannot end before this call does. The
    /// object itself is not accessed, so it may be in its destructor.
    #[inline]
    pub(crate) unsafe fn try_get_raw(ptr: NonNull<T>) -> Option<Self> {
        // SAFETY: By the safety requirements, this is the value of an allocated `Inner<T>`.
        let inner = unsafe { Inner::from_value(ptr) };
        // SAFETY: As above; only the count is borrowed.
        let refcount = unsafe { &(*inner.as_ptr()).refcount };
        if !refcount.inc_not_zero() {
            return None;
        }
        // INVARIANT: The new object owns the reference just counted.
        Some(Self {
            ptr: inner,
            _p: PhantomData,
        })
    }
}

impl<T: RcuObject> Deref for RcuArc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants there is a reference, so the object is alive; it is only
        // accessed mutably after the last one is gone.
        unsafe { &(*self.ptr.as_ptr()).value }
    }
}

impl<T: RcuObject> Clone for RcuArc<T> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: By the type invariants the object is alive.
        unsafe { &(*self.ptr.as_ptr()).refcount }.inc();
        // INVARIANT: The new object owns the reference just counted.
        Self {
            ptr: self.ptr,
            _p: PhantomData,
        }
    }
}

impl<T: RcuObject> Drop for RcuArc<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the object is alive.
        if unsafe { &(*self.ptr.as_ptr()).refcount }.dec_and_test() {
            // SAFETY: The count is zero now, and this was the reference that made it so.
            unsafe { release(self.ptr) }
        }
    }
}

/// Frees an object without references after a grace period.
///
/// # Safety
///
/// `inner` must come from an [`RcuArc`] whose count has just become zero by the caller's doing.
#[cold]
#[inline(never)]
unsafe fn release<T: RcuObject>(inner: NonNull<Inner<T>>) {
    // SAFETY: Nobody frees the object but the callback that is queued below.
    unsafe { &(*inner.as_ptr()).value }.on_last_ref();
    rcu_barrier::dropped();
    // SAFETY: The head is part of the object, which is not touched by anyone else and stays
    // allocated until the callback; it is used at most once, as a count of zero is final.
    unsafe {
        kernel::bindings::call_rcu(
            Opaque::cast_into(&raw const (*inner.as_ptr()).rcu),
            Some(free::<T>),
        )
    }
}

/// The RCU callback.
///
/// # Safety
///
/// Only called by RCU, a grace period after [`release`], with the `rcu` field of the object.
unsafe extern "C" fn free<T: RcuObject>(head: *mut kernel::bindings::callback_head) {
    // SAFETY: `rcu` is inside an `Inner<T>`, by the safety requirements.
    let inner = unsafe { head.byte_sub(core::mem::offset_of!(Inner<T>, rcu)).cast() };
    // SAFETY: The object came from a `KBox` by the type invariants of `RcuArc`. There are no
    // references, none can be taken, and readers that saw the object have left their critical
    // sections. It is dropped in place, so the pinning guarantee holds.
    rcu_barrier::destroying(|| drop(unsafe { KBox::<Inner<T>>::from_raw(inner) }));
}

/// A borrowed look at an object, without a reference.
///
/// # Invariants
///
/// `ptr` points to a pinned, initialised `Inner<T>` that is neither destroyed nor freed during
/// `'g`. Its reference count may be zero.
pub struct RcuRef<'g, T: RcuObject> {
    ptr: NonNull<Inner<T>>,
    _p: PhantomData<(&'g T, Invariant<T>)>,
}

impl<T: RcuObject> Clone for RcuRef<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: RcuObject> Copy for RcuRef<'_, T> {}

impl<'g, T: RcuObject> RcuRef<'g, T> {
    /// # Safety
    ///
    /// `value` must point to an object inside an [`RcuArc`], with provenance for all of it, that
    /// is not freed during `'g`.
    #[inline]
    pub(crate) unsafe fn from_raw(value: NonNull<T>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            // SAFETY: By the safety requirements.
            ptr: unsafe { Inner::from_value(value) },
            _p: PhantomData,
        }
    }

    /// Takes a reference, unless the last one is gone and the object is only waiting to be freed.
    #[inline]
    pub fn try_get(self) -> Option<RcuArc<T>> {
        // SAFETY: By the type invariants the object is not freed during this call.
        unsafe { RcuArc::try_get_raw(Inner::to_value(self.ptr)) }
    }

    /// Returns the object for as long as the guard lives; longer than `&*self` would.
    #[inline]
    pub fn get(self) -> &'g T {
        // SAFETY: By the type invariants the object is alive during `'g`.
        unsafe { &(*self.ptr.as_ptr()).value }
    }

    /// Whether both look at the same object.
    #[inline]
    pub fn ptr_eq(this: Self, other: Self) -> bool {
        this.ptr == other.ptr
    }
}

impl<T: RcuObject> Deref for RcuRef<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.get()
    }
}

/// A moment, and whether all readers of that moment have left.
///
/// Wraps a cookie of `start_poll_synchronize_rcu()`. Any context.
#[derive(Clone, Copy)]
pub struct GracePeriod(c_ulong);

impl GracePeriod {
    /// Remembers this moment, and sees to it that a grace period begins.
    #[inline]
    pub fn start() -> Self {
        // SAFETY: An FFI call without requirements.
        Self(unsafe { kernel::bindings::start_poll_synchronize_rcu() })
    }

    /// Whether every read-side critical section that had begun at [`start`](Self::start) has ended.
    #[inline]
    pub fn elapsed(&self) -> bool {
        // SAFETY: An FFI call without requirements; the cookie comes from the function it must.
        unsafe { kernel::bindings::poll_state_synchronize_rcu(self.0) }
    }
}

/// Whether the caller may wait for a grace period, as far as the kernel can tell.
///
/// With `CONFIG_PREEMPT_RCU` and `CONFIG_PREEMPT_COUNT`, as all preemptible kernels have them, that
/// is for certain: false in any read-side critical section and any atomic context. Without them, a
/// critical section of a task leaves no trace, and only softirqs, hardirqs and disabled interrupts
/// or bottom halves are noticed.
#[inline]
pub(crate) fn may_wait() -> bool {
    // SAFETY: An FFI call without requirements.
    unsafe { bindings::may_wait() }
}

/// Waits for a grace period; expedited while the caller holds the rtnl lock.
///
/// Sleeps; not while the caller holds a [`Guard`].
#[inline]
pub fn synchronize_net() {
    // SAFETY: An FFI call without requirements other than the context.
    unsafe { bindings::synchronize_net() }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_rcu)]
mod tests {
    use super::*;
    use crate::atomic::Atomic;
    use kernel::sync::Arc;

    /// Counts what happens to objects.
    struct Counts {
        last: Atomic<usize>,
        dropped: Atomic<usize>,
    }

    struct Object {
        counts: Arc<Counts>,
        next: RcuCell<Object>,
    }

    impl RcuObject for Object {
        fn on_last_ref(&self) {
            self.counts.last.fetch_add(1, Relaxed);
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    fn counts() -> Result<Arc<Counts>> {
        Ok(Arc::new(
            Counts {
                last: Atomic::new(0),
                dropped: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    fn object(counts: &Arc<Counts>, next: Option<RcuArc<Object>>) -> Result<RcuArc<Object>> {
        Ok(RcuArc::new(
            Object {
                counts: counts.clone(),
                next: RcuCell::new(next),
            },
            GFP_KERNEL,
        )?)
    }

    #[test]
    fn readers_outlast_the_last_reference() -> Result {
        let c = counts()?;
        let cell = RcuCell::new(Some(object(&c, None)?));
        {
            let guard = read_lock();
            let seen = cell.load(&guard).ok_or(EINVAL)?;
            let arc = seen.try_get().ok_or(EINVAL)?;
            assert!(cell.points_to(&arc));
            drop(cell.swap(None));
            assert_eq!(c.last.load(Relaxed), 0);
            drop(arc);
            assert_eq!(c.last.load(Relaxed), 1);
            assert!(seen.try_get().is_none());
            assert!(seen.next.is_null());
            assert_eq!(c.dropped.load(Relaxed), 0);
        }
        barrier();
        assert_eq!(c.dropped.load(Relaxed), 1);
        Ok(())
    }

    /// The first one stays, the other comes back whole.
    #[test]
    fn filled_once() -> Result {
        let c = counts()?;
        let cell = RcuCell::empty();
        assert!(cell.fill(object(&c, None)?).is_ok());
        assert_eq!(c.last.load(Relaxed), 0);
        let late = cell.fill(object(&c, None)?).err().ok_or(EINVAL)?;
        assert!(!cell.points_to(&late));
        drop(late);
        assert_eq!(c.last.load(Relaxed), 1);
        drop(cell);
        assert_eq!(c.last.load(Relaxed), 2);
        barrier();
        assert_eq!(c.dropped.load(Relaxed), 2);
        Ok(())
    }

    #[test]
    fn sync_cell_and_grace_period() -> Result {
        let cell = RcuSyncCell::new(Some(KBox::new(5, GFP_KERNEL)?));
        assert_eq!(cell.load(&read_lock()), Some(&5));
        let period = GracePeriod::start();
        cell.replace(Some(KBox::new(6, GFP_KERNEL)?));
        assert_eq!(cell.load(&read_lock()), Some(&6));
        synchronize_net();
        assert!(period.elapsed());
        Ok(())
    }
}
