// SPDX-License-Identifier: GPL-2.0
//! Wire formats and protocol constants (WireGuard paper §5.4, §6.1).
//!
//! Everything on the wire is little endian and byte aligned. The first four bytes of a message
//! are its type (one byte) and three reserved zero bytes; they are read as one 32-bit word, so a
//! message whose reserved bytes are not zero has no known type.
//!
//! Nothing here sleeps, locks or allocates: any context. Times are nanoseconds.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::ffi::CStr;

use zerocopy::little_endian::{
    U32,
    U64, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

/// Length of a Curve25519 public key in bytes.
pub const PUBLIC_KEY_LEN: usize = 32;
/// Length of a Poly1305 tag in bytes.
pub const AUTHTAG_LEN: usize = 16;
/// Length of a TAI64N timestamp in bytes.
pub const TIMESTAMP_LEN: usize = 12;
/// Length of a cookie, of MAC1 and of MAC2 in bytes.
pub const COOKIE_LEN: usize = 16;
/// Length of the nonce of a cookie reply in bytes.
pub const COOKIE_NONCE_LEN: usize = 24;

/// One second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// A device makes a new cookie secret when its own is this old.
pub const COOKIE_SECRET_MAX_AGE_NS: u64 = 120 * NSEC_PER_SEC;
/// A peer stops using a cookie this much before its maker would refuse it.
pub const COOKIE_SECRET_LATENCY_NS: u64 = 5 * NSEC_PER_SEC;

/// Bits in the replay bitmap of a receiving key.
pub const COUNTER_BITS_TOTAL: u64 = 8192;
/// Bits of it that are being cleared rather than used: one word.
pub const COUNTER_REDUNDANT_BITS: u64 = 64;
/// A counter this far behind the newest one is refused.
pub const COUNTER_WINDOW_SIZE: u64 = COUNTER_BITS_TOTAL - COUNTER_REDUNDANT_BITS;

/// A sending key that was used more often than this asks for a new handshake.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// A key is not used for this counter or any greater one.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - COUNTER_WINDOW_SIZE - 1;
/// An unanswered initiation is repeated after this time.
pub const REKEY_TIMEOUT_NS: u64 = 5 * NSEC_PER_SEC;
/// Upper bound of the jitter that is added to [`REKEY_TIMEOUT_NS`].
pub const REKEY_TIMEOUT_JITTER_MAX_NS: u64 = NSEC_PER_SEC / 3;
/// The initiator of a session asks for the next one when its key is this old.
pub const REKEY_AFTER_TIME_NS: u64 = 120 * NSEC_PER_SEC;
/// A key this old is not used any more.
pub const REJECT_AFTER_TIME_NS: u64 = 180 * NSEC_PER_SEC;
/// Who received data and had nothing to send for this time sends an empty message.
pub const KEEPALIVE_TIMEOUT_NS: u64 = 10 * NSEC_PER_SEC;
/// One peer's initiations are accepted at most this often.
pub const INITIATIONS_PER_SECOND: u64 = 50;
/// Shortest time between two accepted initiations of one peer.
pub const INITIATION_INTERVAL_NS: u64 = NSEC_PER_SEC / INITIATIONS_PER_SECOND;
/// Most peers that one device may have.
pub const MAX_PEERS_PER_DEVICE: usize = 1 << 20;
/// After this many unanswered initiations in a row a peer gives up (90 seconds).
pub const MAX_TIMER_HANDSHAKES: u32 = (90 * NSEC_PER_SEC / REKEY_TIMEOUT_NS) as u32;
/// Most handshake messages of a device that may wait for a worker.
pub const MAX_QUEUED_INCOMING_HANDSHAKES: usize = 4096;
/// As many of them may be of sources that have not proved themselves while the device is under load.
pub const MAX_QUEUED_UNPROVEN: usize = MAX_QUEUED_INCOMING_HANDSHAKES / 2;
/// A device with this many waiting handshake messages is under load.
pub const UNDER_LOAD_HANDSHAKES: usize = MAX_QUEUED_INCOMING_HANDSHAKES / 8;
/// A device counts as under load for this long after it last was.
pub const UNDER_LOAD_LINGER_NS: u64 = NSEC_PER_SEC;
/// Most packets of one peer that may wait for a session.
pub const MAX_STAGED_PACKETS: usize = 128;
/// Most packets that may wait for encryption, decryption or their turn in one queue; of those that
/// are sent, a burst counts as one.
pub const MAX_QUEUED_PACKETS: usize = 1024;

/// Plaintext is padded to a multiple of this many bytes.
pub const MESSAGE_PADDING_MULTIPLE: usize = 16;
/// Length of a data message without payload (a keepalive), hence the shortest one.
pub const MESSAGE_MINIMUM_LENGTH: usize = data_len(0);
/// Traffic class of handshake messages: DSCP AF41, ECN 00.
pub const HANDSHAKE_DSCP: u8 = 0x88;

/// What a message is, by its type word and length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// First handshake message ([`Initiation`]).
    Initiation = 1,
    /// Second handshake message ([`Response`]).
    Response = 2,
    /// Answer of a loaded device to either of them ([`CookieReply`]).
    CookieReply = 3,
    /// Encrypted packet ([`DataHeader`] and ciphertext).
    Data = 4,
}

impl Kind {
    /// The type word, as it stands at the start of the message.
    pub const fn word(self) -> U32 {
        U32::new(self as u32)
    }
}

/// The two authenticators at the end of both handshake messages (§5.4.4).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct Macs {
    /// Over all bytes before it, keyed with the receiver's public key.
    pub mac1: [u8; COOKIE_LEN],
    /// Over all bytes before it, keyed with the receiver's cookie; zero without one.
    pub mac2: [u8; COOKIE_LEN],
}

/// First handshake message (§5.4.2), 148 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct Initiation {
    /// [`Kind::Initiation`].
    pub kind: U32,
    /// Index under which the initiator wants to be answered.
    pub sender_index: U32,
    /// Initiator's ephemeral public key.
    pub ephemeral: [u8; PUBLIC_KEY_LEN],
    /// Initiator's static public key, encrypted.
    pub encrypted_static: [u8; PUBLIC_KEY_LEN + AUTHTAG_LEN],
    /// TAI64N time of sending, encrypted.
    pub encrypted_timestamp: [u8; TIMESTAMP_LEN + AUTHTAG_LEN],
    /// Authenticators.
    pub macs: Macs,
}

/// Second handshake message (§5.4.3), 92 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct Response {
    /// [`Kind::Response`].
    pub kind: U32,
    /// Index under which the responder wants data messages.
    pub sender_index: U32,
    /// The initiation's `sender_index`.
    pub receiver_index: U32,
    /// Responder's ephemeral public key.
    pub ephemeral: [u8; PUBLIC_KEY_LEN],
    /// Nothing, encrypted: proof that the responder has all keys.
    pub encrypted_nothing: [u8; AUTHTAG_LEN],
    /// Authenticators.
    pub macs: Macs,
}

/// Answer of a loaded device to a handshake message without valid MAC2 (§5.4.7), 64 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct CookieReply {
    /// [`Kind::CookieReply`].
    pub kind: U32,
    /// `sender_index` of the message that is answered.
    pub receiver_index: U32,
    /// XChaCha20-Poly1305 nonce.
    pub nonce: [u8; COOKIE_NONCE_LEN],
    /// The cookie, encrypted, with the answered message's MAC1 as additional data.
    pub encrypted_cookie: [u8; COOKIE_LEN + AUTHTAG_LEN],
}

/// Start of a data message (§5.4.6), 16 bytes; ciphertext and tag follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct DataHeader {
    /// [`Kind::Data`].
    pub kind: U32,
    /// Index that the receiver chose in the handshake.
    pub receiver_index: U32,
    /// Nonce.
    pub counter: U64,
}

/// What tracepoints say of a kind of message; of none.
pub fn kind_name(kind: Option<Kind>) -> &'static CStr {
    match kind {
        Some(Kind::Initiation) => c"initiation",
        Some(Kind::Response) => c"response",
        Some(Kind::CookieReply) => c"cookie",
        Some(Kind::Data) => c"data",
        None => c"none",
    }
}

/// Tells what the message is that starts with `head` and is `total_len` bytes long.
///
/// `head` needs to hold four bytes at least; more are not looked at. `None`: no message of this
/// protocol. A [`Kind::Data`] message may be longer than it needs to be, the others may not.
pub fn classify(head: &[u8], total_len: usize) -> Option<Kind> {
    let word = u32::from_le_bytes(*head.first_chunk()?);
    let (kind, len_fits) = match word {
        1 => (Kind::Initiation, total_len == size_of::<Initiation>()),
        2 => (Kind::Response, total_len == size_of::<Response>()),
        3 => (Kind::CookieReply, total_len == size_of::<CookieReply>()),
        4 => (Kind::Data, total_len >= MESSAGE_MINIMUM_LENGTH),
        _ => return None,
    };
    len_fits.then_some(kind)
}

/// Whether a handshake message claims that its source is proved: it has a MAC2, or is a cookie reply,
/// which ends with its tag where others have MAC2. Anybody can claim it; looking at that is for later.
pub fn claims_proof(message: &[u8]) -> bool {
    message
        .last_chunk::<COOKIE_LEN>()
        .is_some_and(|mac2| *mac2 != [0; COOKIE_LEN])
}

/// Length of the data message that carries `plain_len` bytes, padding included.
pub const fn data_len(plain_len: usize) -> usize {
    size_of::<DataHeader>() + plain_len + AUTHTAG_LEN
}

/// How many zero bytes are appended to a packet of `len` bytes before encryption.
///
/// As many as it takes to the next multiple of [`MESSAGE_PADDING_MULTIPLE`], but never beyond
/// `mtu`, the inner MTU (0: none known). A packet longer than the MTU is padded as its last piece
/// would be, had it been cut at the MTU.
pub fn padding(len: usize, mtu: u32) -> usize {
    // To the next multiple; written without an addition that could overflow.
    let full = |len: usize| len.wrapping_neg() % MESSAGE_PADDING_MULTIPLE;
    let mtu = mtu as usize;
    if mtu == 0 {
        return full(len);
    }
    let last = if len > mtu { len % mtu } else { len };
    full(last).min(mtu - last)
}

/// The TAI64N timestamp of a wall clock time (<https://cr.yp.to/libtai/tai64.html>).
///
/// The nanoseconds are rounded down to a multiple of 2^24, the greatest power of two below
/// [`INITIATION_INTERVAL_NS`]: a finer clock would tell an observer about this machine and gain
/// nothing. `nsec` is in `0..1_000_000_000`.
pub fn tai64n(sec: i64, nsec: i32) -> [u8; TIMESTAMP_LEN] {
    const STEP: i32 = 1 << INITIATION_INTERVAL_NS.ilog2();
    // 2^62, the TAI64 epoch, and the ten seconds that TAI was ahead of UTC in 1970.
    let sec = 0x4000_0000_0000_000a_i64.wrapping_add(sec);
    let nsec = nsec & !(STEP - 1);

    let mut stamp = [0; TIMESTAMP_LEN];
    let (high, low) = stamp.split_at_mut(8);
    high.copy_from_slice(&sec.to_be_bytes());
    low.copy_from_slice(&nsec.to_be_bytes());
    stamp
}

/// Whether what was born at `birthdate_ns` and lives `lifetime_ns` is dead at `now_ns`.
///
/// Both times are of one clock (coarse boottime). The comparison wraps: a birthdate may lie
/// before the clock's zero, as that of a handshake which is to look as if it was long ago.
pub fn expired(birthdate_ns: u64, lifetime_ns: u64, now_ns: u64) -> bool {
    birthdate_ns.wrapping_add(lifetime_ns) as i64 <= now_ns as i64
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_messages))]
mod tests {
    use super::*;

    use zerocopy::{
        FromBytes,
        IntoBytes, //
    };

    #[test]
    fn sizes_are_those_of_the_protocol() {
        assert_eq!(size_of::<Macs>(), 32);
        assert_eq!(size_of::<Initiation>(), 148);
        assert_eq!(size_of::<Response>(), 92);
        assert_eq!(size_of::<CookieReply>(), 64);
        assert_eq!(size_of::<DataHeader>(), 16);
        assert_eq!(align_of::<Initiation>(), 1);
        assert_eq!(MESSAGE_MINIMUM_LENGTH, 32);
        assert_eq!(data_len(1420), 1452);
    }

    #[test]
    fn limits_are_those_of_the_c_driver() {
        assert_eq!(COUNTER_WINDOW_SIZE, 8128);
        assert_eq!(REJECT_AFTER_MESSAGES, 0xffff_ffff_ffff_e03e);
        assert_eq!(REKEY_AFTER_MESSAGES, 0x1000_0000_0000_0000);
        assert_eq!(MAX_TIMER_HANDSHAKES, 18);
        assert_eq!(UNDER_LOAD_HANDSHAKES, 512);
        assert_eq!(INITIATION_INTERVAL_NS, 20_000_000);
    }

    #[test]
    fn times_and_room_are_those_of_the_paper_and_the_c_driver() {
        let ms = 1_000_000;
        assert_eq!(REKEY_AFTER_TIME_NS, 120_000 * ms);
        assert_eq!(REJECT_AFTER_TIME_NS, 180_000 * ms);
        assert_eq!(REKEY_TIMEOUT_NS, 5_000 * ms);
        assert_eq!(REKEY_TIMEOUT_JITTER_MAX_NS, 333_333_333);
        assert_eq!(KEEPALIVE_TIMEOUT_NS, 10_000 * ms);
        assert_eq!(COOKIE_SECRET_MAX_AGE_NS, 120_000 * ms);
        assert_eq!(COOKIE_SECRET_LATENCY_NS, 5_000 * ms);
        assert_eq!(UNDER_LOAD_LINGER_NS, 1_000 * ms);
        assert_eq!(MAX_PEERS_PER_DEVICE, 1_048_576);
        assert_eq!(MAX_QUEUED_INCOMING_HANDSHAKES, 4096);
        assert_eq!(MAX_QUEUED_UNPROVEN, 2048);
        assert_eq!(MAX_STAGED_PACKETS, 128);
        assert_eq!(MAX_QUEUED_PACKETS, 1024);
    }

    #[test]
    fn fields_lie_where_the_paper_has_them() {
        let mut bytes = [0u8; 148];
        for (byte, n) in bytes.iter_mut().zip(0..) {
            *byte = n;
        }

        let m = Initiation::ref_from_bytes(&bytes).unwrap();
        assert_eq!(m.sender_index.get(), 0x0706_0504);
        assert_eq!(m.ephemeral[..], bytes[8..40]);
        assert_eq!(m.encrypted_static[..], bytes[40..88]);
        assert_eq!(m.encrypted_timestamp[..], bytes[88..116]);
        assert_eq!(m.macs.mac1[..], bytes[116..132]);
        assert_eq!(m.macs.mac2[..], bytes[132..148]);

        let m = Response::ref_from_bytes(&bytes[..92]).unwrap();
        assert_eq!(m.sender_index.get(), 0x0706_0504);
        assert_eq!(m.receiver_index.get(), 0x0b0a_0908);
        assert_eq!(m.ephemeral[..], bytes[12..44]);
        assert_eq!(m.encrypted_nothing[..], bytes[44..60]);
        assert_eq!(m.macs.mac1[..], bytes[60..76]);
        assert_eq!(m.macs.mac2[..], bytes[76..92]);

        let m = CookieReply::ref_from_bytes(&bytes[..64]).unwrap();
        assert_eq!(m.receiver_index.get(), 0x0706_0504);
        assert_eq!(m.nonce[..], bytes[8..32]);
        assert_eq!(m.encrypted_cookie[..], bytes[32..64]);

        let m = DataHeader::ref_from_bytes(&bytes[..16]).unwrap();
        assert_eq!(m.receiver_index.get(), 0x0706_0504);
        assert_eq!(m.counter.get(), 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(m.as_bytes()[..], bytes[..16]);
    }

    #[test]
    fn classify_wants_the_exact_length_except_for_data() {
        for (word, kind, len) in [
            (1u32, Kind::Initiation, 148),
            (2, Kind::Response, 92),
            (3, Kind::CookieReply, 64),
        ] {
            let head = word.to_le_bytes();
            assert_eq!(kind.word().as_bytes()[..], head[..]);
            for total in 0..400 {
                assert_eq!(classify(&head, total), (total == len).then_some(kind));
            }
        }
        let head = Kind::Data.word();
        for total in 0..400 {
            let want = (total >= 32).then_some(Kind::Data);
            assert_eq!(classify(head.as_bytes(), total), want);
        }
    }

    #[test]
    fn classify_refuses_unknown_types_and_reserved_bits() {
        for word in [0u32, 5, 6, 0xff, u32::MAX] {
            for total in [0, 16, 32, 64, 92, 148, 1500] {
                assert_eq!(classify(&word.to_le_bytes(), total), None);
            }
        }
        for (kind, total) in [(1u32, 148), (2, 92), (3, 64), (4, 32)] {
            for bit in 8..32 {
                assert_eq!(classify(&(kind | (1 << bit)).to_le_bytes(), total), None);
            }
            // As a big-endian word, and cut off.
            assert_eq!(classify(&kind.to_be_bytes(), total), None);
            assert_eq!(classify(&kind.to_le_bytes()[..3], total), None);
            assert_eq!(classify(&[], total), None);
        }
    }

    #[test]
    fn proof_is_claimed_by_any_mac2() {
        let mut initiation = [1u8; 148];
        assert!(claims_proof(&initiation));
        initiation[132..].fill(0);
        assert!(!claims_proof(&initiation));
        for at in 132..148 {
            initiation[at] = 1;
            assert!(claims_proof(&initiation));
            initiation[at] = 0;
        }
        assert!(!claims_proof(&[1; 15]));
    }

    #[test]
    fn padding_goes_to_sixteen_but_not_past_the_mtu() {
        assert_eq!(padding(0, 1420), 0);
        assert_eq!(padding(1, 1420), 15);
        assert_eq!(padding(15, 1420), 1);
        assert_eq!(padding(16, 1420), 0);
        assert_eq!(padding(17, 1420), 15);
        // 1420 is no multiple of 16: a full packet is not padded, nor a nearly full one fully.
        assert_eq!(padding(1420, 1420), 0);
        assert_eq!(padding(1419, 1420), 1);
        assert_eq!(padding(1409, 1420), 11);
        assert_eq!(padding(1408, 1420), 0);
        // Above the MTU, what counts is the last piece.
        assert_eq!(padding(1421, 1420), 15);
        assert_eq!(padding(2 * 1420, 1420), 0);
        assert_eq!(padding(2 * 1420 + 5, 1420), 11);
        // No MTU.
        assert_eq!(padding(1409, 0), 15);
        assert_eq!(padding(usize::MAX, 0), 1);
        assert_eq!(
            padding(usize::MAX, u32::MAX).min(16),
            padding(usize::MAX, u32::MAX)
        );
    }

    #[test]
    fn tai64n_is_coarse_and_ordered() {
        let mut want = [0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0];
        assert_eq!(tai64n(0, 0), want);
        assert_eq!(tai64n(0, (1 << 24) - 1), want);
        want[8] = 1;
        assert_eq!(tai64n(0, 1 << 24), want);
        want[8..].copy_from_slice(&[0x3b, 0, 0, 0]);
        assert_eq!(tai64n(0, 999_999_999), want);
        // 1992-06-02 08:06:43 UTC, from the libtai page (leap seconds after 1970 not counted).
        let want = [0x40, 0, 0, 0, 0x2a, 0x2b, 0x2c, 0x2d, 0, 0, 0, 0];
        assert_eq!(tai64n(0x2a2b_2c2d - 10, 0), want);
        assert!(tai64n(1, 0) > tai64n(0, 999_999_999));
        assert!(tai64n(0, 0) > tai64n(-1, 999_999_999));
    }

    #[test]
    fn expiry_is_inclusive_and_wraps() {
        let second = NSEC_PER_SEC;
        assert!(!expired(10, second, 9 + second));
        assert!(expired(10, second, 10 + second));
        assert!(expired(0, 0, 0));
        // "Six seconds before boot".
        let birth = 0u64.wrapping_sub(6 * second);
        assert!(expired(birth, REKEY_TIMEOUT_NS, 0));
        assert!(!expired(birth, REJECT_AFTER_TIME_NS, second));
    }
}
