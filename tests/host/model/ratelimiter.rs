// SPDX-License-Identifier: GPL-2.0
//! A model of the rate limiter that is too simple to be wrong: per source, a number of tokens and
//! the time they were counted, as the C driver has it.

use std::{
    collections::{
        HashMap,
        HashSet, //
    },
    net::IpAddr, //
};

use wgk::siphash::SipKey;
use wireguard_rs_core::ratelimiter::RateLimiter;

/// One millisecond.
pub const MS: u64 = 1_000_000;
const COST: u64 = 50 * MS;
const FULL: u64 = 250 * MS;
/// Sources that the limiter has room for.
pub const CAPACITY: usize = 128;

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

/// What the limiter is asked.
#[derive(Clone, Debug)]
pub enum Step {
    Packet(u64, IpAddr),
    Wait(u64),
}

/// Takes the steps with both.
pub fn run(key: [u8; 16], steps: &[Step]) {
    let mut limiter = RateLimiter::new(SipKey::from_bytes(key), CAPACITY).unwrap();
    let mut model = Model::default();
    let mut stored = HashSet::new();
    let mut now = 0;
    for step in steps {
        match *step {
            Step::Wait(ns) => now += ns,
            Step::Packet(net, ip) => {
                let source = Source::of(net, ip);
                let got = limiter.allow(net, ip, now);
                model.forget(now);
                if !model.0.contains_key(&source) {
                    if !got {
                        assert!(stored.len() >= CAPACITY, "{:?} at {}", source, now);
                        continue;
                    }
                    assert!(model.0.len() < CAPACITY, "{:?} at {}", source, now);
                }
                stored.insert(source);
                assert_eq!(got, model.allow(source, now), "{:?} at {}", source, now);
            }
        }
    }
}
