// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! Only a packet with its headers in place is handed up.

use wgk::{
    napi::NapiContext,
    skbuff::SkBuff, //
};

/// Hands it up.
pub fn deliver(napi: &NapiContext<'_>, skb: SkBuff) {
    #[cfg(misuse)]
    let packet = skb;
    #[cfg(not(misuse))]
    let Ok(packet) = skb.prepare_rx(0, 20) else {
        return;
    };
    napi.gro_receive(packet);
}
