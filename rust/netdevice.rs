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
//! 5. [`Driver::uninit`]: stop and drain everything; nothing may use the device from here on, and
//!    its NAPI instances end here, whoever has them;
//! 6. [`Driver::destroyed`]: nobody has a reference to the device any more, and its reference to
//!    the state is dropped.
//!
//! The state does not hold a reference to the device. It embeds a [`NetDevCell`], by which RCU
//! readers and holders of RTNL find the device as long as it is registered.
//!
//! A device that has been registered is a [`RegisteredDevice`]; in steps 2 and 5 it may never have
//! been, and is just a [`NetDevice`].
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/net/rtnetlink.h`](srctree/include/net/rtnetlink.h)
//!
//! Safety review: `Documentation/safety.md#netdevicers`.

mod adapter;
mod cell;
mod link;
mod setup;
mod watch;

pub use cell::NetDevCell;
pub use link::{
    find_by_index,
    find_by_name,
    for_each_device,
    LinkOps, //
};
pub use setup::{
    Features,
    Setup, //
};
pub use watch::{
    index_of,
    name_of,
    Watch,
    Watcher, //
};

use crate::{
    bindings,
    napi,
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
    mem::offset_of,
    ops::Deref, //
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
///
/// # Invariants
///
/// The last byte is NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetName([u8; Self::SIZE]);

impl NetName {
    /// Room for a name with the NUL at its end (`IFNAMSIZ`).
    pub const SIZE: usize = bindings::IFNAMSIZ as usize;

    /// The name, without NUL. Any bytes but `/`, `:` and white space.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(Self::SIZE);
        &self.0[..end]
    }

    /// The name as C has it: a string that lives as long as this.
    #[cfg_attr(not(CONFIG_TRACEPOINTS), expect(dead_code))]
    pub(crate) fn as_ptr(&self) -> *const kernel::ffi::c_char {
        self.0.as_ptr().cast()
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

/// # Safety
///
/// `dev` must be valid.
unsafe fn read_name(dev: *const bindings::net_device) -> NetName {
    // SAFETY: By the requirement.
    let name = unsafe { &raw const (*dev).name };
    let mut copy = [0; NetName::SIZE];
    for (i, byte) in copy.iter_mut().enumerate().take(NetName::SIZE - 1) {
        // SAFETY: Within the field. Volatile, as it may be written meanwhile, and each byte of
        // it is valid.
        *byte = unsafe { name.cast::<u8>().add(i).read_volatile() };
    }
    // INVARIANT: The last one is left as it was.
    NetName(copy)
}

/// A borrowed network device, which may be registered or not (yet, or any more).
///
/// # Invariants
///
/// A `&NetDevice` points to a `struct net_device` that is initialised and not freed while the
/// borrow lasts. It is one of a [`Driver`] and went through its `setup`, so that its private area
/// begins with a [`Node`](adapter::Node).
#[repr(transparent)]
pub struct NetDevice(Opaque<bindings::net_device>);

/// A borrowed network device that is registered, or was and is not destroyed yet: what it counts in
/// is there, and before it is freed its references are waited for. All that counts packets of a
/// device, or tells others of it, asks for one.
///
/// # Invariants
///
/// Besides those of [`NetDevice`]: the device has been listed. So its per-CPU counters are there,
/// which `netdev_run_todo()` frees when there are no references left, and before a `&NetDevice` is
/// void.
#[repr(transparent)]
pub struct RegisteredDevice(NetDevice);

impl Deref for RegisteredDevice {
    type Target = NetDevice;

    #[inline]
    fn deref(&self) -> &NetDevice {
        &self.0
    }
}

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

    /// Whether the device may have NAPI instances.
    pub(crate) fn napi_gate(&self) -> &napi::Gate {
        // SAFETY: By the type invariants the node is there for as long as the device.
        unsafe { &(*adapter::Node::of(self.as_ptr())).napis }
    }

    /// Whether it has been registered. Any context.
    #[inline]
    pub(crate) fn was_registered(&self) -> bool {
        // SAFETY: Valid by the type invariants; `READ_ONCE`.
        let state = unsafe { (&raw const (*self.as_ptr()).reg_state).read_volatile() };
        // A registration that fails late makes it `NETREG_UNREGISTERED` at once.
        state == adapter::REG_REGISTERED || state == adapter::REG_UNREGISTERING
    }

    /// The name. It can be changed at any time; torn if it is just then.
    pub fn name(&self) -> NetName {
        // SAFETY: Valid by the type invariants.
        unsafe { read_name(self.as_ptr()) }
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

    /// The network namespace that the device is in. Under RTNL it does not move.
    #[inline]
    pub fn net<'a>(&'a self, _rtnl: &'a Rtnl) -> &'a Net {
        // SAFETY: Valid by the type invariants. A device is moved out of its namespace, or
        // unregistered, before that is freed, for both of which RTNL is needed.
        unsafe { Net::from_raw(bindings::dev_net(self.as_ptr())) }
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

impl RegisteredDevice {
    /// # Safety
    ///
    /// `ptr` must point to a device that meets the type invariants for `'a`.
    #[inline]
    unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the safety requirements; it is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// The network namespace that the device is in, or is just leaving. Any context.
    #[inline]
    pub fn net_rcu<'g>(&'g self, _guard: &'g Guard) -> &'g Net {
        // SAFETY: Valid by the type invariants. The namespace that is read here may be left by the
        // device meanwhile, or the device unregistered. Who does that does not release RTNL before a
        // grace period has passed since (`netif_change_net_namespace()`,
        // `unregister_netdevice_many()`), and the namespace's end takes RTNL to look for devices before
        // it frees anything: so this section is over by then. Who was called with an unregistered
        // device, to send through it, was so by a socket that holds the namespace.
        unsafe { Net::from_raw(bindings::dev_net_rcu(self.as_ptr())) }
    }

    /// Reports that there is no carrier. Any context.
    #[inline]
    pub fn carrier_off(&self) {
        // SAFETY: Valid by the type invariants. The event that this queues holds a reference, which
        // is waited for before the device is freed.
        unsafe { bindings::netif_carrier_off(self.as_ptr()) }
    }

    /// Counts so many packets as received, with so many bytes in all. Any context but hardirq.
    #[inline]
    pub fn rx_stats_add(&self, packets: u64, bytes: u64) {
        // SAFETY: Valid by the type invariants, the counters as well. The shim keeps bottom halves
        // off while it writes to this CPU's.
        unsafe { bindings::netdev_rx_add(self.as_ptr(), packets, bytes) }
    }

    /// Adds `n` to a counter. Any context.
    #[inline]
    pub fn count(&self, counter: Counter, n: u64) {
        // SAFETY: Valid by the type invariants; the counters are atomic.
        unsafe { bindings::netdev_count(self.as_ptr(), counter as u32, n as c_ulong) }
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
    fn newlink(rtnl: &Rtnl, dev: &NetDevice, link_net: &Net) -> Result<RcuArc<Self::Device>>;

    /// Names of the numbers that `ethtool -S` shows, at most 31 bytes each; none: no such thing.
    const STATISTICS: &'static [&'static str] = &[];

    /// The numbers, as many as there are names; `out` is zero. Process context, RTNL held.
    fn statistics(_this: &Self::Device, _out: &mut [u64]) {}

    /// Where the state finds its device. Each device wants a cell of its own.
    fn dev_cell(this: &Self::Device) -> &NetDevCell;

    /// The device has been registered. Process context.
    fn registered(_dev: &RegisteredDevice, _this: &RcuArc<Self::Device>) {}

    /// The device goes up. Process context.
    fn open(rtnl: &Rtnl, this: &RcuArc<Self::Device>, dev: &RegisteredDevice) -> Result;

    /// The device goes down, also before it is unregistered. Process context.
    fn stop(rtnl: &Rtnl, this: &RcuArc<Self::Device>, dev: &RegisteredDevice);

    /// Sends a packet. Softirq or bottom halves disabled; on several CPUs at once.
    ///
    /// The packet is consumed in any case. An error is passed to the sender as it is, as the C
    /// driver does; counting it is up to this function. In rare cases
    /// (`__dev_direct_xmit()` against `ip link del`) still called after `uninit`.
    fn xmit(this: &Self::Device, dev: &RegisteredDevice, packet: TxPacket<'_>) -> Result;

    /// Stops and drains everything that the device has going on. Process context, may take long.
    ///
    /// The device is down, or never was up, or never was registered. When this has returned, its
    /// [`NetDevCell`] is emptied, and what is left of its NAPI instances is ended.
    fn uninit(rtnl: &Rtnl, this: &RcuArc<Self::Device>, dev: &NetDevice);

    /// The device's reference to the state is dropped next. Process context; the last chance to
    /// sleep, as the destructor of the state must not. RTNL may or may not be held: don't lock it.
    fn destroyed(_this: &Self::Device) {}
}
