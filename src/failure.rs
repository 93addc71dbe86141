// SPDX-License-Identifier: GPL-2.0

//! Why a peer's last handshake failed, as far as this side can tell.
//!
//! An attempt is one initiation of ours. What is known of it for sure, that it could not be sent or was
//! answered wrongly, counts more than that no answer came: silence is only noted if nothing else was.
//! What is noted stays when a later handshake succeeds; its time tells.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use core::ffi::CStr;

/// Why a handshake failed. The numbers are those of Documentation/netlink/specs/wireguard_rs.yaml.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Failure {
    /// No answer to an initiation within 5 seconds.
    NoAnswer = 1,
    /// An answer that does not authenticate: another preshared key, or not of the peer.
    BadAnswer = 2,
    /// The peer's endpoint is not known.
    NoEndpoint = 3,
    /// There is no route to the endpoint.
    NoRoute = 4,
    /// There is no socket: the device is going down, or its namespace is gone.
    NoSocket = 5,
    /// Memory was short.
    NoMemory = 6,
    /// The kernel's random number generator is not ready.
    NoEntropy = 7,
    /// The device has no private key.
    NoKey = 8,
    /// No agreement with the peer's public key is possible.
    BadKey = 9,
}

impl Failure {
    /// What the specification calls it.
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::NoAnswer => c"no-answer",
            Self::BadAnswer => c"bad-answer",
            Self::NoEndpoint => c"no-endpoint",
            Self::NoRoute => c"no-route",
            Self::NoSocket => c"no-socket",
            Self::NoMemory => c"no-memory",
            Self::NoEntropy => c"no-entropy",
            Self::NoKey => c"no-key",
            Self::BadKey => c"bad-key",
        }
    }
}

/// The last failure, with its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Noted {
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    /// Why.
    pub why: Failure,
    /// Whether there are no more attempts until somebody wants a handshake again.
    pub gave_up: bool,
}

/// What is known of one peer's failures.
pub struct Failures {
    /// Of the last one, if there was one: [`Noted`] in pieces, for a million peers have it.
    at_ns: u64,
    why: Option<Failure>,
    gave_up: bool,
    /// Whether the attempt under way has failed already.
    attempt_failed: bool,
}

impl Failures {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            at_ns: 0,
            why: None,
            gave_up: false,
            attempt_failed: false,
        }
    }

    /// The last one.
    pub fn last(&self) -> Option<Noted> {
        self.why.map(|why| Noted {
            at_ns: self.at_ns,
            why,
            gave_up: self.gave_up,
        })
    }

    /// An attempt begins.
    pub fn attempt(&mut self) {
        self.attempt_failed = false;
    }

    /// A handshake failed.
    pub fn note(&mut self, why: Failure, at_ns: u64) {
        self.attempt_failed = true;
        self.at_ns = at_ns;
        self.why = Some(why);
        self.gave_up = false;
    }

    /// Nothing came of an attempt in time.
    pub fn unanswered(&mut self, at_ns: u64) {
        if !self.attempt_failed {
            self.note(Failure::NoAnswer, at_ns);
        }
    }

    /// There will be no other attempt, since nothing came of the last one. Says why not.
    pub fn give_up(&mut self, at_ns: u64) -> Failure {
        let known = self.why.filter(|_| self.attempt_failed);
        let why = known.unwrap_or(Failure::NoAnswer);
        self.note(why, at_ns);
        self.gave_up = true;
        why
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod specification {
    use super::*;

    /// Each has the number and the name that the specification says.
    #[test]
    fn names() {
        use Failure::*;
        let text = include_str!("../Documentation/netlink/specs/wireguard_rs.yaml");
        let (_, text) = text.split_once("name: failure\n").expect("an enum");
        let mut entries = text.split("\n      -\n        name: ").skip(1);
        let all = [
            NoAnswer, BadAnswer, NoEndpoint, NoRoute, NoSocket, NoMemory, NoEntropy, NoKey, BadKey,
        ];
        for (i, why) in all.into_iter().enumerate() {
            assert_eq!(why as usize, i + 1);
            let entry = entries.next().expect("an entry");
            assert_eq!(entry.lines().next(), why.name().to_str().ok());
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_failure))]
mod tests {
    use super::*;

    fn noted(why: Failure, at_ns: u64, gave_up: bool) -> Option<Noted> {
        Some(Noted {
            at_ns,
            why,
            gave_up,
        })
    }

    #[test]
    fn silence_is_noted_if_nothing_else_was() {
        let mut f = Failures::new();
        assert!(f.last().is_none());
        f.attempt();
        f.unanswered(5);
        assert!(f.last() == noted(Failure::NoAnswer, 5, false));
        f.attempt();
        f.note(Failure::NoRoute, 6);
        f.unanswered(11);
        assert!(f.last() == noted(Failure::NoRoute, 6, false));
        // Of the next attempt nothing is known.
        f.attempt();
        f.unanswered(16);
        assert!(f.last() == noted(Failure::NoAnswer, 16, false));
    }

    #[test]
    fn giving_up_has_the_reason_of_the_last_attempt() {
        let mut f = Failures::new();
        f.attempt();
        f.note(Failure::BadAnswer, 1);
        assert!(f.give_up(7) == Failure::BadAnswer);
        assert!(f.last() == noted(Failure::BadAnswer, 7, true));
        f.attempt();
        assert!(f.give_up(9) == Failure::NoAnswer);
        assert!(f.last() == noted(Failure::NoAnswer, 9, true));
        // Another failure is another beginning.
        f.note(Failure::NoMemory, 10);
        assert!(f.last() == noted(Failure::NoMemory, 10, false));
    }
}
