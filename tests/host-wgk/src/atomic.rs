// SPDX-License-Identifier: GPL-2.0
//! Twin of `rust/atomic.rs`: the kernel's interface over Rust's atomics.
//!
//! Rust's model promises less than LKMM, but for dependencies between loads, which nothing here
//! relies on: what is right with it is right in the kernel. [`Full`] is weaker than there.

use std::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        AtomicI32,
        AtomicI64,
        AtomicI8,
        AtomicU32,
        AtomicU64,
        AtomicUsize,
        Ordering as Order, //
    }, //
};

/// What a load, and the load of a read-modify-write operation, orders before what comes after.
pub struct Acquire;
/// What a store, and the store of a read-modify-write operation, orders after what comes before.
pub struct Release;
/// Both; in the kernel also a full barrier.
pub struct Full;
/// Nothing.
pub struct Relaxed;

/// An ordering.
pub trait Ordering {
    /// The same for Rust.
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

/// What can be in an [`Atomic`].
pub trait AtomicType: Copy {
    /// Rust's atomic for it.
    type Inner: 'static;

    /// That, in memory which holds a value and is only accessed so.
    fn inner(cell: &UnsafeCell<Self>) -> &Self::Inner;
    /// As Rust has it.
    fn load(inner: &Self::Inner, order: Order) -> Self;
    /// As Rust has it.
    fn store(inner: &Self::Inner, value: Self, order: Order);
    /// As Rust has it.
    fn swap(inner: &Self::Inner, value: Self, order: Order) -> Self;
    /// As Rust has it; nothing is ordered if it fails.
    fn exchange(inner: &Self::Inner, old: Self, new: Self, order: Order) -> Result<Self, Self>;
}

/// What can be counted with.
pub trait AtomicAdd: AtomicType {
    /// As Rust has it.
    fn fetch_add(inner: &Self::Inner, value: Self, order: Order) -> Self;
    /// As Rust has it.
    fn fetch_sub(inner: &Self::Inner, value: Self, order: Order) -> Self;
}

macro_rules! types {
    ($($ty:ty as $inner:ident;)*) => {$(
        impl AtomicType for $ty {
            type Inner = $inner;

            fn inner(cell: &UnsafeCell<Self>) -> &$inner {
                // SAFETY: Valid for as long as the cell is borrowed, and aligned, as the assertion
                // below says. `Atomic` makes all accesses, and makes them this way.
                unsafe { $inner::from_ptr(cell.get()) }
            }

            fn load(inner: &$inner, order: Order) -> Self {
                inner.load(order)
            }

            fn store(inner: &$inner, value: Self, order: Order) {
                inner.store(value, order);
            }

            fn swap(inner: &$inner, value: Self, order: Order) -> Self {
                inner.swap(value, order)
            }

            fn exchange(inner: &$inner, old: Self, new: Self, order: Order) -> Result<Self, Self> {
                inner.compare_exchange(old, new, order, Order::Relaxed)
            }
        }

        const _: () = assert!(align_of::<$ty>() == align_of::<$inner>());
    )*};
}

types! {
    bool as AtomicBool;
    i8 as AtomicI8;
    i32 as AtomicI32;
    u32 as AtomicU32;
    i64 as AtomicI64;
    u64 as AtomicU64;
    usize as AtomicUsize;
}

macro_rules! counting {
    ($($ty:ty as $inner:ident;)*) => {$(
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
    i32 as AtomicI32;
    u32 as AtomicU32;
    i64 as AtomicI64;
    u64 as AtomicU64;
    usize as AtomicUsize;
}

/// As the kernel's.
pub struct Atomic<T: AtomicType>(UnsafeCell<T>);

// SAFETY: All accesses are those of Rust's atomics; what can be in it are plain values.
unsafe impl<T: AtomicType> Sync for Atomic<T> {}

/// As the kernel's, for what is done per packet.
pub type HotAtomic<T> = Atomic<T>;

impl<T: AtomicType> Atomic<T> {
    /// An atomic of this value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value.
    pub fn load<O: AcquireOrRelaxed>(&self, _: O) -> T {
        T::load(T::inner(&self.0), O::ORDER)
    }

    /// Sets the value.
    pub fn store<O: ReleaseOrRelaxed>(&self, value: T, _: O) {
        T::store(T::inner(&self.0), value, O::ORDER);
    }

    /// Sets the value; the one before.
    pub fn xchg<O: Ordering>(&self, value: T, _: O) -> T {
        T::swap(T::inner(&self.0), value, O::ORDER)
    }

    /// Sets the value to `new` if it is `old`.
    ///
    /// # Errors
    ///
    /// Otherwise, which it is.
    pub fn cmpxchg<O: Ordering>(&self, old: T, new: T, _: O) -> Result<T, T> {
        T::exchange(T::inner(&self.0), old, new, O::ORDER)
    }
}

impl<T: AtomicAdd> Atomic<T> {
    /// Adds; the value before.
    pub fn fetch_add<O: Ordering>(&self, value: T, _: O) -> T {
        T::fetch_add(T::inner(&self.0), value, O::ORDER)
    }

    /// Subtracts; the value before.
    pub fn fetch_sub<O: Ordering>(&self, value: T, _: O) -> T {
        T::fetch_sub(T::inner(&self.0), value, O::ORDER)
    }
}
