// SPDX-License-Identifier: GPL-2.0
//! When a worker calls those that take on what it has finished.
//!
//! A worker of a stage finishes batch after batch. Who takes them on (the peer's transmit work, a NAPI
//! instance) is called when there is a burst for it, not for each batch: on the worker's own CPU it may
//! begin at once, and would find one packet where it could have sent or merged many. Nobody waits for
//! more than what the worker does anyway: it calls when it turns to what another takes on, and in the
//! end.

#![allow(
    unreachable_pub,
    reason = "public in the host library and in the models, which are other crates"
)]

/// Messages that are finished before who takes them on is called; or a burst more. More would give GRO
/// no more to merge, but overrun the socket buffers of who receives small packets.
const BURST: usize = 16;

/// What a worker has finished in one go, and not called for yet: there is at most one `T` to call, by
/// `call`. When this is dropped, it is called.
pub struct Finished<T, C: FnMut(T)> {
    messages: usize,
    to_call: Option<T>,
    call: C,
}

impl<T, C: FnMut(T)> Finished<T, C> {
    /// Nothing yet.
    pub fn new(call: C) -> Self {
        Self {
            messages: 0,
            to_call: None,
            call,
        }
    }

    /// What is finished next is for one that `is_next` knows; another is called now.
    #[inline]
    pub fn turn_to(&mut self, is_next: impl FnOnce(&T) -> bool) {
        if self.to_call.as_ref().is_some_and(|t| !is_next(t)) {
            self.call();
        }
    }

    /// Notes a batch of so many `messages`. `to_call` takes them on, the one that was turned to;
    /// `None` if somebody has called it already, or is about to.
    #[inline]
    pub fn add(&mut self, messages: usize, to_call: Option<T>) {
        if to_call.is_some() {
            self.to_call = to_call;
        }
        self.messages += messages;
        if self.messages >= BURST {
            self.call();
        }
    }

    #[inline]
    fn call(&mut self) {
        self.messages = 0;
        if let Some(to_call) = self.to_call.take() {
            (self.call)(to_call);
        }
    }
}

impl<T, C: FnMut(T)> Drop for Finished<T, C> {
    #[inline]
    fn drop(&mut self) {
        self.call();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{
        vec,
        vec::Vec, //
    };

    /// Who is called when a worker finishes these batches, after how many of them: for each whom it is
    /// for, how many messages it has, and whether it is the worker's to call.
    fn calls(batches: &[(u32, usize, bool)]) -> Vec<(u32, usize)> {
        let done = core::cell::Cell::new(0);
        let mut calls = vec![];
        let mut finished = Finished::new(|whom| calls.push((whom, done.get())));
        for (whom, messages, ours) in batches {
            if *ours {
                finished.turn_to(|other| other == whom);
            }
            done.set(done.get() + 1);
            finished.add(*messages, ours.then_some(*whom));
        }
        drop(finished);
        calls
    }

    #[test]
    fn once_for_all_that_is_little() {
        assert_eq!(calls(&[]), []);
        assert_eq!(calls(&[(7, 1, true)]), [(7, 1)]);
        assert_eq!(calls(&[(7, 5, true); 3]), [(7, 3)]);
    }

    #[test]
    fn once_for_each_burst() {
        assert_eq!(calls(&[(7, BURST, true); 2]), [(7, 1), (7, 2)]);
        assert_eq!(calls(&[(7, 40, true), (7, 1, true)]), [(7, 1), (7, 2)]);
        assert_eq!(
            calls(&[(7, 1, true); BURST + 2]),
            [(7, BURST), (7, BURST + 2)]
        );
    }

    #[test]
    fn others_do_not_wait() {
        let batches = [(7, 9, true), (8, 9, true), (8, 6, true), (7, 1, true)];
        assert_eq!(calls(&batches), [(7, 1), (8, 3), (7, 4)], "8 has 15");
    }

    /// Its messages count, as they are delivered in one go with those before; but it's not called.
    #[test]
    fn called_by_somebody_else() {
        assert_eq!(calls(&[(7, 20, false)]), []);
        assert_eq!(calls(&[(7, 1, true), (7, 5, false)]), [(7, 2)]);
        assert_eq!(
            calls(&[(7, 1, true), (7, 15, false), (7, 1, false)]),
            [(7, 2)]
        );
    }
}
