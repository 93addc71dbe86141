// SPDX-License-Identifier: GPL-2.0

//! Validation policies of netlink attributes, built at compile time.
//!
//! A table is an array of [`Policy`], indexed by attribute type; [`table`] makes one from pairs.
//!
//! ```ignore
//! static INNER: [Policy; 3] = policy::table(&[(1, Policy::U16), (2, Policy::min_len(4))]);
//! static OUTER: [Policy; 2] = policy::table(&[(1, Policy::nested_array(&INNER))]);
//! ```
//!
//! C header: [`include/net/netlink.h`](srctree/include/net/netlink.h), `struct nla_policy`.
//!
//! Safety review: `Documentation/safety.md#genetlinkpolicyrs`.

use crate::bindings;

/// How an attribute of one type is validated.
///
/// # Invariants
///
/// A valid `nla_policy`; a pointer in it is to a table of `'static` lifetime with `len + 1`
/// entries.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Policy(bindings::nla_policy);

// SAFETY: Immutable data, and what it points to is as well.
unsafe impl Send for Policy {}
// SAFETY: As above.
unsafe impl Sync for Policy {}

impl Policy {
    /// Attributes of this type are rejected.
    pub const UNSPEC: Self = Self::plain(bindings::NLA_UNSPEC, 0);
    /// One byte.
    pub const U8: Self = Self::plain(bindings::NLA_U8, 0);
    /// A 16-bit number.
    pub const U16: Self = Self::plain(bindings::NLA_U16, 0);
    /// A 32-bit number.
    pub const U32: Self = Self::plain(bindings::NLA_U32, 0);
    /// A 64-bit number.
    pub const U64: Self = Self::plain(bindings::NLA_U64, 0);
    /// No payload; it counts that the attribute is there.
    pub const FLAG: Self = Self::plain(bindings::NLA_FLAG, 0);

    /// `ty` is one of the small constants of the C enum, hence the cast.
    const fn plain(ty: u32, len: u16) -> Self {
        Self(bindings::nla_policy {
            type_: ty as u8,
            len,
            ..pin_init::zeroed()
        })
    }

    const fn validated(ty: u32, how: u32, arg: bindings::nla_policy__bindgen_ty_1) -> Self {
        Self(bindings::nla_policy {
            type_: ty as u8,
            validation_type: how as u8,
            len: 0,
            __bindgen_anon_1: arg,
        })
    }

    const fn range(ty: u32, how: u32, min: u16, max: u16) -> Self {
        assert!(
            min <= i16::MAX as u16 && max <= i16::MAX as u16,
            "bound out of range"
        );
        let mut arg: bindings::nla_policy__bindgen_ty_1 = pin_init::zeroed();
        arg.__bindgen_anon_1 = bindings::nla_policy__bindgen_ty_1__bindgen_ty_1 {
            min: min as i16,
            max: max as i16,
        };
        Self::validated(ty, how, arg)
    }

    /// Bytes, exactly `len` of them (`NLA_POLICY_EXACT_LEN`).
    pub const fn exact_len(len: u16) -> Self {
        Self::range(
            bindings::NLA_BINARY,
            bindings::nla_policy_validation_NLA_VALIDATE_RANGE,
            len,
            len,
        )
    }

    /// Bytes, at least `len` (`NLA_POLICY_MIN_LEN`).
    pub const fn min_len(len: u16) -> Self {
        Self::range(
            bindings::NLA_BINARY,
            bindings::nla_policy_validation_NLA_VALIDATE_MIN,
            len,
            0,
        )
    }

    /// One byte, a number up to `max` (`NLA_POLICY_MAX`).
    pub const fn max_u8(max: u8) -> Self {
        Self::range(
            bindings::NLA_U8,
            bindings::nla_policy_validation_NLA_VALIDATE_MAX,
            0,
            max as u16,
        )
    }

    /// A 32-bit number with no other bits than those of `mask` (`NLA_POLICY_MASK`).
    pub const fn mask_u32(mask: u32) -> Self {
        let mut arg: bindings::nla_policy__bindgen_ty_1 = pin_init::zeroed();
        arg.mask = mask;
        Self::validated(
            bindings::NLA_U32,
            bindings::nla_policy_validation_NLA_VALIDATE_MASK,
            arg,
        )
    }

    /// A string that ends with NUL, of at most `len` bytes before it.
    pub const fn nul_string(len: u16) -> Self {
        Self::plain(bindings::NLA_NUL_STRING, len)
    }

    const fn with_table(ty: u32, table: &'static [Policy]) -> Self {
        let mut arg: bindings::nla_policy__bindgen_ty_1 = pin_init::zeroed();
        // CAST: `Policy` is a transparent wrapper.
        arg.nested_policy = table.as_ptr().cast();
        Self(bindings::nla_policy {
            type_: ty as u8,
            validation_type: 0,
            // INVARIANT: As many entries as the table has.
            len: max_attr(table),
            __bindgen_anon_1: arg,
        })
    }

    /// A list of nests, the types of which do not matter, each with attributes of `table`
    /// (`NLA_POLICY_NESTED_ARRAY`).
    pub const fn nested_array(table: &'static [Policy]) -> Self {
        Self::with_table(bindings::NLA_NESTED_ARRAY, table)
    }
}

/// The highest attribute type that a table knows.
pub(crate) const fn max_attr(table: &[Policy]) -> u16 {
    assert!(
        !table.is_empty() && table.len() <= u16::MAX as usize,
        "a table has 1..=65535 entries"
    );
    (table.len() - 1) as u16
}

/// Makes a table of `N` entries, one more than the highest attribute type; types not in `entries`
/// are rejected.
pub const fn table<const N: usize>(entries: &[(u32, Policy)]) -> [Policy; N] {
    let mut table = [Policy::UNSPEC; N];
    let mut i = 0;
    while i < entries.len() {
        table[entries[i].0 as usize] = entries[i].1;
        i += 1;
    }
    table
}
