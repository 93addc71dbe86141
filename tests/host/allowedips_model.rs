// SPDX-License-Identifier: GPL-2.0

//! The tries against the plainest model, a list that is searched from end to end; failing
//! allocations; memory; and readers that run while a writer changes everything around them.

use proptest::prelude::*;
use std::{
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicUsize,
        Ordering::SeqCst, //
    },
    thread, //
};
use wgk::rcu::{
    read_lock,
    Domain, //
};
use wireguard_rs_core::allowedips::Usage;

#[path = "model/allowedips.rs"]
mod model;

use model::{
    run,
    Op,
    Tries,
    PEERS, //
};

/// Addresses with few different bits, so that prefixes cover, meet and part all the time.
fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|x| IpAddr::V4(Ipv4Addr::from_bits(x))),
        (0u32..64, 0u32..27).prop_map(|(x, s)| IpAddr::V4(Ipv4Addr::from_bits(x << s))),
        any::<u128>().prop_map(|x| IpAddr::V6(Ipv6Addr::from_bits(x))),
        (0u128..64, 0u32..123).prop_map(|(x, s)| IpAddr::V6(Ipv6Addr::from_bits(x << s))),
        (0u128..16, 58u32..66).prop_map(|(x, s)| IpAddr::V6(Ipv6Addr::from_bits(x << s))),
    ]
}

fn prefix() -> impl Strategy<Value = (IpAddr, u8)> {
    (addr(), any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(addr, cidr, whole)| {
        let width = if addr.is_ipv4() { 32 } else { 128 };
        (addr, if whole { width } else { cidr % (width + 1) })
    })
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..PEERS;
    prop_oneof![
        24 => (who.clone(), prefix()).prop_map(|(p, (a, c))| Op::Insert(p, a, c)),
        3 => (who.clone(), prefix(), 0u64..4).prop_map(|(p, (a, c), n)| Op::InsertShort(p, a, c, n)),
        12 => (who.clone(), any::<usize>()).prop_map(|(p, i)| Op::Remove(p, i)),
        2 => (who.clone(), prefix()).prop_map(|(p, (a, c))| Op::RemoveAny(p, a, c)),
        6 => (who.clone(), any::<usize>()).prop_map(|(p, i)| Op::Move(p, i)),
        1 => who.prop_map(Op::RemoveByPeer),
        20 => addr().prop_map(Op::Lookup),
        2 => any::<bool>().prop_map(Op::Reader),
    ]
}

proptest! {
    // 150 000 operations and more.
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 20_000, ..Default::default() })]

    #[test]
    fn same_as_a_list(ops in prop::collection::vec(op(), 200..900)) {
        run(Domain::new(), &ops);
    }

    #[test]
    fn all_at_once(
        ops in prop::collection::vec(prop_oneof![30 => op(), 1 => Just(Op::RemoveAll)], 1..200),
    ) {
        run(Domain::new(), &ops);
    }
}

/// Memory follows the number of prefixes, up and down.
#[test]
fn memory_comes_and_goes() {
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    let addr = |i: u32| IpAddr::V4(Ipv4Addr::from_bits(i.wrapping_mul(0x9e37_79b9)));
    const N: u32 = 50_000;
    for i in 0..N {
        assert!(tries.insert(i as usize % PEERS, addr(i), 32));
    }
    assert_eq!(tries.ips.audit(&tries.writer), Ok(()));
    let full = tries.writer.usage();
    // A node per prefix, and one where two part.
    assert_eq!((full.prefixes, full.nodes), (50_000, 99_999));
    assert!(full.capacity < full.nodes * 3 / 2, "{full:?}");
    // Peer by peer; what is left does not keep everything.
    for who in 0..PEERS - 1 {
        let Tries { ips, writer, peers } = &mut tries;
        ips.remove_by_peer(writer, &peers[who]);
        assert_eq!(ips.audit(writer), Ok(()));
    }
    tries.writer.reclaim();
    tries.writer.reclaim();
    let rest = tries.writer.usage();
    assert_eq!((rest.prefixes, rest.nodes), (8333, 16_665));
    assert_eq!(rest.waiting, 0);
    for i in (0..N).filter(|i| *i as usize % PEERS == PEERS - 1) {
        assert_eq!(tries.lookup(addr(i), &read_lock()), Some(PEERS - 1));
    }
    let Tries { ips, writer, peers } = &mut tries;
    ips.remove_by_peer(writer, &peers[PEERS - 1]);
    assert_eq!(writer.usage(), Usage::default());
    assert_eq!(domain.alive(), PEERS);
}

/// A chunk that is not used any more goes while the rest stays.
#[test]
fn unused_chunks_go() {
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    let addr = |i: u32| IpAddr::V6(Ipv6Addr::from_bits(u128::from(i) << 80));
    for i in 0..10_000 {
        assert!(tries.insert(usize::from(i >= 100), addr(i), 48));
    }
    let (full, chunks) = (tries.writer.usage(), domain.alive());
    let Tries { ips, writer, peers } = &mut tries;
    ips.remove_by_peer(writer, &peers[1]);
    writer.reclaim();
    writer.reclaim();
    assert_eq!(ips.audit(writer), Ok(()));
    let rest = writer.usage();
    assert!(rest.capacity * 10 < full.capacity, "{rest:?} of {full:?}");
    assert!(domain.alive() < chunks);
    // And come again where others were.
    for i in 100..10_000 {
        assert!(tries.insert(2, addr(i), 48));
    }
    assert_eq!(tries.ips.audit(&tries.writer), Ok(()));
}

/// Prefixes of one address, each in the one before: a node for each, and no others.
fn nested(cidr: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), cidr)
}

/// What there is memory for after each new node: more by a third, rounded up to a power of two, when
/// it is needed and not before.
#[test]
fn memory_grows_by_a_third() {
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    assert_eq!(tries.writer.usage(), Usage::default());
    let sizes = [16, 16, 16, 16, 32, 32, 64];
    let (mut capacity, mut chunks) = (0, sizes.iter());
    for n in 0..=128 {
        let (addr, cidr) = nested(n);
        assert!(tries.insert(0, addr, cidr));
        if usize::from(n) == capacity {
            capacity += chunks.next().unwrap();
        }
        let usage = tries.writer.usage();
        assert_eq!(
            (usage.nodes, usage.capacity),
            (usize::from(n) + 1, capacity)
        );
    }
    assert!(chunks.next().is_none());
    tries.ips.remove_all(&mut tries.writer);
}

/// What was given back is used again before there is more memory, as soon as no reader may be there.
#[test]
fn slots_are_used_again_before_memory_grows() {
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    for n in 0..16 {
        let (addr, cidr) = nested(n);
        assert!(tries.insert(0, addr, cidr));
    }
    let reader = read_lock();
    for n in 8..16 {
        let Tries { ips, writer, peers } = &mut tries;
        let (addr, cidr) = nested(n);
        assert!(ips.remove(writer, addr, cidr, &peers[0]));
    }
    let usage = tries.writer.usage();
    assert_eq!((usage.nodes, usage.waiting, usage.capacity), (8, 8, 16));
    drop(reader);
    for n in 8..16 {
        let (addr, cidr) = nested(n);
        assert!(tries.insert(0, addr, cidr));
        assert_eq!(tries.ips.audit(&tries.writer), Ok(()));
    }
    let usage = tries.writer.usage();
    assert_eq!((usage.nodes, usage.waiting, usage.capacity), (16, 0, 16));
    tries.ips.remove_all(&mut tries.writer);
}

/// An empty chunk stays if it would soon be made again, and only then.
#[test]
fn an_empty_chunk_may_stay() {
    let domain = Domain::new();
    let _in = domain.enter();
    // Nodes up to the first one of the second chunk; then one after the other goes.
    let mut tries = Tries::new();
    let remove = |tries: &mut Tries, n: u8| {
        let Tries { ips, writer, peers } = tries;
        let (addr, cidr) = nested(n);
        assert!(ips.remove(writer, addr, cidr, &peers[0]));
        writer.reclaim();
        writer.reclaim();
        assert_eq!(ips.audit(writer), Ok(()));
        writer.usage().capacity
    };
    for n in 0..=16 {
        let (addr, cidr) = nested(n);
        assert!(tries.insert(0, addr, cidr));
    }
    assert_eq!(remove(&mut tries, 16), 32, "without it there is no room");
    assert_eq!(remove(&mut tries, 15), 16, "an eighth of 15 is room enough");
    // It comes again.
    for n in 15..=16 {
        let (addr, cidr) = nested(n);
        assert!(tries.insert(0, addr, cidr));
    }
    assert_eq!(tries.writer.usage().capacity, 32);
    tries.ips.remove_all(&mut tries.writer);

    // Of what the last node's chunk is much larger than, or not.
    for (others, capacity) in [(16, 16), (31, 32), (32, 32 + 64), (33, 48)] {
        let mut tries = Tries::new();
        for n in 0..=128 {
            let (addr, cidr) = nested(n);
            assert!(tries.insert(0, addr, cidr));
        }
        for n in (others..128).rev() {
            remove(&mut tries, n);
        }
        assert_eq!(remove(&mut tries, 128), capacity, "{others}");
        tries.ips.remove_all(&mut tries.writer);
    }
}

/// Slots are not used again while a reader might be at them.
#[test]
fn a_reader_keeps_slots_from_reuse() {
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    let base = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0));
    assert!(tries.insert(0, base, 24));
    let reader = read_lock();
    for i in 0..1000u32 {
        let addr = IpAddr::V4(Ipv4Addr::from_bits(i << 20));
        assert!(tries.insert(1, addr, 32));
        let Tries { ips, writer, peers } = &mut tries;
        assert!(ips.remove(writer, addr, 32, &peers[1]));
    }
    let usage = tries.writer.usage();
    assert!(usage.waiting >= 1000, "{usage:?}");
    drop(reader);
    tries.writer.reclaim();
    tries.writer.reclaim();
    assert_eq!(tries.writer.usage().waiting, 0);
    assert_eq!(tries.ips.audit(&tries.writer), Ok(()));
}

/// Ends a test when a thread is done with it, by panicking too, so that nobody waits for it.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// What never changes is found at all times; and nobody gets what was never theirs.
#[test]
fn readers_beside_a_writer() {
    const STABLE: u32 = 64;
    const BLOCKS: u32 = 512;
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    // Peer 0 has all of 10/8, peer 1 some addresses in it; these stay. Block `k` of 16 addresses
    // belongs to peer 2 + k % 4, sometimes.
    let stable = |i: u32| Ipv4Addr::from_bits((10 << 24) | (i << 17) | 7);
    let block = |k: u32| Ipv4Addr::from_bits((10 << 24) | (k << 14));
    let of_block = |k: u32| 2 + k as usize % (PEERS - 2);
    assert!(tries.insert(0, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8));
    for i in 0..STABLE {
        assert!(tries.insert(1, IpAddr::V4(stable(i)), 32));
    }
    let Tries { ips, writer, peers } = &mut tries;
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let churned = AtomicUsize::new(0);
    thread::scope(|s| {
        for reader in 0..3u32 {
            let (ips, domain, done, looks, churned) = (&*ips, &domain, &done, &looks, &churned);
            s.spawn(move || {
                let (_in, _ending) = (domain.enter(), Ending(done));
                let mut x = reader;
                while !done.load(SeqCst) {
                    let guard = read_lock();
                    for _ in 0..8 {
                        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let i = (x >> 8) % STABLE;
                        let found = ips.lookup(IpAddr::V4(stable(i)), &guard);
                        assert_eq!(found.map(|p| p.id), Some(1), "lost a prefix");

                        let k = (x >> 10) % BLOCKS;
                        let addr = Ipv4Addr::from_bits(block(k).to_bits() | 9);
                        let found = ips.lookup(IpAddr::V4(addr), &guard).map(|p| p.id);
                        assert!(
                            found == Some(0) || found == Some(of_block(k)),
                            "{found:?} has block {k}"
                        );
                        churned.fetch_add(usize::from(found != Some(0)), SeqCst);
                        looks.fetch_add(2, SeqCst);
                    }
                }
            });
        }
        let mut x = 1u32;
        let mut changes = 0;
        while !done.load(SeqCst) && (changes < 20_000 || looks.load(SeqCst) < 20_000) {
            changes += 1;
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let k = (x >> 10) % BLOCKS;
            let (addr, peer) = (IpAddr::V4(block(k)), &peers[of_block(k)]);
            if x >> 31 == 0 {
                ips.insert(writer, addr, 28, peer).unwrap();
            } else {
                ips.remove(writer, addr, 28, peer);
            }
            if changes % 1000 == 0 {
                ips.remove_by_peer(writer, &peers[2 + changes / 1000 % 4]);
            }
        }
        done.store(true, SeqCst);
    });
    assert!(churned.load(SeqCst) > 100);
    assert_eq!(ips.audit(writer), Ok(()));
    ips.remove_all(writer);
    wgk::rcu::barrier();
    assert_eq!(domain.alive(), PEERS);
}

/// Taking everything away at once gives nobody what was another's.
#[test]
fn readers_beside_remove_all() {
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    let Tries { ips, writer, peers } = &mut tries;
    let done = AtomicBool::new(false);
    let addr = IpAddr::V6(Ipv6Addr::from_bits((0xfd << 120) | 5));
    thread::scope(|s| {
        for _ in 0..2 {
            let (ips, domain, done) = (&*ips, &domain, &done);
            s.spawn(move || {
                let _in = domain.enter();
                while !done.load(SeqCst) {
                    let guard = read_lock();
                    let found = ips.lookup(addr, &guard).map(|p| p.id);
                    assert!(matches!(found, None | Some(3)), "{found:?}");
                }
            });
        }
        for _ in 0..3000 {
            // The longest one first, so that it is the answer from the start.
            ips.insert(writer, addr, 128, &peers[3]).unwrap();
            for cidr in [64, 32, 8, 0] {
                ips.insert(writer, addr, cidr, &peers[0]).unwrap();
            }
            ips.remove_all(writer);
        }
        done.store(true, SeqCst);
    });
    wgk::rcu::barrier();
    assert_eq!(domain.alive(), PEERS);
}

/// The nodes around a prefix come and go; there is no moment at which it is not there. Few nodes,
/// so that readers are often just where the writer is.
#[test]
fn readers_beside_a_fork() {
    let domain = Domain::new();
    let _in = domain.enter();
    let mut tries = Tries::new();
    let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
    assert!(tries.insert(1, addr, 32));
    let Tries { ips, writer, peers } = &mut tries;
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|s| {
        for _ in 0..2 {
            let (ips, domain, done, looks) = (&*ips, &domain, &done, &looks);
            s.spawn(move || {
                let (_in, _ending) = (domain.enter(), Ending(done));
                while !done.load(SeqCst) {
                    let guard = read_lock();
                    for _ in 0..32 {
                        let found = ips.lookup(addr, &guard).map(|p| p.id);
                        assert_eq!(found, Some(1), "lost the prefix");
                    }
                    looks.fetch_add(32, SeqCst);
                }
            });
        }
        let mut changes = 0;
        while !done.load(SeqCst) && (changes < 20_000 || looks.load(SeqCst) < 200_000) {
            changes += 1;
            // A fork above it, on either side; a node above it.
            for (last, cidr) in [(6, 32), (128, 25), (0, 24)] {
                let net = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
                ips.insert(writer, net, cidr, &peers[2]).unwrap();
                if changes % 2 == 0 {
                    ips.remove(writer, net, cidr, &peers[2]);
                }
            }
            ips.remove_by_peer(writer, &peers[2]);
        }
        done.store(true, SeqCst);
    });
    ips.remove_all(writer);
    wgk::rcu::barrier();
    assert_eq!(domain.alive(), PEERS);
}
