// SPDX-License-Identifier: GPL-2.0

//! SipHash-2-4, a keyed hash for tables that an attacker may try to degrade.
//!
//! Any context.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)
//!
//! Safety review: `Documentation/safety.md#siphashrs`.

use crate::{
    bindings,
    random, //
};

/// A key.
#[derive(Clone)]
pub struct SipKey(kernel::bindings::siphash_key_t);

impl SipKey {
    /// A random key.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        random::fill(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// The key of these bytes, as in the paper: two little-endian words.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let n = u128::from_le_bytes(bytes);
        Self(kernel::bindings::siphash_key_t {
            key: [n as u64, (n >> 64) as u64],
        })
    }
}

/// Hashes `data`.
#[inline]
pub fn siphash(data: &[u8], key: &SipKey) -> u64 {
    // SAFETY: Both pointers are valid for reads, of `len` bytes and of a key.
    unsafe { bindings::siphash(data.as_ptr().cast(), data.len(), (&raw const key.0).cast()) }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_siphash)]
mod tests {
    use super::*;

    /// The example of the paper's appendix A: 15 bytes 0..=14, key 0..=15.
    #[test]
    fn paper_vector() {
        let mut key = [0; 16];
        let mut data = [0; 15];
        for (i, b) in key.iter_mut().enumerate() {
            *b = i as u8;
        }
        for (i, b) in data.iter_mut().enumerate() {
            *b = i as u8;
        }
        assert_eq!(
            siphash(&data, &SipKey::from_bytes(key)),
            0xa129_ca61_49be_45e5
        );
    }
}
