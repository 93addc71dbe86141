// SPDX-License-Identifier: GPL-2.0
//~ E0499
//! Nobody moves the bytes of a packet while somebody looks at them.

use wgk::skbuff::Datagram;

/// The first byte, and whether there are more.
pub fn first(datagram: Datagram) -> Option<(u8, bool)> {
    let mut packet = datagram.udp_payload().ok()?;
    let head = packet.head(1)?;
    #[cfg(misuse)]
    let more = packet.head(100).is_some();
    let first = *head.first()?;
    #[cfg(not(misuse))]
    let more = packet.head(100).is_some();
    Some((first, more))
}
