// SPDX-License-Identifier: GPL-2.0
//! Models of the lock-free parts: what may go on at the same time, and what must hold whatever the
//! order of events and whatever CPUs reorder. Documentation/safety.md, "Ordering", has the results.

mod allowedips;
mod napi;
mod order_queue;
mod rcu;
mod sched_list;
mod seeds;
mod workers;
