// SPDX-License-Identifier: GPL-2.0
//! Two sides, the network between them, and all that may happen to them.

use std::cell::RefCell;

use crate::{
    actor::Actor,
    conduct::{
        self,
        Pace,
        Party, //
    },
    messages::NSEC_PER_SEC,
    side::{
        Config,
        Datagram,
        Side, //
    },
    timers::Timers, //
};

/// How late timers fire at most: enough for everything else that is due soon to happen before.
const MAX_LATE_NS: u64 = 6 * NSEC_PER_SEC;

/// An address that nobody has.
const NOWHERE: u8 = u8::MAX;

/// The two sides; one is the other's peer.
pub const SIDES: [usize; 2] = [0, 1];

/// Everything.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct World {
    now: u64,
    sides: [Side; 2],
    paces: [Pace; 2],
    /// What is under way, by the side whose peer sent it.
    net: [Vec<Datagram>; 2],
    /// Packets that the user has sent at both sides.
    packets: u8,
    /// What should never happen, and did.
    pub broken: Option<&'static str>,
}

impl World {
    /// Both sides have just come up; with randomness or not yet.
    pub fn new(config: &Config, ready: [bool; 2]) -> Self {
        let now = 1000 * NSEC_PER_SEC;
        let mut this = Self {
            now,
            sides: SIDES.map(|s| Side::new(s, ready[s])),
            paces: SIDES.map(|_| Pace::new()),
            net: SIDES.map(|_| vec![]),
            packets: 0,
            broken: None,
        };
        SIDES.iter().for_each(|s| this.came_up(config, *s));
        this
    }

    fn actor<'a>(&'a mut self, config: &'a Config, side: usize) -> Actor<'a> {
        Actor {
            me: side,
            now: self.now,
            config,
            pace: &self.paces[side],
            side: RefCell::new(&mut self.sides[side]),
            out: RefCell::new(&mut self.net[1 - side]),
            broken: RefCell::new(&mut self.broken),
        }
    }

    fn came_up(&mut self, config: &Config, side: usize) {
        let actor = self.actor(config, side);
        conduct::send_staged(&actor);
        if actor.keepalive_ns() != 0 {
            conduct::send_keepalive(&actor);
        }
    }

    /// What is under way to `side`.
    pub fn under_way(&self, side: usize) -> usize {
        self.net[side].len()
    }

    /// Takes datagram `n` to `side`, or a copy of it; under load if so many wait.
    pub fn deliver(&mut self, config: &Config, side: usize, n: usize, copy: bool, queued: usize) {
        let datagram = if copy {
            self.net[side][n].clone()
        } else {
            self.net[side].remove(n)
        };
        if datagram.to == self.sides[side].address && self.sides[side].up {
            let actor = self.actor(config, side);
            actor.receive(datagram.from, &datagram.bytes, queued);
        }
    }

    /// Loses datagram `n` to `side`.
    pub fn lose(&mut self, side: usize, n: usize) {
        self.net[side].remove(n);
    }

    /// Whether the user may send.
    pub fn is_up(&self, side: usize) -> bool {
        self.sides[side].up
    }

    /// The user sends a packet, which is number so-and-so. `slowly`: if there is no session it is put back
    /// only later, by [`World::put_back`].
    pub fn user_sends(&mut self, config: &Config, side: usize, slowly: bool) -> u8 {
        self.packets += 1;
        let packet = self.packets;
        self.sides[side].staged.push(Some(packet));
        let actor = self.actor(config, side);
        if !slowly {
            conduct::send_staged(&actor);
        } else if let Some(list) = actor.take_staged() {
            if let Err(list) = actor.submit(list) {
                self.sides[side].held = Some(list);
            }
        }
        packet
    }

    /// Whether [`World::put_back`] has something to do.
    pub fn is_held(&self, side: usize) -> bool {
        self.sides[side].held.is_some()
    }

    /// Second half of [`World::user_sends`].
    pub fn put_back(&mut self, config: &Config, side: usize) {
        if let Some(list) = self.sides[side].held.take() {
            conduct::await_session(&self.actor(config, side), list);
        }
    }

    /// Whether [`World::initiator_runs`] has something to do.
    pub fn initiator_called(&self, side: usize) -> bool {
        self.sides[side].initiator_called
    }

    /// The work that sends an initiation.
    pub fn initiator_runs(&mut self, config: &Config, side: usize) {
        self.sides[side].initiator_called = false;
        conduct::send_initiation(&self.actor(config, side));
    }

    /// Whether [`World::clearer_runs`] has something to do.
    pub fn clearer_called(&self, side: usize) -> bool {
        self.sides[side].clearer_called
    }

    /// The work that forgets keys.
    pub fn clearer_runs(&mut self, config: &Config, side: usize) {
        let s = &mut self.sides[side];
        s.clearer_called = false;
        s.clear_handshake();
        s.clear_keypairs();
        self.actor(config, side).timers(Timers::session_in_doubt);
    }

    /// Whether [`World::timer_fires`] has something to do.
    pub fn timer_is_due(&self, side: usize) -> bool {
        self.sides[side].armed.is_some_and(|at| at <= self.now)
    }

    /// The kernel's timer.
    pub fn timer_fires(&mut self, config: &Config, side: usize) {
        self.sides[side].armed = None;
        let actor = self.actor(config, side);
        loop {
            let action = actor.side.borrow_mut().timers.expire(actor.now);
            let Some(action) = action else { break };
            conduct::act(&actor, action);
        }
        actor.timers(|_, _| ());
    }

    /// When the next timer fires that has not yet.
    pub fn next_timer(&self) -> Option<u64> {
        let armed = self.sides.iter().filter_map(|s| s.armed);
        armed.filter(|at| *at > self.now).min()
    }

    /// Until when timers that are due may be kept waiting.
    pub fn latest(&self) -> u64 {
        let due = self.sides.iter().filter_map(|s| s.armed);
        due.filter(|at| *at <= self.now)
            .min()
            .map_or(u64::MAX, |at| at + MAX_LATE_NS)
    }

    /// Lets time pass, perhaps beyond what is due: timers may fire late.
    pub fn wait_until(&mut self, at: u64) {
        self.now = at;
    }

    /// The time.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// `side` sleeps, which its timers do not notice and its keys do: unless it forgets these before.
    pub fn sleep(&mut self, config: &Config, side: usize, ns: u64, forgets: bool) {
        if forgets {
            let s = &mut self.sides[side];
            s.timers.cancel_zero_key_material();
            s.clear_handshake();
            s.clear_keypairs();
        }
        self.sides[side].slept_ns += ns;
        self.actor(config, side).timers(Timers::session_in_doubt);
    }

    /// `side` is started anew, without its state, and perhaps without randomness at first.
    pub fn restart(&mut self, config: &Config, side: usize, ready: bool) {
        let old = &self.sides[side];
        let new = Side {
            address: old.address,
            slept_ns: old.slept_ns,
            // Not to make the same twice.
            made: old.made,
            delivered: old.delivered.clone(),
            ..Side::new(side, ready)
        };
        self.paces[side] = Pace::new();
        self.sides[side] = new;
        self.came_up(config, side);
    }

    /// `side`'s interface goes down, or comes up again.
    pub fn set_up(&mut self, config: &Config, side: usize, up: bool) {
        let s = &mut self.sides[side];
        s.up = up;
        if up {
            s.timers.start();
            self.came_up(config, side);
        } else {
            s.timers.stop();
            s.armed = None;
            s.staged.clear();
            s.clear_handshake();
            s.clear_keypairs();
            // As it went with the interface, of which others tell.
            s.told = false;
            self.paces[side].reset();
            s.initiated.clear();
        }
    }

    /// `side` gets another address.
    pub fn roam(&mut self, side: usize) {
        self.sides[side].address += 2;
    }

    /// The user says where `side`'s peer is, rightly or not.
    pub fn point(&mut self, config: &Config, side: usize, rightly: bool) {
        let to = if rightly {
            self.sides[1 - side].address
        } else {
            NOWHERE
        };
        self.sides[side].endpoint = to;
        if self.sides[side].up {
            let actor = self.actor(config, side);
            conduct::moved_by_user(&actor);
            conduct::send_staged(&actor);
        }
    }

    /// Memory of `side`: so many allocations succeed, or all.
    pub fn set_memory(&mut self, side: usize, memory: Option<u8>) {
        self.sides[side].memory = memory;
    }

    /// Whether memory of `side` is short.
    pub fn is_short(&self, side: usize) -> bool {
        self.sides[side].memory.is_some()
    }

    /// Whether `side` has randomness.
    pub fn is_ready(&self, side: usize) -> bool {
        self.sides[side].ready
    }

    /// There is randomness.
    pub fn set_ready(&mut self, side: usize) {
        self.sides[side].ready = true;
    }

    /// Forgets that a transport message came; whether one had.
    pub fn take_heard(&mut self, side: usize) -> bool {
        std::mem::take(&mut self.sides[side].heard)
    }

    /// Whether packet number `packet` came to `side`.
    pub fn has_delivered(&self, side: usize, packet: u8) -> bool {
        self.sides[side].delivered.contains(&packet)
    }

    /// Whether `side` sends to where its peer is.
    pub fn knows_the_way(&self, side: usize) -> bool {
        self.sides[side].endpoint == self.sides[1 - side].address
    }

    /// Whether nothing waits at `side`.
    pub fn nothing_waits(&self, side: usize) -> bool {
        self.sides[side].staged.is_empty() && self.sides[side].held.is_none()
    }

    /// What must be true of timers at any time; else what is wrong.
    pub fn timers_are_sound(&self, config: &Config) -> Result<(), &'static str> {
        for s in SIDES {
            let side = &self.sides[s];
            let deadline = side.timers.next_deadline();
            if deadline.is_some_and(|at| side.armed.is_none_or(|armed| armed > at)) {
                return Err("a deadline for which no timer is armed");
            }
            if side.told {
                let Some(at) = side.timers.session_check() else {
                    return Err("a session whose end nobody will tell");
                };
                if side.session_left(self.now) == 0 && at > self.now {
                    return Err("the end of a session is told late");
                }
            }
            if !side.up {
                continue;
            }
            let will_initiate = side.initiator_called || side.timers.will_initiate();
            if !side.staged.is_empty() && !will_initiate {
                return Err("packets wait for a handshake that nobody will begin");
            }
            let keeps = side.timers.will_keep_alive() || will_initiate;
            if config.keepalive_ns[s] != 0 && !keeps && side.armed.is_none() {
                return Err("a persistent keepalive that will never be sent again");
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "at {:.3} s", self.now as f64 / 1e9)?;
        for s in SIDES {
            let side = &self.sides[s];
            let at = side
                .armed
                .map(|at| (at as i64 - self.now as i64) as f64 / 1e9);
            writeln!(
                f,
                "  {s}: waiting {:?} held {:?} session {:?} called {} timer {:?} s up {} ready {} \
                 memory {:?}; to it: {:?}",
                side.staged,
                side.held,
                side.current(),
                side.initiator_called,
                at,
                side.up,
                side.ready,
                side.memory,
                self.net[s]
            )?;
        }
        Ok(())
    }
}
