// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! What the UDP layer received is a packet only after its headers were checked.

use wgk::{
    skb_list::SkbList,
    skbuff::Datagram, //
};

/// Queues it.
pub fn queue(list: &mut SkbList, datagram: Datagram) {
    #[cfg(misuse)]
    list.push_back(datagram);
    #[cfg(not(misuse))]
    if let Ok(packet) = datagram.udp_payload() {
        list.push_back(packet.into_inner());
    }
}
