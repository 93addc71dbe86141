// SPDX-License-Identifier: GPL-2.0
//! MAC1, MAC2 and cookies between one device and two peers of it, with the fuzzer on the wire.
//!
//! The model does no cryptography: it knows who made which MAC with what, and from that what the
//! device and the peers must make of a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgk::crypto::blake2s;
use wireguard_rs_core::{
    cookie::{
        Checker,
        MacState,
        PeerCookie, //
    },
    messages::{
        CookieReply,
        COOKIE_SECRET_LATENCY_NS,
        COOKIE_SECRET_MAX_AGE_NS,
        NSEC_PER_SEC, //
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

const PUBLIC: [[u8; 32]; 2] = [[7; 32], [8; 32]];
const SOURCES: [&[u8]; 4] = [
    &[192, 0, 2, 1, 0, 1],
    &[192, 0, 2, 1, 0, 2],
    &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
    // The start of the one above: sources are compared whole.
    &[0xfd, 0, 0, 0, 0, 0],
];

/// Under which secret, the n-th, and for which source a cookie was made.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Cookie {
    secret: u64,
    source: usize,
}

/// A handshake message as it left a peer.
struct Packet {
    bytes: Vec<u8>,
    /// What its MAC2 was made with.
    cookie: Option<Cookie>,
}

/// A peer that talks to the device as `PUBLIC[0]`.
struct Peer {
    state: PeerCookie,
    last: Option<Packet>,
    /// Whether an answer to `last` would be taken.
    waiting: bool,
    cookie: Option<(Cookie, u64)>,
}

/// A cookie reply, and the MAC1 that it answers.
struct Reply {
    bytes: Vec<u8>,
    mac1: Vec<u8>,
    identity: usize,
    cookie: Cookie,
}

struct World {
    checker: Checker,
    /// Which of [`PUBLIC`] the device is.
    identity: Option<usize>,
    /// The n-th secret, and since when.
    secret: Option<(u64, u64)>,
    peers: [Peer; 2],
    replies: Vec<Reply>,
    made: u64,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut checker = Checker::new();
        checker.set_identity(Some(&PUBLIC[0]));
        Self {
            checker,
            identity: Some(0),
            secret: None,
            peers: [(); 2].map(|()| Peer {
                state: PeerCookie::new(),
                last: None,
                waiting: false,
                cookie: None,
            }),
            replies: vec![],
            made: 0,
            now: NSEC_PER_SEC,
        }
    }

    fn fresh_secret(&self) -> Option<u64> {
        let (secret, since) = self.secret?;
        (self.now < since + COOKIE_SECRET_MAX_AGE_NS).then_some(secret)
    }

    fn send(&mut self, who: usize, mut bytes: Vec<u8>) {
        let peer = &mut self.peers[who];
        peer.state.add_macs(&PUBLIC[0], &mut bytes, self.now);
        let max_age = COOKIE_SECRET_MAX_AGE_NS - COOKIE_SECRET_LATENCY_NS;
        let cookie = peer.cookie.filter(|(_, since)| self.now < since + max_age);
        let mac2 = &bytes[bytes.len() - 16..];
        assert_eq!(mac2 != [0; 16], cookie.is_some());
        let cookie = cookie.map(|(cookie, _)| cookie);
        peer.last = Some(Packet { bytes, cookie });
        peer.waiting = true;
    }

    /// What a peer sent last arrives, changed or not, from `source`.
    fn check(&self, input: &mut Input<'_>, who: usize, source: usize, under_load: bool) {
        let Some(sent) = &self.peers[who].last else {
            return;
        };
        let mut bytes = sent.bytes.clone();
        mutate(input, &mut bytes);
        let cut = bytes.len() - 16;
        let proved = sent.cookie.is_some()
            && bytes == sent.bytes
            && sent.cookie == self.fresh_secret().map(|secret| Cookie { secret, source });
        let want = if self.identity != Some(0) || bytes[..cut] != sent.bytes[..cut] {
            MacState::Invalid
        } else if under_load && proved {
            MacState::ValidWithCookie
        } else {
            MacState::ValidNoCookie
        };
        let state = |bytes: &[u8]| {
            self.checker
                .mac_state(bytes, SOURCES[source], under_load, self.now)
        };
        assert_eq!(state(&bytes), want);
        // Of another length it never is valid.
        assert_eq!(state(&bytes[..cut]), MacState::Invalid);
        assert_eq!(state(&bytes[1..]), MacState::Invalid);
    }

    fn reply(&mut self, who: usize, source: usize, receiver: u32) {
        let Some(sent) = &self.peers[who].last else {
            return;
        };
        let at = sent.bytes.len() - 32;
        let mac1: [u8; 16] = sent.bytes[at..at + 16].try_into().unwrap();
        self.made += 1;
        let hash: [u8; 24] = blake2s(b"nonce", &[&self.made.to_le_bytes()]);
        let reply = self
            .checker
            .make_reply(&mac1, SOURCES[source], receiver, hash, self.now);
        let (Some(identity), Some(secret)) = (self.identity, self.fresh_secret()) else {
            assert!(reply.is_none(), "a cookie of no secret");
            return;
        };
        let reply = reply.expect("there is a secret");
        assert_eq!(reply.receiver_index.get(), receiver);
        if self.replies.len() == 8 {
            self.replies.remove(0);
        }
        self.replies.push(Reply {
            bytes: reply.as_bytes().to_vec(),
            mac1: mac1.to_vec(),
            identity,
            cookie: Cookie { secret, source },
        });
    }

    /// A reply arrives, changed or not, at somebody.
    fn consume(&mut self, input: &mut Input<'_>, who: usize) {
        if self.replies.is_empty() {
            return;
        }
        let reply = &self.replies[input.below(self.replies.len())];
        let mut bytes = reply.bytes.clone();
        mutate(input, &mut bytes);
        let peer = &mut self.peers[who];
        // Type and index are not authenticated.
        let want = peer.waiting
            && bytes[8..] == reply.bytes[8..]
            && reply.identity == 0
            && peer
                .last
                .as_ref()
                .is_some_and(|p| p.bytes[p.bytes.len() - 32..][..16] == reply.mac1);
        let msg = CookieReply::ref_from_bytes(&bytes).unwrap();
        assert_eq!(peer.state.consume_reply(&PUBLIC[0], msg, self.now), want);
        if want {
            peer.waiting = false;
            peer.cookie = Some((reply.cookie, self.now));
        }
    }

    fn op(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let (who, source) = (usize::from(op >> 7), usize::from(op >> 5) & 3);
        match op & 15 {
            0..=2 => {
                let mut bytes = vec![0; if op & 16 == 0 { 148 } else { 92 }];
                let body = input.slice(8);
                bytes[..body.len()].copy_from_slice(body);
                self.send(who, bytes);
            }
            3 | 4 => self.check(input, who, source, op & 16 == 0),
            5..=7 => self.reply(who, source, u32::from(op)),
            8..=10 => self.consume(input, who),
            11 | 12 => {
                let due = self.fresh_secret().is_none();
                assert_eq!(self.checker.secret_due(self.now), due);
                self.made += 1;
                let (made, mut asked) = (self.made, false);
                self.checker.renew_secret(self.now, || {
                    asked = true;
                    blake2s(b"secret", &[&made.to_le_bytes()])
                });
                assert_eq!(asked, due);
                if due {
                    self.secret = Some((made, self.now));
                }
            }
            13 => self.now += u64::from(input.u8()) * NSEC_PER_SEC,
            14 => self.now += u64::from(input.u32()),
            _ => {
                let new = input.below(4);
                self.identity = (new < 2).then_some(new);
                self.checker.set_identity(self.identity.map(|n| &PUBLIC[n]));
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        world.op(&mut input);
    }
});
