// SPDX-License-Identifier: GPL-2.0
//! When a NAPI instance is polled, and which peers a poll turns to.
//!
//! A worker that has finished a batch puts the batch's peer on the list of the peer's instance. If the
//! peer wasn't there, it is also the one to have the instance polled, soon; who finds the peer on the
//! list relies on that. [`Finished`] is where a worker keeps this in mind. A poll ([`poll`]) takes
//! peers from the list until that is empty or the budget is used up; then it is polled again, with
//! what is left.
//!
//! So a batch that is finished is delivered: `tests/loom` tries the orders of events, with a model of
//! NAPI.

#![allow(
    unreachable_pub,
    reason = "public in the models, which are another crate"
)]

use wgk::{
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

/// Batches that a worker decrypts before it has them delivered. More would give GRO no more to merge,
/// but overrun the socket buffers of who receives small packets.
const BURST: usize = 16;

/// Segments of one peer that a poll delivers before it turns to the next peer.
const FAIR_SHARE: usize = 16;

/// What a worker has finished in one go, and not had delivered yet.
///
/// An instance is polled when there's a burst to deliver, not for each packet: in process context a
/// poll would begin at once, find one packet, and leave nothing for GRO to merge.
pub struct Finished {
    batches: usize,
    /// The instance that is still to be polled. There's at most one.
    waiting: Option<usize>,
}

impl Finished {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            batches: 0,
            waiting: None,
        }
    }

    /// Notes a batch. `listed` is the instance on whose list its peer is now, unless it was there.
    /// `poll` has an instance polled.
    #[inline]
    pub fn add(&mut self, listed: Option<usize>, mut poll: impl FnMut(usize)) {
        if let Some(instance) = listed {
            if let Some(other) = self.waiting.replace(instance).filter(|w| *w != instance) {
                poll(other);
            }
        }
        self.batches += 1;
        if self.batches % BURST == 0 {
            self.end(poll);
        }
    }

    /// To be called when there is no more for now.
    #[inline]
    pub fn end(&mut self, poll: impl FnOnce(usize)) {
        if let Some(instance) = self.waiting.take() {
            poll(instance);
        }
    }
}

/// Serves peers until there are none left to serve or `budget` is used up; returns how much of it was.
///
/// `taken` are those that the poll before this one had taken and not served. `deliver` delivers up to
/// so many segments of a peer and says how many it did; `has_ready` says whether there are more.
#[inline]
pub fn poll<P: RcuObject + HasField<SchedNode>>(
    scheduled: &SchedList<P>,
    taken: &mut SchedQueue<P>,
    budget: usize,
    mut deliver: impl FnMut(&RcuArc<P>, usize) -> usize,
    has_ready: impl Fn(&P) -> bool,
) -> usize {
    let mut done = 0;
    while done < budget {
        let peer = match taken.next() {
            Some(peer) => peer,
            None => {
                taken.refill(scheduled);
                match taken.next() {
                    Some(peer) => peer,
                    None => break,
                }
            }
        };
        // From here on a worker that finishes a batch of this peer puts it on the list again.
        peer.field().begin();
        done += deliver(&peer, FAIR_SHARE.min(budget - done));
        if has_ready(&peer) {
            scheduled.push(peer);
        }
    }
    done
}
