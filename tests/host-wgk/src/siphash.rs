// SPDX-License-Identifier: GPL-2.0
//! Twin of `rust/siphash.rs`: SipHash-2-4 with a 64-bit result, over the crate `siphasher`.

use std::hash::{
    BuildHasher,
    Hasher, //
};

/// A secret 128-bit key.
#[derive(Clone)]
pub struct SipKey([u64; 2]);

impl SipKey {
    /// A key from the thread's random state: good enough for tests.
    pub fn random() -> Self {
        let word = || {
            std::collections::hash_map::RandomState::new()
                .build_hasher()
                .finish()
        };
        Self([word(), word()])
    }

    /// A known key: two little-endian words.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(bytes);
        Self([word as u64, (word >> 64) as u64])
    }
}

/// SipHash-2-4 of `data`.
pub fn siphash(data: &[u8], key: &SipKey) -> u64 {
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(key.0[0], key.0[1]);
    hasher.write(data);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the SipHash reference implementation (key 00..0f, input 00..len).
    #[test]
    fn reference_vectors() {
        let key = SipKey::from_bytes(core::array::from_fn(|n| n as u8));
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(&[], &key), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash(&input, &key), 0xa129_ca61_49be_45e5);
    }
}
