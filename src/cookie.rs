// SPDX-License-Identifier: GPL-2.0
//! MAC1, MAC2 and cookies: what protects the handshake workers (WireGuard paper §5.3, §5.4.4,
//! §5.4.7).
//!
//! MAC1 proves that the sender knows our public key; only a message with a valid one is ever
//! answered. MAC2 proves that the sender gets mail at its source address: its key is a cookie, a
//! MAC of that address under a secret which changes every two minutes, sent encrypted to where
//! the first message came from. It is asked for only under load.
//!
//! [`Checker`] is the receiving side, one per device; [`PeerCookie`] the sending side, one per
//! peer. Nothing here locks, sleeps or allocates: any context. Times are boottime.
//!
//! A sender's *source* is its address (4 or 16 bytes) followed by its port, both as they stand
//! in the packet.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::num::NonZeroU64;

use wgk::crypto::{
    blake2s,
    ct_eq,
    xaead_open,
    xaead_seal,
    Secret, //
};
use zerocopy::{
    little_endian::U32,
    FromZeros, //
};

use crate::messages::{
    expired,
    CookieReply,
    Kind,
    COOKIE_LEN,
    COOKIE_NONCE_LEN,
    COOKIE_SECRET_LATENCY_NS,
    COOKIE_SECRET_MAX_AGE_NS, //
};

/// Whether a handshake message may be acted upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MacState {
    /// MAC1 is wrong (or we have no identity): drop.
    Invalid,
    /// MAC1 is right; MAC2 is wrong, or was not asked for. Under load: answer with a cookie.
    ValidNoCookie,
    /// Under load, and both are right: act, if the rate limiter allows the source.
    ValidWithCookie,
}

fn mac1_key(public: &[u8; 32]) -> [u8; 32] {
    blake2s(&[], &[b"mac1----", public])
}

fn cookie_key(public: &[u8; 32]) -> Secret<32> {
    Secret::from_bytes(blake2s(&[], &[b"cookie--", public]))
}

/// What MAC1 and MAC2 are made of: the handshake message `packet` up to the one, up to the other.
fn maced(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let for_mac2 = packet.get(..packet.len().checked_sub(COOKIE_LEN)?)?;
    let for_mac1 = packet.get(..for_mac2.len().checked_sub(COOKIE_LEN)?)?;
    Some((for_mac1, for_mac2))
}

/// Keys that follow from the device's public key.
struct DeviceKeys {
    mac1: [u8; 32],
    cookie: Secret<32>,
}

/// The key of the cookies that a device gives out, for two minutes.
pub struct CookieSecret {
    secret: Secret<32>,
    birth_ns: u64,
}

impl CookieSecret {
    /// Another one that is the same, and as old.
    fn copy(&self) -> Self {
        Self {
            secret: Secret::from_bytes(*self.secret.as_bytes()),
            birth_ns: self.birth_ns,
        }
    }

    /// Whether cookies are made and taken with it.
    pub fn is_fresh(&self, now_ns: u64) -> bool {
        !expired(self.birth_ns, COOKIE_SECRET_MAX_AGE_NS, now_ns)
    }

    /// The cookie of `source`.
    fn cookie(&self, source: &[u8]) -> Secret<COOKIE_LEN> {
        Secret::from_bytes(blake2s(self.secret.as_bytes(), &[source]))
    }

    /// Whether the MAC2 of `packet`, a whole handshake message, was made with the cookie of `source`.
    /// Shared.
    ///
    /// MAC1 is not looked at, which whoever was sent a cookie can make as well. Costs two blocks of
    /// BLAKE2s for the cookie, and three or four for the message.
    pub fn proves(&self, packet: &[u8], source: &[u8], now_ns: u64) -> bool {
        self.is_fresh(now_ns)
            && maced(packet).is_some_and(|(_, for_mac2)| {
                let mac2 = blake2s::<COOKIE_LEN>(self.cookie(source).as_bytes(), &[for_mac2]);
                ct_eq(&mac2, &packet[for_mac2.len()..])
            })
    }
}

/// The receiving side of a device.
///
/// Meant for a reader-writer lock. Only [`Self::set_identity`] and [`Self::renew_secret`] need
/// it exclusively, the one on configuration, the other once in two minutes under load; the two
/// functions that every message goes through are shared:
///
/// ```text
/// if under_load && checker.read().secret_due(now) {
///     checker.write().renew_secret(now, random);
/// }
/// match checker.read().mac_state(packet, source, under_load, now) { … make_reply() … }
/// ```
///
/// Any order of the calls will do: without a fresh secret no cookie is valid and none is made.
pub struct Checker {
    keys: Option<DeviceKeys>,
    secret: Option<CookieSecret>,
}

impl Checker {
    /// Of a device without identity: every message is invalid.
    pub const fn new() -> Self {
        Self {
            keys: None,
            secret: None,
        }
    }

    /// What cookies are made with now, for who can't wait for the lock. Shared.
    pub fn secret(&self) -> Option<CookieSecret> {
        self.secret.as_ref().map(CookieSecret::copy)
    }

    /// Takes the device's public key. Exclusive.
    pub fn set_identity(&mut self, public: Option<&[u8; 32]>) {
        self.keys = public.map(|public| DeviceKeys {
            mac1: mac1_key(public),
            cookie: cookie_key(public),
        });
    }

    /// Whether it is time for [`Self::renew_secret`]. Shared.
    pub fn secret_due(&self, now_ns: u64) -> bool {
        self.fresh_secret(now_ns).is_none()
    }

    /// Takes a new cookie secret from `random` if it is time, which is looked at again: of
    /// several callers the first one renews. Exclusive.
    pub fn renew_secret(&mut self, now_ns: u64, random: impl FnOnce() -> [u8; 32]) {
        if self.secret_due(now_ns) {
            self.secret = Some(CookieSecret {
                secret: Secret::from_bytes(random()),
                birth_ns: now_ns,
            });
        }
    }

    fn fresh_secret(&self, now_ns: u64) -> Option<&CookieSecret> {
        self.secret.as_ref().filter(|s| s.is_fresh(now_ns))
    }

    /// Judges the MACs of `packet`, a whole [`Initiation`] or [`Response`] from `source`. Shared.
    ///
    /// MAC2 is looked at only `under_load`. On [`MacState::ValidWithCookie`] the caller asks the
    /// rate limiter, and only then: a source that was not proved must not use up tokens.
    ///
    /// [`Initiation`]: crate::messages::Initiation
    /// [`Response`]: crate::messages::Response
    pub fn mac_state(
        &self,
        packet: &[u8],
        source: &[u8],
        under_load: bool,
        now_ns: u64,
    ) -> MacState {
        let (Some(keys), Some((for_mac1, for_mac2))) = (&self.keys, maced(packet)) else {
            return MacState::Invalid;
        };
        let mac1 = blake2s::<COOKIE_LEN>(&keys.mac1, &[for_mac1]);
        if !ct_eq(&mac1, &for_mac2[for_mac1.len()..]) {
            return MacState::Invalid;
        }
        if !under_load {
            return MacState::ValidNoCookie;
        }
        let secret = self.secret.as_ref();
        if secret.is_some_and(|secret| secret.proves(packet, source, now_ns)) {
            MacState::ValidWithCookie
        } else {
            MacState::ValidNoCookie
        }
    }

    /// The reply that takes a cookie to `source`, in answer to a handshake message with valid
    /// `mac1` and `receiver_index` as its sender index. `nonce` is random. Shared.
    ///
    /// `None` without identity or fresh secret, which cannot be if [`Self::mac_state`] said
    /// [`MacState::ValidNoCookie`] for a message just now and the secret was renewed when due.
    pub fn make_reply(
        &self,
        mac1: &[u8; COOKIE_LEN],
        source: &[u8],
        receiver_index: u32,
        nonce: [u8; COOKIE_NONCE_LEN],
        now_ns: u64,
    ) -> Option<CookieReply> {
        let key = &self.keys.as_ref()?.cookie;
        let cookie = self.fresh_secret(now_ns)?.cookie(source);

        let mut reply = CookieReply::new_zeroed();
        reply.kind = Kind::CookieReply.word();
        reply.receiver_index = U32::new(receiver_index);
        reply.nonce = nonce;
        xaead_seal(
            &mut reply.encrypted_cookie,
            cookie.as_bytes(),
            mac1,
            &nonce,
            key,
        )
        .then_some(reply)
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

/// The sending side of a peer, 40 bytes. Belongs behind a lock; all its methods are exclusive.
///
/// The two keys that follow from the peer's public key are not kept: each takes one BLAKE2s
/// block to make, next to the curve operations of every message they are used for, and they
/// would more than double what every peer, active or not, needs here.
pub struct PeerCookie {
    cookie: Secret<COOKIE_LEN>,
    /// MAC1 of our last handshake message; zeros (which one in 2^128 has): a reply to it would not be
    /// welcome, or there was none.
    last_mac1: [u8; COOKIE_LEN],
    /// When we got `cookie`; `None`: not yet.
    birth_ns: Option<NonZeroU64>,
}

impl PeerCookie {
    /// Of a peer that has sent us no cookie.
    pub fn new() -> Self {
        Self {
            cookie: Secret::zero(),
            last_mac1: [0; COOKIE_LEN],
            birth_ns: None,
        }
    }

    /// Writes both MACs to the end of `packet`, a whole [`Initiation`] or [`Response`] for the
    /// peer whose public key is `peer`. MAC2 is zero without a cookie young enough.
    ///
    /// [`Initiation`]: crate::messages::Initiation
    /// [`Response`]: crate::messages::Response
    pub fn add_macs(&mut self, peer: &[u8; 32], packet: &mut [u8], now_ns: u64) {
        let Some((for_mac1, for_mac2)) = maced(packet) else {
            return;
        };
        let (mac1_at, mac2_at) = (for_mac1.len(), for_mac2.len());

        self.last_mac1 = blake2s(&mac1_key(peer), &[for_mac1]);
        packet[mac1_at..mac2_at].copy_from_slice(&self.last_mac1);

        let (for_mac2, mac2) = packet.split_at_mut(mac2_at);
        let max_age = COOKIE_SECRET_MAX_AGE_NS - COOKIE_SECRET_LATENCY_NS;
        let is_young = |birth_ns: NonZeroU64| !expired(birth_ns.get(), max_age, now_ns);
        if self.birth_ns.is_some_and(is_young) {
            mac2.copy_from_slice(&blake2s::<COOKIE_LEN>(self.cookie.as_bytes(), &[for_mac2]));
        } else {
            mac2.fill(0);
        }
    }

    /// Takes the cookie out of a reply of the peer whose public key is `peer`. `false`: it does
    /// not answer our last message, or that was answered before.
    pub fn consume_reply(&mut self, peer: &[u8; 32], reply: &CookieReply, now_ns: u64) -> bool {
        if self.last_mac1 == [0; COOKIE_LEN] {
            return false;
        }
        let mut cookie = Secret::zero();
        if !xaead_open(
            cookie.as_mut_bytes(),
            &reply.encrypted_cookie,
            &self.last_mac1,
            &reply.nonce,
            &cookie_key(peer),
        ) {
            return false;
        }
        self.cookie = cookie;
        self.birth_ns = NonZeroU64::new(now_ns.max(1));
        self.last_mac1 = [0; COOKIE_LEN];
        true
    }
}

impl Default for PeerCookie {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_cookie))]
mod tests {
    use super::*;

    use crate::messages::{
        Initiation,
        Response,
        NSEC_PER_SEC, //
    };

    use zerocopy::IntoBytes;

    const PUBLIC: [u8; 32] = [7; 32];
    const SOURCE: [u8; 6] = [192, 0, 2, 1, 0x30, 0x39];
    const NOW: u64 = 1000 * NSEC_PER_SEC;

    fn initiation() -> Initiation {
        let mut msg = Initiation::new_zeroed();
        for (byte, n) in msg.as_mut_bytes().iter_mut().zip(0..) {
            *byte = n;
        }
        msg
    }

    /// A checker and a peer that knows its key.
    fn sides() -> (Checker, PeerCookie) {
        let mut checker = Checker::new();
        checker.set_identity(Some(&PUBLIC));
        (checker, PeerCookie::new())
    }

    /// Sends a message without cookie, gets a cookie for it.
    fn give_cookie(checker: &mut Checker, cookie: &mut PeerCookie, now: u64) {
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), now);
        checker.renew_secret(now, || [42; 32]);
        let reply = checker
            .make_reply(&msg.macs.mac1, &SOURCE, 9, [3; 24], now)
            .unwrap();
        assert_eq!(reply.kind.get(), 3);
        assert_eq!(reply.receiver_index.get(), 9);
        assert!(cookie.consume_reply(&PUBLIC, &reply, now));
        // Only once.
        assert!(!cookie.consume_reply(&PUBLIC, &reply, now));
    }

    /// Python: `k = blake2s(b"mac1----" + pub).digest()`,
    /// `blake2s(bytes(range(116)), key=k, digest_size=16)`.
    #[test]
    fn mac1_known_answer() {
        let mut msg = initiation();
        PeerCookie::new().add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        assert_eq!(msg.macs.mac1, MAC1_ANSWER);
        assert_eq!(msg.macs.mac2, [0; 16]);
    }

    /// Python: the cookie is `blake2s(source, key=bytes([42] * 32), digest_size=16)`; MAC2 is
    /// `blake2s(bytes(range(116)) + mac1, key=cookie, digest_size=16)`.
    #[test]
    fn mac2_known_answer() {
        let (mut checker, mut cookie) = sides();
        give_cookie(&mut checker, &mut cookie, NOW);
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        assert_eq!(msg.macs.mac1, MAC1_ANSWER);
        assert_eq!(msg.macs.mac2, MAC2_ANSWER);
    }

    #[test]
    fn mac1_covers_all_before_it() {
        let (checker, mut cookie) = sides();
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        let state = |m: &Initiation| checker.mac_state(m.as_bytes(), &SOURCE, false, NOW);
        assert_eq!(state(&msg), MacState::ValidNoCookie);
        for bit in 0..132 * 8 {
            msg.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(state(&msg), MacState::Invalid);
            msg.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
        }
        // Not under load MAC2 does not matter.
        msg.macs.mac2 = [1; 16];
        assert_eq!(state(&msg), MacState::ValidNoCookie);
    }

    #[test]
    fn mac1_needs_the_right_key_and_a_whole_message() {
        let (mut checker, mut cookie) = sides();
        let mut msg = Response::new_zeroed();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        let state = |c: &Checker| c.mac_state(msg.as_bytes(), &SOURCE, false, NOW);
        assert_eq!(state(&checker), MacState::ValidNoCookie);
        checker.set_identity(Some(&[8; 32]));
        assert_eq!(state(&checker), MacState::Invalid);
        checker.set_identity(None);
        assert_eq!(state(&checker), MacState::Invalid);
        checker.set_identity(Some(&PUBLIC));
        for len in 0..92 {
            let cut = &msg.as_bytes()[..len];
            assert_eq!(
                checker.mac_state(cut, &SOURCE, true, NOW),
                MacState::Invalid
            );
        }
        // Nor does adding MACs to what has no room for them.
        cookie.add_macs(&PUBLIC, &mut [0; 31], NOW);
    }

    #[test]
    fn cookie_round_trip() {
        let (mut checker, mut cookie) = sides();
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        checker.renew_secret(NOW, || [42; 32]);
        let state = |c: &Checker, m: &Initiation, s: &[u8]| c.mac_state(m.as_bytes(), s, true, NOW);
        assert_eq!(state(&checker, &msg, &SOURCE), MacState::ValidNoCookie);

        give_cookie(&mut checker, &mut cookie, NOW);
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        assert_eq!(state(&checker, &msg, &SOURCE), MacState::ValidWithCookie);
        // Another port, another address, the same digits as an IPv6 source.
        for other in [
            &[192, 0, 2, 1, 0x30, 0x38][..],
            &[192, 0, 2, 2, 0x30, 0x39],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1, 0x30, 0x39],
        ] {
            assert_eq!(state(&checker, &msg, other), MacState::ValidNoCookie);
        }
        // MAC2 covers MAC1 too; each of its own bits counts.
        for bit in 0..128 {
            msg.macs.mac2[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(state(&checker, &msg, &SOURCE), MacState::ValidNoCookie);
            msg.macs.mac2[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn secret_proves_as_the_checker_does() {
        let (mut checker, mut cookie) = sides();
        assert!(Checker::new().secret().is_none());
        give_cookie(&mut checker, &mut cookie, NOW);
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        let Some(secret) = checker.secret() else {
            panic!("a cookie was made with it");
        };
        let proves = |m: &Initiation, now| secret.proves(m.as_bytes(), &SOURCE, now);
        assert!(proves(&msg, NOW));
        // Not another source, and nothing that is too short.
        assert!(!secret.proves(msg.as_bytes(), &[192, 0, 2, 1, 0x30, 0x38], NOW));
        assert!(!secret.proves(&msg.as_bytes()[..31], &SOURCE, NOW));
        // It is the secret of its time, no other, and dies with it.
        let end = NOW + COOKIE_SECRET_MAX_AGE_NS;
        checker.renew_secret(end, || [43; 32]);
        assert!(proves(&msg, end - 1));
        assert!(!proves(&msg, end));
        // Nor is the key's owner asked.
        checker.set_identity(None);
        assert!(proves(&msg, NOW));
        // What MAC2 covers: MAC1 as well.
        msg.macs.mac1[3] ^= 1;
        assert!(!proves(&msg, NOW));
        msg.macs.mac1[3] ^= 1;
        msg.macs.mac2[3] ^= 1;
        assert!(!proves(&msg, NOW));
    }

    #[test]
    fn reply_must_answer_our_last_message_untouched() {
        let (mut checker, mut cookie) = sides();
        checker.renew_secret(NOW, || [42; 32]);
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        let old = checker.make_reply(&msg.macs.mac1, &SOURCE, 9, [3; 24], NOW);
        msg.sender_index = U32::new(77);
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        assert!(!cookie.consume_reply(&PUBLIC, &old.unwrap(), NOW));

        let mut reply = checker
            .make_reply(&msg.macs.mac1, &SOURCE, 9, [3; 24], NOW)
            .unwrap();
        // Type and index are not authenticated: the index table finds the peer by the latter.
        for bit in 8 * 8..64 * 8 {
            reply.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            assert!(!cookie.consume_reply(&PUBLIC, &reply, NOW));
            reply.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!cookie.consume_reply(&[8; 32], &reply, NOW));
        assert!(cookie.consume_reply(&PUBLIC, &reply, NOW));
        // Unasked for.
        assert!(!PeerCookie::new().consume_reply(&PUBLIC, &reply, NOW));
    }

    #[test]
    fn secret_lives_two_minutes() {
        let (mut checker, mut cookie) = sides();
        // Without one: no cookie is made, none is valid.
        assert!(checker.secret_due(NOW));
        assert!(checker
            .make_reply(&[0; 16], &SOURCE, 9, [3; 24], NOW)
            .is_none());

        give_cookie(&mut checker, &mut cookie, NOW);
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW);
        let state = |c: &Checker, now| c.mac_state(msg.as_bytes(), &SOURCE, true, now);

        let last = NOW + COOKIE_SECRET_MAX_AGE_NS - 1;
        assert!(!checker.secret_due(last));
        checker.renew_secret(last, || [43; 32]);
        assert_eq!(state(&checker, last), MacState::ValidWithCookie);

        assert!(checker.secret_due(last + 1));
        assert_eq!(state(&checker, last + 1), MacState::ValidNoCookie);
        checker.renew_secret(last + 1, || [43; 32]);
        assert!(!checker.secret_due(last + 1));
        assert_eq!(state(&checker, last + 1), MacState::ValidNoCookie);
    }

    #[test]
    fn peer_stops_using_a_cookie_before_it_expires() {
        let (mut checker, mut cookie) = sides();
        give_cookie(&mut checker, &mut cookie, NOW);
        let mut msg = initiation();
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW + 115 * NSEC_PER_SEC - 1);
        assert!(msg.macs.mac2 != [0; 16]);
        cookie.add_macs(&PUBLIC, msg.as_mut_bytes(), NOW + 115 * NSEC_PER_SEC);
        assert_eq!(msg.macs.mac2, [0; 16]);
    }

    #[test]
    fn peer_cookie_is_small() {
        assert_eq!(size_of::<PeerCookie>(), 40);
    }

    const MAC1_ANSWER: [u8; 16] = [
        0x81, 0x37, 0xf1, 0x21, 0x5f, 0x6c, 0x25, 0x05, 0xcc, 0x25, 0x58, 0xb0, 0x12, 0x1d, 0x51,
        0x85,
    ];
    const MAC2_ANSWER: [u8; 16] = [
        0x45, 0x67, 0x69, 0x5f, 0x12, 0x61, 0xf4, 0x2b, 0x7b, 0x66, 0x3f, 0x16, 0x5e, 0x46, 0x91,
        0x53,
    ];
}
