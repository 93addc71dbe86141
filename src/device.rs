// SPDX-License-Identifier: GPL-2.0
//! The device behind a network interface: its life, and what its peers share.
//!
//! The interface's private area holds one reference to the [`Device`], every peer holds another.
//! The reverse way, to the `net_device`, is [`NetDevCell`]: readable under RCU from registration to
//! `ndo_uninit`, empty afterwards. `ndo_uninit` is where everything ends: peers are unlinked, queues
//! run dry, workers and NAPI instances stop. What is freed later (peers after their grace period)
//! has no way back to the interface.

use core::sync::atomic::{
    AtomicBool,
    AtomicU16,
    AtomicU32,
    Ordering::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};

use kernel::{
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::Mutex, //
};

use wgk::{
    extack::ExtAck,
    lock::{
        new_rwsem,
        new_spinlock_bh,
        RwSemaphore,
        SpinLockBh, //
    },
    netdevice::{
        for_each_device,
        Counter,
        Driver,
        NetDevCell,
        NetDevice,
        NetName,
        Setup, //
    },
    netns::{
        Net,
        PernetHandler,
        WeakNet, //
    },
    notifier::{
        Notify,
        Sleep,
        VmFork,
        SLEEPS_ROUTINELY, //
    },
    rcu::{
        read_lock,
        RcuArc,
        RcuObject,
        RcuSyncCell, //
    },
    rtnl::Rtnl,
    siphash::SipKey,
    skbuff::{
        SkBuff,
        DATA_HEADROOM, //
    },
    udp_tunnel::{
        Endpoint,
        SocketPair, //
    }, //
};

use crate::{
    allowedips::{
        self,
        AllowedIps, //
    },
    cookie::{
        self,
        MacState, //
    },
    drops::{
        self,
        Drops,
        Reason, //
    },
    load::Load,
    messages::{
        CookieReply,
        AUTHTAG_LEN,
        COOKIE_LEN,
        MESSAGE_MINIMUM_LENGTH,
        MESSAGE_PADDING_MULTIPLE, //
    },
    noise::StaticIdentity,
    peer::{
        self,
        Peer, //
    },
    queueing::Resources,
    ratelimiter::{
        RateLimiter,
        MAX_ENTRIES, //
    },
    receive::{
        cookie_source,
        fresh_cookie_nonce,
        fresh_cookie_secret, //
    },
    send,
    socket, //
};

/// Peers of a device in the order in which they were added.
#[derive(Default)]
pub(crate) struct Peers {
    tree: RBTree<u64, RcuArc<Peer>>,
    len: usize,
}

impl Peers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds `peer` at the end. `ENOMEM` without memory.
    pub(crate) fn add(&mut self, peer: RcuArc<Peer>) -> Result {
        self.tree.try_create_and_insert(peer.id, peer, GFP_KERNEL)?;
        self.len += 1;
        Ok(())
    }

    /// Takes the peer with number `id` out.
    pub(crate) fn remove(&mut self, id: u64) {
        if self.tree.remove(&id).is_some() {
            self.len -= 1;
        }
    }

    /// Whether the peer with number `id` is there.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.tree.get(&id).is_some()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RcuArc<Peer>> {
        self.tree.values()
    }

    /// What `f` returns for the first one whose number is above `id`.
    pub(crate) fn with_next<R>(&self, id: u64, f: impl FnOnce(&RcuArc<Peer>) -> R) -> Option<R> {
        let cursor = self.tree.cursor_lower_bound(&(id + 1))?;
        Some(f(cursor.current().1))
    }
}

/// What the device lock protects: the configuration.
pub(crate) struct Config {
    /// The device's peers.
    pub(crate) peers: Peers,
    /// The right to change the trie of allowed IPs.
    pub(crate) prefixes: allowedips::Writer<Peer>,
    /// Counts changes by netlink, so that a dump in parts can tell that it is not of one moment.
    pub(crate) generation: u32,
    /// Counts private keys, so that what was computed from an older one can be told.
    identity_generation: u64,
}

impl Config {
    /// Whether the private key was ever set or cleared.
    pub(crate) fn key_was_set(&self) -> bool {
        self.identity_generation != 0
    }
}

/// Whether a handshake message is to be answered with a cookie, instead of being worked on.
#[derive(Clone, Copy)]
pub(crate) struct NeedsCookie(pub(crate) bool);

/// One WireGuard device.
///
/// Locks, in the order in which they nest: RTNL → `config` → `identity` → a peer's `handshake` →
/// the spin locks. Documentation/architecture has the whole picture.
#[pin_data]
pub(crate) struct Device {
    /// The interface, while it is registered.
    pub(crate) dev: NetDevCell,
    /// The name the interface had last, for lines about what outlives it.
    #[pin]
    last_name: SpinLockBh<NetName>,
    /// The namespace that the sockets belong to: where the interface was created.
    pub(crate) creating_net: WeakNet,
    pub(crate) sockets: RcuSyncCell<SocketPair<Device>>,
    pub(crate) resources: RcuSyncCell<Resources>,
    #[pin]
    pub(crate) config: Mutex<Config>,
    /// Our key pair, if set. Written with the device lock held.
    #[pin]
    pub(crate) identity: RwSemaphore<Option<StaticIdentity>>,
    #[pin]
    cookies: RwSemaphore<cookie::Checker>,
    /// Made when first under load.
    #[pin]
    rate_limiter: Mutex<Option<RateLimiter>>,
    pub(crate) allowed_ips: AllowedIps<Peer>,
    /// Mark of outer packets, 0 for none.
    pub(crate) fwmark: AtomicU32,
    /// Port of the sockets, or the one to use when they are opened; 0: any.
    pub(crate) listen_port: AtomicU16,
    /// Whether handshake messages need a cookie.
    pub(crate) load: Load,
    /// Between `ndo_open` and `ndo_stop`.
    up: AtomicBool,
    /// What was dropped, by reason.
    pub(crate) drops: Drops,
}

impl RcuObject for Device {}

impl Device {
    fn new(name: NetName, net: &Net) -> Result<RcuArc<Self>> {
        let (allowed_ips, prefixes) = AllowedIps::new();
        RcuArc::pin_init(
            try_pin_init!(Self {
                dev: NetDevCell::new(),
                last_name <- new_spinlock_bh!(name),
                creating_net: WeakNet::new(net)?,
                sockets: RcuSyncCell::new(None),
                resources: RcuSyncCell::new(None),
                config <- new_mutex!(Config {
                    peers: Peers::default(),
                    prefixes,
                    generation: 1,
                    identity_generation: 0,
                }),
                identity <- new_rwsem!(None),
                cookies <- new_rwsem!(cookie::Checker::new()),
                rate_limiter <- new_mutex!(None),
                allowed_ips,
                fwmark: AtomicU32::new(0),
                listen_port: AtomicU16::new(0),
                load: Load::new(),
                up: AtomicBool::new(false),
                drops: Drops::new()?,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The interface's name; of an interface that is gone, its last one. Any context.
    pub(crate) fn name(&self) -> NetName {
        let guard = read_lock();
        match self.dev.get(&guard) {
            Some(dev) => dev.name(),
            None => *self.last_name.lock(),
        }
    }

    /// Whether the interface is up.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Acquire)
    }

    /// Adds to a counter of the interface, while there is one. Any context.
    pub(crate) fn count(&self, counter: Counter, n: u64) {
        let guard = read_lock();
        if let Some(dev) = self.dev.get(&guard) {
            dev.count(counter, n);
        }
    }

    /// Counts a received message of `bytes` in the interface's statistics. Any context.
    pub(crate) fn rx_stats_add(&self, bytes: usize) {
        let guard = read_lock();
        if let Some(dev) = self.dev.get(&guard) {
            dev.rx_stats_add(bytes);
        }
    }

    // ---- cookies ----

    /// Whether a handshake message may be worked on, by its MACs and by how many came from its
    /// source; an error if it's to be dropped, else whether it's to be answered with a cookie
    /// instead. Process context.
    pub(crate) fn check_macs(
        &self,
        message: &[u8],
        source: &Endpoint,
        under_load: bool,
        now_ns: u64,
    ) -> Result<NeedsCookie, Reason> {
        let mut bytes = [0; 18];
        let len = cookie_source(source, &mut bytes);
        if under_load && self.cookies.read().secret_due(now_ns) {
            self.cookies
                .write()
                .renew_secret(now_ns, fresh_cookie_secret);
        }
        let state = self
            .cookies
            .read()
            .mac_state(message, &bytes[..len], under_load, now_ns);
        match state {
            MacState::Invalid => Err(Reason::HandshakeMac),
            MacState::ValidNoCookie => Ok(NeedsCookie(under_load)),
            MacState::ValidWithCookie => source
                .ip()
                .filter(|ip| self.within_rate(*ip, now_ns))
                .map(|_| NeedsCookie(false))
                .ok_or(Reason::HandshakeRate),
        }
    }

    /// Whether `source` may have another handshake message processed now.
    fn within_rate(&self, source: core::net::IpAddr, now_ns: u64) -> bool {
        let mut limiter = self.rate_limiter.lock();
        if limiter.is_none() {
            *limiter = RateLimiter::new(SipKey::random(), MAX_ENTRIES).ok();
        }
        match (*limiter).as_mut() {
            Some(limiter) => limiter.allow(0, source, now_ns),
            // No memory for the limiter: under load, that is a reason to refuse.
            None => false,
        }
    }

    /// Gives back what being under load took. By now every bucket would be full again.
    pub(crate) fn end_of_load(&self) {
        *self.rate_limiter.lock() = None;
    }

    /// A cookie reply to the handshake message with this MAC1 from `to`.
    pub(crate) fn make_cookie_reply(
        &self,
        mac1: &[u8; COOKIE_LEN],
        to: &Endpoint,
        sender_index: u32,
        now_ns: u64,
    ) -> Option<CookieReply> {
        let mut bytes = [0; 18];
        let len = cookie_source(to, &mut bytes);
        self.cookies.read().make_reply(
            mac1,
            &bytes[..len],
            sender_index,
            fresh_cookie_nonce(),
            now_ns,
        )
    }

    // ---- identity ----

    /// Sets or, with a null key, clears the private key. Device lock held; may sleep.
    ///
    /// Peers' sessions stop being used for sending: they were made with the old key. A peer that has
    /// the new key as its own is removed: a device does not talk to itself.
    pub(crate) fn set_private_key(
        &self,
        config: &mut Config,
        mut identity: Option<StaticIdentity>,
    ) {
        config.identity_generation += 1;
        if let Some(identity) = identity.as_mut() {
            identity.generation = config.identity_generation;
        }
        if let Some(peer) = identity
            .as_ref()
            .and_then(|identity| self.peer_by_key(identity.public()))
        {
            peer::remove(config, &peer);
        }
        let mut current = self.identity.write();
        let first = current.is_none() && identity.is_some() && self.is_up();
        self.cookies
            .write()
            .set_identity(identity.as_ref().map(|i| i.public()));
        *current = identity;
        for peer in config.peers.iter() {
            peer.expire_keypairs();
            if first {
                send::send_staged(RcuArc::as_rcu_ref(peer));
            }
        }
    }

    /// Sets all timers of all peers free to run, or stops them.
    fn set_up(&self, config: &Config, up: bool) {
        self.up.store(up, Release);
        for peer in config.peers.iter() {
            peer.enable_timers(up);
        }
    }

    /// Ends the device: see the module's description. Process context, RTNL held.
    fn shut_down(&self) {
        socket::close(self);
        {
            let mut config = self.config.lock();
            self.listen_port.store(0, Relaxed);
            peer::remove_all(self, &mut config);
        }
        *self.identity.write() = None;
        self.resources.replace(None);
    }
}

/// The driver that creates and serves interfaces of kind `wireguard`.
pub(crate) struct WireGuard;

impl Driver for WireGuard {
    type Device = Device;
    // Not the module's name: users ask for this kind, whichever module provides it.
    const KIND: &'static CStr = c"wireguard";

    const STATISTICS: &'static [&'static str] = drops::NAMES;

    fn statistics(device: &Device, out: &mut [u64]) {
        device.drops.read(out);
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

    fn newlink(
        rtnl: &Rtnl,
        dev: &NetDevice,
        link_net: &Net,
        _extack: &ExtAck,
    ) -> Result<RcuArc<Device>> {
        // As the C driver does; `threaded` in sysfs shows and switches it.
        dev.threaded_napi(rtnl);
        let device = Device::new(dev.name(), link_net)?;
        let resources = Resources::new(&device, dev)?;
        device.resources.replace(Some(resources));
        Ok(device)
    }

    fn registered(dev: &NetDevice, _device: &RcuArc<Device>) {
        wgk::object_debug!("{}: Interface created\n", dev.name());
    }

    fn open(rtnl: &Rtnl, device: &RcuArc<Device>, dev: &NetDevice) -> Result {
        dev.no_redirects(rtnl);
        let config = device.config.lock();
        socket::init(device, device.listen_port.load(Relaxed))?;
        device.set_up(&config, true);
        for peer in config.peers.iter() {
            send::send_staged(RcuArc::as_rcu_ref(peer));
            if peer.keepalive_ns() != 0 {
                send::send_keepalive(RcuArc::as_rcu_ref(peer));
            }
        }
        Ok(())
    }

    fn stop(_rtnl: &Rtnl, device: &RcuArc<Device>, _dev: &NetDevice) {
        {
            let config = device.config.lock();
            device.set_up(&config, false);
            for peer in config.peers.iter() {
                peer.purge_staged();
                peer.clear_handshake();
                peer.clear_keypairs();
                peer.reset_last_sent_handshake();
            }
        }
        let guard = read_lock();
        if let Some(resources) = device.resources.load(&guard) {
            resources.handshake.context().purge();
        }
        drop(guard);
        socket::close(device);
    }

    fn xmit(device: &Device, dev: &NetDevice, skb: SkBuff) -> Result {
        send::xmit(device, dev, skb)
    }

    fn uninit(_rtnl: &Rtnl, device: &RcuArc<Device>, dev: &NetDevice) {
        *device.last_name.lock() = dev.name();
        device.shut_down();
    }

    fn destroyed(device: &Device) {
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
            let config = device.config.lock();
            socket::close(device);
            // A cached route holds its namespace.
            config.peers.iter().for_each(|p| p.clear_endpoint_source());
        });
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
            for peer in config.peers.iter() {
                peer.cancel_zero_key_timer();
                peer.clear_handshake();
                peer.clear_keypairs();
            }
        });
        drop(rtnl);
        wgk::rcu::barrier();
    }
}

/// A virtual machine was cloned: the same keys with the same counters now exist twice.
impl Notify<VmFork> for WireGuard {
    fn notify(&self) {
        let rtnl = Rtnl::lock();
        for_each_device::<WireGuard>(&rtnl, |device| {
            let config = device.config.lock();
            config.peers.iter().for_each(|p| p.expire_keypairs());
        });
    }
}
