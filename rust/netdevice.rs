// SPDX-License-Identifier: GPL-2.0

//! Network devices that come and go by `ip link add` and `ip link del`.
//!
//! A driver is a type that implements [`Driver`]; [`LinkOps::register`] makes its kind of device
//! available. Its own state, [`Driver::Device`], is an [`RcuArc`] that the device holds one
//! reference to. The life of a device, all under RTNL but for the last step:
//!
//! 1. [`Driver::setup`]: the constants of a new device;
//! 2. [`Driver::newlink`]: make the state. If the registration that follows fails, it goes on with
//!    step 5;
//! 3. [`Driver::registered`]: the device can be seen;
//! 4. any number of times [`Driver::open`], [`Driver::xmit`], [`Driver::stop`];
//! 5. [`Driver::uninit`]: stop and drain everything; nothing may use the device from here on;
//! 6. [`Driver::destroyed`]: nobody has a reference to the device any more, and its reference to
//!    the state is dropped.
//!
//! The state does not hold a reference to the device. It embeds a [`NetDevCell`], by which RCU
//! readers and holders of RTNL find the device as long as it is registered.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/net/rtnetlink.h`](srctree/include/net/rtnetlink.h)
//!
//! Safety review: `Documentation/safety.md#netdevicers`.

mod adapter;
mod link;

pub use link::{
    find_by_index,
    find_by_name,
    for_each_device,
    LinkOps, //
};

use crate::{
    bindings,
    extack::ExtAck,
    netns::Net,
    rcu::{
        Guard,
        RcuArc,
        RcuObject, //
    },
    rtnl::Rtnl,
    skbuff::TxPacket, //
};
use core::{
    fmt,
    marker::PhantomData,
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    },
};
use kernel::{
    prelude::*,
    types::Opaque, //
};

// What is accessed as a field is where C has it.
const _: () = {
    type Dev = bindings::net_device;
    assert!(offset_of!(Dev, flags) == bindings::WGK_NET_DEVICE_FLAGS as usize);
    assert!(offset_of!(Dev, mtu) == bindings::WGK_NET_DEVICE_MTU as usize);
    assert!(offset_of!(Dev, features) == bindings::WGK_NET_DEVICE_FEATURES as usize);
    assert!(offset_of!(Dev, ifindex) == bindings::WGK_NET_DEVICE_IFINDEX as usize);
    assert!(offset_of!(Dev, name) == bindings::WGK_NET_DEVICE_NAME as usize);
    assert!(offset_of!(Dev, hw_enc_features) == bindings::WGK_NET_DEVICE_HW_ENC_FEATURES as usize);
    assert!(offset_of!(Dev, max_mtu) == bindings::WGK_NET_DEVICE_MAX_MTU as usize);
    assert!(offset_of!(Dev, type_) == bindings::WGK_NET_DEVICE_TYPE as usize);
    assert!(offset_of!(Dev, addr_len) == bindings::WGK_NET_DEVICE_ADDR_LEN as usize);
    assert!(offset_of!(Dev, reg_state) == bindings::WGK_NET_DEVICE_REG_STATE as usize);
    assert!(offset_of!(Dev, priv_destructor) == bindings::WGK_NET_DEVICE_PRIV_DESTRUCTOR as usize);
    assert!(offset_of!(Dev, rtnl_link_ops) == bindings::WGK_NET_DEVICE_RTNL_LINK_OPS as usize);
    assert!(offset_of!(Dev, ethtool_ops) == bindings::WGK_NET_DEVICE_ETHTOOL_OPS as usize);
    assert!(offset_of!(Dev, priv_) == bindings::WGK_NET_DEVICE_PRIV as usize);
};

/// The name of a network device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetName([u8; Self::SIZE]);

impl NetName {
    /// Room for a name with the NUL at its end (`IFNAMSIZ`).
    pub const SIZE: usize = bindings::IFNAMSIZ as usize;

    /// Takes the bytes up to the first NUL; `None` if there is none.
    pub fn new(bytes: [u8; Self::SIZE]) -> Option<Self> {
        bytes.contains(&0).then_some(Self(bytes))
    }

    /// The name, without NUL. Any bytes but `/`, `:` and white space.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(Self::SIZE);
        &self.0[..end]
    }
}

impl fmt::Display for NetName {
    /// As it is; bytes that are not printable ASCII are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|b| fmt::Display::fmt(&b.escape_ascii(), f))
    }
}

impl kernel::fmt::Display for NetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A counter of `struct net_device`, for what is rare.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Counter {
    /// Packets that were dropped for want of room, on their way out.
    TxDropped = 0,
    /// Packets that could not be sent.
    TxErrors = 1,
    /// Packets that were dropped on their way in.
    RxDropped = 2,
    /// Bad packets received.
    RxErrors = 3,
    /// Of these, those that are no valid frame.
    RxFrameErrors = 4,
    /// Of these, those of a wrong length.
    RxLengthErrors = 5,
    /// Of these, those with a wrong checksum.
    RxCrcErrors = 6,
    /// Packets that were given up on after they had been accepted.
    TxAbortedErrors = 7,
}

/// A borrowed network device.
///
/// # Invariants
///
/// A `&NetDevice` points to a `struct net_device` that is initialised and not freed while the
/// borrow lasts. It need not be registered (yet, or any more); its per-CPU counters are null if it
/// isn't and they are not allocated.
#[repr(transparent)]
pub struct NetDevice(Opaque<bindings::net_device>);

// SAFETY: All methods are fine from any thread, or ask for evidence.
unsafe impl Sync for NetDevice {}

impl NetDevice {
    /// # Safety
    ///
    /// `ptr` must point to a device that meets the type invariants for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the safety requirements; `NetDevice` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// The C object.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// The name. It can be changed at any time; torn if it is just then.
    pub fn name(&self) -> NetName {
        // SAFETY: Valid by the type invariants.
        let name = unsafe { &raw const (*self.as_ptr()).name };
        let mut copy = [0; NetName::SIZE];
        for (i, byte) in copy.iter_mut().enumerate().take(NetName::SIZE - 1) {
            // SAFETY: Within the field. Volatile, as it may be written meanwhile, and each byte of
            // it is valid.
            *byte = unsafe { name.cast::<u8>().add(i).read_volatile() };
        }
        NetName(copy)
    }

    /// The index, unique in the device's network namespace; 0 before it is registered.
    #[inline]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: Valid by the type invariants; `READ_ONCE`. CAST: Never negative.
        unsafe { (&raw const (*self.as_ptr()).ifindex).read_volatile() as u32 }
    }

    /// The largest packet, in bytes.
    #[inline]
    pub fn mtu(&self) -> u32 {
        // SAFETY: Valid by the type invariants; `READ_ONCE`.
        unsafe { (&raw const (*self.as_ptr()).mtu).read_volatile() }
    }

    /// Whether the device is up: true from before [`Driver::open`] until before [`Driver::stop`].
    #[inline]
    pub fn is_running(&self) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::netif_running(self.as_ptr()) }
    }

    /// The network namespace that the device is in. Under RTNL it does not move.
    #[inline]
    pub fn net<'a>(&'a self, _rtnl: &'a Rtnl) -> &'a Net {
        // SAFETY: Valid by the type invariants. A device is moved out of its namespace, or
        // unregistered, before that is freed, for both of which RTNL is needed.
        unsafe { Net::from_raw(bindings::dev_net(self.as_ptr())) }
    }

    /// Reports that there is no carrier. Any context.
    #[inline]
    pub fn carrier_off(&self) {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::netif_carrier_off(self.as_ptr()) }
    }

    /// Counts one packet of `len` bytes as received.
    #[inline]
    pub fn rx_stats_add(&self, len: usize) {
        self.rx_stats_add_many(1, len as u64);
    }

    /// Counts `packets` of `bytes` in total as received. Any context but hardirq.
    #[inline]
    pub fn rx_stats_add_many(&self, packets: u64, bytes: u64) {
        // SAFETY: Valid by the type invariants, the counters as well unless they are null. The
        // shim keeps bottom halves off while it writes to this CPU's.
        unsafe { bindings::netdev_rx_add(self.as_ptr(), packets, bytes) }
    }

    /// Counts `packets` of `bytes` in total as sent. Any context but hardirq.
    #[inline]
    pub fn tx_stats_add_many(&self, packets: u64, bytes: u64) {
        // SAFETY: As above.
        unsafe { bindings::netdev_tx_add(self.as_ptr(), packets, bytes) }
    }

    /// Adds `n` to a counter. Any context.
    #[inline]
    pub fn count(&self, counter: Counter, n: u64) {
        // SAFETY: Valid by the type invariants; the counters are atomic.
        unsafe { bindings::netdev_count(self.as_ptr(), counter as u32, n as c_ulong) }
    }

    /// For tunnels with no link-local neighbours: sends no IPv4 redirects (also the namespace's
    /// default), and makes up no IPv6 link-local address.
    pub fn no_redirects(&self, _rtnl: &Rtnl) {
        // SAFETY: Valid by the type invariants. The protocols' parts of the device only come and
        // go under RTNL.
        unsafe { bindings::netdev_no_redirects_no_addrgen(self.as_ptr()) }
    }

    /// Runs the device's NAPI instances in threads, unless it is told otherwise by
    /// `/sys/class/net/*/threaded`. In [`Driver::newlink`] only: later it does nothing.
    pub fn threaded_napi(&self, _rtnl: &Rtnl) {
        // SAFETY: Valid by the type invariants; it changes under RTNL only.
        if unsafe { (*self.as_ptr()).reg_state } == adapter::REG_UNINITIALIZED {
            // SAFETY: Not registered, and won't be meanwhile, as RTNL is held.
            unsafe { bindings::netif_threaded_enable(self.as_ptr()) }
        }
    }
}

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

impl Setup<'_> {
    /// # Safety
    ///
    /// As the type invariants say.
    unsafe fn new(dev: *mut bindings::net_device) -> Self {
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

    /// The MTU that the device starts with, and the largest that can be set.
    pub fn mtu(&mut self, mtu: u32, max: u32) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe {
            (*self.dev).mtu = mtu;
            (*self.dev).max_mtu = max;
        }
        self
    }

    /// Room that packets are given before and after what they are.
    pub fn room(&mut self, head: u16, tail: u16) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe {
            (*self.dev).needed_headroom = head;
            (*self.dev).needed_tailroom = tail;
        }
        self
    }

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

    /// The largest burst of segments in one buffer.
    pub fn tso_max_size(&mut self, size: u32) -> &mut Self {
        // SAFETY: Ours by the type invariants.
        unsafe { bindings::netif_set_tso_max_size(self.dev, size) };
        self
    }

    /// `tso_max_size` of all that the core can handle (`GSO_MAX_SIZE`).
    pub const GSO_MAX_SIZE: u32 = bindings::WGK_GSO_MAX_SIZE;
}

/// How the state of a device finds the device: null unless that is registered.
///
/// # Invariants
///
/// If `dev` is not null, then it points to a registered device whose private area names this cell,
/// and which is freed only when, in this order,
///
/// - `ndo_uninit` has been called for it, under RTNL, and has made `dev` null;
/// - a grace period has passed: `unregister_netdevice_many()` calls `synchronize_net()` between
///   `ndo_uninit` and `net_set_todo()`, without which the device is not freed;
/// - RTNL has been released, since `netdev_run_todo()` starts with that.
///
/// A registration that fails before the device is listed never gets here: `dev` is set by the
/// first `ndo_open`, or after the registration, whichever comes first. One that fails later (by a
/// notifier's veto) is undone by `unregister_netdevice_queue()`, thus as above.
pub struct NetDevCell {
    dev: AtomicPtr<bindings::net_device>,
}

impl NetDevCell {
    /// An empty cell.
    pub const fn new() -> Self {
        Self {
            dev: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The device, if it is registered. It stays for the read-side critical section.
    #[inline]
    pub fn get<'g>(&self, _guard: &'g Guard) -> Option<&'g NetDevice> {
        let dev = NonNull::new(self.dev.load(Ordering::Acquire))?;
        // SAFETY: By the type invariants it is not freed before a grace period has passed since
        // `dev` became null, and it was not null within a read-side critical section that lasts
        // for `'g`.
        Some(unsafe { NetDevice::from_raw(dev.as_ptr()) })
    }

    /// The device, if it is registered. It stays for as long as RTNL is held.
    #[inline]
    pub fn get_rtnl<'r>(&self, _rtnl: &'r Rtnl) -> Option<&'r NetDevice> {
        let dev = NonNull::new(self.dev.load(Ordering::Acquire))?;
        // SAFETY: By the type invariants it is not freed before RTNL has been released after `dev`
        // became null; `'r` ends before RTNL is released.
        Some(unsafe { NetDevice::from_raw(dev.as_ptr()) })
    }

    /// Publishes a device.
    ///
    /// # Safety
    ///
    /// As the type invariants say.
    unsafe fn set(&self, dev: *mut bindings::net_device) {
        // INVARIANT: By the safety requirements.
        self.dev.store(dev, Ordering::Release);
    }

    fn clear(&self) {
        // INVARIANT: Null is always fine.
        self.dev.store(ptr::null_mut(), Ordering::Release);
    }
}

impl Default for NetDevCell {
    fn default() -> Self {
        Self::new()
    }
}

/// A kind of network device.
pub trait Driver: Sized + 'static {
    /// The state of a device.
    type Device: RcuObject;

    /// As in `ip link add type KIND`; also the `DEVTYPE` in sysfs.
    const KIND: &'static CStr;

    /// Sets the constants of a new device. Process context.
    fn setup(setup: &mut Setup<'_>);

    /// Makes the state of a new device. Process context.
    ///
    /// `link_net` is the namespace in which the device was asked for, or that was named as
    /// `link-netns`; the device itself may be put in another one. Once this has succeeded,
    /// [`uninit`](Self::uninit) and then [`destroyed`](Self::destroyed) are called exactly once.
    fn newlink(
        rtnl: &Rtnl,
        dev: &NetDevice,
        link_net: &Net,
        extack: &ExtAck,
    ) -> Result<RcuArc<Self::Device>>;

    /// Names of the numbers that `ethtool -S` shows, at most 31 bytes each; none: no such thing.
    const STATISTICS: &'static [&'static str] = &[];

    /// The numbers, as many as there are names; `out` is zero. Process context, RTNL held.
    fn statistics(_this: &Self::Device, _out: &mut [u64]) {}

    /// Where the state finds its device. Each device wants a cell of its own.
    fn dev_cell(this: &Self::Device) -> &NetDevCell;

    /// The device has been registered. Process context.
    fn registered(_dev: &NetDevice, _this: &RcuArc<Self::Device>) {}

    /// The device goes up. Process context.
    fn open(rtnl: &Rtnl, this: &RcuArc<Self::Device>, dev: &NetDevice) -> Result;

    /// The device goes down, also before it is unregistered. Process context.
    fn stop(rtnl: &Rtnl, this: &RcuArc<Self::Device>, dev: &NetDevice);

    /// Sends a packet. Softirq or bottom halves disabled; on several CPUs at once.
    ///
    /// The packet is consumed in any case. An error is passed to the sender as it is, as the C
    /// driver does; counting it is up to this function. In rare cases
    /// (`__dev_direct_xmit()` against `ip link del`) still called after `uninit`.
    fn xmit(this: &Self::Device, dev: &NetDevice, packet: TxPacket<'_>) -> Result;

    /// Stops and drains everything that the device has going on. Process context, may take long.
    ///
    /// The device is down, or never was up. When this has returned, its [`NetDevCell`] is emptied.
    fn uninit(rtnl: &Rtnl, this: &RcuArc<Self::Device>, dev: &NetDevice);

    /// The device's reference to the state is dropped next. Process context; the last chance to
    /// sleep, as the destructor of the state must not. RTNL may or may not be held: don't lock it.
    fn destroyed(_this: &Self::Device) {}
}
