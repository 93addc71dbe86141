// SPDX-License-Identifier: GPL-2.0
//~ E0277
//~ cannot be shared between threads safely
//! What RCU readers share must be fit for it.

use wgk::rcu::RcuObject;

/// A count.
#[cfg(misuse)]
pub struct Object(pub core::cell::Cell<u32>);

/// A count.
#[cfg(not(misuse))]
pub struct Object(pub core::sync::atomic::AtomicU32);

impl RcuObject for Object {}
