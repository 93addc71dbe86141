// SPDX-License-Identifier: GPL-2.0
//! Where the kernel calls the driver about interfaces: their life, namespaces that go, the machine
//! going to sleep or being cloned.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use wgk::{
    atomic::Relaxed,
    netdevice::{
        for_each_device,
        Driver,
        NetDevCell,
        NetDevice,
        RegisteredDevice,
        Setup,
        Watch, //
    },
    netns::{
        Net,
        PernetHandler, //
    },
    notifier::{
        Notify,
        Sleep,
        VmFork,
        Wake,
        SLEEPS_ROUTINELY, //
    },
    rcu::{
        read_lock,
        RcuArc, //
    },
    rtnl::Rtnl,
    skbuff::{
        TxPacket,
        DATA_HEADROOM, //
    },
    workqueue::WorkQueue, //
};

use crate::{
    bind,
    device::Device,
    drops,
    events::{
        self,
        Cause, //
    },
    messages::{
        AUTHTAG_LEN,
        MESSAGE_MINIMUM_LENGTH,
        MESSAGE_PADDING_MULTIPLE, //
    },
    napis::NapiSet,
    peer::{
        self,
        Peer, //
    },
    queueing::{
        Handler,
        Task, //
    },
    receive::{
        Decrypt,
        Handshakes, //
    },
    resources::{
        HandshakeWorkers,
        Resources,
        Tasks, //
    },
    send::{
        self,
        Encrypt, //
    },
    session::Session,
    socket, //
};

/// What the stages of a device do.
struct DataPath<'a>(&'a RcuArc<Device>);

impl Tasks for DataPath<'_> {
    fn handshake(&self) -> Result<KBox<dyn Handler>> {
        Ok(KBox::new(Handshakes(self.0.clone()), GFP_KERNEL)?)
    }

    fn encrypt(&self, crypt_wq: &Arc<WorkQueue>) -> Result<KBox<dyn Task<Session>>> {
        Ok(KBox::new(Encrypt(crypt_wq.clone()), GFP_KERNEL)?)
    }

    fn decrypt(&self, napis: &Arc<NapiSet<Peer>>) -> Result<KBox<dyn Task<Session>>> {
        Ok(KBox::new(Decrypt(napis.clone()), GFP_KERNEL)?)
    }
}

/// The driver that creates and serves interfaces of kind `wireguard`.
pub(crate) struct WireGuard;

impl Driver for WireGuard {
    type Device = Device;
    // Not the module's name: users ask for this kind, whichever module provides it.
    const KIND: &'static CStr = c"wireguard";

    const STATISTICS: &'static [&'static str] = drops::TOTALS;

    fn statistics(device: &Device, out: &mut [u64]) {
        device.drops.totals(out);
    }

    fn dev_cell(device: &Device) -> &NetDevCell {
        &device.dev
    }

    fn setup(s: &mut Setup<'_>) {
        const ETH_DATA_LEN: u32 = 1500;
        const IPV6_HEADER_LEN: u32 = 40;
        const UDP_HEADER_LEN: u32 = 8;
        let overhead = MESSAGE_MINIMUM_LENGTH as u32 + UDP_HEADER_LEN + IPV6_HEADER_LEN;
        let largest = i32::MAX as u32 / MESSAGE_PADDING_MULTIPLE as u32
            * MESSAGE_PADDING_MULTIPLE as u32
            - overhead;
        s.tunnel(ETH_DATA_LEN - overhead, largest);
        s.room(
            DATA_HEADROOM as u16,
            (MESSAGE_PADDING_MULTIPLE + AUTHTAG_LEN) as u16,
        );
    }

    fn newlink(rtnl: &Rtnl, dev: &NetDevice, link_net: &Net) -> Result<RcuArc<Device>> {
        // As the C driver does; `threaded` in sysfs shows and switches it.
        dev.threaded_napi(rtnl);
        let device = Device::new(dev.name(), link_net)?;
        let tasks = DataPath(&device);
        let handshakes = HandshakeWorkers::new(dev, &tasks)?;
        let resources = Resources::new(dev, &tasks, &handshakes)?;
        device.resources.replace(Some(resources));
        *device.handshakes.lock() = Some(handshakes);
        Ok(device)
    }

    fn registered(dev: &RegisteredDevice, device: &RcuArc<Device>) {
        wgk::object_debug!("{}: Interface created\n", dev.name());
        events::device_added(device);
    }

    fn open(rtnl: &Rtnl, device: &RcuArc<Device>, dev: &RegisteredDevice) -> Result {
        dev.no_redirects(rtnl);
        let config = device.config.lock();
        let port = device.listen_port.load(Relaxed) as u16;
        socket::init(device, config.binding.present()?, port)?;
        device.set_up(&config, true);
        config.each_peer(|peer| {
            send::send_staged(RcuArc::as_rcu_ref(peer));
            if peer.keepalive_ns() != 0 {
                send::send_keepalive(RcuArc::as_rcu_ref(peer));
            }
        });
        Ok(())
    }

    fn stop(_rtnl: &Rtnl, device: &RcuArc<Device>, _dev: &RegisteredDevice) {
        {
            let config = device.config.lock();
            device.set_up(&config, false);
            config.each_peer(|peer| {
                peer.purge_staged();
                peer.clear_handshake();
                peer.clear_keypairs();
                peer.reset_last_sent_handshake();
            });
        }
        let guard = read_lock();
        if let Some(resources) = device.resources.load(&guard) {
            resources.handshake.purge();
        }
        drop(guard);
        socket::close(device);
    }

    fn xmit(device: &Device, dev: &RegisteredDevice, packet: TxPacket<'_>) -> Result {
        send::xmit(device, dev, packet)
    }

    fn uninit(rtnl: &Rtnl, device: &RcuArc<Device>, dev: &NetDevice) {
        device.keep_name(dev.name());
        socket::close(device);
        {
            let mut config = device.config.lock();
            config.local_gso = None;
            device.listen_port.store(0, Relaxed);
        }
        *device.identity.write() = None;
        // Nobody is found, and nothing begun, from here on.
        device.resources.replace(None);
        // Now that next to nothing can be told of it any more, and before it is out of reach.
        let cause = match dev.net(rtnl).try_get() {
            Some(_) => Cause::Interface,
            None => Cause::Namespace,
        };
        events::device_removed(device, cause);
    }

    fn destroyed(device: &Device) {
        // Without RTNL: a million of them take seconds, and all that they did has ended.
        peer::remove_all(device, &mut device.config.lock());
        // Not before: what they wait for may take as long as the machine sleeps.
        let handshakes = device.handshakes.lock().take();
        drop(handshakes);
        wgk::object_debug!("{}: Interface destroyed\n", device.name());
    }
}

/// The namespace in which interfaces were created goes away: those that live elsewhere lose their
/// sockets, for good.
impl PernetHandler for WireGuard {
    fn exit_rtnl(rtnl: &Rtnl, net: &Net) {
        for_each_device::<WireGuard>(rtnl, |device| {
            if !device.creating_net.is(net) {
                return;
            }
            let guard = read_lock();
            if let Some(dev) = device.dev.get(&guard) {
                wgk::object_debug!("{}: Creating namespace exiting\n", dev.name());
                dev.carrier_off();
            }
            drop(guard);
            let mut config = device.config.lock();
            // The namespace takes its hook along.
            config.local_gso = None;
            socket::close(device);
            config.each_peer(|p| p.clear_endpoint_source());
            events::device_changed(device, Cause::Namespace);
        });
    }
}

/// A network device goes that sockets may be bound to.
impl Watch for WireGuard {
    fn gone(rtnl: &Rtnl, net: &Net, ifindex: u32) {
        for_each_device::<WireGuard>(rtnl, |device| bind::gone(device, net, ifindex));
    }
}

/// Before the machine sleeps, keys leave memory: whoever takes it in that state shall not find them.
impl Notify<Sleep> for WireGuard {
    fn notify(&self) {
        // A machine that sleeps and wakes all the time would never keep a session.
        if SLEEPS_ROUTINELY {
            return;
        }
        let rtnl = Rtnl::lock();
        for_each_device::<WireGuard>(&rtnl, |device| {
            let config = device.config.lock();
            device.forget_callers();
            config.each_peer(|peer| {
                peer.cancel_zero_key_timer();
                peer.clear_handshake();
                peer.clear_keypairs();
                // Nobody would hear of it, as the interface stays up.
                Peer::doubt_session(peer);
            });
        });
        drop(rtnl);
        wgk::rcu::barrier();
    }
}

/// After the machine has slept, sessions that it kept, or made at the last moment, may be too old, which
/// timers don't notice.
impl Notify<Wake> for WireGuard {
    fn notify(&self) {
        let rtnl = Rtnl::lock();
        for_each_device::<WireGuard>(&rtnl, |device| {
            device.config.lock().each_peer(Peer::doubt_session);
        });
    }
}

/// A virtual machine was cloned: the same keys with the same counters now exist twice.
impl Notify<VmFork> for WireGuard {
    fn notify(&self) {
        let rtnl = Rtnl::lock();
        for_each_device::<WireGuard>(&rtnl, |device| {
            let config = device.config.lock();
            config.each_peer(|p| p.expire_keypairs());
        });
    }
}
