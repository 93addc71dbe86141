// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! Only a packet with its headers in place is handed up.

use wgk::{
    napi::NapiContext,
    netdevice::NetDevice,
    skbuff::SkBuff, //
};

/// Hands it up.
pub fn deliver(napi: &NapiContext<'_>, dev: &NetDevice, skb: SkBuff) {
    #[cfg(misuse)]
    let packet = (dev, skb).1;
    #[cfg(not(misuse))]
    let Ok(packet) = skb.prepare_rx(dev, 0, 20) else {
        return;
    };
    napi.gro_receive(packet);
}
