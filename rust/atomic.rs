// SPDX-License-Identifier: GPL-2.0

//! Atomics: the one door to them, for this crate and for the driver.
//!
//! The kernel has one memory model, LKMM, and one implementation of it for Rust,
//! `kernel::sync::atomic`. [`Atomic`] and the orderings are those of the `kernel` crate. Rust's own
//! atomics occur nowhere.
//!
//! # Per packet
//!
//! Each operation of `Atomic`, be it a load, is a call of a C function with a kernel built by gcc, for
//! what is inline in C is not for Rust. On x86-64 that is about six instructions more, and a small
//! packet takes some sixty operations on its way (counted in the machine code). [`HotAtomic`] has the
//! same interface and is for what is done for each packet.
//!
//! It is the same type, except on x86-64 without sanitizers. There its operations are inlined, and are
//! what `arch/x86/include/asm/atomic.h` and `asm/barrier.h` make of the C functions of the same name:
//! the same instruction between the same compiler barriers. Nothing is left to what Rust or LLVM think
//! of atomics:
//!
//! - A load is `READ_ONCE()`, a store `WRITE_ONCE()`: one volatile access of the size of the type. With
//!   acquire or release semantics it has a compiler barrier behind or before it, which is all that
//!   `smp_load_acquire()` and `smp_store_release()` are on a machine that keeps the order of loads and
//!   of stores.
//! - Each read-modify-write operation is one locked instruction in an `asm!` block that may touch any
//!   memory, in C's words `asm volatile(LOCK_PREFIX ... : "memory")`. It is fully ordered whatever
//!   ordering is asked for, as it is in C on this architecture; a `cmpxchg` also if it fails, which
//!   LKMM does not promise and nobody may rely on.
//!
//! So what holds of `Atomic` by LKMM holds of `HotAtomic`, and both may be used on what C accesses. With
//! KASAN or KCSAN, all go through C and are instrumented.
//!
//! # Other twins
//!
//! The host library (`tests/host-wgk`) has this interface over Rust's atomics, the models under loom
//! over loom's; `Documentation/safety.md#ordering` says what these then show.
//!
//! Any context. C headers: [`include/linux/atomic.h`](srctree/include/linux/atomic.h),
//! [`include/asm-generic/barrier.h`](srctree/include/asm-generic/barrier.h)
//!
//! Safety review: `Documentation/safety.md#atomicrs`.

pub use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Relaxed,
    Release, //
};

/// Orders what comes after it behind the read-modify-write operation on whose outcome it depends that
/// this is executed at all; `smp_acquire__after_ctrl_dep()`.
#[inline]
pub fn acquire_after_ctrl_dep() {
    // A control dependency orders stores already, loads need this.
    // SAFETY: A barrier can be executed anywhere. (The safe function has one name up to 7.2 and
    // another since.)
    unsafe { kernel::bindings::smp_rmb() };
}

#[cfg(not(all(CONFIG_X86_64, not(CONFIG_KASAN), not(CONFIG_KCSAN))))]
pub use Atomic as HotAtomic;

#[cfg(all(CONFIG_X86_64, not(CONFIG_KASAN), not(CONFIG_KCSAN)))]
pub use x86::HotAtomic;

#[cfg(all(CONFIG_X86_64, not(CONFIG_KASAN), not(CONFIG_KCSAN)))]
mod x86 {
    use core::{
        arch::asm,
        cell::UnsafeCell,
        convert::identity, //
    };
    use kernel::sync::atomic::ordering::{
        AcquireOrRelaxed,
        Ordering,
        OrderingType,
        ReleaseOrRelaxed, //
    };

    /// What can be in a [`HotAtomic`].
    ///
    /// # Safety
    ///
    /// The methods must do what they say, atomically, each for all of the value, and be compiler
    /// barriers.
    pub unsafe trait Word: Copy {
        /// Puts `new` where `at` points to; what was there.
        ///
        /// # Safety
        ///
        /// `at` must be valid for reads and writes, and aligned; others may only access it atomically.
        unsafe fn xchg(at: *mut Self, new: Self) -> Self;

        /// Puts `new` where `at` points to if `old` is there; what was there.
        ///
        /// # Safety
        ///
        /// As for `xchg`.
        unsafe fn cmpxchg(at: *mut Self, old: Self, new: Self) -> Self;

        /// Whether two values are the same, bit by bit.
        fn same(self, other: Self) -> bool;
    }

    /// What can be counted with.
    ///
    /// # Safety
    ///
    /// As for [`Word`].
    pub unsafe trait Number: Word {
        /// Adds to what `at` points to, wrapping around; what was there.
        ///
        /// # Safety
        ///
        /// As for `xchg`.
        unsafe fn fetch_add(at: *mut Self, value: Self) -> Self;

        /// `-self`, modulo a power of two.
        fn negated(self) -> Self;
    }

    macro_rules! exchanging {
        ($({$($param:ident)?} $ty:ty as $bits:ty, $back:expr,
            $ptr:literal, $class:ident, $mod:literal, $acc:tt;)*) => {$(
            // SAFETY: One locked instruction each, of the size of the type; an `asm!` block without
            // options is a compiler barrier.
            unsafe impl$(<$param>)? Word for $ty {
                #[inline(always)]
                unsafe fn xchg(at: *mut Self, new: Self) -> Self {
                    let mut bits = <$bits>::from(new);
                    // SAFETY: By the requirement. With memory, `xchg` is always locked.
                    unsafe {
                        asm!(
                            concat!("xchg ", $ptr, " ptr [{at}], {bits", $mod, "}"),
                            at = in(reg) at,
                            bits = inout($class) bits,
                        );
                    }
                    ($back)(bits)
                }

                #[inline(always)]
                unsafe fn cmpxchg(at: *mut Self, old: Self, new: Self) -> Self {
                    let (mut bits, new) = (<$bits>::from(old), <$bits>::from(new));
                    // SAFETY: By the requirement.
                    unsafe {
                        asm!(
                            concat!("lock cmpxchg ", $ptr, " ptr [{at}], {new", $mod, "}"),
                            at = in(reg) at,
                            new = in($class) new,
                            inout($acc) bits,
                        );
                    }
                    ($back)(bits)
                }

                #[inline(always)]
                fn same(self, other: Self) -> bool {
                    <$bits>::from(self) == <$bits>::from(other)
                }
            }
        )*};
    }

    exchanging! {
        {} bool as u8, |bits| bits != 0, "byte", reg_byte, "", "al";
        {} i8 as i8, identity, "byte", reg_byte, "", "al";
        {} i32 as i32, identity, "dword", reg, ":e", "eax";
        {} u32 as u32, identity, "dword", reg, ":e", "eax";
        {} i64 as i64, identity, "qword", reg, ":r", "rax";
        {} u64 as u64, identity, "qword", reg, ":r", "rax";
        {} usize as usize, identity, "qword", reg, ":r", "rax";
        {T} *mut T as *mut T, identity, "qword", reg, ":r", "rax";
    }

    macro_rules! counting {
        ($($ty:ty, $ptr:literal, $mod:literal;)*) => {$(
            // SAFETY: As above.
            unsafe impl Number for $ty {
                #[inline(always)]
                unsafe fn fetch_add(at: *mut Self, mut value: Self) -> Self {
                    // SAFETY: By the requirement.
                    unsafe {
                        asm!(
                            concat!("lock xadd ", $ptr, " ptr [{at}], {value", $mod, "}"),
                            at = in(reg) at,
                            value = inout(reg) value,
                        );
                    }
                    value
                }

                #[inline(always)]
                fn negated(self) -> Self {
                    self.wrapping_neg()
                }
            }
        )*};
    }

    counting! {
        i32, "dword", ":e";
        u32, "dword", ":e";
        i64, "qword", ":r";
        u64, "qword", ":r";
        usize, "qword", ":r";
    }

    /// `barrier()`
    #[inline(always)]
    fn barrier() {
        // SAFETY: No instruction.
        unsafe { asm!("") };
    }

    /// As [`Atomic`](super::Atomic), and inlined.
    ///
    /// # Invariants
    ///
    /// The cell holds a value of the type, and is only accessed atomically while it is shared.
    #[repr(transparent)]
    pub struct HotAtomic<T>(UnsafeCell<T>);

    // SAFETY: As for the `Atomic` of the kernel crate: what can be in it is only bits to it.
    unsafe impl<T: Word> Send for HotAtomic<T> {}
    // SAFETY: All accesses are atomic.
    unsafe impl<T: Word> Sync for HotAtomic<T> {}

    impl<T: Word> HotAtomic<T> {
        /// An atomic of this value.
        #[inline(always)]
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        /// Where it is; others may access it atomically.
        #[inline(always)]
        pub const fn as_ptr(&self) -> *mut T {
            self.0.get()
        }

        /// The value, of which there is no other user.
        #[inline(always)]
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut()
        }

        /// The value.
        #[inline(always)]
        pub fn load<O: AcquireOrRelaxed>(&self, _: O) -> T {
            // SAFETY: Valid and aligned. Volatile: `READ_ONCE()`.
            let value = unsafe { self.as_ptr().read_volatile() };
            if matches!(O::TYPE, OrderingType::Acquire) {
                barrier();
            }
            value
        }

        /// Sets the value.
        #[inline(always)]
        pub fn store<O: ReleaseOrRelaxed>(&self, value: T, _: O) {
            if matches!(O::TYPE, OrderingType::Release) {
                barrier();
            }
            // SAFETY: Valid and aligned. Volatile: `WRITE_ONCE()`.
            unsafe { self.as_ptr().write_volatile(value) }
        }

        /// Sets the value; the one before.
        #[inline(always)]
        pub fn xchg<O: Ordering>(&self, value: T, _: O) -> T {
            // SAFETY: Valid and aligned, and shared with atomic accesses only.
            unsafe { T::xchg(self.as_ptr(), value) }
        }

        /// Sets the value to `new` if it is `old`; otherwise, which it is.
        #[inline(always)]
        pub fn cmpxchg<O: Ordering>(&self, old: T, new: T, _: O) -> Result<T, T> {
            // SAFETY: As above.
            let seen = unsafe { T::cmpxchg(self.as_ptr(), old, new) };
            if seen.same(old) {
                Ok(seen)
            } else {
                Err(seen)
            }
        }
    }

    impl<T: Number> HotAtomic<T> {
        /// Adds, wrapping around; the value before.
        #[inline(always)]
        pub fn fetch_add<O: Ordering>(&self, value: T, _: O) -> T {
            // SAFETY: As above.
            unsafe { T::fetch_add(self.as_ptr(), value) }
        }

        /// Subtracts, wrapping around; the value before.
        #[inline(always)]
        pub fn fetch_sub<O: Ordering>(&self, value: T, _: O) -> T {
            // SAFETY: As above.
            unsafe { T::fetch_add(self.as_ptr(), value.negated()) }
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_atomic)]
mod tests {
    use super::*;

    /// Both types do the same, at the ends of the range.
    macro_rules! check {
        ($atomic:ident, $ty:ty) => {{
            let (min, max) = (<$ty>::MIN, <$ty>::MAX);
            let a = $atomic::new(min);
            assert_eq!(a.load(Acquire), min);
            a.store(max, Release);
            assert_eq!(a.load(Relaxed), max);
            assert_eq!(a.xchg(7, Full), max);
            assert_eq!(a.cmpxchg(8, 1, Full), Err(7));
            assert_eq!(a.cmpxchg(7, max, Relaxed), Ok(7));
            assert_eq!(a.fetch_add(2, Release), max);
            assert_eq!(a.load(Relaxed), max.wrapping_add(2));
            assert_eq!(a.fetch_sub(3, Acquire), max.wrapping_add(2));
            assert_eq!(a.load(Relaxed), max.wrapping_sub(1));
        }};
    }

    /// A neighbour on each side, to see that each access has the size of the type.
    struct Between<N, A>(N, A, N);

    #[test]
    fn numbers() {
        check!(Atomic, i32);
        check!(Atomic, u64);
        check!(HotAtomic, i32);
        check!(HotAtomic, u32);
        check!(HotAtomic, i64);
        check!(HotAtomic, u64);
        check!(HotAtomic, usize);
    }

    #[test]
    fn bytes_and_flags() {
        let b = Between(-1i8, HotAtomic::new(5i8), -1i8);
        assert_eq!(b.1.xchg(-128, Full), 5);
        assert_eq!(b.1.cmpxchg(0, 1, Full), Err(-128));
        assert_eq!(b.1.cmpxchg(-128, 127, Full), Ok(-128));
        b.1.store(0, Relaxed);
        assert_eq!((b.0, b.1.load(Relaxed), b.2), (-1, 0, -1));
        let b = Between(true, HotAtomic::new(false), true);
        assert!(!b.1.xchg(true, Acquire) && b.1.xchg(true, Acquire));
        assert_eq!(b.1.cmpxchg(false, true, Full), Err(true));
        b.1.store(false, Release);
        assert!(b.0 && !b.1.load(Acquire) && b.2);
    }

    #[test]
    fn words_and_pointers() {
        let b = Between(u32::MAX, HotAtomic::new(0u32), u32::MAX);
        assert_eq!(b.1.fetch_sub(1, Full), 0);
        assert_eq!(b.1.fetch_add(1, Full), u32::MAX);
        assert_eq!((b.0, b.1.load(Relaxed), b.2), (u32::MAX, 0, u32::MAX));
        let (mut x, mut y) = (1, 2);
        let (x, y) = (&raw mut x, &raw mut y);
        let a = HotAtomic::new(x);
        assert_eq!(a.cmpxchg(y, y, Full), Err(x));
        assert_eq!(a.cmpxchg(x, y, Full), Ok(x));
        assert_eq!(a.xchg(core::ptr::null_mut(), Full), y);
        assert!(a.load(Acquire).is_null());
    }
}
