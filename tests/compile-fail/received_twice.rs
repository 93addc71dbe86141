// SPDX-License-Identifier: GPL-2.0
//~ E0599
//! A packet's outer headers are taken off once; another time would look for them inside.

use wgk::skbuff::Datagram;

/// Its payload.
pub fn payload(datagram: Datagram) -> Option<usize> {
    let packet = datagram.udp_payload().ok()?;
    #[cfg(misuse)]
    let packet = packet.into_inner().udp_payload().ok()?;
    Some(packet.len())
}
