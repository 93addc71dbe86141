// SPDX-License-Identifier: GPL-2.0
//! Host twin of the crate `wgk` (`rust/`): the same names over published crates and std.
//!
//! Only what the protocol files (`src/lib.rs`) import is here. Behaviour, failure included, is
//! that of the kernel's implementation, so that what passes under `cargo test` says something
//! about the module.
#![deny(missing_docs)]

pub mod alloc;
pub mod atomic;
pub mod crypto;
#[path = "../../../rust/drop_reason.rs"]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "marks of packets are for the kernel's crate")
)]
pub mod drop_reason;
pub mod rcu;
pub mod siphash;
