// SPDX-License-Identifier: GPL-2.0
//! Why packets are lost, in the kernel's words, and how they are freed for that.
//!
//! A packet that is freed as a loss is reported to drop monitors (`dropwatch`, `retis`,
//! `perf trace -e skb:kfree_skb`), with a reason of `enum skb_drop_reason`
//! ([`include/net/dropreason-core.h`](srctree/include/net/dropreason-core.h)). Those of the core are
//! all there is: others are for subsystems, which no module can add one to. Whoever just drops a
//! packet has it reported without a reason; [`Lossy::drop_for`] says one.
//!
//! Pure: tests on the host have this file, too. What the kernel's numbers are is in `skbuff/raw.rs`.
//!
//! Safety review: `Documentation/safety.md#drop_reasonrs`.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A reason of the core's to drop a packet: those of them that fit a tunnel.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum DropReason {
            $($(#[$doc])+ $name,)+
        }

        /// All of them, in order.
        const ALL: &[DropReason] = &[$(DropReason::$name,)+];
    };
}

drop_reasons! {
    /// `NOT_SPECIFIED`: nobody has said why.
    NotSpecified,
    /// `NO_SOCKET`: there is nobody here that it is for.
    NoSocket,
    /// `SOCKET_CLOSE`: there is nobody any more.
    SocketClose,
    /// `HDR_TRUNC`: its headers can't be read.
    HdrTrunc,
    /// `UNHANDLED_PROTO`: of a protocol that is none of ours.
    UnhandledProto,
    /// `IP_INHDR`: something is wrong with its IP header.
    IpInhdr,
    /// `IP_RPFILTER`: its source address is not behind where it came from.
    IpRpfilter,
    /// `IP_OUTNOROUTES`: there is no route.
    IpOutnoroutes,
    /// `SKB_CSUM`: it is not what its sender made; for want of a word for authentication.
    SkbCsum,
    /// `SKB_GSO_SEG`: it can't be cut into segments.
    SkbGsoSeg,
    /// `TCP_OLD_SEQUENCE`: it was received before. The core has a word for that of TCP's only.
    TcpOldSequence,
    /// `CPU_BACKLOG`: more came than is worked on.
    CpuBacklog,
    /// `FULL_RING`: a queue of packets to be worked on is full.
    FullRing,
    /// `NEIGH_QUEUEFULL`: too many wait for the other end to answer.
    NeighQueuefull,
    /// `QUEUE_PURGE`: it waited in a queue that was emptied.
    QueuePurge,
    /// `DEV_READY`: the device is not up, or not yet able to.
    DevReady,
    /// `DEV_HDR`: what it says about itself is wrong.
    DevHdr,
    /// `NO_TX_TARGET`: there is nobody to send it to.
    NoTxTarget,
    /// `PKT_TOO_BIG`: it is too long for the way.
    PktTooBig,
    /// `RECURSION_LIMIT`: it would come back, and again.
    RecursionLimit,
    /// `NOMEM`: memory is short.
    Nomem,
}

impl DropReason {
    /// A number that is not 0 (for: none).
    pub(crate) fn mark(self) -> u8 {
        // CAST: There are few.
        self as u8 + 1
    }

    /// What a number of [`mark`](Self::mark)'s stands for; `None` for 0, and for other numbers.
    pub(crate) fn of_mark(mark: u8) -> Option<Self> {
        ALL.get(usize::from(mark).checked_sub(1)?).copied()
    }
}

/// Packets that can be lost.
pub trait Lossy: Sized {
    /// What is left of it.
    type Left;

    /// How many packets that would be.
    fn packets(&self) -> usize;

    /// Frees them, and tells drop monitors why; or, where somebody else is to free them, leaves that
    /// to be told then. Any context but hard interrupt.
    fn drop_for(self, why: DropReason) -> Self::Left;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked() {
        for (i, why) in ALL.iter().enumerate() {
            assert_eq!(usize::from(why.mark()), i + 1);
            assert_eq!(DropReason::of_mark(why.mark()), Some(*why));
        }
        for none in [0, ALL.len() as u8 + 1, u8::MAX] {
            assert_eq!(DropReason::of_mark(none), None);
        }
    }
}
