// SPDX-License-Identifier: GPL-2.0

//! A model of the timers: independent kernel timers, one per rule of the paper (§6), and what is ours.
//!
//! Both hear of the same events. The model's timers fire at their own time. The state machine has
//! only what the driver gives it: one kernel timer, armed when it asks for that, which calls it
//! back when it fires. They must want the same done at the same times.

use wireguard_rs_core::timers::{
    Action,
    Timers, //
};

/// One second.
pub const S: u64 = 1_000_000_000;

/// What happens to a peer, or how time passes.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Wait(u64),
    /// To the moment of the model's next timer, plus or minus a little.
    WaitForNext(i64),
    DataSent(u64),
    DataReceived,
    AnySent,
    AnyReceived,
    Traversal(u64),
    Initiated(u64),
    Deferred(u64),
    KeepaliveFailed,
    Begun(bool),
    Complete,
    Derived,
    Forgotten,
    Lastminute,
    Moved,
    /// A session lasts so long.
    Lasts(u64),
    /// The machine slept.
    Slept,
    Stop,
    Start,
}

/// The timers, as the paper words them.
#[derive(Default)]
struct Model {
    up: bool,
    retransmit: Option<u64>,
    keepalive: Option<u64>,
    new_handshake: Option<u64>,
    zero: Option<u64>,
    persistent: Option<u64>,
    tries: u32,
    another: bool,
    lastminute: bool,
    /// An initiation that was wanted and not sent; never beside `retransmit`.
    deferred: Option<u64>,
    /// Until when it is not told again where the peer is.
    quiet: Option<u64>,
    /// Whether it has moved since.
    untold: bool,
    /// Whether the last place was told at once.
    told: bool,
    /// When the session is looked at, of whose begin was told and not of its end.
    check: Option<u64>,
}

impl Model {
    fn at(&self, when: u64) -> Option<u64> {
        self.up.then_some(when)
    }

    fn event(&mut self, now: u64, event: Event) {
        match event {
            // §6.5, second half: "if a peer has sent a packet … but has not received any in
            // KEEPALIVE_TIMEOUT + REKEY_TIMEOUT".
            Event::DataSent(jitter) if self.new_handshake.is_none() => {
                self.new_handshake = self.at(now + 15 * S + jitter);
            }
            // §6.5, first half: passive keepalive.
            Event::DataReceived if self.up => {
                if self.keepalive.is_some() {
                    self.another = true;
                } else {
                    self.keepalive = Some(now + 10 * S);
                }
            }
            Event::AnySent => self.keepalive = None,
            Event::AnyReceived => self.new_handshake = None,
            Event::Traversal(every) if every != 0 && self.up => {
                self.persistent = Some(now + every);
            }
            // §6.4: retransmission of the initiation.
            Event::Initiated(jitter) if self.up => {
                self.retransmit = Some(now + 5 * S + jitter);
                self.deferred = None;
            }
            // Ours: nothing that is wanted is forgotten.
            Event::Deferred(wait) if self.retransmit.is_none() && self.deferred.is_none() => {
                self.deferred = self.at(now + wait);
            }
            Event::KeepaliveFailed if self.up => {
                let at = now + S;
                self.keepalive = Some(self.keepalive.map_or(at, |k| k.min(at)));
            }
            Event::Begun(false) => self.tries = 0,
            Event::Complete => {
                self.retransmit = None;
                self.deferred = None;
                self.tries = 0;
                self.lastminute = false;
            }
            // §6.3: three times REJECT_AFTER_TIME.
            Event::Derived if self.up => self.zero = Some(now + 3 * 180 * S),
            Event::Forgotten => self.zero = None,
            Event::Lastminute => self.lastminute = true,
            // Ours: the last place is always told, and none within a second of another.
            Event::Moved => {
                self.told = self.quiet.is_none();
                self.untold |= !self.told;
                self.quiet = self.quiet.or(Some(now + S));
            }
            // Ours: the end of a session is told; early enough for a timer that is late by an eighth.
            Event::Lasts(left) => {
                let at = now + if left > 4 * S { left - left / 8 } else { left };
                self.check = Some(self.check.map_or(at, |c| c.min(at)));
            }
            Event::Slept => self.check = self.check.map(|c| c.min(now)),
            Event::Stop => {
                *self = Self {
                    tries: self.tries,
                    another: self.another,
                    lastminute: self.lastminute,
                    quiet: self.quiet,
                    untold: self.untold,
                    told: self.told,
                    ..Self::default()
                };
            }
            Event::Start => self.up = true,
            _ => {}
        }
    }

    fn next(&self) -> Option<u64> {
        [
            self.retransmit,
            self.deferred,
            self.keepalive,
            self.new_handshake,
            self.zero,
            self.persistent,
            self.quiet,
            self.check,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Fires all timers whose time is exactly `now`; which of them comes first is not prescribed
    /// but for giving up, which takes the keepalive back.
    fn fire(&mut self, now: u64) -> Vec<Action> {
        let mut done = vec![];
        if self.keepalive.take_if(|t| *t == now).is_some() {
            done.push(Action::SendKeepalive);
            if std::mem::take(&mut self.another) {
                self.keepalive = self.at(now + 10 * S);
            }
        }
        if self.persistent.take_if(|t| *t == now).is_some() {
            done.push(Action::PersistentKeepalive);
        }
        if self.new_handshake.take_if(|t| *t == now).is_some() {
            done.push(Action::NewHandshake);
        }
        if self.retransmit.take_if(|t| *t == now).is_some() {
            if self.tries > 18 {
                done.push(Action::GiveUpHandshake);
                self.keepalive = None;
                self.zero = self.zero.or(Some(now + 540 * S));
            } else {
                self.tries += 1;
                done.push(Action::RetransmitHandshake {
                    attempt: self.tries + 1,
                });
            }
        }
        if self.deferred.take_if(|t| *t == now).is_some() {
            done.push(Action::DeferredHandshake);
        }
        if self.zero.take_if(|t| *t == now).is_some() {
            done.push(Action::ZeroKeyMaterial);
        }
        if self.quiet.take_if(|t| *t == now).is_some() && std::mem::take(&mut self.untold) {
            self.quiet = Some(now + S);
            done.push(Action::TellEndpoint);
        }
        if self.check.take_if(|t| *t == now).is_some() {
            done.push(Action::CheckSession);
        }
        done
    }
}

/// The state machine with what the driver adds: the kernel's timer and its callback.
pub struct Driver {
    /// What is tested.
    pub timers: Timers,
    /// When the kernel's timer will fire.
    pub armed: Option<u64>,
    /// How often it was armed.
    pub armings: u64,
    /// Whether the last place was told at once.
    pub told: bool,
}

impl Driver {
    fn rearm(&mut self) {
        if let Some(at) = self.timers.rearm() {
            assert!(
                self.armed.is_none_or(|armed| at < armed),
                "armed for later than it was"
            );
            self.armed = Some(at);
            self.armings += 1;
        }
    }

    /// Has `event` happen at `now`.
    pub fn event(&mut self, now: u64, event: Event) {
        let t = &mut self.timers;
        match event {
            Event::Wait(_) | Event::WaitForNext(_) => {}
            Event::DataSent(jitter) => t.data_sent(now, || jitter),
            Event::DataReceived => t.data_received(now),
            Event::AnySent => t.any_authenticated_packet_sent(),
            Event::AnyReceived => t.any_authenticated_packet_received(),
            Event::Traversal(every) => t.any_authenticated_packet_traversal(now, every),
            Event::Initiated(jitter) => t.handshake_initiated(now, || jitter),
            Event::Deferred(wait) => t.handshake_deferred(now, wait, || 0),
            Event::KeepaliveFailed => t.keepalive_failed(now),
            Event::Begun(is_retry) => t.handshake_begun(is_retry),
            Event::Complete => t.handshake_complete(),
            Event::Derived => t.session_derived(now),
            Event::Forgotten => t.cancel_zero_key_material(),
            Event::Lastminute => {
                let sent = t.lastminute_handshake_sent();
                assert_eq!(t.begin_lastminute_handshake(), !sent);
            }
            Event::Moved => {
                self.told = t.endpoint_changed(now);
            }
            Event::Lasts(left) => t.session_lasts(now, left),
            Event::Slept => t.session_in_doubt(now),
            Event::Stop => {
                t.stop();
                self.armed = None;
            }
            Event::Start => t.start(),
        }
        self.rearm();
    }

    /// Lets time pass until `to`; what was done, and when.
    pub fn advance(&mut self, to: u64) -> Vec<(u64, Action)> {
        let mut done = vec![];
        while let Some(now) = self.armed.filter(|at| *at <= to) {
            self.armed = None;
            while let Some(action) = self.timers.expire(now) {
                done.push((now, action));
            }
            self.rearm();
        }
        done
    }
}

/// Has the events happen to both.
pub fn run(up: bool, events: &[Event]) {
    let mut now = S;
    let mut model = Model {
        up,
        ..Model::default()
    };
    let mut driver = Driver {
        timers: Timers::new(up),
        armed: None,
        armings: 0,
        told: false,
    };
    for event in events {
        let to = match *event {
            Event::Wait(time) => now + time,
            Event::WaitForNext(off) => model
                .next()
                .map_or(now, |next| next.saturating_add_signed(off).max(now)),
            _ => now,
        };
        let mut want = vec![];
        while let Some(at) = model.next().filter(|at| *at <= to) {
            want.extend(model.fire(at).into_iter().map(|a| (at, a)));
        }
        assert_eq!(driver.advance(to), want);
        now = to;
        model.event(now, *event);
        driver.event(now, *event);
        assert_eq!(driver.timers.lastminute_handshake_sent(), model.lastminute);
        assert_eq!(driver.told, model.told);
    }
}
