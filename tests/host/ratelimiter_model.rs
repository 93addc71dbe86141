// SPDX-License-Identifier: GPL-2.0
//! The rate limiter against a model that is too simple to be wrong: per source, a number of
//! tokens and the time they were counted, as the C driver has it.

use std::{
    collections::{
        HashMap,
        HashSet, //
    },
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr, //
    },
};

use proptest::prelude::*;
use wgk::{
    alloc::FailNext,
    siphash::SipKey, //
};
use wireguard_rs_core::ratelimiter::RateLimiter;

const MS: u64 = 1_000_000;
const COST: u64 = 50 * MS;
const FULL: u64 = 250 * MS;
const CAPACITY: usize = 128;

/// What the model tells sources apart by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Source {
    V4(u64, [u8; 4]),
    V6(u64, [u8; 8]),
}

impl Source {
    fn of(net: u64, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(net, ip.octets()),
            IpAddr::V6(ip) => Self::V6(net, ip.octets()[..8].try_into().unwrap()),
        }
    }
}

/// Tokens and when they were counted. A source that is not there has all.
#[derive(Default)]
struct Model(HashMap<Source, (u64, u64)>);

// Sources with all tokens take room in the limiter until it comes across them. So with `CAPACITY`
// others a new one must be refused, with fewer it may be, if these make up for the difference.

impl Model {
    fn tokens(&self, source: Source, now: u64) -> u64 {
        self.0
            .get(&source)
            .map_or(FULL, |(tokens, then)| FULL.min(tokens + now - then))
    }

    fn allow(&mut self, source: Source, now: u64) -> bool {
        let tokens = self.tokens(source, now);
        let allowed = tokens >= COST;
        let left = if allowed { tokens - COST } else { tokens };
        self.0.insert(source, (left, now));
        allowed
    }

    fn forget(&mut self, now: u64) {
        self.0
            .retain(|_, (tokens, then)| *tokens + now - *then < FULL);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Packet(u64, IpAddr),
    Wait(u64),
}

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
        let mut limiter = RateLimiter::new(SipKey::from_bytes(key), CAPACITY).unwrap();
        let mut model = Model::default();
        let mut stored = HashSet::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(ns) => now += ns,
                Step::Packet(net, ip) => {
                    let source = Source::of(net, ip);
                    let got = limiter.allow(net, ip, now);
                    model.forget(now);
                    if !model.0.contains_key(&source) {
                        if !got {
                            prop_assert!(stored.len() >= CAPACITY, "{:?} at {}", source, now);
                            continue;
                        }
                        prop_assert!(model.0.len() < CAPACITY, "{:?} at {}", source, now);
                    }
                    stored.insert(source);
                    prop_assert_eq!(got, model.allow(source, now), "{:?} at {}", source, now);
                }
            }
        }
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
