// SPDX-License-Identifier: GPL-2.0
//! Packets that are dropped: counted per reason and device, and freed for it.
//!
//! Nothing that the driver has accepted, from the stack or from its sockets, ends without being
//! sent, delivered, worked on (a handshake message), or counted here. The interface's own counters
//! (`ip -s link`) count what the C driver counts, and nothing of this replaces them. The reasons are
//! in `reasons.rs`.

use core::ffi::CStr;

use kernel::{
    alloc::flags::__GFP_NOWARN,
    prelude::*, //
};

use wgk::{
    atomic::{
        HotAtomic,
        Relaxed, //
    },
    drop_reason::Lossy,
    netdevice::NetName,
    percpu::PerCpuCounters,
    rcu::{
        read_lock,
        RcuArc,
        RcuCell,
        RcuObject, //
    },
    trace, //
};

pub(crate) use crate::reasons::{
    Reason,
    TOTALS, //
};
use crate::{
    device::Device,
    peer::Peer,
    reasons::REASONS, //
};

/// The counters of one device.
pub(crate) struct Drops(PerCpuCounters<{ REASONS.len() }>);

/// The counters of one peer, of what is known to be that peer's: there once it has lost something.
pub(crate) struct PeerDrops(RcuCell<Counts>);

struct Counts([HotAtomic<u64>; REASONS.len()]);

impl RcuObject for Counts {}

impl PeerDrops {
    /// All zero.
    pub(crate) const fn new() -> Self {
        Self(RcuCell::empty())
    }

    /// Counts. What comes while there is no memory for the first time is in the device's counters only.
    /// Any context.
    fn add(&self, reason: Reason, n: usize) {
        if self.0.is_null() {
            let zero = Counts([const { HotAtomic::new(0) }; REASONS.len()]);
            if let Ok(counts) = RcuArc::new(zero, GFP_ATOMIC | __GFP_NOWARN) {
                // Or there are some meanwhile, which are as good.
                let _unused = self.0.fill(counts);
            }
        }
        let guard = read_lock();
        if let Some(counts) = self.0.load(&guard) {
            counts.0[reason as usize].fetch_add(n as u64, Relaxed);
        }
    }

    /// Calls `f` with the number of each reason of which there were some, and how many, while it goes well.
    pub(crate) fn each<E>(&self, mut f: impl FnMut(usize, u64) -> Result<(), E>) -> Result<(), E> {
        let guard = read_lock();
        let Some(counts) = self.0.load(&guard) else {
            return Ok(());
        };
        for (number, count) in counts.0.iter().enumerate() {
            let n = count.load(Relaxed);
            if n != 0 {
                f(number, n)?;
            }
        }
        Ok(())
    }

    /// Whether there is anything to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_null()
    }
}

impl Drops {
    /// All zero. May sleep.
    pub(crate) fn new() -> kernel::prelude::Result<Self> {
        PerCpuCounters::new().map(Self)
    }

    /// Counts packets as dropped for a reason, and has them freed, or marked, for what that is to the
    /// kernel. Any context but hard interrupt.
    fn lose<P: Lossy>(&self, reason: Reason, packets: P) -> P::Left {
        self.add(reason, packets.packets());
        packets.drop_for(reason.core())
    }

    /// Counts `n` packets dropped for a reason, of which nothing is left to be freed here. Any context.
    fn add(&self, reason: Reason, n: usize) {
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

/// No peer, or none that is known, to tracepoints.
pub(crate) const NOBODY: u64 = 0;

impl Device {
    /// Has packets lost that are no known peer's: see [`Drops::lose`].
    #[cold]
    pub(crate) fn lose<P: Lossy>(&self, reason: Reason, packets: P) -> P::Left {
        self.trace_lost(NOBODY, reason, packets.packets());
        self.drops.lose(reason, packets)
    }

    /// Counts `n` packets as lost, of which nothing is left to be freed here.
    #[cold]
    pub(crate) fn note_lost(&self, reason: Reason, n: usize) {
        self.trace_lost(NOBODY, reason, n);
        self.drops.add(reason, n);
    }

    fn trace_lost(&self, peer: u64, reason: Reason, n: usize) {
        if n == 0 {
            return;
        }
        let queue = match reason {
            Reason::RxQueue => Some(c"receive"),
            Reason::TxQueue => Some(c"transmit"),
            Reason::TxStaged => Some(c"staged"),
            Reason::HandshakeQueue => Some(c"handshake"),
            _ => None,
        };
        if let Some(queue) = queue {
            trace::queue_full(|| (self.traced(), peer, queue));
        }
        trace::packet_dropped(|| (self.traced(), peer, reason.name(), n as u32));
    }

    /// The interface, as tracepoints are told of it. Any context.
    pub(crate) fn traced(&self) -> (u32, NetName) {
        let index = self.dev.get(&read_lock()).map_or(0, |dev| dev.ifindex());
        (index, self.name())
    }

    /// Tells tracepoints of a worker that is called to a stage, if one is.
    #[inline]
    pub(crate) fn trace_worker(&self, stage: &'static CStr, called: Option<u32>) {
        if let Some(cpu) = called {
            trace::worker_called(|| (self.traced(), stage, cpu));
        }
    }
}

impl Peer {
    /// Has packets of the peer lost: see [`Drops::lose`].
    #[cold]
    pub(crate) fn lose<P: Lossy>(&self, reason: Reason, packets: P) -> P::Left {
        let n = packets.packets();
        self.device.trace_lost(self.id, reason, n);
        self.drops.add(reason, n);
        self.device.drops.lose(reason, packets)
    }

    /// Counts `n` packets of the peer as lost, of which nothing is left to be freed here.
    #[cold]
    pub(crate) fn note_lost(&self, reason: Reason, n: usize) {
        self.device.trace_lost(self.id, reason, n);
        self.drops.add(reason, n);
        self.device.drops.add(reason, n);
    }
}
