// SPDX-License-Identifier: GPL-2.0
//! Twin of `wgk::crypto` with the equations of the real one and nothing of its strength: what is
//! different stays different (but for collisions of 128 bits), what is opened with the right key
//! opens, with another one it doesn't, and both sides of an exchange agree. Nobody here attacks.

/// Length of a tag.
const TAG_LEN: usize = 16;

/// `N` bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the bytes.
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// All zero.
    pub const fn zero() -> Self {
        Self([0; N])
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be written in place.
    pub fn as_mut_bytes(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// Whether all bytes are zero.
    pub fn is_zero_ct(&self) -> bool {
        self.0 == [0; N]
    }

    /// Whether both are equal.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self == other
    }
}

/// Whether both are equal.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a == b
}

/// An unfinished hash: two lanes of FNV-1a, stirred in the end.
pub struct Blake2s([u64; 2]);

impl Blake2s {
    /// Starts a hash of `outlen` bytes.
    pub fn new(outlen: usize) -> Self {
        Self::keyed(outlen, &[])
    }

    /// Starts a keyed hash.
    pub fn keyed(outlen: usize, key: &[u8]) -> Self {
        let mut this = Self([0xcbf2_9ce4_8422_2325, 0x6c62_272e_07bb_0142]);
        this.update(&[outlen as u8, key.len() as u8]);
        this.update(key);
        this
    }

    /// Appends `data`.
    pub fn update(&mut self, data: &[u8]) {
        for byte in data {
            self.0[0] = (self.0[0] ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            self.0[1] = (self.0[1] ^ u64::from(*byte))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
    }

    /// Writes the hash to `out`.
    pub fn finish(self, out: &mut [u8]) {
        for (n, chunk) in (0u64..).zip(out.chunks_mut(8)) {
            let mut word = self.0[n as usize % 2].wrapping_add(n);
            word = (word ^ word >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word ^= word >> 29;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Hash of the concatenated `parts`.
pub fn blake2s<const N: usize>(key: &[u8], parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut hash = Blake2s::keyed(N, key);
    for part in parts {
        hash.update(part);
    }
    hash.finish(&mut out);
    out
}

/// The public key of `secret`; `None` if the secret is zero.
pub fn x25519_public(secret: &Secret<32>) -> Option<[u8; 32]> {
    (!secret.is_zero_ct()).then(|| blake2s(b"public", &[&secret.0]))
}

/// What both sides of an exchange compute.
pub fn x25519(secret: &Secret<32>, public: &[u8; 32]) -> Option<Secret<32>> {
    let own = x25519_public(secret)?;
    let (a, b) = if own < *public {
        (&own, public)
    } else {
        (public, &own)
    };
    Some(Secret(blake2s(b"shared", &[a, b])))
}

/// Every 32 bytes are a secret.
pub fn x25519_clamp(_secret: &mut Secret<32>) {}

fn tag(key: &[u8], nonce: &[u8], ad: &[u8], plain: &[u8]) -> [u8; TAG_LEN] {
    blake2s(key, &[nonce, &[ad.len() as u8], ad, plain])
}

fn seal(dst: &mut [u8], plain: &[u8], ad: &[u8], nonce: &[u8], key: &[u8]) -> bool {
    if dst.len() != plain.len() + TAG_LEN {
        return false;
    }
    dst[..plain.len()].copy_from_slice(plain);
    dst[plain.len()..].copy_from_slice(&tag(key, nonce, ad, plain));
    true
}

fn open(dst: &mut [u8], sealed: &[u8], ad: &[u8], nonce: &[u8], key: &[u8]) -> bool {
    if dst.len() + TAG_LEN != sealed.len() {
        return false;
    }
    let (plain, sealed_tag) = sealed.split_at(dst.len());
    dst.copy_from_slice(plain);
    tag(key, nonce, ad, plain) == sealed_tag
}

/// `plain` to `dst`, which is 16 bytes longer; `false` if it is not.
#[must_use]
pub fn aead_seal(dst: &mut [u8], plain: &[u8], ad: &[u8], nonce: u64, key: &Secret<32>) -> bool {
    seal(dst, plain, ad, &nonce.to_le_bytes(), &key.0)
}

/// `sealed` to `dst`, which is 16 bytes shorter; `false` if it is not, or if the tag is wrong.
#[must_use]
pub fn aead_open(dst: &mut [u8], sealed: &[u8], ad: &[u8], nonce: u64, key: &Secret<32>) -> bool {
    open(dst, sealed, ad, &nonce.to_le_bytes(), &key.0)
}

/// As [`aead_seal`].
#[must_use]
pub fn xaead_seal(
    dst: &mut [u8],
    plain: &[u8],
    ad: &[u8],
    nonce: &[u8; 24],
    key: &Secret<32>,
) -> bool {
    seal(dst, plain, ad, nonce, &key.0)
}

/// As [`aead_open`].
#[must_use]
pub fn xaead_open(
    dst: &mut [u8],
    sealed: &[u8],
    ad: &[u8],
    nonce: &[u8; 24],
    key: &Secret<32>,
) -> bool {
    open(dst, sealed, ad, nonce, &key.0)
}
