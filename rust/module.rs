// SPDX-License-Identifier: GPL-2.0

//! When the code of the module may go.
//!
//! The kernel calls into a module by the pointers it was given: of timers, work, sockets, hooks. A
//! module's reference count tells nothing of these, and no type says that an object is gone before
//! the module is: one can be forgotten, or put into a static, by safe code. So they are counted. Each
//! object of this crate that the kernel can call is a [`Guest`] of the code, from before it is made
//! known until it is so no more.
//!
//! A module is declared by [`wgk::module!`](crate::module) instead of the `kernel` crate's macro of
//! this name. Its exit then drops the module's state, and comes to an end when there are no guests
//! any more, nor objects that RCU is still to destroy. If some stay it says once which, and sleeps:
//! `rmmod` does not end, the module stays in memory, and nothing else is hurt. The same goes for an
//! init that fails.
//!
//! There is no way around that: without the macro a module does not link, as this file refers to
//! a symbol that only the macro defines.
//!
//! What is only memory is no guest. A forgotten [`RcuArc`](crate::rcu::RcuArc) is never destroyed, so
//! no code is called for it; but a timer in it counts, armed or not, as whoever finds the object
//! can arm it.
//!
//! Counted is the making and the end of such objects, never their use: nothing here costs per packet.
//!
//! Safety review: `Documentation/safety.md#modulers`.

use crate::{
    atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    bindings,
    field::Invariant,
    rcu,
    slab, //
};
use core::{marker::PhantomData, mem::ManuallyDrop};
use kernel::{
    fmt,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// What can be a guest; the names are plurals.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Kind {
    Timer,
    WorkQueue,
    PerCpuWork,
    ForeignWork,
    Table,
    Napi,
    Socket,
    Notifier,
    Pernet,
    Link,
    Genetlink,
    Hook,
}

const NAMES: [&str; 12] = [
    "timers",
    "work queues",
    "per-CPU work items",
    "work items on queues of others",
    "hash tables",
    "NAPI instances",
    "sockets",
    "notifiers",
    "namespace hooks",
    "kinds of devices",
    "netlink families",
    "packet hooks",
];

/// How many guests there are of each kind.
static COUNTS: [Atomic<usize>; NAMES.len()] = [const { Atomic::new(0) }; NAMES.len()];
/// How many there have ever been.
static MADE: Atomic<usize> = Atomic::new(0);

/// Something that the kernel may call, counted.
///
/// A field of what it stands for: made before the kernel is told, dropped when the kernel does not
/// call it any more and no such call is going on (fields are dropped after `Drop::drop`). If
/// that can't be brought about, it is forgotten.
///
/// # Invariants
///
/// Counted in `COUNTS[KIND]`.
pub(crate) struct Guest<const KIND: usize>(());

impl<const KIND: usize> Guest<KIND> {
    #[inline]
    pub(crate) fn new() -> Self {
        // INVARIANT: Counted here.
        COUNTS[KIND].fetch_add(1, Relaxed);
        MADE.fetch_add(1, Relaxed);
        Self(())
    }
}

impl<const KIND: usize> Drop for Guest<KIND> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: Release: pairs with the acquire in `guests`: the end of what it stood for comes
        // before the end of the module.
        COUNTS[KIND].fetch_sub(1, Release);
    }
}

/// A [`Timer`](crate::timer::Timer).
pub(crate) type TimerGuest = Guest<{ Kind::Timer as usize }>;
/// A [`WorkQueue`](crate::workqueue::WorkQueue), and so what is queued on it.
pub(crate) type WorkQueueGuest = Guest<{ Kind::WorkQueue as usize }>;
/// A [`PerCpuWork`](crate::percpu::PerCpuWork).
pub(crate) type PerCpuWorkGuest = Guest<{ Kind::PerCpuWork as usize }>;
/// Work that was given to a queue that is not the crate's, and of whose end nobody tells.
pub(crate) type ForeignWorkGuest = Guest<{ Kind::ForeignWork as usize }>;
/// A hash table: the kernel resizes it in a work item, with our hash function.
pub(crate) type TableGuest = Guest<{ Kind::Table as usize }>;
/// A [`Napi`](crate::napi::Napi).
pub(crate) type NapiGuest = Guest<{ Kind::Napi as usize }>;
/// A [`UdpSocket`](crate::udp_tunnel::UdpSocket).
pub(crate) type SocketGuest = Guest<{ Kind::Socket as usize }>;
/// A [`Notifier`](crate::notifier::Notifier).
pub(crate) type NotifierGuest = Guest<{ Kind::Notifier as usize }>;
/// A [`PernetOps`](crate::netns::PernetOps).
pub(crate) type PernetGuest = Guest<{ Kind::Pernet as usize }>;
/// A [`LinkOps`](crate::netdevice::LinkOps), and so the devices of the kind.
pub(crate) type LinkGuest = Guest<{ Kind::Link as usize }>;
/// A [`Registration`](crate::genetlink::Registration) of a family.
pub(crate) type GenetlinkGuest = Guest<{ Kind::Genetlink as usize }>;
/// A [`LocalIn`](crate::netfilter::LocalIn).
pub(crate) type HookGuest = Guest<{ Kind::Hook as usize }>;

/// A count; and all is seen that others did before they changed it.
fn now(count: &Atomic<usize>) -> usize {
    // ORDERING: Acquire: pairs with the release of `Guest::drop`. A read-modify-write operation,
    // which does not read an old value.
    count.fetch_add(0, Acquire)
}

/// What keeps the module, for the log.
struct Left {
    guests: [usize; NAMES.len()],
    pending: usize,
    references: usize,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = [
            (self.pending, "objects to be destroyed"),
            (self.references, "references"),
        ];
        let all = Iterator::chain(self.guests.into_iter().zip(NAMES), more);
        for (i, (n, name)) in all.filter(|(n, _)| *n != 0).enumerate() {
            write!(f, "{}{n} {name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Milliseconds between two looks at first, and at most.
const LOOK_MS: (i64, i64) = (5, 1000);

/// Looks before it says what it waits for: by then a second has passed.
const QUIET_LOOKS: u32 = 8;

/// Returns when the code may go: when no one can call it any more, and nobody is in it but the
/// caller.
///
/// `own` references to the module belong to the caller. Process context; sleeps, without a guard held.
fn wait_until_unused(own: usize) {
    let (mut pause, longest) = LOOK_MS;
    for looks in 0u32.. {
        // If no guest is made while they are counted, none is left of those that have been found
        // to be gone; and if no object is dropped meanwhile, RCU has as little to do at the end as
        // it had at the beginning. Then there is a moment without either, and without references,
        // of which there are never more. So nobody is there any more who could make one.
        let before = (rcu::settled(), now(&MADE));
        let left = Left {
            guests: core::array::from_fn(|kind| now(&COUNTS[kind])),
            pending: rcu::pending(),
            // SAFETY: An FFI call without requirements.
            references: unsafe { bindings::module_references() }.saturating_sub(own),
        };
        let unused = left.guests.iter().all(|n| *n == 0) && left.references == 0;
        let idle = unused && before.0.is_some() && before == (rcu::settled(), now(&MADE));
        // Callbacks are counted until their last but few instructions, and so are polls and
        // receivers, which run in read-side critical sections: also wait for their return.
        rcu::finish();
        if idle {
            if looks > QUIET_LOOKS {
                pr_info!("module: nothing is in use any more\n");
            }
            return;
        }
        if looks == QUIET_LOOKS {
            pr_err!("module cannot go, there are still: {left}\n");
        }
        fsleep(Delta::from_millis(pause));
        pause = (pause * 2).min(longest);
    }
}

/// The end of the module: nobody but the caller runs its code when this returns, and what only
/// memory was for is gone.
///
/// As [`wait_until_unused`].
fn end(own: usize) {
    wait_until_unused(own);
    // SAFETY: Nobody is in the module's code, or can call it, but the caller; who returns.
    unsafe { slab::destroy_all() };
}

/// What [`module!`](crate::module) makes of a module's state: dropping it waits, as making it does
/// if that fails.
#[doc(hidden)]
pub struct Guarded<M>(ManuallyDrop<M>, Invariant<M>);

impl<M: kernel::Module> Guarded<M> {
    /// Makes the state. For a module's init, which is the first code of a module; `EBUSY` for who
    /// comes later, as nobody else may wait for the module's end, or say that it has come.
    pub fn init(module: &'static ThisModule) -> Result<Self> {
        static BEGUN: Atomic<u32> = Atomic::new(0);

        // ORDERING: Full, as there is no less of it; the value alone counts.
        if BEGUN.xchg(1, Full) != 0 {
            return Err(EBUSY);
        }
        M::init(module)
            .map(|state| Self(ManuallyDrop::new(state), PhantomData))
            // A module that is being loaded is referenced by who does it.
            .inspect_err(|_| end(1))
    }
}

impl<M> Drop for Guarded<M> {
    fn drop(&mut self) {
        // SAFETY: Not used any more.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        end(0);
    }
}

extern "C" {
    /// Defined by [`module!`](crate::module), which can't be used twice in a module.
    static __wgk_guarded_module: u8;
}

/// The module that this crate is part of.
///
/// Up to 7.2 the `kernel` crate has a static for it, since then a function of `LocalModule`.
pub const fn this_module() -> &'static ThisModule {
    #[cfg(MODULE)]
    const THIS: ThisModule = {
        let this = (&raw const bindings::__this_module).cast_mut();
        // SAFETY: The module's own, which is linked with this crate; made when it was loaded.
        unsafe { ThisModule::from_ptr(this) }
    };
    #[cfg(not(MODULE))]
    // SAFETY: Null is what is part of the kernel itself has for a module.
    const THIS: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };

    &THIS
}

/// An address.
#[repr(transparent)]
struct Address {
    _at: *const u8,
}

// SAFETY: Never used.
unsafe impl Sync for Address {}

/// Has the linker look for the symbol.
#[used]
static GUARDED: Address = Address {
    _at: &raw const __wgk_guarded_module,
};

/// For [`module!`](crate::module): `::kernel` is what the caller's crate has by that name.
#[doc(hidden)]
pub use ::kernel;

/// Declares a module, in the crate's root, as the `kernel` crate's macro of this name does, with the
/// same fields; but its code stays until nothing can call it any more, see [`module`](mod@crate::module).
///
/// [`this_module()`](crate::module::this_module) is the module.
#[macro_export]
#[allow(clippy::crate_in_macro_def, reason = "the caller's root is meant")]
macro_rules! module {
    (type: $state:ty, $($info:tt)*) => {
        #[doc(hidden)]
        struct GuardedModule {
            _state: $crate::module::Guarded<$state>,
        }

        impl $crate::module::kernel::Module for GuardedModule {
            fn init(
                module: &'static $crate::module::kernel::ThisModule,
            ) -> $crate::module::kernel::error::Result<Self> {
                Ok(Self {
                    _state: $crate::module::Guarded::init(module)?,
                })
            }
        }

        // In the root, lest the code below be that of something else of this name.
        const _: fn(GuardedModule) -> crate::LocalModule = |module| module;

        #[doc(hidden)]
        mod __wgk_guarded_module {
            #[no_mangle]
            static __wgk_guarded_module: u8 = 0;
        }

        $crate::module::kernel::prelude::module! { type: GuardedModule, $($info)* }
    };
}
