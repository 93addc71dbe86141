// SPDX-License-Identifier: GPL-2.0
//! Two peers and a stranger shake hands while the fuzzer has the wire: it delays, repeats, drops,
//! redirects and changes messages, and makes up its own with a valid MAC1.
//!
//! A model knows which messages were made, by whom and for what. A side must take a message if and
//! only if it is one of those, unchanged in all that is authenticated, and its turn: no forgery,
//! no replay, no answer to something else. Who ends with the same handshake has the same keys, and
//! nobody else has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgk::crypto::{
    blake2s,
    Secret, //
};
use wireguard_rs_core::{
    cookie::{
        Checker,
        MacState,
        PeerCookie, //
    },
    messages::{
        classify,
        Initiation,
        Kind,
        Response,
        INITIATION_INTERVAL_NS, //
    },
    noise::{
        open_initiation,
        AuthenticatedInitiation,
        AuthenticatedResponse,
        Handshake,
        Rejected,
        StaticIdentity, //
    },
};
use wireguard_rs_fuzz::{
    mutate,
    Input, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

/// Messages that the wire remembers.
const KEPT: usize = 8;
/// The most operations in one run: each is a few curve operations.
const OPS: usize = 48;
/// Who nobody knows.
const STRANGER: usize = 2;

type Key = [u8; 32];

/// What of a message is authenticated. The indices and the MACs are not.
#[derive(Clone, PartialEq)]
enum Core {
    Initiation(Vec<u8>),
    Response(Vec<u8>),
}

impl Core {
    fn of(bytes: &[u8]) -> Self {
        if bytes.len() == 148 {
            Self::Initiation(bytes[8..116].to_vec())
        } else {
            Self::Response(bytes[12..60].to_vec())
        }
    }
}

/// A message that somebody made.
#[derive(Clone)]
struct Sent {
    bytes: Vec<u8>,
    core: Core,
    from: usize,
    to: usize,
    stamp: [u8; 12],
    /// Of an initiation: its number. Of a response: that of the initiation which it answers.
    initiation: u64,
    psk: Key,
}

/// What the model thinks of a side's handshake.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Progress {
    Idle,
    Initiated {
        initiation: u64,
    },
    Accepted {
        initiation: u64,
        index: u32,
    },
    Done {
        initiation: u64,
        index: u32,
        initiator: bool,
    },
}

/// A message that was opened and waits for the lock.
enum Opened {
    Initiation(AuthenticatedInitiation, Sent, u32),
    Response(AuthenticatedResponse, Sent, u32),
}

struct Side {
    id: StaticIdentity,
    handshake: Handshake,
    cookie: PeerCookie,
    checker: Checker,
    remote: Key,
    /// From here on, the model.
    progress: Progress,
    psk: Key,
    latest: [u8; 12],
    last_ns: Option<u64>,
}

impl Side {
    fn new(own: u8, other: u8) -> Self {
        let id = |n| StaticIdentity::from_private(Secret::from_bytes([n; 32])).unwrap();
        let (mut id, remote) = (id(own), *id(other).public());
        id.generation = 1;
        let mut checker = Checker::new();
        checker.set_identity(Some(id.public()));
        Self {
            handshake: Handshake::new(remote, Secret::zero()),
            cookie: PeerCookie::new(),
            checker,
            id,
            remote,
            progress: Progress::Idle,
            psk: [0; 32],
            latest: [0; 12],
            last_ns: None,
        }
    }
}

/// The keys that one side got out of a handshake.
struct Session {
    /// Of the response that ended it, by its bytes.
    initiation: u64,
    initiator: bool,
    sending: Key,
    receiving: Key,
}

struct World {
    sides: [Side; 3],
    wire: Vec<Sent>,
    opened: [Option<Opened>; 2],
    sessions: Vec<Session>,
    now: u64,
    made: u64,
}

impl World {
    fn new() -> Self {
        Self {
            // The stranger knows the first one's key, and that one does not know the stranger.
            sides: [Side::new(1, 2), Side::new(2, 1), Side::new(3, 1)],
            wire: vec![],
            opened: [None, None],
            sessions: vec![],
            now: 1 << 40,
            made: 0,
        }
    }

    /// A secret that never was before.
    fn ephemeral(&mut self) -> Secret<32> {
        self.made += 1;
        Secret::from_bytes(blake2s(b"ephemeral", &[&self.made.to_le_bytes()]))
    }

    fn send(&mut self, sent: Sent) {
        if self.wire.len() == KEPT {
            self.wire.remove(0);
        }
        self.wire.push(sent);
    }

    fn initiate(&mut self, from: usize, stamp: [u8; 12], index: u32) {
        let ephemeral = self.ephemeral();
        let (initiation, now) = (self.made, self.now);
        let side = &mut self.sides[from];
        let mut msg = side
            .handshake
            .create_initiation(&side.id, index, ephemeral, stamp)
            .expect("all keys are good");
        side.cookie.add_macs(&side.remote, msg.as_mut_bytes(), now);
        side.progress = Progress::Initiated { initiation };
        let (psk, bytes) = (side.psk, msg.as_bytes().to_vec());
        let to = if from == 0 { 1 } else { 0 };
        let core = Core::of(&bytes);
        self.send(Sent {
            bytes,
            core,
            from,
            to,
            stamp,
            initiation,
            psk,
        });
    }

    fn respond(&mut self, from: usize, index: u32) {
        let ephemeral = self.ephemeral();
        let now = self.now;
        let side = &mut self.sides[from];
        let msg = side.handshake.create_response(index, ephemeral);
        let Progress::Accepted { initiation, index } = side.progress else {
            assert!(msg.is_none(), "a response to nothing");
            return;
        };
        let mut msg = msg.expect("all keys are good");
        assert_eq!(msg.receiver_index.get(), index);
        side.cookie.add_macs(&side.remote, msg.as_mut_bytes(), now);
        side.progress = Progress::Done {
            initiation,
            index,
            initiator: false,
        };
        let (psk, bytes) = (side.psk, msg.as_bytes().to_vec());
        let core = Core::of(&bytes);
        let to = 1 - from;
        self.send(Sent {
            bytes,
            core,
            from,
            to,
            stamp: [0; 12],
            initiation,
            psk,
        });
    }

    /// The message that these bytes are, but for what is not authenticated.
    fn honest(&self, bytes: &[u8], to: usize) -> Option<Sent> {
        let core = Core::of(bytes);
        let found = self.wire.iter().find(|s| s.core == core && s.to == to);
        found.cloned()
    }

    /// A datagram arrives: the driver's way of it, up to where the handshake's lock is taken.
    fn receive(&mut self, to: usize, bytes: &[u8]) {
        let kind = classify(bytes, bytes.len());
        if !matches!(kind, Some(Kind::Initiation | Kind::Response)) {
            return;
        }
        let honest = self.honest(bytes, to);
        let now = self.now;
        let side = &mut self.sides[to];

        let macs = bytes.len() - 32;
        let key: Key = blake2s(&[], &[b"mac1----", side.id.public()]);
        let mac1: [u8; 16] = blake2s(&key, &[&bytes[..macs]]);
        let state = side.checker.mac_state(bytes, b"source", false, now);
        if mac1 != bytes[macs..macs + 16] {
            assert_eq!(state, MacState::Invalid);
            return;
        }
        assert_eq!(state, MacState::ValidNoCookie);

        if kind == Some(Kind::Initiation) {
            let msg = Initiation::ref_from_bytes(bytes).unwrap();
            let opened = open_initiation(msg, &side.id);
            let Some(opened) = opened else {
                assert!(honest.is_none(), "an honest initiation was not opened");
                return;
            };
            if opened.remote_static() != &side.remote {
                assert!(honest.is_none_or(|sent| sent.from == STRANGER));
                return;
            }
            let ss = side.handshake.static_static(&side.id).unwrap();
            match (opened.authenticate(&ss), honest) {
                (Some(auth), Some(sent)) if sent.from != STRANGER => {
                    let index = msg.sender_index.get();
                    self.opened[to] = Some(Opened::Initiation(auth, sent, index));
                }
                (None, None) => {}
                (Some(_), _) => panic!("a forged initiation"),
                (None, _) => panic!("an honest initiation was refused"),
            }
        } else {
            let msg = Response::ref_from_bytes(bytes).unwrap();
            let context = side.handshake.response_context();
            let Progress::Initiated { initiation } = side.progress else {
                assert!(context.is_none(), "a context without initiation");
                return;
            };
            let answers =
                honest.filter(|sent| sent.initiation == initiation && sent.psk == side.psk);
            let context = context.expect("there is an initiation");
            match (context.open(msg, &side.id), answers) {
                (Some(auth), Some(sent)) => {
                    let index = msg.sender_index.get();
                    self.opened[to] = Some(Opened::Response(auth, sent, index));
                }
                (None, None) => {}
                (Some(_), None) => panic!("a forged response"),
                (None, Some(_)) => panic!("an honest response was refused"),
            }
        }
    }

    /// Under the lock, perhaps much later.
    fn commit(&mut self, at: usize) {
        let now = self.now;
        let side = &mut self.sides[at];
        match self.opened[at].take() {
            None => {}
            Some(Opened::Initiation(auth, sent, index)) => {
                let want = if sent.stamp <= side.latest {
                    Err(Rejected::Replay)
                } else if side
                    .last_ns
                    .is_some_and(|t| now < t + INITIATION_INTERVAL_NS)
                {
                    Err(Rejected::Flood)
                } else {
                    Ok(())
                };
                assert_eq!(side.handshake.commit_initiation(auth, now), want);
                if want.is_ok() {
                    side.latest = sent.stamp;
                    side.last_ns = Some(now);
                    let initiation = sent.initiation;
                    side.progress = Progress::Accepted { initiation, index };
                }
            }
            Some(Opened::Response(auth, sent, index)) => {
                let initiation = sent.initiation;
                let current = side.progress == Progress::Initiated { initiation };
                assert_eq!(side.handshake.commit_response(auth), current);
                if current {
                    side.progress = Progress::Done {
                        initiation,
                        index,
                        initiator: true,
                    };
                }
            }
        }
    }

    fn begin(&mut self, at: usize) {
        let side = &mut self.sides[at];
        let keys = side.handshake.begin_session();
        let Progress::Done {
            initiation,
            index,
            initiator,
        } = side.progress
        else {
            assert!(keys.is_none(), "keys without a handshake");
            return;
        };
        side.progress = Progress::Idle;
        let keys = keys.expect("the handshake is finished");
        assert_eq!((keys.remote_index, keys.initiator), (index, initiator));
        let new = Session {
            initiation,
            initiator,
            sending: *keys.sending.as_bytes(),
            receiving: *keys.receiving.as_bytes(),
        };
        assert_ne!(new.sending, new.receiving);
        for old in &self.sessions {
            if old.initiation == initiation && old.initiator != initiator {
                // One initiation is accepted once, so there is one response to it.
                assert_eq!(new.sending, old.receiving);
                assert_eq!(new.receiving, old.sending);
            } else {
                let old = [old.sending, old.receiving];
                assert!(!old.contains(&new.sending) && !old.contains(&new.receiving));
            }
        }
        self.sessions.push(new);
    }

    /// Makes MAC1 right, as anyone can who knows the receiver's public key.
    fn fix_mac1(&self, to: usize, bytes: &mut [u8]) {
        PeerCookie::new().add_macs(self.sides[to].id.public(), bytes, self.now);
    }

    fn op(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let at = usize::from(op >> 7);
        match op & 15 {
            0 | 1 => {
                let (mut stamp, index) = ([0x40; 12], input.u32());
                stamp[4..].copy_from_slice(&self.now.to_be_bytes());
                self.initiate(at, stamp, index);
            }
            // Somebody whose clock is wrong.
            2 => {
                let stamp = input.array();
                self.initiate(at, stamp, 7);
            }
            3 => self.initiate(STRANGER, [0xff; 12], 9),
            4 | 5 => self.respond(at, u32::from(input.u8())),
            6..=9 if !self.wire.is_empty() => {
                let which = input.u8();
                // Bit 7: at whom it was not sent to. Bits 6 and 5: what is done to it.
                let sent = &self.wire[usize::from(which & 31) % self.wire.len()];
                let to = if which & 128 == 0 { sent.to } else { at };
                let mut bytes = sent.bytes.clone();
                if which & 64 != 0 {
                    mutate(input, &mut bytes);
                }
                if which & 32 != 0 {
                    self.fix_mac1(to, &mut bytes);
                }
                self.receive(to, &bytes);
            }
            10 => {
                let (word, len) = if input.bool() { (1, 148) } else { (2, 92) };
                let mut bytes = vec![0; len];
                let made_up = input.slice(len - 4);
                bytes[0] = word;
                bytes[4..4 + made_up.len()].copy_from_slice(made_up);
                self.fix_mac1(at, &mut bytes);
                self.receive(at, &bytes);
            }
            11 => self.begin(at),
            12 => {
                // An idle peer's keys, or `wg set` in between.
                self.sides[at].handshake.clear();
                self.sides[at].progress = Progress::Idle;
            }
            13 => {
                let psk = [input.u8() & 3; 32];
                self.sides[at].handshake.set_psk(Secret::from_bytes(psk));
                self.sides[at].psk = psk;
            }
            14 => self.now += u64::from(input.u16()) << 10,
            _ => self.commit(at),
        }
        // Most of the time the lock is free.
        if op & 0x40 == 0 {
            self.commit(0);
            self.commit(1);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    let mut input = Input::new(bytes);
    for _ in 0..OPS {
        if input.is_empty() {
            break;
        }
        world.op(&mut input);
    }
});
