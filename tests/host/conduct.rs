// SPDX-License-Identifier: GPL-2.0

//! What a peer does, step by step, seen from whoever carries the steps out: what it is asked for,
//! in which order, and what the timers hold when a message leaves.

use std::cell::{
    Cell,
    RefCell, //
};

use wireguard_rs_core::{
    conduct::{
        self,
        Failed,
        Pace,
        Party,
        Side, //
    },
    messages::{
        Initiation,
        Response,
        REKEY_TIMEOUT_NS, //
    },
    timers::{
        Action,
        Timers,
        KEEPALIVE_RETRY_NS,
        NEW_HANDSHAKE_AFTER_NS,
        ZERO_KEYS_AFTER_NS, //
    }, //
};
use zerocopy::FromZeros;

const S: u64 = 1_000_000_000;
const NOW: u64 = 1000 * S;
const JITTER: u64 = 77;
/// Time that it takes to make a message: more than times are rounded by.
const WORK: u64 = 2_000_000;

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Submitted(u32),
    Staged(u32),
    Purged,
    Initiator,
    Clearer,
    Announced { response: bool },
    Session,
    Completed(Side),
    Ended,
    Sent(&'static str),
    SourceForgotten,
}
use Step::*;

/// One peer.
struct Peer {
    now: Cell<u64>,
    pace: Pace,
    timers: RefCell<Timers>,
    interval: Cell<u64>,
    place: Cell<u64>,
    /// Where the user says the peer is while a message is made.
    meanwhile: Cell<Option<u64>>,
    steps: RefCell<Vec<Step>>,
    /// How many packets wait.
    staged: Cell<u32>,
    /// Whether somebody else takes away what is put back.
    rival: Cell<bool>,
    /// Whether there is a session when packets are submitted.
    session: Cell<bool>,
    /// The first submissions that find none all the same: a session comes up after them.
    too_early: Cell<u32>,
    /// How long the current one lasts.
    left: Cell<u64>,
    worn: Cell<bool>,
    ending: Cell<bool>,
    no_memory: Cell<bool>,
    failure: Cell<Option<Failed>>,
    /// Whether a finished handshake becomes a session.
    fruitful: Cell<bool>,
    /// What was due, and when, at the moment a message left.
    at_sending: RefCell<Vec<(u64, Action)>>,
    mac: Cell<u8>,
}

impl Peer {
    fn new() -> Self {
        Self {
            now: Cell::new(NOW),
            pace: Pace::new(),
            timers: RefCell::new(Timers::new(true)),
            interval: Cell::new(0),
            place: Cell::new(HERE),
            meanwhile: Cell::new(None),
            steps: RefCell::default(),
            staged: Cell::new(0),
            rival: Cell::new(false),
            session: Cell::new(false),
            too_early: Cell::new(0),
            left: Cell::new(LIFE),
            worn: Cell::new(false),
            ending: Cell::new(false),
            no_memory: Cell::new(false),
            failure: Cell::new(None),
            fruitful: Cell::new(true),
            at_sending: RefCell::default(),
            mac: Cell::new(0),
        }
    }

    fn with_packets(session: bool) -> Self {
        let peer = Self::new();
        peer.staged.set(3);
        peer.session.set(session);
        peer
    }

    /// One that sent a handshake message just now.
    fn hasty() -> Self {
        let peer = Self::new();
        peer.pace.note_response(NOW - S, HERE);
        peer
    }

    fn step(&self, step: Step) {
        self.steps.borrow_mut().push(step);
    }

    /// What happened since the last call.
    fn steps(&self) -> Vec<Step> {
        self.steps.take()
    }

    /// What is due in future, and how long from now; takes the deadlines away.
    fn future(&self) -> Vec<(u64, Action)> {
        let mut timers = self.timers.borrow_mut();
        let mut future = vec![];
        loop {
            assert_eq!(timers.expire(0), None);
            let Some(at) = timers.rearm() else {
                return future;
            };
            future.push((at - self.now.get(), timers.expire(at).unwrap()));
        }
    }

    /// As if so many initiations in a row had not been answered.
    fn unanswered(&self, initiations: u32) {
        let mut timers = self.timers.borrow_mut();
        for n in 0..initiations {
            timers.handshake_initiated(0, || 0);
            let attempt = n + 2;
            assert_eq!(
                timers.expire(u64::MAX - 1),
                Some(Action::RetransmitHandshake { attempt })
            );
        }
    }

    /// Which attempt the next initiation is, by what its timer says.
    fn next_attempt(&self) -> u32 {
        let mut timers = self.timers.borrow_mut();
        timers.handshake_initiated(NOW, || 0);
        match timers.expire(u64::MAX - 1) {
            Some(Action::RetransmitHandshake { attempt }) => attempt,
            other => panic!("{other:?}"),
        }
    }
}

impl Party for Peer {
    type Packets = u32;

    fn timers(&self, event: impl FnOnce(&mut Timers, u64)) {
        event(&mut self.timers.borrow_mut(), self.now.get());
    }

    fn jitter(&self) -> u64 {
        JITTER
    }

    fn boottime(&self) -> u64 {
        self.now.get()
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    fn keepalive_ns(&self) -> u64 {
        self.interval.get()
    }

    fn place(&self) -> u64 {
        self.place.get()
    }

    fn packets_wait(&self) -> bool {
        self.staged.get() != 0
    }

    fn take_staged(&self) -> Option<u32> {
        Some(self.staged.take()).filter(|n| *n != 0)
    }

    fn submit(&self, packets: u32) -> Result<(), u32> {
        if !self.session.get() {
            return Err(packets);
        }
        if self.too_early.get() != 0 {
            self.too_early.set(self.too_early.get() - 1);
            return Err(packets);
        }
        self.step(Submitted(packets));
        Ok(())
    }

    fn restage(&self, packets: u32) {
        self.step(Staged(packets));
        if !self.rival.get() {
            self.staged.set(packets);
        }
    }

    fn has_session(&self) -> bool {
        self.session.get()
    }

    fn worn_by_sending(&self) -> bool {
        self.worn.get()
    }

    fn expires_soon(&self) -> bool {
        self.ending.get()
    }

    fn stage_keepalive(&self) -> bool {
        if self.no_memory.get() {
            return false;
        }
        if self.staged.get() == 0 {
            self.staged.set(1);
        }
        true
    }

    fn purge_staged(&self) {
        self.step(Purged);
    }

    fn call_initiator(&self) {
        self.step(Initiator);
    }

    fn call_clearer(&self) {
        self.step(Clearer);
    }

    fn announce(&self, response: bool) {
        self.step(Announced { response });
    }

    fn create_initiation(&self) -> Result<Initiation, Failed> {
        self.now.set(self.now.get() + WORK);
        if let Some(place) = self.meanwhile.take() {
            self.place.set(place);
        }
        self.failure
            .get()
            .map_or_else(|| Ok(Initiation::new_zeroed()), Err)
    }

    fn create_response(&self) -> Result<Response, Failed> {
        self.now.set(self.now.get() + WORK);
        self.failure
            .get()
            .map_or_else(|| Ok(Response::new_zeroed()), Err)
    }

    fn add_macs(&self, message: &mut [u8]) {
        self.mac.set(self.mac.get() + 1);
        *message.last_mut().unwrap() = self.mac.get();
    }

    fn begin_session(&self) -> bool {
        if self.fruitful.get() {
            self.step(Session);
            self.session.set(true);
        }
        self.fruitful.get()
    }

    fn note_completed(&self, side: Side) {
        self.step(Completed(side));
        // Another CPU may do what is due before this returns.
        let mut timers = self.timers.borrow_mut();
        assert_ne!(timers.expire(u64::MAX - 1), Some(Action::CheckSession));
    }

    fn session_left(&self) -> u64 {
        self.left.get()
    }

    fn tell_unless_session(&self) -> u64 {
        if self.left.get() == 0 {
            self.step(Ended);
        }
        self.left.get()
    }

    fn send(&self, message: &[u8]) {
        assert_eq!(message.last(), Some(&self.mac.get()), "without its MACs");
        assert_ne!(self.mac.get(), 0, "without its MACs");
        self.step(Sent(match message.len() {
            148 => "initiation",
            92 => "response",
            n => panic!("{n} bytes are no handshake message"),
        }));
        self.at_sending.replace(self.future());
    }

    fn send_to(&self, place: u64, message: &[u8]) -> bool {
        let there = place == self.place.get();
        if there {
            self.send(message);
        }
        there
    }

    fn forget_source(&self) {
        self.step(SourceForgotten);
    }
}

/// Of a session.
const LIFE: u64 = 160 * S;
/// After seven eighths of that.
const CHECK: (u64, Action) = (140 * S, Action::CheckSession);
const DEFERRED: Action = Action::DeferredHandshake;
/// Two places.
const HERE: u64 = 7;
const THERE: u64 = 8;
const FIRST_RETRY: Action = Action::RetransmitHandshake { attempt: 2 };

#[test]
fn packets_go_out_at_once_with_a_session() {
    let peer = Peer::with_packets(true);
    conduct::send_staged(&peer);
    assert_eq!(peer.steps(), [Submitted(3)]);
    // There is nothing left to send.
    conduct::send_staged(&peer);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), []);
}

#[test]
fn packets_without_a_session_ask_for_one_and_wait() {
    let peer = Peer::with_packets(false);
    conduct::send_staged(&peer);
    assert_eq!(peer.steps(), [Staged(3), Initiator]);
    assert_eq!(peer.staged.get(), 3);
}

#[test]
fn a_session_that_came_up_meanwhile_takes_the_packets() {
    let peer = Peer::with_packets(true);
    peer.too_early.set(1);
    conduct::send_staged(&peer);
    assert_eq!(peer.steps(), [Staged(3), Submitted(3)]);
    assert_eq!(peer.staged.get(), 0);

    // It went as soon as it came.
    let peer = Peer::with_packets(true);
    peer.too_early.set(2);
    conduct::send_staged(&peer);
    assert_eq!(peer.steps(), [Staged(3), Staged(3), Initiator]);
    assert_eq!(peer.staged.get(), 3);

    // Another CPU found it, and sent the packets.
    let peer = Peer::with_packets(true);
    peer.too_early.set(1);
    peer.rival.set(true);
    conduct::send_staged(&peer);
    assert_eq!(peer.steps(), [Staged(3)]);
    assert_eq!(peer.future(), []);
}

#[test]
fn a_keepalive_is_a_packet_like_others() {
    let peer = Peer::with_packets(true);
    conduct::send_keepalive(&peer);
    assert_eq!(peer.steps(), [Submitted(3)], "there is something to send");
    conduct::send_keepalive(&peer);
    assert_eq!(peer.steps(), [Submitted(1)]);
    assert_eq!(peer.future(), []);

    peer.no_memory.set(true);
    conduct::send_keepalive(&peer);
    assert_eq!(peer.steps(), []);
    assert_eq!(
        peer.future(),
        [(KEEPALIVE_RETRY_NS, Action::SendKeepalive)],
        "it is not forgotten"
    );
}

#[test]
fn an_initiation_is_sent_by_a_worker_or_put_off() {
    let peer = Peer::new();
    conduct::queue_initiation(&peer, false);
    assert_eq!(peer.steps(), [Initiator]);
    assert_eq!(peer.future(), []);

    let peer = Peer::hasty();
    conduct::queue_initiation(&peer, false);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [(REKEY_TIMEOUT_NS - S + JITTER, DEFERRED)]);
}

#[test]
fn only_retries_count_as_attempts() {
    let peer = Peer::new();
    peer.unanswered(5);
    conduct::queue_initiation(&peer, true);
    assert_eq!(peer.next_attempt(), 7);
    conduct::queue_initiation(&peer, false);
    assert_eq!(peer.next_attempt(), 2);
}

#[test]
fn an_initiation_leaves_after_its_timers_are_set() {
    let peer = Peer::new();
    peer.interval.set(25 * S);
    // Somebody waits to hear from us, and will.
    peer.timers.borrow_mut().data_received(NOW);
    conduct::send_initiation(&peer);
    assert_eq!(
        peer.steps(),
        [Announced { response: false }, Sent("initiation")]
    );
    assert_eq!(
        peer.at_sending.take(),
        [
            (REKEY_TIMEOUT_NS + JITTER, FIRST_RETRY),
            (25 * S, Action::PersistentKeepalive),
        ]
    );
    // The distance to the next one counts from when it left.
    assert_eq!(peer.pace.wait(peer.now.get(), HERE), REKEY_TIMEOUT_NS);
}

#[test]
fn an_initiation_keeps_its_distance_from_our_response() {
    let peer = Peer::hasty();
    conduct::send_initiation(&peer);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [(REKEY_TIMEOUT_NS - S + JITTER, DEFERRED)]);
}

#[test]
fn what_fails_for_now_is_tried_again_and_what_fails_for_good_is_not() {
    let peer = Peer::new();
    peer.failure.set(Some(Failed::ForNow));
    conduct::send_initiation(&peer);
    assert_eq!(peer.steps(), [Announced { response: false }]);
    assert_eq!(peer.future(), [(REKEY_TIMEOUT_NS + JITTER, DEFERRED)]);

    let peer = Peer::new();
    peer.failure.set(Some(Failed::ForGood));
    conduct::send_initiation(&peer);
    assert_eq!(peer.steps(), [Announced { response: false }]);
    assert_eq!(peer.future(), []);
}

#[test]
fn an_initiation_is_answered_once_there_is_a_session() {
    let peer = Peer::new();
    peer.interval.set(25 * S);
    peer.timers.borrow_mut().data_received(NOW);
    conduct::initiation_accepted(&peer);
    assert_eq!(
        peer.steps(),
        [Announced { response: true }, Session, Sent("response")]
    );
    assert_eq!(
        peer.at_sending.take(),
        [
            (25 * S, Action::PersistentKeepalive),
            (ZERO_KEYS_AFTER_NS, Action::ZeroKeyMaterial),
        ],
        "in force before the other side can know of the session"
    );
    assert_eq!(peer.pace.wait(peer.now.get(), HERE), REKEY_TIMEOUT_NS);
}

#[test]
fn an_initiation_that_cannot_be_answered_has_still_arrived() {
    for (failure, fruitful) in [(Some(Failed::ForNow), true), (None, false)] {
        let peer = Peer::new();
        peer.interval.set(25 * S);
        peer.failure.set(failure);
        peer.fruitful.set(fruitful);
        // We wait to hear from the other side, and did.
        peer.timers.borrow_mut().data_sent(NOW, || 0);
        conduct::initiation_accepted(&peer);
        assert_eq!(peer.steps(), [Announced { response: true }]);
        assert_eq!(peer.future(), [(25 * S, Action::PersistentKeepalive)]);
    }
}

#[test]
fn a_response_completes_the_handshake_and_is_confirmed_at_once() {
    // With what waits, or with an empty message.
    for (staged, sent) in [(3, 3), (0, 1)] {
        let peer = Peer::new();
        peer.staged.set(staged);
        peer.interval.set(25 * S);
        peer.unanswered(5);
        peer.timers.borrow_mut().handshake_initiated(NOW, || 0);
        peer.timers.borrow_mut().data_sent(NOW, || 0);
        conduct::response_accepted(&peer);
        assert_eq!(
            peer.steps(),
            [Session, Completed(Side::Initiator), Submitted(sent)]
        );
        assert_eq!(
            peer.future(),
            [
                (25 * S, Action::PersistentKeepalive),
                CHECK,
                (ZERO_KEYS_AFTER_NS, Action::ZeroKeyMaterial),
            ]
        );
        assert_eq!(peer.next_attempt(), 2);
    }
}

#[test]
fn a_response_without_session_completes_nothing() {
    let peer = Peer::with_packets(false);
    peer.fruitful.set(false);
    peer.timers.borrow_mut().handshake_initiated(NOW, || 0);
    conduct::response_accepted(&peer);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [(REKEY_TIMEOUT_NS, FIRST_RETRY)]);
}

#[test]
fn the_first_message_confirms_the_session_of_a_responder() {
    let peer = Peer::with_packets(true);
    peer.timers.borrow_mut().handshake_initiated(NOW, || 0);
    conduct::session_confirmed(&peer);
    conduct::transport_received(&peer, 0);
    assert_eq!(peer.steps(), [Completed(Side::Responder), Submitted(3)]);
    assert_eq!(peer.future(), [CHECK], "nothing to retransmit");

    let peer = Peer::with_packets(true);
    peer.timers.borrow_mut().handshake_initiated(NOW, || 0);
    conduct::transport_received(&peer, 0);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [(REKEY_TIMEOUT_NS, FIRST_RETRY)]);
}

#[test]
fn the_end_of_a_session_is_told_once() {
    let peer = Peer::new();
    conduct::session_confirmed(&peer);
    peer.steps();
    assert_eq!(peer.future(), [CHECK]);
    // There is time left; or a younger session.
    conduct::act(&peer, Action::CheckSession);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [CHECK]);
    peer.left.set(3);
    conduct::act(&peer, Action::CheckSession);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [(3, Action::CheckSession)]);
    peer.left.set(0);
    conduct::act(&peer, Action::CheckSession);
    assert_eq!(peer.steps(), [Ended]);
    assert_eq!(peer.future(), []);
    // One that was forgotten while it was told that it began.
    conduct::session_confirmed(&peer);
    assert_eq!(peer.steps(), [Completed(Side::Responder)]);
    assert_eq!(peer.future(), [(0, Action::CheckSession)]);
}

#[test]
fn only_data_asks_for_a_sign_of_life() {
    let peer = Peer::new();
    peer.interval.set(25 * S);
    peer.timers.borrow_mut().data_sent(NOW, || 0);
    conduct::transport_received(&peer, 0);
    let persistent = (25 * S, Action::PersistentKeepalive);
    assert_eq!(peer.future(), [persistent]);
    conduct::transport_received(&peer, 1);
    assert_eq!(peer.future(), [(10 * S, Action::SendKeepalive), persistent]);
}

/// What comes in one go counts as if it came one by one.
#[test]
fn messages_at_once_are_as_messages_in_a_row() {
    for together in [false, true] {
        for data in 0..4 {
            let peer = Peer::new();
            if together {
                conduct::transport_received(&peer, data);
            } else {
                (0..data).for_each(|_| conduct::transport_received(&peer, 1));
            }
            let mut expected = vec![];
            expected.extend((data > 0).then_some((10 * S, Action::SendKeepalive)));
            expected.extend((data > 1).then_some((20 * S, Action::SendKeepalive)));
            assert_eq!(
                peer.future(),
                expected,
                "{data} messages, together: {together}"
            );
        }
    }
}

#[test]
fn a_receiver_renews_its_session_once() {
    let peer = Peer::new();
    conduct::transport_received(&peer, 1);
    assert_eq!(peer.steps(), []);
    peer.ending.set(true);
    conduct::transport_received(&peer, 1);
    assert_eq!(peer.steps(), [Initiator]);
    conduct::transport_received(&peer, 1);
    assert_eq!(peer.steps(), [], "it was asked for");
}

#[test]
fn data_that_leaves_expects_an_answer() {
    let peer = Peer::new();
    peer.interval.set(25 * S);
    peer.timers.borrow_mut().data_received(NOW);
    conduct::transport_leaves(&peer, || false);
    let persistent = (25 * S, Action::PersistentKeepalive);
    assert_eq!(peer.future(), [persistent]);
    conduct::transport_leaves(&peer, || true);
    assert_eq!(
        peer.future(),
        [
            (NEW_HANDSHAKE_AFTER_NS + JITTER, Action::NewHandshake),
            persistent,
        ]
    );
    assert_eq!(peer.steps(), []);
    peer.worn.set(true);
    conduct::transport_leaves(&peer, || true);
    assert_eq!(peer.steps(), [Initiator]);
}

#[test]
fn no_answer_means_another_initiation_from_another_address() {
    let peer = Peer::new();
    peer.unanswered(4);
    conduct::act(&peer, Action::RetransmitHandshake { attempt: 5 });
    assert_eq!(peer.steps(), [SourceForgotten, Initiator]);
    assert_eq!(peer.next_attempt(), 6, "as a retry");
    conduct::act(&peer, Action::NewHandshake);
    assert_eq!(peer.steps(), [SourceForgotten, Initiator]);
    assert_eq!(peer.next_attempt(), 2, "the first of a new handshake");
}

#[test]
fn a_handshake_that_was_put_off_may_not_be_wanted_any_more() {
    let peer = Peer::with_packets(true);
    conduct::act(&peer, Action::DeferredHandshake);
    assert_eq!(peer.steps(), [Submitted(3)]);
    assert_eq!(peer.future(), []);

    let peer = Peer::with_packets(false);
    peer.unanswered(4);
    conduct::act(&peer, Action::DeferredHandshake);
    assert_eq!(peer.steps(), [Staged(3), Initiator]);
    assert_eq!(peer.staged.get(), 3);
    assert_eq!(peer.next_attempt(), 6);

    // Nothing waits, but somebody wanted it: a key that is worn, perhaps.
    let peer = Peer::new();
    peer.session.set(true);
    peer.unanswered(4);
    conduct::act(&peer, Action::DeferredHandshake);
    assert_eq!(peer.steps(), [Initiator]);
    assert_eq!(peer.next_attempt(), 6);
}

#[test]
fn giving_up_drops_what_waits() {
    let peer = Peer::with_packets(true);
    conduct::act(&peer, Action::GiveUpHandshake);
    assert_eq!(peer.steps(), [Purged]);
}

#[test]
fn old_keys_are_forgotten() {
    let peer = Peer::new();
    conduct::act(&peer, Action::ZeroKeyMaterial);
    assert_eq!(peer.steps(), [Clearer]);
}

#[test]
fn keepalives_go_out_when_due() {
    let peer = Peer::new();
    peer.session.set(true);
    conduct::act(&peer, Action::SendKeepalive);
    assert_eq!(peer.steps(), [Submitted(1)]);

    peer.interval.set(25 * S);
    conduct::act(&peer, Action::PersistentKeepalive);
    assert_eq!(peer.steps(), [Submitted(1)]);
    assert_eq!(peer.future(), [(25 * S, Action::PersistentKeepalive)]);

    // The chain does not end because one gets lost.
    peer.no_memory.set(true);
    conduct::act(&peer, Action::PersistentKeepalive);
    assert_eq!(peer.steps(), []);
    assert_eq!(
        peer.future(),
        [
            (KEEPALIVE_RETRY_NS, Action::SendKeepalive),
            (25 * S, Action::PersistentKeepalive),
        ]
    );

    // It was switched off meanwhile.
    peer.no_memory.set(false);
    peer.interval.set(0);
    conduct::act(&peer, Action::PersistentKeepalive);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), []);
}

#[test]
fn who_waits_for_a_session_gets_a_handshake_where_the_peer_is_said_to_be() {
    let moved = |peer: &Peer| {
        peer.place.set(THERE);
        conduct::moved_by_user(peer);
    };
    // Nobody waits for one.
    let peer = Peer::new();
    moved(&peer);
    assert_eq!((peer.steps(), peer.future()), (vec![], vec![]));
    // There is one.
    let peer = Peer::with_packets(true);
    peer.interval.set(25 * S);
    peer.timers.borrow_mut().handshake_initiated(NOW, || 0);
    moved(&peer);
    assert_eq!(peer.steps(), []);

    // Packets; a keepalive; a handshake under way.
    let peer = Peer::with_packets(false);
    moved(&peer);
    assert_eq!(peer.steps(), [Initiator]);
    let peer = Peer::new();
    peer.interval.set(25 * S);
    moved(&peer);
    assert_eq!(peer.steps(), [Initiator]);
    let peer = Peer::new();
    peer.unanswered(3);
    peer.pace.note_initiation(NOW - S, HERE);
    peer.timers.borrow_mut().handshake_initiated(NOW - S, || 0);
    moved(&peer);
    assert_eq!(peer.steps(), [Initiator]);
    assert_eq!(peer.next_attempt(), 2, "they are counted anew");
}

#[test]
fn where_a_peer_is_said_to_be_may_change_often() {
    let peer = Peer::with_packets(false);
    peer.pace.note_initiation(NOW - S / 4, HERE);
    peer.timers
        .borrow_mut()
        .handshake_initiated(NOW - S / 4, || 0);
    // Too soon after the last one: earlier than that would be repeated, but not at once.
    peer.place.set(THERE);
    conduct::moved_by_user(&peer);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [(S - S / 4 + JITTER, DEFERRED)]);
    // Back again: that place has had its message.
    peer.timers
        .borrow_mut()
        .handshake_initiated(NOW - S / 4, || 0);
    peer.place.set(HERE);
    conduct::moved_by_user(&peer);
    assert_eq!(peer.steps(), []);
    assert_eq!(peer.future(), [(REKEY_TIMEOUT_NS - S / 4, FIRST_RETRY)]);
    // The worker finds the same.
    conduct::send_initiation(&peer);
    assert_eq!(peer.steps(), []);
    peer.place.set(THERE);
    peer.now.set(NOW + S);
    conduct::send_initiation(&peer);
    assert_eq!(
        peer.steps(),
        [Announced { response: false }, Sent("initiation")]
    );
}

#[test]
fn a_message_for_one_place_does_not_go_to_another() {
    // There went one two seconds ago. This one is for here.
    let peer = Peer::with_packets(false);
    peer.pace.note_initiation(NOW - 2 * S, THERE);
    peer.meanwhile.set(Some(THERE));
    conduct::send_initiation(&peer);
    assert_eq!(peer.steps(), [Announced { response: false }]);
    let [(wait, DEFERRED)] = peer.future()[..] else {
        panic!("nothing would be sent");
    };
    // To the millisecond.
    let wanted = 3 * S - WORK + JITTER;
    assert!((wanted..wanted + 3_000_000).contains(&wait), "{wait}");
    // Not there yet: as soon as any may be sent again.
    let peer = Peer::with_packets(false);
    peer.meanwhile.set(Some(THERE));
    conduct::send_initiation(&peer);
    assert_eq!(peer.steps(), [Announced { response: false }]);
    assert_eq!(peer.future(), [(S + JITTER, DEFERRED)]);
}
