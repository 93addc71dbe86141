// SPDX-License-Identifier: GPL-2.0

//! Timers that are fields of [`RcuArc`] objects.
//!
//! A [`Timer`] holds no reference to the object around it. When it expires, in softirq context, it
//! takes one unless the last one is gone already, and hands it to [`TimerCallback::fired`].
//!
//! # Lifetime
//!
//! A timer is armed through a reference to its object only, so that a live, pinned object is
//! around it. When the last reference goes the timer may stay armed; it is shut down for good when
//! the object is dropped, which is in an RCU callback.
//!
//! `timer_shutdown_sync()` may be called there: it must not be called in hardirq, and an RCU
//! callback runs in softirq or with softirqs disabled. It spins until the handler has returned if
//! that is running, which can only be on another CPU, as softirqs do not nest. And the handler
//! does return: it waits for nothing that an RCU callback, which holds no locks, could hold up.
//! (A grace period is nothing it can wait for in softirq.) For the handler it means that during
//! the object's destructor the `timer_list` and the count in front of the object are still
//! allocated; it finds the count to be zero, and looks at nothing else.
//!
//! C header: [`include/linux/timer.h`](srctree/include/linux/timer.h)
//!
//! Safety review: `Documentation/safety.md#timerrs`.

use crate::{
    field::{
        HasField,
        Invariant, //
    },
    module::TimerGuest,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    time::mono_coarse_ns, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::LockClassKey,
    types::Opaque, //
};

/// Creates a [`Timer`] initialiser with a name, if one is given, and a lock class of its own.
#[macro_export]
macro_rules! new_timer {
    ($($name:literal)?) => {
        $crate::timer::Timer::new(
            ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}
pub use new_timer;

/// Says which field is the timer.
///
/// ```ignore
/// impl_has_timer! { impl HasTimer for Peer { self.timer } }
/// ```
///
/// With more than one timer in an object, `HasTimer<1>` is the one of type `Timer<Self, 1>`.
#[macro_export]
macro_rules! impl_has_timer {
    ($(impl HasTimer$(<$id:tt>)? for $self:ty { self.$field:ident })*) => {$(
        $crate::field::impl_has_field! {
            impl HasField<$crate::timer::Timer<$self $(, $id)?>> for $self { self.$field }
        }
    )*};
}
pub use impl_has_timer;

/// What a timer does when it expires.
pub trait TimerCallback<const ID: u64 = 0>: RcuObject {
    /// The timer has expired. Softirq context.
    ///
    /// It may be armed again here. Dropping `this` is fine even if it is the last reference.
    fn fired(this: RcuArc<Self>)
    where
        Self: Sized;
}

/// A tick that does not come before `at_mono_ns`: the current jiffy is partly over, so it does not
/// count, and the rest is rounded up.
#[inline]
fn jiffies_at(at_mono_ns: u64) -> c_ulong {
    /// As in `include/linux/jiffies.h`: what is further away would count as past.
    const MAX_JIFFY_OFFSET: u64 = (c_long::MAX as u64 >> 1) - 1;

    let ticks = match at_mono_ns.saturating_sub(mono_coarse_ns()) {
        0 => 0,
        ns => {
            // Where HZ does not divide a second evenly, C multiplies first: not more than decades.
            // SAFETY: An FFI call without requirements.
            let ticks = unsafe { kernel::bindings::nsecs_to_jiffies64(ns.min(1 << 60)) };
            ticks.saturating_add(2).min(MAX_JIFFY_OFFSET)
        }
    };
    // SAFETY: A word that is there for ever, and changed as a whole; volatile, as it is in C.
    let now = unsafe { (&raw const kernel::bindings::jiffies).read_volatile() };
    now.wrapping_add(ticks as c_ulong)
}

/// A timer in a `T`.
///
/// # Invariants
///
/// The `timer_list` is initialised with [`expired`](Self::expired) as its handler, and was only
/// ever armed as the field that `HasField` describes of a `T` in an [`RcuArc`].
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub struct Timer<T, const ID: u64 = 0> {
    #[pin]
    timer: Opaque<kernel::bindings::timer_list>,
    _guest: TimerGuest,
    _p: Invariant<T>,
}

// SAFETY: C timers have their own locks; there is no `T` in here.
unsafe impl<T, const ID: u64> Send for Timer<T, ID> {}
// SAFETY: As above.
unsafe impl<T, const ID: u64> Sync for Timer<T, ID> {}

impl<T, const ID: u64> Timer<T, ID>
where
    T: TimerCallback<ID> + HasField<Timer<T, ID>>,
{
    /// A timer that is not armed; see [`new_timer!`].
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        // INVARIANT: Initialised with `expired`, and never armed.
        pin_init!(Self {
            // SAFETY: `slot` is valid for writes and pinned from here on; `name` and `key` are
            // static.
            timer <- Opaque::ffi_init(|slot| unsafe {
                kernel::bindings::timer_init_key(
                    slot,
                    Some(Self::expired),
                    0,
                    name.as_char_ptr(),
                    key.as_ptr(),
                )
            }),
            _guest: TimerGuest::new(),
            _p: PhantomData,
        })
    }

    /// Lets the timer of `owner` expire at `at_mono_ns` nanoseconds of
    /// [`mono_coarse_ns`](crate::time::mono_coarse_ns), rounded up to the resolution of timers; or
    /// at once, that is, with the next tick, if that has passed.
    ///
    /// Never early by that clock, but later by up to an eighth of the time, which is how C's
    /// timers save work. If it is armed already, this changes when it expires. Any context but
    /// NMI.
    #[inline]
    pub fn arm(owner: &RcuArc<T>, at_mono_ns: u64) {
        // INVARIANT: This is the field of an object in an `RcuArc`.
        //
        // SAFETY: An `RcuArc` points to a `T`.
        let timer = unsafe { T::field_of(RcuArc::as_raw(owner)) };
        // SAFETY: The timer is initialised, and the object around it alive and pinned. It stays
        // allocated until the timer is shut down, by the `Drop` of the field.
        unsafe { kernel::bindings::mod_timer(timer.as_ptr().cast(), jiffies_at(at_mono_ns)) };
    }

    /// # Safety
    ///
    /// Only called by the timer code, for the `timer_list` of a `Timer<T, ID>`.
    unsafe extern "C" fn expired(timer: *mut kernel::bindings::timer_list) {
        // SAFETY: The timer code does not pass null; `Timer` is a transparent wrapper.
        let timer = unsafe { NonNull::new_unchecked(timer.cast::<Self>()) };
        // SAFETY: By the type invariants, it was armed as the field of a `T` in an `RcuArc`.
        let object = unsafe { T::container_of(timer) };
        // SAFETY: The object is not freed before its timer is shut down, which waits for this
        // call; it may be in its destructor, but it is not touched if so.
        if let Some(object) = unsafe { RcuArc::try_get_raw(object) } {
            T::fired(object);
        }
    }
}

impl<T, const ID: u64> Timer<T, ID> {
    #[inline]
    fn as_ptr(&self) -> *mut kernel::bindings::timer_list {
        self.timer.get()
    }

    /// Disarms the timer; returns whether it was armed. Its callback may be running, or about to.
    /// Any context but NMI.
    #[inline]
    pub fn disarm(&self) -> bool {
        // SAFETY: The timer is initialised, by the type invariants.
        unsafe { kernel::bindings::timer_delete(self.as_ptr()) != 0 }
    }
}

#[pinned_drop]
impl<T, const ID: u64> PinnedDrop for Timer<T, ID> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The timer is initialised, by the type invariants. Not in hardirq, and not from its
        // callback, which runs in softirq, as said above; and no locks are held.
        unsafe { kernel::bindings::timer_shutdown_sync(self.as_ptr()) };
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_timer)]
mod tests {
    use super::*;
    use crate::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    };
    use kernel::time::{
        delay::fsleep,
        Delta, //
    };

    const MS: u64 = 1_000_000;

    #[pin_data]
    struct Ticker {
        due: Atomic<u64>,
        early: Atomic<u32>,
        fired: Atomic<u32>,
        #[pin]
        timer: Timer<Self>,
    }

    impl RcuObject for Ticker {}
    impl_has_timer! { impl HasTimer for Ticker { self.timer } }

    impl TimerCallback for Ticker {
        fn fired(this: RcuArc<Self>) {
            let now = mono_coarse_ns();
            if now < this.due.load(Relaxed) {
                this.early.fetch_add(1, Relaxed);
            }
            if this.fired.fetch_add(1, Relaxed) < 4 {
                this.arm(now + 3 * MS);
            }
        }
    }

    trait Arm {
        fn arm(&self, at: u64);
    }

    impl Arm for RcuArc<Ticker> {
        fn arm(&self, at: u64) {
            self.due.store(at, Relaxed);
            Timer::<Ticker>::arm(self, at);
        }
    }

    fn ticker() -> Result<RcuArc<Ticker>> {
        RcuArc::pin_init(
            pin_init!(Ticker {
                due: Atomic::new(0),
                early: Atomic::new(0),
                fired: Atomic::new(0),
                timer <- new_timer!("ticker"),
            }),
            GFP_KERNEL,
        )
    }

    #[test]
    fn fires_and_never_early() -> Result {
        let t = ticker()?;
        t.arm(mono_coarse_ns());
        fsleep(Delta::from_millis(200));
        assert_eq!(t.fired.load(Relaxed), 5);
        assert_eq!(t.early.load(Relaxed), 0);
        t.arm(u64::MAX);
        assert!(t.timer.disarm() && !t.timer.disarm());
        Ok(())
    }

    #[test]
    fn objects_go_with_their_timers_armed() -> Result {
        for i in 0..200 {
            ticker()?.arm(mono_coarse_ns() + i * MS / 10);
            if i % 16 == 0 {
                fsleep(Delta::from_millis(1));
            }
        }
        rcu::barrier();
        Ok(())
    }
}
