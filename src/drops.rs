// SPDX-License-Identifier: GPL-2.0
//! Why packets are dropped: a counter per reason and device, shown by `ethtool -S`.
//!
//! Nothing that the driver has accepted, from the stack or from its sockets, ends without being
//! sent, delivered, worked on (a handshake message), or counted here. The interface's own counters
//! (`ip -s link`) count what the C driver counts, and nothing of this replaces them. What each
//! reason means, and what to do about it, is in Documentation/statistics.md.

use wgk::percpu::PerCpuCounters;

macro_rules! reasons {
    ($($(#[$doc:meta])+ $reason:ident = $name:literal,)+) => {
        /// A reason to drop a packet or message.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($(#[$doc])+ $reason,)+
        }

        /// Their names, in order.
        pub(crate) const NAMES: &[&str] = &[$($name,)+];
    };
}

reasons! {
    // ---- datagrams from the sockets
    /// Headers that cannot be, or that are not in one piece.
    RxHeader = "rx_drop_header",
    /// No WireGuard message, by type or length.
    RxType = "rx_drop_type",
    /// The device is going down or away.
    RxDown = "rx_drop_down",
    /// Data for an index that no session has.
    RxIndex = "rx_drop_index",
    /// Data for a session that is not established yet, or of a peer that is being removed.
    RxNoKeys = "rx_drop_no_keys",
    /// Data for a session that is too old, or has received too much.
    RxExpired = "rx_drop_expired",
    /// The peer's queue, or the device's, is full.
    RxQueue = "rx_drop_queue",
    /// The tag is wrong.
    RxAuth = "rx_drop_auth",
    /// Received before, or too old to tell.
    RxReplay = "rx_drop_replay",
    /// An inner packet that is neither IPv4 nor IPv6.
    RxInnerType = "rx_drop_inner_type",
    /// An inner packet that claims a length that cannot be.
    RxInnerLength = "rx_drop_inner_length",
    /// An inner packet whose source is not the peer's to use.
    RxSource = "rx_drop_source",
    /// Memory was short.
    RxMemory = "rx_drop_memory",
    // ---- handshake messages from the sockets
    /// The handshake queue is full, or contended while half full.
    HandshakeQueue = "rx_handshake_queue",
    /// The kernel's random number generator is not ready.
    HandshakeEntropy = "rx_handshake_entropy",
    /// The first MAC is wrong: not made for this device's key.
    HandshakeMac = "rx_handshake_mac",
    /// Under load: answered with a cookie instead.
    HandshakeCookie = "rx_handshake_cookie_sent",
    /// Under load: too many from this source.
    HandshakeRate = "rx_handshake_rate",
    /// An initiation or response that does not authenticate, repeats an older one, or is of nobody.
    HandshakeInvalid = "rx_handshake_invalid",
    /// A cookie reply that was not asked for, or is not authentic.
    CookieInvalid = "rx_cookie_invalid",
    // ---- packets from the stack
    /// Neither IPv4 nor IPv6.
    TxType = "tx_drop_type",
    /// No peer for the destination.
    TxNoPeer = "tx_drop_no_peer",
    /// The peer's endpoint is not known.
    TxNoEndpoint = "tx_drop_no_endpoint",
    /// A burst that could not be segmented.
    TxSegment = "tx_drop_segment",
    /// Too many wait for a handshake: the oldest goes.
    TxStaged = "tx_drop_staged",
    /// Waited for a handshake when the device went down or the peer was removed.
    TxPurged = "tx_drop_purged",
    /// The peer or the device is going away.
    TxGone = "tx_drop_gone",
    /// The peer's queue, or the device's, is full.
    TxQueue = "tx_drop_queue",
    /// Could not be sealed: memory was short, or the packet is malformed.
    TxSeal = "tx_drop_seal",
    /// There is no socket: the device went down, or its namespace is gone.
    TxNoSocket = "tx_drop_no_socket",
    /// There is no route to the endpoint.
    TxNoRoute = "tx_drop_no_route",
    /// Memory was short for the outer headers.
    TxMemory = "tx_drop_memory",
    /// A handshake message or cookie of ours that could not be sent, for one of the last three.
    TxHandshake = "tx_handshake_lost",
}

/// The counters of one device.
pub(crate) struct Drops(PerCpuCounters<{ NAMES.len() }>);

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

    /// Writes the counters to `out`, in the order of [`NAMES`].
    pub(crate) fn read(&self, out: &mut [u64]) {
        for (i, value) in out.iter_mut().enumerate() {
            *value = self.0.sum(i);
        }
    }
}
