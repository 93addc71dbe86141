// SPDX-License-Identifier: GPL-2.0
//! Atomics for the files under test: loom's, and stricter.
//!
//! **All orders of accesses are tried.** Loom tries another order when an access conflicts with the
//! last one to the same atomic. It remembers one: when a thread loads and then exchanges, its own
//! load hides another thread's load from the exchange, and the exchange is never tried before that.
//! So each access is led in by a read-modify-write operation on a second atomic, which conflicts
//! with all others there. It is relaxed: it makes nothing visible to anyone.
//!
//! **Memory is checked.** An atomic must be made before it is used and used before it is gone, in
//! the order of the memory model. [`Owned`] is for fields that are only atomic because Rust has no
//! other way to share them: their protocol says that accesses never race, and this is checked.
//!
//! **Any ordering can be taken away**, to see that a model notices: see [`weakened`].

use core::cell::Cell;
use loom::{
    cell::UnsafeCell,
    sync::atomic::{
        self,
        Ordering::{
            AcqRel,
            Acquire,
            Relaxed,
            Release, //
        }, //
    }, //
};
use std::{
    collections::BTreeSet,
    env,
    fs::OpenOptions,
    io::Write,
    panic::Location,
    sync::{
        Mutex,
        OnceLock, //
    },
    thread, //
};

pub use loom::sync::atomic::Ordering;

/// `order` at `at`, unless the environment says that the test shall go without.
///
/// `LOOM_WEAKEN=FILE:LINE:acquire` takes the acquire half off the operation at that place of the
/// source, `release` the other. `LOOM_ORDERINGS=PATH` has all such words written to a file.
pub(crate) fn weakened(order: Ordering, at: &Location<'_>) -> Ordering {
    static WEAKEN: OnceLock<Option<String>> = OnceLock::new();
    static LOG: OnceLock<Option<String>> = OnceLock::new();
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let weaken = WEAKEN.get_or_init(|| env::var("LOOM_WEAKEN").ok());
    let log = LOG.get_or_init(|| env::var("LOOM_ORDERINGS").ok());
    if weaken.is_none() && log.is_none() || order == Relaxed {
        return order;
    }
    // Files have their path in the repository under the directory that build.rs writes to.
    let Some((_, file)) = at.file().rsplit_once("/under-test/") else {
        return order;
    };
    let place = format!("{file}:{}", at.line());
    if let Some(path) = log {
        let halves: &[&str] = match order {
            Acquire => &["acquire"],
            Release => &["release"],
            _ => &["acquire", "release"],
        };
        let mut logged = LOGGED.lock().expect("no panic while it is held");
        for half in halves {
            let line = format!("{place}:{half}\n");
            if logged.insert(line.clone()) {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.and_then(|mut f| f.write_all(line.as_bytes()))
                    .expect("LOOM_ORDERINGS names a file");
            }
        }
    }
    let half = weaken.as_deref().and_then(|w| w.strip_prefix(&place));
    match (half, order) {
        (Some(":acquire"), AcqRel) => Release,
        (Some(":release"), AcqRel) => Acquire,
        (Some(":acquire"), Acquire) | (Some(":release"), Release) => Relaxed,
        _ => order,
    }
}

/// A fence.
#[track_caller]
pub fn fence(order: Ordering) {
    if weakened(order, Location::caller()) != Relaxed {
        atomic::fence(order);
    }
}

/// Memory in which something is from when this is made until it is dropped.
struct Life {
    cell: UnsafeCell<()>,
    over: Cell<bool>,
}

// SAFETY: Loom ends the execution before accesses that race; its threads are coroutines of one.
unsafe impl Send for Life {}
// SAFETY: As above.
unsafe impl Sync for Life {}

impl Life {
    #[track_caller]
    fn new() -> Self {
        let cell = UnsafeCell::new(());
        // An access of its own: loom takes creation to be part of what the thread did before.
        cell.with_mut(|_| ());
        Self {
            cell,
            over: Cell::new(false),
        }
    }

    #[track_caller]
    fn used(&self) {
        assert!(!self.over.get(), "used after it was freed");
        self.cell.with(|_| ());
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert!(!self.over.replace(true), "freed twice");
            self.cell.with_mut(|_| ());
        }
    }
}

macro_rules! atomics {
    ($($name:ident$(<$param:ident>)? of $value:ty;)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        pub struct $name$(<$param>)? {
            inner: atomic::$name$(<$param>)?,
            order: atomic::AtomicBool,
            life: Life,
        }

        #[allow(clippy::missing_errors_doc, missing_docs, reason = "as in core")]
        impl$(<$param>)? $name$(<$param>)? {
            #[track_caller]
            pub fn new(value: $value) -> Self {
                Self {
                    inner: atomic::$name::new(value),
                    order: atomic::AtomicBool::new(false),
                    life: Life::new(),
                }
            }

            #[track_caller]
            fn led_in(&self) -> &atomic::$name$(<$param>)? {
                self.order.swap(true, Relaxed);
                // Right before the access, as part of it: what the access releases has it.
                self.life.used();
                &self.inner
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                self.led_in().load(weakened(order, Location::caller()))
            }

            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.led_in().swap(value, weakened(order, Location::caller()))
            }

            #[track_caller]
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let success = weakened(success, Location::caller());
                self.led_in().compare_exchange(from, to, success, failure)
            }

            /// Never fails without need.
            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(from, to, success, failure)
            }

            /// Only for what reports an error.
            pub const fn as_ptr(&self) -> *mut $value {
                core::ptr::null_mut()
            }
        }
    )*};
}

atomics! {
    AtomicBool of bool;
    AtomicPtr<T> of *mut T;
    AtomicI32 of i32;
    AtomicU32 of u32;
    AtomicU64 of u64;
    AtomicUsize of usize;
}

macro_rules! storing {
    ($($name:ident$(<$param:ident>)? of $value:ty;)*) => {$(
        #[allow(missing_docs, reason = "as in core")]
        impl$(<$param>)? $name$(<$param>)? {
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                self.led_in().store(value, weakened(order, Location::caller()));
            }
        }
    )*};
}

storing! {
    AtomicPtr<T> of *mut T;
    AtomicU32 of u32;
    AtomicU64 of u64;
}

impl AtomicBool {
    /// Loom does not know that a store comes after another thread's exchange whose old value was
    /// there before the store: a lock that was refused to someone would stay locked. So here this
    /// is an exchange, of the same ordering.
    #[track_caller]
    pub fn store(&self, value: bool, order: Ordering) {
        self.led_in()
            .swap(value, weakened(order, Location::caller()));
    }
}

macro_rules! counting {
    ($($name:ident of $value:ty;)*) => {$(
        #[allow(missing_docs, reason = "as in core")]
        impl $name {
            #[track_caller]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.led_in().fetch_add(value, weakened(order, Location::caller()))
            }

            #[track_caller]
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.led_in().fetch_sub(value, weakened(order, Location::caller()))
            }

            #[track_caller]
            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.led_in().fetch_and(value, weakened(order, Location::caller()))
            }

            #[track_caller]
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.led_in().fetch_or(value, weakened(order, Location::caller()))
            }
        }
    )*};
}

counting! {
    AtomicI32 of i32;
    AtomicU32 of u32;
    AtomicU64 of u64;
    AtomicUsize of usize;
}

/// A field with the interface of an atomic that never needs to be one: no two accesses race,
/// unless both read.
pub struct Owned<T> {
    cell: UnsafeCell<T>,
    over: Cell<bool>,
}

/// `AtomicU8`.
pub type OwnedU8 = Owned<u8>;
/// `AtomicU32`.
pub type OwnedU32 = Owned<u32>;
/// `AtomicU64`.
pub type OwnedU64 = Owned<u64>;

// SAFETY: Loom ends the execution before an access that races with another one.
unsafe impl<T> Send for Owned<T> {}
// SAFETY: As above.
unsafe impl<T> Sync for Owned<T> {}

#[allow(missing_docs, reason = "as in core")]
impl<T: Copy> Owned<T> {
    #[track_caller]
    pub fn new(value: T) -> Self {
        let cell = UnsafeCell::new(value);
        cell.with_mut(|_| ());
        Self {
            cell,
            over: Cell::new(false),
        }
    }

    #[track_caller]
    pub fn load(&self, order: Ordering) -> T {
        assert!(!self.over.get(), "used after it was freed");
        assert_eq!(order, Relaxed, "says that others may look");
        // SAFETY: Loom has checked that nobody writes.
        self.cell.with(|value| unsafe { *value })
    }

    #[track_caller]
    pub fn store(&self, to: T, order: Ordering) {
        assert!(!self.over.get(), "used after it was freed");
        assert_eq!(order, Relaxed, "says that others may look");
        // SAFETY: Loom has checked that nobody else uses it.
        self.cell.with_mut(|value| unsafe { *value = to });
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert!(!self.over.replace(true), "freed twice");
            self.cell.with_mut(|_| ());
        }
    }
}

/// `core::cell::UnsafeCell`, of which each use counts as a write.
pub struct Exclusive<T> {
    inner: core::cell::UnsafeCell<T>,
    life: UnsafeCell<()>,
}

impl<T> Exclusive<T> {
    /// A cell.
    #[track_caller]
    pub fn new(value: T) -> Self {
        let life = UnsafeCell::new(());
        life.with_mut(|_| ());
        Self {
            inner: core::cell::UnsafeCell::new(value),
            life,
        }
    }

    /// What is in it, to be used at once.
    #[track_caller]
    pub fn get(&self) -> *mut T {
        self.life.with_mut(|_| ());
        self.inner.get()
    }
}
