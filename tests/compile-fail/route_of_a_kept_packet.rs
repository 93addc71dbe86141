// SPDX-License-Identifier: GPL-2.0
//~ E0599
//! What can be kept has no route to ask about; what was found out before is kept beside it.

use wgk::{
    skb_list::SkbList,
    skbuff::TxPacket, //
};

/// Its packets, each with the MTU of its route.
pub fn segments(packet: TxPacket<'_>) -> Option<SkbList> {
    let mtu = packet.dst_mtu().unwrap_or(1420);
    let mut list = packet.gso_segment().ok()?;
    let mut first = list.pop_front()?;
    #[cfg(misuse)]
    let mtu = first.dst_mtu().unwrap_or(mtu);
    first.set_mtu(mtu);
    list.push_back(first);
    Some(list)
}
