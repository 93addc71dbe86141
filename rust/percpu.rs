// SPDX-License-Identifier: GPL-2.0

//! Work that runs on every CPU, or on a given one; counters that every CPU has its own of.
//!
//! C headers: [`include/linux/percpu.h`](srctree/include/linux/percpu.h),
//! [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! Safety review: `Documentation/safety.md#percpurs`.

use crate::{
    bindings,
    cpu::{
        self,
        handover_delay, //
    },
    field::Invariant,
    module::PerCpuWorkGuest,
    workqueue::WorkQueue, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings::work_struct,
    prelude::*,
    sync::{
        Arc,
        LockClassKey, //
    },
    types::Opaque, //
};

/// Makes a [`PerCpuWork`] whose items are of a lock class of their own:
/// `new_percpu_work!(queue, context)?`.
#[macro_export]
macro_rules! new_percpu_work {
    ($queue:expr, $context:expr $(, $name:literal)? $(,)?) => {
        $crate::percpu::PerCpuWork::new(
            $queue,
            $context,
            ::kernel::optional_name!($($name)?),
            ::kernel::static_lock_class!(),
        )
    };
}
pub use new_percpu_work;

/// What a [`PerCpuWork`] does.
pub trait PerCpuWorker: Send + Sync + 'static {
    /// Runs the item of `cpu`, in process context: on that CPU, unless it went offline. For several
    /// CPUs at once, but never twice at once for the same.
    fn run(ctx: &Self, cpu: u32);
}

/// Memory for a `T` on each possible CPU, zeroed. Sleeps.
fn alloc<T>() -> Result<NonNull<c_void>> {
    // SAFETY: An FFI call without requirements other than the context.
    NonNull::new(unsafe { bindings::alloc_percpu(size_of::<T>(), align_of::<T>()) }).ok_or(ENOMEM)
}

/// The memory of one CPU.
///
/// # Safety
///
/// `memory` must be that of [`alloc::<T>`](alloc), not freed, and `cpu` a possible one.
unsafe fn of_cpu<T>(memory: NonNull<c_void>, cpu: u32) -> *mut T {
    // SAFETY: By the requirements.
    unsafe { bindings::per_cpu_ptr(memory.as_ptr(), cpu).cast() }
}

/// What is allocated for each CPU. C looks for the work at its beginning.
#[repr(C)]
struct Slot<C> {
    work: Opaque<work_struct>,
    context: *const C,
    cpu: u32,
}

/// A work item for each possible CPU, all with the same context, and for one queue.
///
/// The queue is the items' own: that an item never runs twice at once, and that cancelling it finds
/// it, is true of one queue, not of two.
///
/// # Invariants
///
/// `slots` is a per-CPU allocation of `Slot<C>`, each initialised with [`run`](Self::run), a pointer
/// to the value in `context`, and its CPU, and never queued on anything but `queue`.
pub struct PerCpuWork<C: PerCpuWorker> {
    slots: NonNull<c_void>,
    context: Arc<C>,
    queue: Arc<WorkQueue>,
    _guest: PerCpuWorkGuest,
    _p: Invariant<C>,
}

// SAFETY: The items may be queued and cancelled by any task; the context is `Send` and `Sync`.
unsafe impl<C: PerCpuWorker> Send for PerCpuWork<C> {}
// SAFETY: As above.
unsafe impl<C: PerCpuWorker> Sync for PerCpuWork<C> {}

impl<C: PerCpuWorker> PerCpuWork<C> {
    /// Allocates the items; see [`new_percpu_work!`]. Sleeps.
    pub fn new(
        queue: Arc<WorkQueue>,
        context: Arc<C>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> Result<Self> {
        let slots = alloc::<Slot<C>>()?;
        for cpu in cpu::possible() {
            // SAFETY: Just allocated, for that CPU as well, and known to nobody else. `run` is a work
            // function for such slots; `name` and `key` are static. The pointer to the context is
            // valid until the items are freed, as `context` is kept.
            unsafe {
                let slot = of_cpu::<Slot<C>>(slots, cpu);
                kernel::bindings::init_work_with_key(
                    (&raw mut (*slot).work).cast(),
                    Some(Self::run),
                    false,
                    name.as_char_ptr(),
                    key.as_ptr(),
                );
                (&raw mut (*slot).context).write(Arc::as_ptr(&context));
                (&raw mut (*slot).cpu).write(cpu);
            }
        }
        // INVARIANT: Just made so.
        Ok(Self {
            slots,
            context,
            queue,
            _guest: PerCpuWorkGuest::new(),
            _p: PhantomData,
        })
    }

    /// The context.
    #[inline]
    pub fn context(&self) -> &Arc<C> {
        &self.context
    }

    /// Queues the item of a CPU; returns whether it was not queued before. In either case it begins
    /// to run after this, and sees what was done before this. If there is no such CPU, it is the item
    /// of the one this runs on. Any context.
    #[inline]
    pub fn enqueue_on(&self, cpu: u32) -> bool {
        let queue = self.queue.as_ptr();
        handover_delay();
        // INVARIANT: It is the items' queue.
        //
        // SAFETY: By the type invariants the items are allocated and initialised; they stay so
        // until `drop`, which waits for those that are queued. The queue exists as long as they do.
        let queued = unsafe { bindings::percpu_work_queue(self.slots.as_ptr(), cpu, queue.cast()) };
        handover_delay();
        queued
    }

    /// # Safety
    ///
    /// Only called by the work queue code, for the `work` of a `Slot<C>`.
    unsafe extern "C" fn run(work: *mut work_struct) {
        let slot = work.cast::<Slot<C>>();
        // SAFETY: `work` is the first field of a `Slot<C>`, which is not freed while it runs. The
        // context is kept until then, and only borrowed shared.
        unsafe { C::run(&*(*slot).context, (*slot).cpu) }
    }
}

impl<C: PerCpuWorker> Drop for PerCpuWork<C> {
    /// Cancels what is queued and waits for what is running; then gives up the queue, which is
    /// drained if nobody else has it. Sleeps, and must not happen in `run`.
    fn drop(&mut self) {
        // SAFETY: By the type invariants the items are allocated; nobody can queue them any more. They
        // were on one queue only, so what is cancelled and waited for is all there is.
        unsafe {
            for cpu in cpu::possible() {
                let slot = of_cpu::<Slot<C>>(self.slots, cpu);
                kernel::bindings::cancel_work_sync((&raw mut (*slot).work).cast());
            }
            kernel::bindings::free_percpu(self.slots.as_ptr().cast());
        }
    }
}

/// `N` counters, each with a copy per CPU, so that counting never waits for another CPU.
///
/// # Invariants
///
/// `counters` is a per-CPU allocation of `N` `u64`s.
pub struct PerCpuCounters<const N: usize> {
    counters: NonNull<c_void>,
}

// SAFETY: Adding is one operation that neither preemption nor an interrupt comes between, reading
// is racy by design; both may be done, and the memory freed, by any task.
unsafe impl<const N: usize> Send for PerCpuCounters<N> {}
// SAFETY: As above.
unsafe impl<const N: usize> Sync for PerCpuCounters<N> {}

impl<const N: usize> PerCpuCounters<N> {
    /// Counters that are zero. Sleeps.
    pub fn new() -> Result<Self> {
        const { assert!(N > 0 && N <= 1024) };
        // INVARIANT: Just made so.
        Ok(Self {
            counters: alloc::<[u64; N]>()?,
        })
    }

    /// Adds `n` to a counter; nothing if there is none of that number. Any context.
    #[inline]
    pub fn add(&self, counter: usize, n: u64) {
        if counter < N {
            // SAFETY: By the type invariants there is such a counter.
            unsafe { bindings::percpu_counters_add(self.counters.as_ptr(), counter as u32, n) }
        }
    }

    /// The sum over all CPUs; 0 if there is no counter of that number. What is added meanwhile may
    /// be in it or not. Any context.
    pub fn sum(&self, counter: usize) -> u64 {
        if counter >= N {
            return 0;
        }
        let each = cpu::possible().map(|cpu| {
            // SAFETY: By the type invariants there is such a counter, on each possible CPU. A word
            // that may be changed meanwhile, as a whole: `READ_ONCE`.
            unsafe {
                of_cpu::<[u64; N]>(self.counters, cpu)
                    .cast::<u64>()
                    .add(counter)
                    .read_volatile()
            }
        });
        each.fold(0, u64::wrapping_add)
    }
}

impl<const N: usize> Drop for PerCpuCounters<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is allocated, and nobody can use it any more.
        unsafe { kernel::bindings::free_percpu(self.counters.as_ptr().cast()) }
    }
}
