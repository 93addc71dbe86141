// SPDX-License-Identifier: GPL-2.0
//! The three places a peer keeps session keys in, and the rules by which keys move between them.
//!
//! A handshake leaves one new session. Its initiator may send with it at once, since the response
//! proved that the other side has it; its responder must wait for the first packet under it. So
//! there is `current` (used for sending), `previous` (packets under way when the key changed) and
//! `next` (a responder's session that is not confirmed yet). WireGuard paper, section 6.2.
//!
//! Readers take any of the three under RCU without a lock. Changes are made under the peer's
//! rotation lock, for which [`Rotation`] stands. What a change pushes out is handed back: the
//! caller takes it out of the index table, so that packets under it are no longer accepted.

use wgk::rcu::{Guard, RcuArc, RcuCell, RcuObject, RcuRef};

/// Evidence that the peer's rotation lock is held: lives inside that lock and nowhere else.
#[derive(Default)]
pub(crate) struct Rotation(());

/// Session keys of one peer, by role.
pub(crate) struct Keypairs<T: RcuObject> {
    current: RcuCell<T>,
    previous: RcuCell<T>,
    next: RcuCell<T>,
}

/// What the first authenticated packet under a session changed.
pub(crate) enum Confirmed<T: RcuObject> {
    /// Nothing: the session was not waiting for confirmation.
    Nothing,
    /// The session is now `current`; an older one may have been pushed out.
    Promoted(Option<RcuArc<T>>),
}

impl<T: RcuObject> Keypairs<T> {
    /// No keys at all.
    pub(crate) const fn new() -> Self {
        Self {
            current: RcuCell::empty(),
            previous: RcuCell::empty(),
            next: RcuCell::empty(),
        }
    }

    /// The session that packets are sent with.
    #[inline]
    pub(crate) fn current<'g>(&self, guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        self.current.load(guard)
    }

    /// A responder's session that has not been confirmed.
    pub(crate) fn next<'g>(&self, guard: &'g Guard) -> Option<RcuRef<'g, T>> {
        self.next.load(guard)
    }

    /// Whether `session` still waits for its first packet. No lock: a cheap check that is repeated
    /// by [`confirm`](Self::confirm).
    #[inline]
    pub(crate) fn awaits_confirmation(&self, session: &T) -> bool {
        self.next.points_to(session)
    }

    /// Files a session that a handshake just produced; returns what it pushed out.
    pub(crate) fn add(
        &self,
        _rotation: &mut Rotation,
        new: RcuArc<T>,
        initiator: bool,
    ) -> [Option<RcuArc<T>>; 2] {
        if !initiator {
            // Unconfirmed: it must not displace what is used for sending. `previous` goes, so that
            // there are never more than three sessions and a stale one does not linger.
            let next = self.next.swap(Some(new));
            return [next, self.previous.swap(None)];
        }
        let waiting = self.next.swap(None);
        let current = self.current.swap(Some(new));
        match waiting {
            // Both sides initiated at once. The other side may already be sending with the session
            // we had not confirmed: keep that one for receiving, rather than the older current.
            Some(waiting) => [current, self.previous.swap(Some(waiting))],
            None => [self.previous.swap(current), None],
        }
    }

    /// Notes that an authenticated packet under `session` arrived.
    pub(crate) fn confirm(&self, _rotation: &mut Rotation, session: &T) -> Confirmed<T> {
        // Checked again: another packet may have done it before the lock was taken.
        if !self.next.points_to(session) {
            return Confirmed::Nothing;
        }
        // Published in `current` before it leaves `next`, so that a reader finds it in one of them.
        let guard = wgk::rcu::read_lock();
        let Some(session) = self.next.load(&guard).and_then(|s| s.try_get()) else {
            return Confirmed::Nothing;
        };
        let old = self.current.swap(Some(session));
        let pushed_out = self.previous.swap(old);
        drop(self.next.swap(None));
        Confirmed::Promoted(pushed_out)
    }

    /// Forgets all sessions and returns them. `next` goes first, so that a concurrent
    /// [`awaits_confirmation`](Self::awaits_confirmation) does not promote into an emptied set.
    pub(crate) fn clear(&self, _rotation: &mut Rotation) -> [Option<RcuArc<T>>; 3] {
        [
            self.next.swap(None),
            self.previous.swap(None),
            self.current.swap(None),
        ]
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_keypairs))]
mod tests {
    use super::*;
    use wgk::alloc::GFP_KERNEL;
    use wgk::rcu::read_lock;

    struct Key(u32);
    impl RcuObject for Key {}

    fn key(n: u32) -> RcuArc<Key> {
        match RcuArc::new(Key(n), GFP_KERNEL) {
            Ok(k) => k,
            Err(_) => panic!("no memory for a test key"),
        }
    }

    /// (previous, current, next), 0 for none.
    fn state(k: &Keypairs<Key>) -> (u32, u32, u32) {
        let g = read_lock();
        let n = |key: Option<RcuRef<'_, Key>>| key.map_or(0, |k| k.0);
        (n(k.previous.load(&g)), n(k.current(&g)), n(k.next(&g)))
    }

    #[test]
    fn initiator_replaces_current() {
        let (k, mut r) = (Keypairs::new(), Rotation::default());
        assert!(k.add(&mut r, key(1), true).iter().all(|o| o.is_none()));
        assert_eq!(state(&k), (0, 1, 0));
        let _ = k.add(&mut r, key(2), true);
        assert_eq!(state(&k), (1, 2, 0));
        let out = k.add(&mut r, key(3), true);
        assert_eq!(state(&k), (2, 3, 0));
        assert_eq!(out.iter().flatten().map(|k| k.0).sum::<u32>(), 1);
    }

    #[test]
    fn responder_waits_for_confirmation() {
        let (k, mut r) = (Keypairs::new(), Rotation::default());
        let _ = k.add(&mut r, key(1), true);
        let _ = k.add(&mut r, key(2), true);
        let new = key(3);
        let out = k.add(&mut r, new.clone(), false);
        // The previous session is given up, the current one stays in use.
        assert_eq!(state(&k), (0, 2, 3));
        assert_eq!(out.iter().flatten().map(|k| k.0).sum::<u32>(), 1);
        assert!(k.awaits_confirmation(&new));
        assert!(matches!(k.confirm(&mut r, &new), Confirmed::Promoted(None)));
        assert_eq!(state(&k), (2, 3, 0));
        // A second packet changes nothing.
        assert!(!k.awaits_confirmation(&new));
        assert!(matches!(k.confirm(&mut r, &new), Confirmed::Nothing));
    }

    #[test]
    fn crossed_initiations_keep_the_unconfirmed_session() {
        let (k, mut r) = (Keypairs::new(), Rotation::default());
        let _ = k.add(&mut r, key(1), true);
        let _ = k.add(&mut r, key(2), false);
        let out = k.add(&mut r, key(3), true);
        assert_eq!(state(&k), (2, 3, 0));
        assert_eq!(out.iter().flatten().map(|k| k.0).sum::<u32>(), 1);
    }

    #[test]
    fn clear_returns_every_session() {
        let (k, mut r) = (Keypairs::new(), Rotation::default());
        let _ = k.add(&mut r, key(1), true);
        let _ = k.add(&mut r, key(2), true);
        let _ = k.add(&mut r, key(4), false);
        let n: u32 = k.clear(&mut r).iter().flatten().map(|k| k.0).sum();
        assert_eq!(n, 2 + 4);
        assert_eq!(state(&k), (0, 0, 0));
    }
}
