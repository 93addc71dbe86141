// SPDX-License-Identifier: GPL-2.0
//! Random numbers that the seed decides.

use crate::module_parameters;
use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

/// Where random numbers are asked for, each with a sequence of its own.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Setup,
    Newlink,
    Registered,
    Open,
    Stop,
    Xmit,
    Receive,
    Poll,
    Uninit,
    Destroyed,
    Exit,
    Fired,
    Ran,
    Dropped,
    PerCpu,
    Worker,
}

const KINDS: usize = Kind::Worker as usize + 1;

static TIMES: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];

/// How often each kind of callback was there.
pub(super) fn times() -> [u64; KINDS] {
    TIMES.each_ref().map(|times| times.load(Relaxed))
}

/// xorshift64*.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn of(kind: Kind) -> Self {
        let times = TIMES[kind as usize].fetch_add(1, Relaxed);
        Self::seeded((kind as u64) << 48 | times)
    }

    pub(super) fn seeded(stream: u64) -> Self {
        let seed = *module_parameters::seed.value_ref();
        let mut x =
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 30).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((x ^ x >> 31) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 33) as usize) % limit
    }
}
