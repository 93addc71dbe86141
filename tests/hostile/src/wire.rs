// SPDX-License-Identifier: GPL-2.0
//! WireGuard's messages as a peer with bad intentions makes them. The handshake itself is snow's.

use std::time::{SystemTime, UNIX_EPOCH};

use blake2::{
    digest::{consts::U16, Digest, Mac},
    Blake2s256, Blake2sMac,
};
use chacha20poly1305::{
    aead::{Aead, AeadInPlace, KeyInit, Payload},
    ChaCha20Poly1305, XChaCha20Poly1305,
};
use snow::{Builder, HandshakeState};

pub const INITIATION: u8 = 1;
pub const RESPONSE: u8 = 2;
pub const COOKIE: u8 = 3;
pub const DATA: u8 = 4;
pub const INITIATION_LEN: usize = 148;
pub const RESPONSE_LEN: usize = 92;
pub const COOKIE_LEN: usize = 64;

pub type Key = [u8; 32];

pub fn hash(parts: &[&[u8]]) -> Key {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

pub fn mac(key: &[u8], data: &[u8]) -> [u8; 16] {
    let mut state =
        <Blake2sMac<U16> as Mac>::new_from_slice(key).expect("a key of at most 32 bytes");
    Mac::update(&mut state, data);
    state.finalize().into_bytes().into()
}

/// The key of MAC1, which everybody has who knows the public key.
pub fn mac1_key(public: &Key) -> Key {
    hash(&[b"mac1----", public])
}

/// Puts both MACs at the end of a handshake message.
pub fn put_macs(message: &mut [u8], mac1_key: &Key, cookie: Option<&[u8; 16]>) {
    let at = message.len() - 32;
    let mac1 = mac(mac1_key, &message[..at]);
    message[at..at + 16].copy_from_slice(&mac1);
    match cookie {
        Some(cookie) => {
            let mac2 = mac(cookie, &message[..at + 16]);
            message[at + 16..].copy_from_slice(&mac2);
        }
        None => message[at + 16..].fill(0),
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Keys and indices of one session.
#[derive(Clone)]
pub struct Session {
    pub local: u32,
    pub remote: u32,
    sending: Key,
    receiving: Key,
    pub counter: u64,
}

impl Session {
    /// A data message with `inner` as it is, without padding.
    pub fn seal_at(&self, counter: u64, inner: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(inner.len() + 32);
        message.extend([DATA, 0, 0, 0]);
        message.extend(self.remote.to_le_bytes());
        message.extend(counter.to_le_bytes());
        message.extend(inner);
        let tag = ChaCha20Poly1305::new(&self.sending.into())
            .encrypt_in_place_detached(&nonce(counter).into(), b"", &mut message[16..])
            .expect("no data message is too long");
        message.extend(tag);
        message
    }

    pub fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        self.counter += 1;
        self.seal_at(self.counter - 1, inner)
    }

    /// What is in a data message of this session.
    pub fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() < 32 || message[4..8] != self.local.to_le_bytes() {
            return None;
        }
        let counter = u64::from_le_bytes(message[8..16].try_into().ok()?);
        ChaCha20Poly1305::new(&self.receiving.into())
            .decrypt(&nonce(counter).into(), &message[16..])
            .ok()
    }
}

/// A peer that the driver knows.
pub struct Mallory {
    secret: Key,
    public: Key,
    target: Key,
    mac1_key: Key,
    cookie: Option<[u8; 16]>,
    last_mac1: [u8; 16],
    next_index: u32,
    pending: Option<(u32, HandshakeState)>,
}

impl Mallory {
    pub fn new(secret: Key, target: Key) -> Self {
        let public = x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES);
        Self {
            secret,
            public,
            target,
            mac1_key: mac1_key(&target),
            cookie: None,
            last_mac1: [0; 16],
            next_index: 0x1001,
            pending: None,
        }
    }

    /// Somebody at the same place whom the driver does not know.
    pub fn stranger(&self, secret: Key) -> Self {
        Self {
            cookie: self.cookie,
            ..Self::new(secret, self.target)
        }
    }

    pub fn cookie(&self) -> Option<&[u8; 16]> {
        self.cookie.as_ref()
    }

    fn noise(&self) -> Builder<'_> {
        Builder::new(
            "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
                .parse()
                .expect("a pattern"),
        )
        .prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")
        .and_then(|b| b.local_private_key(&self.secret))
        .and_then(|b| b.psk(2, &[0; 32]))
        .expect("keys of the right length")
    }

    /// The next initiation; an answer to it makes a session.
    pub fn initiation(&mut self) -> Vec<u8> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let mut stamp = [0; 12];
        stamp[..8].copy_from_slice(&((1 << 62) + 10 + now.as_secs()).to_be_bytes());
        stamp[8..].copy_from_slice(&now.subsec_nanos().to_be_bytes());
        let mut noise = self
            .noise()
            .remote_public_key(&self.target)
            .and_then(|b| b.build_initiator())
            .expect("keys of the right length");
        let mut message = vec![0; INITIATION_LEN];
        self.next_index += 1;
        message[..4].copy_from_slice(&[INITIATION, 0, 0, 0]);
        message[4..8].copy_from_slice(&self.next_index.to_le_bytes());
        noise
            .write_message(&stamp, &mut message[8..116])
            .expect("room for it");
        put_macs(&mut message, &self.mac1_key, self.cookie.as_ref());
        self.last_mac1.copy_from_slice(&message[116..132]);
        self.pending = Some((self.next_index, noise));
        message
    }

    /// The session that an answer makes.
    pub fn finish(&mut self, message: &[u8]) -> Option<Session> {
        if message.len() != RESPONSE_LEN || message[0] != RESPONSE {
            return None;
        }
        let (local, mut noise) = self.pending.take()?;
        if message[8..12] != local.to_le_bytes()
            || noise.read_message(&message[12..60], &mut []).is_err()
        {
            self.pending = Some((local, noise));
            return None;
        }
        let remote = u32::from_le_bytes(message[4..8].try_into().ok()?);
        let (sending, receiving) = noise.dangerously_get_raw_split();
        Some(Session {
            local,
            remote,
            sending,
            receiving,
            counter: 0,
        })
    }

    /// Answers an initiation of the driver's; returns the response and the session.
    pub fn respond(&mut self, message: &[u8]) -> Option<(Vec<u8>, Session)> {
        if message.len() != INITIATION_LEN || message[0] != INITIATION {
            return None;
        }
        let mut noise = self.noise().build_responder().ok()?;
        noise.read_message(&message[8..116], &mut [0; 12]).ok()?;
        self.next_index += 1;
        let local = self.next_index;
        let mut response = vec![0; RESPONSE_LEN];
        response[..4].copy_from_slice(&[RESPONSE, 0, 0, 0]);
        response[4..8].copy_from_slice(&local.to_le_bytes());
        response[8..12].copy_from_slice(&message[4..8]);
        noise.write_message(&[], &mut response[12..60]).ok()?;
        put_macs(&mut response, &self.mac1_key, self.cookie.as_ref());
        let remote = u32::from_le_bytes(message[4..8].try_into().ok()?);
        let (receiving, sending) = noise.dangerously_get_raw_split();
        Some((
            response,
            Session {
                local,
                remote,
                sending,
                receiving,
                counter: 0,
            },
        ))
    }

    /// Answers an initiation of the driver's with a cookie.
    pub fn cookie_reply(&self, message: &[u8], nonce: &[u8; 24], cookie: &[u8; 16]) -> Vec<u8> {
        let key = hash(&[b"cookie--", &self.public]);
        let sealed = XChaCha20Poly1305::new(&key.into())
            .encrypt(
                nonce.into(),
                Payload {
                    msg: cookie,
                    aad: &message[116..132],
                },
            )
            .expect("a cookie is short");
        let mut reply = vec![COOKIE, 0, 0, 0];
        reply.extend(&message[4..8]);
        reply.extend(nonce);
        reply.extend(sealed);
        reply
    }

    /// Keeps the cookie that answers our last initiation.
    pub fn take_cookie(&mut self, message: &[u8]) -> bool {
        if message.len() != COOKIE_LEN || message[0] != COOKIE {
            return false;
        }
        let key = hash(&[b"cookie--", &self.target]);
        let nonce: [u8; 24] = message[8..32].try_into().expect("24 bytes");
        let opened = XChaCha20Poly1305::new(&key.into()).decrypt(
            &nonce.into(),
            Payload {
                msg: &message[32..],
                aad: &self.last_mac1,
            },
        );
        match opened.ok().and_then(|c| c.try_into().ok()) {
            Some(cookie) => {
                self.cookie = Some(cookie);
                true
            }
            None => false,
        }
    }
}

/// Random bytes that pass for a message of this type but for the cryptography.
pub fn with_valid_mac1(
    rng: &mut crate::rng::Rng,
    mac1_key: &Key,
    cookie: Option<&[u8; 16]>,
    response: bool,
) -> Vec<u8> {
    let (kind, len) = if response {
        (RESPONSE, RESPONSE_LEN)
    } else {
        (INITIATION, INITIATION_LEN)
    };
    let mut message = rng.bytes(len);
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    // Points of low order, for which there is no shared secret.
    let at = if response { 12 } else { 8 };
    match rng.below(20) {
        0 => message[at..at + 32].fill(0),
        1 => {
            message[at..at + 32].fill(0);
            message[at] = 1;
        }
        2 => message[at..at + 32].fill(0xff),
        _ => (),
    }
    put_macs(&mut message, mac1_key, cookie);
    message
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() % 2 != 0 {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok())
        .collect()
}

pub fn key(text: &str) -> Option<Key> {
    unhex(text)?.try_into().ok()
}
