// SPDX-License-Identifier: GPL-2.0

//! How the state of a device finds the device.
//!
//! Safety review: `Documentation/safety.md#netdevicecellrs`.

use super::RegisteredDevice;
use crate::{
    atomic::{
        Acquire,
        HotAtomic,
        Release, //
    },
    bindings,
    rcu::Guard,
    rtnl::Rtnl, //
};
use core::ptr::{
    self,
    NonNull, //
};

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
    dev: HotAtomic<*mut bindings::net_device>,
}

impl NetDevCell {
    /// An empty cell.
    pub const fn new() -> Self {
        Self {
            dev: HotAtomic::new(ptr::null_mut()),
        }
    }

    /// The device, if it is registered. It stays for the read-side critical section.
    #[inline]
    pub fn get<'g>(&self, _guard: &'g Guard) -> Option<&'g RegisteredDevice> {
        let dev = NonNull::new(self.dev.load(Acquire))?;
        // SAFETY: By the type invariants it is not freed before a grace period has passed since
        // `dev` became null, and it was not null within a read-side critical section that lasts
        // for `'g`.
        Some(unsafe { RegisteredDevice::from_raw(dev.as_ptr()) })
    }

    /// The device, if it is registered. It stays for as long as RTNL is held.
    #[inline]
    pub fn get_rtnl<'r>(&self, _rtnl: &'r Rtnl) -> Option<&'r RegisteredDevice> {
        let dev = NonNull::new(self.dev.load(Acquire))?;
        // SAFETY: By the type invariants it is not freed before RTNL has been released after `dev`
        // became null; `'r` ends before RTNL is released.
        Some(unsafe { RegisteredDevice::from_raw(dev.as_ptr()) })
    }

    /// Publishes a device.
    ///
    /// # Safety
    ///
    /// As the type invariants say.
    pub(super) unsafe fn set(&self, dev: *mut bindings::net_device) {
        // INVARIANT: By the safety requirements.
        self.dev.store(dev, Release);
    }

    pub(super) fn clear(&self) {
        // INVARIANT: Null is always fine.
        self.dev.store(ptr::null_mut(), Release);
    }
}

impl Default for NetDevCell {
    fn default() -> Self {
        Self::new()
    }
}
