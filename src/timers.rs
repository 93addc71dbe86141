// SPDX-License-Identifier: GPL-2.0

//! When a peer does something of its own accord (paper §6): the protocol's five timers, and two of ours.
//!
//! | timer | set when | what happens |
//! |---|---|---|
//! | retransmit handshake | an initiation was sent | another one, or giving up after 90 s |
//! | | an initiation is wanted and cannot be sent now | the one that was put off |
//! | send keepalive | data came and nothing went out since | an empty message |
//! | new handshake | data went out and nothing came since | a new initiation |
//! | zero key material | a session was derived | all keys are forgotten |
//! | persistent keepalive | anything authenticated passed, if configured | an empty message |
//! | tell endpoint | it was told where the peer is | it is told again, if the peer has moved since |
//! | check session | a handshake is complete | its end is told, unless there is a younger session |
//!
//! One [`Timers`] holds all of them as deadlines, and there is one kernel timer per peer. That one is
//! handled lazily: most events move a deadline further away or take it back, which costs a store
//! here and leaves the kernel's timer alone; when that fires for nothing it is armed anew for what
//! is next. Only a deadline that is earlier than what is armed has to be passed on
//! ([`Timers::rearm`]). Those that packets don't touch share one place among the deadlines, so that who
//! looks for the earliest, with each packet, has no more of them to look at.
//!
//! Nothing here reads a clock, sleeps or has an effect: the driver calls a method when something
//! has happened, under a lock of its own, and does what [`Timers::expire`] says.
//!
//! Times are nanoseconds of the monotonic clock; intervals are nanoseconds. A clock that stands
//! still during suspend is right, as for jiffies in the C driver: keys that got too old meanwhile
//! are found by their birthdate. Only for who is told of their end it must be looked for
//! ([`Timers::session_in_doubt`]).

#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use crate::messages::{
    KEEPALIVE_TIMEOUT_NS,
    MAX_TIMER_HANDSHAKES,
    NSEC_PER_SEC,
    REJECT_AFTER_TIME_NS,
    REKEY_TIMEOUT_NS, //
};

/// Keys are forgotten this long after the last session was derived.
pub const ZERO_KEYS_AFTER_NS: u64 = 3 * REJECT_AFTER_TIME_NS;
/// A new handshake begins this long (and a jitter) after data was sent that nothing answered.
pub const NEW_HANDSHAKE_AFTER_NS: u64 = KEEPALIVE_TIMEOUT_NS + REKEY_TIMEOUT_NS;

/// An empty message that there was no memory for is tried again after this long.
pub const KEEPALIVE_RETRY_NS: u64 = NSEC_PER_SEC;
/// So long after it was told where the peer is, this is not told again.
pub const TELL_ENDPOINT_NS: u64 = NSEC_PER_SEC;
/// A session that lasts for longer than this is checked earlier than at its end: the kernel's timers
/// are late by up to an eighth of the time.
pub const CHECK_EARLY_NS: u64 = 4 * NSEC_PER_SEC;

/// What the driver has to do because a deadline has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// No answer to the last initiation. Forget the source address of the endpoint, in case that
    /// is the cause, and send another initiation, as a retry.
    RetransmitHandshake {
        /// Which initiation in a row this one will be; the first retry is the second.
        attempt: u32,
    },
    /// An initiation that was wanted could not be sent at that time: see
    /// [`Timers::handshake_deferred`]. If packets wait and there is a session for them by now, send
    /// them; else send the initiation, as a retry.
    DeferredHandshake,
    /// No answer to any of [`GIVE_UP_AFTER`] initiations. Drop the packets that wait for a session.
    GiveUpHandshake,
    /// Send an empty message, since the other side sent data and has not heard from us.
    SendKeepalive,
    /// The other side went quiet. Forget the source address of the endpoint and begin a new
    /// handshake.
    NewHandshake,
    /// Forget the handshake and all sessions. In the driver this needs process context.
    ZeroKeyMaterial,
    /// Send an empty message, if the peer still has a persistent keepalive interval.
    PersistentKeepalive,
    /// Tell who listens where the peer is.
    TellEndpoint,
    /// Tell who listens that the peer has no session any more; or, if it has one,
    /// [`Timers::session_lasts`].
    CheckSession,
}

/// Initiations in a row after which [`Action::GiveUpHandshake`] comes.
pub const GIVE_UP_AFTER: u32 = MAX_TIMER_HANDSHAKES + 2;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// Indices into [`Timers::deadlines`]; of two that passed at once the first is handled first.
const SEND_KEEPALIVE: usize = 0;
const PERSISTENT_KEEPALIVE: usize = 1;
const NEW_HANDSHAKE: usize = 2;
const RETRANSMIT_HANDSHAKE: usize = 3;
/// The earliest of [`Timers::slow`].
const SLOW: usize = 4;
const COUNT: usize = 5;

/// Indices into [`Timers::slow`], as above.
const ZERO_KEY_MATERIAL: usize = 0;
const TELL_ENDPOINT: usize = 1;
const CHECK_SESSION: usize = 2;
const SLOW_COUNT: usize = 3;

/// The timers of one peer.
///
/// # Invariants
///
/// - `deadlines[SLOW]` is the earliest of `slow`.
/// - Unless `enabled`, all of both are [`NEVER`], but for `slow[TELL_ENDPOINT]` and, of a session that
///   was begun all the same, `slow[CHECK_SESSION]`.
/// - If the caller arms the kernel's timer whenever [`Timers::rearm`] says so, then that timer is
///   armed for `armed` ([`NEVER`]: perhaps not armed).
pub struct Timers {
    deadlines: [u64; COUNT],
    slow: [u64; SLOW_COUNT],
    armed: u64,
    attempts: u8,
    enabled: bool,
    /// Whether the deadline for retransmission, if there is one, is that of an initiation which was
    /// put off.
    deferred: bool,
    need_another_keepalive: bool,
    sent_lastminute_handshake: bool,
    /// Whether the peer has moved since it was told where it is.
    endpoint_untold: bool,
}

// The counter of attempts goes up to one more than the limit.
const _: () = assert!(MAX_TIMER_HANDSHAKES < u8::MAX as u32);

impl Timers {
    /// No deadline. Timers run from the start if `enabled`, else from [`Timers::start`] on.
    pub const fn new(enabled: bool) -> Self {
        Self {
            deadlines: [NEVER; COUNT],
            slow: [NEVER; SLOW_COUNT],
            armed: NEVER,
            attempts: 0,
            enabled,
            deferred: false,
            need_another_keepalive: false,
            sent_lastminute_handshake: false,
            endpoint_untold: false,
        }
    }

    /// Lets timers be set from now on: the device came up.
    pub fn start(&mut self) {
        self.enabled = true;
    }

    /// Takes back all deadlines and ignores all that would set one: the device went down, or the
    /// peer is being removed. Where the peer is will be told all the same, if it is still to be; of the end
    /// of its session, which goes with that, nothing is.
    ///
    /// The caller takes back the kernel's timer as well, after this, and then asks
    /// [`Timers::rearm`]. If it fires all the same it finds nothing due. The count of attempts stays,
    /// as in the C driver.
    pub fn stop(&mut self) {
        let tell = self.slow[TELL_ENDPOINT];
        // INVARIANT: All deadlines go with `enabled`, but for that one.
        self.enabled = false;
        self.deadlines = [NEVER; COUNT];
        self.slow = [NEVER; SLOW_COUNT];
        self.set_slow(TELL_ENDPOINT, tell);
        self.armed = NEVER;
    }

    /// Sets the deadline of `timer` to `after` nanoseconds from `now`, in place of any other.
    #[inline]
    fn set(&mut self, timer: usize, now: u64, after: u64) {
        if self.enabled {
            self.deadlines[timer] = now.saturating_add(after);
        }
    }

    #[inline]
    fn clear(&mut self, timer: usize) {
        self.deadlines[timer] = NEVER;
    }

    #[inline]
    fn pending(&self, timer: usize) -> bool {
        self.deadlines[timer] != NEVER
    }

    /// Sets a deadline among [`Timers::slow`], or takes it back.
    fn set_slow(&mut self, timer: usize, at: u64) {
        self.slow[timer] = at;
        // INVARIANT: As it says.
        self.deadlines[SLOW] = self.slow.iter().fold(NEVER, |a, b| a.min(*b));
    }

    /// Sets when keys are forgotten, in place of any other time.
    fn zero_keys_later(&mut self, now: u64) {
        if self.enabled {
            self.set_slow(ZERO_KEY_MATERIAL, now.saturating_add(ZERO_KEYS_AFTER_NS));
        }
    }

    /// An authenticated data packet was sent. `jitter` is random, at most
    /// [`REKEY_TIMEOUT_JITTER_MAX_NS`]; it is asked for only when it is needed.
    ///
    /// [`REKEY_TIMEOUT_JITTER_MAX_NS`]: crate::messages::REKEY_TIMEOUT_JITTER_MAX_NS
    #[inline]
    pub fn data_sent(&mut self, now: u64, jitter: impl FnOnce() -> u64) {
        if self.enabled && !self.pending(NEW_HANDSHAKE) {
            let after = NEW_HANDSHAKE_AFTER_NS.saturating_add(jitter());
            self.set(NEW_HANDSHAKE, now, after);
        }
    }

    /// An authenticated data packet was received.
    #[inline]
    pub fn data_received(&mut self, now: u64) {
        if self.pending(SEND_KEEPALIVE) {
            self.need_another_keepalive = true;
        } else {
            self.set(SEND_KEEPALIVE, now, KEEPALIVE_TIMEOUT_NS);
        }
    }

    /// Any authenticated packet was sent: keepalive, data or handshake.
    #[inline]
    pub fn any_authenticated_packet_sent(&mut self) {
        self.clear(SEND_KEEPALIVE);
    }

    /// Any authenticated packet was received: keepalive, data or handshake.
    #[inline]
    pub fn any_authenticated_packet_received(&mut self) {
        self.clear(NEW_HANDSHAKE);
    }

    /// Any authenticated packet is about to be sent or was received. `interval` is the peer's
    /// persistent keepalive interval, 0 for none.
    #[inline]
    pub fn any_authenticated_packet_traversal(&mut self, now: u64, interval: u64) {
        if interval != 0 {
            self.set(PERSISTENT_KEEPALIVE, now, interval);
        }
    }

    /// An initiation was sent. `jitter` as for [`Timers::data_sent`].
    pub fn handshake_initiated(&mut self, now: u64, jitter: impl FnOnce() -> u64) {
        if self.enabled {
            let after = REKEY_TIMEOUT_NS.saturating_add(jitter());
            self.set(RETRANSMIT_HANDSHAKE, now, after);
            self.deferred = false;
        }
    }

    /// An initiation is wanted but can't be sent now, for a reason that passes: a handshake message
    /// was sent less than [`REKEY_TIMEOUT_NS`] ago, there is no memory, or no randomness yet. It is
    /// tried again `wait` later. `jitter` as for [`Timers::data_sent`].
    ///
    /// Whoever wants a handshake and gets none must have this called, or a tunnel could wait for
    /// ever for somebody else to want one. As nothing was sent, this is no attempt that counts
    /// towards giving up.
    pub fn handshake_deferred(&mut self, now: u64, wait: u64, jitter: impl FnOnce() -> u64) {
        // One that was sent, or put off before, is repeated at its own time.
        if self.enabled && !self.pending(RETRANSMIT_HANDSHAKE) {
            self.set(RETRANSMIT_HANDSHAKE, now, wait.saturating_add(jitter()));
            self.deferred = true;
        }
    }

    /// An initiation is wanted, and can be sent `wait` from now: earlier than what was to be done about
    /// the last one, if anything, as that went elsewhere. `jitter` as for [`Timers::data_sent`].
    pub fn handshake_hurried(&mut self, now: u64, wait: u64, jitter: impl FnOnce() -> u64) {
        let at = now.saturating_add(wait).saturating_add(jitter());
        if self.enabled && at < self.deadlines[RETRANSMIT_HANDSHAKE] {
            self.deadlines[RETRANSMIT_HANDSHAKE] = at;
            self.deferred = true;
        }
    }

    /// There was no memory for an empty message. It is tried again after [`KEEPALIVE_RETRY_NS`],
    /// unless something else is sent by then.
    pub fn keepalive_failed(&mut self, now: u64) {
        let at = self.deadlines[SEND_KEEPALIVE].min(now.saturating_add(KEEPALIVE_RETRY_NS));
        if self.enabled {
            self.deadlines[SEND_KEEPALIVE] = at;
        }
    }

    /// An initiation is wanted: `is_retry` if because there was no answer to the last one, else
    /// the count of attempts begins anew. Also for those that are not sent after all because of
    /// the rate limit.
    pub fn handshake_begun(&mut self, is_retry: bool) {
        if !is_retry {
            self.attempts = 0;
        }
    }

    /// A response was received and processed, or the first data packet confirmed the key.
    pub fn handshake_complete(&mut self) {
        self.clear(RETRANSMIT_HANDSHAKE);
        self.attempts = 0;
        self.sent_lastminute_handshake = false;
    }

    /// A session was derived: before sending a response, after receiving one.
    pub fn session_derived(&mut self, now: u64) {
        self.zero_keys_later(now);
    }

    /// The keys are forgotten now, in another way: nothing is left for the timer to do.
    pub fn cancel_zero_key_material(&mut self) {
        self.set_slow(ZERO_KEY_MATERIAL, NEVER);
    }

    /// The peer was heard from another place than before, and somebody listens to where it is:
    /// whether that is to be told now. If not, [`Action::TellEndpoint`] will come. Also of a device
    /// that is down: something may have been under way.
    pub fn endpoint_changed(&mut self, now: u64) -> bool {
        if self.slow[TELL_ENDPOINT] != NEVER {
            self.endpoint_untold = true;
            return false;
        }
        self.set_slow(TELL_ENDPOINT, now.saturating_add(TELL_ENDPOINT_NS));
        true
    }

    /// It was told that a session began. The one in use may be used for `left` more; 0: there is none any
    /// more. [`Action::CheckSession`] will come by then, or earlier: a younger session does not put it off.
    /// Also of a device that is down, as above.
    pub fn session_lasts(&mut self, now: u64, left: u64) {
        let early = if left > CHECK_EARLY_NS { left / 8 } else { 0 };
        let at = now.saturating_add(left - early);
        self.set_slow(CHECK_SESSION, at.min(self.slow[CHECK_SESSION]));
    }

    /// The session in use may be over before its time: the machine slept, or it was forgotten.
    /// [`Action::CheckSession`] comes now, unless its end was told.
    pub fn session_in_doubt(&mut self, now: u64) {
        if self.slow[CHECK_SESSION] != NEVER {
            self.session_lasts(now, 0);
        }
    }

    /// Whether the receiver has asked for a new handshake shortly before the key expires, and none
    /// was completed since.
    #[inline]
    #[cfg_attr(
        all(MODULE, not(CONFIG_KUNIT = "y")),
        expect(dead_code, reason = "for tests: the setter tells, too")
    )]
    pub const fn lastminute_handshake_sent(&self) -> bool {
        self.sent_lastminute_handshake
    }

    /// Notes that the receiver asks for a new handshake shortly before the key expires; false if
    /// it has done so already.
    pub fn begin_lastminute_handshake(&mut self) -> bool {
        !core::mem::replace(&mut self.sent_lastminute_handshake, true)
    }

    /// Of a handshake of ours that is under way: how many initiations in a row were sent for it; 0 if
    /// the first one was put off.
    pub fn initiations(&self) -> Option<u32> {
        self.pending(RETRANSMIT_HANDSHAKE)
            .then(|| u32::from(self.attempts) + u32::from(!self.deferred))
    }

    /// When the kernel's timer must be armed for, if it must be armed anew.
    ///
    /// To be called after events, and after [`Timers::expire`] returned `None`. The caller arms
    /// the kernel's timer under the same lock, else two callers could arm it in the wrong order.
    #[inline]
    pub fn rearm(&mut self) -> Option<u64> {
        let earliest = self.earliest();
        if earliest >= self.armed {
            return None;
        }
        // INVARIANT: The caller arms the kernel's timer for that.
        self.armed = earliest;
        Some(earliest)
    }

    #[inline]
    fn earliest(&self) -> u64 {
        self.deadlines.iter().fold(NEVER, |a, b| a.min(*b))
    }

    /// What to do next because its time has come; `None` if nothing (more) is due.
    ///
    /// For the callback of the kernel's timer only, which calls this, and does what it says, until
    /// it is `None`, and then [`Timers::rearm`]. So a deadline that is taken back by what an
    /// earlier one made the driver do does not count, as with five timers of the kernel.
    pub fn expire(&mut self, now: u64) -> Option<Action> {
        // INVARIANT: The kernel's timer is not armed after it fired. (If an event has armed it
        // since, it may be armed once more for the same or an earlier time.)
        self.armed = NEVER;

        let earliest = self.earliest();
        if earliest == NEVER || earliest > now {
            return None;
        }
        let timer = self.deadlines.iter().position(|d| *d == earliest)?;
        self.clear(timer);
        Some(match timer {
            SEND_KEEPALIVE => {
                if core::mem::take(&mut self.need_another_keepalive) {
                    self.set(SEND_KEEPALIVE, now, KEEPALIVE_TIMEOUT_NS);
                }
                Action::SendKeepalive
            }
            PERSISTENT_KEEPALIVE => Action::PersistentKeepalive,
            NEW_HANDSHAKE => Action::NewHandshake,
            RETRANSMIT_HANDSHAKE if self.deferred => Action::DeferredHandshake,
            RETRANSMIT_HANDSHAKE => self.retransmit(now),
            _ => return self.expire_slow(now),
        })
    }

    /// [`Timers::expire`] for the earliest of [`Timers::slow`], which is due.
    fn expire_slow(&mut self, now: u64) -> Option<Action> {
        let earliest = self.slow.iter().fold(NEVER, |a, b| a.min(*b));
        let timer = self.slow.iter().position(|d| *d == earliest)?;
        self.set_slow(timer, NEVER);
        match timer {
            ZERO_KEY_MATERIAL => return Some(Action::ZeroKeyMaterial),
            CHECK_SESSION => return Some(Action::CheckSession),
            _ => {}
        }
        if !core::mem::take(&mut self.endpoint_untold) {
            // Something else may be due: this one is not any more.
            return self.expire(now);
        }
        self.set_slow(TELL_ENDPOINT, now.saturating_add(TELL_ENDPOINT_NS));
        Some(Action::TellEndpoint)
    }

    fn retransmit(&mut self, now: u64) -> Action {
        if u32::from(self.attempts) > MAX_TIMER_HANDSHAKES {
            self.clear(SEND_KEEPALIVE);
            // What is left of the partial exchange shall go some day, too.
            if self.slow[ZERO_KEY_MATERIAL] == NEVER {
                self.zero_keys_later(now);
            }
            return Action::GiveUpHandshake;
        }
        self.attempts += 1;
        Action::RetransmitHandshake {
            attempt: u32::from(self.attempts) + 1,
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_timers))]
mod tests {
    use super::*;

    /// `n` seconds.
    const fn s(n: u64) -> u64 {
        n * NSEC_PER_SEC
    }

    #[test]
    fn initiations_are_counted_while_an_answer_is_due() {
        let mut t = Timers::new(true);
        assert!(t.initiations().is_none());
        t.handshake_begun(false);
        t.handshake_deferred(0, s(1), || 0);
        assert!(t.initiations() == Some(0));
        assert!(t.expire(s(1)) == Some(Action::DeferredHandshake));
        t.handshake_initiated(s(1), || 0);
        assert!(t.initiations() == Some(1));
        assert!(t.expire(s(6)) == Some(Action::RetransmitHandshake { attempt: 2 }));
        assert!(t.initiations().is_none());
        t.handshake_deferred(s(6), s(1), || 0);
        assert!(t.initiations() == Some(1));
        t.handshake_initiated(s(6), || 0);
        assert!(t.initiations() == Some(2));
        t.handshake_complete();
        assert!(t.initiations().is_none());
    }

    #[test]
    fn keepalive_answers_data_that_nothing_answered() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        assert!(t.rearm() == Some(s(11)));
        assert!(t.rearm().is_none());
        assert!(t.expire(s(11) - 1).is_none());
        assert!(t.rearm() == Some(s(11)));
        assert!(t.expire(s(11)) == Some(Action::SendKeepalive));
        assert!(t.expire(s(11)).is_none());
        assert!(t.rearm().is_none());
    }

    #[test]
    fn more_data_meanwhile_makes_another_keepalive() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        t.data_received(s(2));
        assert!(t.expire(s(11)) == Some(Action::SendKeepalive));
        assert!(t.expire(s(11)).is_none());
        assert!(t.rearm() == Some(s(21)));
        assert!(t.expire(s(21)) == Some(Action::SendKeepalive));
        assert!(t.rearm().is_none());
    }

    #[test]
    fn anything_sent_takes_the_keepalive_back() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        assert!(t.rearm() == Some(s(11)));
        t.any_authenticated_packet_sent();
        // The kernel's timer is left alone and fires for nothing.
        assert!(t.rearm().is_none());
        assert!(t.expire(s(11)).is_none());
        assert!(t.rearm().is_none());
    }

    #[test]
    fn silence_makes_a_new_handshake() {
        let mut t = Timers::new(true);
        t.data_sent(s(1), || 5);
        // Only the first packet counts; the clock of the silence runs from there.
        t.data_sent(s(9), || unreachable!());
        assert!(t.rearm() == Some(s(16) + 5));
        t.any_authenticated_packet_received();
        t.data_sent(s(10), || 7);
        assert!(t.rearm().is_none());
        assert!(t.expire(s(16) + 5).is_none());
        assert!(t.rearm() == Some(s(25) + 7));
        assert!(t.expire(s(26)) == Some(Action::NewHandshake));
        assert!(t.expire(s(26)).is_none());
    }

    #[test]
    fn an_earlier_deadline_is_passed_on() {
        let mut t = Timers::new(true);
        t.session_derived(0);
        assert!(t.rearm() == Some(s(540)));
        t.handshake_initiated(s(1), || 0);
        assert!(t.rearm() == Some(s(6)));
        t.any_authenticated_packet_traversal(s(1), 0);
        assert!(t.rearm().is_none());
        t.any_authenticated_packet_traversal(s(1), s(2));
        assert!(t.rearm() == Some(s(3)));
        assert!(t.expire(s(3)) == Some(Action::PersistentKeepalive));
        assert!(t.expire(s(3)).is_none());
        assert!(t.rearm() == Some(s(6)));
        t.handshake_complete();
        assert!(t.expire(s(6)).is_none());
        assert!(t.rearm() == Some(s(540)));
        assert!(t.expire(s(540)) == Some(Action::ZeroKeyMaterial));
    }

    #[test]
    fn gives_up_after_twenty_initiations() {
        let mut t = Timers::new(true);
        let mut now = s(1);
        let mut sent = 1;
        t.handshake_begun(false);
        t.handshake_initiated(now, || 0);
        loop {
            let Some(at) = t.rearm() else {
                unreachable!();
            };
            assert!(at == now + s(5));
            now = at;
            match t.expire(now) {
                Some(Action::RetransmitHandshake { attempt }) => {
                    sent += 1;
                    assert!(attempt == sent);
                    t.handshake_begun(true);
                    t.handshake_initiated(now, || 0);
                }
                Some(Action::GiveUpHandshake) => break,
                _ => unreachable!(),
            }
            assert!(t.expire(now).is_none());
        }
        assert!(sent == GIVE_UP_AFTER);
        assert!(t.expire(now).is_none());
        // The residue of the exchange goes later.
        assert!(t.rearm() == Some(now + s(540)));
    }

    #[test]
    fn giving_up_takes_the_keepalive_back_and_respects_live_keys() {
        let mut t = Timers::new(true);
        t.session_derived(0);
        for i in 0..=u64::from(MAX_TIMER_HANDSHAKES) {
            t.handshake_initiated(s(5 * i), || 0);
            assert!(matches!(
                t.expire(s(5 * i + 5)),
                Some(Action::RetransmitHandshake { .. })
            ));
        }
        t.handshake_initiated(s(95), || 0);
        t.data_received(s(95));
        assert!(t.expire(s(100)) == Some(Action::GiveUpHandshake));
        assert!(t.expire(s(106)).is_none());
        assert!(t.rearm() == Some(s(540)));
    }

    #[test]
    fn stopped_timers_stay_silent() {
        let mut t = Timers::new(false);
        t.data_sent(s(1), || unreachable!());
        t.data_received(s(1));
        t.handshake_initiated(s(1), || unreachable!());
        t.session_derived(s(1));
        t.any_authenticated_packet_traversal(s(1), s(1));
        assert!(t.rearm().is_none());
        t.start();
        t.session_derived(s(1));
        assert!(t.rearm() == Some(s(541)));
        t.stop();
        assert!(t.rearm().is_none());
        assert!(t.expire(s(1000)).is_none());
    }

    #[test]
    fn where_a_peer_is_is_told_once_a_second() {
        let mut t = Timers::new(true);
        assert!(t.endpoint_changed(s(1)));
        assert!(t.rearm() == Some(s(2)));
        assert!(!t.endpoint_changed(s(1)) && !t.endpoint_changed(s(2) - 1));
        assert!(t.expire(s(2)) == Some(Action::TellEndpoint));
        assert!(t.expire(s(2)).is_none());
        // It was told just now, so it is not before a second has passed again.
        assert!(t.rearm() == Some(s(3)));
        assert!(!t.endpoint_changed(s(2)));
        assert!(t.expire(s(3)) == Some(Action::TellEndpoint));
        assert!(t.rearm() == Some(s(4)));
        // Then there is nothing new, and what is due besides is not held up by that.
        t.data_received(s(3));
        t.session_derived(s(3));
        assert!(t.expire(s(4)).is_none());
        assert!(t.rearm() == Some(s(13)));
        assert!(t.endpoint_changed(s(5)));
        assert!(t.expire(s(13)) == Some(Action::SendKeepalive));
        assert!(t.expire(s(13)).is_none());
        assert!(t.rearm() == Some(s(543)));
    }

    #[test]
    fn what_is_to_be_told_is_told_though_timers_stop() {
        let mut t = Timers::new(true);
        assert!(t.endpoint_changed(s(1)));
        t.session_derived(s(1));
        assert!(!t.endpoint_changed(s(1)));
        t.stop();
        assert!(t.rearm() == Some(s(2)));
        assert!(t.expire(s(2)) == Some(Action::TellEndpoint));
        assert!(t.rearm() == Some(s(3)));
        assert!(t.expire(s(3)).is_none());
        assert!(t.rearm().is_none());
        assert!(t.endpoint_changed(s(4)));
    }

    #[test]
    fn the_end_of_a_session_is_told_in_time() {
        let mut t = Timers::new(true);
        // The kernel's timer is as late as it may be.
        let (mut now, mut checks) = (s(1), 0);
        t.session_lasts(now, s(180));
        while let Some(at) = t.rearm() {
            now = at + (at - now) / 8;
            assert!(t.expire(now) == Some(Action::CheckSession));
            assert!(t.expire(now).is_none());
            checks += 1;
            if now < s(181) {
                t.session_lasts(now, s(181) - now);
            }
        }
        assert!(now <= s(181) + s(1) / 2 && checks <= 4);
        // Nothing is due that was told, whatever the machine does.
        t.session_in_doubt(now);
        assert!(t.rearm().is_none());
    }

    #[test]
    fn a_younger_session_is_found_when_the_older_one_ends() {
        let mut t = Timers::new(true);
        t.session_lasts(0, s(4));
        assert!(t.rearm() == Some(s(4)));
        t.session_lasts(s(1), s(180));
        assert!(t.rearm().is_none());
        assert!(t.expire(s(4)) == Some(Action::CheckSession));
        t.session_lasts(s(4), s(177));
        assert!(t.rearm() == Some(s(4) + s(177) - s(177) / 8));
        // One that has been waiting for its first message is older than it was long in use.
        t.session_lasts(s(5), s(1));
        assert!(t.rearm() == Some(s(6)));
        // It was asleep.
        t.session_in_doubt(s(5));
        assert!(t.rearm() == Some(s(5)));
        assert!(t.expire(s(5)) == Some(Action::CheckSession));
        assert!(t.expire(s(5)).is_none());
        t.session_in_doubt(s(6));
        assert!(t.rearm().is_none());
        // What goes with the interface, or the peer, has its own events; but one that was begun
        // meanwhile was told.
        t.session_lasts(s(6), s(180));
        t.stop();
        t.session_in_doubt(s(7));
        assert!(t.rearm().is_none());
        t.session_lasts(s(7), 0);
        assert!(t.rearm() == Some(s(7)));
        assert!(t.expire(s(7)) == Some(Action::CheckSession));
        assert!(t.rearm().is_none());
    }

    #[test]
    fn what_is_put_off_is_tried_again_and_does_not_count() {
        let mut t = Timers::new(true);
        t.handshake_begun(false);
        // For far longer than unanswered initiations are repeated.
        for n in 0..100 {
            t.handshake_deferred(s(5 * n), s(5), || 1);
            // Not once more, nor later, by those who want it meanwhile.
            t.handshake_deferred(s(5 * n + 3), s(5), || 0);
            assert!(t.expire(s(5 * n + 5)).is_none());
            assert!(t.expire(s(5 * n + 5) + 1) == Some(Action::DeferredHandshake));
            t.handshake_begun(true);
        }
        t.handshake_initiated(s(600), || 0);
        t.handshake_deferred(s(601), s(1), || 0);
        assert!(t.expire(s(605) - 1).is_none());
        assert!(t.expire(s(605)) == Some(Action::RetransmitHandshake { attempt: 2 }));
        // A retry that comes too soon, after a response: the chain goes on, and counts on.
        t.handshake_deferred(s(605), s(2), || 0);
        assert!(t.expire(s(607)) == Some(Action::DeferredHandshake));
        t.handshake_initiated(s(607), || 0);
        assert!(t.expire(s(612)) == Some(Action::RetransmitHandshake { attempt: 3 }));
        t.handshake_deferred(s(612), s(2), || 0);
        t.handshake_complete();
        assert!(t.expire(s(700)).is_none());
        t.stop();
        t.handshake_deferred(s(700), s(2), || 0);
        t.keepalive_failed(s(700));
        assert!(t.expire(s(1000)).is_none());
    }

    #[test]
    fn keepalive_that_found_no_memory() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        assert!(t.expire(s(11)) == Some(Action::SendKeepalive));
        t.keepalive_failed(s(11));
        assert!(t.rearm() == Some(s(12)));
        assert!(t.expire(s(12)) == Some(Action::SendKeepalive));
        // Not later than what is due anyway.
        t.data_received(s(20));
        t.keepalive_failed(s(29) + 5);
        assert!(t.expire(s(30) - 1).is_none());
        assert!(t.expire(s(30)) == Some(Action::SendKeepalive));
        t.keepalive_failed(s(30));
        t.any_authenticated_packet_sent();
        assert!(t.expire(s(100)).is_none());
    }

    #[test]
    fn one_lastminute_handshake_per_session() {
        let mut t = Timers::new(true);
        assert!(t.begin_lastminute_handshake());
        assert!(!t.begin_lastminute_handshake());
        assert!(t.lastminute_handshake_sent());
        t.handshake_complete();
        assert!(t.begin_lastminute_handshake());
    }
}
