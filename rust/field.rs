// SPDX-License-Identifier: GPL-2.0

//! From an embedded field to the object around it, and back.
//!
//! Timers, hash table nodes and list nodes are fields of the objects they belong to. C finds the
//! object with `container_of()`; here the offset is a constant of a trait that only
//! [`impl_has_field!`] (and the macros named after one kind of field) should implement, because
//! the macro checks the type of the field.
//!
//! C header: [`include/linux/container_of.h`](srctree/include/linux/container_of.h)
//!
//! Safety review: `Documentation/safety.md#fieldrs`.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Makes a type invariant in `T`: with neither a subtype nor a supertype of `T` in its place does it
/// pass for itself.
///
/// Traits that are implemented for `T` say where in a `T` a field is, and what is called for it. A
/// subtype of `T` is another type, with implementations of its own. (`'static` does not exclude
/// that: `for<'a> fn(&'a u8)` is a subtype of `fn(&'static u8)`.) So whatever finds fields or
/// functions by `T`, now or when it was made, has this; and so has what takes a `T` in through a
/// shared reference, for what goes in comes out again.
pub(crate) type Invariant<T> = PhantomData<fn(T) -> T>;

/// Types with a field of type `F`, at a known offset.
///
/// # Safety
///
/// A field of type `F` is at byte [`OFFSET`](HasField::OFFSET) of every `Self`, aligned as `F`
/// must be.
pub unsafe trait HasField<F>: Sized {
    /// Where the field is, in bytes from the start of `Self`.
    const OFFSET: usize;

    /// Returns a pointer to the field.
    ///
    /// # Safety
    ///
    /// `this` must point to an allocation of `Self`, which need not be initialised.
    #[inline(always)]
    unsafe fn field_of(this: NonNull<Self>) -> NonNull<F> {
        // SAFETY: By the safety requirements of the trait the field is inside the allocation.
        unsafe { this.byte_add(Self::OFFSET).cast() }
    }

    /// Returns a pointer to the object around the field.
    ///
    /// # Safety
    ///
    /// `field` must point to the field that this trait describes of an allocation of `Self`, and
    /// must have been derived from a pointer to that whole allocation.
    #[inline(always)]
    unsafe fn container_of(field: NonNull<F>) -> NonNull<Self> {
        // SAFETY: By the safety requirements the object starts `OFFSET` bytes before the field.
        unsafe { field.byte_sub(Self::OFFSET).cast() }
    }

    /// Returns the field.
    #[inline(always)]
    fn field(&self) -> &F {
        // SAFETY: By the safety requirements of the trait there is an aligned `F` at `OFFSET`; it
        // is initialised as it is part of `self`, and borrowed for as long as `self`.
        unsafe { Self::field_of(NonNull::from(self)).as_ref() }
    }
}

/// Implements [`HasField`]; does not compile unless the type has a field of that name and type.
///
/// ```ignore
/// impl_has_field! { impl HasField<IndexNode> for Session { self.node } }
/// ```
#[macro_export]
macro_rules! impl_has_field {
    ($(impl HasField<$field_type:ty> for $self:ty { self.$field:ident })*) => {$(
        // SAFETY: `offset_of!` finds the field in `Self` itself, never through `Deref`; the raw
        // pointers, which are invariant, are of one type only if the field's is `$field_type`; an
        // assertion refuses a packed type that would misalign the field. It is initialised in
        // every value, for a union is refused: reading its field is not safe.
        unsafe impl $crate::field::HasField<$field_type> for $self {
            const OFFSET: usize = {
                $crate::field::assert_always_there::<$self>(|this| {
                    let _ = &this.$field;
                });
                $crate::field::assert_field_type::<$self, $field_type>(
                    // SAFETY: Only a place is computed, and by a function that is never called.
                    |this| unsafe { &raw mut (*this).$field },
                );
                let offset = $crate::field::mem::offset_of!($self, $field);
                $crate::field::assert_aligned::<$self, $field_type>(offset);
                offset
            };
        }
    )*};
}
pub use impl_has_field;

/// Helper of [`impl_has_field!`]: `::core` and `assert!` are what the caller's crate has by these names.
#[doc(hidden)]
pub use core::mem;

/// Helper of [`impl_has_field!`].
#[doc(hidden)]
pub const fn assert_aligned<T, F>(offset: usize) {
    assert!(
        offset % align_of::<F>() == 0 && align_of::<T>() >= align_of::<F>(),
        "the field is misaligned"
    );
}

/// Helper of [`impl_has_field!`].
#[doc(hidden)]
pub const fn assert_always_there<T>(_: fn(&T)) {}

/// Helper of [`impl_has_field!`].
#[doc(hidden)]
pub const fn assert_field_type<T, F>(_: fn(*mut T) -> *mut F) {}
