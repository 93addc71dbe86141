// SPDX-License-Identifier: GPL-2.0

//! How long a session's keys may be used (WireGuard paper §6.1, §6.2): by age, and by number of
//! messages.
//!
//! Any context; lock-free. Times are boottime, so that sleep ages keys.
#![allow(
    unreachable_pub,
    reason = "public in the host library, whose tests are other crates"
)]

use wgk::atomic::{
    Acquire,
    HotAtomic,
    Relaxed, //
};

use crate::messages::{
    expired,
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME_NS,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME_NS, //
};

/// When a session got its keys, and from whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    /// Boot time in nanoseconds at which the keys were derived.
    pub birthdate_ns: u64,
    /// Whether we sent the initiation: it is the initiator who renews a session.
    pub initiator: bool,
}

impl Origin {
    /// How long the keys may still be used at `now_ns`, by their age, in nanoseconds.
    pub fn left(self, now_ns: u64) -> u64 {
        if expired(self.birthdate_ns, REJECT_AFTER_TIME_NS, now_ns) {
            return 0;
        }
        let end = self.birthdate_ns.wrapping_add(REJECT_AFTER_TIME_NS);
        end.wrapping_sub(now_ns)
    }
}

/// What has become of a session's keys.
pub struct KeyLife {
    sending_counter: HotAtomic<u64>,
    sending_valid: HotAtomic<bool>,
    receiving_valid: HotAtomic<bool>,
}

impl KeyLife {
    /// Not used yet.
    pub const fn new() -> Self {
        Self {
            sending_counter: HotAtomic::new(0),
            sending_valid: HotAtomic::new(true),
            receiving_valid: HotAtomic::new(true),
        }
    }

    /// Stops sending with these keys. They still receive until they are replaced or too old.
    pub fn expire_sending(&self) {
        self.sending_valid.store(false, Relaxed);
    }

    /// Stops receiving with these keys: the other side's messages have run out.
    pub fn expire_receiving(&self) {
        self.receiving_valid.store(false, Relaxed);
    }

    /// Whether messages may be sent at `now_ns`.
    pub fn may_send(&self, origin: Origin, now_ns: u64) -> bool {
        self.sending_valid.load(Acquire)
            && !expired(origin.birthdate_ns, REJECT_AFTER_TIME_NS, now_ns)
    }

    /// Takes `n` consecutive nonces for sending, or none if the keys may not be used any more: the
    /// caller then needs a new handshake. Returns the first.
    #[inline]
    pub fn take_nonces(&self, origin: Origin, n: u64, now_ns: u64) -> Option<u64> {
        if !self.may_send(origin, now_ns) {
            self.expire_sending();
            return None;
        }
        let first = self.sending_counter.fetch_add(n, Relaxed);
        // Counters are 64 bits and sending 2^64 packets takes centuries: no wrap before this check.
        if first.saturating_add(n) > REJECT_AFTER_MESSAGES {
            self.expire_sending();
            return None;
        }
        Some(first)
    }

    /// Whether sending has used the keys for so long that a new handshake should begin.
    #[inline]
    pub fn wants_rekey_on_send(&self, origin: Origin, now_ns: u64) -> bool {
        self.sending_valid.load(Acquire)
            && (self.sending_counter.load(Relaxed) > REKEY_AFTER_MESSAGES
                || (origin.initiator && expired(origin.birthdate_ns, REKEY_AFTER_TIME_NS, now_ns)))
    }

    /// Whether we began the session and it is `age_ns` old, while it is in use. For the last-minute
    /// handshake of a side that only receives.
    #[inline]
    pub fn initiator_older_than(&self, origin: Origin, age_ns: u64, now_ns: u64) -> bool {
        self.sending_valid.load(Acquire)
            && origin.initiator
            && expired(origin.birthdate_ns, age_ns, now_ns)
    }

    /// Whether received messages may be opened at `now_ns`.
    #[inline]
    pub fn may_receive(&self, origin: Origin, now_ns: u64) -> bool {
        if !self.receiving_valid.load(Relaxed) {
            return false;
        }
        if expired(origin.birthdate_ns, REJECT_AFTER_TIME_NS, now_ns) {
            self.expire_receiving();
            return false;
        }
        true
    }
}

impl Default for KeyLife {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORN: Origin = Origin {
        birthdate_ns: 7,
        initiator: true,
    };
    const THEIRS: Origin = Origin {
        initiator: false,
        ..BORN
    };
    const REKEY: u64 = 7 + REKEY_AFTER_TIME_NS;
    const REJECT: u64 = 7 + REJECT_AFTER_TIME_NS;

    #[test]
    fn by_age() {
        let life = KeyLife::new();
        assert!(!life.wants_rekey_on_send(BORN, REKEY - 1));
        assert!(life.wants_rekey_on_send(BORN, REKEY));
        assert!(!life.wants_rekey_on_send(THEIRS, REJECT));
        assert!(!life.initiator_older_than(BORN, 10, 16));
        assert!(life.initiator_older_than(BORN, 10, 17));
        assert!(!life.initiator_older_than(THEIRS, 10, 17));
        assert_eq!(life.take_nonces(BORN, 3, REJECT - 1), Some(0));
        assert!(life.may_receive(BORN, REJECT - 1));
        assert!(!life.may_send(BORN, REJECT));
        assert_eq!(life.take_nonces(BORN, 1, REJECT), None);
        assert!(!life.may_receive(BORN, REJECT));
        // Not again either, whatever the clock says.
        assert_eq!(life.take_nonces(BORN, 1, 8), None);
        assert!(!life.may_receive(BORN, 8));
        assert!(!life.wants_rekey_on_send(BORN, REKEY));
        assert!(!life.initiator_older_than(BORN, 10, 17));
    }

    #[test]
    fn time_that_is_left() {
        assert_eq!(BORN.left(7), REJECT_AFTER_TIME_NS);
        assert_eq!(BORN.left(REJECT - 1), 1);
        assert_eq!(BORN.left(REJECT), 0);
        assert_eq!(BORN.left(u64::MAX / 2), 0);
        let before_boot = Origin {
            birthdate_ns: 0_u64.wrapping_sub(3),
            ..BORN
        };
        assert_eq!(before_boot.left(7), REJECT_AFTER_TIME_NS - 10);
    }

    #[test]
    fn by_number_of_messages() {
        let life = KeyLife::new();
        assert_eq!(life.take_nonces(THEIRS, REKEY_AFTER_MESSAGES, 8), Some(0));
        assert!(!life.wants_rekey_on_send(THEIRS, 8));
        assert_eq!(life.take_nonces(THEIRS, 1, 8), Some(REKEY_AFTER_MESSAGES));
        assert!(life.wants_rekey_on_send(THEIRS, 8));
        let left = REJECT_AFTER_MESSAGES - REKEY_AFTER_MESSAGES - 1;
        assert!(life.take_nonces(THEIRS, left, 8).is_some());
        assert!(life.may_send(THEIRS, 8));
        assert_eq!(life.take_nonces(THEIRS, 1, 8), None);
        assert!(!life.may_send(THEIRS, 8));
        assert!(life.may_receive(THEIRS, 8));
        life.expire_receiving();
        assert!(!life.may_receive(THEIRS, 8));
    }
}
