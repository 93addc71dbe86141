// SPDX-License-Identifier: GPL-2.0
//! Hostile handshake messages: every single-bit change of each kind is refused somewhere on the
//! way that the driver takes them, and no bytes at all make it panic.

use proptest::prelude::*;
use wgk::crypto::Secret;
use wireguard_rs_core::{
    cookie::{
        Checker,
        MacState,
        PeerCookie, //
    },
    messages::{
        classify,
        CookieReply,
        DataHeader,
        Initiation,
        Kind,
        Response, //
    },
    noise::{
        open_initiation,
        Handshake,
        StaticIdentity, //
    },
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

const NOW: u64 = 1 << 40;
const STAMP: [u8; 12] = [0x40, 0, 0, 0, 0x65, 4, 3, 2, 1, 0, 0, 0];
const SOURCE: [u8; 6] = [192, 0, 2, 1, 1, 2];

struct Side {
    id: StaticIdentity,
    handshake: Handshake,
    remote: [u8; 32],
    cookie: PeerCookie,
    checker: Checker,
}

/// Initiator and responder.
fn sides() -> [Side; 2] {
    let id = |n| StaticIdentity::from_private(Secret::from_bytes([n; 32])).unwrap();
    let side = |own: u8, other: u8| {
        let own = id(own);
        let mut checker = Checker::new();
        checker.set_identity(Some(own.public()));
        checker.renew_secret(NOW, || [own.public()[0]; 32]);
        let remote = *id(other).public();
        Side {
            id: own,
            handshake: Handshake::new(remote, Secret::from_bytes([3; 32])),
            remote,
            cookie: PeerCookie::new(),
            checker,
        }
    };
    [side(1, 2), side(2, 1)]
}

/// A message that a side took.
#[derive(PartialEq, Eq, Debug)]
enum Taken {
    Initiation,
    Response,
    Cookie,
}

impl Side {
    /// The driver's way of a received handshake message, up to where its state changes; with
    /// `check_macs` as under load, without as if the MACs were always right.
    fn take(&mut self, msg: &[u8], check_macs: bool) -> Option<Taken> {
        let kind = classify(msg, msg.len())?;
        if kind == Kind::CookieReply {
            let reply = CookieReply::ref_from_bytes(msg).ok()?;
            return self
                .cookie
                .consume_reply(&self.remote, reply, NOW)
                .then_some(Taken::Cookie);
        }
        if check_macs
            && self.checker.mac_state(msg, &SOURCE, true, NOW) != MacState::ValidWithCookie
        {
            return None;
        }
        match kind {
            Kind::Initiation => {
                let msg = Initiation::ref_from_bytes(msg).ok()?;
                let opened = open_initiation(msg, &self.id)?;
                if opened.remote_static() != &self.remote {
                    return None;
                }
                let ss = self.handshake.static_static(&self.id)?;
                opened.authenticate(&ss)?;
                Some(Taken::Initiation)
            }
            Kind::Response => {
                let msg = Response::ref_from_bytes(msg).ok()?;
                let context = self.handshake.response_context()?;
                context.open(msg, &self.id)?;
                Some(Taken::Response)
            }
            _ => None,
        }
    }

    fn add_macs(&mut self, msg: &mut [u8]) {
        self.cookie.add_macs(&self.remote, msg, NOW);
    }

    /// Gets a cookie of `other` for the message `msg`, and adds MACs again.
    fn get_cookie(&mut self, other: &Side, msg: &mut [u8]) -> CookieReply {
        self.add_macs(msg);
        let reply = other
            .checker
            .make_reply(&mac1_of(msg), &SOURCE, 1, [9; 24], NOW)
            .unwrap();
        assert!(self.cookie.consume_reply(&self.remote, &reply, NOW));
        self.add_macs(msg);
        reply
    }
}

/// MAC1 of a whole initiation or response.
fn mac1_of(msg: &[u8]) -> [u8; 16] {
    msg[msg.len() - 32..msg.len() - 16].try_into().unwrap()
}

fn flip(msg: &mut [u8], bit: usize) {
    msg[bit / 8] ^= 1 << (bit % 8);
}

/// Sets both up to the point where the initiator waits for the response that is returned.
fn until_response(a: &mut Side, b: &mut Side) -> (Initiation, Response) {
    let mut first = a
        .handshake
        .create_initiation(&a.id, 1, Secret::from_bytes([4; 32]), STAMP)
        .unwrap();
    a.get_cookie(b, first.as_mut_bytes());
    let ss = b.handshake.static_static(&b.id).unwrap();
    let opened = open_initiation(&first, &b.id).unwrap();
    let authenticated = opened.authenticate(&ss).unwrap();
    b.handshake.commit_initiation(authenticated, NOW).unwrap();
    let mut second = b
        .handshake
        .create_response(2, Secret::from_bytes([5; 32]))
        .unwrap();
    b.get_cookie(a, second.as_mut_bytes());
    (first, second)
}

#[test]
fn every_bit_of_an_initiation_counts() {
    let [mut a, mut b] = sides();
    let (mut msg, _) = until_response(&mut a, &mut b);
    assert_eq!(b.take(msg.as_bytes(), true), Some(Taken::Initiation));
    for bit in 0..148 * 8 {
        flip(msg.as_mut_bytes(), bit);
        assert_eq!(b.take(msg.as_bytes(), true), None, "bit {bit}");
        // Even without MACs, all but the sender's index and the MACs themselves is protected.
        let noise = !(32..64).contains(&bit) && bit < 116 * 8;
        assert_eq!(b.take(msg.as_bytes(), false).is_none(), noise, "bit {bit}");
        flip(msg.as_mut_bytes(), bit);
    }
}

#[test]
fn every_bit_of_a_response_counts() {
    let [mut a, mut b] = sides();
    let (_, mut msg) = until_response(&mut a, &mut b);
    assert_eq!(a.take(msg.as_bytes(), true), Some(Taken::Response));
    for bit in 0..92 * 8 {
        flip(msg.as_mut_bytes(), bit);
        assert_eq!(a.take(msg.as_bytes(), true), None, "bit {bit}");
        let noise = !(32..96).contains(&bit) && bit < 60 * 8;
        assert_eq!(a.take(msg.as_bytes(), false).is_none(), noise, "bit {bit}");
        flip(msg.as_mut_bytes(), bit);
    }
}

#[test]
fn every_bit_of_a_cookie_reply_counts() {
    let [mut a, b] = sides();
    let mut msg = a
        .handshake
        .create_initiation(&a.id, 1, Secret::from_bytes([4; 32]), STAMP)
        .unwrap();
    a.add_macs(msg.as_mut_bytes());
    let mut reply = b
        .checker
        .make_reply(&msg.macs.mac1, &SOURCE, 1, [9; 24], NOW)
        .unwrap();
    // The index finds the peer, whose key then does not fit: that is the table's part.
    for bit in (0..32).chain(64..64 * 8) {
        flip(reply.as_mut_bytes(), bit);
        assert_eq!(a.take(reply.as_bytes(), true), None, "bit {bit}");
        flip(reply.as_mut_bytes(), bit);
    }
    assert_eq!(a.take(reply.as_bytes(), true), Some(Taken::Cookie));
}

/// Bytes of any length, often one that is right for the type in front.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![Just(148usize), Just(92), Just(64), Just(32), 0usize..200];
    (any::<u8>(), any::<bool>(), len).prop_flat_map(|(kind, known, len)| {
        prop::collection::vec(any::<u8>(), len).prop_map(move |mut bytes| {
            if known && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&[1 + kind % 4, 0, 0, 0]);
            }
            bytes
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn random_bytes_are_refused(msg in bytes(), check_macs in any::<bool>()) {
        let [mut a, mut b] = sides();
        a.handshake.create_initiation(&a.id, 1, Secret::from_bytes([4; 32]), STAMP);
        a.add_macs(&mut [0; 148]);
        prop_assert_eq!(a.take(&msg, check_macs), None);
        prop_assert_eq!(b.take(&msg, check_macs), None);
        // MACs fit into whatever has room for them, and nothing else is touched.
        let mut maced = msg.clone();
        a.add_macs(&mut maced);
        let kept = if msg.len() < 32 { msg.len() } else { msg.len() - 32 };
        prop_assert_eq!(&maced[..kept], &msg[..kept]);
    }

    /// What `classify` says is what zerocopy finds.
    #[test]
    fn classify_agrees_with_the_types(msg in bytes()) {
        let word = msg.first_chunk().map(|word| u32::from_le_bytes(*word));
        let want = match word {
            Some(1) if Initiation::ref_from_bytes(&msg).is_ok() => Some(Kind::Initiation),
            Some(2) if Response::ref_from_bytes(&msg).is_ok() => Some(Kind::Response),
            Some(3) if CookieReply::ref_from_bytes(&msg).is_ok() => Some(Kind::CookieReply),
            Some(4) => DataHeader::ref_from_prefix(&msg)
                .is_ok_and(|(_, rest)| rest.len() >= 16)
                .then_some(Kind::Data),
            _ => None,
        };
        prop_assert_eq!(classify(&msg, msg.len()), want);
    }
}
