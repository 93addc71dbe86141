// SPDX-License-Identifier: GPL-2.0
//! Any keys, as userspace sets them and as packets carry them: those of low order, too, with which
//! nothing may ever be agreed upon.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgk::crypto::Secret;
use wireguard_rs_core::{
    messages::Initiation,
    noise::{
        open_initiation,
        Handshake,
        StaticIdentity, //
    },
};
use wireguard_rs_fuzz::Input;
use x25519_dalek::{
    x25519,
    X25519_BASEPOINT_BYTES, //
};
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// The points of low order, and the other encodings of them (RFC 7748, section 7).
const LOW: [[u8; 32]; 7] = {
    let mut all = [[0; 32]; 7];
    all[1][0] = 1;
    all[2] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    all[3] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ];
    let mut n = 4;
    while n < 7 {
        all[n] = [0xff; 32];
        // p - 1, p and p + 1, where p is 2^255 - 19.
        all[n][0] = 0xec + (n as u8 - 4);
        all[n][31] = 0x7f;
        n += 1;
    }
    all
};

fn clamped(mut key: [u8; 32]) -> [u8; 32] {
    key[0] &= 0xf8;
    key[31] = key[31] & 0x7f | 0x40;
    key
}

/// A private key: any bytes, a single repeated one, or hardly any bit.
fn private(input: &mut Input<'_>) -> [u8; 32] {
    match input.below(3) {
        0 => input.array(),
        1 => [input.u8(); 32],
        _ => {
            let mut key = [0; 32];
            key[input.below(32)] = input.u8();
            key
        }
    }
}

fn identity(key: [u8; 32]) -> Option<StaticIdentity> {
    let id = StaticIdentity::from_private(Secret::from_bytes(key));
    assert_eq!(id.is_none(), key == [0; 32]);
    let id = id?;
    assert_eq!(id.private().as_bytes(), &clamped(key));
    assert_eq!(id.public(), &x25519(clamped(key), X25519_BASEPOINT_BYTES));
    Some(id)
}

/// With a key whose owner we may not know: what can be begun.
fn toward_any(id: &StaticIdentity, public: [u8; 32], ephemeral: [u8; 32], psk: [u8; 32]) {
    let agreed = x25519(*id.private().as_bytes(), public);
    let mut handshake = Handshake::new(public, Secret::from_bytes(psk));
    let ss = handshake.static_static(id).map(|ss| *ss.as_bytes());
    assert_eq!(ss, (agreed != [0; 32]).then_some(agreed));
    assert!(ss.is_none() || !LOW.contains(&public));

    let msg = handshake.create_initiation(id, 1, Secret::from_bytes(ephemeral), [1; 12]);
    let es = x25519(clamped(ephemeral), public);
    assert_eq!(msg.is_some(), es != [0; 32] && ss.is_some());
    assert_eq!(handshake.response_context().is_some(), msg.is_some());

    // As an ephemeral key that came in a packet: without the sealed key it opens nothing.
    let mut msg = Initiation::new_zeroed();
    msg.ephemeral = public;
    msg.encrypted_static[..32].copy_from_slice(&ephemeral);
    assert!(open_initiation(&msg, id).is_none());
}

/// Between two who know each other's: it goes through if and only if both have the same PSK.
fn between(a: &StaticIdentity, b: &StaticIdentity, input: &mut Input<'_>) {
    let psk: [u8; 32] = input.array();
    let mut other = psk;
    other[input.below(32)] ^= input.u8();
    let mut at_a = Handshake::new(*b.public(), Secret::from_bytes(psk));
    let mut at_b = Handshake::new(*a.public(), Secret::zero());
    let (eph_a, eph_b) = (private(input), private(input));

    let stamp: [u8; 12] = input.array();
    let msg = at_a.create_initiation(a, 1, Secret::from_bytes(eph_a), stamp);
    let msg = msg.expect("no key is of low order");
    let opened = open_initiation(&msg, b).expect("sealed for b");
    assert_eq!(opened.remote_static(), a.public());
    let ss = at_b.static_static(b).unwrap();
    let auth = opened.authenticate(&ss).expect("made by a");
    let done = at_b.commit_initiation(auth, 1 << 40);
    assert_eq!(done.is_ok(), stamp != [0; 12]);
    // Set late, it counts all the same.
    at_b.set_psk(Secret::from_bytes(other));
    let msg = at_b.create_response(2, Secret::from_bytes(eph_b));
    assert_eq!(msg.is_some(), done.is_ok());
    let Some(msg) = msg else {
        return;
    };
    let auth = at_a.response_context().unwrap().open(&msg, a);
    assert_eq!(auth.is_some(), psk == other);
    let Some(auth) = auth else {
        return;
    };
    assert!(at_a.commit_response(auth));
    let (a, b) = (at_a.begin_session().unwrap(), at_b.begin_session().unwrap());
    assert_eq!(a.sending.as_bytes(), b.receiving.as_bytes());
    assert_eq!(a.receiving.as_bytes(), b.sending.as_bytes());
    assert!(msg.as_bytes().len() == 92 && a.initiator && !b.initiator);
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let Some(a) = identity(private(&mut input)) else {
        return;
    };
    match input.below(4) {
        0 => {
            let public = LOW[input.below(LOW.len())];
            toward_any(&a, public, input.array(), input.array());
        }
        1 => {
            // Near one of low order.
            let mut public = LOW[input.below(LOW.len())];
            public[input.below(32)] ^= input.u8();
            toward_any(&a, public, input.array(), input.array());
        }
        2 => toward_any(&a, input.array(), input.array(), input.array()),
        _ => {
            if let Some(b) = identity(private(&mut input)) {
                between(&a, &b, &mut input);
            }
        }
    }
});
