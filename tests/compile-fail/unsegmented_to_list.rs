// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! Lists, whose packets are sealed and sent, have none that is still to be segmented, nor one with a
//! route.

use wgk::{
    skb_list::SkbList,
    skbuff::TxPacket, //
};

/// Adds what is to be sent.
pub fn stage(list: &mut SkbList, packet: TxPacket<'_>) {
    #[cfg(misuse)]
    list.push_back(packet);
    #[cfg(not(misuse))]
    if let Ok(segments) = packet.gso_segment() {
        list.append(segments);
    }
}
