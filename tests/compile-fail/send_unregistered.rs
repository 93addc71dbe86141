// SPDX-License-Identifier: GPL-2.0
//~ E0308
//! What a tunnel sends is counted by a registered device: one that is being made has no counters yet.

use wgk::{
    netdevice::{
        NetDevice,
        RegisteredDevice, //
    },
    skbuff::SkBuff,
    udp_tunnel::{
        xmit,
        Endpoint,
        How,
        SocketPair,
        UdpReceiver,
        Xmit, //
    },
};

/// What `newlink` and `uninit` are given.
#[cfg(misuse)]
type Dev = NetDevice;
/// What `open` and `xmit` are given.
#[cfg(not(misuse))]
type Dev = RegisteredDevice;

/// Sends.
pub fn send<T: UdpReceiver>(
    pair: &SocketPair<T>,
    skb: SkBuff,
    to: &Endpoint,
    dev: &Dev,
    _other: &NetDevice,
) -> Xmit {
    xmit(pair, skb, to, dev, &How::PLAIN, 0, None)
}
