// SPDX-License-Identifier: GPL-2.0

//! Waiting for the destruction of what has lost its last reference; see [`rcu`](crate::rcu), which
//! has it all.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)
//!
//! Safety review: `Documentation/safety.md#rcu_barrierrs`.

use crate::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};
/// The objects that have lost their last reference so far; wraps around, as do the others.
static DROPPED: Atomic<usize> = Atomic::new(0);
/// Those of them whose callback is over.
static DESTROYED: Atomic<usize> = Atomic::new(0);
/// Those during whose destruction some other object lost its last reference.
static CHAINED: Atomic<usize> = Atomic::new(0);

/// How many objects long a chain is that [`barrier`] waits for, if the destructor of each drops the
/// last reference to the next.
pub const MAX_CHAIN: usize = 8;

/// An object has lost its last reference; its callback is queued next.
#[inline]
pub(crate) fn dropped() {
    // ORDERING: Relaxed: `call_rcu` orders this before the callback, and who asks whether all is
    // settled has ordered all drops of references before that.
    DROPPED.fetch_add(1, Relaxed);
}

/// Destroys an object in its callback, by `destroy`.
#[inline]
pub(crate) fn destroying(destroy: impl FnOnce()) {
    let before = DROPPED.load(Relaxed);
    destroy();
    // What this thread has added it sees. It may be of another: then `barrier` takes longer.
    if DROPPED.load(Relaxed) != before {
        CHAINED.fetch_add(1, Relaxed);
    }
    // ORDERING: Release: what the destructor did comes before the end of `barrier`; and what it
    // dropped is counted before this is.
    DESTROYED.fetch_add(1, Release);
}

/// Waits until all objects are destroyed whose last reference was dropped before this call; and
/// those to which their destructors drop the last reference, and so on, for chains of up to
/// [`MAX_CHAIN`] objects.
///
/// Takes as many `rcu_barrier()`s as the longest chain has objects, [`MAX_CHAIN`] at most; one if
/// there are no chains. What others drop meanwhile does not prolong it beyond that.
///
/// Sleeps; not while the caller holds a [`Guard`](crate::rcu::Guard).
pub fn barrier() {
    for _ in 0..MAX_CHAIN {
        let before = CHAINED.load(Relaxed);
        // All callbacks that are queued by now are over when this returns. What the destructors have
        // dropped meanwhile is queued, and counted.
        //
        // SAFETY: An FFI call without requirements other than the context.
        unsafe { kernel::bindings::rcu_barrier() };
        // A read-modify-write operation, which does not read an old value; `before` may be one,
        // and then this goes round once more.
        if CHAINED.fetch_add(0, Relaxed) == before {
            break;
        }
    }
    // ORDERING: Acquire: pairs with the releases of all callbacks that are over.
    DESTROYED.fetch_add(0, Acquire);
}

/// Objects that have lost their last reference and are not destroyed yet, roughly.
pub(crate) fn pending() -> usize {
    // Destroyed ones first: there are no fewer dropped ones later.
    let destroyed = DESTROYED.load(Relaxed);
    DROPPED.load(Relaxed).wrapping_sub(destroyed)
}

/// If nothing is pending at some moment of this call: how many objects have been dropped by then.
/// The same number from two calls means that none was dropped between them.
pub(crate) fn settled() -> Option<usize> {
    // ORDERING: Acquire: pairs with the release in `destroying`; what destructors have dropped is
    // in the second number.
    let destroyed = DESTROYED.fetch_add(0, Acquire);
    // Dropped ones are never fewer than destroyed ones. So if there are not more of them now, there
    // were none when the first number was read.
    (DROPPED.load(Relaxed) == destroyed).then_some(destroyed)
}

/// Waits for the callbacks that are queued, and for a grace period.
///
/// Sleeps; not while the caller holds a [`Guard`](crate::rcu::Guard).
pub(crate) fn finish() {
    // SAFETY: An FFI call without requirements other than the context.
    unsafe { kernel::bindings::rcu_barrier() };
    crate::rcu::synchronize_net();
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_rcu_barrier)]
mod tests {
    use super::*;
    use crate::{
        rcu::{
            RcuArc,
            RcuCell,
            RcuObject, //
        },
        time::mono_coarse_ns,
        workqueue::{
            WorkQueue,
            WqFlags, //
        }, //
    };
    use kernel::{
        prelude::*,
        sync::Arc,
        time::{
            delay::fsleep,
            Delta, //
        },
        workqueue::{
            impl_has_work,
            new_work,
            Work,
            WorkItem, //
        }, //
    };

    /// An object of a chain.
    struct Link {
        destroyed: Arc<Atomic<usize>>,
        _next: RcuCell<Link>,
    }

    impl RcuObject for Link {}

    impl Drop for Link {
        fn drop(&mut self) {
            self.destroyed.fetch_add(1, Relaxed);
        }
    }

    fn chain(length: usize, destroyed: &Arc<Atomic<usize>>) -> Result<Option<RcuArc<Link>>> {
        let mut head = None;
        for _ in 0..length {
            let link = Link {
                destroyed: destroyed.clone(),
                _next: RcuCell::new(head),
            };
            head = Some(RcuArc::new(link, GFP_KERNEL)?);
        }
        Ok(head)
    }

    #[test]
    fn waits_for_chains() -> Result {
        let destroyed = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let mut wanted = 0;
        for length in [1, 2, MAX_CHAIN] {
            drop(chain(length, &destroyed)?);
            wanted += length;
            barrier();
            assert_eq!(destroyed.load(Relaxed), wanted);
        }
        Ok(())
    }

    /// Drops objects, chained ones, so that there is no moment without any to be destroyed.
    #[pin_data]
    struct Churn {
        end: Atomic<bool>,
        ended: Atomic<bool>,
        rounds: Atomic<usize>,
        #[pin]
        work: Work<Churn>,
    }

    impl RcuObject for Churn {}
    impl_has_work! { impl HasWork<Churn> for Churn { self.work } }

    /// Seconds after which it gives up, so that a barrier that waits for it ends, too late.
    const GIVES_UP_S: u64 = 20;

    impl WorkItem for Churn {
        type Pointer = RcuArc<Churn>;

        fn run(this: RcuArc<Churn>) {
            let until = mono_coarse_ns() + GIVES_UP_S * 1_000_000_000;
            if let Ok(destroyed) = Arc::new(Atomic::new(0), GFP_KERNEL) {
                while !this.end.load(Relaxed) && mono_coarse_ns() < until {
                    for _ in 0..16 {
                        drop(chain(3, &destroyed));
                    }
                    this.rounds.fetch_add(1, Relaxed);
                    fsleep(Delta::from_micros(500));
                }
            }
            this.ended.store(true, Relaxed);
        }
    }

    #[test]
    fn is_not_prolonged_by_others() -> Result {
        let queue = WorkQueue::alloc(fmt!("wgk-churn"), WqFlags::UNBOUND, 0)?;
        let churn = RcuArc::pin_init(
            pin_init!(Churn {
                end: Atomic::new(false),
                ended: Atomic::new(false),
                rounds: Atomic::new(0),
                work <- new_work!("Churn::work"),
            }),
            GFP_KERNEL,
        )?;
        queue.enqueue(churn.clone());
        while churn.rounds.load(Relaxed) < 20 && !churn.ended.load(Relaxed) {
            fsleep(Delta::from_millis(1));
        }
        let destroyed = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        drop(chain(2, &destroyed)?);
        barrier();
        assert_eq!(destroyed.load(Relaxed), 2);
        assert!(!churn.ended.load(Relaxed));
        churn.end.store(true, Relaxed);
        queue.flush();
        barrier();
        Ok(())
    }
}
