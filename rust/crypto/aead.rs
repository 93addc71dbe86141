// SPDX-License-Identifier: GPL-2.0
//! ChaCha20-Poly1305 in place, without associated data, put together from its two primitives.
//!
//! The library's function computes the key of the authenticator apart from the rest: 64 bytes of
//! key stream, for which its vector code is not used. That costs as much as several hundred bytes of data.
//! Here that block comes out of the same call as the key stream of the data (sealing), or of
//! a call for two blocks or more (opening, where the tag is checked before anything is decrypted).
//! The lengths, the last thing to be authenticated, are written where the tag will be or was, so that
//! the authenticator is called once.
//!
//! No `unsafe` and no kernel types: [`super`] has the primitives. The host tests compile this file
//! over others.
//!
//! Safety review: `Documentation/safety.md#cryptoaeadrs`.

use super::{
    ct_eq,
    poly1305,
    zeroize,
    ChaCha20,
    Secret,
    TAG_LEN, //
};

/// Bytes of key stream in a block.
const BLOCK: usize = 64;

/// Bytes in front of the data that [`seal_in_place`] writes to.
pub const FRONT: usize = BLOCK;

/// What opening begins with is key stream of two blocks, for the authenticator and the data's first,
const TWO: usize = 2 * BLOCK;
/// or of as many as four, if that is all that the data needs.
const FOUR: usize = 4 * BLOCK;

/// The tag of `text` but for its last [`TAG_LEN`] bytes, which are overwritten. `key` is what the
/// first block of key stream begins with.
#[inline]
fn authenticate(key: &[u8; 32], text: &mut [u8]) -> [u8; TAG_LEN] {
    let (data, place) = text.split_at_mut(text.len().saturating_sub(TAG_LEN));
    // Of the associated data, of which there is none, and of the data.
    let mut lengths = [0; TAG_LEN];
    lengths[TAG_LEN / 2..].copy_from_slice(&(data.len() as u64).to_le_bytes());
    match data.len() % TAG_LEN {
        0 if place.len() == TAG_LEN => {
            place.copy_from_slice(&lengths);
            poly1305(key, &[text])
        }
        odd => poly1305(key, &[data, &[0; TAG_LEN][odd..], &lengths]),
    }
}

/// Combines `data` with as much of `stream`, a word at a time.
#[inline]
fn xor(data: &mut [u8], stream: &[u8]) {
    const WORD: usize = size_of::<u64>();
    let mut words = data.chunks_exact_mut(WORD);
    let mut with = stream.chunks_exact(WORD);
    for (word, with) in words.by_ref().zip(with.by_ref()) {
        let mut sum = [0; WORD];
        sum.copy_from_slice(word);
        let mut other = [0; WORD];
        other.copy_from_slice(with);
        let sum = u64::from_ne_bytes(sum) ^ u64::from_ne_bytes(other);
        word.copy_from_slice(&sum.to_ne_bytes());
    }
    let rest = words.into_remainder();
    let done = stream.len() - stream.len() % WORD;
    for (byte, with) in rest.iter_mut().zip(&stream[done..]) {
        *byte ^= with;
    }
}

/// Seals what is in `buffer` between the first [`FRONT`] bytes, which are overwritten, and the last
/// [`TAG_LEN`], which become the tag.
///
/// False, and nothing done, if the buffer is shorter than both.
#[must_use]
pub fn seal_in_place(buffer: &mut [u8], nonce: u64, key: &[u8; 32]) -> bool {
    if buffer.len() < FRONT + TAG_LEN {
        return false;
    }
    let end = buffer.len() - TAG_LEN;
    buffer[..FRONT].fill(0);
    ChaCha20::new(key, nonce).apply(&mut buffer[..end]);
    let (block, text) = buffer.split_at_mut(FRONT);
    let Some(key) = block.first_chunk() else {
        return false;
    };
    let tag = authenticate(key, text);
    zeroize(block);
    buffer[end..].copy_from_slice(&tag);
    true
}

/// Checks the tag at the end of `text` and decrypts what is in front of it.
///
/// False, and nothing decrypted, if the tag is wrong or `text` too short to have one. The bytes of
/// the tag are overwritten.
#[must_use]
pub fn open_in_place(text: &mut [u8], nonce: u64, key: &[u8; 32]) -> bool {
    if text.len() <= FOUR - BLOCK + TAG_LEN {
        open::<FOUR>(text, nonce, key)
    } else {
        open::<TWO>(text, nonce, key)
    }
}

#[inline]
fn open<const STREAM: usize>(text: &mut [u8], nonce: u64, key: &[u8; 32]) -> bool {
    let Some(len) = text.len().checked_sub(TAG_LEN) else {
        return false;
    };
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&text[len..]);
    // The data that the first call is for. It is for one block at least, even if there is less data:
    // two blocks are computed by vector code, a single one is not.
    let first = len.min(STREAM - BLOCK);
    let mut cipher = ChaCha20::new(key, nonce);
    let mut stream = Secret::<STREAM>::zero();
    let stream = stream.as_mut_bytes();
    cipher.apply(&mut stream[..BLOCK + first.max(BLOCK)]);
    let Some(key) = stream.first_chunk() else {
        return false;
    };
    if !ct_eq(&authenticate(key, text), &tag) {
        return false;
    }
    let (head, rest) = text[..len].split_at_mut(first);
    xor(head, &stream[BLOCK..BLOCK + first]);
    if !rest.is_empty() {
        // `first` was a whole block, or several, so this goes on where the first call ended.
        cipher.apply(rest);
    }
    true
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wgk_aead))]
mod tests {
    use super::super::aead_seal;
    use super::*;

    /// More than two of the longest runs of blocks that vector code does at once.
    const LONGEST: usize = 1100;

    fn key() -> [u8; 32] {
        core::array::from_fn(|i| 0x80 + i as u8)
    }

    /// Data that differs from byte to byte.
    fn pattern(out: &mut [u8]) {
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = (i * 7 + i / 256) as u8;
        }
    }

    /// Seals a pattern of that length; the sealed text.
    fn sealed(buffer: &mut [u8; FRONT + LONGEST + TAG_LEN], len: usize, nonce: u64) -> &mut [u8] {
        let buffer = &mut buffer[..FRONT + len + TAG_LEN];
        buffer.fill(0x55);
        pattern(&mut buffer[FRONT..FRONT + len]);
        assert!(seal_in_place(buffer, nonce, &key()));
        let (front, text) = buffer.split_at_mut(FRONT);
        // Nothing of the key stream stays.
        assert!(front.iter().all(|b| *b == 0));
        text
    }

    /// Made with OpenSSL.
    #[test]
    fn known_answers() {
        let whole = [
            0xe1, 0xbe, 0x1a, 0xed, 0x0b, 0xc6, 0x5d, 0xc9, 0x67, 0xa6, 0x25, 0xf1, 0x6d, 0xb7,
            0xdd, 0x49, 0xbe, 0xa4, 0xfd, 0x88, 0x1b, 0x4a, 0xe9, 0xce, 0xd4, 0x4d, 0x04, 0x4d,
            0x78, 0x48, 0x98, 0x61, 0x25, 0x01, 0x4b, 0x9d, 0x16, 0x95, 0xdd, 0xf6, 0x3d, 0x6d,
            0xf9, 0x25, 0x90, 0x7c, 0xc8, 0x16, 0x4b, 0x48, 0x85, 0xe1, 0xf5, 0x7f, 0xd9, 0x59,
            0x7a, 0x8d, 0x06, 0xa5, 0x24, 0xd6, 0xf1, 0x56, 0x90, 0xdb, 0xae, 0x33, 0x11, 0xf8,
            0x19, 0x20, 0xc6, 0x00, 0x29, 0x9c, 0xb7, 0x97, 0x86, 0x12, 0xd4, 0xb2, 0x2c, 0x57,
            0x3f, 0xb4, 0x15, 0x68, 0x71, 0xad, 0xa4, 0x45, 0xa0, 0x61, 0xc4, 0xde, 0x00, 0x94,
            0x05, 0x1f, 0x0d, 0x8f, 0xf3, 0x61, 0x5f, 0xdb, 0xe1, 0x66, 0x35, 0x3d, 0x9b, 0x38,
        ];
        let mut buffer = [0; FRONT + LONGEST + TAG_LEN];
        assert!(*sealed(&mut buffer, 96, 0x0807_0605_0403_0201) == whole);
        let tags = [
            (0, 0xa8723e006e3f7d7cb70e88cfc0358047),
            (1, 0x2f4b4ac14c9cb96bc11a7a3257684f23),
            (16, 0xc8f1dffe7849500f7b57647000feb3a6),
            (193, 0x81fcc2ce384b0f786f8e10719f2291d8),
            (300, 0xf1ba5b65efac39b110bf2e47fff6c184),
            (1100, 0x8f373ef08d81eedab09f42174a6bd598),
        ];
        for (len, tag) in tags {
            let text = sealed(&mut buffer, len, 0x0807_0605_0403_0201);
            assert!(text[len..] == u128::to_be_bytes(tag));
        }
    }

    /// At every length, the same as the whole function of the library, and back.
    #[test]
    fn every_length() {
        let secret = Secret::from_bytes(key());
        let mut plain = [0; LONGEST];
        pattern(&mut plain);
        let mut buffer = [0; FRONT + LONGEST + TAG_LEN];
        let mut expected = [0; LONGEST + TAG_LEN];
        for len in 0..=LONGEST {
            let nonce = (len as u64).wrapping_mul(0x0123_4567_89ab_cdef);
            let text = sealed(&mut buffer, len, nonce);
            let expected = &mut expected[..len + TAG_LEN];
            assert!(aead_seal(expected, &plain[..len], &[], nonce, &secret));
            assert!(*text == *expected);
            assert!(open_in_place(text, nonce, &key()));
            assert!(text[..len] == plain[..len]);
        }
    }

    /// What is not authentic is neither accepted nor decrypted.
    #[test]
    fn forgeries() {
        let mut buffer = [0; FRONT + LONGEST + TAG_LEN];
        let mut before = [0; LONGEST];
        for len in [0, 1, 16, 63, 64, 96, 192, 193, 208, 512, LONGEST] {
            for bit in [0, len * 4, len * 8, len * 8 + 127] {
                let text = sealed(&mut buffer, len, 7);
                text[bit / 8] ^= 1 << (bit % 8);
                before[..len].copy_from_slice(&text[..len]);
                assert!(!open_in_place(text, 7, &key()));
                assert!(text[..len] == before[..len]);
            }
            assert!(!open_in_place(sealed(&mut buffer, len, 7), 8, &key()));
            assert!(open_in_place(sealed(&mut buffer, len, 7), 7, &key()));
        }
    }

    #[test]
    fn too_short() {
        let mut buffer = [3; FRONT + TAG_LEN];
        assert!(!seal_in_place(&mut buffer[1..], 1, &key()));
        assert!(!open_in_place(&mut buffer[..TAG_LEN - 1], 1, &key()));
        assert!(!open_in_place(&mut [], 1, &key()));
        assert!(buffer.iter().all(|b| *b == 3));
    }
}
