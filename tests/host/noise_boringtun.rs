// SPDX-License-Identifier: GPL-2.0
//! Whole messages against `boringtun`, Cloudflare's WireGuard: handshakes in both roles, cookies
//! in both roles, data in both directions, with and without a pre-shared key.

use std::{
    net::{
        IpAddr,
        Ipv4Addr, //
    },
    sync::Arc,
};

use boringtun::{
    noise::{
        rate_limiter::RateLimiter,
        Tunn,
        TunnResult, //
    },
    x25519::{
        PublicKey,
        StaticSecret, //
    },
};
use wgk::crypto::{
    aead_open,
    aead_seal,
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
        data_len,
        padding,
        tai64n,
        CookieReply,
        DataHeader,
        Initiation,
        Kind,
        Response, //
    },
    noise::{
        open_initiation,
        Handshake,
        SessionKeys,
        StaticIdentity, //
    },
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 100 * SECOND;
const OUR_INDEX: u32 = 0x8765_4321;
const THEIR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// Address and port, as the checker wants them.
const THEIR_SOURCE: [u8; 6] = [192, 0, 2, 7, 0xca, 0x6c];
const PSK: [u8; 32] = [0x5a; 32];

/// Our side of a tunnel, as the driver has it, without everything that is not protocol.
struct Ours {
    id: StaticIdentity,
    handshake: Handshake,
    their_public: [u8; 32],
    cookie: PeerCookie,
    checker: Checker,
    now: u64,
    ephemerals: u8,
}

/// Both sides. `load_limit` is how many handshake messages a second boringtun takes without a
/// cookie.
fn tunnel(our_psk: Option<[u8; 32]>, their_psk: Option<[u8; 32]>, load_limit: u64) -> (Ours, Tunn) {
    let id = StaticIdentity::from_private(Secret::from_bytes([0x17; 32])).unwrap();
    let theirs = StaticSecret::from([0x71; 32]);
    let their_public = PublicKey::from(&theirs);
    let limiter = Arc::new(RateLimiter::new(&their_public, load_limit));
    let tunn = Tunn::new(
        theirs,
        PublicKey::from(*id.public()),
        their_psk,
        None,
        3,
        Some(limiter),
    );
    let mut checker = Checker::new();
    checker.set_identity(Some(id.public()));
    let psk = our_psk.map_or_else(Secret::zero, Secret::from_bytes);
    let ours = Ours {
        id,
        handshake: Handshake::new(*their_public.as_bytes(), psk),
        their_public: *their_public.as_bytes(),
        cookie: PeerCookie::new(),
        checker,
        now: NOW,
        ephemerals: 0,
    };
    (ours, tunn)
}

impl Ours {
    fn ephemeral(&mut self) -> Secret<32> {
        self.ephemerals += 1;
        Secret::from_bytes([self.ephemerals; 32])
    }

    fn add_macs(&mut self, msg: &mut [u8]) {
        self.cookie.add_macs(&self.their_public, msg, self.now);
    }

    fn initiate(&mut self) -> Initiation {
        self.now += SECOND;
        let stamp = tai64n((self.now / SECOND) as i64, 0);
        let ephemeral = self.ephemeral();
        let mut msg = self
            .handshake
            .create_initiation(&self.id, OUR_INDEX, ephemeral, stamp)
            .unwrap();
        self.add_macs(msg.as_mut_bytes());
        msg
    }

    fn mac_state(&self, msg: &[u8], under_load: bool) -> MacState {
        self.checker
            .mac_state(msg, &THEIR_SOURCE, under_load, self.now)
    }

    /// Takes an initiation and answers it.
    fn respond(&mut self, msg: &[u8]) -> Response {
        assert_eq!(classify(msg, msg.len()), Some(Kind::Initiation));
        let msg = Initiation::ref_from_bytes(msg).unwrap();
        let opened = open_initiation(msg, &self.id).unwrap();
        assert_eq!(opened.remote_static(), &self.their_public);
        let ss = self.handshake.static_static(&self.id).unwrap();
        let authenticated = opened.authenticate(&ss).unwrap();
        self.handshake
            .commit_initiation(authenticated, self.now)
            .unwrap();
        let ephemeral = self.ephemeral();
        let mut response = self
            .handshake
            .create_response(OUR_INDEX, ephemeral)
            .unwrap();
        self.add_macs(response.as_mut_bytes());
        response
    }

    /// Takes a response.
    fn finish(&mut self, msg: &[u8]) -> Option<SessionKeys> {
        assert_eq!(classify(msg, msg.len()), Some(Kind::Response));
        let msg = Response::ref_from_bytes(msg).unwrap();
        assert_eq!(msg.receiver_index.get(), OUR_INDEX);
        let context = self.handshake.response_context()?;
        let response = context.open(msg, &self.id)?;
        assert!(self.handshake.commit_response(response));
        self.handshake.begin_session()
    }
}

/// What boringtun wants on the wire after it got `msg`.
fn feed(tunn: &mut Tunn, msg: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2048];
    match tunn.decapsulate(Some(IpAddr::V4(THEIR_ADDRESS)), msg, &mut buffer) {
        TunnResult::WriteToNetwork(answer) => answer.to_vec(),
        TunnResult::Done => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// boringtun's initiation.
fn their_initiation(tunn: &mut Tunn) -> Vec<u8> {
    let mut buffer = [0; 2048];
    match tunn.format_handshake_initiation(&mut buffer, true) {
        TunnResult::WriteToNetwork(msg) => msg.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn seal(keys: &SessionKeys, counter: u64, packet: &[u8]) -> Vec<u8> {
    let mut plain = packet.to_vec();
    plain.resize(packet.len() + padding(packet.len(), 1420), 0);
    let mut msg = vec![0; data_len(plain.len())];
    let header = DataHeader {
        kind: Kind::Data.word(),
        receiver_index: keys.remote_index.into(),
        counter: counter.into(),
    };
    msg[..16].copy_from_slice(header.as_bytes());
    assert!(aead_seal(
        &mut msg[16..],
        &plain,
        &[],
        counter,
        &keys.sending
    ));
    msg
}

fn open(keys: &SessionKeys, msg: &[u8]) -> (u64, Vec<u8>) {
    assert_eq!(classify(msg, msg.len()), Some(Kind::Data));
    let (header, sealed) = DataHeader::ref_from_prefix(msg).unwrap();
    assert_eq!(header.receiver_index.get(), OUR_INDEX);
    let mut plain = vec![0; sealed.len() - 16];
    assert!(aead_open(
        &mut plain,
        sealed,
        &[],
        header.counter.get(),
        &keys.receiving
    ));
    (header.counter.get(), plain)
}

/// An IPv4 packet of `len` bytes, as far as boringtun looks at it.
fn packet(len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|n| n as u8).collect();
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
    packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
    packet
}

/// Packets in both directions. boringtun's next counter is `their_counter`.
fn exchange_data(keys: &SessionKeys, tunn: &mut Tunn, mut their_counter: u64) {
    let mut buffer = [0; 2048];
    // The first one also confirms the session to a responder.
    assert!(feed(tunn, &seal(keys, 0, &[])).is_empty());
    for (counter, len) in (1..).zip([20, 21, 36, 576, 1419, 1420]) {
        let sent = packet(len);
        let sealed = seal(keys, counter, &sent);
        match tunn.decapsulate(None, &sealed, &mut buffer) {
            TunnResult::WriteToTunnelV4(got, from) => {
                assert_eq!(got, sent);
                assert_eq!(from, Ipv4Addr::new(10, 0, 0, 1));
            }
            other => panic!("{other:?}"),
        }
        // A second time it is a replay.
        let replayed = tunn.decapsulate(None, &sealed, &mut buffer);
        assert!(matches!(replayed, TunnResult::Err(_)));

        match tunn.encapsulate(&sent, &mut buffer) {
            TunnResult::WriteToNetwork(msg) => {
                let (counter, plain) = open(keys, msg);
                assert_eq!(counter, their_counter);
                assert_eq!(plain[..len], sent);
                assert!(plain[len..].iter().all(|&byte| byte == 0));
                their_counter += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn we_initiate(psk: Option<[u8; 32]>) {
    let (mut ours, mut tunn) = tunnel(psk, psk, 100);
    let msg = ours.initiate();
    let response = feed(&mut tunn, msg.as_bytes());
    assert_eq!(ours.mac_state(&response, false), MacState::ValidNoCookie);
    let keys = ours.finish(&response).unwrap();
    assert!(keys.initiator);
    exchange_data(&keys, &mut tunn, 0);
}

fn we_respond(psk: Option<[u8; 32]>) {
    let (mut ours, mut tunn) = tunnel(psk, psk, 100);
    let msg = their_initiation(&mut tunn);
    assert_eq!(ours.mac_state(&msg, false), MacState::ValidNoCookie);
    let response = ours.respond(&msg);
    let keys = ours.handshake.begin_session().unwrap();
    assert!(!keys.initiator);
    // They confirm with an empty message.
    let keepalive = feed(&mut tunn, response.as_bytes());
    assert_eq!(keepalive.len(), 32);
    assert_eq!(open(&keys, &keepalive), (0, Vec::new()));
    exchange_data(&keys, &mut tunn, 1);
}

#[test]
fn we_initiate_without_psk() {
    we_initiate(None);
}

#[test]
fn we_initiate_with_psk() {
    we_initiate(Some(PSK));
}

#[test]
fn we_respond_without_psk() {
    we_respond(None);
}

#[test]
fn we_respond_with_psk() {
    we_respond(Some(PSK));
}

#[test]
fn psk_mismatch_fails() {
    for (ours, theirs) in [(Some(PSK), None), (None, Some(PSK))] {
        let (mut ours, mut tunn) = tunnel(ours, theirs, 100);
        let response = feed(&mut tunn, ours.initiate().as_bytes());
        assert!(ours.finish(&response).is_none());

        let msg = their_initiation(&mut tunn);
        let response = ours.respond(&msg);
        let mut buffer = [0; 2048];
        let result = tunn.decapsulate(None, response.as_bytes(), &mut buffer);
        assert!(matches!(result, TunnResult::Err(_)));
    }
}

#[test]
fn rekey_in_changing_roles() {
    let (mut ours, mut tunn) = tunnel(Some(PSK), Some(PSK), 100);
    for _ in 0..3 {
        let msg = ours.initiate();
        let response = feed(&mut tunn, msg.as_bytes());
        let keys = ours.finish(&response).unwrap();
        exchange_data(&keys, &mut tunn, 0);

        ours.now += SECOND;
        let msg = their_initiation(&mut tunn);
        let response = ours.respond(&msg);
        let keys = ours.handshake.begin_session().unwrap();
        feed(&mut tunn, response.as_bytes());
        exchange_data(&keys, &mut tunn, 1);
        // Their clock is the real one and its timestamps are coarse.
        std::thread::sleep(std::time::Duration::from_millis(40));
    }
}

/// boringtun is under load: we get a cookie, and with it our next initiation is answered.
#[test]
fn we_use_their_cookie() {
    let (mut ours, mut tunn) = tunnel(None, None, 0);
    let msg = ours.initiate();
    assert_eq!(msg.macs.mac2, [0; 16]);
    let reply = feed(&mut tunn, msg.as_bytes());
    assert_eq!(classify(&reply, reply.len()), Some(Kind::CookieReply));
    let reply = CookieReply::ref_from_bytes(&reply).unwrap();
    assert_eq!(reply.receiver_index.get(), OUR_INDEX);
    assert!(ours
        .cookie
        .consume_reply(&ours.their_public, reply, ours.now));

    let msg = ours.initiate();
    assert!(msg.macs.mac2 != [0; 16]);
    let response = feed(&mut tunn, msg.as_bytes());
    let keys = ours.finish(&response).unwrap();
    exchange_data(&keys, &mut tunn, 0);
}

/// We are under load: boringtun gets a cookie, and with it its next initiation is accepted.
#[test]
fn they_use_our_cookie() {
    let (mut ours, mut tunn) = tunnel(None, None, 100);
    ours.checker.renew_secret(ours.now, || [0x99; 32]);
    let msg = their_initiation(&mut tunn);
    assert_eq!(ours.mac_state(&msg, true), MacState::ValidNoCookie);
    let initiation = Initiation::ref_from_bytes(&msg).unwrap();
    let (mac1, index) = (initiation.macs.mac1, initiation.sender_index.get());
    let reply = ours
        .checker
        .make_reply(&mac1, &THEIR_SOURCE, index, [0x31; 24], ours.now)
        .unwrap();
    assert!(feed(&mut tunn, reply.as_bytes()).is_empty());

    let msg = their_initiation(&mut tunn);
    assert_eq!(ours.mac_state(&msg, true), MacState::ValidWithCookie);
    // From elsewhere, the same message is as good as without a cookie.
    let elsewhere = [192, 0, 2, 8, 0xca, 0x6c];
    let state = ours.checker.mac_state(&msg, &elsewhere, true, ours.now);
    assert_eq!(state, MacState::ValidNoCookie);
    let response = ours.respond(&msg);
    let keys = ours.handshake.begin_session().unwrap();
    feed(&mut tunn, response.as_bytes());
    exchange_data(&keys, &mut tunn, 1);
}
