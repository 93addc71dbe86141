// SPDX-License-Identifier: GPL-2.0

//! The primitives of WireGuard, from the kernel's crypto library.
//!
//! Any context but hardirq, except Curve25519, which is slow and for process context.
//!
//! C headers: [`include/crypto/chacha20poly1305.h`](srctree/include/crypto/chacha20poly1305.h),
//! [`include/crypto/curve25519.h`](srctree/include/crypto/curve25519.h),
//! [`include/crypto/blake2s.h`](srctree/include/crypto/blake2s.h)
//!
//! Safety review: `Documentation/safety.md#cryptors`.

use crate::bindings;
use core::{
    ffi::{
        c_int,
        c_uint, //
    },
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
};

pub mod aead;

/// Bytes that an AEAD adds to what it seals.
pub const TAG_LEN: usize = 16;

/// Overwrites `bytes` with zeros, even if nothing reads them any more.
#[inline]
fn zeroize(bytes: &mut [u8]) {
    // SAFETY: The pointer is valid for writes of this many bytes.
    unsafe { bindings::memzero_explicit(bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// Levels of `burn_stack`: 8000 bytes. What computes with keys needs less than 4000, more with
/// KASAN, whose stacks are larger.
#[cfg(not(CONFIG_KASAN))]
const BURN_LEVELS: u32 = 5;
#[cfg(CONFIG_KASAN)]
const BURN_LEVELS: u32 = 8;

/// Runs `f`, then overwrites the part of the stack that it used.
///
/// What computes with keys leaves copies of them in its frames: where moved values were, in
/// spilled registers, in temporaries of the C library. The stack of a worker outlives the module.
/// What `f` returns lies in the caller's frame, so it should not be a secret.
///
/// Process context, with half of the stack left.
#[inline]
pub fn without_traces<R>(f: impl FnOnce() -> R) -> R {
    // Not inlined, lest `f` use the caller's frame, which is not overwritten.
    #[inline(never)]
    fn apart<R>(f: impl FnOnce() -> R) -> R {
        f()
    }

    let result = apart(f);
    // SAFETY: The frames are the callee's own. With them, a stack of 16 KiB is half full, one of
    // KASAN's (32 KiB or more) as well; an overflow would hit a guard page.
    unsafe { bindings::burn_stack(BURN_LEVELS) };
    result
}

/// Compares in time that depends on the lengths only.
#[inline]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        // SAFETY: Both pointers are valid for reads of this many bytes.
        && !unsafe { bindings::crypto_memneq(a.as_ptr().cast(), b.as_ptr().cast(), a.len()) }
}

/// `N` bytes that are overwritten with zeros when dropped, and that are neither printed nor
/// compared in a way that time would tell.
///
/// Moving a `Secret` leaves its old bytes where it was, as any move does. So either keep it where it
/// is made, with [`zero`](Self::zero) in its final place and [`as_mut_bytes`](Self::as_mut_bytes) to
/// fill it, and hand on references; or move it only within [`without_traces`].
#[repr(transparent)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// A secret of these bytes. The caller's copy is the caller's to overwrite.
    #[inline]
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// All zeros.
    #[inline]
    pub const fn zero() -> Self {
        Self([0; N])
    }

    /// The bytes.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be written.
    #[inline]
    pub fn as_mut_bytes(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// Whether all bytes are zero; takes the same time whatever they are.
    #[inline]
    pub fn is_zero_ct(&self) -> bool {
        ct_eq(&self.0, &[0; N])
    }

    /// Whether both are the same; takes the same time whatever they are.
    #[inline]
    pub fn ct_eq(&self, other: &Self) -> bool {
        ct_eq(&self.0, &other.0)
    }
}

impl<const N: usize> Clone for Secret<N> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<const N: usize> Drop for Secret<N> {
    #[inline]
    fn drop(&mut self) {
        zeroize(&mut self.0);
    }
}

/// The longest BLAKE2s hash, and the longest key.
const BLAKE2S_MAX: usize = 32;

/// BLAKE2s, in pieces.
///
/// # Invariants
///
/// `ctx` is initialised, and its `outlen` is between 1 and 32.
pub struct Blake2s {
    ctx: bindings::blake2s_ctx,
}

impl Blake2s {
    /// Begins a hash of `outlen` bytes: 1 to 32, other values are taken for the nearest of them.
    #[inline]
    pub fn new(outlen: usize) -> Self {
        Self::keyed(outlen, &[])
    }

    /// Begins a keyed hash; of a key longer than 32 bytes the rest is ignored, and an empty key is
    /// no key.
    #[inline]
    pub fn keyed(outlen: usize, key: &[u8]) -> Self {
        let key = &key[..key.len().min(BLAKE2S_MAX)];
        let mut ctx = MaybeUninit::<bindings::blake2s_ctx>::zeroed();
        // SAFETY: `ctx` is valid for writes, `key` for reads of this many bytes, both lengths are
        // within what BLAKE2s knows.
        unsafe {
            bindings::blake2s_init(
                ctx.as_mut_ptr().cast(),
                outlen.clamp(1, BLAKE2S_MAX),
                key.as_ptr(),
                key.len(),
            )
        };
        // INVARIANT: Initialised, with an `outlen` within bounds.
        Self {
            // SAFETY: Integers, zeroed and then set.
            ctx: unsafe { ctx.assume_init() },
        }
    }

    /// Adds data.
    #[inline]
    pub fn update(&mut self, data: &[u8]) {
        // SAFETY: The context is initialised, `data` valid for reads of this many bytes.
        unsafe { bindings::blake2s_update((&raw mut self.ctx).cast(), data.as_ptr(), data.len()) }
    }

    /// Ends the hash, and writes as much of it as `out` has room for; `out` should be exactly as
    /// long as it.
    #[inline]
    pub fn finish(self, out: &mut [u8]) {
        // What is left of the state is zeroed by `blake2s_final`.
        let mut this = ManuallyDrop::new(self);
        let outlen = this.ctx.outlen as usize;
        if out.len() == outlen {
            // SAFETY: The context is initialised, `out` is valid for writes of `outlen` bytes.
            unsafe { bindings::blake2s_final((&raw mut this.ctx).cast(), out.as_mut_ptr()) };
        } else {
            let mut hash = Secret::<BLAKE2S_MAX>::zero();
            // SAFETY: The context is initialised, and `outlen` at most the length of `hash`.
            unsafe { bindings::blake2s_final((&raw mut this.ctx).cast(), hash.0.as_mut_ptr()) };
            let len = out.len().min(outlen);
            out[..len].copy_from_slice(&hash.0[..len]);
        }
    }
}

impl Drop for Blake2s {
    fn drop(&mut self) {
        // SAFETY: The context is ours and consists of integers.
        unsafe {
            bindings::memzero_explicit(
                (&raw mut self.ctx).cast(),
                size_of::<bindings::blake2s_ctx>(),
            )
        }
    }
}

/// The BLAKE2s hash of the concatenated `parts`, of `N` bytes (1 to 32, checked when compiled),
/// keyed unless `key` is empty.
#[inline]
pub fn blake2s<const N: usize>(key: &[u8], parts: &[&[u8]]) -> [u8; N] {
    const {
        assert!(N >= 1 && N <= BLAKE2S_MAX);
    }
    let mut state = Blake2s::keyed(N, key);
    for part in parts {
        state.update(part);
    }
    let mut out = [0; N];
    state.finish(&mut out);
    out
}

/// X25519; `None` if the result is all zeros, as it is for a public key of low order.
///
/// Process context.
pub fn x25519(secret: &Secret<32>, public: &[u8; 32]) -> Option<Secret<32>> {
    let mut shared = Secret::zero();
    // SAFETY: All pointers are valid for 32 bytes.
    unsafe {
        bindings::curve25519(
            shared.as_mut_bytes().as_mut_ptr(),
            secret.as_bytes().as_ptr(),
            public.as_ptr(),
        )
    }
    .then_some(shared)
}

/// The public key of `secret`; `None` if that is all zeros.
///
/// Process context.
pub fn x25519_public(secret: &Secret<32>) -> Option<[u8; 32]> {
    let mut public = [0; 32];
    // SAFETY: Both pointers are valid for 32 bytes.
    unsafe { bindings::curve25519_generate_public(public.as_mut_ptr(), secret.as_bytes().as_ptr()) }
        .then_some(public)
}

/// Makes a secret key of 32 random bytes.
#[inline]
pub fn x25519_clamp(secret: &mut Secret<32>) {
    let bytes = secret.as_mut_bytes();
    bytes[0] &= 248;
    bytes[31] = (bytes[31] & 127) | 64;
}

/// The ChaCha20 key stream of one message, for [`aead`].
struct ChaCha20(bindings::chacha_state);

impl ChaCha20 {
    /// The stream of `key` and `nonce`, from its start.
    #[inline]
    fn new(key: &[u8; 32], nonce: u64) -> Self {
        let mut x = [0; 16];
        // "expand 32-byte k"
        x[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        for (word, bytes) in x[4..12].iter_mut().zip(key.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        // 12 and 13 count the blocks, in WireGuard's way of making a nonce.
        x[14] = nonce as u32;
        x[15] = (nonce >> 32) as u32;
        Self(bindings::chacha_state { x })
    }

    /// Combines `data` with the next bytes of the stream. But for the last call, `data` must be
    /// whole blocks of 64 bytes; what is left of one is lost.
    #[inline]
    fn apply(&mut self, data: &mut [u8]) {
        const ROUNDS: c_int = 20;
        // The length is a `c_uint`; whole blocks, again.
        for part in data.chunks_mut(1 << 30) {
            let at = part.as_mut_ptr();
            // SAFETY: The state is ours, `at` is valid for this many bytes, and source and
            // destination may be the same.
            unsafe { bindings::chacha_crypt(&mut self.0, at, at, part.len() as c_uint, ROUNDS) };
        }
    }
}

impl Drop for ChaCha20 {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The state is ours and consists of integers.
        unsafe { bindings::memzero_explicit((&raw mut self.0).cast(), size_of_val(&self.0)) }
    }
}

/// The Poly1305 tag of the concatenated `parts`, for [`aead`]; the key is for this one message.
#[inline]
fn poly1305(key: &[u8; 32], parts: &[&[u8]]) -> [u8; TAG_LEN] {
    // Made here and used up here: a context that moved would be copied each time.
    let mut ctx = MaybeUninit::<bindings::poly1305_desc_ctx>::uninit();
    let mut tag = [0; TAG_LEN];
    // SAFETY: `ctx` is valid for a context and initialised by the first call, `key` for 32 bytes,
    // each part for reads of its length, and `tag` for the 16 bytes of one.
    unsafe {
        bindings::poly1305_init(ctx.as_mut_ptr(), key.as_ptr());
        // The length is a `c_uint`.
        for part in parts.iter().flat_map(|part| part.chunks(1 << 30)) {
            bindings::poly1305_update(ctx.as_mut_ptr(), part.as_ptr(), part.len() as c_uint);
        }
        // Zeroes the context.
        bindings::poly1305_final(ctx.as_mut_ptr(), tag.as_mut_ptr());
    }
    tag
}

/// ChaCha20-Poly1305: encrypts `plain` into `dst` and appends the tag.
///
/// False, and nothing done, unless `dst` is [`TAG_LEN`] longer than `plain`.
#[must_use]
pub fn aead_seal(dst: &mut [u8], plain: &[u8], ad: &[u8], nonce: u64, key: &Secret<32>) -> bool {
    if plain.len().checked_add(TAG_LEN) != Some(dst.len()) {
        return false;
    }
    // SAFETY: All pointers are valid for their lengths, and `dst` for the tag as well.
    unsafe {
        bindings::chacha20poly1305_encrypt(
            dst.as_mut_ptr(),
            plain.as_ptr(),
            plain.len(),
            ad.as_ptr(),
            ad.len(),
            nonce,
            key.as_bytes().as_ptr(),
        )
    };
    true
}

/// ChaCha20-Poly1305: checks the tag at the end of `sealed` and decrypts the rest into `dst`.
///
/// False, and `dst` untouched, if the tag is wrong or `dst` is not [`TAG_LEN`] shorter than
/// `sealed`.
#[must_use]
pub fn aead_open(dst: &mut [u8], sealed: &[u8], ad: &[u8], nonce: u64, key: &Secret<32>) -> bool {
    if dst.len().checked_add(TAG_LEN) != Some(sealed.len()) {
        return false;
    }
    // SAFETY: All pointers are valid for their lengths; `dst` lacks the tag, which is not written.
    unsafe {
        bindings::chacha20poly1305_decrypt(
            dst.as_mut_ptr(),
            sealed.as_ptr(),
            sealed.len(),
            ad.as_ptr(),
            ad.len(),
            nonce,
            key.as_bytes().as_ptr(),
        )
    }
}

/// XChaCha20-Poly1305; otherwise as [`aead_seal`].
#[must_use]
pub fn xaead_seal(
    dst: &mut [u8],
    plain: &[u8],
    ad: &[u8],
    nonce: &[u8; 24],
    key: &Secret<32>,
) -> bool {
    if plain.len().checked_add(TAG_LEN) != Some(dst.len()) {
        return false;
    }
    // SAFETY: All pointers are valid for their lengths, and `dst` for the tag as well.
    unsafe {
        bindings::xchacha20poly1305_encrypt(
            dst.as_mut_ptr(),
            plain.as_ptr(),
            plain.len(),
            ad.as_ptr(),
            ad.len(),
            nonce.as_ptr(),
            key.as_bytes().as_ptr(),
        )
    };
    true
}

/// XChaCha20-Poly1305; otherwise as [`aead_open`].
#[must_use]
pub fn xaead_open(
    dst: &mut [u8],
    sealed: &[u8],
    ad: &[u8],
    nonce: &[u8; 24],
    key: &Secret<32>,
) -> bool {
    if dst.len().checked_add(TAG_LEN) != Some(sealed.len()) {
        return false;
    }
    // SAFETY: All pointers are valid for their lengths; `dst` lacks the tag, which is not written.
    unsafe {
        bindings::xchacha20poly1305_decrypt(
            dst.as_mut_ptr(),
            sealed.as_ptr(),
            sealed.len(),
            ad.as_ptr(),
            ad.len(),
            nonce.as_ptr(),
            key.as_bytes().as_ptr(),
        )
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::macros::kunit_tests(wgk_crypto)]
mod tests {
    use super::*;

    /// RFC 7693, appendix B.
    #[test]
    fn blake2s_vector() {
        let want = [
            0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2, 0xe1, 0xa7, 0x2b, 0xa3, 0x4e, 0xeb,
            0x45, 0x2f, 0x37, 0x45, 0x8b, 0x20, 0x9e, 0xd6, 0x3a, 0x29, 0x4d, 0x99, 0x9b, 0x4c,
            0x86, 0x67, 0x59, 0x82,
        ];
        assert!(blake2s::<32>(&[], &[b"a", b"", b"bc"]) == want);
        // Lengths that do not fit are made to.
        let mut state = Blake2s::new(99);
        state.update(b"abc");
        let mut out = [0; 40];
        state.finish(&mut out);
        assert!(out[..32] == want && out[32..] == [0; 8]);
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn x25519_vector() {
        let a = Secret::from_bytes([
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ]);
        let bob = [
            0xde, 0x9e, 0xdb, 0x7d, 0x7b, 0x7d, 0xc1, 0xb4, 0xd3, 0x5b, 0x61, 0xc2, 0xec, 0xe4,
            0x35, 0x37, 0x3f, 0x83, 0x43, 0xc8, 0x5b, 0x78, 0x67, 0x4d, 0xad, 0xfc, 0x7e, 0x14,
            0x6f, 0x88, 0x2b, 0x4f,
        ];
        let shared = Secret::from_bytes([
            0x4a, 0x5d, 0x9d, 0x5b, 0xa4, 0xce, 0x2d, 0xe1, 0x72, 0x8e, 0x3b, 0xf4, 0x80, 0x35,
            0x0f, 0x25, 0xe0, 0x7e, 0x21, 0xc9, 0x47, 0xd1, 0x9e, 0x33, 0x76, 0xf0, 0x9b, 0x3c,
            0x1e, 0x16, 0x17, 0x42,
        ]);
        assert!(x25519(&a, &bob).is_some_and(|s| s.ct_eq(&shared)));
        assert!(x25519(&a, &[0; 32]).is_none());
        assert!(x25519_public(&Secret::zero()).is_none());
    }

    #[test]
    fn aead_lengths_and_tags() {
        let key = Secret::from_bytes([7; 32]);
        let mut sealed = [0; 3 + TAG_LEN];
        let mut plain = [0; 3];
        assert!(!aead_seal(&mut sealed[1..], b"abc", b"", 1, &key));
        assert!(aead_seal(&mut sealed, b"abc", b"ad", 1, &key));
        assert!(aead_open(&mut plain, &sealed, b"ad", 1, &key) && plain == *b"abc");
        assert!(!aead_open(&mut plain, &sealed, b"ad", 2, &key));
        assert!(!aead_open(&mut plain, &sealed, b"AD", 1, &key));
        assert!(!aead_open(&mut plain[1..], &sealed, b"ad", 1, &key));
        assert!(xaead_seal(&mut sealed, b"abc", b"ad", &[1; 24], &key));
        plain = [0; 3];
        assert!(!xaead_open(&mut plain, &sealed, b"ad", &[2; 24], &key) && plain == [0; 3]);
        assert!(xaead_open(&mut plain, &sealed, b"ad", &[1; 24], &key) && plain == *b"abc");
    }
}
