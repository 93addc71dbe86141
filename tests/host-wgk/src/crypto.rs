// SPDX-License-Identifier: GPL-2.0
//! Twin of `rust/crypto.rs`: BLAKE2s, Curve25519 and ChaCha20-Poly1305 over published crates.

use chacha20poly1305::{
    aead::generic_array::GenericArray,
    AeadInPlace,
    ChaCha20Poly1305,
    KeyInit,
    XChaCha20Poly1305, //
};
use zeroize::Zeroize;

/// The file of the kernel's crate, over the primitives below.
#[path = "../../../rust/crypto/aead.rs"]
pub mod aead;

const TAG_LEN: usize = 16;

fn zeroize(bytes: &mut [u8]) {
    bytes.zeroize();
}

/// A key stream.
struct ChaCha20(chacha20::ChaCha20);

impl ChaCha20 {
    fn new(key: &[u8; 32], nonce: u64) -> Self {
        use chacha20::cipher::KeyIvInit;
        Self(chacha20::ChaCha20::new(
            key.into(),
            &counter_nonce(nonce).into(),
        ))
    }

    fn apply(&mut self, data: &mut [u8]) {
        use chacha20::cipher::{StreamCipher, StreamCipherSeek};
        self.0.apply_keystream(data);
        // As in the kernel, what is left of a block is lost.
        let at: u64 = self.0.current_pos();
        self.0.seek(at.next_multiple_of(64));
    }
}

/// The tag of the concatenated `parts`.
fn poly1305(key: &[u8; 32], parts: &[&[u8]]) -> [u8; TAG_LEN] {
    use poly1305::universal_hash::KeyInit;
    poly1305::Poly1305::new(key.into())
        .compute_unpadded(&parts.concat())
        .into()
}

/// `N` secret bytes, wiped when dropped.
#[derive(Clone)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the bytes. The caller's copy is the caller's to wipe.
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

    /// Whether all bytes are zero, in constant time.
    pub fn is_zero_ct(&self) -> bool {
        ct_eq(&self.0, &[0; N])
    }

    /// Whether both are equal, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        ct_eq(&self.0, &other.0)
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whether both are equal, in time that depends on the lengths only.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    let differ = |bits: u8, (x, y): (&u8, &u8)| bits | (x ^ y);
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, differ)) == 0
}

/// An unfinished BLAKE2s hash.
pub struct Blake2s(blake2s_simd::State);

impl Blake2s {
    /// Starts a hash of `outlen` bytes (clamped to 1..=32).
    pub fn new(outlen: usize) -> Self {
        Self::keyed(outlen, &[])
    }

    /// Starts a keyed hash; an empty key is none, one above 32 bytes is cut.
    pub fn keyed(outlen: usize, key: &[u8]) -> Self {
        let state = blake2s_simd::Params::new()
            .hash_length(outlen.clamp(1, 32))
            .key(&key[..key.len().min(32)])
            .to_state();
        Self(state)
    }

    /// Appends `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Writes the hash to `out`, whose length is that given at the start.
    pub fn finish(self, out: &mut [u8]) {
        let hash = self.0.finalize();
        let len = out.len().min(hash.as_bytes().len());
        out[..len].copy_from_slice(&hash.as_bytes()[..len]);
    }
}

/// BLAKE2s of the concatenated `parts` with an `N` byte result; an empty key is none.
pub fn blake2s<const N: usize>(key: &[u8], parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut hash = Blake2s::keyed(N, key);
    for part in parts {
        hash.update(part);
    }
    hash.finish(&mut out);
    out
}

/// Diffie-Hellman; `None` if the result is zero, as it is with a public key of low order.
pub fn x25519(secret: &Secret<32>, public: &[u8; 32]) -> Option<Secret<32>> {
    let shared = Secret(x25519_dalek::x25519(secret.0, *public));
    (!shared.is_zero_ct()).then_some(shared)
}

/// The public key of `secret`; `None` if the secret is zero.
pub fn x25519_public(secret: &Secret<32>) -> Option<[u8; 32]> {
    if secret.is_zero_ct() {
        return None;
    }
    Some(x25519_dalek::x25519(
        secret.0,
        x25519_dalek::X25519_BASEPOINT_BYTES,
    ))
}

/// Makes any 32 bytes a Curve25519 secret.
pub fn x25519_clamp(secret: &mut Secret<32>) {
    secret.0[0] &= 248;
    secret.0[31] = secret.0[31] & 127 | 64;
}

fn seal<C: AeadInPlace>(dst: &mut [u8], plain: &[u8], ad: &[u8], nonce: &[u8], cipher: &C) -> bool {
    if dst.len() != plain.len() + TAG_LEN {
        return false;
    }
    let (body, tag) = dst.split_at_mut(plain.len());
    body.copy_from_slice(plain);
    let nonce = GenericArray::from_slice(nonce);
    match cipher.encrypt_in_place_detached(nonce, ad, body) {
        Ok(computed) => tag.copy_from_slice(&computed),
        Err(_) => return false,
    }
    true
}

fn open<C: AeadInPlace>(
    dst: &mut [u8],
    sealed: &[u8],
    ad: &[u8],
    nonce: &[u8],
    cipher: &C,
) -> bool {
    if dst.len() + TAG_LEN != sealed.len() {
        return false;
    }
    let (body, tag) = sealed.split_at(dst.len());
    dst.copy_from_slice(body);
    let (nonce, tag) = (
        GenericArray::from_slice(nonce),
        GenericArray::from_slice(tag),
    );
    cipher
        .decrypt_in_place_detached(nonce, ad, dst, tag)
        .is_ok()
}

/// The 12-byte ChaCha20-Poly1305 nonce of a counter: four zero bytes, then little endian.
fn counter_nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// ChaCha20-Poly1305: `plain` to `dst`, which is 16 bytes longer; `false` if it is not.
#[must_use]
pub fn aead_seal(dst: &mut [u8], plain: &[u8], ad: &[u8], nonce: u64, key: &Secret<32>) -> bool {
    let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
    seal(dst, plain, ad, &counter_nonce(nonce), &cipher)
}

/// ChaCha20-Poly1305: `sealed` to `dst`, which is 16 bytes shorter; `false` if it is not, or if
/// the tag is wrong (what `dst` holds then means nothing).
#[must_use]
pub fn aead_open(dst: &mut [u8], sealed: &[u8], ad: &[u8], nonce: u64, key: &Secret<32>) -> bool {
    let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
    open(dst, sealed, ad, &counter_nonce(nonce), &cipher)
}

/// XChaCha20-Poly1305, otherwise as [`aead_seal`].
#[must_use]
pub fn xaead_seal(
    dst: &mut [u8],
    plain: &[u8],
    ad: &[u8],
    nonce: &[u8; 24],
    key: &Secret<32>,
) -> bool {
    let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
    seal(dst, plain, ad, nonce, &cipher)
}

/// XChaCha20-Poly1305, otherwise as [`aead_open`].
#[must_use]
pub fn xaead_open(
    dst: &mut [u8],
    sealed: &[u8],
    ad: &[u8],
    nonce: &[u8; 24],
    key: &Secret<32>,
) -> bool {
    let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
    open(dst, sealed, ad, nonce, &cipher)
}
