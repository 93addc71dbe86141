// SPDX-License-Identifier: GPL-2.0
//~ E0616
//! The socket of one family does not come into the place of the other.

use wgk::udp_tunnel::{
    SocketPair,
    UdpReceiver, //
};

/// The port.
pub fn port<T: UdpReceiver>(pair: &mut SocketPair<T>) -> u16 {
    #[cfg(misuse)]
    if let Some(v6) = pair.v6.as_mut() {
        core::mem::swap(&mut pair.v4, v6);
    }
    pair.port()
}
