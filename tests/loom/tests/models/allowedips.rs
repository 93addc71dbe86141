// SPDX-License-Identifier: GPL-2.0
//! Cryptokey routing while it changes: readers see a whole trie, with or without each change, nodes
//! as they were written, and never a node that has become another one.

use loom::{
    cell::UnsafeCell,
    sync::Arc,
    thread, //
};
use std::{
    net::IpAddr,
    ops::Deref, //
};
use wireguard_rs_loom::{
    alloc::GFP_KERNEL,
    allowedips::{
        AllowedIps,
        HasPrefixes,
        PrefixList,
        Writer, //
    },
    model,
    rcu::{
        read_lock,
        Guard,
        RcuArc,
        RcuObject, //
    },
    twin_rcu::softirq,
    Times, //
};

struct Peer {
    /// In plain memory, in which loom sees races.
    id: UnsafeCell<u32>,
    prefixes: PrefixList,
}

// SAFETY: Loom ends the execution before an access that races.
unsafe impl Send for Peer {}
// SAFETY: As above.
unsafe impl Sync for Peer {}

impl RcuObject for Peer {}

impl HasPrefixes for Peer {
    fn prefixes(&self) -> &PrefixList {
        &self.prefixes
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: Loom has checked it.
            self.id.with_mut(|id| unsafe { *id = 0 });
        }
    }
}

fn peer(id: u32) -> RcuArc<Peer> {
    let peer = Peer {
        id: UnsafeCell::new(0),
        prefixes: PrefixList::new(),
    };
    // SAFETY: Loom has checked it.
    peer.id.with_mut(|to| unsafe { *to = id });
    RcuArc::new(peer, GFP_KERNEL).unwrap()
}

type Tries = Arc<AllowedIps<Peer>>;

/// Whose the address is; 0: nobody's.
fn lookup(tries: &Tries, addr: &str, guard: &Guard) -> u32 {
    let addr: IpAddr = addr.parse().unwrap();
    tries.lookup(addr, guard).map_or(0, |peer| {
        // SAFETY: Loom has checked it.
        peer.id.with(|id| unsafe { *id })
    })
}

/// The writer, with `N` peers, the first of which has 10.0.0.0/8.
struct Admin<const N: usize> {
    tries: Tries,
    writer: Writer<Peer>,
    peers: [RcuArc<Peer>; N],
}

impl<const N: usize> Admin<N> {
    fn new() -> Self {
        let (tries, writer) = AllowedIps::new();
        let mut all = Self {
            tries: Arc::new(tries),
            writer,
            peers: std::array::from_fn(|n| peer(n as u32 + 1)),
        };
        all.insert("10.0.0.0", 8, 1);
        all
    }

    fn insert(&mut self, addr: &str, cidr: u8, id: usize) {
        let addr = addr.parse().unwrap();
        let done = self
            .tries
            .insert(&mut self.writer, addr, cidr, &self.peers[id - 1]);
        assert!(done.is_ok());
    }

    fn remove(&mut self, addr: &str, cidr: u8, id: usize) {
        let addr = addr.parse().unwrap();
        assert!(self
            .tries
            .remove(&mut self.writer, addr, cidr, &self.peers[id - 1]));
    }

    /// A reader, on another CPU.
    fn reads<R: 'static>(&self, f: impl FnOnce(&Tries) -> R + 'static) -> thread::JoinHandle<R> {
        let tries = self.tries.clone();
        thread::spawn(move || f(&tries))
    }

    /// The end: all is as it should be, and goes.
    fn end(mut self) {
        assert_eq!(self.tries.audit(&self.writer), Ok(()));
        self.tries.remove_all(&mut self.writer);
    }
}

/// For each result of a model, that there was one.
#[derive(Clone)]
struct Results<const N: usize>([Times; N]);

impl<const N: usize> Results<N> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Times::default()))
    }

    fn all_seen(&self) {
        for (n, times) in self.iter().enumerate() {
            times.must_not_be_none(&format!("result {n} came"));
        }
    }
}

impl<const N: usize> Deref for Results<N> {
    type Target = [Times; N];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A prefix comes under another one.
#[test]
fn a_longer_prefix_comes() {
    let results = Results::<2>::new();
    let all = results.clone();
    model(3, move || {
        let mut admin = Admin::<2>::new();
        let results = all.clone();
        let reader = admin.reads(move |tries| {
            let guard = read_lock();
            let first = lookup(tries, "10.1.2.3", &guard);
            let second = lookup(tries, "10.1.2.3", &guard);
            assert!(first >= 1 && second >= first, "{first}, {second}");
            results[second as usize - 1].count();
        });
        admin.insert("10.1.0.0", 16, 2);
        reader.join().unwrap();
        admin.end();
    });
    results.all_seen();
}

/// A prefix comes beside the topmost one: both come under a new one.
#[test]
fn the_topmost_node_changes() {
    let results = Results::<3>::new();
    let all = results.clone();
    model(2, move || {
        let mut admin = Admin::<2>::new();
        let results = all.clone();
        let reader = admin.reads(move |tries| {
            let guard = read_lock();
            let new = lookup(tries, "11.1.2.3", &guard);
            results[new as usize].count();
            assert_eq!(lookup(tries, "10.1.2.3", &guard), 1);
        });
        admin.insert("11.0.0.0", 8, 2);
        admin.remove("11.0.0.0", 8, 2);
        reader.join().unwrap();
        admin.end();
    });
    // Peer 1 never has it.
    results[0].must_not_be_none("it was not there");
    results[2].must_not_be_none("it was there");
}

/// A prefix goes from one peer to another that is new, and the old one is destroyed.
#[test]
fn a_prefix_changes_hands() {
    let results = Results::<2>::new();
    let all = results.clone();
    model(3, move || {
        let mut admin = Admin::<2>::new();
        let results = all.clone();
        let reader = admin.reads(move |tries| {
            let guard = read_lock();
            results[lookup(tries, "10.1.2.3", &guard) as usize - 1].count();
        });
        // Made only now, so that the reader has not got it otherwise.
        admin.peers[1] = peer(2);
        admin.insert("10.0.0.0", 8, 2);
        admin.peers[0] = admin.peers[1].clone();
        softirq();
        reader.join().unwrap();
        admin.end();
    });
    results.all_seen();
}

/// The last prefix goes, and with it the arena; another one comes.
#[test]
fn the_arena_goes_and_comes() {
    let results = Results::<3>::new();
    let all = results.clone();
    model(2, move || {
        let mut admin = Admin::<2>::new();
        let results = all.clone();
        let reader = admin.reads(move |tries| {
            let guard = read_lock();
            results[lookup(tries, "10.1.2.3", &guard) as usize].count();
        });
        admin.remove("10.0.0.0", 8, 1);
        softirq();
        admin.insert("10.1.0.0", 16, 2);
        reader.join().unwrap();
        admin.end();
    });
    results.all_seen();
}

/// A node goes; its slot becomes another node, once nobody can have it in hand. Who looks for an
/// address of the one never finds the other's peer.
#[test]
fn a_slot_is_used_again() {
    let [again, grown] = [(); 2].map(|()| Times::default());
    let (a, g) = (again.clone(), grown.clone());
    let results = Results::<2>::new();
    let all = results.clone();
    model(2, move || {
        let mut admin = Admin::<3>::new();
        admin.insert("10.1.0.0", 16, 2);
        let capacity = admin.writer.usage().capacity;
        assert_eq!(capacity, 2, "the chunk is full");
        let results = all.clone();
        let reader = admin.reads(move |tries| {
            for _ in 0..2 {
                let guard = read_lock();
                results[lookup(tries, "10.1.2.3", &guard) as usize - 1].count();
            }
        });
        admin.remove("10.1.0.0", 16, 2);
        admin.insert("10.2.0.0", 16, 3);
        if admin.writer.usage().capacity == capacity {
            a.count();
        } else {
            g.count();
        }
        softirq();
        reader.join().unwrap();
        admin.end();
    });
    again.must_not_be_none("the slot was used again");
    grown.must_not_be_none("readers held the slot up");
    results.all_seen();
}

/// A peer goes with two nodes, and the chunk in which they were.
#[test]
fn a_chunk_goes() {
    let [gone, kept] = [(); 2].map(|()| Times::default());
    let (g, k) = (gone.clone(), kept.clone());
    let results = Results::<3>::new();
    let all = results.clone();
    model(2, move || {
        let mut admin = Admin::<3>::new();
        admin.insert("10.1.0.0", 16, 2);
        // With the node where the two part.
        admin.insert("10.2.0.0", 16, 3);
        assert_eq!(admin.writer.usage().capacity, 4);
        let results = all.clone();
        let reader = admin.reads(move |tries| {
            let guard = read_lock();
            let found = lookup(tries, "10.2.3.4", &guard);
            assert!(found == 1 || found == 3);
            results[found as usize - 1].count();
        });
        admin
            .tries
            .remove_by_peer(&mut admin.writer, &admin.peers[2]);
        admin.writer.reclaim();
        admin.writer.reclaim();
        softirq();
        if admin.writer.usage().capacity == 2 {
            g.count();
        } else {
            k.count();
        }
        reader.join().unwrap();
        admin.end();
    });
    gone.must_not_be_none("the chunk went");
    kept.must_not_be_none("a reader held it up");
    results[0].must_not_be_none("the prefix above was found");
    results[2].must_not_be_none("the prefix was found");
}
