// SPDX-License-Identifier: GPL-2.0
//! The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (WireGuard paper §5.4, Noise §9).
//!
//! ```text
//! <- s                                the initiator knows the responder's public key
//! -> e, es, s, ss, {timestamp}        Initiation
//! <- e, ee, se, psk, {}               Response
//! ```
//!
//! One [`Handshake`] per peer holds what must survive between messages. Secrets are wiped when
//! they are dropped. Nothing here locks, but every function that takes a [`StaticIdentity`] or
//! an ephemeral key does Curve25519 operations: process context only. The others (`commit_*`,
//! [`Handshake::response_context`], [`Handshake::begin_session`], [`Handshake::clear`]) hash a
//! few blocks at most and run in any context.
//!
//! What the caller holds while it calls: shared access to the device's `StaticIdentity` and, for
//! the methods of `Handshake`, its peer's handshake lock. Incoming messages are opened without
//! that lock, and their result is committed under it:
//!
//! - initiation: [`open_initiation`], find the peer by [`OpenedInitiation::remote_static`],
//!   [`Handshake::static_static`], [`OpenedInitiation::authenticate`],
//!   [`Handshake::commit_initiation`];
//! - response: find the handshake by index, [`Handshake::response_context`],
//!   [`ResponseContext::open`], [`Handshake::commit_response`].
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::array;

use wgk::crypto::{
    aead_open,
    aead_seal,
    x25519,
    x25519_clamp,
    x25519_public,
    Blake2s,
    Secret, //
};
use zerocopy::{
    little_endian::U32,
    FromZeros, //
};

use crate::messages::{
    Initiation,
    Kind,
    Response,
    INITIATION_INTERVAL_NS,
    TIMESTAMP_LEN, //
};

/// Length of a BLAKE2s hash, hence of the chaining key, in bytes.
const HASH_LEN: usize = 32;
/// Input block of BLAKE2s in bytes, the unit of HMAC.
const BLOCK_LEN: usize = 64;

/// `HASH("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")`: the first chaining key.
const INITIAL_CHAIN: [u8; HASH_LEN] = [
    0x60, 0xe2, 0x6d, 0xae, 0xf3, 0x27, 0xef, 0xc0, 0x2e, 0xc3, 0x35, 0xe2, 0xa0, 0x25, 0xd2, 0xd0,
    0x16, 0xeb, 0x42, 0x06, 0xf8, 0x72, 0x77, 0xf5, 0x2d, 0x38, 0xd1, 0x98, 0x8b, 0x78, 0xcd, 0x36,
];
/// `HASH(INITIAL_CHAIN || "WireGuard v1 zx2c4 Jason@zx2c4.com")`: the first handshake hash.
const INITIAL_HASH: [u8; HASH_LEN] = [
    0x22, 0x11, 0xb3, 0x61, 0x08, 0x1a, 0xc5, 0x66, 0x69, 0x12, 0x43, 0xdb, 0x45, 0x8a, 0xd5, 0x32,
    0x2d, 0x9c, 0x6c, 0x66, 0x22, 0x93, 0xe8, 0xb7, 0x0e, 0xe1, 0x9c, 0x65, 0xba, 0x07, 0x9e, 0xf3,
];

/// `out = HMAC(key, parts)`, the parts concatenated (RFC 2104 over BLAKE2s).
fn hmac(out: &mut Secret<HASH_LEN>, key: &Secret<HASH_LEN>, parts: &[&[u8]]) {
    let mut pad = Secret::<BLOCK_LEN>::zero();
    let (start, _) = pad.as_mut_bytes().split_at_mut(HASH_LEN);
    start.copy_from_slice(key.as_bytes());

    for byte in pad.as_mut_bytes() {
        *byte ^= 0x36;
    }
    let mut inner = Blake2s::new(HASH_LEN);
    inner.update(pad.as_bytes());
    for part in parts {
        inner.update(part);
    }
    let mut inner_hash = Secret::<HASH_LEN>::zero();
    inner.finish(inner_hash.as_mut_bytes());

    for byte in pad.as_mut_bytes() {
        *byte ^= 0x36 ^ 0x5c;
    }
    let mut outer = Blake2s::new(HASH_LEN);
    outer.update(pad.as_bytes());
    outer.update(inner_hash.as_bytes());
    outer.finish(out.as_mut_bytes());
}

/// `KDF_N(chain, input)`: HKDF with `N` outputs (paper §5.4, RFC 5869).
fn kdf<const N: usize>(chain: &Secret<HASH_LEN>, input: &[u8]) -> [Secret<HASH_LEN>; N] {
    let mut root = Secret::zero();
    hmac(&mut root, chain, &[input]);

    let mut outputs = array::from_fn(|_| Secret::zero());
    for n in 0..N {
        let (done, rest) = outputs.split_at_mut(n);
        let previous = done.last().map_or(&[][..], |last| last.as_bytes());
        if let Some(next) = rest.first_mut() {
            hmac(next, &root, &[previous, &[n as u8 + 1]]);
        }
    }
    outputs
}

/// What both sides compute along the handshake: chaining key and transcript hash.
struct Transcript {
    chain: Secret<HASH_LEN>,
    hash: Secret<HASH_LEN>,
}

impl Transcript {
    /// Protocol name, prologue and the responder's static key, which both sides start from.
    fn new(responder: &[u8; 32]) -> Self {
        let mut this = Self {
            chain: Secret::from_bytes(INITIAL_CHAIN),
            hash: Secret::from_bytes(INITIAL_HASH),
        };
        this.mix_hash(responder);
        this
    }

    /// Appends to the transcript.
    fn mix_hash(&mut self, data: &[u8]) {
        let mut hash = Blake2s::new(HASH_LEN);
        hash.update(self.hash.as_bytes());
        hash.update(data);
        hash.finish(self.hash.as_mut_bytes());
    }

    /// A secret (or, as the pattern has a PSK, an ephemeral public key) enters the chain; the
    /// result is a key for the next ciphertext.
    fn mix_key(&mut self, input: &[u8; 32]) -> Secret<32> {
        let [chain, key] = kdf(&self.chain, input);
        self.chain = chain;
        key
    }

    /// The token `e`.
    fn mix_ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(public);
        let [chain] = kdf(&self.chain, public);
        self.chain = chain;
    }

    /// The tokens `es`, `ee`, `se`.
    fn mix_dh(&mut self, secret: &Secret<32>, public: &[u8; 32]) -> Option<Secret<32>> {
        let shared = x25519(secret, public)?;
        Some(self.mix_key(shared.as_bytes()))
    }

    /// The token `psk`.
    fn mix_psk(&mut self, psk: &Secret<32>) -> Secret<32> {
        let [chain, hash, key] = kdf(&self.chain, psk.as_bytes());
        self.chain = chain;
        self.mix_hash(hash.as_bytes());
        key
    }

    /// Encrypts to `sealed`, which is a tag longer than `plain`. Each key is used once, with
    /// nonce 0.
    fn seal(&mut self, sealed: &mut [u8], plain: &[u8], key: &Secret<32>) -> Option<()> {
        aead_seal(sealed, plain, self.hash.as_bytes(), 0, key).then_some(())?;
        self.mix_hash(sealed);
        Some(())
    }

    /// Decrypts to `plain`, which is a tag shorter than `sealed`.
    fn open(&mut self, plain: &mut [u8], sealed: &[u8], key: &Secret<32>) -> Option<()> {
        aead_open(plain, sealed, self.hash.as_bytes(), 0, key).then_some(())?;
        self.mix_hash(sealed);
        Some(())
    }
}

/// A device's static key pair.
///
/// # Invariants
///
/// `private` is clamped and `public` is its public key.
pub struct StaticIdentity {
    private: Secret<32>,
    public: [u8; 32],
    /// Which of the device's identities this is, counted from 1 by whoever sets them. It tells
    /// [`Handshake::static_static`] when its cache is stale; with 0 nothing is cached.
    pub generation: u64,
}

impl StaticIdentity {
    /// The identity of a private key, which is clamped. `None` for the zero key: that is how
    /// userspace takes a device's identity away.
    pub fn from_private(mut private: Secret<32>) -> Option<Self> {
        if private.is_zero_ct() {
            return None;
        }
        x25519_clamp(&mut private);
        let public = x25519_public(&private)?;
        Some(Self {
            private,
            public,
            generation: 0,
        })
    }

    /// The public key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The clamped private key.
    pub fn private(&self) -> &Secret<32> {
        &self.private
    }
}

/// How far a handshake is, with what that state needs; leaving it wipes its secrets.
enum Progress {
    /// None is going on.
    Zeroed,
    /// We sent an initiation.
    CreatedInitiation {
        transcript: Transcript,
        ephemeral: Secret<32>,
    },
    /// We accepted an initiation.
    ConsumedInitiation {
        transcript: Transcript,
        remote_ephemeral: [u8; 32],
        remote_index: u32,
    },
    /// We answered one: ready for [`Handshake::begin_session`].
    CreatedResponse {
        chain: Secret<32>,
        remote_index: u32,
    },
    /// Ours was answered: ready for [`Handshake::begin_session`].
    ConsumedResponse {
        chain: Secret<32>,
        remote_index: u32,
    },
}

/// Why an authentic initiation is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// Its timestamp is not greater than the greatest one seen from this peer.
    Replay,
    /// The last one was accepted less than [`INITIATION_INTERVAL_NS`] ago.
    Flood,
}

/// The keys of a finished handshake.
pub struct SessionKeys {
    /// Key for what we send.
    pub sending: Secret<32>,
    /// Key for what we receive.
    pub receiving: Secret<32>,
    /// Index that our data messages carry.
    pub remote_index: u32,
    /// Whether we sent the initiation.
    pub initiator: bool,
}

/// One peer's handshake.
///
/// Belongs behind a lock of its own that may be held in process context for some curve
/// operations.
pub struct Handshake {
    progress: Progress,
    remote_static: [u8; 32],
    psk: Secret<32>,
    /// `ss` with the identity of `static_static_generation`; zero if that product is.
    static_static: Secret<32>,
    static_static_generation: u64,
    /// Boottime of the last accepted initiation, 0 for none.
    last_initiation_ns: u64,
    latest_timestamp: [u8; TIMESTAMP_LEN],
}

impl Handshake {
    /// The idle handshake of a peer. A zero `psk` means none. No curve operation is done: the
    /// static-static product is computed when it is first needed, so adding peers stays cheap.
    pub fn new(remote_static: [u8; 32], psk: Secret<32>) -> Self {
        Self {
            progress: Progress::Zeroed,
            remote_static,
            psk,
            static_static: Secret::zero(),
            static_static_generation: 0,
            last_initiation_ns: 0,
            latest_timestamp: [0; TIMESTAMP_LEN],
        }
    }

    /// The pre-shared key, zero if there is none.
    pub fn psk(&self) -> &Secret<32> {
        &self.psk
    }

    /// Sets the pre-shared key (zero: none). Takes effect with the next `psk` token, that is,
    /// even for an initiation that was sent already.
    pub fn set_psk(&mut self, psk: Secret<32>) {
        self.psk = psk;
    }

    /// Gives up whatever handshake is going on: ephemeral secrets are wiped. Key, PSK and the
    /// timestamp that guards against replays stay.
    pub fn clear(&mut self) {
        self.progress = Progress::Zeroed;
    }

    /// Diffie-Hellman of both static keys, from the cache if it is of this identity.
    ///
    /// `None` if the peer's key is of low order: no handshake with it can succeed.
    pub fn static_static(&mut self, id: &StaticIdentity) -> Option<Secret<32>> {
        if id.generation == 0 || self.static_static_generation != id.generation {
            self.static_static =
                x25519(&id.private, &self.remote_static).unwrap_or_else(Secret::zero);
            self.static_static_generation = id.generation;
        }
        (!self.static_static.is_zero_ct()).then(|| self.static_static.clone())
    }

    /// The initiation to send (MACs zero), or `None` if the peer's key is of low order.
    ///
    /// `ephemeral` is 32 random bytes, `timestamp` that of [`crate::messages::tai64n`],
    /// `sender_index` an index at which the response will find this handshake; the index tables
    /// are the caller's. Whatever handshake was going on is given up.
    pub fn create_initiation(
        &mut self,
        id: &StaticIdentity,
        sender_index: u32,
        mut ephemeral: Secret<32>,
        timestamp: [u8; TIMESTAMP_LEN],
    ) -> Option<Initiation> {
        let mut msg = Initiation::new_zeroed();
        msg.kind = Kind::Initiation.word();
        msg.sender_index = U32::new(sender_index);

        let mut transcript = Transcript::new(&self.remote_static);
        // e
        x25519_clamp(&mut ephemeral);
        msg.ephemeral = x25519_public(&ephemeral)?;
        transcript.mix_ephemeral(&msg.ephemeral);
        // es
        let key = transcript.mix_dh(&ephemeral, &self.remote_static)?;
        // s
        transcript.seal(&mut msg.encrypted_static, &id.public, &key)?;
        // ss
        let key = transcript.mix_key(self.static_static(id)?.as_bytes());
        // {timestamp}
        transcript.seal(&mut msg.encrypted_timestamp, &timestamp, &key)?;

        self.progress = Progress::CreatedInitiation {
            transcript,
            ephemeral,
        };
        Some(msg)
    }

    /// Accepts an initiation of this peer, unless it is a replay or comes too soon. `now_ns` is
    /// boottime. Whatever handshake was going on is given up.
    pub fn commit_initiation(
        &mut self,
        initiation: AuthenticatedInitiation,
        now_ns: u64,
    ) -> Result<(), Rejected> {
        if initiation.timestamp <= self.latest_timestamp {
            return Err(Rejected::Replay);
        }
        let next = self.last_initiation_ns.wrapping_add(INITIATION_INTERVAL_NS);
        if next as i64 > now_ns as i64 {
            return Err(Rejected::Flood);
        }
        self.latest_timestamp = initiation.timestamp;
        self.last_initiation_ns = now_ns;
        self.progress = Progress::ConsumedInitiation {
            transcript: initiation.transcript,
            remote_ephemeral: initiation.ephemeral,
            remote_index: initiation.sender_index,
        };
        Ok(())
    }

    /// Whether an initiation was accepted that is not answered yet, nor given up for another handshake.
    pub fn owes_response(&self) -> bool {
        matches!(self.progress, Progress::ConsumedInitiation { .. })
    }

    /// The response to the accepted initiation (MACs zero), or `None` if there is none or its
    /// keys are of low order. `ephemeral` and `sender_index` as in [`Self::create_initiation`].
    pub fn create_response(
        &mut self,
        sender_index: u32,
        mut ephemeral: Secret<32>,
    ) -> Option<Response> {
        let Progress::ConsumedInitiation {
            transcript: consumed,
            remote_ephemeral,
            remote_index,
        } = &self.progress
        else {
            return None;
        };
        let remote_index = *remote_index;
        // A copy: nothing has happened if a curve operation fails.
        let mut transcript = Transcript {
            chain: consumed.chain.clone(),
            hash: consumed.hash.clone(),
        };

        let mut msg = Response::new_zeroed();
        msg.kind = Kind::Response.word();
        msg.sender_index = U32::new(sender_index);
        msg.receiver_index = U32::new(remote_index);

        // e
        x25519_clamp(&mut ephemeral);
        msg.ephemeral = x25519_public(&ephemeral)?;
        transcript.mix_ephemeral(&msg.ephemeral);
        // ee, se: their keys encrypt nothing
        transcript.mix_dh(&ephemeral, remote_ephemeral)?;
        transcript.mix_dh(&ephemeral, &self.remote_static)?;
        // psk
        let key = transcript.mix_psk(&self.psk);
        // {}
        transcript.seal(&mut msg.encrypted_nothing, &[], &key)?;

        self.progress = Progress::CreatedResponse {
            chain: transcript.chain,
            remote_index,
        };
        Some(msg)
    }

    /// What it takes to open a response, so that it can be done without the handshake's lock.
    /// `None` if we are not waiting for one.
    pub fn response_context(&self) -> Option<ResponseContext> {
        match &self.progress {
            Progress::CreatedInitiation {
                transcript,
                ephemeral,
            } => Some(ResponseContext {
                chain: transcript.chain.clone(),
                hash: transcript.hash.clone(),
                ephemeral: ephemeral.clone(),
                psk: self.psk.clone(),
            }),
            _ => None,
        }
    }

    /// Accepts a response, if it answers the initiation that we sent last.
    pub fn commit_response(&mut self, response: AuthenticatedResponse) -> bool {
        match &self.progress {
            Progress::CreatedInitiation { ephemeral, .. }
                if ephemeral.ct_eq(&response.ephemeral) => {}
            _ => return false,
        }
        self.progress = Progress::ConsumedResponse {
            chain: response.chain,
            remote_index: response.remote_index,
        };
        true
    }

    /// Derives the session's keys (§5.4.5), if the handshake is finished, and clears it. The
    /// index that was given to `create_*` is the session's from now on. Allocate first: the keys
    /// are derived only once.
    pub fn begin_session(&mut self) -> Option<SessionKeys> {
        let (chain, remote_index, initiator) = match &self.progress {
            Progress::CreatedResponse {
                chain,
                remote_index,
            } => (chain, *remote_index, false),
            Progress::ConsumedResponse {
                chain,
                remote_index,
            } => (chain, *remote_index, true),
            _ => return None,
        };
        let [first, second] = kdf(chain, &[]);
        let (sending, receiving) = if initiator {
            (first, second)
        } else {
            (second, first)
        };
        self.clear();
        Some(SessionKeys {
            sending,
            receiving,
            remote_index,
            initiator,
        })
    }
}

/// Opens the part of an initiation that only takes the device's identity.
///
/// `None` if it is not for this identity. The MACs are not looked at. What comes out is not
/// authenticated yet: anyone who knows our public key can make it.
pub fn open_initiation(msg: &Initiation, id: &StaticIdentity) -> Option<OpenedInitiation> {
    let mut transcript = Transcript::new(&id.public);
    // e
    transcript.mix_ephemeral(&msg.ephemeral);
    // es
    let key = transcript.mix_dh(&id.private, &msg.ephemeral)?;
    // s
    let mut remote_static = [0; 32];
    transcript.open(&mut remote_static, &msg.encrypted_static, &key)?;
    Some(OpenedInitiation {
        transcript,
        remote_static,
        ephemeral: msg.ephemeral,
        encrypted_timestamp: msg.encrypted_timestamp,
        sender_index: msg.sender_index.get(),
    })
}

/// An initiation of which we know who claims to have sent it.
pub struct OpenedInitiation {
    transcript: Transcript,
    remote_static: [u8; 32],
    ephemeral: [u8; 32],
    encrypted_timestamp: [u8; TIMESTAMP_LEN + 16],
    sender_index: u32,
}

impl OpenedInitiation {
    /// The public key of who claims to have sent it.
    pub fn remote_static(&self) -> &[u8; 32] {
        &self.remote_static
    }

    /// Proves the claim; `ss` is that peer's [`Handshake::static_static`].
    pub fn authenticate(mut self, ss: &Secret<32>) -> Option<AuthenticatedInitiation> {
        // ss
        let key = self.transcript.mix_key(ss.as_bytes());
        // {timestamp}
        let mut timestamp = [0; TIMESTAMP_LEN];
        self.transcript
            .open(&mut timestamp, &self.encrypted_timestamp, &key)?;
        Some(AuthenticatedInitiation {
            transcript: self.transcript,
            ephemeral: self.ephemeral,
            timestamp,
            sender_index: self.sender_index,
        })
    }
}

/// An initiation that its peer made, though perhaps not now: it may be a replay.
pub struct AuthenticatedInitiation {
    transcript: Transcript,
    ephemeral: [u8; 32],
    timestamp: [u8; TIMESTAMP_LEN],
    sender_index: u32,
}

/// Copy of the secrets that open a response.
pub struct ResponseContext {
    chain: Secret<32>,
    hash: Secret<32>,
    ephemeral: Secret<32>,
    psk: Secret<32>,
}

impl ResponseContext {
    /// Opens a response; `None` if it does not answer this handshake's initiation. The MACs are
    /// not looked at.
    pub fn open(&self, msg: &Response, id: &StaticIdentity) -> Option<AuthenticatedResponse> {
        let mut transcript = Transcript {
            chain: self.chain.clone(),
            hash: self.hash.clone(),
        };
        // e
        transcript.mix_ephemeral(&msg.ephemeral);
        // ee, se
        transcript.mix_dh(&self.ephemeral, &msg.ephemeral)?;
        transcript.mix_dh(&id.private, &msg.ephemeral)?;
        // psk
        let key = transcript.mix_psk(&self.psk);
        // {}
        transcript.open(&mut [], &msg.encrypted_nothing, &key)?;
        Some(AuthenticatedResponse {
            chain: transcript.chain,
            ephemeral: self.ephemeral.clone(),
            remote_index: msg.sender_index.get(),
        })
    }
}

/// A response that the peer made to the initiation with this ephemeral key.
pub struct AuthenticatedResponse {
    chain: Secret<32>,
    ephemeral: Secret<32>,
    remote_index: u32,
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
mod tests;
