// SPDX-License-Identifier: GPL-2.0

//! The constants of a new device.
//!
//! The core adds to these numbers and takes off from them without looking, so each setter keeps
//! what it is given within bounds in which nothing wraps, whatever is added later.
//!
//! Safety review: `Documentation/safety.md#netdevicesetuprs`.

use crate::bindings;
use core::marker::PhantomData;
use kernel::prelude::*;

/// Offloads, as in `include/linux/netdev_features.h`; combined by `|`.
#[derive(Clone, Copy)]
pub struct Features(u64);

impl Features {
    /// Checksums of any protocol, on the way out (`NETIF_F_HW_CSUM`).
    pub const HW_CSUM: Self = Self(bindings::WGK_NETIF_F_HW_CSUM);
    /// Checksums on the way in.
    pub const RXCSUM: Self = Self(bindings::WGK_NETIF_F_RXCSUM);
    /// Buffers in several pieces.
    pub const SG: Self = Self(bindings::WGK_NETIF_F_SG);
    /// Segments that are still in one buffer.
    pub const GSO: Self = Self(bindings::WGK_NETIF_F_GSO);
    /// All kinds of segments that software can make (`NETIF_F_GSO_SOFTWARE`).
    pub const GSO_SOFTWARE: Self = Self(bindings::WGK_NETIF_F_GSO_SOFTWARE);
    /// Buffers in high memory.
    pub const HIGHDMA: Self = Self(bindings::WGK_NETIF_F_HIGHDMA);
}

impl core::ops::BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sets the constants of a new device, in [`Driver::setup`].
///
/// Always so: counters are per CPU (`NETDEV_PCPU_STAT_TSTATS`), packets are sent without a lock
/// (`lltx`), and the core frees the device.
///
/// # Invariants
///
/// `dev` points to a device that is just being allocated and that nobody else sees.
pub struct Setup<'a> {
    dev: *mut bindings::net_device,
    _p: PhantomData<&'a mut bindings::net_device>,
}

const _: () = assert!(Setup::TSO_MIN_SIZE > bindings::WGK_MAX_TCP_HEADER + 1);

impl Setup<'_> {
    /// # Safety
    ///
    /// As the type invariants say.
    pub(super) unsafe fn new(dev: *mut bindings::net_device) -> Self {
        Self {
            dev,
            _p: PhantomData,
        }
    }

    /// All that a tunnel for IP packets wants which encrypts them: the setters below, with software
    /// segmentation, no queue, and routes kept for ICMP errors.
    pub fn tunnel(&mut self, mtu: u32, max_mtu: u32) -> &mut Self {
        self.ip_tunnel()
            .mtu(mtu, max_mtu)
            .features(
                Features::HW_CSUM
                    | Features::RXCSUM
                    | Features::SG
                    | Features::GSO
                    | Features::GSO_SOFTWARE
                    | Features::HIGHDMA,
            )
            .no_queue()
            .keep_dst()
            .tso_max_size(Self::GSO_MAX_SIZE)
    }

    /// Packets have no link-layer header and no addresses, and are IPv4 or IPv6 by their first
    /// byte (`ARPHRD_NONE`, `ip_tunnel_header_ops`); one neighbour, no ARP.
    pub fn ip_tunnel(&mut self) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe {
            (*self.dev).header_ops = &raw const bindings::ip_tunnel_header_ops;
            (*self.dev).hard_header_len = 0;
            (*self.dev).addr_len = 0;
            (*self.dev).type_ = bindings::ARPHRD_NONE as c_ushort;
            (*self.dev).flags =
                bindings::net_device_flags_IFF_POINTOPOINT | bindings::net_device_flags_IFF_NOARP;
        }
        self
    }

    /// The MTU that the device starts with, and the largest that can be set: clamped to
    /// [`MAX_MTU`](Self::MAX_MTU), and the largest to [`MIN_MTU`](Self::MIN_MTU) at least (0 would
    /// mean that there is no largest).
    pub fn mtu(&mut self, mtu: u32, max: u32) -> &mut Self {
        let max = max.clamp(Self::MIN_MTU, Self::MAX_MTU);
        // SAFETY: Ours by the type invariants.
        unsafe {
            (*self.dev).mtu = mtu.min(max);
            (*self.dev).max_mtu = max;
        }
        self
    }

    /// What the largest MTU is not below: that of IPv4.
    pub const MIN_MTU: u32 = 68;
    /// What no MTU is above. Link layer headers are added to it, in `int` here and there.
    pub const MAX_MTU: u32 = i32::MAX as u32 - 64;

    /// Room that packets are given before and after what they are, in bytes: clamped to
    /// [`MAX_ROOM`](Self::MAX_ROOM).
    pub fn room(&mut self, head: u16, tail: u16) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe {
            (*self.dev).needed_headroom = head.min(Self::MAX_ROOM);
            (*self.dev).needed_tailroom = tail.min(Self::MAX_ROOM);
        }
        self
    }

    /// The most that `room` gives. A packet keeps where its headers are in 16 bits, from the
    /// beginning of its buffer, so the room in front of it must leave most of that; it is what the
    /// tunnels of C are held to (`ip_tunnel_limit_headroom()`).
    pub const MAX_ROOM: u16 = 512;

    /// Adds to what the device does, can be told to do, and does for what is encapsulated.
    pub fn features(&mut self, features: Features) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe {
            (*self.dev).features |= features.0;
            (*self.dev).hw_features |= features.0;
            (*self.dev).hw_enc_features |= features.0;
        }
        self
    }

    /// No queueing discipline unless one is asked for (`IFF_NO_QUEUE`).
    pub fn no_queue(&mut self) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe { bindings::netdev_set_no_queue(self.dev) };
        self
    }

    /// Packets keep their route until the driver drops it (`netif_keep_dst`).
    pub fn keep_dst(&mut self) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe { bindings::netif_keep_dst(self.dev) };
        self
    }

    /// The largest burst of segments in one buffer, in bytes: between
    /// [`TSO_MIN_SIZE`](Self::TSO_MIN_SIZE) and [`GSO_MAX_SIZE`](Self::GSO_MAX_SIZE).
    pub fn tso_max_size(&mut self, size: u32) -> &mut Self {
        let size = size.clamp(Self::TSO_MIN_SIZE, Self::GSO_MAX_SIZE);
        // SAFETY: Ours by the type invariants.
        unsafe { bindings::netif_set_tso_max_size(self.dev, size) };
        self
    }

    /// The smallest `tso_max_size`. TCP takes the longest headers that it could have off it
    /// (`sk_dst_gso_max_size()`).
    pub const TSO_MIN_SIZE: u32 = 2048;

    /// `tso_max_size` of all that the core can handle (`GSO_MAX_SIZE`).
    pub const GSO_MAX_SIZE: u32 = bindings::WGK_GSO_MAX_SIZE;
}
