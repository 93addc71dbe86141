// SPDX-License-Identifier: GPL-2.0
//! When a NAPI instance is polled, which peers a poll turns to, and how peers move from one instance
//! to another.
//!
//! A worker that has finished a batch puts the batch's peer on the list of the peer's instance. If the
//! peer wasn't there, it is also the one to have the instance polled, soon; who finds the peer on the
//! list relies on that. `finished.rs` is how a worker keeps this in mind. A poll ([`poll`]) takes
//! peers from the list until that is empty or the budget is used up; then it is polled again, with
//! what is left.
//!
//! # How packets keep their order
//!
//! A peer belongs to one instance at a time: that of the number in [`Member::instance`]. These rules
//! hold:
//!
//! 1. Whoever makes a peer gives it an instance before anybody sees the peer. From then on only the
//!    poll of the instance that it belongs to gives it to another one.
//! 2. A poll delivers the packets of those peers only that belong to its instance. Others, which it
//!    may find on its list, it passes on to the list of theirs.
//! 3. A peer is given away at the beginning of a poll. The poll before had decided that, delivered
//!    nothing more of the peer from then on, and at its end had GRO let go of what it held: what
//!    was delivered before is in the stack.
//!
//! An instance is not polled twice at once, so by 1 the number does not change while a poll that found
//! its own is under way, and by 2 no two polls deliver packets of one peer at once. The next
//! instance's poll sees its own number only after the former one stored it (release, acquire), so its
//! packets come after all that the former delivered, and by 3 these are in the stack by then.
//!
//! # How nothing is forgotten
//!
//! Who has something for a peer pushes it to the list of the instance whose number it reads. That may
//! be out of date; any list will do, as its poll passes the peer on. A peer that is passed on is
//! idle first ([`SchedNode::begin`]) and pushed then: if somebody else pushes it in between, it is on
//! a list as well, and that one has its instance scheduled. So what the protocol of
//! [`wgk::sched_list`] promises holds for the lists as a whole. A peer that is about to move is not
//! idle: pushing it does nothing, but it is pushed itself as soon as it has moved, by the next poll,
//! which this one asks for.
//!
//! `tests/loom` tries the orders of events, with a model of NAPI.

#![allow(
    unreachable_pub,
    reason = "public in the models, which are another crate"
)]

use wgk::{
    atomic::{
        Acquire,
        HotAtomic,
        Release, //
    },
    cpu::handover_delay,
    field::HasField,
    rcu::{
        RcuArc,
        RcuObject, //
    },
    sched_list::{
        SchedList,
        SchedNode,
        SchedQueue, //
    },
};

/// Segments of one peer that a poll delivers before it turns to the next peer.
const FAIR_SHARE: usize = 16;

/// What an instance's list is of.
pub trait Member: RcuObject + HasField<SchedNode> {
    /// The number of the instance it belongs to. Written here only, once it is there.
    fn instance(&self) -> &HotAtomic<u32>;

    /// Whether there is something to deliver.
    fn has_ready(&self) -> bool;
}

/// The instances of a device.
pub trait Instances<P: Member> {
    /// Pushes `peer` to the list of an instance; false if it was on one.
    fn push(&self, number: u32, peer: RcuArc<P>) -> bool;

    /// Has an instance polled, soon; if it is being polled, once more after that.
    fn schedule(&self, number: u32);

    /// An instance other than this that seems to have nothing to do. Need not look at all of them:
    /// `probe` is what it left there when it was asked before, 0 to begin with.
    fn idle_beside(&self, number: u32, probe: &mut u32) -> Option<u32>;
}

/// Puts `peer` on the list of the instance it belongs to; if it wasn't on one, returns the number of
/// the instance, which is to be scheduled.
#[inline]
pub fn list<P: Member>(instances: &impl Instances<P>, peer: RcuArc<P>) -> Option<u32> {
    // ORDERING: Acquire: who stored the number had seen the instance in its place.
    let number = peer.instance().load(Acquire);
    instances.push(number, peer).then_some(number)
}

/// Hands `peer`, which was taken from a list and not begun, to the instance it belongs to.
fn pass_on<P: Member>(instances: &impl Instances<P>, peer: RcuArc<P>) {
    peer.field().begin();
    handover_delay();
    if let Some(number) = list(instances, peer) {
        instances.schedule(number);
    }
}

/// What one poll of an instance leaves to the next.
pub struct Turn<P: Member> {
    /// Peers taken from the list but not served yet.
    taken: SchedQueue<P>,
    /// A peer, not begun, that goes to the instance of this number at the next poll's beginning.
    moving: Option<(RcuArc<P>, u32)>,
    /// The last poll used its budget up.
    exhausted: bool,
    /// See [`Instances::idle_beside`].
    probe: u32,
}

impl<P: Member> Turn<P> {
    /// Of an instance that was not polled yet.
    pub const fn new() -> Self {
        Self {
            taken: SchedQueue::new(),
            moving: None,
            exhausted: false,
            probe: 0,
        }
    }

    /// Whether the last poll used its budget up.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// The peers that are left, when there are no more polls.
    pub fn drain(&mut self) -> impl Iterator<Item = RcuArc<P>> + '_ {
        let moving = self.moving.take().map(|(peer, _)| peer);
        moving.into_iter().chain(self.taken.by_ref())
    }
}

/// Serves peers of the instance `number` until there are none left to serve or `budget` is used up;
/// returns how much of it was.
///
/// `scheduled` is the instance's list. `deliver` delivers up to so many segments of a peer and says how
/// many it did; `flush` has GRO let go of all it holds.
#[inline]
pub fn poll<P: Member>(
    instances: &impl Instances<P>,
    number: u32,
    scheduled: &SchedList<P>,
    turn: &mut Turn<P>,
    budget: usize,
    mut deliver: impl FnMut(&RcuArc<P>, usize) -> usize,
    flush: impl FnOnce(),
) -> usize {
    if let Some((peer, to)) = turn.moving.take() {
        // ORDERING: Release: what was delivered here comes before what is delivered there.
        peer.instance().store(to, Release);
        pass_on(instances, peer);
    }
    // If there's more than one poll can do, for more than one peer, an instance that has nothing to do
    // should take one of them.
    let mut overloaded = turn.exhausted;
    let mut done = 0;
    while done < budget {
        let peer = match turn.taken.next() {
            Some(peer) => peer,
            None => {
                turn.taken.refill(scheduled);
                match turn.taken.next() {
                    Some(peer) => peer,
                    None => break,
                }
            }
        };
        // ORDERING: Acquire: what the former instance delivered comes before what is delivered here.
        if peer.instance().load(Acquire) != number {
            pass_on(instances, peer);
            continue;
        }
        if overloaded && !(turn.taken.is_empty() && scheduled.is_empty()) {
            overloaded = false;
            if let Some(to) = instances.idle_beside(number, &mut turn.probe) {
                turn.moving = Some((peer, to));
                continue;
            }
        }
        handover_delay();
        // From here on a worker that finishes a batch of this peer puts it on the list again.
        peer.field().begin();
        done += deliver(&peer, FAIR_SHARE.min(budget - done));
        handover_delay();
        if peer.has_ready() {
            scheduled.push(peer);
        }
    }
    turn.exhausted = done == budget;
    if turn.moving.is_some() {
        flush();
        // Whether or not there is anything else to do.
        instances.schedule(number);
    }
    done
}
