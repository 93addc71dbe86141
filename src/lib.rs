// SPDX-License-Identifier: GPL-2.0
//! The protocol of the driver as a host library: the files of `src/` that need no kernel.
//!
//! They take time and randomness as arguments and import `core`, zerocopy and `wgk` only; here
//! `wgk` is the twin in `tests/host-wgk`. `src/main.rs` is the root of the kernel module.
#![no_std]
#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod allowedips;
pub mod callers;
pub mod conduct;
pub mod cookie;
pub mod failure;
pub mod finished;
pub mod fit;
pub mod inline;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "crate-private: here only its own tests use it")
)]
pub mod keypairs;
pub mod life;
pub mod load;
pub mod messages;
pub mod noise;
pub mod peerlist;
pub mod ratelimiter;
pub mod reasons;
pub mod replay;
pub mod timers;
pub mod workers;
