// SPDX-License-Identifier: GPL-2.0
//~ E0133
//! A field of a union is not there in every value.

/// One or the other.
#[derive(Clone, Copy)]
#[cfg(misuse)]
pub union Either {
    a: u64,
    _b: (),
}

/// Both.
#[derive(Clone, Copy)]
#[cfg(not(misuse))]
pub struct Either {
    a: u64,
    _b: (),
}

wgk::impl_has_field! { impl HasField<u64> for Either { self.a } }
