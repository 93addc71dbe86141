// SPDX-License-Identifier: GPL-2.0

//! What a peer does, step by step: when it begins a handshake, answers one, sends what waits.
//!
//! Only the order of steps and the decisions are here. How a step is done is the business of
//! whoever carries them out ([`Party`]): the driver, or the model in `tests/model`, which tries
//! all orders of events on two of these. What it shows is that nothing gets stuck: a handshake that
//! is wanted is under way, queued for a worker, or has a deadline in [`Timers`]; whatever may fail
//! for a while puts it off and does not forget it.
//!
//! Two things end the chain of attempts: giving up, after [`GIVE_UP_AFTER`] initiations in a row
//! without an answer, and a failure that does not pass by itself ([`Failed::ForGood`]). The first
//! drops what waits; after the second, it waits for the configuration to change.
//!
//! [`GIVE_UP_AFTER`]: crate::timers::GIVE_UP_AFTER
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::net::IpAddr;

use wgk::atomic::{
    HotAtomic,
    Relaxed, //
};

use zerocopy::IntoBytes;

use crate::{
    messages::{
        Initiation,
        Response,
        NSEC_PER_SEC,
        REKEY_TIMEOUT_NS, //
    },
    timers::{
        Action,
        Timers, //
    }, //
};

/// A number for an address and a port, never 0. Different ones have different numbers; of two that are
/// IPv6 they may be equal by chance.
pub fn place(addr: IpAddr, port: u16) -> u64 {
    const V4: u64 = 1 << 62;
    const V6: u64 = 1 << 63;
    match addr {
        IpAddr::V4(addr) => V4 | (u64::from(addr.to_bits()) << 16) | u64::from(port),
        IpAddr::V6(addr) => {
            // Odd numbers without a pattern: what is far away from each other after this was not
            // before.
            let bits = addr.to_bits();
            let (high, low) = ((bits >> 64) as u64, bits as u64);
            let high = high.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            let mixed = (high ^ low).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            V6 | (mixed ^ (mixed >> 31)).wrapping_add(u64::from(port))
        }
    }
}

/// Initiations that can have been sent in [`REKEY_TIMEOUT_NS`], to as many places, before another.
const RECENT: usize = (REKEY_TIMEOUT_NS / MOVED_NS) as usize - 1;
/// Where in [`Pace::recent`] the place of the last response, or a [`Pace::hold`], is, behind those of
/// initiations.
const RESPONSE: usize = RECENT;
/// Handshake messages to different places are so far apart.
const MOVED_NS: u64 = NSEC_PER_SEC;

/// Keeps handshake messages to one peer apart: [`REKEY_TIMEOUT_NS`] those to one place, and
/// [`MOVED_NS`] any. Lock-free.
///
/// Only who is told of another place, which is not one of the last few, gets to send earlier than after
/// [`REKEY_TIMEOUT_NS`]. So however the place changes, the two bounds hold for initiations.
pub struct Pace {
    /// Where the last ones went to, and when ([`Sent`]); 0: nowhere.
    recent: [HotAtomic<u64>; RECENT + 1],
}

/// A place, or rather 24 bits of its number, and milliseconds of boot time by when a message was sent
/// there, rounded up. That another has the same number has a message wait that need not.
#[derive(Clone, Copy)]
struct Sent(u64);

impl Sent {
    /// The mark of all places.
    const ANYWHERE: u64 = 1;
    /// Bits of the time: 34 years.
    const TIME_BITS: u32 = 40;
    const TIME: u64 = (1 << Self::TIME_BITS) - 1;

    fn new(now_ns: u64, place: u64) -> Self {
        Self::marked(now_ns, Self::mark(place))
    }

    /// As if one had been sent to each place.
    fn anywhere(now_ns: u64) -> Self {
        Self::marked(now_ns, Self::ANYWHERE)
    }

    fn marked(now_ns: u64, mark: u64) -> Self {
        Self((mark << Self::TIME_BITS) | (now_ns.div_ceil(NSEC_PER_MSEC) & Self::TIME))
    }

    /// Not 0, nor [`Sent::ANYWHERE`].
    const fn mark(place: u64) -> u64 {
        (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (Self::TIME_BITS + 1)) | (1 << 23)
    }

    fn is_to(self, place: u64) -> bool {
        let mark = self.0 >> Self::TIME_BITS;
        mark == Self::mark(place) || mark == Self::ANYWHERE
    }

    /// How long ago, in milliseconds, or less; the oldest if nowhere. -1 right after, for times are rounded.
    fn age(self, now_ns: u64) -> i64 {
        if self.0 == 0 {
            return i64::MAX;
        }
        let age = (now_ns / NSEC_PER_MSEC).wrapping_sub(self.0) << (u64::BITS - Self::TIME_BITS);
        // CAST: With its sign. Another CPU may have a later time.
        (age as i64 >> (u64::BITS - Self::TIME_BITS)).max(-1)
    }
}

/// Nanoseconds of a millisecond.
const NSEC_PER_MSEC: u64 = NSEC_PER_SEC / 1000;

impl Pace {
    /// One may be sent at once.
    pub fn new() -> Self {
        Self {
            recent: [const { HotAtomic::new(0) }; RECENT + 1],
        }
    }

    /// Forgets when the last ones were sent, so that one may be sent at once.
    pub fn reset(&self) {
        self.recent.iter().for_each(|sent| sent.store(0, Relaxed));
    }

    /// An initiation is sent to `place` now.
    pub fn note_initiation(&self, now_ns: u64, place: u64) {
        // In its old place, or that of the oldest.
        let key = |sent: &HotAtomic<u64>| {
            let sent = Sent(sent.load(Relaxed));
            (sent.is_to(place), sent.age(now_ns))
        };
        if let Some(oldest) = self.recent[..RECENT].iter().max_by_key(|sent| key(sent)) {
            oldest.store(Sent::new(now_ns, place).0, Relaxed);
        }
    }

    /// A response is sent to `place` now. Others decide how many of these there are, so they have no
    /// part in how many initiations are remembered.
    pub fn note_response(&self, now_ns: u64, place: u64) {
        self.recent[RESPONSE].store(Sent::new(now_ns, place).0, Relaxed);
    }

    /// Initiations wait for [`REKEY_TIMEOUT_NS`], to whichever place, unless a response comes first.
    pub fn hold(&self, now_ns: u64) {
        self.recent[RESPONSE].store(Sent::anywhere(now_ns).0, Relaxed);
    }

    /// How long an initiation to `place` has to wait, in nanoseconds; 0: it may be sent.
    pub fn wait(&self, now_ns: u64, place: u64) -> u64 {
        let recent = || self.recent.iter().map(|sent| Sent(sent.load(Relaxed)));
        let after = |distance_ns: u64, age: i64| {
            let left = ((distance_ns / NSEC_PER_MSEC) as i64).saturating_sub(age);
            left.max(0) as u64 * NSEC_PER_MSEC
        };
        let last = recent().fold(i64::MAX, |last, sent| last.min(sent.age(now_ns)));
        recent()
            .filter(|sent| sent.is_to(place))
            .map(|sent| after(REKEY_TIMEOUT_NS, sent.age(now_ns)))
            .fold(after(MOVED_NS, last), u64::max)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a handshake message can't be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed {
    /// Memory is short, or there is no randomness yet: it may be possible later.
    ForNow,
    /// There is no private key, the peer is being removed, or no agreement with its key is
    /// possible: not until somebody changes that.
    ForGood,
}

/// Who began a handshake. The numbers are those of Documentation/netlink/specs/wireguard_rs.yaml.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Side {
    /// We did.
    Initiator = 1,
    /// The peer did.
    Responder = 2,
}

/// Who carries out the steps for one peer.
pub trait Party {
    /// Packets that were taken off the list of those that wait.
    type Packets;

    /// Has `event` happen to the peer's timers at the time it is passed, and arms the kernel's
    /// timer if that is needed. If the peer is being freed, nothing happens.
    fn timers(&self, event: impl FnOnce(&mut Timers, u64));
    /// A random share of the jitter of handshake timers, in nanoseconds.
    fn jitter(&self) -> u64;
    /// Boot time in nanoseconds.
    fn boottime(&self) -> u64;
    /// When handshake messages were sent.
    fn pace(&self) -> &Pace;
    /// The persistent keepalive interval in nanoseconds, 0 for none.
    fn keepalive_ns(&self) -> u64;
    /// The number of the address and port that is sent to ([`place`]), 0 if there are none.
    fn place(&self) -> u64;
    /// Whether packets wait.
    fn packets_wait(&self) -> bool;

    /// All packets that wait, or none.
    fn take_staged(&self) -> Option<Self::Packets>;
    /// Has packets sent with the current session; gives them back if there is none that may be
    /// used.
    fn submit(&self, packets: Self::Packets) -> Result<(), Self::Packets>;
    /// Puts packets back in front of those that wait.
    fn restage(&self, packets: Self::Packets);
    /// Whether the current session may be used for sending.
    fn has_session(&self) -> bool;
    /// Whether the current session is so worn by sending that it should be renewed.
    fn worn_by_sending(&self) -> bool;
    /// Whether the current session is ours to renew and about to expire.
    fn expires_soon(&self) -> bool;
    /// Adds an empty message to the packets that wait, if there are none; `false` if there is no
    /// memory for it.
    fn stage_keepalive(&self) -> bool;
    /// Drops the packets that wait.
    fn purge_staged(&self);

    /// Has a worker call [`send_initiation`], unless the peer is being removed or the device goes.
    fn call_initiator(&self);
    /// Has a worker forget the handshake and all sessions, with the same exception.
    fn call_clearer(&self);
    /// Says that an initiation, or a response, is about to be sent.
    fn announce(&self, response: bool);
    /// Builds an initiation, all but its MACs.
    fn create_initiation(&self) -> Result<Initiation, Failed>;
    /// Builds the response to the initiation that was accepted, all but its MACs.
    fn create_response(&self) -> Result<Response, Failed>;
    /// Adds the MACs to a handshake message.
    fn add_macs(&self, message: &mut [u8]);
    /// Turns the finished handshake into a session; `false` if there is none.
    fn begin_session(&self) -> bool;
    /// Notes, and tells, that a handshake is complete: both sides have the keys.
    fn note_completed(&self, side: Side);
    /// How long the current session may still be used, in nanoseconds; 0 if not any more, or if there is
    /// none.
    fn session_left(&self) -> u64;
    /// Tells that the peer has no session any more, unless the current one may be used: for how long
    /// ([`Party::session_left`]). Of one that begins meanwhile it is told later.
    fn tell_unless_session(&self) -> u64;
    /// Sends a handshake message. What gets lost is repeated by a timer.
    fn send(&self, message: &[u8]);
    /// The same, but sends nothing if the place that is sent to is another; `false` then.
    fn send_to(&self, place: u64, message: &[u8]) -> bool;
    /// Forgets our address on the path to the peer.
    fn forget_source(&self);
}

/// Sends packets, as one batch, or has them wait and asks for a handshake if there is no session for
/// them.
#[inline]
pub fn send<P: Party>(peer: &P, packets: P::Packets) {
    if let Err(packets) = peer.submit(packets) {
        await_session(peer, packets);
    }
}

/// Sends what waits, as one batch, or asks for a handshake if there is no session for it.
#[inline]
pub fn send_staged<P: Party>(peer: &P) {
    if let Some(packets) = peer.take_staged() {
        send(peer, packets);
    }
}

/// Puts packets that found no session back, and asks for a handshake.
pub fn await_session<P: Party>(peer: &P, packets: P::Packets) {
    peer.restage(packets);
    // A handshake that ended since they looked for a session sent what waited at that time, which
    // they didn't.
    if peer.has_session() && flush_staged(peer) {
        return;
    }
    queue_initiation(peer, false);
}

/// Sends what waits if there is a session for it; `true` if nothing waits (any more).
fn flush_staged<P: Party>(peer: &P) -> bool {
    let Some(packets) = peer.take_staged() else {
        return true;
    };
    match peer.submit(packets) {
        Ok(()) => true,
        Err(packets) => {
            peer.restage(packets);
            false
        }
    }
}

/// Sends an empty message, unless there are packets to send anyway.
pub fn send_keepalive<P: Party>(peer: &P) {
    if !peer.stage_keepalive() {
        peer.timers(|t, now| t.keepalive_failed(now));
        return;
    }
    send_staged(peer);
}

/// Puts an initiation off until `wait` from now.
fn defer<P: Party>(peer: &P, wait: u64) {
    peer.timers(|t, now| t.handshake_deferred(now, wait, || peer.jitter()));
}

/// An initiation is wanted: has a worker send it, or puts it off if a handshake message was sent
/// just now. `is_retry`: because there was no answer to the last one.
pub fn queue_initiation<P: Party>(peer: &P, is_retry: bool) {
    let wait = peer.pace().wait(peer.boottime(), peer.place());
    peer.timers(|t, now| {
        t.handshake_begun(is_retry);
        if wait != 0 {
            t.handshake_deferred(now, wait, || peer.jitter());
        }
    });
    if wait == 0 {
        peer.call_initiator();
    }
}

/// The user has told another place of the peer. Without a session that could be used, somebody may have
/// waited in vain for an answer from where it is not: packets, a handshake under way, or who wants a
/// persistent keepalive. If so, a handshake begins now, or as soon as [`Pace`] allows it.
///
/// Only if the interface is up.
pub fn moved_by_user<P: Party>(peer: &P) {
    if peer.has_session() {
        return;
    }
    let mut wanted = peer.packets_wait() || peer.keepalive_ns() != 0;
    let wait = peer.pace().wait(peer.boottime(), peer.place());
    peer.timers(|t, now| {
        wanted |= t.initiations().is_some();
        if wanted {
            t.handshake_begun(false);
            if wait != 0 {
                t.handshake_hurried(now, wait, || peer.jitter());
            }
        }
    });
    if wanted && wait == 0 {
        peer.call_initiator();
    }
}

/// Sends an initiation. For the worker.
pub fn send_initiation<P: Party>(peer: &P) {
    // What is decided now is true of this place only.
    let place = peer.place();
    let wait = peer.pace().wait(peer.boottime(), place);
    if wait != 0 {
        // A response was sent since this was queued.
        return defer(peer, wait);
    }
    peer.pace().note_initiation(peer.boottime(), place);
    peer.announce(false);
    let mut message = match peer.create_initiation() {
        Ok(message) => message,
        Err(Failed::ForNow) => return defer(peer, REKEY_TIMEOUT_NS),
        Err(Failed::ForGood) => return,
    };
    peer.add_macs(message.as_mut_bytes());
    peer.pace().note_initiation(peer.boottime(), place);
    // All before it is sent: once it is, the response may be processed on another CPU, and what
    // that takes back has to be there already.
    peer.timers(|t, now| {
        t.any_authenticated_packet_traversal(now, peer.keepalive_ns());
        t.any_authenticated_packet_sent();
        t.handshake_initiated(now, || peer.jitter());
    });
    if !peer.send_to(place, message.as_bytes()) {
        // Where the peer is said to be by now, one may have been sent just before.
        let wait = peer.pace().wait(peer.boottime(), peer.place());
        peer.timers(|t, now| t.handshake_hurried(now, wait, || peer.jitter()));
    }
}

/// An initiation was accepted: answers it. If that fails, the other side repeats it.
pub fn initiation_accepted<P: Party>(peer: &P) {
    peer.pace().note_response(peer.boottime(), peer.place());
    peer.announce(true);
    if let Ok(mut message) = peer.create_response() {
        peer.add_macs(message.as_mut_bytes());
        if peer.begin_session() {
            peer.timers(|t, now| {
                t.session_derived(now);
                t.any_authenticated_packet_traversal(now, peer.keepalive_ns());
                t.any_authenticated_packet_sent();
            });
            peer.pace().note_response(peer.boottime(), peer.place());
            peer.send(message.as_bytes());
        }
    }
    handshake_message_received(peer);
}

/// A response was accepted: begins the session.
pub fn response_accepted<P: Party>(peer: &P) {
    if peer.begin_session() {
        peer.timers(|t, now| {
            t.session_derived(now);
            t.handshake_complete();
        });
        completed(peer, Side::Initiator);
        // Sends what waits, or an empty message: either confirms the session to the responder at
        // once.
        send_keepalive(peer);
    }
    handshake_message_received(peer);
}

fn handshake_message_received<P: Party>(peer: &P) {
    peer.timers(|t, now| {
        t.any_authenticated_packet_received();
        t.any_authenticated_packet_traversal(now, peer.keepalive_ns());
    });
}

/// The first authentic message arrived under the session that our response began, so the other side
/// has the keys, too.
pub fn session_confirmed<P: Party>(peer: &P) {
    peer.timers(|t, _| t.handshake_complete());
    completed(peer, Side::Responder);
    send_staged(peer);
}

/// Both sides have the keys of a session: tells of it, and sees to it that its end is told.
fn completed<P: Party>(peer: &P, side: Side) {
    peer.note_completed(side);
    // After it was told, or the end could come first. If it has been forgotten meanwhile, that is it.
    let left = peer.session_left();
    peer.timers(|t, now| t.session_lasts(now, left));
}

/// A session may be over: tells it, or sees to it that this is done in time.
fn check_session<P: Party>(peer: &P) {
    let left = peer.tell_unless_session();
    if left != 0 {
        peer.timers(|t, now| t.session_lasts(now, left));
    }
}

/// Authentic transport messages arrived, one or more at once, `data` of them with data.
#[inline]
pub fn transport_received<P: Party>(peer: &P, data: usize) {
    // A side that only receives renews the session before it expires under the sender's feet, once.
    if peer.expires_soon() {
        let mut first = false;
        peer.timers(|t, _| first = t.begin_lastminute_handshake());
        if first {
            queue_initiation(peer, false);
        }
    }
    peer.timers(|t, now| {
        t.any_authenticated_packet_received();
        t.any_authenticated_packet_traversal(now, peer.keepalive_ns());
        // A third one tells no more than the second: that there is more than one.
        for _ in 0..data.min(2) {
            t.data_received(now);
        }
    });
}

/// Transport messages leave: `send` sends them, and says whether there is data among them.
#[inline]
pub fn transport_leaves<P: Party>(peer: &P, send: impl FnOnce() -> bool) {
    peer.timers(|t, now| {
        t.any_authenticated_packet_traversal(now, peer.keepalive_ns());
        t.any_authenticated_packet_sent();
    });
    if send() {
        peer.timers(|t, now| t.data_sent(now, || peer.jitter()));
    }
    if peer.worn_by_sending() {
        queue_initiation(peer, false);
    }
}

/// Does what an expired deadline asks for.
pub fn act<P: Party>(peer: &P, action: Action) {
    match action {
        Action::RetransmitHandshake { .. } => {
            // The address we send from may be what is wrong.
            peer.forget_source();
            queue_initiation(peer, true);
        }
        Action::DeferredHandshake => {
            // What waits, if anything, may have got a session in another way.
            let Some(packets) = peer.take_staged() else {
                return queue_initiation(peer, true);
            };
            if let Err(packets) = peer.submit(packets) {
                peer.restage(packets);
                queue_initiation(peer, true);
            }
        }
        Action::GiveUpHandshake => peer.purge_staged(),
        Action::NewHandshake => {
            peer.forget_source();
            queue_initiation(peer, false);
        }
        Action::SendKeepalive => send_keepalive(peer),
        Action::PersistentKeepalive => {
            let interval = peer.keepalive_ns();
            if interval != 0 {
                // The next one first: that chain must not end because this one gets lost.
                peer.timers(|t, now| t.any_authenticated_packet_traversal(now, interval));
                send_keepalive(peer);
            }
        }
        Action::ZeroKeyMaterial => peer.call_clearer(),
        // Nothing that the protocol knows of.
        Action::TellEndpoint => {}
        Action::CheckSession => check_session(peer),
    }
}

#[cfg(test)]
mod tests;
