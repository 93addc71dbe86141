// SPDX-License-Identifier: GPL-2.0
//! Tests of the handshake: both ends, messages changed on the way, states out of order.
//!
//! A module in a module, as the macro of the kernel's KUnit wants the body where it stands.

#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_noise))]
mod suite {
    use super::super::*;

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
        assert!(!pair.a.owes_response());
        assert_eq!(pair.a.commit_initiation(authenticated, NOW), Ok(()));
        assert!(pair.a.owes_response());
        let response = pair.a.create_response(10, secret(0x35)).unwrap();
        assert!(!pair.a.owes_response());
        let context = pair.b.response_context().unwrap();
        let opened = context.open(&response, &pair.id_b).unwrap();
        assert!(pair.b.commit_response(opened));
        let (a, b) = (pair.a.begin_session(), pair.b.begin_session());
        assert!(agree(&a.unwrap(), &b.unwrap()));
        // B still takes A's initiation, which comes late.
        assert_eq!(pair.accept(&ours), Some(Ok(())));
        // Until B begins one of its own instead.
        assert!(pair.b.owes_response());
        pair.b
            .create_initiation(&pair.id_b, 11, secret(0x46), STAMP)
            .unwrap();
        assert!(!pair.b.owes_response());
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
