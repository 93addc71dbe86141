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
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_noise))]
mod tests {
    use super::*;

    use wgk::crypto::blake2s;
    use zerocopy::IntoBytes;

    const NOW: u64 = 5_000_000_000;
    const STAMP: [u8; TIMESTAMP_LEN] = [0x40, 0, 0, 0, 0x65, 4, 3, 2, 1, 0, 0, 0];
    const INITIATOR: u8 = 0x11;
    const RESPONDER: u8 = 0x22;

    /// Any 32 bytes.
    fn bytes(start: u8) -> [u8; 32] {
        array::from_fn(|n| start ^ (n as u8 * 7))
    }

    fn secret(start: u8) -> Secret<32> {
        Secret::from_bytes(bytes(start))
    }

    fn identity(start: u8) -> StaticIdentity {
        StaticIdentity::from_private(secret(start)).unwrap()
    }

    /// Both ends, with what the tests want to know about them.
    struct Pair {
        id_a: StaticIdentity,
        id_b: StaticIdentity,
        /// The initiator's.
        a: Handshake,
        /// The responder's.
        b: Handshake,
        now: u64,
        stamp: [u8; TIMESTAMP_LEN],
    }

    impl Pair {
        fn new(psk: Secret<32>) -> Self {
            let (id_a, id_b) = (identity(INITIATOR), identity(RESPONDER));
            Self {
                a: Handshake::new(*id_b.public(), psk.clone()),
                b: Handshake::new(*id_a.public(), psk),
                id_a,
                id_b,
                now: NOW,
                stamp: STAMP,
            }
        }

        fn without_psk() -> Self {
            Self::new(Secret::zero())
        }

        fn initiate(&mut self) -> Initiation {
            self.a
                .create_initiation(&self.id_a, 0x0102_0304, secret(0x33), self.stamp)
                .unwrap()
        }

        /// All the steps with which the responder takes an initiation.
        fn accept(&mut self, msg: &Initiation) -> Option<Result<(), Rejected>> {
            let opened = open_initiation(msg, &self.id_b)?;
            if opened.remote_static() != &self.b.remote_static {
                return None;
            }
            let ss = self.b.static_static(&self.id_b)?;
            let authenticated = opened.authenticate(&ss)?;
            Some(self.b.commit_initiation(authenticated, self.now))
        }

        fn respond(&mut self) -> Option<Response> {
            self.b.create_response(0x0a0b_0c0d, secret(0x44))
        }

        /// All the steps with which the initiator takes a response.
        fn finish(&mut self, msg: &Response) -> bool {
            let context = self.a.response_context();
            let response = context.and_then(|context| context.open(msg, &self.id_a));
            response.is_some_and(|response| self.a.commit_response(response))
        }

        /// A second later; a later timestamp.
        fn later(&mut self) {
            self.now += 1_000_000_000;
            self.stamp[7] += 1;
        }
    }

    /// How far a handshake is.
    #[derive(PartialEq, Eq, Debug)]
    enum State {
        Zeroed,
        CreatedInitiation,
        ConsumedInitiation,
        CreatedResponse,
        ConsumedResponse,
    }

    impl Handshake {
        fn state(&self) -> State {
            match self.progress {
                Progress::Zeroed => State::Zeroed,
                Progress::CreatedInitiation { .. } => State::CreatedInitiation,
                Progress::ConsumedInitiation { .. } => State::ConsumedInitiation,
                Progress::CreatedResponse { .. } => State::CreatedResponse,
                Progress::ConsumedResponse { .. } => State::ConsumedResponse,
            }
        }
    }

    fn agree(a: &SessionKeys, b: &SessionKeys) -> bool {
        a.sending.ct_eq(&b.receiving) && a.receiving.ct_eq(&b.sending)
    }

    #[test]
    fn initial_values_are_hashes_of_names() {
        let chain = blake2s(&[], &[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        assert_eq!(INITIAL_CHAIN, chain);
        let hash = blake2s(&[], &[&chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
        assert_eq!(INITIAL_HASH, hash);
    }

    /// Python: `hmac.new(key, message, hashlib.blake2s)` nested as in RFC 5869.
    #[test]
    fn kdf_known_answers() {
        let chain = Secret::from_bytes(array::from_fn(|n| n as u8));
        let input: [u8; 32] = array::from_fn(|n| n as u8 + 100);
        let [first] = kdf(&chain, &input);
        assert_eq!(first.as_bytes(), &KDF_ANSWERS[0]);
        let [first, second] = kdf(&chain, &input);
        assert_eq!(first.as_bytes(), &KDF_ANSWERS[0]);
        assert_eq!(second.as_bytes(), &KDF_ANSWERS[1]);
        let [first, second, third] = kdf(&chain, &input);
        assert_eq!(first.as_bytes(), &KDF_ANSWERS[0]);
        assert_eq!(second.as_bytes(), &KDF_ANSWERS[1]);
        assert_eq!(third.as_bytes(), &KDF_ANSWERS[2]);
        let [first, second] = kdf(&chain, &[]);
        assert_eq!(first.as_bytes(), &KDF_EMPTY_ANSWERS[0]);
        assert_eq!(second.as_bytes(), &KDF_EMPTY_ANSWERS[1]);
    }

    fn whole_handshake(psk: Secret<32>, response: &[u8; 48], first: &[u8; 32], second: &[u8; 32]) {
        let mut pair = Pair::new(psk);
        let msg = pair.initiate();
        assert_eq!(msg.as_bytes()[..8], [1, 0, 0, 0, 4, 3, 2, 1]);
        assert_eq!(msg.as_bytes()[8..116], INITIATION);
        assert_eq!(msg.as_bytes()[116..], [0; 32]);
        assert_eq!(pair.a.state(), State::CreatedInitiation);

        assert_eq!(pair.accept(&msg), Some(Ok(())));
        assert_eq!(pair.b.state(), State::ConsumedInitiation);

        let msg = pair.respond().unwrap();
        let head = [2, 0, 0, 0, 0xd, 0xc, 0xb, 0xa, 4, 3, 2, 1];
        assert_eq!(msg.as_bytes()[..12], head);
        assert_eq!(msg.as_bytes()[12..60], response[..]);
        assert_eq!(msg.as_bytes()[60..], [0; 32]);
        assert_eq!(pair.b.state(), State::CreatedResponse);

        assert!(pair.finish(&msg));
        assert_eq!(pair.a.state(), State::ConsumedResponse);

        let a = pair.a.begin_session().unwrap();
        let b = pair.b.begin_session().unwrap();
        assert_eq!(a.sending.as_bytes(), first);
        assert_eq!(a.receiving.as_bytes(), second);
        assert!(agree(&a, &b));
        assert!(a.initiator && !b.initiator);
        assert_eq!((a.remote_index, b.remote_index), (0x0a0b_0c0d, 0x0102_0304));
        // Once only.
        for handshake in [&mut pair.a, &mut pair.b] {
            assert_eq!(handshake.state(), State::Zeroed);
            assert!(handshake.begin_session().is_none());
        }
    }

    #[test]
    fn handshake_known_answer() {
        whole_handshake(Secret::zero(), &RESPONSE, &KEYS[0], &KEYS[1]);
    }

    #[test]
    fn handshake_with_psk_known_answer() {
        let psk = secret(0x55);
        whole_handshake(psk, &RESPONSE_PSK, &KEYS_PSK[0], &KEYS_PSK[1]);
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        let mut pair = Pair::without_psk();
        let mut msg = pair.initiate();
        // Type and MACs are others' business, and the index is authenticated by MAC1 alone.
        for byte in 8..116 {
            msg.as_mut_bytes()[byte] ^= 1 << (byte % 8);
            assert!(pair.accept(&msg).is_none());
            msg.as_mut_bytes()[byte] ^= 1 << (byte % 8);
        }
        assert_eq!(pair.accept(&msg), Some(Ok(())));

        let mut msg = pair.respond().unwrap();
        for byte in 12..60 {
            msg.as_mut_bytes()[byte] ^= 1 << (byte % 8);
            assert!(!pair.finish(&msg));
            msg.as_mut_bytes()[byte] ^= 1 << (byte % 8);
        }
        assert!(pair.finish(&msg));
    }

    #[test]
    fn wrong_keys_fail() {
        // Another responder.
        let mut pair = Pair::without_psk();
        let msg = pair.initiate();
        assert!(open_initiation(&msg, &identity(0x66)).is_none());

        // Somebody who claims to be the initiator, knowing its public key only.
        let mallory = identity(0x77);
        let mut forger = Handshake::new(*pair.id_b.public(), Secret::zero());
        let claim = StaticIdentity {
            private: mallory.private.clone(),
            public: *pair.id_a.public(),
            generation: 0,
        };
        let forged = forger
            .create_initiation(&claim, 1, secret(0x33), STAMP)
            .unwrap();
        let opened = open_initiation(&forged, &pair.id_b).unwrap();
        assert_eq!(opened.remote_static(), pair.id_a.public());
        assert!(pair.accept(&forged).is_none());

        // Another PSK: only the response shows it.
        pair.b.set_psk(secret(0x56));
        assert_eq!(pair.accept(&msg), Some(Ok(())));
        let response = pair.respond().unwrap();
        assert!(!pair.finish(&response));
        assert_eq!(pair.a.state(), State::CreatedInitiation);
        // Ours may still be corrected.
        pair.a.set_psk(secret(0x56));
        assert!(pair.finish(&response));
        let (a, b) = (pair.a.begin_session(), pair.b.begin_session());
        assert!(agree(&a.unwrap(), &b.unwrap()));
    }

    #[test]
    fn replays_are_rejected() {
        let mut pair = Pair::without_psk();
        let first = pair.initiate();
        assert_eq!(pair.accept(&first), Some(Ok(())));
        pair.now += 1_000_000_000;
        assert_eq!(pair.accept(&first), Some(Err(Rejected::Replay)));

        pair.later();
        let second = pair.initiate();
        assert_eq!(pair.accept(&second), Some(Ok(())));
        pair.now += 1_000_000_000;
        assert_eq!(pair.accept(&first), Some(Err(Rejected::Replay)));
        // A rejected one changes nothing.
        assert_eq!(pair.b.state(), State::ConsumedInitiation);
        // Clearing forgets the handshake, not the timestamp.
        pair.b.clear();
        assert_eq!(pair.accept(&second), Some(Err(Rejected::Replay)));
        assert_eq!(pair.b.state(), State::Zeroed);

        // The last byte counts, and so does the first.
        pair.stamp[11] += 1;
        let third = pair.initiate();
        assert_eq!(pair.accept(&third), Some(Ok(())));
        pair.now += 1_000_000_000;
        pair.stamp = [0xff; TIMESTAMP_LEN];
        pair.stamp[0] = 0x3f;
        let early = pair.initiate();
        assert_eq!(pair.accept(&early), Some(Err(Rejected::Replay)));
    }

    #[test]
    fn floods_are_rejected() {
        let mut pair = Pair::without_psk();
        let msg = pair.initiate();
        assert_eq!(pair.accept(&msg), Some(Ok(())));
        pair.stamp[11] = 1;
        let msg = pair.initiate();
        for ns in [0, 1, 19_999_999] {
            pair.now = NOW + ns;
            assert_eq!(pair.accept(&msg), Some(Err(Rejected::Flood)));
        }
        // Rejected messages did not move the limit, nor use up their timestamp.
        pair.now = NOW + 20_000_000;
        assert_eq!(pair.accept(&msg), Some(Ok(())));
    }

    #[test]
    fn steps_out_of_order_do_nothing() {
        let mut pair = Pair::without_psk();
        assert!(pair.respond().is_none());
        assert!(pair.a.response_context().is_none());
        assert!(pair.a.begin_session().is_none());

        let msg = pair.initiate();
        assert!(pair.a.begin_session().is_none());
        assert!(pair.a.create_response(1, secret(1)).is_none());
        assert_eq!(pair.accept(&msg), Some(Ok(())));
        assert!(pair.b.begin_session().is_none());
        assert!(pair.b.response_context().is_none());
        let response = pair.respond().unwrap();
        // One response per initiation.
        assert!(pair.respond().is_none());
        assert_eq!(pair.b.state(), State::CreatedResponse);

        assert!(pair.finish(&response));
        assert!(!pair.finish(&response));
        assert!(pair.a.begin_session().is_some());
        assert!(!pair.finish(&response));
    }

    #[test]
    fn response_to_an_abandoned_initiation_is_refused() {
        let mut pair = Pair::without_psk();
        let msg = pair.initiate();
        assert_eq!(pair.accept(&msg), Some(Ok(())));
        let response = pair.respond().unwrap();
        // Opened while the first initiation was the current one …
        let context = pair.a.response_context().unwrap();
        let opened = context.open(&response, &pair.id_a).unwrap();
        // … but committed when there is another.
        let again = pair.a.create_initiation(&pair.id_a, 5, secret(0x34), STAMP);
        assert!(again.is_some());
        assert!(!pair.a.commit_response(opened));
        assert_eq!(pair.a.state(), State::CreatedInitiation);
        assert!(!pair.finish(&response));

        // The same when there is none at all.
        let opened = context.open(&response, &pair.id_a).unwrap();
        pair.a.clear();
        assert!(!pair.a.commit_response(opened));
    }

    #[test]
    fn simultaneous_initiations_leave_one_handshake_each() {
        let mut pair = Pair::without_psk();
        let ours = pair.initiate();
        // B initiates too; A takes that and gives its own up.
        let theirs = pair
            .b
            .create_initiation(&pair.id_b, 9, secret(0x44), STAMP)
            .unwrap();
        let opened = open_initiation(&theirs, &pair.id_a).unwrap();
        let ss = pair.a.static_static(&pair.id_a).unwrap();
        let authenticated = opened.authenticate(&ss).unwrap();
        assert_eq!(pair.a.commit_initiation(authenticated, NOW), Ok(()));
        let response = pair.a.create_response(10, secret(0x35)).unwrap();
        let context = pair.b.response_context().unwrap();
        let opened = context.open(&response, &pair.id_b).unwrap();
        assert!(pair.b.commit_response(opened));
        let (a, b) = (pair.a.begin_session(), pair.b.begin_session());
        assert!(agree(&a.unwrap(), &b.unwrap()));
        // B still takes A's initiation, which comes late.
        assert_eq!(pair.accept(&ours), Some(Ok(())));
    }

    #[test]
    fn low_order_keys_lead_nowhere() {
        let id = identity(INITIATOR);
        for first in [0, 1] {
            let mut low = [0; 32];
            low[0] = first;
            let mut handshake = Handshake::new(low, Secret::zero());
            assert!(handshake.static_static(&id).is_none());
            assert!(handshake.static_static(&id).is_none());
            let msg = handshake.create_initiation(&id, 1, secret(0x33), STAMP);
            assert!(msg.is_none());
            assert_eq!(handshake.state(), State::Zeroed);

            let mut msg = Pair::without_psk().initiate();
            msg.ephemeral = low;
            assert!(open_initiation(&msg, &identity(RESPONDER)).is_none());
        }
    }

    #[test]
    fn static_static_follows_the_identity() {
        let peer = *identity(RESPONDER).public();
        let (mut old, mut new) = (identity(INITIATOR), identity(0x66));
        let want_old = x25519(old.private(), &peer).unwrap();
        let want_new = x25519(new.private(), &peer).unwrap();

        let mut handshake = Handshake::new(peer, Secret::zero());
        // Generation 0 is never cached.
        assert!(handshake.static_static(&old).unwrap().ct_eq(&want_old));
        assert!(handshake.static_static(&new).unwrap().ct_eq(&want_new));
        (old.generation, new.generation) = (1, 2);
        assert!(handshake.static_static(&old).unwrap().ct_eq(&want_old));
        assert!(handshake.static_static(&new).unwrap().ct_eq(&want_new));
        // Cached: the key is not looked at again.
        old.generation = 2;
        assert!(handshake.static_static(&old).unwrap().ct_eq(&want_new));
    }

    #[test]
    fn identity_is_clamped_and_not_zero() {
        assert!(StaticIdentity::from_private(Secret::zero()).is_none());
        let id = StaticIdentity::from_private(Secret::from_bytes([0xff; 32])).unwrap();
        let mut clamped = [0xff; 32];
        (clamped[0], clamped[31]) = (0xf8, 0x7f);
        assert_eq!(id.private().as_bytes(), &clamped);
        // RFC 7748, section 6.1: Alice.
        let id = StaticIdentity::from_private(Secret::from_bytes(ALICE[0])).unwrap();
        assert_eq!(id.public(), &ALICE[1]);
    }

    #[test]
    fn handshake_is_small() {
        assert!(size_of::<Handshake>() <= 256);
    }

    const KDF_ANSWERS: [[u8; 32]; 3] = [
        [
            0xe3, 0xb7, 0xe0, 0x38, 0x79, 0x94, 0x47, 0x45, 0x9d, 0x13, 0xf6, 0xcc, 0x03, 0xb7,
            0x15, 0x55, 0xc0, 0xb3, 0x2e, 0xe9, 0x33, 0x54, 0xeb, 0xe4, 0x52, 0x6e, 0xc9, 0x8b,
            0xc5, 0x3b, 0x20, 0xa4,
        ],
        [
            0xca, 0x06, 0xd8, 0xe4, 0x6b, 0x50, 0x92, 0x66, 0xc7, 0xc0, 0x59, 0x48, 0x05, 0xff,
            0xb9, 0xc2, 0x56, 0x34, 0x8a, 0x33, 0xc6, 0x42, 0x38, 0x13, 0x48, 0xf0, 0x47, 0xe4,
            0x52, 0xd2, 0x39, 0xe2,
        ],
        [
            0x5e, 0xe9, 0x52, 0x93, 0x6b, 0xec, 0x14, 0x73, 0xc1, 0x3d, 0xb1, 0xcc, 0x92, 0xb8,
            0xd8, 0xba, 0x5a, 0xd2, 0xdf, 0x7c, 0x77, 0xf0, 0x74, 0x78, 0x73, 0x1d, 0x48, 0xaa,
            0x55, 0x30, 0xa0, 0x00,
        ],
    ];
    const KDF_EMPTY_ANSWERS: [[u8; 32]; 2] = [
        [
            0x7a, 0x38, 0xc3, 0x4b, 0xf2, 0xb8, 0x73, 0x8d, 0x73, 0x74, 0xca, 0x77, 0xc4, 0x4e,
            0xcb, 0x30, 0x9a, 0x11, 0xd2, 0xb2, 0x52, 0x83, 0x04, 0xfa, 0x86, 0x05, 0x2c, 0x36,
            0x5e, 0x72, 0x26, 0x24,
        ],
        [
            0x1a, 0x17, 0x62, 0x1f, 0x34, 0x6a, 0xbd, 0xc5, 0x20, 0x74, 0x6a, 0x9f, 0xb6, 0x4d,
            0x8e, 0xb0, 0x32, 0x31, 0xd6, 0x74, 0xfc, 0x15, 0x68, 0x75, 0x37, 0xb0, 0x78, 0x0f,
            0xd9, 0xc0, 0x60, 0xfd,
        ],
    ];
    const ALICE: [[u8; 32]; 2] = [
        [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ],
        [
            0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e,
            0xf7, 0x5a, 0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e,
            0xaa, 0x9b, 0x4e, 0x6a,
        ],
    ];

    // What the crate snow 0.10.0 produces from the same keys; `tests/host/noise_snow.rs` checks
    // that these are its bytes.
    const INITIATION: [u8; 108] = [
        0xe4, 0xf1, 0x91, 0xd6, 0x96, 0x9f, 0x70, 0xcd, 0x4b, 0xd4, 0x99, 0x9f, 0x04, 0xda, 0x71,
        0x23, 0x6d, 0xc7, 0x57, 0x52, 0x9d, 0x93, 0xdd, 0xea, 0x76, 0x60, 0xa5, 0xac, 0x3f, 0x5f,
        0xaf, 0x43, 0xf6, 0x63, 0x0f, 0x44, 0x5e, 0xc6, 0x3f, 0x4b, 0x78, 0xbd, 0xa2, 0x40, 0x0d,
        0xee, 0xe0, 0x06, 0x94, 0x28, 0x12, 0xf6, 0x4c, 0xd4, 0x6e, 0x56, 0xb6, 0xe6, 0xbd, 0xa5,
        0x5e, 0xee, 0xd1, 0x6d, 0x45, 0x60, 0x3d, 0x50, 0x37, 0x16, 0xcf, 0x66, 0x8f, 0x70, 0x83,
        0x66, 0x22, 0xd9, 0x46, 0xc0, 0x37, 0x27, 0x88, 0x07, 0xa1, 0x9a, 0x79, 0xc7, 0xf4, 0x69,
        0xc2, 0x55, 0x55, 0xc9, 0xba, 0xf7, 0x4a, 0x3b, 0x42, 0xa3, 0x33, 0x95, 0x89, 0x8b, 0xc8,
        0xb2, 0x6c, 0x63,
    ];
    const RESPONSE: [u8; 48] = [
        0xb5, 0x53, 0x49, 0x07, 0x20, 0x0a, 0xce, 0xa9, 0xa0, 0x4b, 0x46, 0x19, 0x3a, 0xf1, 0xbb,
        0x17, 0x71, 0x7d, 0x63, 0x8d, 0x0d, 0xa5, 0x77, 0x67, 0xd0, 0x62, 0xcf, 0x1f, 0x93, 0x10,
        0xad, 0x78, 0x20, 0xcd, 0xc6, 0xa8, 0xf7, 0xa9, 0xae, 0xd7, 0x25, 0xbb, 0xfa, 0xd7, 0x9f,
        0x7b, 0x64, 0xc8,
    ];
    const KEYS: [[u8; 32]; 2] = [
        [
            0x4b, 0xb1, 0x36, 0xd7, 0xd0, 0xc6, 0xc5, 0x9c, 0x68, 0xbd, 0xfe, 0xea, 0xc4, 0x15,
            0x47, 0x6f, 0xe8, 0xb1, 0x33, 0xd0, 0x27, 0x0e, 0xb0, 0x2c, 0xa8, 0xf5, 0x13, 0x7c,
            0x0e, 0x13, 0x70, 0x5d,
        ],
        [
            0x6a, 0x06, 0x23, 0x49, 0x15, 0xca, 0x9a, 0xbf, 0x8b, 0x7c, 0x9c, 0x4e, 0xcc, 0x2d,
            0x8b, 0x22, 0x61, 0x1d, 0xc8, 0xa1, 0x03, 0xa8, 0xeb, 0x72, 0x63, 0xd9, 0x55, 0x57,
            0x17, 0x49, 0x66, 0xff,
        ],
    ];
    const RESPONSE_PSK: [u8; 48] = [
        0xb5, 0x53, 0x49, 0x07, 0x20, 0x0a, 0xce, 0xa9, 0xa0, 0x4b, 0x46, 0x19, 0x3a, 0xf1, 0xbb,
        0x17, 0x71, 0x7d, 0x63, 0x8d, 0x0d, 0xa5, 0x77, 0x67, 0xd0, 0x62, 0xcf, 0x1f, 0x93, 0x10,
        0xad, 0x78, 0xe4, 0x62, 0x29, 0xb5, 0x56, 0x5d, 0xb6, 0xf6, 0x9d, 0xa4, 0x15, 0xd1, 0x79,
        0xd4, 0x32, 0x6a,
    ];
    const KEYS_PSK: [[u8; 32]; 2] = [
        [
            0x47, 0xbf, 0x3c, 0x42, 0x77, 0x3a, 0x40, 0x6e, 0x0f, 0x02, 0x76, 0xe8, 0xb3, 0x4d,
            0xce, 0xcf, 0x11, 0x8c, 0x27, 0x20, 0x2c, 0x3e, 0x9b, 0xba, 0x32, 0x06, 0x5b, 0xff,
            0x79, 0x4f, 0x5b, 0x71,
        ],
        [
            0xd4, 0x7c, 0xf5, 0xad, 0x7b, 0xc8, 0x7b, 0x31, 0xde, 0x7a, 0xda, 0x83, 0xb9, 0x45,
            0xb5, 0x21, 0x59, 0xd7, 0xc9, 0x86, 0x20, 0xd0, 0x08, 0x97, 0xa9, 0xd2, 0x62, 0x7f,
            0x13, 0x30, 0xef, 0xee,
        ],
    ];
}
