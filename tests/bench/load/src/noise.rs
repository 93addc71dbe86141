// SPDX-License-Identifier: GPL-2.0
//! The initiator of WireGuard's handshake, cut down to what a load generator can afford.
//!
//! Thousands of initiators live in one process here, so each uses its static key as ephemeral key as
//! well: then `es` = `ss`, which was computed before anything is timed, and `ee` = `se`, which is the one curve
//! operation left. The other end cannot tell. Nobody else should do this: there is no forward secrecy.

use std::time::{
    SystemTime,
    UNIX_EPOCH, //
};

use wgk::crypto::{
    aead_open,
    aead_seal,
    blake2s,
    x25519,
    Secret, //
};

/// A chain key, hash or shared key.
pub type Hash = [u8; 32];

/// Length of an initiation.
pub const INITIATION: usize = 148;
/// Length of a response.
pub const RESPONSE: usize = 92;

const NAME: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
/// TAI64N of 1970.
const EPOCH: u64 = 0x4000_0000_0000_000a;

fn hmac(key: &Hash, parts: &[&[u8]]) -> Hash {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let inner = pad(0x36);
    let mut all: Vec<&[u8]> = vec![&inner];
    all.extend(parts);
    let inner = blake2s::<32>(&[], &all);
    blake2s::<32>(&[], &[&pad(0x5c), &inner])
}

/// The chain key and two more outputs.
fn kdf(chain: &Hash, input: &[u8]) -> (Hash, Hash, Hash) {
    let root = hmac(chain, &[input]);
    let one = hmac(&root, &[&[1]]);
    let two = hmac(&root, &[&one, &[2]]);
    let three = hmac(&root, &[&two, &[3]]);
    (one, two, three)
}

/// What all initiators know of the responder.
pub struct Responder {
    chain: Hash,
    hash: Hash,
    mac1_key: Hash,
}

/// One initiator between its initiation and the response.
pub struct Waiting {
    chain: Hash,
    hash: Hash,
}

/// An established session.
pub struct Session {
    sending: Secret<32>,
    remote_index: [u8; 4],
}

impl Responder {
    /// Of this public key.
    pub fn new(public: Hash) -> Self {
        let chain = blake2s::<32>(&[], &[NAME]);
        let hash = blake2s::<32>(&[], &[&chain, PROLOGUE]);
        Self {
            chain,
            hash: blake2s::<32>(&[], &[&hash, &public]),
            mac1_key: blake2s::<32>(&[], &[b"mac1----", &public]),
        }
    }

    /// The initiation of the initiator with this index and public key; `shared` is the product
    /// of its key and the responder's.
    pub fn initiate(
        &self,
        index: u32,
        public: &Hash,
        shared: &Hash,
    ) -> ([u8; INITIATION], Waiting) {
        let mut msg = [0; INITIATION];
        msg[0] = 1;
        msg[4..8].copy_from_slice(&index.to_le_bytes());
        msg[8..40].copy_from_slice(public);
        let hash = blake2s::<32>(&[], &[&self.hash, public]);
        let (chain, ..) = kdf(&self.chain, public);
        let (chain, key, _) = kdf(&chain, shared);
        let hash = seal(&mut msg[40..88], public, &key, hash);
        let (chain, key, _) = kdf(&chain, shared);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut stamp = [0; 12];
        stamp[..8].copy_from_slice(&(EPOCH + now.as_secs()).to_be_bytes());
        stamp[8..].copy_from_slice(&now.subsec_nanos().to_be_bytes());
        let hash = seal(&mut msg[88..116], &stamp, &key, hash);
        let mac1 = blake2s::<16>(&self.mac1_key, &[&msg[..116]]);
        msg[116..132].copy_from_slice(&mac1);
        (msg, Waiting { chain, hash })
    }
}

fn seal(out: &mut [u8], plain: &[u8], key: &Hash, hash: Hash) -> Hash {
    assert!(aead_seal(out, plain, &hash, 0, &Secret::from_bytes(*key)));
    blake2s::<32>(&[], &[&hash, out])
}

impl Waiting {
    /// Takes the response; `None` if it is not authentic.
    pub fn finish(&self, private: &Secret<32>, msg: &[u8; RESPONSE]) -> Option<Session> {
        let mut ephemeral = [0; 32];
        ephemeral.copy_from_slice(&msg[12..44]);
        let hash = blake2s::<32>(&[], &[&self.hash, &ephemeral]);
        let (chain, ..) = kdf(&self.chain, &ephemeral);
        let shared = *x25519(private, &ephemeral)?.as_bytes();
        let (chain, ..) = kdf(&chain, &shared);
        let (chain, ..) = kdf(&chain, &shared);
        let (chain, mix, key) = kdf(&chain, &[0; 32]);
        let hash = blake2s::<32>(&[], &[&hash, &mix]);
        if !aead_open(&mut [], &msg[44..60], &hash, 0, &Secret::from_bytes(key)) {
            return None;
        }
        let (sending, ..) = kdf(&chain, &[]);
        let mut remote_index = [0; 4];
        remote_index.copy_from_slice(&msg[4..8]);
        Some(Session {
            sending: Secret::from_bytes(sending),
            remote_index,
        })
    }
}

impl Session {
    /// A data message with this counter; `packet` must be padded already.
    pub fn seal(&self, counter: u64, packet: &[u8]) -> Vec<u8> {
        let mut msg = vec![0; 16 + packet.len() + 16];
        msg[0] = 4;
        msg[4..8].copy_from_slice(&self.remote_index);
        msg[8..16].copy_from_slice(&counter.to_le_bytes());
        assert!(aead_seal(
            &mut msg[16..],
            packet,
            &[],
            counter,
            &self.sending
        ));
        msg
    }
}
