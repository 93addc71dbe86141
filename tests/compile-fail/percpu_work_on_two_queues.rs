// SPDX-License-Identifier: GPL-2.0
//~ E0061
//! A per-CPU work item is queued on the queue that it was made for, and on no other.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use wgk::{
    percpu::{
        new_percpu_work,
        PerCpuWork,
        PerCpuWorker, //
    },
    workqueue::WorkQueue, //
};

/// Does nothing.
pub struct Context;

impl PerCpuWorker for Context {
    fn run(_: &Self, _: u32) {}
}

/// Makes the items.
pub fn make(queue: Arc<WorkQueue>, context: Arc<Context>) -> Result<PerCpuWork<Context>> {
    new_percpu_work!(queue, context)
}

/// Queues one.
pub fn queue(work: &PerCpuWork<Context>, other: &WorkQueue) -> bool {
    let _ = other;
    #[cfg(misuse)]
    return work.enqueue_on(other, 0);
    #[cfg(not(misuse))]
    work.enqueue_on(0)
}
