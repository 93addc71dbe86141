// SPDX-License-Identifier: GPL-2.0
//! A session: one entry of the index table, from the handshake that opens it to its last packet.
//!
//! The object is made when a handshake message is about to carry its index, and stays the same
//! object when the handshake ends: only the keys are added. So an index never has to be handed over
//! from one table entry to another, and a lookup can't see the table between the two.
//!
//! References: the index table holds one from insertion until it's removed there; the peer holds
//! one, first as its pending handshake, then in its [`Keypairs`](crate::keypairs::Keypairs); each
//! batch of packets in a queue holds one. A session holds its peer. The ring peer → session → peer
//! is opened when the peer is removed or the device goes away, never by a count reaching zero.

use core::ffi::CStr;

use kernel::{
    prelude::*,
    sync::SetOnce, //
};

use wgk::{
    atomic::{
        Atomic,
        Relaxed, //
    },
    batch::{
        Consumer,
        ConsumerCell, //
    },
    crypto::Secret,
    hashtable::IndexNode,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    trace, //
};

use crate::{
    life::{
        KeyLife,
        Origin, //
    },
    noise::SessionKeys,
    peer::Peer,
    replay::ReplayWindow, //
};

/// Numbers sessions for the lifecycle lines, across all devices of the module.
static SESSION_COUNTER: Atomic<u64> = Atomic::new(0);

/// What a finished handshake adds to a session.
pub(crate) struct Keys {
    /// Number in the lifecycle lines.
    pub(crate) id: u64,
    /// Secrets, the peer's index, and which side began.
    pub(crate) session: SessionKeys,
    /// When they were derived, and who began.
    pub(crate) origin: Origin,
}

/// One session, pending or with keys.
#[pin_data]
pub(crate) struct Session {
    #[pin]
    node: IndexNode,
    /// Whose session this is.
    pub(crate) peer: RcuArc<Peer>,
    keys: SetOnce<Keys>,
    life: KeyLife,
    /// Counters already received. For who delivers the peer's packets: whichever NAPI instance that
    /// is, there is one at a time.
    replay: ConsumerCell<Session, ReplayWindow>,
}

wgk::impl_has_index_node! { impl HasIndexNode for Session { self.node } }

impl RcuObject for Session {
    fn on_last_ref(&self) {
        if let Some(keys) = self.keys.as_ref() {
            let side = side_name(keys.origin.initiator);
            trace::session_ended(|| (self.peer.device.traced(), self.peer.id, keys.id, side));
            wgk::object_debug!(
                "{}: Keypair {} destroyed for peer {}\n",
                self.peer.device.name(),
                keys.id,
                self.peer.id
            );
        }
    }
}

/// What tracepoints say of who began a session.
pub(crate) fn side_name(initiator: bool) -> &'static CStr {
    if initiator {
        c"initiator"
    } else {
        c"responder"
    }
}

impl Session {
    /// A session without keys or index, for a handshake that is about to be sent. May sleep.
    pub(crate) fn new(peer: RcuArc<Peer>) -> Result<RcuArc<Self>> {
        RcuArc::pin_init(
            try_pin_init!(Self {
                node <- IndexNode::new(),
                replay: ConsumerCell::new(&peer.rx, ReplayWindow::new()),
                peer,
                keys: SetOnce::new(),
                life: KeyLife::new(),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Adds the keys, once. From now on packets with the session's index are accepted.
    pub(crate) fn establish(&self, session: SessionKeys, now_ns: u64) -> u64 {
        let id = SESSION_COUNTER.fetch_add(1, Relaxed) + 1;
        let origin = Origin {
            birthdate_ns: now_ns,
            initiator: session.initiator,
        };
        self.keys.populate(Keys {
            id,
            session,
            origin,
        });
        id
    }

    /// The keys, once there are any.
    #[inline]
    pub(crate) fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Stops sending with this session. It still receives until it is replaced or too old.
    pub(crate) fn expire_sending(&self) {
        self.life.expire_sending();
    }

    /// Takes `n` consecutive nonces for sending, or none if the session may not be used any more:
    /// the caller then needs a new handshake. Returns the first.
    pub(crate) fn take_nonces(&self, keys: &Keys, n: u64, now_ns: u64) -> Option<u64> {
        self.life.take_nonces(keys.origin, n, now_ns)
    }

    /// Whether the session may be used for sending.
    pub(crate) fn may_send(&self, now_ns: u64) -> bool {
        self.keys()
            .is_some_and(|keys| self.life.may_send(keys.origin, now_ns))
    }

    /// Whether sending has used the session for long enough that its initiator should renew it.
    pub(crate) fn wants_rekey_on_send(&self, now_ns: u64) -> bool {
        self.keys()
            .is_some_and(|keys| self.life.wants_rekey_on_send(keys.origin, now_ns))
    }

    /// Whether the session's initiator has `age_ns` or more behind it, while it is in use. For the
    /// last-minute handshake of a side that only receives.
    pub(crate) fn initiator_older_than(&self, age_ns: u64, now_ns: u64) -> bool {
        self.keys()
            .is_some_and(|keys| self.life.initiator_older_than(keys.origin, age_ns, now_ns))
    }

    /// The key to open received packets with, unless the session is past its life.
    #[inline]
    pub(crate) fn receiving_key(&self, now_ns: u64) -> Option<&Secret<32>> {
        let keys = self.keys()?;
        self.life
            .may_receive(keys.origin, now_ns)
            .then_some(&keys.session.receiving)
    }

    /// Marks `counter` as received; false if it was before, is too old, or past the limit. For who
    /// consumes the peer's queue of received packets: to others it's false.
    #[inline]
    pub(crate) fn accept_counter(&self, queue: &mut Consumer<'_, Session>, counter: u64) -> bool {
        let Some(window) = self.replay.get(queue) else {
            return false;
        };
        let fresh = window.accept(counter);
        if window.exhausted() {
            self.life.expire_receiving();
        }
        fresh
    }
}
