// SPDX-License-Identifier: GPL-2.0
//! Atomics for the files under test, with the interface of `rust/atomic.rs`: loom's, and stricter.
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
        Ordering as Order, //
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

/// What a load, and the load of a read-modify-write operation, orders before what comes after.
pub struct Acquire;
/// What a store, and the store of a read-modify-write operation, orders after what comes before.
pub struct Release;
/// Both. In the kernel it is also a full barrier; here nothing may rely on that.
pub struct Full;
/// Nothing.
pub struct Relaxed;

/// An ordering.
pub trait Ordering {
    /// The same for loom.
    const ORDER: Order;
}

impl Ordering for Acquire {
    const ORDER: Order = Order::Acquire;
}
impl Ordering for Release {
    const ORDER: Order = Order::Release;
}
impl Ordering for Full {
    const ORDER: Order = Order::AcqRel;
}
impl Ordering for Relaxed {
    const ORDER: Order = Order::Relaxed;
}

/// An ordering for loads.
pub trait AcquireOrRelaxed: Ordering {}
impl AcquireOrRelaxed for Acquire {}
impl AcquireOrRelaxed for Relaxed {}

/// An ordering for stores.
pub trait ReleaseOrRelaxed: Ordering {}
impl ReleaseOrRelaxed for Release {}
impl ReleaseOrRelaxed for Relaxed {}

/// `order` at `at`, unless the environment says that the test shall go without.
///
/// `LOOM_WEAKEN=FILE:LINE:acquire` takes the acquire half off the operation at that place of the
/// source, `release` the other. `LOOM_ORDERINGS=PATH` has all such words written to a file.
pub(crate) fn weakened(order: Order, at: &Location<'_>) -> Order {
    static WEAKEN: OnceLock<Option<String>> = OnceLock::new();
    static LOG: OnceLock<Option<String>> = OnceLock::new();
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let weaken = WEAKEN.get_or_init(|| env::var("LOOM_WEAKEN").ok());
    let log = LOG.get_or_init(|| env::var("LOOM_ORDERINGS").ok());
    if weaken.is_none() && log.is_none() || order == Order::Relaxed {
        return order;
    }
    // Files have their path in the repository under the directory that build.rs writes to.
    let Some((_, file)) = at.file().rsplit_once("/under-test/") else {
        return order;
    };
    let place = format!("{file}:{}", at.line());
    if let Some(path) = log {
        let halves: &[&str] = match order {
            Order::Acquire => &["acquire"],
            Order::Release => &["release"],
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
        (Some(":acquire"), Order::AcqRel) => Order::Release,
        (Some(":release"), Order::AcqRel) => Order::Acquire,
        (Some(":acquire"), Order::Acquire) | (Some(":release"), Order::Release) => Order::Relaxed,
        _ => order,
    }
}

/// `smp_acquire__after_ctrl_dep()`: here without a thought for control dependencies.
#[track_caller]
pub fn acquire_after_ctrl_dep() {
    if weakened(Order::Acquire, Location::caller()) != Order::Relaxed {
        atomic::fence(Order::Acquire);
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

/// What can be in an [`Atomic`].
pub trait AtomicType: Copy {
    /// Loom's atomic for it.
    type Inner;

    /// An atomic of this value.
    fn inner(self) -> Self::Inner;
    /// As loom has it.
    fn load(inner: &Self::Inner, order: Order) -> Self;
    /// As loom has it.
    fn store(inner: &Self::Inner, value: Self, order: Order);
    /// As loom has it.
    fn swap(inner: &Self::Inner, value: Self, order: Order) -> Self;
    /// As loom has it; nothing is ordered if it fails.
    fn exchange(inner: &Self::Inner, old: Self, new: Self, order: Order) -> Result<Self, Self>;
}

/// What can be counted with.
pub trait AtomicAdd: AtomicType {
    /// As loom has it.
    fn fetch_add(inner: &Self::Inner, value: Self, order: Order) -> Self;
    /// As loom has it.
    fn fetch_sub(inner: &Self::Inner, value: Self, order: Order) -> Self;
}

macro_rules! types {
    ($({$($param:ident)?} $ty:ty as $inner:ty, $store:ident;)*) => {$(
        impl$(<$param>)? AtomicType for $ty {
            type Inner = $inner;

            fn inner(self) -> $inner {
                <$inner>::new(self)
            }

            fn load(inner: &$inner, order: Order) -> Self {
                inner.load(order)
            }

            fn store(inner: &$inner, value: Self, order: Order) {
                inner.$store(value, order);
            }

            fn swap(inner: &$inner, value: Self, order: Order) -> Self {
                inner.swap(value, order)
            }

            fn exchange(inner: &$inner, old: Self, new: Self, order: Order) -> Result<Self, Self> {
                inner.compare_exchange(old, new, order, Order::Relaxed)
            }
        }
    )*};
}

types! {
    // Loom does not know that a store comes after another thread's exchange whose old value was there
    // before the store: a lock that was refused to someone would stay locked. So here this is an
    // exchange, of the same ordering.
    {} bool as atomic::AtomicBool, swap;
    {T} *mut T as atomic::AtomicPtr<T>, store;
    {} i32 as atomic::AtomicI32, store;
    {} u32 as atomic::AtomicU32, store;
    {} u64 as atomic::AtomicU64, store;
    {} usize as atomic::AtomicUsize, store;
}

macro_rules! counting {
    ($($ty:ty as $inner:ty;)*) => {$(
        impl AtomicAdd for $ty {
            fn fetch_add(inner: &$inner, value: Self, order: Order) -> Self {
                inner.fetch_add(value, order)
            }

            fn fetch_sub(inner: &$inner, value: Self, order: Order) -> Self {
                inner.fetch_sub(value, order)
            }
        }
    )*};
}

counting! {
    i32 as atomic::AtomicI32;
    u32 as atomic::AtomicU32;
    u64 as atomic::AtomicU64;
    usize as atomic::AtomicUsize;
}

/// As the kernel's.
pub struct Atomic<T: AtomicType> {
    inner: T::Inner,
    order: atomic::AtomicBool,
    life: Life,
}

/// As the kernel's, for what is done per packet.
pub type HotAtomic<T> = Atomic<T>;

#[allow(clippy::missing_errors_doc, missing_docs, reason = "as in the kernel")]
impl<T: AtomicType> Atomic<T> {
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self {
            inner: value.inner(),
            order: atomic::AtomicBool::new(false),
            life: Life::new(),
        }
    }

    #[track_caller]
    fn led_in(&self) -> &T::Inner {
        self.order.swap(true, Order::Relaxed);
        // Right before the access, as part of it: what the access releases has it.
        self.life.used();
        &self.inner
    }

    #[track_caller]
    pub fn load<O: AcquireOrRelaxed>(&self, _: O) -> T {
        let order = weakened(O::ORDER, Location::caller());
        T::load(self.led_in(), order)
    }

    #[track_caller]
    pub fn store<O: ReleaseOrRelaxed>(&self, value: T, _: O) {
        let order = weakened(O::ORDER, Location::caller());
        T::store(self.led_in(), value, order);
    }

    #[track_caller]
    pub fn xchg<O: Ordering>(&self, value: T, _: O) -> T {
        let order = weakened(O::ORDER, Location::caller());
        T::swap(self.led_in(), value, order)
    }

    #[track_caller]
    pub fn cmpxchg<O: Ordering>(&self, old: T, new: T, _: O) -> Result<T, T> {
        let order = weakened(O::ORDER, Location::caller());
        T::exchange(self.led_in(), old, new, order)
    }

    /// Only for what reports an error.
    pub const fn as_ptr(&self) -> *mut T {
        core::ptr::null_mut()
    }
}

#[allow(missing_docs, reason = "as in the kernel")]
impl<T: AtomicAdd> Atomic<T> {
    #[track_caller]
    pub fn fetch_add<O: Ordering>(&self, value: T, _: O) -> T {
        let order = weakened(O::ORDER, Location::caller());
        T::fetch_add(self.led_in(), value, order)
    }

    #[track_caller]
    pub fn fetch_sub<O: Ordering>(&self, value: T, _: O) -> T {
        let order = weakened(O::ORDER, Location::caller());
        T::fetch_sub(self.led_in(), value, order)
    }
}

/// A field with the interface of an atomic that never needs to be one: no two accesses race,
/// unless both read. Only relaxed accesses: others would say that somebody else may look.
pub struct Owned<T> {
    cell: UnsafeCell<T>,
    over: Cell<bool>,
}

// SAFETY: Loom ends the execution before an access that races with another one.
unsafe impl<T> Send for Owned<T> {}
// SAFETY: As above.
unsafe impl<T> Sync for Owned<T> {}

#[allow(missing_docs, reason = "as in the kernel")]
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
    pub fn load(&self, _: Relaxed) -> T {
        assert!(!self.over.get(), "used after it was freed");
        // SAFETY: Loom has checked that nobody writes.
        self.cell.with(|value| unsafe { *value })
    }

    #[track_caller]
    pub fn store(&self, to: T, _: Relaxed) {
        assert!(!self.over.get(), "used after it was freed");
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
