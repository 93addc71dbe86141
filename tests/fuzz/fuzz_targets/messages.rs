// SPDX-License-Identifier: GPL-2.0
//! Any bytes as a datagram: what it is taken for, and where its fields are, against offsets that
//! are written down here once more; then the arithmetic around messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wireguard_rs_core::messages::{
    classify,
    data_len,
    expired,
    padding,
    tai64n,
    CookieReply,
    DataHeader,
    Initiation,
    Kind,
    Response,
    MESSAGE_MINIMUM_LENGTH,
    MESSAGE_PADDING_MULTIPLE,
    NSEC_PER_SEC, //
};
use wireguard_rs_fuzz::Input;
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A datagram: its kind by the paper's words, its fields by their offsets, and back to bytes.
fn datagram(bytes: &[u8]) {
    let kind = classify(bytes, bytes.len());
    let want = match (bytes, bytes.len()) {
        ([1, 0, 0, 0, ..], 148) => Some(Kind::Initiation),
        ([2, 0, 0, 0, ..], 92) => Some(Kind::Response),
        ([3, 0, 0, 0, ..], 64) => Some(Kind::CookieReply),
        ([4, 0, 0, 0, ..], 32..) => Some(Kind::Data),
        _ => None,
    };
    assert_eq!(kind, want, "{} bytes", bytes.len());
    // The head alone decides, with the length.
    assert_eq!(classify(&bytes[..bytes.len().min(4)], bytes.len()), kind);

    match kind {
        None => {}
        Some(Kind::Initiation) => {
            let msg = Initiation::ref_from_bytes(bytes).unwrap();
            assert_eq!(msg.sender_index.get(), word(bytes, 4));
            assert_eq!(msg.ephemeral[..], bytes[8..40]);
            assert_eq!(msg.encrypted_static[..], bytes[40..88]);
            assert_eq!(msg.encrypted_timestamp[..], bytes[88..116]);
            assert_eq!(msg.macs.mac1[..], bytes[116..132]);
            assert_eq!(msg.macs.mac2[..], bytes[132..]);
            assert_eq!(msg.clone().as_bytes(), bytes);
        }
        Some(Kind::Response) => {
            let msg = Response::ref_from_bytes(bytes).unwrap();
            assert_eq!(msg.sender_index.get(), word(bytes, 4));
            assert_eq!(msg.receiver_index.get(), word(bytes, 8));
            assert_eq!(msg.ephemeral[..], bytes[12..44]);
            assert_eq!(msg.encrypted_nothing[..], bytes[44..60]);
            assert_eq!(msg.macs.mac1[..], bytes[60..76]);
            assert_eq!(msg.macs.mac2[..], bytes[76..]);
            assert_eq!(msg.clone().as_bytes(), bytes);
        }
        Some(Kind::CookieReply) => {
            let msg = CookieReply::ref_from_bytes(bytes).unwrap();
            assert_eq!(msg.receiver_index.get(), word(bytes, 4));
            assert_eq!(msg.nonce[..], bytes[8..32]);
            assert_eq!(msg.encrypted_cookie[..], bytes[32..]);
            assert_eq!(msg.clone().as_bytes(), bytes);
        }
        Some(Kind::Data) => {
            assert!(bytes.len() >= MESSAGE_MINIMUM_LENGTH);
            let (msg, sealed) = DataHeader::ref_from_prefix(bytes).unwrap();
            assert_eq!(msg.receiver_index.get(), word(bytes, 4));
            let counter = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
            assert_eq!(msg.counter.get(), counter);
            assert_eq!(data_len(sealed.len() - 16), bytes.len());
            assert_eq!(msg.clone().as_bytes(), &bytes[..16]);
        }
    }
}

fn arithmetic(input: &mut Input<'_>) {
    // No packet is longer than a GSO one.
    let (len, mtu) = (input.u32() as usize % (1 << 19), input.u32());
    let pad = padding(len, mtu);
    assert!(pad < MESSAGE_PADDING_MULTIPLE);
    let mtu = mtu as usize;
    if mtu == 0 || len <= mtu {
        let padded = len + pad;
        // To the multiple, unless the MTU comes first.
        assert!(padded % MESSAGE_PADDING_MULTIPLE == 0 || padded == mtu);
        assert!(mtu == 0 || padded <= mtu);
        // Never more than it takes.
        assert_eq!(
            pad,
            (0..)
                .find(|p| (len + p) % 16 == 0 || len + p == mtu)
                .unwrap()
        );
    } else {
        assert_eq!(pad, padding(len % mtu, mtu as u32));
    }

    let clock = |input: &mut Input<'_>| {
        let sec = i64::from(input.u32()) << (input.u8() % 16);
        (sec, (input.u32() % NSEC_PER_SEC as u32) as i32)
    };
    let (a, b) = (clock(input), clock(input));
    let (stamp_a, stamp_b) = (tai64n(a.0, a.1), tai64n(b.0, b.1));
    // Time stamps are ordered as the times are, and differ if those do by a step of 2^24 ns.
    let ns = |(sec, nsec): (i64, i32)| i128::from(sec) * 1_000_000_000 + i128::from(nsec);
    if ns(a) <= ns(b) {
        assert!(stamp_a <= stamp_b);
    }
    if ns(a) + (1 << 24) <= ns(b) || a.0 < b.0 {
        assert!(stamp_a < stamp_b);
    }
    assert_eq!(
        stamp_a[9..].iter().map(|b| u32::from(*b)).sum::<u32>(),
        0,
        "a fine clock"
    );

    let (birth, life, now) = (input.u64() >> 2, input.u64() >> 2, input.u64() >> 2);
    assert_eq!(expired(birth, life, now), now >= birth + life);
}

fuzz_target!(|bytes: &[u8]| {
    datagram(bytes);
    arithmetic(&mut Input::new(bytes));
});
