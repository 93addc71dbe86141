// SPDX-License-Identifier: GPL-2.0
//~ E0277
//! A packet with a route stays where the callback is; what it is turned into may go.

use wgk::skbuff::TxPacket;

/// Asks for what can go to another thread.
fn away<T: Send>(_: T) {}

/// Has it sent by another.
pub fn hand_over(packet: TxPacket<'_>) {
    #[cfg(misuse)]
    away(packet);
    #[cfg(not(misuse))]
    away(packet.gso_segment().ok());
}
