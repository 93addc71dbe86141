// SPDX-License-Identifier: GPL-2.0

//! Choosing CPUs, and giving way on them.
//!
//! A CPU that was online when one of these functions looked may go offline any moment. What takes
//! a CPU number in this crate accepts any.
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)
//!
//! Safety review: `Documentation/safety.md#cpurs`.

use crate::atomic::{
    Atomic,
    HotAtomic,
    Relaxed, //
};
use crate::bindings;

/// The online CPU after the one that `last` holds, round robin; -1 to begin with the first.
///
/// Several callers at once may get the same one.
#[inline]
pub fn next_online(last: &Atomic<i32>) -> u32 {
    // SAFETY: An FFI call without requirements.
    let cpu = unsafe { bindings::cpu_next_online(last.load(Relaxed)) };
    last.store(cpu as i32, Relaxed);
    cpu
}

/// The CPU in `stored` for as long as it is online, else one that is, by `id`, then stored.
///
/// To begin with, `stored` holds `u32::MAX`.
#[inline]
pub fn choose_online(stored: &HotAtomic<u32>, id: u64) -> u32 {
    let old = stored.load(Relaxed);
    // SAFETY: An FFI call without requirements.
    let cpu = unsafe { bindings::cpu_choose_online(old, id) };
    if cpu != old {
        stored.store(cpu, Relaxed);
    }
    cpu
}

/// CPU numbers are below this.
#[inline]
pub fn count() -> u32 {
    // SAFETY: An FFI call without requirements.
    unsafe { bindings::cpu_ids() }
}

/// How many CPUs work can be put on: those online; without isolated ones, unless there are no
/// others.
#[inline]
pub fn usable() -> u32 {
    // SAFETY: An FFI call without requirements.
    unsafe { bindings::cpu_usable() }
}

/// The numbers of all CPUs that there are or can ever be.
pub(crate) fn possible() -> impl Iterator<Item = u32> {
    // SAFETY: An FFI call without requirements.
    (0..count()).filter(|&cpu| unsafe { bindings::cpu_is_possible(cpu) })
}

/// Lets something else run if it wants to. Process context, without spinlocks or RCU guards held.
#[inline]
pub fn cond_resched() {
    // SAFETY: An FFI call without requirements other than the context.
    unsafe { bindings::cond_resched() }
}

/// Marks a place between two steps by which work is handed over. In a module built for it
/// (`scripts/module --delays`) few of those who pass it wait, for up to 200 µs, so that others, who
/// don't, come in between more often than they would; else there is nothing here. Any context.
#[inline(always)]
pub fn handover_delay() {
    #[cfg(wgk_delays)]
    {
        use kernel::time::{
            delay::udelay,
            Delta, //
        };
        if crate::random::u32_below(16) == 0 {
            udelay(Delta::from_micros(crate::random::u32_below(201).into()));
        }
    }
}
