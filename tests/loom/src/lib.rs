// SPDX-License-Identifier: GPL-2.0
//! Lock-free files of rust/ and src/ on loom's atomics (see build.rs), with stand-ins for what
//! they use. `tests/models` has the models.
#![allow(
    clippy::missing_safety_doc,
    clippy::missing_panics_doc,
    clippy::undocumented_unsafe_blocks,
    non_camel_case_types,
    non_upper_case_globals
)]

pub mod atomic;
pub mod kernel;
pub mod twin_alloc;
pub mod twin_packet;
pub mod twin_rcu;

#[path = "../../../rust/drop_reason.rs"]
pub mod drop_reason;
#[path = "../../../rust/field.rs"]
pub mod field;

/// The crate `core`, but for what can be shared.
mod core {
    pub use ::core::*;
    pub mod cell {
        pub use crate::atomic::Exclusive as UnsafeCell;
    }
}

/// The shim, `rust/helpers`.
mod bindings {
    pub(crate) use crate::{
        twin_packet::{
            ptr_ring,
            ptr_ring_cleanup,
            ptr_ring_consume_bh,
            ptr_ring_init,
            ptr_ring_produce_bh,
            ptr_ring_seems_empty, //
        },
        twin_rcu::synchronize_net, //
    };

    pub(crate) unsafe fn may_wait() -> bool {
        true
    }
}

/// Memory is the stand-in's, wherever it comes from.
pub mod slab {
    use crate::twin_alloc::{
        AllocError,
        KBox,
        GFP_KERNEL, //
    };
    use std::{
        marker::PhantomData,
        pin::Pin, //
    };

    /// A cache of memory for `T`s.
    pub struct SlabCache<T>(PhantomData<fn(T) -> T>);

    impl<T> SlabCache<T> {
        pub(crate) fn pin_init<I>(
            &'static self,
            init: impl FnOnce() -> I,
        ) -> Result<Pin<KBox<I>>, AllocError> {
            KBox::try_pin_init(init, GFP_KERNEL)
        }
    }
}

/// Loom sees to it that others come in between.
pub(crate) mod cpu {
    pub(crate) fn handover_delay() {}
}

/// Where `wgk` has them.
pub use {
    twin_alloc as alloc,
    twin_packet as skbuff, //
};

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

use loom::model::Builder;
use std::sync::{
    atomic::{
        AtomicUsize,
        Ordering::Relaxed, //
    },
    Arc, //
};

/// How often something happened in the executions of a model; to be made outside of it.
#[derive(Clone, Default)]
pub struct Times(Arc<AtomicUsize>);

impl Times {
    /// Once more.
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Fails if that never happened: the model would not test what it says.
    pub fn must_not_be_none(&self, what: &str) {
        assert!(self.0.load(Relaxed) > 0, "in no execution {what}");
    }
}

/// Runs `test` with all orders of events, with at most `preemptions` forced switches between
/// threads in each (more than three find next to nothing more), and all values that loads may see.
/// In the end nothing may be left.
pub fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 20_000;
    let executions = Times::default();
    let counted = executions.clone();
    builder.check(move || {
        counted.count();
        twin_alloc::begin();
        twin_rcu::begin();
        // Also the first use of its counters, before there are threads.
        rcu::barrier();
        assert_eq!(rcu::pending(), 0);
        test();
        rcu::barrier();
        assert_eq!(twin_alloc::alive(), 0, "objects are left");
    });
    println!("{} executions", executions.0.load(Relaxed));
}
