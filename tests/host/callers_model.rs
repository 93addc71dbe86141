// SPDX-License-Identifier: GPL-2.0
//! The calls of who is not configured against a model: which are told of, which are kept, and which are taken.

use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};

use proptest::prelude::*;

#[path = "model/callers.rs"]
mod model;

use model::{
    run,
    Step, //
};

/// Few, so that they have many calls; or many, so that those push each other out.
fn source() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..3).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(n))),
        (0u32..200).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(n))),
        (0u128..3, any::<u64>())
            .prop_map(|(n, low)| IpAddr::V6(Ipv6Addr::from_bits((n << 64) | u128::from(low)))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0u8..40, 0u16..600, source(), any::<u8>()).prop_map(|(k, m, s, v)| Step::Call(k, m, s, v)),
        2 => (0..60_000_000u64).prop_map(Step::Wait),
        1 => (0..3_000_000_000u64).prop_map(Step::Wait),
        2 => (0u8..40).prop_map(Step::Has),
        3 => (0u8..40).prop_map(Step::Want),
        6 => Just(Step::Take),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..Default::default()
    })]

    /// 256 times up to 800 steps.
    #[test]
    fn behaves_like_the_model(steps in prop::collection::vec(step(), 1..800)) {
        run(&steps);
    }
}

/// More at once than the bucket has tokens for, none kept for want of a place.
#[test]
fn the_bucket_is_used_up() {
    let call = |n: u16| {
        let source = IpAddr::V4(Ipv4Addr::from_bits(n.into()));
        Step::Call(n as u8, n, source, 0)
    };
    let mut steps: Vec<_> = (0..300).map(call).collect();
    steps.push(Step::Wait(1_000_000_000));
    steps.extend((300..500).map(call));
    steps.extend([Step::Want(243), Step::Take, Step::Clear, Step::Take]);
    run(&steps);
}
