// SPDX-License-Identifier: GPL-2.0
//! What the fuzz targets share: how a string of bytes becomes a series of operations.
//!
//! Everything is read from front to back and has a fixed width, so that a change of one byte
//! changes one operation, and cutting or inserting some changes the series. Past the end there
//! are zeros, so that every string means something.

/// The bytes that the fuzzer made, as a source of operations.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// From the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left: the end of the series.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..head.len()].copy_from_slice(head);
        bytes
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next 16 bytes.
    pub fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.array())
    }

    /// The lowest bit of the next byte.
    pub fn bool(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// Less than `end`, which is at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.u8()) % end
    }

    /// The next `len` bytes, or as many as there are.
    pub fn slice(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Changes `bytes` as the input says: nothing, single bits, or a stretch that is overwritten.
pub fn mutate(input: &mut Input<'_>, bytes: &mut [u8]) {
    match input.below(4) {
        0 => {}
        1 | 2 => {
            for _ in 0..=input.below(3) {
                let (at, mask) = (usize::from(input.u8()), input.u8());
                let at = at % bytes.len();
                bytes[at] ^= mask;
            }
        }
        _ => {
            let (at, len) = (input.below(bytes.len()), input.below(33));
            let new = input.slice(len.min(bytes.len() - at));
            bytes[at..at + new.len()].copy_from_slice(new);
        }
    }
}
