// SPDX-License-Identifier: GPL-2.0
//! Why packets are dropped: a counter per reason and device.
//!
//! Nothing that the driver has accepted, from the stack or from its sockets, ends without being
//! sent, delivered, worked on (a handshake message), or counted here. The interface's own counters
//! (`ip -s link`) count what the C driver counts, and nothing of this replaces them. What each
//! reason means, and what to do about it, is in Documentation/statistics.md.
//!
//! Who may see what: each [`Reason`] by itself tells more than everybody may know. Whether a
//! handshake message had the right MAC1 tells whose public key the interface has; whether a data
//! message had the index of a session tells which are in use. So the reasons are for who may
//! configure the interface (`observe.rs`); `ethtool -S`, which asks for no privilege, shows
//! [`Total`]s, and what one and the same sender could find out by the reason is in one of them.

use wgk::percpu::PerCpuCounters;

/// What `ethtool -S` counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Total {
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
pub(crate) const TOTALS: &[&str] = &[
    "rx_drop_malformed",
    "rx_drop_data",
    "rx_drop_inner",
    "rx_drop_handshake",
    "tx_drop_refused",
    "tx_drop_waiting",
    "tx_drop_unsent",
];

const _: () = assert!(TOTALS.len() == Total::TxUnsent as usize + 1);

macro_rules! reasons {
    ($($(#[$doc:meta])+ $reason:ident => $total:expr,)+) => {
        /// A reason to drop a packet or message. Its number plus one is its netlink attribute: new
        /// ones go to the end, here and in Documentation/netlink/specs/wireguard_rs.yaml.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($(#[$doc])+ $reason,)+
        }

        /// The total that each of them belongs to, in order.
        const TOTAL_OF: &[Option<Total>] = &[$($total,)+];
    };
}

reasons! {
    // ---- datagrams from the sockets
    /// Headers that cannot be, or that are not in one piece.
    RxHeader => Some(Total::RxMalformed),
    /// No WireGuard message, by type or length.
    RxType => Some(Total::RxMalformed),
    /// The device is going down or away.
    RxDown => Some(Total::RxData),
    /// Data for an index that no session has.
    RxIndex => Some(Total::RxData),
    /// Data for a session that is not established yet, or of a peer that is being removed.
    RxNoKeys => Some(Total::RxData),
    /// Data for a session that is too old, or has received too much.
    RxExpired => Some(Total::RxData),
    /// The peer's queue, or the device's, is full.
    RxQueue => Some(Total::RxData),
    /// The tag is wrong.
    RxAuth => Some(Total::RxData),
    /// Received before, or too old to tell.
    RxReplay => Some(Total::RxData),
    /// An inner packet that is neither IPv4 nor IPv6.
    RxInnerType => Some(Total::RxInner),
    /// An inner packet that claims a length that cannot be.
    RxInnerLength => Some(Total::RxInner),
    /// An inner packet whose source is not the peer's to use.
    RxSource => Some(Total::RxInner),
    /// Memory was short.
    RxMemory => Some(Total::RxData),
    // ---- handshake messages from the sockets
    /// The handshake queue is full, or contended while half full.
    HandshakeQueue => Some(Total::RxHandshake),
    /// The kernel's random number generator is not ready.
    HandshakeEntropy => Some(Total::RxHandshake),
    /// The first MAC is wrong: not made for this device's key.
    HandshakeMac => Some(Total::RxHandshake),
    /// Under load: answered with a cookie instead.
    HandshakeCookie => Some(Total::RxHandshake),
    /// Under load: too many from this source.
    HandshakeRate => Some(Total::RxHandshake),
    /// An initiation or response that does not authenticate, repeats an older one, or is of nobody.
    HandshakeInvalid => Some(Total::RxHandshake),
    /// A cookie reply that was not asked for, or is not authentic.
    CookieInvalid => Some(Total::RxHandshake),
    // ---- packets from the stack
    /// Neither IPv4 nor IPv6.
    TxType => Some(Total::TxRefused),
    /// No peer for the destination.
    TxNoPeer => Some(Total::TxRefused),
    /// The peer's endpoint is not known.
    TxNoEndpoint => Some(Total::TxRefused),
    /// A burst that could not be segmented.
    TxSegment => Some(Total::TxRefused),
    /// Too many wait for a handshake: the oldest goes.
    TxStaged => Some(Total::TxWaiting),
    /// Waited for a handshake when the device went down or the peer was removed.
    TxPurged => Some(Total::TxWaiting),
    /// The peer or the device is going away.
    TxGone => Some(Total::TxWaiting),
    /// The peer's queue, or the device's, is full.
    TxQueue => Some(Total::TxWaiting),
    /// Memory was short to seal it.
    TxSeal => Some(Total::TxWaiting),
    /// There is no socket: the device went down, or its namespace is gone.
    TxNoSocket => Some(Total::TxUnsent),
    /// There is no route to the endpoint.
    TxNoRoute => Some(Total::TxUnsent),
    /// Memory was short for the outer headers.
    TxMemory => Some(Total::TxUnsent),
    /// A handshake message or cookie of ours that could not be sent, for one of the last three. In
    /// no total: that there was something to answer tells that the question had the right MAC1.
    TxHandshake => None,
    // ---- what came later
    /// Can't be sealed: a packet that contradicts itself.
    TxMalformed => Some(Total::TxWaiting),
    /// The way to the peer's endpoint leads through the tunnel to that peer.
    TxLoop => Some(Total::TxRefused),
    /// Too long to leave in one piece, which was asked for.
    TxTooBig => Some(Total::TxRefused),
}

/// How many reasons there are.
pub(crate) const REASONS: usize = TOTAL_OF.len();

/// The counters of one device.
pub(crate) struct Drops(PerCpuCounters<REASONS>);

impl Drops {
    /// All zero. May sleep.
    pub(crate) fn new() -> kernel::prelude::Result<Self> {
        PerCpuCounters::new().map(Self)
    }

    /// Counts `n` packets dropped for a reason. Any context.
    #[cold]
    pub(crate) fn add(&self, reason: Reason, n: usize) {
        self.0.add(reason as usize, n as u64);
    }

    /// The counters by reason, in the order of [`Reason`]. For who may configure the device.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = u64> + '_ {
        (0..REASONS).map(|reason| self.0.sum(reason))
    }

    /// Writes the totals to `out`, in the order of [`TOTALS`]. For everybody.
    pub(crate) fn totals(&self, out: &mut [u64]) {
        for (total, value) in TOTAL_OF.iter().zip(self.by_reason()) {
            if let Some(sum) = total.and_then(|t| out.get_mut(t as usize)) {
                *sum += value;
            }
        }
    }
}
