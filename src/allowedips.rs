// SPDX-License-Identifier: GPL-2.0

//! Cryptokey routing (paper §2): which peer an inner address belongs to, by longest prefix.
//!
//! Two binary tries, one per address family, without nodes that only pass on: each node is a
//! prefix, either one that belongs to a peer or one at which two others part. Addresses are
//! left-aligned bit strings, so both families share the code but for the last step of a lookup.
//!
//! One writer at a time changes them, in process context under the device's mutex; it has the
//! [`Writer`]. Readers look addresses up under RCU at any time, in any context ([`AllowedIps`]).
//! Nodes live in an arena and name each other by index, see [`arena`] for why readers never see a
//! node change into another one.
//!
//! A peer has its prefixes on a list ([`PrefixList`]), in the order in which they became its own:
//! dumps show them in that order, and removing a peer costs no more than its own prefixes. All
//! that belongs to no peer and is not needed to part others is removed at once, also in constant
//! time, as nodes know the one above.
//!
//! When the last prefix goes so does the whole arena; an interface without prefixes has none.

#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

mod arena;
mod prefix;
mod trie;

use core::net::IpAddr;
use wgk::{
    alloc::{
        AllocError,
        GFP_KERNEL, //
    },
    atomic::{
        Atomic,
        Relaxed, //
    },
    rcu::{
        Guard,
        RcuArc,
        RcuCell,
        RcuObject,
        RcuRef, //
    }, //
};

pub use arena::Usage;
use arena::{
    Arena,
    Store,
    NIL, //
};
use prefix::{
    Prefix,
    V4,
    V6, //
};

/// The prefixes of a peer; embedded in it. Only of use to the one [`AllowedIps`] they are in.
pub struct PrefixList {
    first: Atomic<u32>,
    last: Atomic<u32>,
}

impl PrefixList {
    /// No prefixes.
    pub const fn new() -> Self {
        Self {
            first: Atomic::new(NIL),
            last: Atomic::new(NIL),
        }
    }

    /// Whether there are none. Only a hint for others than the writer.
    pub fn is_empty(&self) -> bool {
        self.first.load(Relaxed) == NIL
    }

    fn clear(&self) {
        self.first.store(NIL, Relaxed);
        self.last.store(NIL, Relaxed);
    }
}

impl Default for PrefixList {
    fn default() -> Self {
        Self::new()
    }
}

/// Peers, to the trie.
pub trait HasPrefixes: RcuObject {
    /// The peer's list; always the same one.
    fn prefixes(&self) -> &PrefixList;
}

/// Both tries, for readers.
///
/// Holds a reference to each peer once per prefix. Not to be dropped before
/// [`AllowedIps::remove_all`], or the peers' lists would lead nowhere.
pub struct AllowedIps<P: HasPrefixes> {
    arena: RcuCell<Arena<P>>,
}

/// The right to change an [`AllowedIps`], the one it was made with.
pub struct Writer<P: HasPrefixes> {
    seq: u64,
    store: Option<Store<P>>,
}

/// Where an iteration over a peer's prefixes goes on. Of no effect after a change to the tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    at: u32,
    seq: u64,
}

impl<P: HasPrefixes> Writer<P> {
    /// Differs after each change, and is never 0.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How much there is.
    pub fn usage(&self) -> Usage {
        self.store.as_ref().map_or(Usage::default(), Store::usage)
    }

    /// Frees memory that readers may have looked at before. Changes do so in passing; this is for
    /// when none follows. Does not wait.
    #[cfg_attr(
        CONFIG_RUST,
        expect(dead_code, reason = "changes of the driver's do so in passing")
    )]
    pub fn reclaim(&mut self) {
        if let Some(store) = &mut self.store {
            store.reclaim();
        }
    }
}

impl<P: HasPrefixes> AllowedIps<P> {
    /// Tries without prefixes, which need no memory, and the right to change them.
    pub const fn new() -> (Self, Writer<P>) {
        let arena = RcuCell::empty();
        let writer = Writer {
            seq: 1,
            store: None,
        };
        (Self { arena }, writer)
    }

    /// The peer whose prefix of `addr` is the longest. Any context.
    #[inline]
    pub fn lookup<'g>(&self, addr: IpAddr, guard: &'g Guard) -> Option<RcuRef<'g, P>> {
        match addr {
            IpAddr::V4(a) => self.find::<V4>(u64::from(a.to_bits()) << 32, 0, guard),
            IpAddr::V6(a) => {
                let bits = a.to_bits();
                // CAST: Halves.
                self.find::<V6>((bits >> 64) as u64, bits as u64, guard)
            }
        }
    }

    #[inline]
    fn find<'g, const FAMILY: u8>(
        &self,
        high: u64,
        low: u64,
        guard: &'g Guard,
    ) -> Option<RcuRef<'g, P>> {
        loop {
            let arena = self.arena.load(guard)?;
            let mut at = arena.root(FAMILY);
            let mut best = NIL;
            while let Some(chunk) = arena.chunk(at, guard) {
                let Some(node) = chunk.node(at) else {
                    break;
                };
                if !node.covers::<FAMILY>(high, low) {
                    break;
                }
                if !node.value.is_null() {
                    best = at;
                }
                at = node.child(node.side::<FAMILY>(high, low));
            }
            let chunk = arena.chunk(best, guard)?;
            if let Some(peer) = chunk.node(best)?.value.load(guard) {
                return Some(peer);
            }
            // The prefix was removed since. Another one may apply; the next look will not find
            // this one again.
        }
    }

    /// Gives the first `cidr` bits of `addr` to `peer`, whoever had them before. They become the
    /// last of its list, also if they were its own. A `cidr` beyond the width of the address
    /// counts as that.
    ///
    /// Process context; may sleep. If memory is short, nothing has changed but
    /// [`Writer::seq`].
    pub fn insert(
        &self,
        writer: &mut Writer<P>,
        addr: IpAddr,
        cidr: u8,
        peer: &RcuArc<P>,
    ) -> Result<(), AllocError> {
        let prefix = Prefix::new(addr, cidr);
        writer.seq += 1;
        if let Some(store) = &mut writer.store {
            return store.insert(prefix, peer, GFP_KERNEL);
        }
        let mut store = Store::new(GFP_KERNEL)?;
        store.insert(prefix, peer, GFP_KERNEL)?;
        self.arena.swap(Some(store.arena.clone()));
        writer.store = Some(store);
        Ok(())
    }

    /// Takes the first `cidr` bits of `addr` from `peer`; false if exactly these are not its own.
    /// Does not sleep.
    pub fn remove(&self, writer: &mut Writer<P>, addr: IpAddr, cidr: u8, peer: &P) -> bool {
        let prefix = Prefix::new(addr, cidr);
        writer.seq += 1;
        let Some(store) = &mut writer.store else {
            return false;
        };
        let place = store.locate(prefix);
        let own = place.exact
            && prefix.len == cidr
            && store
                .node(place.at)
                .is_some_and(|n| n.value.points_to(peer));
        if own {
            store.remove(place.at);
            self.drop_if_empty(writer);
        }
        own
    }

    /// Takes all prefixes from `peer`, in time linear in their number. Does not sleep.
    pub fn remove_by_peer(&self, writer: &mut Writer<P>, peer: &P) {
        let list = peer.prefixes();
        if list.is_empty() {
            return;
        }
        writer.seq += 1;
        let Some(store) = &mut writer.store else {
            return;
        };
        loop {
            let at = list.first.load(Relaxed);
            if at == NIL || !store.remove(at) {
                break;
            }
        }
        self.drop_if_empty(writer);
    }

    /// Takes all prefixes from all peers. Does not sleep.
    pub fn remove_all(&self, writer: &mut Writer<P>) {
        writer.seq += 1;
        let Some(store) = writer.store.take() else {
            return;
        };
        // Readers that began before may finish in the old tries.
        self.arena.swap(None);
        for family in [V4, V6] {
            // From the top, so that nobody gets what belonged to a longer prefix.
            let mut at = store.arena.root(family);
            while let Some(node) = store.node(at) {
                if let Some(peer) = node.value.swap(None) {
                    peer.prefixes().clear();
                }
                at = store.after(at);
            }
        }
    }

    fn drop_if_empty(&self, writer: &mut Writer<P>) {
        if writer.store.as_ref().is_some_and(Store::is_empty) {
            self.arena.swap(None);
            writer.store = None;
        }
    }

    /// The prefixes of `peer`, in the order in which they became its own, each with the cursor
    /// that leads back to it. From the one that `from` names on; none if there was a change since.
    pub fn prefixes<'a>(
        &self,
        writer: &'a Writer<P>,
        peer: &P,
        from: Option<Cursor>,
    ) -> Prefixes<'a, P> {
        let own = |at: u32| {
            let node = writer.store.as_ref().and_then(|s| s.node(at));
            node.is_some_and(|n| n.value.points_to(peer))
        };
        let at = match from {
            None => peer.prefixes().first.load(Relaxed),
            Some(cursor) if cursor.seq == writer.seq => cursor.at,
            Some(_) => NIL,
        };
        Prefixes {
            writer,
            at: if own(at) { at } else { NIL },
        }
    }

    /// Looks for anything that should not be; for tests.
    #[cfg_attr(
        all(CONFIG_RUST, not(CONFIG_KUNIT = "y")),
        expect(dead_code, reason = "for tests")
    )]
    pub fn audit(&self, writer: &Writer<P>) -> Result<(), &'static str> {
        let Some(store) = &writer.store else {
            return if self.arena.is_null() {
                Ok(())
            } else {
                Err("an arena without store")
            };
        };
        let mut found = Usage::default();
        for family in [V4, V6] {
            let mut at = store.arena.root(family);
            while let Some(node) = store.node(at) {
                let prefix = node.prefix();
                if prefix != prefix.shortened(prefix.len) || prefix.family != family {
                    return Err("a node's prefix is wrong");
                }
                match store.node(node.parent()) {
                    None if node.parent() != NIL || store.arena.root(family) != at => {
                        return Err("a topmost node is not");
                    }
                    Some(up) => {
                        let above = up.prefix();
                        if prefix.common(above) != above.len || prefix.len <= above.len {
                            return Err("a node is under the wrong one");
                        }
                        if up.child(prefix.bit(above.len)) != at {
                            return Err("a node's link up leads elsewhere");
                        }
                    }
                    None => {}
                }
                let children = [0, 1].iter().filter(|b| node.child(**b) != NIL).count();
                if node.value.is_null() && children != 2 {
                    return Err("an empty node parts nothing");
                }
                found.nodes += 1;
                found.prefixes += usize::from(!node.value.is_null());
                at = store.after(at);
            }
        }
        let usage = store.usage();
        if (found.nodes, found.prefixes) != (usage.nodes, usage.prefixes) {
            return Err("nodes are not in the trie");
        }
        if found.nodes == 0 || !self.arena.points_to(&store.arena) {
            return Err("a store without arena");
        }
        store.audit()
    }
}

/// Iterator over the prefixes of a peer: address, length, and the [`Cursor`] of this very item.
pub struct Prefixes<'a, P: HasPrefixes> {
    writer: &'a Writer<P>,
    at: u32,
}

impl<P: HasPrefixes> Iterator for Prefixes<'_, P> {
    type Item = (IpAddr, u8, Cursor);

    fn next(&mut self) -> Option<Self::Item> {
        let cursor = Cursor {
            at: self.at,
            seq: self.writer.seq,
        };
        let node = self.writer.store.as_ref()?.node(self.at)?;
        self.at = node.next();
        let prefix = node.prefix();
        Some((prefix.addr(), prefix.len, cursor))
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
mod tests;
