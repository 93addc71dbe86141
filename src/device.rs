// SPDX-License-Identifier: GPL-2.0
//! The device behind a network interface: its state, and what its peers share.
//!
//! The interface's private area holds one reference to the [`Device`], every peer holds another.
//! The reverse way, to the `net_device`, is [`NetDevCell`]: readable under RCU from registration to
//! `ndo_uninit`, empty afterwards. `ndo_uninit` is where everything ends that is going on: queues run
//! dry, workers and NAPI instances stop. What is freed later has no way back to the interface: peers,
//! which the destructor unlinks, without RTNL, and which go after their grace period.

use kernel::{
    new_mutex,
    new_work,
    prelude::*,
    sync::Mutex,
    workqueue::{
        impl_has_work,
        HasWork,
        Work,
        WorkItem, //
    }, //
};

use wgk::{
    atomic::{
        Acquire,
        Atomic,
        HotAtomic,
        Relaxed,
        Release, //
    },
    cpu,
    lock::{
        new_rwsem,
        new_spinlock_bh,
        RwSemaphore,
        SpinLockBh, //
    },
    netdevice::{
        Counter,
        NetDevCell,
        NetName, //
    },
    netfilter::LocalIn,
    netns::{
        Net,
        WeakNet, //
    },
    rcu::{
        read_lock,
        RcuArc,
        RcuObject,
        RcuSyncCell, //
    },
    timer::{
        new_timer,
        Timer, //
    },
    udp_tunnel::{
        Bound,
        Endpoint,
        SocketPair, //
    }, //
};

use crate::{
    admission::Admission,
    allowedips::{
        self,
        AllowedIps, //
    },
    callers::Callers,
    drops::Drops,
    inline::Crowd,
    noise::StaticIdentity,
    peer::Peer,
    peerlist::PeerList,
    resources::{
        HandshakeWorkers,
        Resources, //
    }, //
};

/// Work item: answer the calls of peers that were added since.
pub(crate) const WORK_ANSWER: u64 = 0;
/// Work item: look whether the load is over.
pub(crate) const WORK_LOAD: u64 = 1;

/// What the sockets are bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// This, besides their port.
    To(Bound),
    /// A network device that is gone: there are no sockets until they are bound anew.
    Gone(Bound),
}

impl Binding {
    /// To nothing.
    pub(crate) const NONE: Self = Self::To(Bound::ANY);

    /// What sockets are to be bound to; `ENODEV` there can be none.
    pub(crate) fn present(&self) -> Result<&Bound> {
        match self {
            Self::To(bound) => Ok(bound),
            Self::Gone(_) => Err(ENODEV),
        }
    }

    /// What was asked for.
    pub(crate) fn bound(&self) -> &Bound {
        match self {
            Self::To(bound) | Self::Gone(bound) => bound,
        }
    }
}

/// What the device lock protects: the configuration.
pub(crate) struct Config {
    /// The device's peers, in the order in which they were added.
    pub(crate) peers: PeerList<RcuArc<Peer>>,
    /// The right to change the trie of allowed IPs.
    pub(crate) prefixes: allowedips::Writer<Peer>,
    /// Has what this host's other interfaces and namespaces send taken whole, in the namespace of the
    /// sockets.
    pub(crate) local_gso: Option<LocalIn>,
    /// What the sockets are bound to.
    pub(crate) binding: Binding,
    /// Counts private keys, so that what was computed from an older one can be told.
    identity_generation: u64,
}

impl Config {
    /// Whether the private key was ever set or cleared.
    pub(crate) fn key_was_set(&self) -> bool {
        self.identity_generation != 0
    }

    /// Calls `f` for each peer, and lets others run in between: there may be a million. Process
    /// context; may sleep.
    pub(crate) fn each_peer(&self, mut f: impl FnMut(&RcuArc<Peer>)) {
        for peer in self.peers.iter() {
            f(peer);
            cpu::cond_resched();
        }
    }
}

/// One WireGuard device.
///
/// Its locks, and how they nest, are in the table of Documentation/architecture.md.
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
    /// The workers of handshakes, until `ndo_uninit` is over and RTNL released.
    #[pin]
    pub(crate) handshakes: Mutex<Option<HandshakeWorkers>>,
    #[pin]
    pub(crate) config: Mutex<Config>,
    /// Counts changes by netlink, so that a dump in parts can tell that it is not of one moment.
    /// Written with the device lock held.
    pub(crate) generation: Atomic<u32>,
    /// Our key pair, if set. Written with the device lock held.
    #[pin]
    pub(crate) identity: RwSemaphore<Option<StaticIdentity>>,
    /// Which handshake messages are worked on.
    #[pin]
    pub(crate) admission: Admission,
    pub(crate) allowed_ips: AllowedIps<Peer>,
    /// Mark of outer packets, 0 for none.
    pub(crate) fwmark: HotAtomic<u32>,
    /// Whether outer packets have the DSCP of what is in them, and not 0. Written with the device lock held.
    pub(crate) copy_dscp: HotAtomic<bool>,
    /// Index of the network device that the sockets are bound to, 0 for none. Written with the device lock
    /// held.
    pub(crate) bound_to: Atomic<u32>,
    /// Port of the sockets, or the one to use when they are opened; 0: any.
    pub(crate) listen_port: Atomic<u32>,
    /// When the log was last told of a route that loops. Boot time in nanoseconds.
    pub(crate) loop_told_ns: Atomic<u64>,
    /// For [`Peer::inline`].
    pub(crate) crowd: Crowd,
    /// Between `ndo_open` and `ndo_stop`.
    up: HotAtomic<bool>,
    /// What was dropped, by reason.
    pub(crate) drops: Drops,
    /// Held while a peer is told of, from looking where it is until that is sent: what is told of that
    /// last is so.
    #[pin]
    pub(crate) telling: SpinLockBh<()>,
    /// Who called and is not configured, while somebody listens: see `on_demand.rs`.
    #[pin]
    pub(crate) callers: SpinLockBh<Callers<Endpoint>>,
    #[pin]
    callers_timer: Timer<Device>,
    #[pin]
    callers_work: Work<Device, WORK_ANSWER>,
    /// Whether it was told last that load began: see `overload.rs`.
    #[pin]
    pub(crate) load_told: SpinLockBh<bool>,
    #[pin]
    load_timer: Timer<Device, 1>,
    #[pin]
    load_work: Work<Device, WORK_LOAD>,
}

wgk::impl_has_timer! { impl HasTimer for Device { self.callers_timer } }
wgk::impl_has_timer! { impl HasTimer<1> for Device { self.load_timer } }
impl_has_work! { impl HasWork<Device, 0> for Device { self.callers_work } }
impl_has_work! { impl HasWork<Device, 1> for Device { self.load_work } }

impl RcuObject for Device {}

impl Device {
    /// A device of an interface that is called `name` and was created in `net`. May sleep.
    pub(crate) fn new(name: NetName, net: &Net) -> Result<RcuArc<Self>> {
        let (allowed_ips, prefixes) = AllowedIps::new();
        RcuArc::pin_init(
            try_pin_init!(Self {
                dev: NetDevCell::new(),
                last_name <- new_spinlock_bh!(name, "Device::last_name"),
                creating_net: WeakNet::new(net)?,
                sockets: RcuSyncCell::new(None),
                resources: RcuSyncCell::new(None),
                handshakes <- new_mutex!(None, "Device::handshakes"),
                config <- new_mutex!(Config {
                    peers: PeerList::default(),
                    prefixes,
                    local_gso: None,
                    binding: Binding::NONE,
                    identity_generation: 0,
                }, "Device::config"),
                generation: Atomic::new(1),
                identity <- new_rwsem!(None, "Device::identity"),
                admission <- Admission::new(),
                allowed_ips,
                fwmark: HotAtomic::new(0),
                copy_dscp: HotAtomic::new(false),
                bound_to: Atomic::new(0),
                listen_port: Atomic::new(0),
                loop_told_ns: Atomic::new(0),
                crowd: Crowd::new(),
                up: HotAtomic::new(false),
                drops: Drops::new()?,
                telling <- new_spinlock_bh!((), "Device::telling"),
                callers <- new_spinlock_bh!(Callers::new(), "Device::callers"),
                callers_timer <- new_timer!(),
                callers_work <- new_work!("wireguard::answer"),
                load_told <- new_spinlock_bh!(false, "Device::load_told"),
                load_timer <- new_timer!(),
                load_work <- new_work!("wireguard::load"),
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

    /// Counts a change of the configuration that peers are told of with. Device lock held, before that.
    pub(crate) fn grow_generation(&self) {
        let next = self.generation.load(Relaxed).wrapping_add(1);
        self.generation.store(next, Relaxed);
    }

    /// Whether there are sockets.
    pub(crate) fn has_sockets(&self) -> bool {
        self.sockets.load(&read_lock()).is_some()
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
            dev.rx_stats_add(1, bytes as u64);
        }
    }

    /// Keeps the name that the interface has at its end.
    pub(crate) fn keep_name(&self, name: NetName) {
        *self.last_name.lock() = name;
    }

    /// Takes a key pair, or `None` to have none, and has `each` peer told, and whether this is the
    /// first key of an interface that is up. No handshake goes on meanwhile. Device lock held; may
    /// sleep.
    pub(crate) fn set_identity(
        &self,
        config: &mut Config,
        mut identity: Option<StaticIdentity>,
        each: impl Fn(&RcuArc<Peer>, bool),
    ) {
        config.identity_generation += 1;
        if let Some(identity) = identity.as_mut() {
            identity.generation = config.identity_generation;
        }
        let mut current = self.identity.write();
        let first = current.is_none() && identity.is_some() && self.is_up();
        self.admission
            .set_identity(identity.as_ref().map(|i| i.public()));
        *current = identity;
        self.forget_callers();
        config.each_peer(|peer| each(peer, first));
    }

    /// Has a work of the device's own queued, unless the interface goes. Any context.
    pub(crate) fn call<const ID: u64>(this: &RcuArc<Self>)
    where
        Self: WorkItem<ID, Pointer = RcuArc<Self>> + HasWork<Self, ID>,
    {
        let guard = read_lock();
        if let Some(resources) = this.resources.load(&guard) {
            resources.handshake_send_wq.enqueue::<_, ID>(this.clone());
        }
    }

    /// Forgets who called: nobody is to answer any more. Any context.
    pub(crate) fn forget_callers(&self) {
        self.callers_timer.disarm();
        // After that: what is noted meanwhile has its timer.
        self.callers.lock().clear();
    }

    /// Sets all timers of all peers free to run, or stops them.
    pub(crate) fn set_up(&self, config: &Config, up: bool) {
        self.up.store(up, Release);
        if !up {
            self.forget_callers();
        }
        config.each_peer(|peer| Peer::enable_timers(peer, up));
    }
}
