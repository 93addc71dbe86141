// SPDX-License-Identifier: GPL-2.0
//! What may happen, how often, and what must be true in every state that this leads to.

use std::time::Instant;

use stateright::{
    Checker,
    Model,
    Property, //
};

use crate::{
    messages::{
        NSEC_PER_SEC,
        REJECT_AFTER_TIME_NS,
        REKEY_TIMEOUT_JITTER_MAX_NS,
        REKEY_TIMEOUT_NS,
        UNDER_LOAD_HANDSHAKES, //
    },
    seed::{
        self,
        Seed, //
    },
    side::Config,
    timers::NEW_HANDSHAKE_AFTER_NS,
    world::{
        World,
        SIDES, //
    },
};

/// What happens. The first number is the side that it happens to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// The user sends a packet.
    Send(usize),
    /// The same, and before it is put back for want of a session, other things happen.
    SendSlowly(usize),
    /// It is put back.
    PutBack(usize),
    /// The worker sends an initiation.
    Initiate(usize),
    /// The worker forgets all keys.
    Forget(usize),
    /// The kernel's timer.
    Timer(usize),
    /// A datagram arrives: the first one under way, or a later one.
    Deliver(usize, usize),
    /// It arrives, and stays to arrive again.
    Double(usize, usize),
    /// It arrives when so many wait that the device is under load.
    DeliverLoaded(usize),
    /// It gets lost.
    Lose(usize, usize),
    /// Time passes until the next timer is due; those that are due already are late.
    Wait,
    /// The side sleeps for so many seconds, and forgets its keys before or keeps them.
    Sleep(usize, u64, bool),
    /// It is started anew, with randomness or without.
    Restart(usize, bool),
    /// Its interface goes down.
    Down(usize),
    /// Its interface comes up.
    Up(usize),
    /// It gets another address.
    Roam(usize),
    /// The user says where its peer is; rightly or not.
    Point(usize, bool),
    /// After so many allocations there is no memory.
    Starve(usize, u8),
    /// There is memory again.
    Feed(usize),
    /// There is randomness.
    Ready(usize),
}

/// How often each may happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Bounds {
    /// Packets of the user's, at each side.
    pub sends: [u8; 2],
    /// Of these, slowly.
    pub slowly: u8,
    /// Waits for the next timer.
    pub waits: u8,
    /// Datagrams lost.
    pub losses: u8,
    /// Datagrams doubled.
    pub doubles: u8,
    /// Datagrams that overtake.
    pub reorders: u8,
    /// Sleeps of this many seconds, on any side.
    pub sleeps: u8,
    /// Restarts, on either side.
    pub restarts: u8,
    /// Interfaces that go down.
    pub downs: u8,
    /// New addresses of the first side.
    pub roams: u8,
    /// Times that the user says where the first side's peer is.
    pub points: u8,
    /// Shortages of memory, on either side.
    pub shortages: u8,
    /// Handshake messages that arrive under load.
    pub loads: u8,
}

/// A state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    world: World,
    left: Bounds,
}

/// A model.
#[derive(Clone, Debug)]
pub struct Peers {
    /// What does not change.
    pub config: Config,
    /// How often what may happen.
    pub bounds: Bounds,
    /// Whether a side has randomness from the beginning.
    pub ready: [bool; 2],
    /// A fault.
    pub seed: Seed,
}

/// Ages at which sessions change: soon to be renewed by their receiver, and too old.
const SLEEPS_S: [u64; 2] = [166, 181];
/// Allocations before there is no memory: the first that is asked for fails, the second, …
const SHORTAGES: [u8; 3] = [0, 1, 2];
/// Datagrams under way in each direction, at most.
const UNDER_WAY: usize = 3;

/// One retry of the protocol's.
const RETRY_NS: u64 = REKEY_TIMEOUT_NS + REKEY_TIMEOUT_JITTER_MAX_NS;

impl Peers {
    fn apply(&self, state: &mut State, event: Event) {
        let (world, left, config) = (&mut state.world, &mut state.left, &self.config);
        match event {
            Event::Send(s) => {
                left.sends[s] -= 1;
                world.user_sends(config, s, false);
            }
            Event::SendSlowly(s) => {
                left.sends[s] -= 1;
                left.slowly -= 1;
                world.user_sends(config, s, true);
            }
            Event::PutBack(s) => world.put_back(config, s),
            Event::Initiate(s) => world.initiator_runs(config, s),
            Event::Forget(s) => world.clearer_runs(config, s),
            Event::Timer(s) => world.timer_fires(config, s),
            Event::Deliver(s, n) => {
                left.reorders -= u8::from(n != 0);
                world.deliver(config, s, n, false, 0);
            }
            Event::Double(s, n) => {
                left.doubles -= 1;
                world.deliver(config, s, n, true, 0);
            }
            Event::DeliverLoaded(s) => {
                left.loads -= 1;
                world.deliver(config, s, 0, false, UNDER_LOAD_HANDSHAKES);
            }
            Event::Lose(s, n) => {
                left.losses -= 1;
                world.lose(s, n);
            }
            Event::Wait => {
                left.waits -= 1;
                if let Some(at) = world.next_timer() {
                    world.wait_until(at);
                }
            }
            Event::Sleep(s, seconds, forgets) => {
                left.sleeps -= 1;
                world.sleep(config, s, seconds * NSEC_PER_SEC, forgets);
            }
            Event::Restart(s, ready) => {
                left.restarts -= 1;
                world.restart(config, s, ready);
            }
            Event::Down(s) => {
                left.downs -= 1;
                world.set_up(config, s, false);
            }
            Event::Up(s) => world.set_up(config, s, true),
            Event::Roam(s) => {
                left.roams -= 1;
                world.roam(s);
            }
            Event::Point(s, rightly) => {
                left.points -= 1;
                world.point(config, s, rightly);
            }
            Event::Starve(s, after) => {
                left.shortages -= 1;
                world.set_memory(s, Some(after));
            }
            Event::Feed(s) => world.set_memory(s, None),
            Event::Ready(s) => world.set_ready(s),
        }
    }

    /// Has everything that waits for nothing happen.
    fn settle(&self, world: &mut World) {
        let config = &self.config;
        loop {
            let mut idle = true;
            for s in SIDES {
                if world.is_held(s) {
                    world.put_back(config, s);
                } else if world.initiator_called(s) {
                    world.initiator_runs(config, s);
                } else if world.clearer_called(s) {
                    world.clearer_runs(config, s);
                } else if world.timer_is_due(s) {
                    world.timer_fires(config, s);
                } else if world.under_way(s) > 0 {
                    world.deliver(config, s, 0, false, 0);
                } else {
                    continue;
                }
                idle = false;
            }
            if idle {
                return;
            }
        }
    }

    /// From now on everything is well. Lets time pass until `done`, at most for `patience`.
    fn until(&self, world: &mut World, patience: u64, done: impl Fn(&mut World) -> bool) -> bool {
        let end = world.now() + patience;
        loop {
            self.settle(world);
            if done(world) {
                return true;
            }
            match world.next_timer() {
                Some(at) if at <= end => world.wait_until(at),
                _ => return false,
            }
        }
    }

    /// From this state, and a good network from now on: does what waits get there, and does data
    /// flow both ways?
    fn recovers(&self, state: &State) -> Result<(), &'static str> {
        seed::sow(self.seed);
        let mut world = state.world.clone();
        for s in SIDES {
            world.set_memory(s, None);
            world.set_ready(s);
            if !world.is_up(s) {
                world.set_up(&self.config, s, true);
            }
        }
        // Without anybody's help.
        let lost = SIDES.map(|s| !world.knows_the_way(s));
        let flushed = |w: &mut World| SIDES.iter().all(|s| lost[*s] || w.nothing_waits(*s));
        // A message may have to be sent twice, and either time wait for the one before.
        if !self.until(&mut world, 3 * RETRY_NS, flushed) {
            return Err("what waits is not sent");
        }
        for s in SIDES {
            let interval = self.config.keepalive_ns[s];
            if interval != 0 {
                world.take_heard(1 - s);
                // The other side may have forgotten the session: without data, that is noticed
                // only when the session is too old.
                let patience = REJECT_AFTER_TIME_NS + interval + 3 * RETRY_NS;
                if !self.until(&mut world, patience, |w| w.take_heard(1 - s)) {
                    return Err("the persistent keepalive does not arrive");
                }
            }
        }
        // With users who send, the first one from where it is now.
        let mut flows = [false; 2];
        let end = world.now() + NEW_HANDSHAKE_AFTER_NS + 4 * RETRY_NS;
        while world.now() < end {
            for s in SIDES {
                let packet = world.user_sends(&self.config, s, false);
                self.settle(&mut world);
                flows[s] |= world.has_delivered(1 - s, packet);
            }
            if flows == [true; 2] {
                break;
            }
            let step = world.now() + 2 * NSEC_PER_SEC;
            self.until(&mut world, 2 * NSEC_PER_SEC, |_| false);
            world.wait_until(step);
        }
        if flows != [true; 2] {
            return Err("data does not flow");
        }
        world.broken.map_or(Ok(()), Err)
    }

    /// What is wrong with a state, if anything.
    fn judge(&self, state: &State) -> Result<(), &'static str> {
        if let Some(what) = state.world.broken {
            return Err(what);
        }
        state.world.timers_are_sound(&self.config)?;
        self.recovers(state)
    }

    /// Looks at all states; tells about the first bad one found, and how it came about.
    pub fn check(self, name: &str) -> Option<String> {
        let begin = Instant::now();
        let model = self.clone();
        let checker = self.checker().spawn_bfs().join();
        let (states, time) = (checker.unique_state_count(), begin.elapsed());
        println!("{name}: {states} states in {:.1} s", time.as_secs_f64());
        let path = checker.discoveries().remove(SOUND)?;
        let mut story = String::new();
        for (state, event) in path.into_vec() {
            if let Err(what) = model.judge(&state) {
                story += &format!("{:?}{what}\n", state.world);
            } else if let Some(event) = event {
                story += &format!("{:?}{event:?}\n", state.world);
            }
        }
        Some(story)
    }
}

const SOUND: &str = "sound";

impl Model for Peers {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        seed::sow(self.seed);
        vec![State {
            world: World::new(&self.config, self.ready),
            left: self.bounds,
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        let (world, left) = (&state.world, &state.left);
        for s in SIDES {
            let mut may = |is: bool, event| {
                if is {
                    events.push(event);
                }
            };
            may(world.is_held(s), Event::PutBack(s));
            may(world.initiator_called(s), Event::Initiate(s));
            may(world.clearer_called(s), Event::Forget(s));
            may(world.timer_is_due(s), Event::Timer(s));
            let sends = left.sends[s] > 0 && world.is_up(s);
            may(sends, Event::Send(s));
            may(
                sends && left.slowly > 0 && !world.is_held(s),
                Event::SendSlowly(s),
            );
            let under_way = world.under_way(s);
            may(under_way > 0 && left.loads > 0, Event::DeliverLoaded(s));
            for n in 0..under_way {
                may(n == 0 || left.reorders > 0, Event::Deliver(s, n));
                may(n == 0 && left.doubles > 0, Event::Double(s, n));
                may(left.losses > 0, Event::Lose(s, n));
            }
            may(left.restarts > 0, Event::Restart(s, true));
            may(left.downs > 0 && world.is_up(s), Event::Down(s));
            may(!world.is_up(s), Event::Up(s));
            may(left.roams > 0 && s == 0, Event::Roam(s));
            for rightly in [false, true] {
                may(left.points > 0 && s == 0, Event::Point(s, rightly));
            }
            for seconds in SLEEPS_S {
                may(left.sleeps > 0, Event::Sleep(s, seconds, false));
            }
            may(left.sleeps > 0, Event::Sleep(s, 1, true));
            let short = world.is_short(s);
            for after in SHORTAGES {
                may(left.shortages > 0 && !short, Event::Starve(s, after));
            }
            may(short, Event::Feed(s));
            may(!world.is_ready(s), Event::Ready(s));
        }
        if left.waits > 0 && world.next_timer().is_some_and(|at| at <= world.latest()) {
            events.push(Event::Wait);
        }
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        seed::sow(self.seed);
        let mut state = state.clone();
        self.apply(&mut state, event);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(SOUND, |model: &Self, state: &State| {
            model.judge(state).is_ok()
        })]
    }

    fn within_boundary(&self, state: &State) -> bool {
        SIDES.iter().all(|s| state.world.under_way(*s) <= UNDER_WAY)
    }
}
