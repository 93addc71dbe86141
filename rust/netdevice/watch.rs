// SPDX-License-Identifier: GPL-2.0
//! Devices of any kind, as others see them: by name, by index, and until they go.
//!
//! Wraps `register_netdevice_notifier()` and lookups of
//! [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h).
//!
//! Safety review: `Documentation/safety.md#netdevicewatchrs`.

use super::{
    adapter::REG_UNREGISTERED,
    read_name,
    NetName, //
};
use crate::{
    bindings,
    field::Invariant,
    genetlink::Attr,
    module::NotifierGuest,
    netns::Net,
    rtnl::Rtnl, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// The index of the device that is called so in `net`, as it is in an attribute.
pub fn index_of(_rtnl: &Rtnl, net: &Net, name: Attr<'_>) -> Option<u32> {
    let name: [u8; NetName::SIZE] = name.string()?;
    // SAFETY: Valid by the type invariants of `Net`, and RTNL is held; the name ends with NUL, see
    // `Attr::string`. What is found is listed, and stays so while RTNL is held.
    let index = unsafe {
        let dev = bindings::__dev_get_by_name(net.as_ptr(), name.as_ptr());
        NonNull::new(dev).map(|dev| (*dev.as_ptr()).ifindex)
    };
    u32::try_from(index?).ok()
}

/// The name of the device of that index in `net`.
pub fn name_of(_rtnl: &Rtnl, net: &Net, ifindex: u32) -> Option<NetName> {
    let ifindex = c_int::try_from(ifindex).ok()?;
    // SAFETY: As above; an index that no device has is just not found.
    unsafe {
        let dev = NonNull::new(bindings::__dev_get_by_index(net.as_ptr(), ifindex))?;
        Some(read_name(dev.as_ptr()))
    }
}

/// What a module does when devices go.
pub trait Watch: 'static {
    /// The device of that index leaves `net`: it is unregistered, or moves to another namespace. Called
    /// under RTNL, for each device of each namespace also when the registration is dropped.
    fn gone(rtnl: &Rtnl, net: &Net, ifindex: u32);
}

/// A registration: `W` is told of each device that goes until this is dropped.
///
/// # Invariants
///
/// `block` came from a box and is registered, with [`called`](Self::called).
pub struct Watcher<W: Watch> {
    block: NonNull<Opaque<kernel::bindings::notifier_block>>,
    _guest: NotifierGuest,
    _p: Invariant<W>,
}

// SAFETY: Can be dropped, which is all one can do with it, by any thread.
unsafe impl<W: Watch> Send for Watcher<W> {}
// SAFETY: As above; there are no methods.
unsafe impl<W: Watch> Sync for Watcher<W> {}

impl<W: Watch> Watcher<W> {
    /// Registers. Process context, without RTNL; `ENOMEM`.
    ///
    /// As everywhere, the module must drop the registration before it goes.
    pub fn register() -> Result<Self> {
        let guest = NotifierGuest::new();
        let block = kernel::bindings::notifier_block {
            notifier_call: Some(Self::called),
            ..pin_init::zeroed()
        };
        let block = KBox::into_raw(KBox::new(Opaque::new(block), GFP_KERNEL)?);
        // SAFETY: The box is neither moved nor freed before it is unregistered, or this has failed.
        let ret = to_result(unsafe { bindings::register_netdevice_notifier(block.cast()) });
        if let Err(e) = ret {
            // SAFETY: From `into_raw` above, and nobody has kept it.
            drop(unsafe { KBox::from_raw(block) });
            return Err(e);
        }
        // INVARIANT: Registered above.
        Ok(Self {
            // SAFETY: A box is not null.
            block: unsafe { NonNull::new_unchecked(block) },
            _guest: guest,
            _p: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Only called by the chain of network devices, under RTNL: `info` is what that gives to it.
    unsafe extern "C" fn called(
        _nb: *mut kernel::bindings::notifier_block,
        action: c_ulong,
        info: *mut c_void,
    ) -> c_int {
        if action == bindings::netdev_cmd_NETDEV_UNREGISTER as c_ulong {
            // SAFETY: The caller holds the mutex for the duration of this callback.
            let rtnl = unsafe { Rtnl::assume_held() };
            // SAFETY: By the requirement it begins with a device, which is there until RTNL is released,
            // and until then in a namespace that is.
            unsafe {
                let dev = (*info.cast::<bindings::netdev_notifier_info>()).dev;
                // Said again and again while somebody holds the device. Another one may have its index by then.
                if (*dev).reg_state == REG_UNREGISTERED {
                    return 0;
                }
                let net = Net::from_raw(bindings::dev_net(dev));
                // CAST: Never negative.
                W::gone(&rtnl, net, (*dev).ifindex as u32);
            }
        }
        // `NOTIFY_DONE`.
        0
    }
}

impl<W: Watch> Drop for Watcher<W> {
    fn drop(&mut self) {
        let block = self.block.as_ptr();
        // SAFETY: Registered by the type invariants. It fails for one that is not, only.
        unsafe { bindings::unregister_netdevice_notifier(block.cast()) };
        // SAFETY: From `into_raw`, by the type invariants. The chain is walked under RTNL, which was held to
        // take it out, so nobody uses it.
        drop(unsafe { KBox::from_raw(block) });
    }
}
