// SPDX-License-Identifier: GPL-2.0

//! Changes to the tries, by the one writer.
//!
//! Whatever readers see, at each step: it is a whole trie, with or without the change.

use wgk::{
    alloc::{
        AllocError,
        Flags, //
    },
    atomic::Relaxed,
    rcu::RcuArc, //
};

use super::{
    arena::{
        Store,
        NIL, //
    },
    prefix::{
        Prefix,
        V4,
        V6, //
    },
    HasPrefixes,
    PrefixList, //
};

/// Where a prefix is in a trie, or would be.
pub(super) struct Place {
    /// The node above; [`NIL`]: none, it is the topmost one.
    parent: u32,
    /// The side of that.
    bit: usize,
    /// What is there now.
    pub(super) at: u32,
    /// Whether that is the prefix itself.
    pub(super) exact: bool,
}

/// The trie proper. For the writer.
impl<P: HasPrefixes> Store<P> {
    pub(super) fn locate(&self, prefix: Prefix) -> Place {
        if prefix.family == V4 {
            self.descend::<V4>(prefix)
        } else {
            self.descend::<V6>(prefix)
        }
    }

    #[inline]
    fn descend<const FAMILY: u8>(&self, prefix: Prefix) -> Place {
        let (high, low) = prefix.halves();
        let len = u32::from(prefix.len);
        let mut place = Place {
            parent: NIL,
            bit: 0,
            at: self.arena.root(FAMILY),
            exact: false,
        };
        while let Some(node) = self.node(place.at) {
            let here = node.len();
            if here > len || !node.covers::<FAMILY>(high, low) {
                break;
            }
            if here == len {
                place.exact = true;
                break;
            }
            place.parent = place.at;
            place.bit = node.side::<FAMILY>(high, low);
            place.at = node.child(place.bit);
        }
        place
    }

    /// Puts the node `to`, or nothing, under `parent`, and publishes it.
    fn connect(&self, family: u8, parent: u32, bit: usize, to: u32) {
        if let Some(node) = self.node(to) {
            node.set_parent(parent);
        }
        match self.node(parent) {
            Some(up) => up.set_child(bit, to),
            None => self.arena.set_root(family, to),
        }
    }

    pub(super) fn insert(
        &mut self,
        prefix: Prefix,
        peer: &RcuArc<P>,
        flags: Flags,
    ) -> Result<(), AllocError> {
        let place = self.locate(prefix);
        if place.exact {
            self.hand_over(place.at, peer);
            return Ok(());
        }

        // What is there now comes under the new node, or both under a third one.
        let below = self.node(place.at).map(|node| node.prefix());
        let fork = below
            .map(|below| prefix.shortened(prefix.common(below)))
            .filter(|fork| fork.len < prefix.len);
        self.reserve(1 + usize::from(fork.is_some()), flags)?;

        let new = self.take(prefix).ok_or(AllocError)?;
        let mut top = new;
        if let Some(fork) = fork {
            top = self.take(fork).ok_or(AllocError)?;
            self.connect(prefix.family, top, prefix.bit(fork.len), new);
        }
        self.hand_over(new, peer);
        if let Some(below) = below {
            let len = fork.map_or(prefix.len, |fork| fork.len);
            self.connect(prefix.family, top, below.bit(len), place.at);
        }
        // Only now do readers see any of it.
        self.connect(prefix.family, place.parent, place.bit, top);
        Ok(())
    }

    /// Gives a node to `peer`.
    fn hand_over(&mut self, at: u32, peer: &RcuArc<P>) {
        let Some(node) = self.node(at) else {
            return;
        };
        let old = node.value.swap(Some(peer.clone()));
        if let Some(old) = &old {
            self.unlist(old.prefixes(), at);
        }
        self.list(peer.prefixes(), at);
        self.prefixes += usize::from(old.is_none());
    }

    /// Appends a node to a peer's list.
    fn list(&self, list: &PrefixList, at: u32) {
        let last = list.last.load(Relaxed);
        if let Some(node) = self.node(at) {
            node.set_previous(last);
            node.set_next(NIL);
        }
        match self.node(last) {
            Some(node) => node.set_next(at),
            None => list.first.store(at, Relaxed),
        }
        list.last.store(at, Relaxed);
    }

    /// Takes a node off a peer's list.
    fn unlist(&self, list: &PrefixList, at: u32) {
        let Some(node) = self.node(at) else {
            return;
        };
        let (previous, next) = (node.previous(), node.next());
        match self.node(previous) {
            Some(node) => node.set_next(next),
            None => list.first.store(next, Relaxed),
        }
        match self.node(next) {
            Some(node) => node.set_previous(previous),
            None => list.last.store(previous, Relaxed),
        }
    }

    /// Takes a prefix from its peer, and its node and the one above out of the trie unless they
    /// are needed. False if there is no such prefix.
    pub(super) fn remove(&mut self, at: u32) -> bool {
        let Some(node) = self.node(at) else {
            return false;
        };
        let Some(peer) = node.value.swap(None) else {
            return false;
        };
        let above = node.parent();
        self.unlist(peer.prefixes(), at);
        self.prefixes -= 1;
        // A node whose only child was this one's place would part nothing any more.
        if self.bypass(at) && self.node(above).is_some_and(|up| up.value.is_null()) {
            self.bypass(above);
        }
        true
    }

    /// Puts the only child of a node, or nothing, in its place. False if it has two.
    fn bypass(&mut self, at: u32) -> bool {
        let Some(node) = self.node(at) else {
            return false;
        };
        let child = match (node.child(0), node.child(1)) {
            (NIL, child) | (child, NIL) => child,
            _ => return false,
        };
        let (prefix, parent) = (node.prefix(), node.parent());
        let bit = self
            .node(parent)
            .map_or(0, |up| prefix.bit(up.prefix().len));
        self.connect(prefix.family, parent, bit, child);
        self.give_back(at);
        true
    }

    /// The node after this one when each comes before those under it; [`NIL`] after the last one.
    pub(super) fn after(&self, mut at: u32) -> u32 {
        let Some(mut node) = self.node(at) else {
            return NIL;
        };
        for bit in [0, 1] {
            if node.child(bit) != NIL {
                return node.child(bit);
            }
        }
        while let Some(up) = self.node(node.parent()) {
            if up.child(0) == at && up.child(1) != NIL {
                return up.child(1);
            }
            at = node.parent();
            node = up;
        }
        NIL
    }
}
