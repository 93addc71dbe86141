// SPDX-License-Identifier: GPL-2.0

//! The plainest model of the tries: a list that is searched from end to end.

use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};
use wgk::{
    alloc::{
        FailNext,
        GFP_KERNEL, //
    },
    rcu::{
        read_lock,
        Domain,
        Guard,
        RcuArc,
        RcuObject, //
    }, //
};
use wireguard_rs_core::allowedips::{
    AllowedIps,
    HasPrefixes,
    PrefixList,
    Usage,
    Writer, //
};

/// A peer, who has a number.
pub struct Peer {
    /// Its number, less than [`PEERS`].
    pub id: usize,
    prefixes: PrefixList,
}

impl RcuObject for Peer {}

impl HasPrefixes for Peer {
    fn prefixes(&self) -> &PrefixList {
        &self.prefixes
    }
}

fn peer(id: usize) -> RcuArc<Peer> {
    let prefixes = PrefixList::new();
    RcuArc::new(Peer { id, prefixes }, GFP_KERNEL).unwrap()
}

/// The first `cidr` bits of an address.
fn masked(addr: IpAddr, cidr: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            let host = u32::MAX.checked_shr(cidr.into()).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & !host))
        }
        IpAddr::V6(a) => {
            let host = u128::MAX.checked_shr(cidr.into()).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & !host))
        }
    }
}

/// Each peer's prefixes in the order in which they became its own.
struct Model(Vec<Vec<(IpAddr, u8)>>);

impl Model {
    fn insert(&mut self, peer: usize, addr: IpAddr, cidr: u8) {
        let prefix = (masked(addr, cidr), cidr);
        for list in &mut self.0 {
            list.retain(|p| *p != prefix);
        }
        self.0[peer].push(prefix);
    }

    fn remove(&mut self, peer: usize, addr: IpAddr, cidr: u8) -> bool {
        let before = self.0[peer].len();
        self.0[peer].retain(|p| *p != (masked(addr, cidr), cidr));
        self.0[peer].len() != before
    }

    fn lookup(&self, addr: IpAddr) -> Option<usize> {
        (0..self.0.len())
            .flat_map(|peer| {
                self.0[peer]
                    .iter()
                    .map(move |(net, cidr)| (peer, net, cidr))
            })
            .filter(|(_, net, cidr)| masked(addr, **cidr) == **net)
            .max_by_key(|(_, _, cidr)| **cidr)
            .map(|(peer, _, _)| peer)
    }
}

/// How many peers there are.
pub const PEERS: usize = 6;

/// What is done, or looked up.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Insert(usize, IpAddr, u8),
    /// With allocations failing after some.
    InsertShort(usize, IpAddr, u8, u64),
    /// Somebody's prefix, the i-th, by whom it belongs to and by another one.
    Remove(usize, usize),
    RemoveAny(usize, IpAddr, u8),
    Move(usize, usize),
    RemoveByPeer(usize),
    RemoveAll,
    Lookup(IpAddr),
    /// A reader comes, or the oldest one goes.
    Reader(bool),
}

/// What is under test.
pub struct Tries {
    pub ips: AllowedIps<Peer>,
    pub writer: Writer<Peer>,
    pub peers: Vec<RcuArc<Peer>>,
}

impl Tries {
    pub fn new() -> Self {
        let (ips, writer) = AllowedIps::new();
        Self {
            ips,
            writer,
            peers: (0..PEERS).map(peer).collect(),
        }
    }

    pub fn insert(&mut self, who: usize, addr: IpAddr, cidr: u8) -> bool {
        self.ips
            .insert(&mut self.writer, addr, cidr, &self.peers[who])
            .is_ok()
    }

    pub fn lookup(&self, addr: IpAddr, guard: &Guard) -> Option<usize> {
        self.ips.lookup(addr, guard).map(|peer| peer.id)
    }

    fn list(&self, who: usize) -> Vec<(IpAddr, u8)> {
        self.ips
            .prefixes(&self.writer, &self.peers[who], None)
            .map(|(addr, cidr, _)| (addr, cidr))
            .collect()
    }

    /// Everything that can be seen agrees with the model.
    fn check(&self, model: &Model) {
        assert_eq!(self.ips.audit(&self.writer), Ok(()));
        let mut sum = 0;
        for (who, want) in model.0.iter().enumerate() {
            assert_eq!(&self.list(who), want);
            sum += want.len();
            // Each is found at its own address, if no longer one of another peer is there.
            for (addr, _) in want {
                assert_eq!(self.lookup(*addr, &read_lock()), model.lookup(*addr));
            }
        }
        let usage = self.writer.usage();
        assert_eq!(usage.prefixes, sum);
        assert!(usage.nodes <= 2 * sum, "{:?}", usage);
    }
}

/// The `i`-th prefix of all, and whose it is.
fn nth(model: &Model, i: usize) -> Option<(usize, IpAddr, u8)> {
    let all: Vec<_> = (0..PEERS)
        .flat_map(|p| model.0[p].iter().map(move |(a, c)| (p, *a, *c)))
        .collect();
    (!all.is_empty()).then(|| all[i % all.len()])
}

/// Does `ops` with both, in `domain`, where nothing else is.
pub fn run(domain: Domain, ops: &[Op]) {
    let _in = domain.enter();
    let mut readers: Vec<Guard> = vec![];
    let mut tries = Tries::new();
    let mut model = Model(vec![vec![]; PEERS]);

    for (i, op) in ops.iter().enumerate() {
        let seq = tries.writer.seq();
        match *op {
            Op::Insert(who, addr, cidr) => {
                assert!(tries.insert(who, addr, cidr));
                model.insert(who, addr, cidr);
                assert!(tries.writer.seq() > seq);
            }
            Op::InsertShort(who, addr, cidr, left) => {
                let fail = FailNext::after(left);
                let done = tries.insert(who, addr, cidr);
                drop(fail);
                if done {
                    model.insert(who, addr, cidr);
                }
                tries.check(&model);
            }
            Op::Remove(other, i) => {
                if let Some((who, addr, cidr)) = nth(&model, i) {
                    let Tries { ips, writer, peers } = &mut tries;
                    assert_eq!(
                        ips.remove(writer, addr, cidr, &peers[other]),
                        model.remove(other, addr, cidr)
                    );
                    assert_eq!(
                        ips.remove(writer, addr, cidr, &peers[who]),
                        model.remove(who, addr, cidr)
                    );
                    assert!(tries.writer.seq() > seq);
                }
            }
            Op::RemoveAny(who, addr, cidr) => {
                let Tries { ips, writer, peers } = &mut tries;
                assert_eq!(
                    ips.remove(writer, addr, cidr, &peers[who]),
                    model.remove(who, addr, cidr)
                );
            }
            Op::Move(to, i) => {
                if let Some((_, addr, cidr)) = nth(&model, i) {
                    // Takes no memory.
                    let _fail = FailNext::after(0);
                    assert!(tries.insert(to, addr, cidr));
                    model.insert(to, addr, cidr);
                }
            }
            Op::RemoveByPeer(who) => {
                let Tries { ips, writer, peers } = &mut tries;
                ips.remove_by_peer(writer, &peers[who]);
                model.0[who].clear();
                // Nothing is left that could keep the peer.
                assert_eq!(RcuArc::count(&peers[who]), 1);
            }
            Op::RemoveAll => {
                tries.ips.remove_all(&mut tries.writer);
                model.0.iter_mut().for_each(Vec::clear);
            }
            Op::Lookup(addr) => {
                assert_eq!(tries.lookup(addr, &read_lock()), model.lookup(addr));
            }
            Op::Reader(true) => readers.push(read_lock()),
            Op::Reader(false) if readers.is_empty() => {}
            Op::Reader(false) => drop(readers.remove(0)),
        }
        if i % 32 == 0 || matches!(op, Op::RemoveByPeer(_) | Op::RemoveAll) {
            tries.check(&model);
        }
        if model.0.iter().all(Vec::is_empty) {
            assert_eq!(tries.writer.usage(), Usage::default());
            if readers.is_empty() {
                // Only the peers are left.
                assert_eq!(domain.alive(), PEERS);
            }
        }
    }
    tries.check(&model);
    readers.clear();
    tries.writer.reclaim();
    tries.writer.reclaim();
    // All slots are in use or free, and there are not many more than needed.
    let usage = tries.writer.usage();
    assert_eq!(usage.waiting, 0);
    tries.ips.remove_all(&mut tries.writer);
    assert_eq!(domain.alive(), PEERS);
    drop(tries);
    assert_eq!(domain.alive(), 0);
}
