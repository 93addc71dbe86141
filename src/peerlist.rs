// SPDX-License-Identifier: GPL-2.0
//! Objects in the order of their numbers, which only grow: the peers of a device.
//!
//! One array of numbers and objects. A new one goes to the end; one that is taken out leaves a gap,
//! and when more than half are gaps they are closed. So adding and removing cost constant time on
//! average, finding one costs a binary search, and an object costs 16 to 32 bytes here (a tree
//! node of its own costs 64).
//!
//! Context: adding may sleep, by its flags; nothing else does, or allocates. The caller locks.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use wgk::alloc::{
    AllocError,
    Flags,
    KVVec, //
};

/// Gaps that are not worth closing.
const FEW: usize = 64;

/// A list of objects by number.
///
/// # Invariants
///
/// Numbers increase, `live` entries have an object, and of the others there are no more than of
/// these, or [`FEW`].
pub struct PeerList<T> {
    entries: KVVec<(u64, Option<T>)>,
    live: usize,
}

impl<T> PeerList<T> {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds an object at the end. `None` comes back for a number that is not above all before: then
    /// nothing is added.
    pub fn add(&mut self, number: u64, object: T, flags: Flags) -> Result<Option<()>, AllocError> {
        if self.entries.last().is_some_and(|(last, _)| *last >= number) {
            return Ok(None);
        }
        self.entries.push((number, Some(object)), flags)?;
        self.live += 1;
        Ok(Some(()))
    }

    /// Takes the object with this number out.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let at = self.position(number).ok()?;
        let object = self.entries.get_mut(at)?.1.take()?;
        self.live -= 1;
        if self.entries.len() - self.live > self.live.max(FEW) {
            self.entries.retain(|(_, object)| object.is_some());
        }
        Some(object)
    }

    /// Whether there is an object with this number.
    pub fn contains(&self, number: u64) -> bool {
        self.position(number)
            .is_ok_and(|at| self.entries[at].1.is_some())
    }

    /// All objects, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries
            .iter()
            .filter_map(|(_, object)| object.as_ref())
    }

    /// All objects, in order, each given away.
    pub fn into_objects(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().filter_map(|(_, object)| object)
    }

    /// The first object with a number above this one.
    pub fn next_after(&self, number: u64) -> Option<&T> {
        let at = match self.position(number) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        self.entries[at..]
            .iter()
            .find_map(|(_, object)| object.as_ref())
    }

    fn position(&self, number: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&number, |(n, _)| *n)
    }
}

impl<T> Default for PeerList<T> {
    fn default() -> Self {
        Self {
            entries: KVVec::new(),
            live: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::PeerList;
    use std::{
        collections::BTreeMap,
        vec::Vec, //
    };
    use wgk::alloc::GFP_KERNEL;

    fn list(numbers: impl IntoIterator<Item = u64>) -> PeerList<u64> {
        let mut list = PeerList::default();
        for n in numbers {
            assert_eq!(list.add(n, n * 10, GFP_KERNEL), Ok(Some(())));
        }
        list
    }

    #[test]
    fn in_the_order_of_numbers() {
        let list = list([3, 5, 9]);
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), [30, 50, 90]);
        assert_eq!(list.next_after(0), Some(&30));
        assert_eq!(list.next_after(3), Some(&50));
        assert_eq!(list.next_after(4), Some(&50));
        assert_eq!(list.next_after(9), None);
        assert_eq!(list.next_after(u64::MAX), None);
    }

    #[test]
    fn a_number_that_was_there_does_not_come_back() {
        let mut list = list([3, 5]);
        assert_eq!(list.remove(5), Some(50));
        assert_eq!(list.remove(5), None);
        assert!(!list.contains(5));
        assert_eq!(list.add(5, 1, GFP_KERNEL), Ok(None));
        assert_eq!(list.add(4, 1, GFP_KERNEL), Ok(None));
        assert_eq!((list.len(), list.next_after(3)), (1, None));
    }

    #[test]
    fn gaps_are_closed_when_they_are_more_than_a_few_and_more_than_half() {
        // A few: 64, though more than half.
        let mut few = list(0..100);
        for n in 0..64 {
            assert_eq!(few.remove(n), Some(n * 10));
        }
        assert_eq!((few.len(), few.entries.len()), (36, 100));
        assert_eq!(few.remove(64), Some(640));
        assert_eq!((few.len(), few.entries.len()), (35, 35));
        // Half, of many.
        let mut many = list(0..200);
        for n in 0..100 {
            assert_eq!(many.remove(n), Some(n * 10));
        }
        assert_eq!((many.len(), many.entries.len()), (100, 200));
        assert_eq!(many.remove(100), Some(1000));
        assert_eq!((many.len(), many.entries.len()), (99, 99));
        assert!(many.iter().copied().eq((101..200).map(|n| n * 10)));
    }

    /// Against a tree, with so many taken out that gaps are closed again and again.
    #[test]
    fn as_a_tree_would_have_it() {
        let mut list = list([]);
        let mut tree = BTreeMap::new();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut most_gaps = 0;
        for n in 0..20_000_u64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state % 100 < 55 && n < 12_000 {
                assert_eq!(list.add(n, n, GFP_KERNEL), Ok(Some(())));
                tree.insert(n, n);
            } else {
                let victim = state % (n + 1);
                let victim = tree.range(victim..).next().map_or(victim, |(k, _)| *k);
                assert_eq!(list.remove(victim), tree.remove(&victim));
            }
            assert_eq!((list.len(), list.is_empty()), (tree.len(), tree.is_empty()));
            let probe = state % (n + 1);
            assert_eq!(list.contains(probe), tree.contains_key(&probe));
            assert_eq!(
                list.next_after(probe),
                tree.range(probe + 1..).next().map(|(_, v)| v)
            );
            most_gaps = most_gaps.max(list.entries.len() - list.live);
            assert!(list.entries.len() - list.live <= list.live.max(super::FEW));
        }
        assert!(list.iter().eq(tree.values()));
        assert!(
            most_gaps > super::FEW,
            "gaps were closed while there were many"
        );
        assert!(list.into_objects().eq(tree.into_values()));
    }
}
