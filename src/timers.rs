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
        all(CONFIG_RUST, not(CONFIG_KUNIT = "y")),
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
mod tests;
