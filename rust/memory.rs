// SPDX-License-Identifier: GPL-2.0

//! How much memory the machine has.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)
//!
//! Safety review: `Documentation/safety.md#memoryrs`.

use core::mem::MaybeUninit;

/// Bytes that the kernel manages, whether in use or not. Any context.
pub fn total_bytes() -> u64 {
    let mut info = MaybeUninit::<kernel::bindings::sysinfo>::zeroed();
    // SAFETY: The pointer is valid for writes of one of these, of which each field may be zero; so it is one
    // whichever of them are written.
    let info = unsafe {
        kernel::bindings::si_meminfo(info.as_mut_ptr());
        info.assume_init()
    };
    // CAST: To what is as wide; this crate is for 64 bits only.
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}
