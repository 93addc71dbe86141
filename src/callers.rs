// SPDX-License-Identifier: GPL-2.0

//! Initiations of callers that are not configured, kept until somebody adds them.
//!
//! Who calls is only claimed: whoever knows our public key can make an initiation that opens, for any
//! public key, from any address. So all is bounded, whatever comes: how many are told of, by a token
//! bucket; how many are kept, with the oldest going first; for how long; and how many of one source
//! are, so that one address alone neither uses up the events nor pushes others out. One that was
//! taken back for its peer is gone from here, and counts for nobody.
//!
//! Meant for one instance behind a lock. Nothing here sleeps; memory is allocated with `GFP_ATOMIC`,
//! and given back with the last that is kept. Times are nanoseconds of boottime.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::net::IpAddr;

use wgk::alloc::{
    KBox,
    KVec,
    GFP_ATOMIC, //
};

use crate::messages::{
    expired,
    Initiation,
    NSEC_PER_SEC, //
};

/// So many are kept at most.
pub const MAX_KEPT: usize = 64;
/// So many of one source: an IPv4 address or an IPv6 /64.
pub const MAX_OF_SOURCE: usize = 16;
/// So long.
pub const KEPT_NS: u64 = 2 * NSEC_PER_SEC;
/// So many are told of in a second, in the long run.
pub const TOLD_PER_SECOND: u64 = 128;
/// So many at once, after a pause.
pub const TOLD_AT_ONCE: u64 = 256;

/// What one costs. The bucket gains one token per nanosecond.
const COST: u64 = NSEC_PER_SEC / TOLD_PER_SECOND;
/// What the bucket holds at most.
const BUCKET: u64 = COST * TOLD_AT_ONCE;

/// A call: an initiation, and where it came from.
pub struct Call<P> {
    /// The public key that it claims to be of.
    pub key: [u8; 32],
    /// As it came.
    pub message: Initiation,
    /// Where from.
    pub place: P,
    source: IpAddr,
    at_ns: u64,
    wanted: bool,
}

/// The part of an address that one user has.
fn user(source: IpAddr) -> (bool, u64) {
    match source {
        IpAddr::V4(ip) => (false, ip.to_bits().into()),
        IpAddr::V6(ip) => (true, (ip.to_bits() >> 64) as u64),
    }
}

/// What only who made the message could make. Its index and MACs are not: whoever has seen it can give
/// it others, and would have the answer if that were another call.
fn authentic(message: &Initiation) -> (&[u8], &[u8], &[u8]) {
    (
        &message.ephemeral,
        &message.encrypted_static,
        &message.encrypted_timestamp,
    )
}

/// The calls of one device.
///
/// # Invariants
///
/// `calls` has [`MAX_KEPT`] at most, in the order in which they came.
pub struct Callers<P> {
    calls: KVec<KBox<Call<P>>>,
    /// When the bucket was, or would have been, empty: it holds as many tokens as nanoseconds have
    /// passed since.
    empty_ns: u64,
}

impl<P> Callers<P> {
    /// None, and a full bucket.
    pub const fn new() -> Self {
        Self {
            calls: KVec::new(),
            empty_ns: 0,
        }
    }

    /// Notes a call from `source`, and keeps it if there is memory. Whether it is to be told of: if
    /// not, it is not kept either. `place` says more of where it came from.
    pub fn note(
        &mut self,
        key: &[u8; 32],
        message: &Initiation,
        source: IpAddr,
        place: P,
        now_ns: u64,
    ) -> bool {
        self.expire(now_ns);
        let again = |call: &KBox<Call<P>>| authentic(&call.message) == authentic(message);
        let same = |call: &&KBox<Call<P>>| user(call.source) == user(source);
        if self.calls.iter().any(again)
            || self.calls.iter().filter(same).count() >= MAX_OF_SOURCE
            || !self.take_token(now_ns)
        {
            return false;
        }
        let call = Call {
            key: *key,
            message: message.clone(),
            place,
            source,
            at_ns: now_ns,
            wanted: false,
        };
        if self.calls.len() >= MAX_KEPT {
            drop(self.remove(0));
        }
        // INVARIANT: There is room, and this is the last that came.
        let _ = KBox::new(call, GFP_ATOMIC).and_then(|call| self.calls.push(call, GFP_ATOMIC));
        true
    }

    fn take_token(&mut self, now_ns: u64) -> bool {
        // The clock's zero is moved, so that the bucket was full then.
        let now = now_ns.saturating_add(BUCKET);
        let Some(left) = now
            .saturating_sub(self.empty_ns)
            .min(BUCKET)
            .checked_sub(COST)
        else {
            return false;
        };
        self.empty_ns = now - left;
        true
    }

    /// Whether somebody has called with this key.
    pub fn has(&mut self, key: &[u8; 32], now_ns: u64) -> bool {
        self.expire(now_ns);
        self.calls.iter().any(|call| call.key == *key)
    }

    /// The peer with this key is there now: its calls are to be taken. Whether there are any.
    pub fn want(&mut self, key: &[u8; 32], now_ns: u64) -> bool {
        self.expire(now_ns);
        let mut any = false;
        for call in self.calls.iter_mut().filter(|call| call.key == *key) {
            call.wanted = true;
            any = true;
        }
        any
    }

    /// Takes a call that is wanted, of one key the last that came: those before it are older than what
    /// their peer says now.
    pub fn take(&mut self, now_ns: u64) -> Option<KBox<Call<P>>> {
        self.expire(now_ns);
        let at = self.calls.iter().rposition(|call| call.wanted)?;
        let call = self.remove(at);
        self.give_back();
        call
    }

    /// Forgets those that have been kept for long enough. Whether there are others.
    pub fn expire(&mut self, now_ns: u64) -> bool {
        self.calls
            .retain(|call| !expired(call.at_ns, KEPT_NS, now_ns));
        self.give_back();
        !self.calls.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.calls = KVec::new();
    }

    fn remove(&mut self, at: usize) -> Option<KBox<Call<P>>> {
        // INVARIANT: The others stay in order.
        self.calls.get_mut(at..)?.rotate_left(1);
        self.calls.pop()
    }

    fn give_back(&mut self) {
        if self.calls.is_empty() {
            self.clear();
        }
    }
}

impl<P> Default for Callers<P> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{
        Ipv4Addr,
        Ipv6Addr, //
    };
    use wgk::alloc::FailNext;
    use zerocopy::FromZeros;

    const NOW: u64 = 1000 * NSEC_PER_SEC;

    /// The `n`th message there is.
    fn message(n: u32) -> Initiation {
        let mut message = Initiation::new_zeroed();
        message.ephemeral[..4].copy_from_slice(&n.to_le_bytes());
        message
    }

    fn v4(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    /// Notes call `n`, of a key and from a place that nobody else has.
    fn note(callers: &mut Callers<u32>, n: u32, now: u64) -> bool {
        callers.note(&[n as u8; 32], &message(n), v4(n), n, now)
    }

    /// Whether these are taken, by their places, and no more.
    fn takes(callers: &mut Callers<u32>, now: u64, places: &[u32]) -> bool {
        core::iter::from_fn(|| callers.take(now).map(|call| call.place)).eq(places.iter().copied())
    }

    #[test]
    fn who_is_wanted_within_two_seconds_is_taken_once() {
        let mut callers = Callers::new();
        assert!(note(&mut callers, 1, NOW));
        assert!(note(&mut callers, 2, NOW));
        assert!(!callers.want(&[3; 32], NOW));
        assert!(takes(&mut callers, NOW, &[]), "nobody is wanted");
        assert!(callers.want(&[2; 32], NOW + KEPT_NS - 1));
        assert!(takes(&mut callers, NOW + KEPT_NS - 1, &[2]));
        assert!(takes(&mut callers, NOW + KEPT_NS - 1, &[]));
        assert!(!callers.want(&[2; 32], NOW + KEPT_NS - 1));
        assert!(!callers.want(&[1; 32], NOW + KEPT_NS), "too late");
        assert!(callers.calls.is_empty());
    }

    #[test]
    fn who_is_wanted_may_expire_all_the_same() {
        let mut callers = Callers::new();
        assert!(note(&mut callers, 1, NOW));
        assert!(callers.want(&[1; 32], NOW));
        assert!(callers.take(NOW + KEPT_NS).is_none());
    }

    #[test]
    fn of_one_key_the_last_call_comes_first() {
        let mut callers = Callers::new();
        for n in 1..4 {
            assert!(callers.note(&[7; 32], &message(n), v4(n), n, NOW + u64::from(n)));
        }
        assert!(note(&mut callers, 9, NOW));
        assert!(callers.want(&[7; 32], NOW + 5));
        assert!(takes(&mut callers, NOW + 5, &[3, 2, 1]));
        assert_eq!(callers.calls.len(), 1);
    }

    #[test]
    fn a_message_that_is_repeated_is_one_call() {
        let mut callers = Callers::new();
        assert!(note(&mut callers, 1, NOW));
        assert!(!note(&mut callers, 1, NOW + 1));
        assert!(!callers.note(&[1; 32], &message(1), v4(2), 5, NOW + 1));
        assert_eq!(callers.calls.len(), 1);
        assert!(note(&mut callers, 1, NOW + KEPT_NS));
    }

    #[test]
    fn what_is_not_authentic_makes_no_other_call() {
        let mut callers = Callers::new();
        assert!(note(&mut callers, 1, NOW));
        assert!(callers.has(&[1; 32], NOW) && !callers.has(&[2; 32], NOW));
        let mut copy = message(1);
        copy.sender_index = 7.into();
        copy.macs.mac2 = [1; 16];
        assert!(!callers.note(&[1; 32], &copy, v4(2), 2, NOW));
        // Nor does what shares a part with it, and is not authentic at all, stand in its way.
        let mut other = message(2);
        other.encrypted_timestamp[0] ^= 1;
        assert!(callers.note(&[2; 32], &other, v4(3), 3, NOW));
        assert!(note(&mut callers, 2, NOW));
        assert_eq!(callers.calls.len(), 3);
        assert!(!callers.has(&[1; 32], NOW + KEPT_NS));
    }

    #[test]
    fn the_oldest_goes() {
        let mut callers = Callers::new();
        let many = MAX_KEPT as u32;
        for n in 0..many + 3 {
            assert!(note(&mut callers, n, NOW + u64::from(n)));
            assert!(callers.calls.len() <= MAX_KEPT);
        }
        assert!(!callers.want(&[2; 32], NOW + 99));
        assert!(callers.want(&[3; 32], NOW + 99));
        assert_eq!(callers.calls.len(), MAX_KEPT);
        callers.clear();
        assert!(callers.calls.is_empty());
    }

    #[test]
    fn one_source_has_its_share() {
        let mut callers = Callers::new();
        let far = |n: u32| IpAddr::from(Ipv6Addr::from_bits((9 << 64) | u128::from(n)));
        for n in 0..MAX_OF_SOURCE as u32 {
            assert!(callers.note(&[n as u8; 32], &message(n), far(n), n, NOW));
        }
        assert!(!callers.note(&[99; 32], &message(99), far(99), 99, NOW));
        assert!(note(&mut callers, 100, NOW), "others have theirs");
        // Who was added does not count.
        assert!(callers.want(&[3; 32], NOW));
        assert!(takes(&mut callers, NOW, &[3]));
        assert!(callers.note(&[99; 32], &message(99), far(99), 99, NOW));
        assert!(!callers.note(&[98; 32], &message(98), far(98), 98, NOW));
        // And the bucket is not charged for what is not told of.
        let empty = callers.empty_ns;
        assert!(!callers.note(&[98; 32], &message(98), far(98), 98, NOW));
        assert_eq!(callers.empty_ns, empty);
    }

    #[test]
    fn a_flood_is_told_of_at_the_buckets_rate() {
        let mut callers = Callers::new();
        let (mut told, mut n) = (0, 0);
        // Right after boot, ten seconds long, a thousand in each millisecond from everywhere.
        for ms in 0..10_000 {
            for _ in 0..10 {
                n += 1;
                told += u64::from(note(&mut callers, n, ms * 1_000_000));
                assert!(callers.calls.len() <= MAX_KEPT);
            }
        }
        let most = TOLD_AT_ONCE + 10 * TOLD_PER_SECOND;
        assert!((most - 1..=most).contains(&told), "{told} of {most}");
        // After a pause it's full again, and not more than that.
        let later = 1000 * NSEC_PER_SEC;
        let at_once = (0..1000).filter(|i| note(&mut callers, n + 1 + i, later));
        assert_eq!(at_once.count() as u64, TOLD_AT_ONCE);
    }

    #[test]
    fn without_memory_it_is_told_and_not_kept() {
        for successes in 0..2 {
            let mut callers = Callers::new();
            let fail = FailNext::after(successes);
            assert!(note(&mut callers, 1, NOW));
            drop(fail);
            assert!(callers.calls.is_empty());
            assert!(note(&mut callers, 2, NOW));
            assert_eq!(callers.calls.len(), 1);
        }
    }

    #[test]
    fn memory_goes_with_the_last_call() {
        let mut callers = Callers::new();
        assert!(note(&mut callers, 1, NOW));
        assert!(callers.calls.capacity() > 0);
        assert!(callers.expire(NOW + KEPT_NS - 1));
        assert!(!callers.expire(NOW + KEPT_NS));
        assert_eq!(callers.calls.capacity(), 0);
        assert!(note(&mut callers, 1, NOW));
        assert!(callers.want(&[1; 32], NOW));
        assert!(takes(&mut callers, NOW, &[1]));
        assert_eq!(callers.calls.capacity(), 0);
    }
}
