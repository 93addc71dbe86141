// SPDX-License-Identifier: GPL-2.0
//~ lifetime may not live long enough
//! A packet with a route lives no longer than the callback that got it; what it is turned into does.

use wgk::{
    skb_list::SkbList,
    skbuff::TxPacket, //
};

/// What may be kept for ever.
#[cfg(misuse)]
pub type Kept = TxPacket<'static>;
/// What may be kept for ever.
#[cfg(not(misuse))]
pub type Kept = SkbList;

/// For later.
pub fn keep(packet: TxPacket<'_>) -> Option<Kept> {
    #[cfg(misuse)]
    let kept = Some(packet);
    #[cfg(not(misuse))]
    let kept = packet.gso_segment().ok();
    kept
}
