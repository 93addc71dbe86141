// SPDX-License-Identifier: GPL-2.0

//! Networks as bit strings, for both address families.

use core::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};

/// [`Prefix::family`] of IPv4.
pub(super) const V4: u8 = 0;
/// [`Prefix::family`] of IPv6.
pub(super) const V6: u8 = 1;

/// A network: the first `len` bits of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Left-aligned; bits from `len` on are zero.
    pub(super) bits: u128,
    /// At most 32 or 128.
    pub(super) len: u8,
    pub(super) family: u8,
}

/// Bits in half of the longest address.
const HALF: u8 = 64;

impl Prefix {
    /// The first `len` bits of `addr`, all of them if it has fewer.
    pub(super) fn new(addr: IpAddr, len: u8) -> Self {
        let (bits, width, family) = match addr {
            IpAddr::V4(a) => (u128::from(a.to_bits()) << 96, 32, V4),
            IpAddr::V6(a) => (a.to_bits(), 128, V6),
        };
        Self {
            bits,
            len: width,
            family,
        }
        .shortened(len)
    }

    /// The first `len` bits of this prefix, all of them if it has fewer.
    pub(super) fn shortened(self, len: u8) -> Self {
        let len = len.min(self.len);
        // The bits that stay, of a half that `len` bits are left for.
        let keep = |len: u8| !u64::MAX.checked_shr(u32::from(len)).unwrap_or(0);
        let (high, low) = (keep(len), keep(len.saturating_sub(HALF)));
        Self {
            bits: self.bits & ((u128::from(high) << HALF) | u128::from(low)),
            len,
            ..self
        }
    }

    /// The first and the last 64 bits. Most is done with these: arithmetic of 128 bits costs a
    /// multiple.
    #[inline]
    pub(super) fn halves(self) -> (u64, u64) {
        // CAST: Halves.
        ((self.bits >> HALF) as u64, self.bits as u64)
    }

    /// The bit after the first `len` ones, as an index.
    #[inline]
    pub(super) fn bit(self, len: u8) -> usize {
        let (high, low) = self.halves();
        let word = if len & HALF == 0 { high } else { low };
        // CAST: One bit.
        (word.wrapping_shl(u32::from(len)) >> 63) as usize
    }

    /// How many bits both begin with.
    #[inline]
    pub(super) fn common(self, other: Self) -> u8 {
        let (high, low) = self.halves();
        let (other_high, other_low) = other.halves();
        // CAST: At most 64, each.
        let same = match (high ^ other_high).leading_zeros() as u8 {
            HALF => HALF + (low ^ other_low).leading_zeros() as u8,
            same => same,
        };
        same.min(self.len).min(other.len)
    }

    /// The network's address.
    pub(super) fn addr(self) -> IpAddr {
        if self.family == V4 {
            // CAST: The rest is zero.
            IpAddr::V4(Ipv4Addr::from_bits((self.bits >> 96) as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(self.bits))
        }
    }
}
