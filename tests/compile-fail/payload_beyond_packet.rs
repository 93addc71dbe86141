// SPDX-License-Identifier: GPL-2.0
//~ E0505
//! The bytes of a packet go with it.

use wgk::skbuff::SkBuff;

/// The first byte.
pub fn first(skb: SkBuff) -> Option<u8> {
    let mut packet = skb.udp_payload().ok()?;
    let head = packet.head(1)?;
    #[cfg(misuse)]
    packet.into_inner().consume();
    head.first().copied()
}
