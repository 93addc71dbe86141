// SPDX-License-Identifier: GPL-2.0

//! Work queues of one's own, and work items in [`RcuArc`] objects.
//!
//! The work items are those of the `kernel` crate: fields of type
//! [`Work`](kernel::workqueue::Work), declared by `impl_has_work!`, with
//! `type Pointer = RcuArc<Self>` in the [`WorkItem`] implementation. A work item that is queued
//! owns a reference to its object, which it hands to `run`.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! Safety review: `Documentation/safety.md#workqueuers`.

use crate::{
    atomic::{
        Atomic,
        Relaxed, //
    },
    bindings,
    module::{
        ForeignWorkGuest,
        WorkQueueGuest, //
    },
    rcu::{
        RcuArc,
        RcuObject, //
    },
};
use core::{ops::BitOr, ptr::NonNull};
use kernel::{
    bindings::work_struct,
    fmt,
    prelude::*,
    str::CString,
    workqueue::{
        HasWork,
        RawWorkItem,
        Work,
        WorkItem,
        WorkItemPointer, //
    },
};

pub use crate::percpu::{
    PerCpuWork,
    PerCpuWorker, //
};

/// How a [`WorkQueue`] works; combined with `|`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WqFlags(u32);

impl WqFlags {
    /// Work runs on the CPU it is queued on. The default, unless [`UNBOUND`](Self::UNBOUND).
    pub const PERCPU: Self = Self(kernel::bindings::wq_flags_WQ_PERCPU);
    /// Work runs where there is room.
    pub const UNBOUND: Self = Self(kernel::bindings::wq_flags_WQ_UNBOUND);
    /// Work does not run while the system is suspended.
    pub const FREEZABLE: Self = Self(kernel::bindings::wq_flags_WQ_FREEZABLE);
    /// Work that may be needed to free memory; there is always a worker for it.
    pub const MEM_RECLAIM: Self = Self(kernel::bindings::wq_flags_WQ_MEM_RECLAIM);

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for WqFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A work queue.
///
/// Dropping it waits until all that was queued has run, so it sleeps, and must not happen in a work
/// item of the queue itself.
///
/// # Invariants
///
/// `wq` is a work queue that is destroyed by nobody else.
pub struct WorkQueue {
    wq: NonNull<kernel::bindings::workqueue_struct>,
    _guest: WorkQueueGuest,
}

// SAFETY: Work queues may be used and destroyed by any task.
unsafe impl Send for WorkQueue {}
// SAFETY: As above.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    /// Makes a work queue of the name `fmt!("wg-crypt-{}", ...)`, whose items run at most
    /// `max_active` at a time (for a CPU); 0 stands for the default. Process context.
    pub fn alloc(name: fmt::Arguments<'_>, flags: WqFlags, max_active: u32) -> Result<Self> {
        let flags = match (flags.has(WqFlags::UNBOUND), flags.has(WqFlags::PERCPU)) {
            (true, true) => return Err(EINVAL),
            (false, false) => flags | WqFlags::PERCPU,
            _ => flags,
        };
        let name = CString::try_from_fmt(name)?;
        let max_active = max_active.min(kernel::bindings::wq_consts_WQ_MAX_ACTIVE);
        // SAFETY: The name is copied. The flags are some of those above.
        let wq =
            unsafe { bindings::alloc_workqueue(name.as_char_ptr(), flags.0, max_active as c_int) };
        // INVARIANT: Just made.
        Ok(Self {
            wq: NonNull::new(wq.cast()).ok_or(ENOMEM)?,
            _guest: WorkQueueGuest::new(),
        })
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut kernel::bindings::workqueue_struct {
        self.wq.as_ptr()
    }

    /// Queues the work item of an object; returns whether it was not queued before, here or
    /// elsewhere. Any context.
    #[inline]
    pub fn enqueue<T, const ID: u64>(&self, work: RcuArc<T>) -> bool
    where
        T: WorkItem<ID, Pointer = RcuArc<T>> + HasWork<T, ID> + RcuObject,
    {
        self.enqueue_on(u32::MAX, work)
    }

    /// Queues a work item on a CPU, or on any if there is no such CPU. If that goes offline, the
    /// work runs elsewhere. Any context.
    #[inline]
    pub fn enqueue_on<T, const ID: u64>(&self, cpu: u32, work: RcuArc<T>) -> bool
    where
        T: WorkItem<ID, Pointer = RcuArc<T>> + HasWork<T, ID> + RcuObject,
    {
        let wq = self.as_ptr();
        // SAFETY: The closure returns false only if the item is queued already. The queue is not
        // being destroyed, as that takes it mutably.
        unsafe {
            hand_over(work, |work| {
                bindings::queue_work_near(cpu, wq.cast(), work.cast())
            })
        }
    }

    /// Waits until all that was queued before this call has run. Sleeps.
    pub fn flush(&self) {
        // SAFETY: By the type invariants, this is a work queue.
        unsafe { kernel::bindings::__flush_workqueue(self.as_ptr()) }
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariants nobody else does; nobody can queue work any more but the
        // work that is drained here.
        unsafe { kernel::bindings::destroy_workqueue(self.as_ptr()) }
    }
}

// SAFETY: `hand_over` takes the `work_struct` from the `Work<T, ID>` field of the object.
// `Work::new`, the only way to make one, initialises it with `T::Pointer::run`, which is the `run`
// of this implementation, as `T::Pointer` is `RcuArc<T>`.
unsafe impl<T, const ID: u64> WorkItemPointer<ID> for RcuArc<T>
where
    T: WorkItem<ID, Pointer = Self> + HasWork<T, ID> + RcuObject,
{
    unsafe extern "C" fn run(work: *mut work_struct) {
        // SAFETY: `hand_over` only queues the `Work<T, ID>` of a `T`.
        let object = unsafe { T::work_container_of(work.cast::<Work<T, ID>>()) };
        // SAFETY: The object is not null; the pointer owns the reference that `hand_over` left to
        // the queue, which has given it back by this call.
        T::run(unsafe { RcuArc::from_raw(NonNull::new_unchecked(object)) })
    }
}

// SAFETY: The `work_struct` is part of an object to which the pointer returned by `into_raw` owns a
// reference. That is given up only if the closure returns false, or by `run`. So the `work_struct`
// is valid during the closure, and if that returns true until the work runs.
unsafe impl<T, const ID: u64> RawWorkItem<ID> for RcuArc<T>
where
    T: WorkItem<ID, Pointer = Self> + HasWork<T, ID> + RcuObject,
{
    /// Whether the item was not queued before. If it was, the reference is dropped.
    type EnqueueOutput = bool;

    /// Called by queues of others, such as `kernel::workqueue::system()`. Of these nobody knows when
    /// they have done with our code, so it stays.
    unsafe fn __enqueue<F>(self, queue_work_on: F) -> bool
    where
        F: FnOnce(*mut work_struct) -> bool,
    {
        static COUNTED: Atomic<bool> = Atomic::new(false);
        if !COUNTED.xchg(true, Relaxed) {
            core::mem::forget(ForeignWorkGuest::new());
        }
        // SAFETY: By the safety requirements of this function.
        unsafe { hand_over(self, queue_work_on) }
    }
}

/// Has `queue` queue the work item of an object; with it goes the reference.
///
/// The item can be queued on one queue while it runs on another, and so run twice at once. There is
/// no harm in that: each run was handed a reference of its own, to an object that is `Sync`, and the
/// queue does not look at the item once it runs.
///
/// # Safety
///
/// `queue` must return false only if the item is queued already, and if it returns true, have it run
/// later.
#[inline]
unsafe fn hand_over<T, const ID: u64>(
    object: RcuArc<T>,
    queue: impl FnOnce(*mut work_struct) -> bool,
) -> bool
where
    T: WorkItem<ID, Pointer = RcuArc<T>> + HasWork<T, ID> + RcuObject,
{
    let object = RcuArc::into_raw(object);
    // SAFETY: The pointer points to a valid `T`.
    let work = unsafe { T::raw_get_work(object.as_ptr()) };
    // SAFETY: And that to the `Work` in it.
    let queued = queue(unsafe { Work::raw_get(work) });
    if !queued {
        // SAFETY: The queue did not take the reference, so this takes it back.
        drop(unsafe { RcuArc::from_raw(object) });
    }
    queued
}
