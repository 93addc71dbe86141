// SPDX-License-Identifier: GPL-2.0
//! Packets that are dropped: counted per reason and device, and freed for it.
//!
//! Nothing that the driver has accepted, from the stack or from its sockets, ends without being
//! sent, delivered, worked on (a handshake message), or counted here. The interface's own counters
//! (`ip -s link`) count what the C driver counts, and nothing of this replaces them. The reasons are
//! in `reasons.rs`.

use wgk::{
    drop_reason::Lossy,
    percpu::PerCpuCounters, //
};

use crate::reasons::REASONS;
pub(crate) use crate::reasons::{
    Reason,
    TOTALS, //
};

/// The counters of one device.
pub(crate) struct Drops(PerCpuCounters<{ REASONS.len() }>);

impl Drops {
    /// All zero. May sleep.
    pub(crate) fn new() -> kernel::prelude::Result<Self> {
        PerCpuCounters::new().map(Self)
    }

    /// Counts packets as dropped for a reason, and has them freed, or marked, for what that is to the
    /// kernel. Any context but hard interrupt.
    #[cold]
    pub(crate) fn lose<P: Lossy>(&self, reason: Reason, packets: P) -> P::Left {
        self.add(reason, packets.packets());
        packets.drop_for(reason.core())
    }

    /// Counts `n` packets dropped for a reason, of which nothing is left to be freed here. Any context.
    #[cold]
    pub(crate) fn add(&self, reason: Reason, n: usize) {
        self.0.add(reason as usize, n as u64);
    }

    /// The counters by reason, in the order of [`Reason`]. For who may configure the device.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = u64> + '_ {
        (0..REASONS.len()).map(|reason| self.0.sum(reason))
    }

    /// Writes the totals to `out`, in the order of [`TOTALS`]. For everybody.
    pub(crate) fn totals(&self, out: &mut [u64]) {
        for (reason, value) in REASONS.iter().zip(self.by_reason()) {
            if let Some(sum) = reason.total().and_then(|t| out.get_mut(t as usize)) {
                *sum += value;
            }
        }
    }
}
