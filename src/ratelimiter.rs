// SPDX-License-Identifier: GPL-2.0
//! Token buckets per source address, for handshake messages under load (WireGuard paper §5.3).
//!
//! A source is an IPv4 address or an IPv6 /64, in a network namespace. It may send
//! [`PACKETS_PER_SECOND`] messages, and [`PACKETS_BURSTABLE`] at once. Only sources that proved
//! their address (MAC2) get here, so an attacker cannot fill the table with invented ones.
//!
//! Meant for one instance behind a lock. [`RateLimiter::allow`] does not sleep: once in 64 new
//! sources memory is allocated, with `GFP_ATOMIC`. [`RateLimiter::new`] sleeps. The table gives
//! no memory back by itself when the load ends: then drop it. Times are boottime.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::net::IpAddr;

use wgk::{
    alloc::{
        AllocError,
        KVVec,
        KVec,
        GFP_ATOMIC,
        GFP_KERNEL, //
    },
    siphash::{
        siphash,
        SipKey, //
    },
};

use crate::messages::NSEC_PER_SEC;

/// Messages that a source may send in the long run.
pub const PACKETS_PER_SECOND: u64 = 20;
/// Messages that a source may send at once after a pause.
pub const PACKETS_BURSTABLE: u64 = 5;
/// Most sources that are worth remembering, on a machine with a gigabyte or more.
pub const MAX_ENTRIES: usize = 65536;
/// Fewest, however small the machine.
const MIN_ENTRIES: usize = 128;
/// Memory of the machine's for each source that it remembers: full, a table takes 0.2 % of it.
const MEMORY_PER_ENTRY: u64 = 1 << 14;

/// How many sources a machine with so much memory remembers, for each interface.
pub fn capacity_for(total_bytes: u64) -> usize {
    // What the kernel has taken at boot is not in it, so that a gigabyte is a little less.
    let wanted = (total_bytes / MEMORY_PER_ENTRY)
        .checked_next_power_of_two()
        .unwrap_or(u64::MAX);
    // CAST: Not more than the bound.
    (wanted.min(MAX_ENTRIES as u64) as usize).max(MIN_ENTRIES)
}

/// What a message costs. A bucket gains one token per nanosecond.
const PACKET_COST: u64 = NSEC_PER_SEC / PACKETS_PER_SECOND;
/// What a bucket holds at most.
const TOKEN_MAX: u64 = PACKET_COST * PACKETS_BURSTABLE;

/// Entries per allocation: 2 KiB.
const CHUNK: usize = 64;
/// Entries that each new source has looked at.
const SWEEP_BATCH: usize = 2;
/// End of a chain.
const NONE: u32 = u32::MAX;

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Source {
    net_id: u64,
    /// The address, or the upper half of an IPv6 one.
    addr: u64,
    v6: bool,
}

impl Source {
    fn new(net_id: u64, ip: IpAddr) -> Self {
        let (addr, v6) = match ip {
            IpAddr::V4(ip) => (u64::from(ip.to_bits()), false),
            IpAddr::V6(ip) => ((ip.to_bits() >> 64) as u64, true),
        };
        Self { net_id, addr, v6 }
    }

    fn hash(&self, key: &SipKey) -> u64 {
        let mut data = [0; 17];
        data[..8].copy_from_slice(&self.net_id.to_ne_bytes());
        data[8..16].copy_from_slice(&self.addr.to_ne_bytes());
        data[16] = u8::from(self.v6);
        siphash(&data, key)
    }
}

/// One source's bucket.
struct Entry {
    net_id: u64,
    addr: u64,
    /// When the bucket was, or would have been, empty: it holds as many tokens as nanoseconds
    /// have passed since. So it needs no update when it is only looked at.
    empty_ns: u64,
    /// Next in the chain.
    next: u32,
    v6: bool,
}

impl Entry {
    fn source(&self) -> Source {
        Source {
            net_id: self.net_id,
            addr: self.addr,
            v6: self.v6,
        }
    }

    fn tokens(&self, now: u64) -> u64 {
        now.saturating_sub(self.empty_ns).min(TOKEN_MAX)
    }

    /// Takes a message's tokens, if there are as many. `now` is at least [`TOKEN_MAX`].
    fn take(&mut self, now: u64) -> bool {
        let Some(left) = self.tokens(now).checked_sub(PACKET_COST) else {
            return false;
        };
        self.empty_ns = now - left;
        true
    }
}

/// The table of all sources.
///
/// # Invariants
///
/// Entries are numbered densely: number `n` is `chunks[n / CHUNK][n % CHUNK]`, every chunk but
/// the last one is full and none is empty. Each entry is in exactly one chain, that of its hash.
pub struct RateLimiter {
    key: SipKey,
    /// First of each chain. The length is a power of two.
    heads: KVVec<u32>,
    chunks: KVVec<KVec<Entry>>,
    capacity: usize,
    /// Where the sweep goes on.
    swept: usize,
}

impl RateLimiter {
    /// An empty table for at most `capacity` sources ([`capacity_for`] says how many), [`MAX_ENTRIES`] at most,
    /// rounded up to a multiple of 64. Takes 1.4 bytes per source at once, 32 more for each that
    /// comes. May sleep.
    pub fn new(key: SipKey, capacity: usize) -> Result<Self, AllocError> {
        let max_chunks = capacity.clamp(1, MAX_ENTRIES).div_ceil(CHUNK);
        let buckets = (max_chunks * CHUNK / 4).next_power_of_two();

        let chunks = KVVec::with_capacity(max_chunks, GFP_KERNEL)?;
        let mut heads = KVVec::with_capacity(buckets, GFP_KERNEL)?;
        for _ in 0..buckets {
            heads.push(NONE, GFP_KERNEL)?;
        }
        Ok(Self {
            key,
            heads,
            chunks,
            capacity: max_chunks * CHUNK,
            swept: 0,
        })
    }

    /// Whether `source`, in the network namespace `net_id`, may have a message processed at
    /// `now_ns`; if so it is charged for. A new source is refused when the table is full or
    /// there is no memory.
    pub fn allow(&mut self, net_id: u64, source: IpAddr, now_ns: u64) -> bool {
        let now = shift(now_ns);
        let source = Source::new(net_id, source);
        let bucket = self.bucket(&source);
        let mut number = self.heads[bucket];
        while let Some(entry) = self.entry_mut(number) {
            if entry.source() == source {
                return entry.take(now);
            }
            number = entry.next;
        }
        // New sources pay for room: two are forgotten, if they may be, for each that comes.
        self.sweep(SWEEP_BATCH, now);
        self.insert(bucket, source, now).is_ok()
    }

    /// Looks at `count` entries, in turn, and forgets those whose bucket is full again: they are
    /// as good as new sources.
    fn sweep(&mut self, count: usize, now: u64) {
        for _ in 0..count {
            let number = self.swept as u32;
            match self.entry_mut(number) {
                None => self.swept = 0,
                // The last entry, not looked at yet, takes its place.
                Some(entry) if entry.tokens(now) == TOKEN_MAX => self.remove(number),
                Some(_) => self.swept += 1,
            }
        }
    }

    /// Sources that are remembered.
    fn len(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    fn bucket(&self, source: &Source) -> usize {
        source.hash(&self.key) as usize & (self.heads.len() - 1)
    }

    /// The entry of that number; `None` for [`NONE`].
    fn entry_mut(&mut self, number: u32) -> Option<&mut Entry> {
        let number = number as usize;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    /// Adds `source`, charged for its first message, to the chain `bucket`.
    fn insert(&mut self, bucket: usize, source: Source, now: u64) -> Result<(), AllocError> {
        let number = self.len();
        if number >= self.capacity {
            return Err(AllocError);
        }
        if number % CHUNK == 0 {
            let chunk = KVec::with_capacity(CHUNK, GFP_ATOMIC)?;
            // There is room since `new`.
            self.chunks.push(chunk, GFP_ATOMIC)?;
        }
        let chunk = self.chunks.last_mut().ok_or(AllocError)?;
        let entry = Entry {
            net_id: source.net_id,
            addr: source.addr,
            empty_ns: now - (TOKEN_MAX - PACKET_COST),
            next: self.heads[bucket],
            v6: source.v6,
        };
        // There is room here, too.
        chunk.push(entry, GFP_ATOMIC)?;
        self.heads[bucket] = number as u32;
        Ok(())
    }

    /// The link, head of a chain or `next` of an entry, that leads to entry `to`; `source` is
    /// that of the entry.
    fn link_to(&mut self, to: u32, source: &Source) -> Option<&mut u32> {
        let bucket = self.bucket(source);
        let mut number = self.heads[bucket];
        if number == to {
            return Some(&mut self.heads[bucket]);
        }
        loop {
            let next = self.entry_mut(number)?.next;
            if next == to {
                return Some(&mut self.entry_mut(number)?.next);
            }
            number = next;
        }
    }

    /// Removes an entry and gives its number to the last one.
    fn remove(&mut self, number: u32) {
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        let (source, next) = (entry.source(), entry.next);
        if let Some(link) = self.link_to(number, &source) {
            *link = next;
        }

        let Some(last) = self.chunks.last_mut().and_then(|chunk| chunk.pop()) else {
            return;
        };
        if self.chunks.last().is_some_and(|chunk| chunk.is_empty()) {
            self.chunks.pop();
        }
        // As many entries as are left: the number that the last one had.
        let old = self.len() as u32;
        if old != number {
            if let Some(link) = self.link_to(old, &last.source()) {
                *link = number;
            }
            if let Some(place) = self.entry_mut(number) {
                *place = last;
            }
        }
    }
}

/// Moves the clock's zero, so that no bucket was ever empty before it.
fn shift(now_ns: u64) -> u64 {
    now_ns.saturating_add(TOKEN_MAX)
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_ratelimiter))]
mod tests {
    use super::*;

    use core::net::{
        Ipv4Addr,
        Ipv6Addr, //
    };

    const MS: u64 = NSEC_PER_SEC / 1000;
    const NOW: u64 = 1000 * NSEC_PER_SEC;

    fn limiter(capacity: usize) -> RateLimiter {
        RateLimiter::new(SipKey::from_bytes([7; 16]), capacity).unwrap()
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    /// Upper and lower half.
    fn v6(upper: u64, lower: u64) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(
            (u128::from(upper) << 64) | u128::from(lower),
        ))
    }

    /// Looks at all entries.
    fn collect(limiter: &mut RateLimiter, now: u64) {
        limiter.swept = 0;
        limiter.sweep(limiter.len(), shift(now));
    }

    /// What the chains say: every entry is found, exactly once.
    fn is_consistent(limiter: &mut RateLimiter) -> bool {
        let mut found = 0;
        for bucket in 0..limiter.heads.len() {
            let mut number = limiter.heads[bucket];
            while number != NONE {
                let Some(entry) = limiter.entry_mut(number) else {
                    return false;
                };
                number = entry.next;
                let source = entry.source();
                if limiter.bucket(&source) != bucket {
                    return false;
                }
                found += 1;
            }
        }
        let full = limiter
            .chunks
            .iter()
            .rev()
            .skip(1)
            .all(|c| c.len() == CHUNK);
        full && found == limiter.len()
    }

    /// The steps of the C driver's own self test: milliseconds to wait, and the outcome.
    #[test]
    fn refills_as_the_c_driver_does() {
        let steps = [
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (50, true),
            (0, false),
            (100, true),
            (0, true),
            (0, false),
            (500, true),
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, false),
        ];
        let mut limiter = limiter(64);
        let mut now = NOW;
        for (wait, allowed) in steps {
            now += wait * MS;
            assert_eq!(limiter.allow(1, v4(1), now), allowed);
            assert_eq!(limiter.allow(1, v6(1, 1), now), allowed);
        }
        assert_eq!(limiter.len(), 2);
    }

    #[test]
    fn refusals_cost_nothing() {
        let mut limiter = limiter(64);
        for _ in 0..5 {
            assert!(limiter.allow(1, v4(1), NOW));
        }
        for ms in 0..50 {
            assert!(!limiter.allow(1, v4(1), NOW + ms * MS));
        }
        assert!(!limiter.allow(1, v4(1), NOW + 50 * MS - 1));
        assert!(limiter.allow(1, v4(1), NOW + 50 * MS));
        assert!(!limiter.allow(1, v4(1), NOW + 50 * MS));
    }

    #[test]
    fn long_run_rate_is_twenty_per_second() {
        let mut limiter = limiter(64);
        let mut allowed = 0;
        for ms in 0..10_000 {
            allowed += u64::from(limiter.allow(1, v4(1), NOW + ms * MS));
        }
        assert_eq!(allowed, 10 * PACKETS_PER_SECOND + PACKETS_BURSTABLE - 1);
    }

    #[test]
    fn a_source_is_an_address_or_half_of_one_in_a_namespace() {
        let mut limiter = limiter(64);
        for lower in 0..5 {
            assert!(limiter.allow(1, v6(1, lower), NOW));
        }
        assert!(!limiter.allow(1, v6(1, 5), NOW));
        // None of these shares its bucket.
        assert!(limiter.allow(1, v6(2, 0), NOW));
        assert!(limiter.allow(2, v6(1, 0), NOW));
        assert!(limiter.allow(1, v4(1), NOW));
        assert!(limiter.allow(2, v4(1), NOW));
        assert!(limiter.allow(1, v4(2), NOW));
        assert_eq!(limiter.len(), 6);
        assert!(is_consistent(&mut limiter));
    }

    #[test]
    fn first_moments_of_the_clock() {
        let mut limiter = limiter(64);
        for _ in 0..5 {
            assert!(limiter.allow(1, v4(1), 0));
        }
        assert!(!limiter.allow(1, v4(1), 0));
        // A reader whose clock was read earlier gains nothing.
        assert!(limiter.allow(1, v4(2), 10));
        assert!(limiter.allow(1, v4(2), 9));
        collect(&mut limiter, u64::MAX);
        assert_eq!(limiter.len(), 0);
    }

    #[test]
    fn full_table_refuses_new_sources_only() {
        let mut limiter = limiter(65);
        for n in 0..128 {
            assert!(limiter.allow(1, v4(n), NOW));
        }
        assert!(!limiter.allow(1, v4(128), NOW));
        assert!(limiter.allow(1, v4(0), NOW));
        assert!(is_consistent(&mut limiter));

        // Nothing is forgotten before it is as good as new …
        collect(&mut limiter, NOW + 50 * MS - 1);
        assert_eq!(limiter.len(), 128);
        // … which the one with two messages is later.
        collect(&mut limiter, NOW + 50 * MS);
        assert_eq!(limiter.len(), 1);
        assert!(is_consistent(&mut limiter));
        assert!(limiter.allow(1, v4(128), NOW + 50 * MS));
        collect(&mut limiter, NOW + 100 * MS);
        assert_eq!(limiter.len(), 0);
        assert_eq!(limiter.chunks.len(), 0);
        assert!(is_consistent(&mut limiter));
    }

    #[test]
    fn collecting_keeps_what_is_in_use() {
        let mut limiter = limiter(4096);
        for n in 0..3000 {
            assert!(limiter.allow(1, v4(n), NOW));
        }
        let later = NOW + 10 * NSEC_PER_SEC;
        for n in (0..3000).step_by(3) {
            for _ in 0..5 {
                assert!(limiter.allow(1, v4(n), later));
            }
        }
        collect(&mut limiter, later);
        assert_eq!(limiter.len(), 1000);
        assert!(is_consistent(&mut limiter));
        for n in 0..3000 {
            assert_eq!(limiter.allow(1, v4(n), later), n % 3 != 0);
        }
        assert!(is_consistent(&mut limiter));
    }

    #[test]
    fn new_sources_make_room_for_themselves() {
        let mut limiter = limiter(2048);
        // 20 new ones per millisecond: at any time, 1000 of them are not as good as new.
        for n in 0..20_000 {
            let now = NOW + u64::from(n) * MS / 20;
            assert!(limiter.allow(1, v4(n), now));
        }
        assert!(is_consistent(&mut limiter));
    }

    /// Else a lookup would walk through half of a full table, which a flood would make it do.
    #[test]
    fn sources_spread_over_many_chains() {
        for (capacity, chains) in [(0, 16), (64, 16), (65, 32), (MAX_ENTRIES + 1, 16384)] {
            assert_eq!(limiter(capacity).heads.len(), chains);
        }
        // Whatever they differ in.
        let sources: [fn(u32) -> (u64, IpAddr); 3] = [
            |n| (1, v4(n)),
            |n| (u64::from(n), v4(1)),
            |n| (1, v6(u64::from(n) << 32, 0)),
        ];
        for source in sources {
            let mut limiter = limiter(256);
            for n in 0..256 {
                let (net_id, ip) = source(n);
                assert!(limiter.allow(net_id, ip, NOW));
            }
            // 64 chains for 256: by chance, about one stays empty.
            let empty = limiter.heads.iter().filter(|h| **h == NONE).count();
            assert!(empty < 16);
            assert!(is_consistent(&mut limiter));
        }
    }

    /// The sweep goes round, a bit with each new source, and forgets what it passes.
    #[test]
    fn each_new_source_looks_at_two_others() {
        let mut limiter = limiter(4096);
        for n in 0..100 {
            assert!(limiter.allow(1, v4(n), NOW));
        }
        let later = NOW + NSEC_PER_SEC;
        limiter.swept = 0;
        for n in 100..150 {
            assert!(limiter.allow(1, v4(n), later));
        }
        // The first one found two that were as good as new; the others one each, in whose place the
        // last one to come was put, and looked at.
        assert_eq!(limiter.len(), 99);
        assert!(is_consistent(&mut limiter));
        // A known source pays nothing.
        let before = limiter.len();
        assert!(limiter.allow(1, v4(149), later));
        assert_eq!(limiter.len(), before);
    }

    #[test]
    fn a_small_machine_remembers_fewer() {
        const MIB: u64 = 1 << 20;
        for (total, capacity) in [
            (0, 128),
            (MIB, 128),
            (64 * MIB - 1, 4096),
            (64 * MIB, 4096),
            (64 * MIB + 16384, 8192),
            (1000 * MIB, MAX_ENTRIES),
            (1024 * MIB, MAX_ENTRIES),
            (1 << 45, MAX_ENTRIES),
            (u64::MAX, MAX_ENTRIES),
        ] {
            assert_eq!(capacity_for(total), capacity);
        }
    }

    #[test]
    fn entries_are_small() {
        assert_eq!(size_of::<Entry>(), 32);
    }
}
