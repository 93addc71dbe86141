// SPDX-License-Identifier: GPL-2.0
//~ E0599
//! A device whose registration has failed must not be told of: it is freed without looking at who still
//! has it.

use wgk::netdevice::{
    NetDevice,
    RegisteredDevice, //
};

/// What `newlink` and `uninit` are given.
#[cfg(misuse)]
type Dev = NetDevice;
/// What a cell, `open`, `stop` and `xmit` give.
#[cfg(not(misuse))]
type Dev = RegisteredDevice;

/// The size of its packets, when it has no carrier.
pub fn off(dev: &Dev, other: &NetDevice) -> u32 {
    dev.carrier_off();
    dev.mtu() + other.mtu()
}
