// SPDX-License-Identifier: GPL-2.0
//! Why packets are dropped: the reasons, what everybody may know of each, and what it is to the kernel.
//!
//! What each reason means, and what to do about it, is in Documentation/statistics.md. The counters
//! are in `drops.rs`.
//!
//! Who may see what: each [`Reason`] by itself tells more than everybody may know. Whether a
//! handshake message had the right MAC1 tells whose public key the interface has; whether a data
//! message had the index of a session tells which are in use. So the reasons are for who may
//! configure the interface (`observe.rs`); `ethtool -S`, which asks for no privilege, shows
//! [`Total`]s, and what one and the same sender could find out by the reason is in one of them.
//! What drop monitors are told ([`DropReason`]) is for root: to trace takes `CAP_PERFMON`, or more.

#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::ffi::CStr;

use wgk::drop_reason::DropReason;

/// What `ethtool -S` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Datagrams that are no WireGuard messages. Their sender knows that.
    RxMalformed,
    /// Data messages that were not delivered: whether they found a session or not, and whatever
    /// was wrong with them then; and what came or waited while the interface went down.
    RxData,
    /// Inner packets of sound messages that are unsound or not the peer's to send. In the
    /// interface's `rx_errors` as well; who can cause it has the keys of a session.
    RxInner,
    /// Handshake messages and cookies that led to nothing, be it for their MACs, for a load or for
    /// what is in them.
    RxHandshake,
    /// Packets from the stack that the driver refused; the interface's `tx_errors`.
    TxRefused,
    /// Packets from the stack that were dropped while they waited; the interface's `tx_dropped`.
    TxWaiting,
    /// Packets that were encrypted and could not be sent.
    TxUnsent,
}

/// Names of the totals, in order.
pub const TOTALS: &[&str] = &[
    "rx_drop_malformed",
    "rx_drop_data",
    "rx_drop_inner",
    "rx_drop_handshake",
    "tx_drop_refused",
    "tx_drop_waiting",
    "tx_drop_unsent",
];

const _: () = assert!(TOTALS.len() == Total::TxUnsent as usize + 1);

/// Room for a name, with the NUL at its end.
const NAME: usize = 32;

/// `TxNoRoute` as `tx-no-route`, with NULs behind it.
const fn dashed(camel: &str) -> [u8; NAME] {
    let camel = camel.as_bytes();
    let mut name = [0; NAME];
    let (mut from, mut to) = (0, 0);
    while from < camel.len() {
        if camel[from].is_ascii_uppercase() && from != 0 {
            name[to] = b'-';
            to += 1;
        }
        name[to] = camel[from].to_ascii_lowercase();
        from += 1;
        to += 1;
    }
    name
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $reason:ident => $total:expr, $core:ident,)+) => {
        /// A reason to drop a packet or message. Its number plus one is its netlink attribute: new
        /// ones go to the end, here and in Documentation/netlink/specs/wireguard_rs.yaml.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])+ $reason,)+
        }

        impl Reason {
            /// The total that it belongs to.
            pub fn total(self) -> Option<Total> {
                match self {
                    $(Reason::$reason => $total,)+
                }
            }

            /// What the specification calls it.
            pub fn name(self) -> &'static CStr {
                match self {
                    $(Reason::$reason => {
                        const BYTES: &[u8; NAME] = &dashed(stringify!($reason));
                        const {
                            match CStr::from_bytes_until_nul(BYTES) {
                                Ok(name) => name,
                                Err(_) => panic!("too long"),
                            }
                        }
                    })+
                }
            }

            /// What drop monitors are told of a packet that is freed for it.
            pub fn core(self) -> DropReason {
                match self {
                    $(Reason::$reason => DropReason::$core,)+
                }
            }
        }

        /// All of them, in order.
        pub const REASONS: &[Reason] = &[$(Reason::$reason,)+];
    };
}

reasons! {
    // ---- datagrams from the sockets
    /// Headers that cannot be, or that are not in one piece.
    RxHeader => Some(Total::RxMalformed), HdrTrunc,
    /// No WireGuard message, by type or length.
    RxType => Some(Total::RxMalformed), UnhandledProto,
    /// The device is going down or away.
    RxDown => Some(Total::RxData), DevReady,
    /// Data for an index that no session has.
    RxIndex => Some(Total::RxData), NoSocket,
    /// Data for a session that is not established yet, or of a peer that is being removed.
    RxNoKeys => Some(Total::RxData), NoSocket,
    /// Data for a session that is too old, or has received too much.
    RxExpired => Some(Total::RxData), SocketClose,
    /// The peer's queue, or the device's, is full.
    RxQueue => Some(Total::RxData), FullRing,
    /// The tag is wrong.
    RxAuth => Some(Total::RxData), SkbCsum,
    /// Received before, or too old to tell.
    RxReplay => Some(Total::RxData), TcpOldSequence,
    /// An inner packet that is neither IPv4 nor IPv6.
    RxInnerType => Some(Total::RxInner), UnhandledProto,
    /// An inner packet that claims a length that cannot be.
    RxInnerLength => Some(Total::RxInner), IpInhdr,
    /// An inner packet whose source is not the peer's to use.
    RxSource => Some(Total::RxInner), IpRpfilter,
    /// Memory was short.
    RxMemory => Some(Total::RxData), Nomem,
    // ---- handshake messages from the sockets
    /// The handshake queue is full, or contended while half full.
    HandshakeQueue => Some(Total::RxHandshake), FullRing,
    /// The kernel's random number generator is not ready.
    HandshakeEntropy => Some(Total::RxHandshake), DevReady,
    /// The first MAC is wrong: not made for this device's key.
    HandshakeMac => Some(Total::RxHandshake), SkbCsum,
    /// Under load: answered with a cookie instead.
    HandshakeCookie => Some(Total::RxHandshake), CpuBacklog,
    /// Under load: too many from this source.
    HandshakeRate => Some(Total::RxHandshake), CpuBacklog,
    /// An initiation or response that does not authenticate, repeats an older one, or is of nobody.
    HandshakeInvalid => Some(Total::RxHandshake), SkbCsum,
    /// A cookie reply that was not asked for, or is not authentic.
    CookieInvalid => Some(Total::RxHandshake), SkbCsum,
    // ---- packets from the stack
    /// Neither IPv4 nor IPv6.
    TxType => Some(Total::TxRefused), UnhandledProto,
    /// No peer for the destination.
    TxNoPeer => Some(Total::TxRefused), NoTxTarget,
    /// The peer's endpoint is not known.
    TxNoEndpoint => Some(Total::TxRefused), NoTxTarget,
    /// A burst that could not be segmented.
    TxSegment => Some(Total::TxRefused), SkbGsoSeg,
    /// Too many wait for a handshake: the oldest goes.
    TxStaged => Some(Total::TxWaiting), NeighQueuefull,
    /// Waited for a handshake when the device went down or the peer was removed.
    TxPurged => Some(Total::TxWaiting), QueuePurge,
    /// The peer or the device is going away.
    TxGone => Some(Total::TxWaiting), DevReady,
    /// The peer's queue, or the device's, is full.
    TxQueue => Some(Total::TxWaiting), FullRing,
    /// Memory was short to seal it.
    TxSeal => Some(Total::TxWaiting), Nomem,
    /// There is no socket: the device went down, or its namespace is gone.
    TxNoSocket => Some(Total::TxUnsent), NoSocket,
    /// There is no route to the endpoint.
    TxNoRoute => Some(Total::TxUnsent), IpOutnoroutes,
    /// Memory was short for the outer headers.
    TxMemory => Some(Total::TxUnsent), Nomem,
    /// A handshake message or cookie of ours that could not be sent, for one of the last three. In
    /// no total: that there was something to answer tells that the question had the right MAC1.
    TxHandshake => None, IpOutnoroutes,
    // ---- what came later
    /// Can't be sealed: a packet that contradicts itself.
    TxMalformed => Some(Total::TxWaiting), DevHdr,
    /// The way to the peer's endpoint leads through the tunnel to that peer.
    TxLoop => Some(Total::TxRefused), RecursionLimit,
    /// Too long to leave in one piece, which was asked for.
    TxTooBig => Some(Total::TxRefused), PktTooBig,
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{
        collections::HashMap,
        format,
        string::String, //
    };

    /// `TxNoRoute`, with `-` in it `tx-no-route`.
    fn split(name: &str, by: char) -> String {
        let mut out = String::new();
        for c in name.chars() {
            if c.is_uppercase() && !out.is_empty() {
                out.push(by);
            }
            out.extend(c.to_lowercase());
        }
        out
    }

    /// A reason by itself tells what the page says, and no packet is lost without one.
    #[test]
    fn as_documented() {
        let page = include_str!("../Documentation/statistics.md");
        let rows: HashMap<_, _> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                let name = cells.next()?.strip_suffix('`')?;
                Some((name, (cells.next()?, cells.next()?)))
            })
            .collect();
        for reason in REASONS {
            let (total, core) = rows[&*split(&format!("{reason:?}"), '-')];
            assert_eq!(
                reason.name().to_bytes(),
                split(&format!("{reason:?}"), '-').as_bytes()
            );
            let named = reason.total().map(|t| format!("`{}`", TOTALS[t as usize]));
            assert_eq!(total, named.as_deref().unwrap_or("none"));
            assert_ne!(reason.core(), DropReason::NotSpecified);
            let core_name = split(&format!("{:?}", reason.core()), '_').to_uppercase();
            assert_eq!(core, format!("`{core_name}`"), "{reason:?}");
        }
    }

    /// Who reads a trace is not sent to look for memory that there is, nor the other way round.
    #[test]
    fn want_of_memory() {
        for reason in REASONS {
            let memory = matches!(reason, Reason::RxMemory | Reason::TxMemory | Reason::TxSeal);
            assert_eq!(reason.core() == DropReason::Nomem, memory, "{reason:?}");
        }
    }

    /// What the crate `wgk` says by itself of packets that find no room is what is counted then.
    #[test]
    fn no_room() {
        for reason in [Reason::RxQueue, Reason::TxQueue] {
            assert_eq!(reason.core(), DropReason::FullRing);
        }
    }
}
