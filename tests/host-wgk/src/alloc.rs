// SPDX-License-Identifier: GPL-2.0

//! Host twin of `wgk::alloc`: the kernel's fallible containers, over std.
//!
//! Every function that allocates takes [`Flags`] and can fail, as in the kernel; on the host it
//! fails when a test asks for it ([`FailNext`]), per thread. What the kernel's containers cannot
//! do (grow without flags) is missing here as well, so that pure code cannot use it by accident.

use std::{
    cell::Cell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

/// The allocation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError;

/// Allocation flags (`gfp_t`). They mean nothing on the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(u32);

/// For process context: the allocation may sleep.
pub const GFP_KERNEL: Flags = Flags(0);
/// For atomic context.
pub const GFP_ATOMIC: Flags = Flags(1);

thread_local! {
    /// Allocations of this thread that still succeed; `None`: all.
    static BUDGET: Cell<Option<u64>> = const { Cell::new(None) };
    /// Allocations that this thread asked for.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// While it lives, allocations of this thread fail once a number of them has succeeded.
#[must_use = "allocations fail only while this value lives"]
pub struct FailNext {
    outer: Option<u64>,
}

impl FailNext {
    /// Lets `successes` allocations of this thread succeed and fails the ones after.
    pub fn after(successes: u64) -> Self {
        Self {
            outer: BUDGET.replace(Some(successes)),
        }
    }
}

impl Drop for FailNext {
    fn drop(&mut self) {
        BUDGET.set(self.outer);
    }
}

/// How many allocations this thread has asked for so far.
pub fn allocations() -> u64 {
    ASKED.get()
}

/// Accounts for one allocation.
pub(crate) fn allocate() -> Result<(), AllocError> {
    ASKED.set(ASKED.get() + 1);
    match BUDGET.get() {
        None => Ok(()),
        Some(0) => Err(AllocError),
        Some(left) => {
            BUDGET.set(Some(left - 1));
            Ok(())
        }
    }
}

/// An owning pointer (`kernel::alloc::KBox`).
#[derive(PartialEq, Eq, Debug)]
pub struct KBox<T: ?Sized>(Box<T>);

impl<T> KBox<T> {
    /// Puts `value` on the heap.
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        allocate()?;
        Ok(Self(Box::new(value)))
    }

    /// Takes the value out of `this`.
    pub fn into_inner(this: Self) -> T {
        *this.0
    }
}

impl<T: ?Sized> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A vector (`kernel::alloc::KVec`).
#[derive(PartialEq, Eq, Debug)]
pub struct KVec<T>(Vec<T>);

/// A vector that may be vmalloc'ed (`kernel::alloc::KVVec`).
pub type KVVec<T> = KVec<T>;

impl<T> KVec<T> {
    /// An empty vector, without memory.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty vector with room for `capacity` elements.
    pub fn with_capacity(capacity: usize, _flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::new();
        v.grow_to(capacity)?;
        Ok(v)
    }

    /// Moves to a larger allocation if `capacity` asks for one.
    fn grow_to(&mut self, capacity: usize) -> Result<(), AllocError> {
        if capacity > self.0.capacity() {
            allocate()?;
            self.0.reserve_exact(capacity - self.0.len());
        }
        Ok(())
    }

    /// Makes room for `additional` more elements.
    pub fn reserve(&mut self, additional: usize, _flags: Flags) -> Result<(), AllocError> {
        let need = self.0.len().checked_add(additional).ok_or(AllocError)?;
        if need > self.0.capacity() {
            self.grow_to(need.max(self.0.capacity() * 2))?;
        }
        Ok(())
    }

    /// Appends `value`.
    pub fn push(&mut self, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.0.push(value);
        Ok(())
    }

    /// Takes the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Shortens the vector to `len` elements, if it is longer.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Drops all elements and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many elements fit without another allocation.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }

    /// Keeps the elements for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(keep);
    }

    /// Moves all elements out and keeps the memory.
    pub fn drain_all(&mut self) -> std::vec::Drain<'_, T> {
        self.0.drain(..)
    }
}

impl<T: Clone> KVec<T> {
    /// Appends copies of `other`'s elements.
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError> {
        self.reserve(other.len(), flags)?;
        self.0.extend_from_slice(other);
        Ok(())
    }

    /// Appends `n` copies of `value`.
    pub fn extend_with(&mut self, n: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(n, flags)?;
        self.0.extend(std::iter::repeat_n(value, n));
        Ok(())
    }

    /// A vector of `n` copies of `value`.
    pub fn from_elem(value: T, n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::with_capacity(n, flags)?;
        v.extend_with(n, value, flags)?;
        Ok(v)
    }

    /// Shortens the vector to `len` elements, or appends copies of `value`.
    pub fn resize(&mut self, len: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        match len.checked_sub(self.0.len()) {
            Some(more) => self.extend_with(more, value, flags),
            None => {
                self.0.truncate(len);
                Ok(())
            }
        }
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a KVec<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut KVec<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fails_when_told_and_keeps_its_elements() {
        let mut v = KVVec::with_capacity(1, GFP_KERNEL).unwrap();
        v.push(1, GFP_KERNEL).unwrap();
        {
            let _fail = FailNext::after(1);
            assert!(KBox::new(5, GFP_ATOMIC).is_ok());
            assert_eq!(v.push(2, GFP_KERNEL), Err(AllocError));
            assert_eq!(KBox::new(5, GFP_ATOMIC), Err(AllocError));
        }
        assert_eq!(v.as_slice(), [1]);
        v.push(2, GFP_KERNEL).unwrap();
        v.resize(4, 9, GFP_KERNEL).unwrap();
        assert_eq!(v.as_slice(), [1, 2, 9, 9]);
    }
}
