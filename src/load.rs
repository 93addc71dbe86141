// SPDX-License-Identifier: GPL-2.0
//! Whether a device is under load, so that handshake messages must prove where they come from
//! (WireGuard paper §5.3) before a key agreement is spent on them.
//!
//! The queue of handshake messages tells: an eighth full is load, and so is the second after. But
//! under load messages cost little, and the queue is soon empty though the flood goes on. Without
//! more, the device would spend key agreements on it after each second until the queue has filled
//! again, which is where most of the time goes at a few thousand messages per second. So the load
//! also lasts as long as so many messages are refused in each second, without proof or too many from
//! one source, as would fill an eighth of the queue: no fewer than a flooder needs who fills it once
//! a second.
//!
//! Any context; lock-free. Workers that look at the same time may count a message for the second
//! before or after: nothing depends on it.

#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use crate::messages::{
    expired,
    UNDER_LOAD_HANDSHAKES,
    UNDER_LOAD_LINGER_NS, //
};
use wgk::atomic::{
    Atomic,
    Relaxed, //
};

/// The load of a device.
pub struct Load {
    /// When it was last found to be under load, 0 if it isn't.
    last_ns: Atomic<u64>,
    /// Messages refused since then.
    refused: Atomic<u32>,
}

/// What [`Load::check`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not under load.
    Idle,
    /// Not any more: what was made for it can be given back.
    Over,
    /// Under load, and was not before.
    Began,
    /// Under load.
    Loaded,
}

impl State {
    /// Whether this is under load.
    pub const fn is_loaded(self) -> bool {
        matches!(self, Self::Began | Self::Loaded)
    }
}

impl Load {
    /// No load.
    pub const fn new() -> Self {
        Self {
            last_ns: Atomic::new(0),
            refused: Atomic::new(0),
        }
    }

    /// Looks at the load when `queued` messages wait, at `now_ns` since boot.
    pub fn check(&self, queued: usize, now_ns: u64) -> State {
        let last = self.last_ns.load(Relaxed);
        if queued >= UNDER_LOAD_HANDSHAKES {
            return self.begin(now_ns);
        }
        if last == 0 {
            return State::Idle;
        }
        if !expired(last, UNDER_LOAD_LINGER_NS, now_ns) {
            return State::Loaded;
        }
        if self.refused.load(Relaxed) as usize >= UNDER_LOAD_HANDSHAKES
            && !expired(last, 2 * UNDER_LOAD_LINGER_NS, now_ns)
        {
            return self.begin(now_ns);
        }
        match self.last_ns.cmpxchg(last, 0, Relaxed) {
            Ok(_) => State::Over,
            // Somebody else has found that.
            Err(0) => State::Idle,
            Err(_) => State::Loaded,
        }
    }

    /// Whether the last look found load, and none has found that it's over.
    pub fn is_on(&self) -> bool {
        self.last_ns.load(Relaxed) != 0
    }

    fn begin(&self, now_ns: u64) -> State {
        self.refused.store(0, Relaxed);
        match self.last_ns.xchg(now_ns, Relaxed) {
            0 => State::Began,
            _ => State::Loaded,
        }
    }

    /// Notes that a message was not worked on: it came without the proof that it should have had, or
    /// too soon after others of its source.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Load,
        State::{
            Began,
            Idle,
            Loaded,
            Over, //
        },
        UNDER_LOAD_HANDSHAKES as MANY, //
    };

    const MS: u64 = 1_000_000;

    fn refuse(load: &Load, messages: usize) {
        (0..messages).for_each(|_| load.refused());
    }

    #[test]
    fn an_eighth_of_the_queue_and_a_second() {
        let load = Load::new();
        assert_eq!(load.check(MANY - 1, MS), Idle);
        assert_eq!(load.check(MANY, 2 * MS), Began);
        assert!(Began.is_loaded() && Loaded.is_loaded());
        assert!(!Idle.is_loaded() && !Over.is_loaded());
        assert_eq!(load.check(0, 1001 * MS), Loaded);
        assert_eq!(load.check(MANY, 1500 * MS), Loaded);
        assert_eq!(load.check(0, 2499 * MS), Loaded);
        assert!(load.is_on());
        assert_eq!(load.check(0, 2500 * MS), Over);
        assert!(!load.is_on());
        assert_eq!(load.check(0, 2500 * MS), Idle);
    }

    #[test]
    fn a_flood_that_the_cookies_keep_out_of_the_queue() {
        let load = Load::new();
        assert_eq!(load.check(MANY, 1000 * MS), Began);
        for second in 1..10 {
            refuse(&load, MANY);
            assert_eq!(load.check(0, (1000 + 1000 * second) * MS), Loaded);
        }
        // Whenever in the second after the next message comes.
        refuse(&load, MANY);
        assert_eq!(load.check(0, 11_999 * MS), Loaded);
        refuse(&load, MANY - 1);
        assert_eq!(load.check(0, 12_999 * MS), Over);
    }

    #[test]
    fn a_flood_that_is_over() {
        let load = Load::new();
        assert_eq!(load.check(MANY, 1000 * MS), Began);
        refuse(&load, 10 * MANY);
        // There was no message since.
        assert_eq!(load.check(0, 3000 * MS), Over);
        refuse(&load, 10 * MANY);
        assert_eq!(load.check(0, 3001 * MS), Idle);
        assert_eq!(load.check(MANY, 4000 * MS), Began);
        assert_eq!(load.check(0, 5000 * MS), Over, "those before do not count");
    }
}
