// SPDX-License-Identifier: GPL-2.0
//! Chance that a seed repeats (splitmix64).

/// A sequence of numbers that its seed decides.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`, which is not zero.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let value = self.next().to_le_bytes();
            chunk.copy_from_slice(&value[..chunk.len()]);
        }
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.fill(&mut bytes);
        bytes
    }
}

/// What mutation is left when nothing is known about what is in the bytes: bits flipped, cut, grown,
/// overwritten.
pub fn mangle(rng: &mut Rng, data: &mut Vec<u8>) {
    match rng.below(8) {
        0..=2 if !data.is_empty() => {
            for _ in 0..rng.range(1, 8) {
                let bit = rng.below(data.len() * 8);
                data[bit / 8] ^= 1 << (bit % 8);
            }
        }
        3 => data.truncate(rng.below(data.len() + 1)),
        4 => {
            let more = rng.range(1, 300);
            let more = rng.bytes(more);
            data.extend(more);
        }
        5 if !data.is_empty() => {
            let from = rng.below(data.len());
            let to = rng.range(from + 1, data.len());
            rng.fill(&mut data[from..to]);
        }
        6 if data.len() >= 4 => {
            let at = rng.below(data.len() - 3);
            let value = *rng.pick(&[
                0,
                1,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                0xffff,
                0x0100_0000,
            ]);
            data[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        7 if data.len() > 16 => {
            // A piece that is missing, or twice.
            let at = rng.below(data.len() - 8);
            let len = rng.range(1, 8);
            let piece: Vec<u8> = data.drain(at..at + len).collect();
            if rng.chance(50) {
                let to = rng.below(data.len() + 1);
                data.splice(to..to, piece);
            }
        }
        _ => data.clear(),
    }
}
