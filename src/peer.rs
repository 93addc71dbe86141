// SPDX-License-Identifier: GPL-2.0
//! A peer: its identity, keys, queues, endpoint and timers.
//!
//! Who holds a peer: the device's list of peers, the public-key table, its prefixes in the trie,
//! its sessions, its queued work. [`unlink`] takes away the first three and empties the sessions;
//! what is under way then finishes by itself and the last reference frees the peer after a grace
//! period. Nothing waits for that, so removing a peer costs no synchronous grace period.
//!
//! Its locks, and how they nest, are in the table of Documentation/architecture.md.

use core::mem;

use kernel::{
    new_mutex,
    new_work,
    prelude::*,
    sync::Mutex,
    workqueue::{
        impl_has_work,
        Work, //
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
    batch::OrderQueue,
    cpu,
    crypto::Secret,
    hashtable::KeyNode,
    lock::{
        new_rwlock_bh,
        new_spinlock_bh,
        RwLockBh,
        SpinLockBh, //
    },
    netdevice::Counter,
    rcu::{
        read_lock,
        RcuArc,
        RcuObject, //
    },
    sched_list::SchedNode,
    skb_list::SkbList,
    slab::SlabCache,
    time::{
        boottime_coarse_ns,
        mono_coarse_ns,
        realtime, //
    },
    timer::{
        new_timer,
        Timer, //
    },
    trace, //
};

use crate::{
    allowedips::{
        HasPrefixes,
        PrefixList, //
    },
    conduct::Pace,
    cookie::PeerCookie,
    device::{
        Config,
        Device, //
    },
    drops::{
        PeerDrops,
        Reason, //
    },
    failure::{
        Failure,
        Failures,
        Noted, //
    },
    fit::Fit,
    inline::Inline,
    keypairs::{
        Keypairs,
        Rotation, //
    },
    messages::MAX_PEERS_PER_DEVICE,
    noise::Handshake,
    resources,
    session::{
        side_name,
        Session, //
    },
    timers::{
        Action,
        Timers, //
    }, //
};

mod path;

pub(crate) use path::Path;

/// Numbers peers for the lifecycle lines and for the order of dumps, across all devices.
static PEER_COUNTER: Atomic<u64> = Atomic::new(0);

/// Memory of peers: there may be a million, and `kmalloc()` would round each up to 1024 bytes.
static CACHE: SlabCache<Peer> = SlabCache::new(c"wireguard_rs_peer");

/// Makes peers possible. For the module's init; sleeps.
pub(crate) fn create_cache() -> Result {
    CACHE.create()
}

/// Work item: send a handshake initiation.
pub(crate) const WORK_HANDSHAKE: u64 = 0;
/// Work item: send what is encrypted, in order.
pub(crate) const WORK_TRANSMIT: u64 = 1;
/// Work item: wipe key material that has outlived its use.
pub(crate) const WORK_CLEAR: u64 = 2;

/// The Noise state and the session that it's going to produce.
pub(crate) struct HandshakeState {
    /// Keys and hashes of the handshake under way.
    pub(crate) noise: Handshake,
    /// Holds the index that the handshake's messages carry, in the index table from then on.
    pub(crate) pending: Option<RcuArc<Session>>,
}

/// Timer deadlines and what is read beside them.
pub(crate) struct TimerState {
    /// The protocol's timers, and ours.
    pub(crate) timers: Timers,
    /// Wall clock of the last completed handshake, in nanoseconds since 1970, zero if none; for dumps.
    pub(crate) last_handshake_ns: u64,
    /// What went wrong with handshakes; for dumps.
    pub(crate) failures: Failures,
}

/// One peer of a device: on the stock kernel of amd64 1,000 bytes, and 24 of [`RcuArc`], so that 16 share four pages.
#[pin_data]
pub(crate) struct Peer {
    /// Number in the lifecycle lines; increases with time of creation.
    pub(crate) id: u64,
    /// Whose peer this is.
    pub(crate) device: RcuArc<Device>,
    #[pin]
    key: KeyNode,
    #[pin]
    pub(crate) handshake: Mutex<HandshakeState>,
    #[pin]
    rotation: SpinLockBh<Rotation>,
    pub(crate) keypairs: Keypairs<Session>,
    #[pin]
    pub(crate) path: RwLockBh<Path>,
    /// The number of the address and port in `path` (`conduct::place`), 0 if there is none; for who
    /// must not wait for its lock, as whoever sends, or is too often here.
    place: HotAtomic<u64>,
    /// When a message to the peer last came out of the stack as a packet for the same peer: seconds of boot
    /// time, 0 if never.
    pub(crate) looped_s: HotAtomic<u32>,
    #[pin]
    timer_state: SpinLockBh<TimerState>,
    #[pin]
    timer: Timer<Peer>,
    /// Packets that wait for a session or for the next batch; at most a burst above 128.
    #[pin]
    pub(crate) staged: SpinLockBh<SkbList>,
    /// Batches being encrypted, in the order in which they must leave.
    #[pin]
    pub(crate) tx: OrderQueue<Session>,
    /// Batches being decrypted, in the order in which they arrived.
    #[pin]
    pub(crate) rx: OrderQueue<Session>,
    pub(crate) inline: Inline,
    /// What of it was dropped, by reason.
    pub(crate) drops: PeerDrops,
    /// How long a packet may be to leave in one piece.
    pub(crate) fit: Fit,
    #[pin]
    handshake_work: Work<Peer, WORK_HANDSHAKE>,
    #[pin]
    transmit_work: Work<Peer, WORK_TRANSMIT>,
    #[pin]
    clear_work: Work<Peer, WORK_CLEAR>,
    #[pin]
    sched: SchedNode,
    #[pin]
    pub(crate) cookie: Mutex<PeerCookie>,
    /// When initiations and responses were sent.
    pub(crate) pace: Pace,
    /// Bytes received with valid authentication, whole messages.
    pub(crate) rx_bytes: HotAtomic<u64>,
    /// Bytes sent, whole messages.
    pub(crate) tx_bytes: HotAtomic<u64>,
    /// Persistent keepalive in seconds, 0 for off.
    pub(crate) keepalive_s: HotAtomic<u32>,
    /// CPU of the transmit work, once chosen.
    pub(crate) tx_cpu: HotAtomic<u32>,
    /// Number of the NAPI instance that delivers what it sends us.
    pub(crate) instance: HotAtomic<u32>,
    dead: HotAtomic<bool>,
    /// Whether it was told that the peer is removed: then no more is. Set before its turn to be told.
    pub(crate) removal_told: Atomic<bool>,
    /// Whether the end of a session is to be told. Changed when it is the peer's turn to be told of.
    pub(crate) end_owed: Atomic<bool>,
    prefixes: PrefixList,
}

wgk::impl_has_key_node! { impl HasKeyNode for Peer { self.key } }
wgk::impl_has_timer! { impl HasTimer for Peer { self.timer } }
wgk::impl_has_sched_node! { impl HasSchedNode for Peer { self.sched } }
impl_has_work! { impl HasWork<Peer, 0> for Peer { self.handshake_work } }
impl_has_work! { impl HasWork<Peer, 1> for Peer { self.transmit_work } }
impl_has_work! { impl HasWork<Peer, 2> for Peer { self.clear_work } }

impl HasPrefixes for Peer {
    fn prefixes(&self) -> &PrefixList {
        &self.prefixes
    }
}

impl RcuObject for Peer {
    fn on_last_ref(&self) {
        wgk::object_debug!(
            "{}: Peer {} ({}) destroyed\n",
            self.device.name(),
            self.id,
            self.endpoint()
        );
        self.purge_staged();
    }
}

impl Peer {
    /// Adds a peer to `config`'s device. Process context, device lock held.
    ///
    /// `ENOMEM` if there is no memory or the device has 2^20 peers already.
    pub(crate) fn create(
        device: &RcuArc<Device>,
        config: &mut Config,
        public_key: [u8; 32],
        preshared_key: Secret<32>,
    ) -> Result<RcuArc<Self>> {
        if config.peers.len() >= MAX_PEERS_PER_DEVICE {
            return Err(ENOMEM);
        }
        let instance = resources::join_napis(device, config.peers.len() + 1)?;
        let id = PEER_COUNTER.fetch_add(1, Relaxed) + 1;
        let peer = RcuArc::pin_init_in(
            &CACHE,
            try_pin_init!(Self {
                id,
                device: device.clone(),
                key <- KeyNode::new(public_key),
                handshake <- new_mutex!(HandshakeState {
                    noise: Handshake::new(public_key, preshared_key),
                    pending: None,
                }, "Peer::handshake"),
                rotation <- new_spinlock_bh!(Rotation::default(), "Peer::rotation"),
                keypairs: Keypairs::new(),
                path <- new_rwlock_bh!(Path::nowhere(), "Peer::path"),
                place: HotAtomic::new(0),
                looped_s: HotAtomic::new(0),
                timer_state <- new_spinlock_bh!(TimerState {
                    timers: Timers::new(device.is_up()),
                    last_handshake_ns: 0,
                    failures: Failures::new(),
                }, "Peer::timer_state"),
                timer <- new_timer!(),
                staged <- new_spinlock_bh!(SkbList::new(), "Peer::staged"),
                tx <- OrderQueue::new(),
                rx <- OrderQueue::new(),
                inline: Inline::new(),
                drops: PeerDrops::new(),
                fit: Fit::new(),
                handshake_work <- new_work!("wireguard::handshake"),
                transmit_work <- new_work!("wireguard::transmit"),
                clear_work <- new_work!("wireguard::clear"),
                sched <- SchedNode::new(),
                cookie <- new_mutex!(PeerCookie::new(), "Peer::cookie"),
                pace: Pace::new(),
                rx_bytes: HotAtomic::new(0),
                tx_bytes: HotAtomic::new(0),
                keepalive_s: HotAtomic::new(0),
                tx_cpu: HotAtomic::new(u32::MAX),
                instance: HotAtomic::new(instance),
                dead: HotAtomic::new(false),
                removal_told: Atomic::new(false),
                end_owed: Atomic::new(false),
                prefixes: PrefixList::new(),
            }? Error),
        )?;
        // Said now, as the destruction of one that could not be added will be said, too.
        wgk::object_debug!("{}: Peer {} created\n", device.name(), id);
        // Numbers are drawn under the locks of different devices, so they increase in each one.
        config
            .peers
            .add(id, peer.clone(), GFP_KERNEL)?
            .ok_or(EEXIST)?;
        if let Err(e) = device.add_public_key(peer.clone()) {
            config.peers.remove(id);
            return Err(e);
        }
        Ok(peer)
    }

    /// The peer's public key.
    pub(crate) fn public_key(&self) -> &[u8; 32] {
        self.key.key()
    }

    /// Whether the peer was removed: nothing new may be started for it.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Acquire)
    }

    /// Counts a message received in whole.
    #[inline]
    pub(crate) fn count_rx(&self, bytes: usize) {
        self.rx_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts one transmission of `bytes`.
    #[inline]
    pub(crate) fn count_tx(&self, bytes: usize) {
        self.tx_bytes.fetch_add(bytes as u64, Relaxed);
    }

    // ---- staged packets ----

    /// Drops the packets that wait for a session, and counts them.
    pub(crate) fn purge_staged(&self) {
        let list = self.staged.lock().take();
        if !list.is_empty() {
            self.device.count(Counter::TxDropped, list.len() as u64);
            self.lose(Reason::TxPurged, list);
        }
    }

    // ---- handshake and sessions ----

    /// Forgets when a handshake message was last sent, so that one may go at once.
    pub(crate) fn reset_last_sent_handshake(&self) {
        self.pace.reset();
    }

    /// Gives up the handshake under way, with its index and secrets. May sleep.
    pub(crate) fn clear_handshake(&self) {
        let mut state = self.handshake.lock();
        if let Some(pending) = state.pending.take() {
            self.device.remove_index(&pending);
        }
        state.noise.clear();
    }

    /// Gives up all sessions. Packets of theirs that are queued still leave.
    pub(crate) fn clear_keypairs(&self) {
        let dropped = self.keypairs.clear(&mut self.rotation.lock());
        dropped
            .iter()
            .flatten()
            .for_each(|s| self.device.remove_index(s));
    }

    /// Stops sending with the present sessions, so that the next packet asks for a new handshake.
    pub(crate) fn expire_keypairs(&self) {
        self.clear_handshake();
        self.reset_last_sent_handshake();
        let _rotation = self.rotation.lock();
        let guard = read_lock();
        if let Some(s) = self.keypairs.next(&guard) {
            s.expire_sending();
        }
        if let Some(s) = self.keypairs.current(&guard) {
            s.expire_sending();
        }
    }

    /// Turns the completed handshake into a session. May sleep. False if there is none to turn.
    pub(crate) fn begin_session(&self) -> bool {
        let mut state = self.handshake.lock();
        let Some(keys) = state.noise.begin_session() else {
            return false;
        };
        let Some(session) = state.pending.take() else {
            return false;
        };
        // Under the handshake lock: removal marks the peer first and then takes this lock, so no
        // session can be filed behind its back.
        if self.is_dead() {
            self.device.remove_index(&session);
            return false;
        }
        // There may be more CPUs than when it was chosen.
        self.tx_cpu.store(u32::MAX, Relaxed);
        let initiator = keys.initiator;
        let id = session.establish(keys, boottime_coarse_ns());
        let side = side_name(initiator);
        trace::session_begun(|| (self.device.traced(), self.id, id, side));
        wgk::object_debug!(
            "{}: Keypair {} created for peer {}\n",
            self.device.name(),
            id,
            self.id
        );
        let dropped = self
            .keypairs
            .add(&mut self.rotation.lock(), session, initiator);
        dropped
            .iter()
            .flatten()
            .for_each(|s| self.device.remove_index(s));
        true
    }

    /// Notes an authenticated packet under `session`; true if that confirmed the session.
    #[inline]
    pub(crate) fn confirm_session(&self, session: &Session) -> bool {
        use crate::keypairs::Confirmed;

        if !self.keypairs.awaits_confirmation(session) {
            return false;
        }
        let confirmed = self.keypairs.confirm(&mut self.rotation.lock(), session);
        match confirmed {
            Confirmed::Nothing => false,
            Confirmed::Promoted(old) => {
                if let Some(old) = old {
                    self.device.remove_index(&old);
                }
                true
            }
        }
    }

    // ---- timers ----

    /// Runs `event` on the peer's timers and arms the kernel's timer if that is needed earlier.
    ///
    /// Armed under the lock: of two events at once the earlier deadline must win.
    pub(crate) fn on_timers<R>(
        this: &RcuArc<Self>,
        event: impl FnOnce(&mut TimerState, u64) -> R,
    ) -> R {
        let mut state = this.timer_state.lock();
        let result = event(&mut state, mono_coarse_ns());
        if let Some(at) = state.timers.rearm() {
            Timer::arm(this, at);
        }
        result
    }

    /// The next action of a deadline that has passed; once there is none, arms the kernel's timer for
    /// what comes next. For the timer's callback.
    pub(crate) fn next_due(this: &RcuArc<Self>) -> Option<Action> {
        let mut state = this.timer_state.lock();
        let action = state.timers.expire(mono_coarse_ns());
        if action.is_none() {
            if let Some(at) = state.timers.rearm() {
                Timer::arm(this, at);
            }
        }
        action
    }

    /// Lets timers run from now on (the device came up), or stops them all, but for what is to be told.
    pub(crate) fn enable_timers(this: &RcuArc<Self>, on: bool) {
        let mut state = this.timer_state.lock();
        if on {
            state.timers.start();
        } else {
            state.timers.stop();
            this.timer.disarm();
            if let Some(at) = state.timers.rearm() {
                Timer::arm(this, at);
            }
        }
    }

    /// The session in use may be over before its time, which is to be told then: the machine slept, or
    /// the caller has just forgotten it.
    pub(crate) fn doubt_session(this: &RcuArc<Self>) {
        Self::on_timers(this, |s, now| s.timers.session_in_doubt(now));
    }

    /// Takes back the timer that would forget the keys: the caller does it now.
    pub(crate) fn cancel_zero_key_timer(&self) {
        self.timer_state.lock().timers.cancel_zero_key_material();
    }

    /// Notes why a handshake failed. Any context.
    pub(crate) fn handshake_failed(&self, why: Failure) {
        let now = realtime().since_epoch_ns();
        self.timer_state.lock().failures.note(why, now);
    }

    /// Notes that nothing came of the last initiation in time. Any context.
    pub(crate) fn handshake_unanswered(&self) {
        let now = realtime().since_epoch_ns();
        self.timer_state.lock().failures.unanswered(now);
    }

    /// Notes that there will be no other initiation for now; says why. Any context.
    pub(crate) fn handshake_given_up(&self) -> Failure {
        let now = realtime().since_epoch_ns();
        self.timer_state.lock().failures.give_up(now)
    }

    /// How many initiations of a handshake under way were sent, and the last failure.
    pub(crate) fn handshake_progress(&self) -> (Option<u32>, Option<Noted>) {
        let state = self.timer_state.lock();
        (state.timers.initiations(), state.failures.last())
    }

    /// Wall clock of the last completed handshake, in nanoseconds since 1970; 0: none.
    pub(crate) fn last_handshake_ns(&self) -> u64 {
        self.timer_state.lock().last_handshake_ns
    }

    /// The persistent keepalive interval in nanoseconds, 0 for off.
    #[inline]
    pub(crate) fn keepalive_ns(&self) -> u64 {
        u64::from(self.keepalive_s.load(Relaxed)) * 1_000_000_000
    }
}

/// Takes a peer out of everything that finds it and ends what it has going. Process context, device
/// lock held. Does not wait: what other CPUs still do with the peer ends by itself.
///
/// The caller has removed, or removes next, the peer's prefixes from the trie.
pub(crate) fn unlink(peer: &RcuArc<Peer>) {
    // Before anything is cleared, so that nothing cleared comes back.
    peer.dead.store(true, Release);
    peer.device.remove_public_key(peer);
    Peer::enable_timers(peer, false);
    peer.clear_handshake();
    peer.clear_keypairs();
    peer.purge_staged();
    // What is under way may take long to end, and needs no route of its own for that.
    peer.path.write().cache.close();
}

/// Removes one peer. Process context, device lock held. Costs no grace period.
pub(crate) fn remove(config: &mut Config, peer: &RcuArc<Peer>) {
    peer.device
        .allowed_ips
        .remove_by_peer(&mut config.prefixes, peer);
    unlink(peer);
    config.peers.remove(peer.id);
    resources::leave_napis(&peer.device, config.peers.len());
}

/// Removes all peers of `device`, in time linear in their number. Process context, device lock held;
/// may sleep.
pub(crate) fn remove_all(device: &Device, config: &mut Config) {
    device.allowed_ips.remove_all(&mut config.prefixes);
    for peer in mem::take(&mut config.peers).into_objects() {
        // Each is let go while its memory is near. There may be a million, which take seconds.
        unlink(&peer);
        cpu::cond_resched();
    }
    resources::leave_napis(device, 0);
}
