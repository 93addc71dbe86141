// SPDX-License-Identifier: GPL-2.0
//! The handshake against `snow`, a general implementation of the Noise framework.
//!
//! With the same static, ephemeral and pre-shared keys both must produce the same bytes and the
//! same session keys, whoever initiates. This also makes the vectors of the unit tests in
//! `src/noise/tests.rs`, see [`vectors_of_the_unit_tests`].

use snow::{
    Builder,
    HandshakeState, //
};
use wgk::crypto::{
    aead_open,
    aead_seal,
    Secret, //
};
use wireguard_rs_core::{
    messages::{
        Initiation,
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
    FromZeros,
    IntoBytes, //
};

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
const STAMP: [u8; 12] = [0x40, 0, 0, 0, 0x65, 4, 3, 2, 1, 0, 0, 0];
const NOW: u64 = 5_000_000_000;

/// All keys of a handshake: initiator's and responder's.
#[derive(Clone)]
struct Keys {
    statics: [[u8; 32]; 2],
    ephemerals: [[u8; 32]; 2],
    psk: [u8; 32],
}

impl Keys {
    /// Different for each `seed`; those of the unit tests for 0.
    fn new(seed: u8, psk: bool) -> Self {
        let bytes = |start: u8| core::array::from_fn(|n| start.wrapping_add(seed) ^ (n as u8 * 7));
        Self {
            statics: [bytes(0x11), bytes(0x22)],
            ephemerals: [bytes(0x33), bytes(0x44)],
            psk: if psk { bytes(0x55) } else { [0; 32] },
        }
    }

    fn identity(&self, side: usize) -> StaticIdentity {
        StaticIdentity::from_private(Secret::from_bytes(self.statics[side])).unwrap()
    }

    /// Our handshake of `side` with the other one.
    fn ours(&self, side: usize) -> Handshake {
        Handshake::new(
            *self.identity(1 - side).public(),
            Secret::from_bytes(self.psk),
        )
    }

    fn ephemeral(&self, side: usize) -> Secret<32> {
        Secret::from_bytes(self.ephemerals[side])
    }

    /// snow's handshake of `side`.
    fn snow(&self, side: usize) -> HandshakeState {
        let remote = *self.identity(1).public();
        let builder = Builder::new(PATTERN.parse().unwrap())
            .prologue(PROLOGUE)
            .unwrap()
            .local_private_key(&self.statics[side])
            .unwrap()
            .psk(2, &self.psk)
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(&self.ephemerals[side]);
        if side == 0 {
            builder
                .remote_public_key(&remote)
                .unwrap()
                .build_initiator()
                .unwrap()
        } else {
            builder.build_responder().unwrap()
        }
    }
}

/// What Noise has of an initiation, a response: all but type, indices and MACs.
fn noise_part(msg: &[u8], header: usize) -> &[u8] {
    &msg[header..msg.len() - 32]
}

/// Seals and opens some messages, of snow and of ours, in both directions.
fn exchange_data(ours: &SessionKeys, snow: HandshakeState) {
    let mut snow = snow.into_transport_mode().unwrap();
    for (counter, len) in [(0u64, 0usize), (1, 1), (2, 16), (3, 1420)] {
        let plain: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let mut sealed = vec![0; len + 16];
        let mut opened = vec![0; len];

        assert!(aead_seal(&mut sealed, &plain, &[], counter, &ours.sending));
        assert_eq!(snow.read_message(&sealed, &mut opened).unwrap(), len);
        assert_eq!(opened, plain);

        opened.fill(0);
        snow.write_message(&plain, &mut sealed).unwrap();
        assert!(aead_open(
            &mut opened,
            &sealed,
            &[],
            counter,
            &ours.receiving
        ));
        assert_eq!(opened, plain);
    }
}

fn we_initiate(keys: &Keys) {
    let id = keys.identity(0);
    let mut ours = keys.ours(0);
    let mut snow = keys.snow(1);

    let msg = ours
        .create_initiation(&id, 0x0102_0304, keys.ephemeral(0), STAMP)
        .unwrap();
    let mut payload = [0; 64];
    let len = snow
        .read_message(noise_part(msg.as_bytes(), 8), &mut payload)
        .unwrap();
    assert_eq!(payload[..len], STAMP);
    assert_eq!(snow.get_remote_static().unwrap(), id.public());

    let mut response = Response::new_zeroed();
    response.kind.set(2);
    response.sender_index.set(0x0a0b_0c0d);
    response.receiver_index.set(0x0102_0304);
    let bytes = response.as_mut_bytes();
    let len = snow.write_message(&[], &mut bytes[12..60]).unwrap();
    assert_eq!(len, 48);

    let answer = ours.response_context().unwrap();
    let answer = answer.open(&response, &id).unwrap();
    assert!(ours.commit_response(answer));
    let session = ours.begin_session().unwrap();
    assert!(session.initiator);
    assert_eq!(session.remote_index, 0x0a0b_0c0d);

    let (first, second) = snow.dangerously_get_raw_split();
    assert_eq!(session.sending.as_bytes(), &first);
    assert_eq!(session.receiving.as_bytes(), &second);
    exchange_data(&session, snow);
}

fn we_respond(keys: &Keys) {
    let id = keys.identity(1);
    let mut ours = keys.ours(1);
    let mut snow = keys.snow(0);

    let mut msg = Initiation::new_zeroed();
    msg.kind.set(1);
    msg.sender_index.set(0x0102_0304);
    let len = snow
        .write_message(&STAMP, &mut msg.as_mut_bytes()[8..116])
        .unwrap();
    assert_eq!(len, 108);

    let opened = open_initiation(&msg, &id).unwrap();
    assert_eq!(opened.remote_static(), keys.identity(0).public());
    let shared = ours.static_static(&id).unwrap();
    let authenticated = opened.authenticate(&shared).unwrap();
    assert_eq!(ours.commit_initiation(authenticated, NOW), Ok(()));
    let response = ours
        .create_response(0x0a0b_0c0d, keys.ephemeral(1))
        .unwrap();
    assert_eq!(response.receiver_index.get(), 0x0102_0304);
    assert_eq!(response.sender_index.get(), 0x0a0b_0c0d);

    let len = snow
        .read_message(noise_part(response.as_bytes(), 12), &mut [])
        .unwrap();
    assert_eq!(len, 0);
    let session = ours.begin_session().unwrap();
    assert!(!session.initiator);
    assert_eq!(session.remote_index, 0x0102_0304);

    let (first, second) = snow.dangerously_get_raw_split();
    assert_eq!(session.receiving.as_bytes(), &first);
    assert_eq!(session.sending.as_bytes(), &second);
    exchange_data(&session, snow);
}

/// Both sides once by snow alone: initiation and response as sent, and the two session keys.
fn snow_alone(keys: &Keys) -> [Vec<u8>; 4] {
    let (mut initiator, mut responder) = (keys.snow(0), keys.snow(1));
    let (mut first, mut second) = (vec![0; 108], vec![0; 48]);
    initiator.write_message(&STAMP, &mut first).unwrap();
    responder.read_message(&first, &mut [0; 64]).unwrap();
    responder.write_message(&[], &mut second).unwrap();
    initiator.read_message(&second, &mut []).unwrap();
    let (a, b) = initiator.dangerously_get_raw_split();
    [first, second, a.to_vec(), b.to_vec()]
}

/// Both sides once by us alone, as [`snow_alone`].
fn ours_alone(keys: &Keys) -> [Vec<u8>; 4] {
    let (id_a, id_b) = (keys.identity(0), keys.identity(1));
    let (mut a, mut b) = (keys.ours(0), keys.ours(1));
    let first = a
        .create_initiation(&id_a, 1, keys.ephemeral(0), STAMP)
        .unwrap();
    let shared = b.static_static(&id_b).unwrap();
    let opened = open_initiation(&first, &id_b).unwrap();
    b.commit_initiation(opened.authenticate(&shared).unwrap(), NOW)
        .unwrap();
    let second = b.create_response(2, keys.ephemeral(1)).unwrap();
    let answer = a.response_context().unwrap();
    assert!(a.commit_response(answer.open(&second, &id_a).unwrap()));
    let session = a.begin_session().unwrap();
    [
        noise_part(first.as_bytes(), 8).to_vec(),
        noise_part(second.as_bytes(), 12).to_vec(),
        session.sending.as_bytes().to_vec(),
        session.receiving.as_bytes().to_vec(),
    ]
}

#[test]
fn we_initiate_without_psk() {
    (0..8).for_each(|seed| we_initiate(&Keys::new(seed, false)));
}

#[test]
fn we_initiate_with_psk() {
    (0..8).for_each(|seed| we_initiate(&Keys::new(seed, true)));
}

#[test]
fn we_respond_without_psk() {
    (0..8).for_each(|seed| we_respond(&Keys::new(seed, false)));
}

#[test]
fn we_respond_with_psk() {
    (0..8).for_each(|seed| we_respond(&Keys::new(seed, true)));
}

#[test]
fn same_bytes_as_snow() {
    for (seed, psk) in (0..8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let keys = Keys::new(seed, psk);
        assert_eq!(ours_alone(&keys), snow_alone(&keys));
    }
}

/// Neither side takes the other's response if only one of them has the pre-shared key.
#[test]
fn psk_mismatch_fails() {
    let (with, without) = (Keys::new(0, true), Keys::new(0, false));
    for (we, they) in [(&with, &without), (&without, &with)] {
        let id = we.identity(0);
        let mut ours = we.ours(0);
        let mut snow = they.snow(1);
        let msg = ours
            .create_initiation(&id, 1, we.ephemeral(0), STAMP)
            .unwrap();
        snow.read_message(noise_part(msg.as_bytes(), 8), &mut [0; 64])
            .unwrap();
        let mut response = Response::new_zeroed();
        snow.write_message(&[], &mut response.as_mut_bytes()[12..60])
            .unwrap();
        let context = ours.response_context().unwrap();
        assert!(context.open(&response, &id).is_none());
    }
}

/// The vectors that `src/noise/tests.rs` compares itself with, also in the kernel, are snow's own
/// output. Run with `--nocapture` to see them.
#[test]
fn vectors_of_the_unit_tests() {
    for psk in [false, true] {
        let vectors = snow_alone(&Keys::new(0, psk));
        for vector in &vectors {
            println!("{vector:02x?}");
        }
        let source = include_str!("../../src/noise/tests.rs");
        let digits: String = source.chars().filter(|c| !c.is_whitespace()).collect();
        for vector in vectors {
            let literal = format!("{vector:#04x?}").replace(['[', ']', '\n', ' '], "");
            assert!(
                digits.contains(&literal),
                "not in src/noise/tests.rs: {literal}"
            );
        }
    }
}
