// SPDX-License-Identifier: GPL-2.0
//~ E0382
//! A packet that was handed up is the stack's.

use wgk::{
    napi::NapiContext,
    skbuff::RxPacket, //
};

/// Hands it up.
pub fn deliver(napi: &NapiContext<'_>, packet: RxPacket) {
    napi.gro_receive(packet);
    #[cfg(misuse)]
    drop(packet);
}
