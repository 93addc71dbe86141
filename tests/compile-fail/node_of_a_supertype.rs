// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! A field whose type is a subtype of the one that the macro is told is of another type.

/// What takes any reference passes for what takes one for ever: a subtype.
#[cfg(misuse)]
pub type Field = for<'a> fn(&'a u8);
/// The same.
#[cfg(not(misuse))]
pub type Field = fn(&'static u8);

/// Has the field.
pub struct Object {
    field: Field,
}

wgk::impl_has_field! { impl HasField<fn(&'static u8)> for Object { self.field } }
