// SPDX-License-Identifier: GPL-2.0

//! Allocation, under the names that the driver's pure files use.
//!
//! They also compile on the host, where a twin of this crate has the same names over `std`.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)
//!
//! Safety review: `Documentation/safety.md#allocrs`.

pub use kernel::alloc::{
    flags::{
        GFP_ATOMIC,
        GFP_KERNEL, //
    },
    AllocError,
    Flags,
    KBox,
    KVVec,
    KVec, //
};
