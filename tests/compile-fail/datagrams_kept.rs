// SPDX-License-Identifier: GPL-2.0
//~ E0277
//! What the UDP layer received at once, with routes that nobody counts, stays where the callback is:
//! no object takes it, nor does a static. Each datagram may go.

use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::SpinLock;
use wgk::{
    rcu::RcuObject,
    skbuff::{
        Datagram,
        Datagrams, //
    },
    udp_tunnel::UdpReceiver, //
};

/// What would be for later.
#[cfg(misuse)]
type Kept = Datagrams;
/// What may be for later.
#[cfg(not(misuse))]
type Kept = Datagram;

/// Keeps the last one.
#[pin_data]
pub struct Keeper {
    #[pin]
    last: SpinLock<Option<Kept>>,
}

impl Keeper {
    /// Keeps none yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            last <- new_spinlock!(None),
        })
    }
}

impl RcuObject for Keeper {}

impl UdpReceiver for Keeper {
    fn receive(this: &Self, datagrams: Datagrams) {
        #[cfg(misuse)]
        let last = Some(datagrams);
        #[cfg(not(misuse))]
        let last = datagrams.last();
        *this.last.lock() = last;
    }
}
