// SPDX-License-Identifier: GPL-2.0
//! Twin of `wgk::rcu` whose cells can be copied, compared and hashed. What RCU is about is tested
//! elsewhere (`tests/host-wgk`, `tests/loom`): here one event happens at a time.

use std::{
    hash::{
        Hash,
        Hasher, //
    },
    marker::PhantomData,
    ops::Deref,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Objects that can live in an [`RcuArc`].
pub trait RcuObject: Send + Sync + 'static {}

/// A reference.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct RcuArc<T>(Arc<T>);

impl<T> RcuArc<T> {
    /// Puts `value` on the heap.
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for RcuArc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for RcuArc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A read-side critical section.
pub struct Guard(());

/// Begins one.
pub fn read_lock() -> Guard {
    Guard(())
}

/// A borrowed look at an object.
pub struct RcuRef<'g, T>(RcuArc<T>, PhantomData<&'g T>);

impl<T> RcuRef<'_, T> {
    /// Takes a reference.
    pub fn try_get(self) -> Option<RcuArc<T>> {
        Some(self.0)
    }
}

impl<T> Deref for RcuRef<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A place for a reference, or none.
#[derive(Debug)]
pub struct RcuCell<T>(Mutex<Option<RcuArc<T>>>);

impl<T> RcuCell<T> {
    /// None.
    pub const fn empty() -> Self {
        Self(Mutex::new(None))
    }

    fn get(&self) -> Option<RcuArc<T>> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// A look at what is there.
    pub fn load<'g>(&self, _guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        self.get().map(|r| RcuRef(r, PhantomData))
    }

    /// Puts something else there.
    pub fn swap(&self, value: Option<RcuArc<T>>) -> Option<RcuArc<T>> {
        std::mem::replace(&mut self.0.lock().expect("nobody panics with it"), value)
    }

    /// Whether that object is there.
    pub fn points_to(&self, object: &T) -> bool {
        self.get().is_some_and(|r| std::ptr::eq(&*r, object))
    }
}

impl<T> Clone for RcuCell<T> {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.get()))
    }
}

impl<T: PartialEq> PartialEq for RcuCell<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for RcuCell<T> {}

impl<T: Hash> Hash for RcuCell<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.get().hash(state);
    }
}
