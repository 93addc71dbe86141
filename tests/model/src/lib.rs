// SPDX-License-Identifier: GPL-2.0
//! The protocol files of src/ (see build.rs), twice, with a network between them.
//!
//! `wgk` is this crate: its cipher, hash and curve are small and injective ([`crypto`]), its
//! references countless ([`rcu`]). [`side`] is a side, `actor` a side at work, [`world`] has two
//! and what may happen to them, [`check`] what must be true in every state that can be reached.

extern crate self as wgk;

mod actor;
pub mod atomic;
pub mod check;
pub mod crypto;
pub mod rcu;
pub mod seed;
pub mod side;
pub mod world;

include!(concat!(env!("OUT_DIR"), "/modules.rs"));
