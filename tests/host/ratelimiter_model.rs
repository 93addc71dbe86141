// SPDX-License-Identifier: GPL-2.0
//! The rate limiter against a model that is too simple to be wrong: per source, a number of
//! tokens and the time they were counted, as the C driver has it.

use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};

use proptest::prelude::*;
use wgk::{
    alloc::FailNext,
    siphash::SipKey, //
};
use wireguard_rs_core::ratelimiter::RateLimiter;

#[path = "model/ratelimiter.rs"]
mod model;

use model::{
    run,
    Step,
    CAPACITY,
    MS, //
};

/// Few addresses, so that they meet again; more than the table holds.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..140).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(n))),
        (0u128..4).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(n as u32))),
        (0u128..60, any::<u64>())
            .prop_map(|(n, low)| IpAddr::V6(Ipv6Addr::from_bits((n << 64) | u128::from(low)))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0u64..2, address()).prop_map(|(net, ip)| Step::Packet(net, ip)),
        4 => (0..120 * MS).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..Default::default()
    })]

    /// 512 times up to 800 steps.
    #[test]
    fn behaves_like_the_model(
        key in any::<[u8; 16]>(),
        steps in prop::collection::vec(step(), 1..800),
    ) {
        run(key, &steps);
    }
}

#[test]
fn without_memory_new_sources_are_refused() {
    let v4 = |n| IpAddr::V4(Ipv4Addr::from_bits(n));
    let key = || SipKey::from_bytes([1; 16]);
    for successes in 0..2 {
        let _guard = FailNext::after(successes);
        assert!(RateLimiter::new(key(), CAPACITY).is_err());
    }

    let mut limiter = RateLimiter::new(key(), CAPACITY).unwrap();
    for n in 0..64 {
        assert!(limiter.allow(0, v4(n), 0));
    }
    {
        // The next source needs a chunk; the known ones need nothing.
        let _guard = FailNext::after(0);
        assert!(!limiter.allow(0, v4(64), 0));
        assert!((0..64).all(|n| limiter.allow(0, v4(n), 0)));
    }
    assert!(limiter.allow(0, v4(64), 0));
    assert!((0..64).all(|n| limiter.allow(0, v4(n), 0)));

    // Nor do 63 of 64 new ones.
    let asked = wgk::alloc::allocations();
    assert!((65..128).all(|n| limiter.allow(0, v4(n), 0)));
    assert_eq!(wgk::alloc::allocations(), asked);
}
