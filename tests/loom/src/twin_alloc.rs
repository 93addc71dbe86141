// SPDX-License-Identifier: GPL-2.0
//! Stand-ins for the kernel's boxes and vectors. What was in them is destroyed when they go, the
//! memory is kept until the execution ends: who still looks there finds the destroyed atomics of
//! [`crate::atomic`], which say so.

use std::{
    any::Any,
    cell::{
        Cell,
        RefCell, //
    },
    mem::ManuallyDrop,
    ops::{
        Deref,
        DerefMut, //
    },
    pin::Pin,
    ptr::NonNull, //
};

/// The allocation failed. It never does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError;

/// `gfp_t`.
#[derive(Clone, Copy)]
pub struct Flags(());

/// Flags.
pub mod flags {
    use super::Flags;

    /// May sleep.
    pub const GFP_KERNEL: Flags = Flags(());
    /// May not.
    pub const GFP_ATOMIC: Flags = Flags(());
}
pub use flags::{
    GFP_ATOMIC,
    GFP_KERNEL, //
};

// All threads of an execution are coroutines of one thread, which runs one test.
thread_local! {
    static GONE: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    static ALIVE: Cell<usize> = const { Cell::new(0) };
}

/// To be called when an execution begins.
pub(crate) fn begin() {
    GONE.take();
    ALIVE.set(0);
}

/// Boxes that there are.
pub(crate) fn alive() -> usize {
    ALIVE.get()
}

/// Keeps memory.
pub(crate) fn keep(memory: impl Any) {
    GONE.with_borrow_mut(|gone| gone.push(Box::new(memory)));
}

/// Counts things that must be gone in the end.
pub(crate) fn count(by: isize) {
    ALIVE.set(ALIVE.get().wrapping_add_signed(by));
}

/// `KBox`.
pub struct KBox<T>(NonNull<T>);

// SAFETY: As a box.
unsafe impl<T: Send> Send for KBox<T> {}
// SAFETY: As a box.
unsafe impl<T: Sync> Sync for KBox<T> {}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as in kernel")]
impl<T> KBox<T> {
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        count(1);
        Ok(Self(NonNull::from(Box::leak(Box::new(value)))))
    }

    /// Only for what can be moved.
    pub fn try_pin_init(init: impl FnOnce() -> T, flags: Flags) -> Result<Pin<Self>, AllocError> {
        // SAFETY: Never moved out of.
        Ok(unsafe { Pin::new_unchecked(Self::new(init(), flags)?) })
    }

    pub fn into_raw(this: Self) -> *mut T {
        ManuallyDrop::new(this).0.as_ptr()
    }

    /// # Safety
    ///
    /// `ptr` must come from `into_raw`, and be used once.
    pub unsafe fn from_raw(ptr: *mut T) -> Self {
        Self(NonNull::new(ptr).expect("a pointer to something"))
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: It is ours.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        /// Memory of a box, to be freed without anything in it.
        struct Memory<T>(*mut T);

        impl<T> Drop for Memory<T> {
            fn drop(&mut self) {
                // SAFETY: From a box, whose content was dropped.
                drop(unsafe { Box::from_raw(self.0.cast::<ManuallyDrop<T>>()) });
            }
        }

        let memory = Memory(self.0.as_ptr());
        // SAFETY: It is ours, and not used after.
        unsafe { self.0.drop_in_place() };
        count(-1);
        // `T` may be borrowed from the execution, so not `Any`: erase it.
        let erased: Box<dyn Erased + '_> = Box::new(memory);
        // SAFETY: `T` is dropped, only its size and alignment still count.
        keep(unsafe { std::mem::transmute::<Box<dyn Erased + '_>, Box<dyn Erased>>(erased) });
    }
}

/// Anything.
trait Erased {}
impl<T> Erased for T {}

/// `KVVec`.
pub struct KVVec<T: 'static>(ManuallyDrop<Vec<T>>);
/// `KVec`.
pub type KVec<T> = KVVec<T>;

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as in kernel")]
impl<T> KVVec<T> {
    pub const fn new() -> Self {
        Self(ManuallyDrop::new(Vec::new()))
    }

    pub fn with_capacity(capacity: usize, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Self(ManuallyDrop::new(Vec::with_capacity(capacity))))
    }

    pub fn push(&mut self, value: T, _flags: Flags) -> Result<(), AllocError> {
        self.0.push(value);
        Ok(())
    }
}

impl<T> Default for KVVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> Drop for KVVec<T> {
    fn drop(&mut self) {
        // SAFETY: Not used after.
        let mut all = unsafe { ManuallyDrop::take(&mut self.0) };
        // SAFETY: As many as there are, each dropped once.
        unsafe {
            let (first, len) = (all.as_mut_ptr(), all.len());
            all.set_len(0);
            std::ptr::slice_from_raw_parts_mut(first, len).drop_in_place();
        }
        keep(all);
    }
}
