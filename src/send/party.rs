// SPDX-License-Identifier: GPL-2.0
//! The driver as [`Party`]: how the steps of a peer's conduct are done.

use core::ops::Deref;

use kernel::prelude::*;

use wgk::{
    batch::Batch,
    crypto::without_traces,
    random,
    rcu::{
        read_lock,
        RcuArc,
        RcuRef, //
    },
    skb_list::SkbList,
    skbuff::{
        SkBuff,
        DATA_HEADROOM, //
    },
    time::{
        boottime_coarse_ns,
        realtime, //
    },
    trace, //
};

use super::{
    handshake,
    submit, //
};
use crate::{
    conduct::{
        Failed,
        Pace,
        Party,
        Side, //
    },
    events,
    failure::Failure,
    inline,
    messages::{
        data_len,
        kind_name,
        Initiation,
        Kind,
        Response,
        HANDSHAKE_DSCP,
        KEEPALIVE_TIMEOUT_NS,
        REJECT_AFTER_TIME_NS,
        REKEY_TIMEOUT_JITTER_MAX_NS,
        REKEY_TIMEOUT_NS, //
    },
    peer::{
        Peer,
        TimerState,
        WORK_CLEAR,
        WORK_HANDSHAKE, //
    },
    resources::Resources,
    session::Session,
    socket,
    timers::Timers, //
};

/// A way to hold a peer: a reference, or a look at it under RCU, whose last reference may be gone.
trait Hold: Deref<Target = Peer> {
    /// A reference, unless the last one is gone.
    fn get(&self) -> Option<RcuArc<Peer>>;
    /// Has `event` happen to the timers, unless the last reference is gone: then they are, too.
    fn on_timers(&self, event: impl FnOnce(&mut TimerState, u64));
    /// Whether what is submitted may be sealed and sent there and then.
    const HERE: bool = false;
}

impl Hold for RcuArc<Peer> {
    #[inline]
    fn get(&self) -> Option<RcuArc<Peer>> {
        Some(self.clone())
    }

    #[inline]
    fn on_timers(&self, event: impl FnOnce(&mut TimerState, u64)) {
        Peer::on_timers(self, event);
    }
}

impl Hold for RcuRef<'_, Peer> {
    fn get(&self) -> Option<RcuArc<Peer>> {
        self.try_get()
    }

    fn on_timers(&self, event: impl FnOnce(&mut TimerState, u64)) {
        if let Some(peer) = self.try_get() {
            Peer::on_timers(&peer, event);
        }
    }
}

/// A peer, looked at by who transmits to it.
pub(super) struct Transmitter<'g>(pub(super) RcuRef<'g, Peer>);

impl Deref for Transmitter<'_> {
    type Target = Peer;

    #[inline]
    fn deref(&self) -> &Peer {
        &self.0
    }
}

impl Hold for Transmitter<'_> {
    const HERE: bool = true;

    fn get(&self) -> Option<RcuArc<Peer>> {
        Hold::get(&self.0)
    }

    fn on_timers(&self, event: impl FnOnce(&mut TimerState, u64)) {
        self.0.on_timers(event);
    }
}

/// Whether `test` holds for the session that `peer` sends with, at this boot time.
#[inline]
fn current(peer: &Peer, test: impl FnOnce(&Session, u64) -> bool) -> bool {
    let guard = read_lock();
    peer.keypairs
        .current(&guard)
        .is_some_and(|s| test(&s, boottime_coarse_ns()))
}

/// Has `enqueue` queue a work of `peer`, unless the peer is being removed or the device goes.
fn call(peer: &impl Hold, enqueue: impl FnOnce(&Resources, RcuArc<Peer>)) {
    let guard = read_lock();
    if peer.is_dead() {
        return;
    }
    if let (Some(resources), Some(peer)) = (peer.device.resources.load(&guard), peer.get()) {
        enqueue(resources, peer);
    }
}

/// Notes why there is no handshake message of a kind; `None`: the peer is being removed. Whether it may
/// be possible later.
fn note_failure(peer: &Peer, kind: Kind, why: Option<Failure>) -> Failed {
    if let Some(why) = why {
        let kind = kind_name(Some(kind));
        trace::handshake_sent(|| (peer.device.traced(), peer.id, kind, why.name()));
        peer.handshake_failed(why);
    }
    match why {
        Some(Failure::NoMemory | Failure::NoEntropy) => Failed::ForNow,
        _ => Failed::ForGood,
    }
}

/// Any context but hard interrupt; what makes handshake messages or sessions: process context.
impl<H: Hold> Party for H {
    type Packets = SkbList;

    #[inline]
    fn timers(&self, event: impl FnOnce(&mut Timers, u64)) {
        self.on_timers(|s, now| event(&mut s.timers, now));
    }

    fn jitter(&self) -> u64 {
        u64::from(random::u32_below(REKEY_TIMEOUT_JITTER_MAX_NS as u32))
    }

    fn boottime(&self) -> u64 {
        boottime_coarse_ns()
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    #[inline]
    fn keepalive_ns(&self) -> u64 {
        Peer::keepalive_ns(self)
    }

    fn place(&self) -> u64 {
        Peer::place(self)
    }

    fn packets_wait(&self) -> bool {
        !self.staged.lock().is_empty()
    }

    #[inline]
    fn take_staged(&self) -> Option<SkbList> {
        let list = self.staged.lock().take();
        (!list.is_empty()).then_some(list)
    }

    #[inline]
    fn submit(&self, packets: SkbList) -> Result<(), SkbList> {
        let session = {
            let guard = read_lock();
            self.keypairs.current(&guard).and_then(|s| s.try_get())
        };
        let nonces = session
            .as_deref()
            .and_then(|s| s.take_nonces(s.keys()?, packets.len() as u64, boottime_coarse_ns()));
        let (Some(session), Some(first)) = (session, nonces) else {
            return Err(packets);
        };
        let here = H::HERE.then(|| inline::lone(packets.lens())).flatten();
        if let Some(batch) = Batch::new(packets, session.clone(), first) {
            submit(&session, batch, here);
        }
        Ok(())
    }

    fn restage(&self, mut packets: SkbList) {
        // They wait for a handshake, which may take long: don't let them block their sockets.
        for mut segment in packets.iter_mut() {
            segment.orphan();
        }
        self.staged.lock().prepend(packets);
    }

    fn has_session(&self) -> bool {
        current(self, Session::may_send)
    }

    #[inline]
    fn worn_by_sending(&self) -> bool {
        current(self, Session::wants_rekey_on_send)
    }

    #[inline]
    fn expires_soon(&self) -> bool {
        const AGE_NS: u64 = REJECT_AFTER_TIME_NS - KEEPALIVE_TIMEOUT_NS - REKEY_TIMEOUT_NS;
        current(self, |s, now| s.initiator_older_than(AGE_NS, now))
    }

    fn stage_keepalive(&self) -> bool {
        if !self.staged.lock().is_empty() {
            return true;
        }
        let guard = read_lock();
        let Some(dev) = self.device.dev.get(&guard) else {
            // The device goes, with its timers: there is nothing to try again.
            return true;
        };
        let Ok(mut skb) = SkBuff::empty(DATA_HEADROOM, data_len(0), GFP_ATOMIC) else {
            return false;
        };
        skb.set_mtu(dev.mtu());
        wgk::net_dbg_ratelimited!(
            "{}: Sending keepalive packet to peer {} ({})\n",
            dev.name(),
            self.id,
            self.endpoint()
        );
        self.staged.lock().push_back(skb);
        true
    }

    fn purge_staged(&self) {
        Peer::purge_staged(self);
    }

    fn call_initiator(&self) {
        call(self, |resources, peer| {
            resources
                .handshake_send_wq
                .enqueue::<_, WORK_HANDSHAKE>(peer);
        });
    }

    fn call_clearer(&self) {
        // Taking the handshake's lock sleeps.
        call(self, |resources, peer| {
            resources.handshake_send_wq.enqueue::<_, WORK_CLEAR>(peer);
        });
    }

    fn announce(&self, response: bool) {
        wgk::net_dbg_ratelimited!(
            "{}: Sending handshake {} to peer {} ({})\n",
            self.device.name(),
            if response { "response" } else { "initiation" },
            self.id,
            self.endpoint()
        );
    }

    fn create_initiation(&self) -> Result<Initiation, Failed> {
        let peer = self.get().ok_or(Failed::ForGood)?;
        match without_traces(|| handshake::create_initiation(&peer)) {
            Ok(message) => {
                self.on_timers(|s, _| s.failures.attempt());
                Ok(message)
            }
            Err(why) => {
                let failed = note_failure(&peer, Kind::Initiation, why);
                if why.is_some() && failed == Failed::ForGood {
                    events::handshake_given_up(&peer, peer.handshake_given_up());
                }
                Err(failed)
            }
        }
    }

    fn create_response(&self) -> Result<Response, Failed> {
        let peer = self.get().ok_or(Failed::ForGood)?;
        without_traces(|| handshake::create_response(&peer))
            .map_err(|why| note_failure(&peer, Kind::Response, why))
    }

    fn add_macs(&self, message: &mut [u8]) {
        self.cookie
            .lock()
            .add_macs(self.public_key(), message, boottime_coarse_ns());
    }

    fn begin_session(&self) -> bool {
        without_traces(|| Peer::begin_session(self))
    }

    fn note_completed(&self, side: Side) {
        self.on_timers(|s, _| s.last_handshake_ns = realtime().since_epoch_ns());
        events::session_established(self, side);
    }

    fn session_left(&self) -> u64 {
        let guard = read_lock();
        let current = self.keypairs.current(&guard);
        current
            .and_then(|s| Some(s.keys()?.origin.left(boottime_coarse_ns())))
            .unwrap_or(0)
    }

    fn tell_unless_session(&self) -> u64 {
        events::session_expired(self, || self.session_left())
    }

    fn send(&self, message: &[u8]) {
        socket::send_message(self, None, message, HANDSHAKE_DSCP);
    }

    fn send_to(&self, place: u64, message: &[u8]) -> bool {
        socket::send_message(self, Some(place), message, HANDSHAKE_DSCP)
    }

    fn forget_source(&self) {
        self.clear_endpoint_source();
    }
}
