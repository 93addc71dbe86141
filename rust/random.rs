// SPDX-License-Identifier: GPL-2.0

//! The kernel's random number generator.
//!
//! Any context. None of these waits: before the generator is seeded they return what it has, see
//! [`ready`].
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)
//!
//! Safety review: `Documentation/safety.md#randomrs`.

use crate::bindings;

/// Fills `out` with random bytes.
#[inline]
pub fn fill(out: &mut [u8]) {
    // SAFETY: The pointer is valid for writes of this many bytes.
    unsafe { kernel::bindings::get_random_bytes(out.as_mut_ptr().cast(), out.len()) }
}

/// A random number.
#[inline]
pub fn u32() -> u32 {
    // SAFETY: An FFI call without requirements.
    unsafe { kernel::bindings::get_random_u32() }
}

/// A random number below `limit`, each equally likely; 0 if `limit` is 0.
#[inline]
pub fn u32_below(limit: u32) -> u32 {
    if limit <= 1 {
        return 0;
    }
    // SAFETY: An FFI call that wants a limit that is not zero.
    unsafe { bindings::__get_random_u32_below(limit) }
}

/// Whether the generator is seeded, so that what it returns is unpredictable.
#[inline]
pub fn ready() -> bool {
    // SAFETY: An FFI call without requirements.
    unsafe { kernel::bindings::rng_is_initialized() }
}
