// SPDX-License-Identifier: GPL-2.0
//~ E0599
//! The counters of a device come with its registration.

use wgk::netdevice::{
    NetDevice,
    RegisteredDevice, //
};

/// Counts a packet.
#[cfg(misuse)]
pub fn count(dev: &NetDevice) {
    dev.rx_stats_add(1, 100);
}
/// Counts a packet.
#[cfg(not(misuse))]
pub fn count(dev: &RegisteredDevice) {
    let _: &NetDevice = dev;
    dev.rx_stats_add(1, 100);
}
