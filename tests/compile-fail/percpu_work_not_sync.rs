// SPDX-License-Identifier: GPL-2.0
//~ E0277
//~ cannot be shared between threads safely
//! What all CPUs work on must be fit for it.

use wgk::percpu::PerCpuWorker;

/// A count.
#[cfg(misuse)]
pub struct Context(core::cell::Cell<u32>);

/// A count.
#[cfg(not(misuse))]
pub struct Context(core::sync::atomic::AtomicU32);

impl PerCpuWorker for Context {
    fn run(ctx: &Self, _cpu: u32) {
        let _ = &ctx.0;
    }
}
