// SPDX-License-Identifier: GPL-2.0
//! One side: a device with its peer, the other side, and the state of both.

use std::{
    collections::BTreeMap,
    sync::Arc, //
};

use crate::{
    conduct::Failed,
    cookie::{
        Checker,
        PeerCookie, //
    },
    crypto::Secret,
    keypairs::{
        Keypairs,
        Rotation, //
    },
    life::{
        KeyLife,
        Origin, //
    },
    load::Load,
    messages::{
        classify,
        NSEC_PER_SEC,
        REKEY_TIMEOUT_JITTER_MAX_NS, //
    },
    noise::{
        Handshake,
        SessionKeys,
        StaticIdentity, //
    },
    rcu::{
        read_lock,
        RcuArc,
        RcuObject, //
    },
    replay::ReplayWindow,
    timers::Timers, //
};

/// A packet to send: `None` an empty message, else what the user sent.
pub type Packet = Option<u8>;

/// What [`Keypairs`] holds: the number of a session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key(pub(crate) u32);
impl RcuObject for Key {}

/// A session, pending until it has keys. Its number is its index, too.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) established: Option<(SessionKeys, Origin)>,
    pub(crate) life: KeyLife,
    pub(crate) replay: Arc<ReplayWindow>,
}

/// What is under way to `to`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Datagram {
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) bytes: Vec<u8>,
}

impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = classify(&self.bytes, self.bytes.len());
        write!(f, "{kind:?} {}->{}", self.from, self.to)
    }
}

/// What does not change.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Persistent keepalive of each side in nanoseconds.
    pub keepalive_ns: [u64; 2],
    /// The share of the jitter that each side draws, in nanoseconds.
    pub jitter_ns: [u64; 2],
}

impl Config {
    /// Different jitters, no keepalive.
    pub const PLAIN: Self = Self {
        keepalive_ns: [0; 2],
        jitter_ns: [0, REKEY_TIMEOUT_JITTER_MAX_NS - 1],
    };
    /// The first side keeps the way open.
    pub const KEEPALIVE: Self = Self {
        keepalive_ns: [25 * NSEC_PER_SEC, 0],
        ..Self::PLAIN
    };
}

/// A side's device, with its peer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Side {
    pub(crate) timers: Timers,
    /// When the kernel's timer fires.
    pub(crate) armed: Option<u64>,
    /// Boot time is that much later than the time that timers go by: it was asleep.
    pub(crate) slept_ns: u64,
    pub(crate) handshake: Handshake,
    pub(crate) pending: Option<u32>,
    pub(crate) keypairs: Keypairs<Key>,
    /// Whether it was told that a session began, and not that there is none any more.
    pub(crate) told: bool,
    pub(crate) sessions: BTreeMap<u32, Session>,
    /// Sessions and ephemeral keys made so far.
    pub(crate) made: u32,
    pub(crate) cookie: PeerCookie,
    pub(crate) checker: Checker,
    pub(crate) load: Load,
    pub(crate) staged: Vec<Packet>,
    /// Packets that found no session, on their way back.
    pub(crate) held: Option<Vec<Packet>>,
    /// Works that wait for a worker.
    pub(crate) initiator_called: bool,
    pub(crate) clearer_called: bool,
    pub(crate) up: bool,
    /// Whether there is randomness.
    pub(crate) ready: bool,
    /// Allocations that succeed; `None`: all.
    pub(crate) memory: Option<u8>,
    pub(crate) address: u8,
    pub(crate) endpoint: u8,
    /// Where initiations went to that are still to be kept a distance from, and when: boot time.
    pub(crate) initiated: Vec<(u8, u64)>,
    /// Packets of the user's that came, for the properties.
    pub(crate) delivered: Vec<u8>,
    /// Whether an authentic transport message came since that was last asked for.
    pub(crate) heard: bool,
}

/// The identity of a side; a constant, so no part of the state.
pub(crate) fn identity(side: usize) -> StaticIdentity {
    let secret = Secret::from_bytes([side as u8 + 1; 32]);
    let mut id = StaticIdentity::from_private(secret).expect("not zero");
    id.generation = 1;
    id
}

impl Side {
    pub(crate) fn new(side: usize, ready: bool) -> Self {
        let mut checker = Checker::new();
        checker.set_identity(Some(identity(side).public()));
        Self {
            timers: Timers::new(true),
            armed: None,
            slept_ns: 0,
            handshake: Handshake::new(*identity(1 - side).public(), Secret::zero()),
            pending: None,
            keypairs: Keypairs::new(),
            told: false,
            sessions: BTreeMap::new(),
            made: 0,
            cookie: PeerCookie::new(),
            checker,
            load: Load::new(),
            staged: vec![],
            held: None,
            initiator_called: false,
            clearer_called: false,
            up: true,
            ready,
            memory: None,
            address: side as u8,
            endpoint: 1 - side as u8,
            initiated: vec![],
            delivered: vec![],
            heard: false,
        }
    }

    /// Asks for memory; `false` if there is none.
    pub(crate) fn allocate(&mut self) -> bool {
        match &mut self.memory {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// The current session.
    pub(crate) fn current(&self) -> Option<u32> {
        self.keypairs.current(&read_lock()).map(|k| k.0)
    }

    /// A session with its keys' origin.
    pub(crate) fn established(&self, number: u32) -> Option<(&Session, &SessionKeys, Origin)> {
        let session = self.sessions.get(&number)?;
        let (keys, origin) = session.established.as_ref()?;
        Some((session, keys, *origin))
    }

    /// How long the current session lasts, by its age; 0 without one.
    pub(crate) fn session_left(&self, now: u64) -> u64 {
        let current = self.current().and_then(|n| self.established(n));
        current.map_or(0, |(_, _, origin)| origin.left(now + self.slept_ns))
    }

    pub(crate) fn forget<'a>(&mut self, keys: impl IntoIterator<Item = &'a Option<RcuArc<Key>>>) {
        for key in keys.into_iter().flatten() {
            self.sessions.remove(&key.0);
        }
    }

    pub(crate) fn clear_handshake(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.sessions.remove(&pending);
        }
        self.handshake.clear();
    }

    pub(crate) fn clear_keypairs(&mut self) {
        let dropped = self.keypairs.clear(&mut Rotation::default());
        self.forget(&dropped);
    }

    /// Replaces the pending session; the new one's index.
    pub(crate) fn new_pending(&mut self, side: usize) -> Result<u32, Failed> {
        if let Some(old) = self.pending.take() {
            self.sessions.remove(&old);
        }
        // The session, and its place in the index table.
        if !self.allocate() || !self.allocate() {
            return Err(Failed::ForNow);
        }
        self.made += 1;
        let index = (side as u32) << 24 | self.made;
        self.pending = Some(index);
        let session = Session {
            established: None,
            life: KeyLife::new(),
            replay: Arc::new(ReplayWindow::new()),
        };
        self.sessions.insert(index, session);
        Ok(index)
    }

    /// An ephemeral key that no other is equal to.
    pub(crate) fn ephemeral(&mut self, side: usize) -> Secret<32> {
        let mut bytes = [0x80 | side as u8; 32];
        bytes[..4].copy_from_slice(&self.made.to_le_bytes());
        Secret::from_bytes(bytes)
    }
}
