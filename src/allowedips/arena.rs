// SPDX-License-Identifier: GPL-2.0

//! Where the nodes of the trie live: an arena, addressed by 32-bit indices.
//!
//! Everything of a node is atomic, so that readers and the writer share it without a lock. Three
//! rules make what readers see meaningful:
//!
//! - a node is written completely before its index is stored (release) where readers find it;
//! - a node's slot is used again only a grace period after the node was unlinked, so a reader that
//!   has its index, which it found in its own critical section, still finds the same node;
//! - a chunk of nodes goes only when none of its slots is in use or waits for readers.
//!
//! An index is the number of a chunk and the offset in it. Chunks grow with the arena, by a third
//! or more of it each, so there are few of them, and growing copies nothing. Chunk 0 does not
//! exist; so the index 0 leads nowhere, and to look an index up is also the test for it.

use core::mem;
use wgk::{
    alloc::{
        AllocError,
        Flags,
        KVVec, //
    },
    atomic::{
        Acquire,
        HotAtomic,
        Relaxed,
        Release, //
    },
    rcu::{
        GracePeriod,
        Guard,
        RcuArc,
        RcuCell,
        RcuObject,
        RcuRef, //
    }, //
};

use super::prefix::{
    Prefix,
    V4, //
};

/// The index of no node.
pub(super) const NIL: u32 = 0;

/// Low bits of an index that are the offset in a chunk.
const OFFSET_BITS: u32 = 26;
/// Chunks that an index can name, 0 included.
const CHUNKS: usize = 1 << (u32::BITS - OFFSET_BITS);
/// Nodes in the smallest chunk.
const MIN_CHUNK: usize = 16;
/// Nodes in the largest chunk: 768 MiB, as the kernel allocates less than 2 GiB at once.
const MAX_CHUNK: usize = 1 << 24;

const _: () = assert!(MAX_CHUNK <= 1 << OFFSET_BITS);

/// A node of the trie: a prefix, to which a peer may belong.
///
/// `previous` and `next` link the prefixes of a peer, and a slot without node into the list that
/// it is on.
pub(super) struct Node<P: RcuObject> {
    children: [HotAtomic<u32>; 2],
    high: HotAtomic<u64>,
    low: HotAtomic<u64>,
    /// Whose the prefix is.
    pub(super) value: RcuCell<P>,
    parent: HotAtomic<u32>,
    previous: HotAtomic<u32>,
    next: HotAtomic<u32>,
    // A `u8` each; the kernel has no atomics of that type.
    len: HotAtomic<i8>,
    family: HotAtomic<i8>,
}

/// Defines plain getters and setters of fields that only the writer uses.
macro_rules! writer_only {
    ($($get:ident $set:ident $what:literal;)*) => {$(
        #[doc = concat!("The ", $what, "; for the writer.")]
        #[inline]
        pub(super) fn $get(&self) -> u32 {
            self.$get.load(Relaxed)
        }

        #[doc = concat!("Sets the ", $what, ".")]
        #[inline]
        pub(super) fn $set(&self, to: u32) {
            self.$get.store(to, Relaxed);
        }
    )*};
}

impl<P: RcuObject> Node<P> {
    const fn empty() -> Self {
        Self {
            children: [HotAtomic::new(NIL), HotAtomic::new(NIL)],
            high: HotAtomic::new(0),
            low: HotAtomic::new(0),
            value: RcuCell::empty(),
            parent: HotAtomic::new(NIL),
            previous: HotAtomic::new(NIL),
            next: HotAtomic::new(NIL),
            len: HotAtomic::new(0),
            family: HotAtomic::new(0),
        }
    }

    writer_only! {
        parent set_parent "node above";
        previous set_previous "prefix of the same peer before this one";
        next set_next "prefix of the same peer after this one";
    }

    /// Makes a node without peer or children of a slot that no reader knows.
    pub(super) fn fill(&self, prefix: Prefix) {
        // ORDERING: Relaxed, here and when these are read: readers get at them only through an
        // index that is stored with release and loaded with acquire semantics.
        for child in &self.children {
            child.store(NIL, Relaxed);
        }
        let (high, low) = prefix.halves();
        self.high.store(high, Relaxed);
        self.low.store(low, Relaxed);
        self.len.store(prefix.len as i8, Relaxed);
        self.family.store(prefix.family as i8, Relaxed);
        self.parent.store(NIL, Relaxed);
        self.previous.store(NIL, Relaxed);
        self.next.store(NIL, Relaxed);
    }

    /// The node's prefix.
    pub(super) fn prefix(&self) -> Prefix {
        Prefix {
            bits: (u128::from(self.high.load(Relaxed)) << 64) | u128::from(self.low.load(Relaxed)),
            len: self.len.load(Relaxed) as u8,
            family: self.family.load(Relaxed) as u8,
        }
    }

    /// The length of the prefix.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        u32::from(self.len.load(Relaxed) as u8)
    }

    /// Whether the address with these halves begins with the prefix. (An IPv4 address is the first half of
    /// the first one.)
    #[inline]
    pub(super) fn covers<const FAMILY: u8>(&self, high: u64, low: u64) -> bool {
        let high = high ^ self.high.load(Relaxed);
        if FAMILY == V4 {
            high & !u64::MAX.wrapping_shr(self.len()) == 0
        } else {
            let differ = (u128::from(high) << 64) | u128::from(low ^ self.low.load(Relaxed));
            differ.leading_zeros() >= self.len()
        }
    }

    /// The bit of an address after the prefix, as an index. A prefix that is a whole address has no
    /// such bit, and no children either: any will do.
    #[inline]
    pub(super) fn side<const FAMILY: u8>(&self, high: u64, low: u64) -> usize {
        let len = self.len();
        let word = if FAMILY == V4 || len & 64 == 0 {
            high
        } else {
            low
        };
        // CAST: One bit.
        (word.wrapping_shl(len) >> 63) as usize
    }

    /// The node below, on the side of a next bit of 0 or 1.
    #[inline]
    pub(super) fn child(&self, bit: usize) -> u32 {
        // ORDERING: Acquire pairs with `set_child()`.
        self.children[bit & 1].load(Acquire)
    }

    /// Sets the node below, and publishes it if readers know this one.
    #[inline]
    pub(super) fn set_child(&self, bit: usize, to: u32) {
        // ORDERING: Release: who sees the index sees the node, too.
        self.children[bit & 1].store(to, Release);
    }
}

/// Some nodes in one piece of memory.
pub(super) struct Chunk<P: RcuObject> {
    nodes: KVVec<Node<P>>,
}

impl<P: RcuObject> RcuObject for Chunk<P> {}

impl<P: RcuObject> Chunk<P> {
    fn new(nodes: usize, flags: Flags) -> Result<RcuArc<Self>, AllocError> {
        let mut all = KVVec::with_capacity(nodes, flags)?;
        for _ in 0..nodes {
            all.push(Node::empty(), flags)?;
        }
        RcuArc::new(Self { nodes: all }, flags)
    }

    /// The node of an index into this chunk.
    #[inline]
    pub(super) fn node(&self, at: u32) -> Option<&Node<P>> {
        // CAST: No more bits than an index has.
        self.nodes.get((at & ((1 << OFFSET_BITS) - 1)) as usize)
    }
}

/// What readers need: where both tries begin, and the chunks.
pub(super) struct Arena<P: RcuObject> {
    roots: [HotAtomic<u32>; 2],
    chunks: [RcuCell<Chunk<P>>; CHUNKS],
}

impl<P: RcuObject> RcuObject for Arena<P> {}

impl<P: RcuObject> Arena<P> {
    /// The topmost node of a family's trie.
    #[inline]
    pub(super) fn root(&self, family: u8) -> u32 {
        // ORDERING: Acquire pairs with `set_root()`.
        self.roots[usize::from(family & 1)].load(Acquire)
    }

    /// Sets and publishes the topmost node of a family's trie.
    pub(super) fn set_root(&self, family: u8, to: u32) {
        // ORDERING: Release: who sees the index sees the node, too.
        self.roots[usize::from(family & 1)].store(to, Release);
    }

    /// The chunk of an index; `None` for [`NIL`].
    #[inline]
    pub(super) fn chunk<'g>(&self, at: u32, guard: &'g Guard) -> Option<RcuRef<'g, Chunk<P>>> {
        self.chunks[chunk_of(at)].load(guard)
    }
}

/// The number of the chunk that an index is of; less than [`CHUNKS`].
#[inline]
const fn chunk_of(at: u32) -> usize {
    // CAST: Few bits.
    (at >> OFFSET_BITS) as usize
}

/// Slots, linked by `next`.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
    count: u32,
}

impl List {
    const EMPTY: Self = Self {
        first: NIL,
        last: NIL,
        count: 0,
    };
}

/// The writer's side of a chunk.
///
/// # Invariants
///
/// Each slot is one of: below `fresh` and on the list `free`, `aging` or `waiting`; or a node that
/// is linked, or was taken to be; or from `fresh` on. No reader knows a slot that is on `free` or
/// from `fresh` on.
struct Pool<P: RcuObject> {
    chunk: RcuArc<Chunk<P>>,
    /// Offset from which on no slot was ever used.
    fresh: u32,
    free: u32,
    /// Slots that were given back after the current grace period began, or while there is none.
    aging: List,
    /// Slots that were given back before the current grace period began.
    waiting: List,
    /// Slots that are not free.
    used: u32,
}

impl<P: RcuObject> Pool<P> {
    fn capacity(&self) -> usize {
        self.chunk.nodes.len()
    }

    fn has_room(&self) -> bool {
        (self.used as usize) < self.capacity()
    }

    /// Appends a list of slots that nobody waits for to the free ones.
    fn release(&mut self, list: List) {
        if let Some(last) = self.chunk.node(list.last).filter(|_| list.count != 0) {
            last.set_next(self.free);
            self.free = list.first;
            self.used -= list.count;
        }
    }
}

/// How much there is in a trie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Prefixes that belong to a peer.
    pub prefixes: usize,
    /// Nodes, those between prefixes included.
    pub nodes: usize,
    /// Slots that wait for readers before they are used again.
    pub waiting: usize,
    /// Nodes that there is memory for.
    pub capacity: usize,
}

/// The writer's side of an [`Arena`].
///
/// # Invariants
///
/// `pools[i]` belongs to chunk `i + 1` of the arena, and both are there or neither. No pool before
/// `roomy` has a free slot.
pub(super) struct Store<P: RcuObject> {
    pub(super) arena: RcuArc<Arena<P>>,
    pools: KVVec<Option<Pool<P>>>,
    /// Where to begin to look for a free slot.
    roomy: usize,
    /// Runs for the `waiting` lists of all pools.
    grace_period: Option<GracePeriod>,
    /// Slots on the `aging` lists of all pools.
    aging: usize,
    /// Sum over all pools.
    capacity: usize,
    /// Sum over all pools.
    used: usize,
    /// Nodes linked.
    nodes: usize,
    /// Prefixes of peers; kept by the trie.
    pub(super) prefixes: usize,
}

impl<P: RcuObject> Store<P> {
    /// A store without any nodes, of which no reader knows.
    pub(super) fn new(flags: Flags) -> Result<Self, AllocError> {
        let arena = Arena {
            roots: [HotAtomic::new(NIL), HotAtomic::new(NIL)],
            chunks: [const { RcuCell::empty() }; CHUNKS],
        };
        Ok(Self {
            arena: RcuArc::new(arena, flags)?,
            pools: KVVec::new(),
            roomy: 0,
            grace_period: None,
            aging: 0,
            capacity: 0,
            used: 0,
            nodes: 0,
            prefixes: 0,
        })
    }

    /// The node of an index.
    #[inline]
    pub(super) fn node(&self, at: u32) -> Option<&Node<P>> {
        let pool = self.pools.get(chunk_of(at).checked_sub(1)?)?;
        pool.as_ref()?.chunk.node(at)
    }

    /// Whether no node is linked.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes == 0
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            prefixes: self.prefixes,
            nodes: self.nodes,
            waiting: self.used - self.nodes,
            capacity: self.capacity,
        }
    }

    /// Makes sure that [`Store::take`] succeeds `count` times. May sleep, as `flags` say.
    pub(super) fn reserve(&mut self, count: usize, flags: Flags) -> Result<(), AllocError> {
        if self.capacity - self.used < count {
            self.reclaim();
        }
        while self.capacity - self.used < count {
            self.grow(flags)?;
        }
        Ok(())
    }

    /// Adds a chunk.
    fn grow(&mut self, flags: Flags) -> Result<(), AllocError> {
        let nodes = (self.capacity / 3)
            .next_power_of_two()
            .clamp(MIN_CHUNK, MAX_CHUNK);
        let at = match self.pools.iter().position(Option::is_none) {
            Some(at) => at,
            None if self.pools.len() + 1 < CHUNKS => {
                self.pools.push(None, flags)?;
                self.pools.len() - 1
            }
            // Some hundred million nodes; see the bound on chunks at the head of this file.
            None => return Err(AllocError),
        };
        let chunk = Chunk::new(nodes, flags)?;
        // No reader knows an index into this chunk, also if there was another one in its place:
        // that went a grace period after its last node.
        self.arena.chunks[at + 1].swap(Some(chunk.clone()));
        self.capacity += nodes;
        // INVARIANT: All slots are from `fresh` on.
        self.pools[at] = Some(Pool {
            chunk,
            fresh: 0,
            free: NIL,
            aging: List::EMPTY,
            waiting: List::EMPTY,
            used: 0,
        });
        self.roomy = self.roomy.min(at);
        Ok(())
    }

    /// Takes a slot for a node; `None` only if it was not reserved.
    ///
    /// From the first chunk that has one, so that the later, larger ones can empty.
    pub(super) fn take(&mut self, prefix: Prefix) -> Option<u32> {
        let full = |p: &Option<Pool<P>>| !p.as_ref().is_some_and(Pool::has_room);
        // INVARIANT: None of those that are passed over has a free slot.
        while self.pools.get(self.roomy).is_some_and(full) {
            self.roomy += 1;
        }
        let pool = self.pools.get_mut(self.roomy)?.as_mut()?;
        let at = if pool.free != NIL {
            let at = pool.free;
            pool.free = pool.chunk.node(at)?.next();
            at
        } else {
            // CAST: Less than `CHUNKS`.
            let at = ((self.roomy as u32 + 1) << OFFSET_BITS) | pool.fresh;
            pool.fresh += 1;
            at
        };
        pool.used += 1;
        self.used += 1;
        self.nodes += 1;
        pool.chunk.node(at)?.fill(prefix);
        Some(at)
    }

    /// Gives back the slot of a node that was just unlinked.
    pub(super) fn give_back(&mut self, at: u32) {
        let pool = chunk_of(at)
            .checked_sub(1)
            .and_then(|i| self.pools.get_mut(i)?.as_mut());
        let Some(pool) = pool else {
            return;
        };
        let Some(node) = pool.chunk.node(at) else {
            return;
        };
        // Readers do not look at `next`; all they look at stays as it is.
        node.set_next(pool.aging.first);
        if pool.aging.count == 0 {
            pool.aging.last = at;
        }
        pool.aging.first = at;
        pool.aging.count += 1;
        self.aging += 1;
        self.nodes -= 1;
        self.reclaim();
    }

    /// Frees slots that no reader knows any more, and chunks that are not needed then. Does not
    /// wait.
    ///
    /// At most one grace period runs at a time, for all that was given back before it began.
    pub(super) fn reclaim(&mut self) {
        if let Some(grace_period) = self.grace_period {
            if !grace_period.elapsed() {
                return;
            }
            self.grace_period = None;
            for pool in self.pools.iter_mut().flatten() {
                let list = mem::replace(&mut pool.waiting, List::EMPTY);
                // INVARIANT: Unlinked before the grace period began, and it has elapsed.
                pool.release(list);
                self.used -= list.count as usize;
            }
            self.roomy = 0;
            self.shrink();
        }
        if self.aging != 0 {
            self.aging = 0;
            for pool in self.pools.iter_mut().flatten() {
                pool.waiting = mem::replace(&mut pool.aging, List::EMPTY);
            }
            self.grace_period = Some(GracePeriod::start());
        }
    }

    /// Lets chunks go that are not in use, but for one that could soon be wanted again: enough room
    /// must remain for some growth, unless the chunk is larger than any that would be added then.
    fn shrink(&mut self) {
        // The latest ones first, which tend to be the largest.
        for i in (0..self.pools.len()).rev() {
            let unused = self.pools[i]
                .as_ref()
                .filter(|p| p.used == 0)
                .map(Pool::capacity);
            let Some(size) = unused else {
                continue;
            };
            let room = self.capacity - self.used - size;
            if room >= self.used / 8 || size > 2 * self.used {
                self.capacity -= size;
                // INVARIANT: Both go.
                self.arena.chunks[i + 1].swap(None);
                self.pools[i] = None;
            }
        }
    }

    /// Whether all counts agree; for tests.
    pub(super) fn audit(&self) -> Result<(), &'static str> {
        let (mut capacity, mut used, mut aging, mut waiting) = (0, 0, 0, 0);
        let mut passed_over = self.pools.iter().take(self.roomy).flatten();
        if passed_over.any(Pool::has_room) {
            return Err("a chunk with free slots is overlooked");
        }
        for pool in self.pools.iter().flatten() {
            let mut free = pool.capacity() - pool.fresh as usize;
            let mut at = pool.free;
            while at != NIL {
                free += 1;
                at = pool.chunk.node(at).ok_or("a free slot of no chunk")?.next();
            }
            if free + pool.used as usize != pool.capacity() {
                return Err("slots of a chunk are lost");
            }
            capacity += pool.capacity();
            used += pool.used as usize;
            aging += pool.aging.count as usize;
            waiting += pool.waiting.count as usize;
        }
        if (capacity, used, aging) != (self.capacity, self.used, self.aging) {
            return Err("the sums over the chunks are wrong");
        }
        if used != self.nodes + aging + waiting {
            return Err("slots are neither nodes nor waiting");
        }
        if (self.grace_period.is_none() && waiting != 0) || (waiting == 0 && aging != 0) {
            return Err("slots wait for no grace period");
        }
        Ok(())
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_allowedips_arena))]
mod tests {
    use super::*;
    use core::mem::size_of;

    struct Nobody;

    impl RcuObject for Nobody {}

    #[test]
    fn a_node_is_forty_bytes_and_its_value() {
        assert!(size_of::<Node<Nobody>>() == 40 + size_of::<RcuCell<Nobody>>());
    }
}
