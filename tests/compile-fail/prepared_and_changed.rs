// SPDX-License-Identifier: GPL-2.0
//~ E0624
//! A packet that is ready to be handed up is nothing else any more.

use wgk::{
    napi::NapiContext,
    skbuff::SkBuff, //
};

/// Hands it up.
pub fn deliver(napi: &NapiContext<'_>, skb: SkBuff) {
    let Ok(packet) = skb.prepare_rx(0, 20) else {
        return;
    };
    #[cfg(misuse)]
    packet.into_raw();
    #[cfg(not(misuse))]
    napi.gro_receive(packet);
    let _ = napi;
}
