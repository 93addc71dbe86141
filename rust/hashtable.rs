// SPDX-License-Identifier: GPL-2.0

//! Hash tables of [`RcuArc`] objects, read under RCU, that grow and shrink with their content.
//!
//! [`IndexTable`] is keyed by a 32-bit number that the table chooses, [`PubkeyTable`] by 32 bytes
//! that an attacker may choose and which are therefore hashed by SipHash with a random key. Both
//! are `rhashtable`s, resized by a worker of their own. A table owns a reference to each object in
//! it; removal drops it, and the object stays readable for a grace period by the way of
//! [`RcuArc`].
//!
//! An object goes into a table by a node, a field of it, and at most once in its life: readers may
//! stand on a node that was removed, and must find the way on.
//!
//! # Contexts
//!
//! Lookup, insertion and removal: any but NMI. Making and dropping tables sleeps.
//!
//! C header: [`include/linux/rhashtable.h`](srctree/include/linux/rhashtable.h)
//!
//! Safety review: `Documentation/safety.md#hashtablers`.

use crate::{
    atomic::{
        Atomic,
        HotAtomic,
        Relaxed, //
    },
    bindings,
    field::{
        HasField,
        Invariant, //
    },
    module::TableGuest,
    rcu::{
        Guard,
        RcuArc,
        RcuObject,
        RcuRef, //
    },
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    mem::offset_of,
    ptr::NonNull,
};
use kernel::{
    bindings::{
        rhash_head,
        rhashtable, //
    },
    error::to_result,
    prelude::*,
    types::Opaque,
};

/// How often [`IndexTable::insert_random`] tries to find a free index.
const MAX_TRIES: u32 = 128;

/// What makes an object fit for an [`IndexTable`]; `struct wg_index_node` of
/// `helpers/hashtable.c`, and more.
#[pin_data]
#[repr(C)]
pub struct IndexNode {
    head: Opaque<rhash_head>,
    key: HotAtomic<u32>,
    used: Atomic<bool>,
    #[pin]
    _pin: PhantomPinned,
}

const _: () = assert!(
    offset_of!(IndexNode, head) == 0 && offset_of!(IndexNode, key) == size_of::<rhash_head>()
);

// SAFETY: `head` is only accessed by the table, which has its own locks.
unsafe impl Send for IndexNode {}
// SAFETY: As above; the rest is atomic.
unsafe impl Sync for IndexNode {}

impl IndexNode {
    /// A node that is in no table.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            head: Opaque::zeroed(),
            key: HotAtomic::new(0),
            used: Atomic::new(false),
            _pin: PhantomPinned,
        })
    }
}

/// What makes an object fit for a [`PubkeyTable`]; `struct wg_key_node` of `helpers/hashtable.c`,
/// and more.
#[pin_data]
#[repr(C)]
pub struct KeyNode {
    head: Opaque<rhash_head>,
    key: [u8; 32],
    used: Atomic<bool>,
    #[pin]
    _pin: PhantomPinned,
}

const _: () =
    assert!(offset_of!(KeyNode, head) == 0 && offset_of!(KeyNode, key) == size_of::<rhash_head>());

// SAFETY: `head` is only accessed by the table, which has its own locks.
unsafe impl Send for KeyNode {}
// SAFETY: As above; the key never changes.
unsafe impl Sync for KeyNode {}

impl KeyNode {
    /// A node with this key that is in no table.
    pub fn new(key: [u8; 32]) -> impl PinInit<Self> {
        pin_init!(Self {
            head: Opaque::zeroed(),
            key,
            used: Atomic::new(false),
            _pin: PhantomPinned,
        })
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

/// Objects with an [`IndexNode`]; see [`impl_has_index_node!`].
pub trait HasIndexNode: RcuObject + HasField<IndexNode> {}
impl<T: RcuObject + HasField<IndexNode>> HasIndexNode for T {}

/// Objects with a [`KeyNode`]; see [`impl_has_key_node!`].
pub trait HasKeyNode: RcuObject + HasField<KeyNode> {}
impl<T: RcuObject + HasField<KeyNode>> HasKeyNode for T {}

/// Says which field is the [`IndexNode`].
///
/// ```ignore
/// impl_has_index_node! { impl HasIndexNode for Session { self.node } }
/// ```
#[macro_export]
macro_rules! impl_has_index_node {
    ($(impl HasIndexNode for $self:ty { self.$field:ident })*) => {$(
        $crate::field::impl_has_field! {
            impl HasField<$crate::hashtable::IndexNode> for $self { self.$field }
        }
    )*};
}
pub use impl_has_index_node;

/// Says which field is the [`KeyNode`].
///
/// ```ignore
/// impl_has_key_node! { impl HasKeyNode for Peer { self.node } }
/// ```
#[macro_export]
macro_rules! impl_has_key_node {
    ($(impl HasKeyNode for $self:ty { self.$field:ident })*) => {$(
        $crate::field::impl_has_field! {
            impl HasField<$crate::hashtable::KeyNode> for $self { self.$field }
        }
    )*};
}
pub use impl_has_key_node;

/// An `rhashtable` of the `N` in `T`s.
///
/// # Invariants
///
/// `table` is initialised. Its elements are nodes of objects in [`RcuArc`]s, each pointer derived
/// from one that owned a reference, which the table owns.
#[pin_data(PinnedDrop)]
struct Table<T: RcuObject + HasField<N>, N> {
    #[pin]
    table: Opaque<rhashtable>,
    _guest: TableGuest,
    _objects: PhantomData<RcuArc<T>>,
    _nodes: Invariant<N>,
}

// SAFETY: The table has its own locks; it owns references to objects, which are `Send` and `Sync`.
unsafe impl<T: RcuObject + HasField<N>, N> Send for Table<T, N> {}
// SAFETY: As above.
unsafe impl<T: RcuObject + HasField<N>, N> Sync for Table<T, N> {}

impl<T: RcuObject + HasField<N>, N> Table<T, N> {
    /// # Safety
    ///
    /// `init` must initialise an empty table if it returns 0.
    unsafe fn new(init: impl FnOnce(*mut rhashtable) -> c_int) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Empty, by the safety requirements.
            table <- Opaque::try_ffi_init(|slot| to_result(init(slot))),
            _guest: TableGuest::new(),
            _objects: PhantomData,
            _nodes: PhantomData,
        })
    }

    /// Gives the object to the table by `insert`, which is handed the node.
    ///
    /// # Safety
    ///
    /// `insert` must return 0 if it has put the node into the table, else not have kept it. The
    /// node must not have been in a table before.
    unsafe fn insert(
        &self,
        object: RcuArc<T>,
        insert: impl FnOnce(*mut rhashtable, *mut c_void) -> c_int,
    ) -> Result {
        let object = RcuArc::into_raw(object);
        // INVARIANT: The pointer owns a reference.
        //
        // SAFETY: It points to a `T`.
        let node = unsafe { T::field_of(object) };
        to_result(insert(self.table.get(), node.as_ptr().cast())).inspect_err(|_| {
            // SAFETY: The table did not take the reference, so this takes it back.
            drop(unsafe { RcuArc::from_raw(object) })
        })
    }

    /// Removes an object by `remove`, and drops the table's reference to it.
    ///
    /// # Safety
    ///
    /// `remove` must return the element that it has removed from the table, or null.
    unsafe fn remove(&self, remove: impl FnOnce(*mut rhashtable) -> *mut c_void) -> bool {
        let Some(node) = NonNull::new(remove(self.table.get()).cast::<N>()) else {
            return false;
        };
        // SAFETY: By the type invariants it is the node of an object, and the pointer owned a
        // reference, which is ours since the element was removed.
        drop(unsafe { RcuArc::from_raw(T::container_of(node)) });
        true
    }

    /// # Safety
    ///
    /// `node` must be null or an element of the table, found during `'g`.
    #[inline]
    unsafe fn found<'g>(node: *mut c_void) -> Option<RcuRef<'g, T>> {
        let node = NonNull::new(node.cast::<N>())?;
        // SAFETY: By the type invariants this is the node of an object. It was found in the table
        // in a read-side critical section which lasts for `'g`, so the table's reference was not
        // dropped before, and the object is not freed during it.
        Some(unsafe { RcuRef::from_raw(T::container_of(node)) })
    }

    /// # Safety
    ///
    /// Only called by `rhashtable_free_and_destroy`, for each element.
    unsafe extern "C" fn release(node: *mut c_void, _arg: *mut c_void) {
        // SAFETY: An element is not null; by the type invariants it is the node of an object, and
        // the pointer owned a reference, which the table has no use for any more.
        drop(unsafe {
            RcuArc::from_raw(T::container_of(NonNull::new_unchecked(node.cast::<N>())))
        });
    }
}

#[pinned_drop]
impl<T: RcuObject + HasField<N>, N> PinnedDrop for Table<T, N> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants, the table is initialised. Nobody uses it any more:
        // lookups that are over may still look at the objects, which RCU frees, not at the table.
        unsafe {
            bindings::rhashtable_free_and_destroy(
                self.table.get().cast(),
                Some(Self::release),
                core::ptr::null_mut(),
            )
        }
    }
}

/// A table of objects by an index that it chooses.
#[pin_data]
pub struct IndexTable<T: HasIndexNode> {
    #[pin]
    table: Table<T, IndexNode>,
}

impl<T: HasIndexNode> IndexTable<T> {
    /// An empty table. Sleeps.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: The helper initialises the table unless it fails.
            table <- unsafe {
                Table::new(|table| bindings::index_table_init(table.cast()))
            },
        })
    }

    /// Inserts the object at an index that `next` returns and that is not in use, and returns it.
    ///
    /// `EEXIST` if `next` does not come up with one, `EINVAL` if the object was in a table before,
    /// `ENOMEM` or the like if the table cannot grow.
    pub fn insert_random(&self, object: RcuArc<T>, next: &mut dyn FnMut() -> u32) -> Result<u32> {
        if object.field().used.xchg(true, Relaxed) {
            return Err(EINVAL);
        }
        let mut tries = MAX_TRIES;
        loop {
            let key = next();
            // This is the only one to set the key: `used` was false.
            object.field().key.store(key, Relaxed);
            // SAFETY: The helper does as required, and by `used` the node was in no table yet.
            let ret = unsafe {
                self.table.insert(object.clone(), |table, node| {
                    bindings::index_table_insert(table.cast(), node)
                })
            };
            tries -= 1;
            match ret {
                Ok(()) => return Ok(key),
                Err(e) if e == EEXIST && tries > 0 => continue,
                Err(e) => {
                    // It never was in the table.
                    object.field().used.store(false, Relaxed);
                    return Err(e);
                }
            }
        }
    }

    /// How many objects there are. Any context.
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariants, the table is initialised.
        unsafe { bindings::index_table_len(self.table.table.get().cast()) as usize }
    }

    /// Whether there is none. Any context.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds the object at an index.
    #[inline]
    pub fn lookup<'g>(&self, key: u32, _guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        // SAFETY: The table is initialised; the guard proves that this is a read-side critical
        // section, which lasts for `'g`.
        unsafe {
            Table::found(bindings::index_table_lookup(
                self.table.table.get().cast(),
                key,
            ))
        }
    }

    /// Removes an object; false if it is not in this table (any more).
    pub fn remove(&self, object: &T) -> bool {
        let node = object.field();
        // SAFETY: The helper only reads the node's key and address, unless it finds it in the table;
        // and returns it if so.
        unsafe {
            self.table.remove(|table| {
                bindings::index_table_remove(
                    table.cast(),
                    core::ptr::from_ref(node).cast_mut().cast(),
                )
            })
        }
    }
}

/// A table of objects by a key of 32 bytes.
#[pin_data]
pub struct PubkeyTable<T: HasKeyNode> {
    #[pin]
    table: Table<T, KeyNode>,
}

impl<T: HasKeyNode> PubkeyTable<T> {
    /// An empty table. Sleeps.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: The helper initialises the table unless it fails.
            table <- unsafe {
                Table::new(|table| bindings::key_table_init(table.cast()))
            },
        })
    }

    /// Inserts an object.
    ///
    /// `EEXIST` if there is one of this key, `EINVAL` if the object was in a table before, `ENOMEM`
    /// or the like if the table cannot grow.
    pub fn insert(&self, object: RcuArc<T>) -> Result {
        if object.field().used.xchg(true, Relaxed) {
            return Err(EINVAL);
        }
        // SAFETY: The helper does as required, and by `used` the node was in no table yet.
        let ret = unsafe {
            self.table.insert(object.clone(), |table, node| {
                bindings::key_table_insert(table.cast(), node)
            })
        };
        if ret.is_err() {
            // It never was in the table.
            object.field().used.store(false, Relaxed);
        }
        ret
    }

    /// Finds the object of a key.
    #[inline]
    pub fn lookup<'g>(&self, key: &[u8; 32], _guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        // SAFETY: The table is initialised, the key readable; the guard proves that this is a
        // read-side critical section, which lasts for `'g`.
        unsafe {
            Table::found(bindings::key_table_lookup(
                self.table.table.get().cast(),
                key.as_ptr(),
            ))
        }
    }

    /// Removes an object; false if it is not in this table (any more).
    pub fn remove(&self, object: &T) -> bool {
        let node = object.field();
        // SAFETY: The helper only reads the node's key and address, unless it finds it in the table;
        // and returns it if so.
        unsafe {
            self.table.remove(|table| {
                bindings::key_table_remove(
                    table.cast(),
                    core::ptr::from_ref(node).cast_mut().cast(),
                )
            })
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_hashtable)]
mod tests {
    use super::*;
    use crate::{
        random,
        rcu::read_lock, //
    };

    #[pin_data]
    struct Entry {
        #[pin]
        index: IndexNode,
        #[pin]
        key: KeyNode,
        n: u32,
    }

    impl RcuObject for Entry {}
    impl_has_index_node! { impl HasIndexNode for Entry { self.index } }
    impl_has_key_node! { impl HasKeyNode for Entry { self.key } }

    fn key(n: u32) -> [u8; 32] {
        let mut key = [0; 32];
        key[28..].copy_from_slice(&n.to_le_bytes());
        key
    }

    fn entry(n: u32) -> Result<RcuArc<Entry>> {
        RcuArc::pin_init(
            pin_init!(Entry { index <- IndexNode::new(), key <- KeyNode::new(key(n)), n }),
            GFP_KERNEL,
        )
    }

    #[test]
    fn grow_and_shrink() -> Result {
        const N: u32 = 3000;
        let indices = KBox::pin_init(IndexTable::<Entry>::new(), GFP_KERNEL)?;
        let keys = KBox::pin_init(PubkeyTable::<Entry>::new(), GFP_KERNEL)?;
        let mut chosen = KVec::new();
        for n in 0..N {
            let e = entry(n)?;
            chosen.push(
                indices.insert_random(e.clone(), &mut random::u32)?,
                GFP_KERNEL,
            )?;
            keys.insert(e)?;
        }
        for (n, index) in (0..N).zip(&chosen) {
            let guard = read_lock();
            let e = keys.lookup(&key(n), &guard).ok_or(EINVAL)?;
            assert_eq!(e.n, n);
            let same = indices.lookup(*index, &guard).ok_or(EINVAL)?;
            assert!(RcuRef::ptr_eq(e, same));
            assert!(keys.remove(&e) && !keys.remove(&e));
            assert!(keys.lookup(&key(n), &guard).is_none());
            assert!(indices.remove(&e) && e.try_get().is_none());
            assert!(indices.lookup(*index, &guard).is_none());
        }
        Ok(())
    }

    #[test]
    fn refusals() -> Result {
        let indices = KBox::pin_init(IndexTable::<Entry>::new(), GFP_KERNEL)?;
        let keys = KBox::pin_init(PubkeyTable::<Entry>::new(), GFP_KERNEL)?;
        let (a, b) = (entry(1)?, entry(1)?);
        keys.insert(a.clone())?;
        assert_eq!(keys.insert(b.clone()).err(), Some(EEXIST));
        assert!(!keys.remove(&b));
        assert!(keys.remove(&a));
        // Once in a table is all that a node can do, but a failed attempt does not count.
        assert_eq!(keys.insert(a.clone()).err(), Some(EINVAL));
        keys.insert(b.clone())?;
        indices.insert_random(a, &mut || 7)?;
        assert_eq!(
            indices.insert_random(b.clone(), &mut || 7).err(),
            Some(EEXIST)
        );
        let mut next = 6;
        let mut counting = || {
            next += 1;
            next
        };
        assert_eq!(indices.insert_random(b, &mut counting)?, 8);
        Ok(())
    }
}
