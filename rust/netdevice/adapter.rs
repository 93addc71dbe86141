// SPDX-License-Identifier: GPL-2.0

//! The C callbacks of a [`Driver`], and the private area of its devices.
//!
//! Safety review: `Documentation/safety.md#netdeviceadapterrs`.

use super::{
    link,
    Counter,
    Driver,
    NetDevCell,
    NetDevice,
    RegisteredDevice,
    Setup, //
};
use crate::{
    bindings,
    drop_reason::{
        DropReason,
        Lossy, //
    },
    errno::EOPNOTSUPP,
    napi,
    netns::Net,
    rcu::RcuArc,
    rtnl::{
        Rtnl,
        RtnlCell, //
    },
    skbuff::TxPacket, //
};
use core::{
    cell::{
        Cell,
        UnsafeCell, //
    },
    marker::PhantomData,
    ptr, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// What the driver-independent code knows of a device: its place in the list of its kind, and
/// whether it may have NAPI instances. The first in the private area, whatever the driver.
#[repr(C)]
pub(super) struct Node {
    pub(super) dev: *mut bindings::net_device,
    pub(super) napis: napi::Gate,
    pub(super) next: RtnlCell<Link>,
    /// The cell that points to this node; null if it is not in a list.
    pub(super) prev: RtnlCell<PrevLink>,
}

impl Node {
    /// The node of `dev`.
    ///
    /// # Safety
    ///
    /// `dev` must point to a device of this crate's.
    #[inline]
    pub(super) unsafe fn of(dev: *mut bindings::net_device) -> *const Self {
        // SAFETY: By the requirement; `Priv` begins with it.
        unsafe { (&raw const (*dev).priv_).cast() }
    }
}

/// Pointer to a node; null at the end.
#[derive(Clone, Copy)]
pub(super) struct Link(pub(super) *const Node);

/// Pointer to the cell that points to a node.
#[derive(Clone, Copy)]
pub(super) struct PrevLink(pub(super) *const RtnlCell<Link>);

// SAFETY: Just addresses; what uses them argues for itself.
unsafe impl Send for Link {}
// SAFETY: As above.
unsafe impl Send for PrevLink {}

/// The private area of a device.
///
/// # Invariants
///
/// - Initialised by `setup`, and not moved until the device is freed.
/// - `this` is written by `newlink` before the registration, and taken when nobody can use the
///   device any more: by the destructor, or, if the registration has failed before the device was
///   listed, by `newlink`. It is only read in between.
/// - `cell` is null, or points to a cell that lives for as long as `this` is there; see `newlink`.
#[repr(C)]
pub(super) struct Priv<D: Driver> {
    pub(super) node: Node,
    this: UnsafeCell<Option<RcuArc<D::Device>>>,
    cell: Cell<*const NetDevCell>,
    /// Whether `uninit` is still to be called; under RTNL.
    live: Cell<bool>,
}

impl<D: Driver> Priv<D> {
    /// The private area of `dev`.
    ///
    /// # Safety
    ///
    /// `dev` must point to a device that was allocated with a private area of this type.
    #[inline]
    pub(super) unsafe fn of(dev: *mut bindings::net_device) -> *mut Self {
        // SAFETY: By the safety requirements. The area is at the end of the device, and aligned
        // for at least what `ALIGNED` checks.
        unsafe { (&raw mut (*dev).priv_).cast() }
    }

    /// That the private area of every device is aligned well enough.
    pub(super) const ALIGNED: () = assert!(align_of::<Self>() <= 32 && size_of::<Self>() < 4096);

    /// The state of a device that is visible.
    ///
    /// # Safety
    ///
    /// `dev` must be a device of `D` that is or was registered, not freed, and whose destructor
    /// has not been called, nor is called within `'a`.
    #[inline]
    pub(super) unsafe fn this<'a>(dev: *mut bindings::net_device) -> Option<&'a RcuArc<D::Device>> {
        // SAFETY: By the safety requirements and the type invariants it is not written meanwhile.
        unsafe { (*(*Self::of(dev)).this.get()).as_ref() }
    }
}

/// Holder of the callbacks.
pub(super) struct Adapter<D>(PhantomData<D>);

impl<D: Driver> Adapter<D> {
    const NDO: &'static bindings::net_device_ops = &bindings::net_device_ops {
        ndo_uninit: Some(Self::uninit),
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ..pin_init::zeroed()
    };

    const ETHTOOL: &'static bindings::ethtool_ops = &bindings::ethtool_ops {
        get_drvinfo: Some(Self::drvinfo),
        get_sset_count: Some(Self::sset_count),
        get_strings: Some(Self::strings),
        get_ethtool_stats: Some(Self::statistics),
        // SAFETY: Bits, numbers and function pointers that may be null.
        ..unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    };

    /// That the names fit.
    const NAMES: () = {
        assert!(D::STATISTICS.len() <= 1024, "too many statistics");
        let mut i = 0;
        while i < D::STATISTICS.len() {
            assert!(D::STATISTICS[i].len() < GSTRING_LEN, "name too long");
            i += 1;
        }
    };

    const DEVTYPE: &'static bindings::device_type = &bindings::device_type {
        name: kernel::str::as_char_ptr_in_const_context(D::KIND),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the core as `rtnl_link_ops::setup`, for a device with our private area.
    pub(super) unsafe extern "C" fn setup(dev: *mut bindings::net_device) {
        // SAFETY: The private area is there, zeroed, and nobody else uses it.
        unsafe {
            Priv::<D>::of(dev).write(Priv {
                node: Node {
                    dev,
                    napis: napi::Gate::new(),
                    next: RtnlCell::new(Link(ptr::null())),
                    prev: RtnlCell::new(PrevLink(ptr::null())),
                },
                this: UnsafeCell::new(None),
                cell: Cell::new(ptr::null()),
                live: Cell::new(false),
            });
        }
        // SAFETY: A new device; both tables are `'static`.
        unsafe { bindings::netdev_init(dev, Self::NDO, Self::DEVTYPE) };
        const { Self::NAMES };
        if !D::STATISTICS.is_empty() {
            // SAFETY: A new device; the table is `'static`.
            unsafe { (*dev).ethtool_ops = Self::ETHTOOL };
        }
        // SAFETY: A new device, for the duration of this call.
        let mut setup = unsafe { Setup::new(dev) };
        // Without a largest MTU there would be none.
        D::setup(setup.mtu(Setup::MIN_MTU, Setup::MAX_MTU));
    }

    /// # Safety
    ///
    /// Called by rtnetlink as `rtnl_link_ops::newlink`, under RTNL, for a device that went through
    /// `setup`.
    pub(super) unsafe extern "C" fn newlink(
        dev: *mut bindings::net_device,
        params: *mut bindings::rtnl_newlink_params,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: RTNL is held for the duration of this call.
        let rtnl = unsafe { Rtnl::assume_held() };
        // SAFETY: Went through `setup`; the private area stays for longer than this call.
        let private = unsafe { &*Priv::<D>::of(dev) };
        // SAFETY: Valid for this call, and after.
        let netdev = unsafe { NetDevice::from_raw(dev) };
        from_result(|| {
            // SAFETY: `params` is valid, and the namespace held by the caller.
            let link_net = unsafe { Net::from_raw(bindings::rtnl_newlink_link_net(params)) };
            let this = D::newlink(&rtnl, netdev, link_net)
                // Our caller frees the device.
                .inspect_err(|_| napi::end_all(netdev))?;

            // SAFETY: The device is not registered: nobody else looks at this.
            let this: &RcuArc<D::Device> = unsafe { (*private.this.get()).insert(this) };
            // The cell is borrowed from the state. The state stays where it is, and is only ever
            // shared, at least as long as `private.this` holds this reference to it; so the borrow
            // may last as long, and that is how long this pointer is used.
            private.cell.set(D::dev_cell(this));
            private.live.set(true);

            // SAFETY: A new device, under RTNL.
            if let Err(e) = to_result(unsafe { bindings::register_netdevice(dev) }) {
                // `ndo_uninit` may have been called or not.
                Self::shut_down(&rtnl, dev);
                // SAFETY: Valid, and RTNL is held.
                if unsafe { (*dev).reg_state } == REG_UNREGISTERING {
                    // The device was visible for a while. It is freed later, when nobody uses it
                    // any more; our caller's `free_netdev()` knows that.
                    // SAFETY: As above.
                    unsafe { (*dev).priv_destructor = Some(Self::destructor) };
                } else {
                    // SAFETY: It never was visible, and none of our callbacks will be called; our
                    // caller frees it.
                    unsafe { Self::destructor(dev) };
                }
                return Err(e);
            }

            // Only now, so that a failing `register_netdevice` does not call it.
            // SAFETY: Valid, and under RTNL, which the destructor waits for.
            unsafe { (*dev).priv_destructor = Some(Self::destructor) };
            Self::publish(&rtnl, dev);
            link::insert::<D>(&rtnl, &private.node);
            // SAFETY: Registered above, and valid for this call.
            D::registered(unsafe { RegisteredDevice::from_raw(dev) }, this);
            Ok(0)
        })
    }

    /// Makes the device known to its state. Does nothing the second time.
    fn publish(_rtnl: &Rtnl, dev: *mut bindings::net_device) {
        // SAFETY: Callers pass a device that is registered and went through `newlink`.
        let cell = unsafe { (*Priv::<D>::of(dev)).cell.get() };
        if !cell.is_null() {
            // SAFETY: By the type invariants of `Priv`. The device is registered, and
            // `shut_down` empties this cell; it is called by `ndo_uninit`.
            unsafe { (*cell).set(dev) };
        }
    }

    /// Has the driver stop everything, once, and takes the device away from its state.
    fn shut_down(rtnl: &Rtnl, dev: *mut bindings::net_device) {
        // SAFETY: Callers pass a device that went through `newlink`, under RTNL.
        let private = unsafe { &*Priv::<D>::of(dev) };
        if !private.live.replace(false) {
            return;
        }
        link::remove(rtnl, &private.node);
        // SAFETY: Valid for this call. It may never have been registered, or have lost its per-CPU
        // counters with a registration that has failed.
        let netdev = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: `live`, so `newlink` has put it there, and it is not taken before the end of
        // this call.
        if let Some(this) = unsafe { Priv::<D>::this(dev) } {
            D::uninit(rtnl, this, netdev);
        }
        // What the driver has kept or forgotten does not outlive the device.
        napi::end_all(netdev);
        let cell = private.cell.replace(ptr::null());
        if !cell.is_null() {
            // SAFETY: By the type invariants of `Priv`: its `this` is still there.
            unsafe { (*cell).clear() };
        }
    }

    /// # Safety
    ///
    /// Called by the core as `ndo_uninit`, under RTNL.
    unsafe extern "C" fn uninit(dev: *mut bindings::net_device) {
        // SAFETY: RTNL is held for the duration of this call.
        let rtnl = unsafe { Rtnl::assume_held() };
        Self::shut_down(&rtnl, dev);
    }

    /// # Safety
    ///
    /// Called when nobody uses the device any more, and none of the other callbacks will be
    /// called: by the core as `priv_destructor`, or by `newlink`. Process context.
    unsafe extern "C" fn destructor(dev: *mut bindings::net_device) {
        // SAFETY: By the safety requirements nobody else looks at this.
        let this = unsafe { (*(*Priv::<D>::of(dev)).this.get()).take() };
        if let Some(this) = this {
            D::destroyed(&this);
        }
    }

    /// # Safety
    ///
    /// Called by the core as `ndo_open`, under RTNL.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: RTNL is held for the duration of this call.
        let rtnl = unsafe { Rtnl::assume_held() };
        from_result(|| {
            // SAFETY: A registered device.
            let this = unsafe { Priv::<D>::this(dev) }.ok_or(ENODEV)?;
            // A notifier of the registration may get here before `newlink` goes on.
            Self::publish(&rtnl, dev);
            // SAFETY: Registered, and valid for this call: what is not listed can't be opened.
            D::open(&rtnl, this, unsafe { RegisteredDevice::from_raw(dev) }).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by ethtool, under RTNL, with its own answer, zeroed but for the kernel's release as the version.
    unsafe extern "C" fn drvinfo(
        _dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: By the safety requirements.
        let info = unsafe { &mut *info };
        // The kind, as of any interface of one: what goes by the driver's name goes by that.
        put_name(&mut info.driver, D::KIND.to_bytes());
        put_name(&mut info.version, &bindings::WGK_VERSION[..]);
    }

    /// # Safety
    ///
    /// Called by ethtool, under RTNL, for a registered device.
    unsafe extern "C" fn sset_count(_dev: *mut bindings::net_device, set: c_int) -> c_int {
        if set == bindings::ethtool_stringset_ETH_SS_STATS as c_int {
            // CAST: Checked by `NAMES`.
            D::STATISTICS.len() as c_int
        } else {
            EOPNOTSUPP.to_errno()
        }
    }

    /// # Safety
    ///
    /// Called by ethtool, under RTNL, for a registered device, with room for as many names as
    /// `sset_count` has said for `set`.
    unsafe extern "C" fn strings(_dev: *mut bindings::net_device, set: u32, mut data: *mut u8) {
        if set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        for name in D::STATISTICS {
            let mut buffer = [0; GSTRING_LEN];
            // Checked by `NAMES` to fit.
            put_name(&mut buffer, name.as_bytes());
            // SAFETY: There is room for this many names of this size.
            unsafe {
                ptr::copy_nonoverlapping(buffer.as_ptr(), data, GSTRING_LEN);
                data = data.add(GSTRING_LEN);
            }
        }
    }

    /// # Safety
    ///
    /// Called by ethtool, under RTNL, for a registered device, with room for as many numbers as
    /// `sset_count` has said, all of them initialised.
    unsafe extern "C" fn statistics(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: By the safety requirements; ethtool's own buffer, which nobody else uses.
        let out = unsafe { core::slice::from_raw_parts_mut(data, D::STATISTICS.len()) };
        out.fill(0);
        // SAFETY: A registered device.
        if let Some(this) = unsafe { Priv::<D>::this(dev) } {
            D::statistics(this, out);
        }
    }

    /// # Safety
    ///
    /// Called by the core as `ndo_stop`, under RTNL.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: RTNL is held for the duration of this call.
        let rtnl = unsafe { Rtnl::assume_held() };
        // SAFETY: A registered device.
        if let Some(this) = unsafe { Priv::<D>::this(dev) } {
            // SAFETY: As for `open`.
            D::stop(&rtnl, this, unsafe { RegisteredDevice::from_raw(dev) });
        }
        0
    }

    /// # Safety
    ///
    /// Called by the core as `ndo_start_xmit`, with a packet of which a reference is ours.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: Packets are only sent by a device that has been up; the caller's reference keeps
        // it for this call.
        let netdev = unsafe { RegisteredDevice::from_raw(dev) };
        // SAFETY: The packet is handed over (`NETDEV_TX_BUSY`, to give it back, is never returned),
        // and its route counted (`__dev_queue_xmit()` sees to it).
        let Some(packet) = (unsafe { TxPacket::new(skb, netdev) }) else {
            netdev.count(Counter::TxDropped, 1);
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        // SAFETY: The caller has a reference to the device, without which `priv_destructor` is not
        // called.
        let Some(this) = (unsafe { Priv::<D>::this(dev) }) else {
            packet.drop_for(DropReason::DevReady);
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        match D::xmit(this, netdev, packet) {
            Ok(()) => bindings::netdev_tx_NETDEV_TX_OK,
            // `dev_xmit_complete()`: negative means consumed.
            Err(e) => e.to_errno(),
        }
    }
}

/// Puts as much of a name as there is room for, and zeros behind it: one at least.
fn put_name(out: &mut [u8], name: &[u8]) {
    out.fill(0);
    let room = out.len().saturating_sub(1).min(name.len());
    out[..room].copy_from_slice(&name[..room]);
}

/// Room for a name that ethtool shows, with the NUL at its end.
const GSTRING_LEN: usize = bindings::ETH_GSTRING_LEN as usize;

/// `reg_state` of a device that is not registered yet.
pub(super) const REG_UNINITIALIZED: u8 = bindings::netdev_reg_state_NETREG_UNINITIALIZED as u8;

/// `reg_state` of a device that is registered.
pub(super) const REG_REGISTERED: u8 = bindings::netdev_reg_state_NETREG_REGISTERED as u8;

/// `reg_state` from when a device is taken out of the lists until it is freed.
pub(super) const REG_UNREGISTERING: u8 = bindings::netdev_reg_state_NETREG_UNREGISTERING as u8;

/// `reg_state` while the last references are waited for.
pub(super) const REG_UNREGISTERED: u8 = bindings::netdev_reg_state_NETREG_UNREGISTERED as u8;
