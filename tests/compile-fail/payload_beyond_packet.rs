// SPDX-License-Identifier: GPL-2.0
//~ E0505
//! The bytes of a packet go with it.

use wgk::skbuff::Datagram;

/// The first byte.
pub fn first(datagram: Datagram) -> Option<u8> {
    let mut packet = datagram.udp_payload().ok()?;
    let head = packet.head(1)?;
    #[cfg(misuse)]
    packet.into_inner().consume();
    head.first().copied()
}
