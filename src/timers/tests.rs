// SPDX-License-Identifier: GPL-2.0
//! Tests of the timers: what is due when, after what.
//!
//! A module in a module, as the macro of the kernel's KUnit wants the body where it stands.

#[cfg_attr(not(test), kernel::macros::kunit_tests(wg_timers))]
mod suite {
    use super::super::*;

    /// `n` seconds.
    const fn s(n: u64) -> u64 {
        n * NSEC_PER_SEC
    }

    #[test]
    fn initiations_are_counted_while_an_answer_is_due() {
        let mut t = Timers::new(true);
        assert!(t.initiations().is_none());
        t.handshake_begun(false);
        t.handshake_deferred(0, s(1), || 0);
        assert!(t.initiations() == Some(0));
        assert!(t.expire(s(1)) == Some(Action::DeferredHandshake));
        t.handshake_initiated(s(1), || 0);
        assert!(t.initiations() == Some(1));
        assert!(t.expire(s(6)) == Some(Action::RetransmitHandshake { attempt: 2 }));
        assert!(t.initiations().is_none());
        t.handshake_deferred(s(6), s(1), || 0);
        assert!(t.initiations() == Some(1));
        t.handshake_initiated(s(6), || 0);
        assert!(t.initiations() == Some(2));
        t.handshake_complete();
        assert!(t.initiations().is_none());
    }

    #[test]
    fn keepalive_answers_data_that_nothing_answered() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        assert!(t.rearm() == Some(s(11)));
        assert!(t.rearm().is_none());
        assert!(t.expire(s(11) - 1).is_none());
        assert!(t.rearm() == Some(s(11)));
        assert!(t.expire(s(11)) == Some(Action::SendKeepalive));
        assert!(t.expire(s(11)).is_none());
        assert!(t.rearm().is_none());
    }

    #[test]
    fn more_data_meanwhile_makes_another_keepalive() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        t.data_received(s(2));
        assert!(t.expire(s(11)) == Some(Action::SendKeepalive));
        assert!(t.expire(s(11)).is_none());
        assert!(t.rearm() == Some(s(21)));
        assert!(t.expire(s(21)) == Some(Action::SendKeepalive));
        assert!(t.rearm().is_none());
    }

    #[test]
    fn anything_sent_takes_the_keepalive_back() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        assert!(t.rearm() == Some(s(11)));
        t.any_authenticated_packet_sent();
        // The kernel's timer is left alone and fires for nothing.
        assert!(t.rearm().is_none());
        assert!(t.expire(s(11)).is_none());
        assert!(t.rearm().is_none());
    }

    #[test]
    fn silence_makes_a_new_handshake() {
        let mut t = Timers::new(true);
        t.data_sent(s(1), || 5);
        // Only the first packet counts; the clock of the silence runs from there.
        t.data_sent(s(9), || unreachable!());
        assert!(t.rearm() == Some(s(16) + 5));
        t.any_authenticated_packet_received();
        t.data_sent(s(10), || 7);
        assert!(t.rearm().is_none());
        assert!(t.expire(s(16) + 5).is_none());
        assert!(t.rearm() == Some(s(25) + 7));
        assert!(t.expire(s(26)) == Some(Action::NewHandshake));
        assert!(t.expire(s(26)).is_none());
    }

    #[test]
    fn an_earlier_deadline_is_passed_on() {
        let mut t = Timers::new(true);
        t.session_derived(0);
        assert!(t.rearm() == Some(s(540)));
        t.handshake_initiated(s(1), || 0);
        assert!(t.rearm() == Some(s(6)));
        t.any_authenticated_packet_traversal(s(1), 0);
        assert!(t.rearm().is_none());
        t.any_authenticated_packet_traversal(s(1), s(2));
        assert!(t.rearm() == Some(s(3)));
        assert!(t.expire(s(3)) == Some(Action::PersistentKeepalive));
        assert!(t.expire(s(3)).is_none());
        assert!(t.rearm() == Some(s(6)));
        t.handshake_complete();
        assert!(t.expire(s(6)).is_none());
        assert!(t.rearm() == Some(s(540)));
        assert!(t.expire(s(540)) == Some(Action::ZeroKeyMaterial));
    }

    #[test]
    fn gives_up_after_twenty_initiations() {
        let mut t = Timers::new(true);
        let mut now = s(1);
        let mut sent = 1;
        t.handshake_begun(false);
        t.handshake_initiated(now, || 0);
        loop {
            let Some(at) = t.rearm() else {
                unreachable!();
            };
            assert!(at == now + s(5));
            now = at;
            match t.expire(now) {
                Some(Action::RetransmitHandshake { attempt }) => {
                    sent += 1;
                    assert!(attempt == sent);
                    t.handshake_begun(true);
                    t.handshake_initiated(now, || 0);
                }
                Some(Action::GiveUpHandshake) => break,
                _ => unreachable!(),
            }
            assert!(t.expire(now).is_none());
        }
        assert!(sent == GIVE_UP_AFTER);
        assert!(t.expire(now).is_none());
        // The residue of the exchange goes later.
        assert!(t.rearm() == Some(now + s(540)));
    }

    #[test]
    fn giving_up_takes_the_keepalive_back_and_respects_live_keys() {
        let mut t = Timers::new(true);
        t.session_derived(0);
        for i in 0..=u64::from(MAX_TIMER_HANDSHAKES) {
            t.handshake_initiated(s(5 * i), || 0);
            assert!(matches!(
                t.expire(s(5 * i + 5)),
                Some(Action::RetransmitHandshake { .. })
            ));
        }
        t.handshake_initiated(s(95), || 0);
        t.data_received(s(95));
        assert!(t.expire(s(100)) == Some(Action::GiveUpHandshake));
        assert!(t.expire(s(106)).is_none());
        assert!(t.rearm() == Some(s(540)));
    }

    #[test]
    fn stopped_timers_stay_silent() {
        let mut t = Timers::new(false);
        t.data_sent(s(1), || unreachable!());
        t.data_received(s(1));
        t.handshake_initiated(s(1), || unreachable!());
        t.session_derived(s(1));
        t.any_authenticated_packet_traversal(s(1), s(1));
        assert!(t.rearm().is_none());
        t.start();
        t.session_derived(s(1));
        assert!(t.rearm() == Some(s(541)));
        t.stop();
        assert!(t.rearm().is_none());
        assert!(t.expire(s(1000)).is_none());
    }

    #[test]
    fn where_a_peer_is_is_told_once_a_second() {
        let mut t = Timers::new(true);
        assert!(t.endpoint_changed(s(1)));
        assert!(t.rearm() == Some(s(2)));
        assert!(!t.endpoint_changed(s(1)) && !t.endpoint_changed(s(2) - 1));
        assert!(t.expire(s(2)) == Some(Action::TellEndpoint));
        assert!(t.expire(s(2)).is_none());
        // It was told just now, so it is not before a second has passed again.
        assert!(t.rearm() == Some(s(3)));
        assert!(!t.endpoint_changed(s(2)));
        assert!(t.expire(s(3)) == Some(Action::TellEndpoint));
        assert!(t.rearm() == Some(s(4)));
        // Then there is nothing new, and what is due besides is not held up by that.
        t.data_received(s(3));
        t.session_derived(s(3));
        assert!(t.expire(s(4)).is_none());
        assert!(t.rearm() == Some(s(13)));
        assert!(t.endpoint_changed(s(5)));
        assert!(t.expire(s(13)) == Some(Action::SendKeepalive));
        assert!(t.expire(s(13)).is_none());
        assert!(t.rearm() == Some(s(543)));
    }

    #[test]
    fn what_is_to_be_told_is_told_though_timers_stop() {
        let mut t = Timers::new(true);
        assert!(t.endpoint_changed(s(1)));
        t.session_derived(s(1));
        assert!(!t.endpoint_changed(s(1)));
        t.stop();
        assert!(t.rearm() == Some(s(2)));
        assert!(t.expire(s(2)) == Some(Action::TellEndpoint));
        assert!(t.rearm() == Some(s(3)));
        assert!(t.expire(s(3)).is_none());
        assert!(t.rearm().is_none());
        assert!(t.endpoint_changed(s(4)));
    }

    #[test]
    fn the_end_of_a_session_is_told_in_time() {
        let mut t = Timers::new(true);
        // The kernel's timer is as late as it may be.
        let (mut now, mut checks) = (s(1), 0);
        t.session_lasts(now, s(180));
        while let Some(at) = t.rearm() {
            now = at + (at - now) / 8;
            assert!(t.expire(now) == Some(Action::CheckSession));
            assert!(t.expire(now).is_none());
            checks += 1;
            if now < s(181) {
                t.session_lasts(now, s(181) - now);
            }
        }
        assert!(now <= s(181) + s(1) / 2 && checks <= 4);
        // Nothing is due that was told, whatever the machine does.
        t.session_in_doubt(now);
        assert!(t.rearm().is_none());
    }

    #[test]
    fn a_younger_session_is_found_when_the_older_one_ends() {
        let mut t = Timers::new(true);
        t.session_lasts(0, s(4));
        assert!(t.rearm() == Some(s(4)));
        t.session_lasts(s(1), s(180));
        assert!(t.rearm().is_none());
        assert!(t.expire(s(4)) == Some(Action::CheckSession));
        t.session_lasts(s(4), s(177));
        assert!(t.rearm() == Some(s(4) + s(177) - s(177) / 8));
        // One that has been waiting for its first message is older than it was long in use.
        t.session_lasts(s(5), s(1));
        assert!(t.rearm() == Some(s(6)));
        // It was asleep.
        t.session_in_doubt(s(5));
        assert!(t.rearm() == Some(s(5)));
        assert!(t.expire(s(5)) == Some(Action::CheckSession));
        assert!(t.expire(s(5)).is_none());
        t.session_in_doubt(s(6));
        assert!(t.rearm().is_none());
        // What goes with the interface, or the peer, has its own events; but one that was begun
        // meanwhile was told.
        t.session_lasts(s(6), s(180));
        t.stop();
        t.session_in_doubt(s(7));
        assert!(t.rearm().is_none());
        t.session_lasts(s(7), 0);
        assert!(t.rearm() == Some(s(7)));
        assert!(t.expire(s(7)) == Some(Action::CheckSession));
        assert!(t.rearm().is_none());
    }

    #[test]
    fn what_is_put_off_is_tried_again_and_does_not_count() {
        let mut t = Timers::new(true);
        t.handshake_begun(false);
        // For far longer than unanswered initiations are repeated.
        for n in 0..100 {
            t.handshake_deferred(s(5 * n), s(5), || 1);
            // Not once more, nor later, by those who want it meanwhile.
            t.handshake_deferred(s(5 * n + 3), s(5), || 0);
            assert!(t.expire(s(5 * n + 5)).is_none());
            assert!(t.expire(s(5 * n + 5) + 1) == Some(Action::DeferredHandshake));
            t.handshake_begun(true);
        }
        t.handshake_initiated(s(600), || 0);
        t.handshake_deferred(s(601), s(1), || 0);
        assert!(t.expire(s(605) - 1).is_none());
        assert!(t.expire(s(605)) == Some(Action::RetransmitHandshake { attempt: 2 }));
        // A retry that comes too soon, after a response: the chain goes on, and counts on.
        t.handshake_deferred(s(605), s(2), || 0);
        assert!(t.expire(s(607)) == Some(Action::DeferredHandshake));
        t.handshake_initiated(s(607), || 0);
        assert!(t.expire(s(612)) == Some(Action::RetransmitHandshake { attempt: 3 }));
        t.handshake_deferred(s(612), s(2), || 0);
        t.handshake_complete();
        assert!(t.expire(s(700)).is_none());
        t.stop();
        t.handshake_deferred(s(700), s(2), || 0);
        t.keepalive_failed(s(700));
        assert!(t.expire(s(1000)).is_none());
    }

    #[test]
    fn keepalive_that_found_no_memory() {
        let mut t = Timers::new(true);
        t.data_received(s(1));
        assert!(t.expire(s(11)) == Some(Action::SendKeepalive));
        t.keepalive_failed(s(11));
        assert!(t.rearm() == Some(s(12)));
        assert!(t.expire(s(12)) == Some(Action::SendKeepalive));
        // Not later than what is due anyway.
        t.data_received(s(20));
        t.keepalive_failed(s(29) + 5);
        assert!(t.expire(s(30) - 1).is_none());
        assert!(t.expire(s(30)) == Some(Action::SendKeepalive));
        t.keepalive_failed(s(30));
        t.any_authenticated_packet_sent();
        assert!(t.expire(s(100)).is_none());
    }

    #[test]
    fn one_lastminute_handshake_per_session() {
        let mut t = Timers::new(true);
        assert!(t.begin_lastminute_handshake());
        assert!(!t.begin_lastminute_handshake());
        assert!(t.lastminute_handshake_sent());
        t.handshake_complete();
        assert!(t.begin_lastminute_handshake());
    }
}
