// SPDX-License-Identifier: GPL-2.0
//! Tests of how often initiations go out, and where to.

use super::*;

const SECOND: u64 = NSEC_PER_SEC;

#[test]
fn handshake_messages_keep_their_distance() {
    // Right after boot.
    let pace = Pace::new();
    assert_eq!(pace.wait(3, 1), 0);
    // However long it has been quiet.
    assert_eq!(pace.wait(1 << 62, 1), 0);
    for note in [Pace::note_initiation, Pace::note_response] {
        note(&pace, 3, 1);
        // The time is rounded up.
        assert_eq!(pace.wait(3, 1), REKEY_TIMEOUT_NS + NSEC_PER_MSEC);
        let over = REKEY_TIMEOUT_NS + NSEC_PER_MSEC;
        assert_eq!(pace.wait(over - 1, 1), NSEC_PER_MSEC);
        assert_eq!(pace.wait(over, 1), 0);
        assert_eq!(pace.wait(u64::from(u32::MAX) << 8, 1), 0);
        note(&pace, REKEY_TIMEOUT_NS, 1);
        pace.reset();
        assert_eq!(pace.wait(REKEY_TIMEOUT_NS, 1), 0);
    }
}

#[test]
fn elsewhere_a_message_may_go_earlier() {
    let pace = Pace::new();
    pace.note_initiation(10 * SECOND, 1);
    assert_eq!(pace.wait(10 * SECOND, 2), SECOND);
    assert_eq!(pace.wait(11 * SECOND - 1, 2), NSEC_PER_MSEC);
    assert_eq!(pace.wait(11 * SECOND, 2), 0);
    // Not where our response went.
    pace.note_response(11 * SECOND, 3);
    assert_eq!(pace.wait(12 * SECOND, 3), 4 * SECOND);
    assert_eq!(pace.wait(12 * SECOND, 2), 0);
    // However many of those there are, an initiation is not forgotten for them.
    for place in 4..40 {
        pace.note_response(12 * SECOND, place);
    }
    let wait = pace.wait(13 * SECOND, 1);
    assert!((2 * SECOND..=2 * SECOND + 2 * NSEC_PER_MSEC).contains(&wait));
    // Who has called is to be answered first, from wherever it was.
    pace.hold(13 * SECOND);
    for place in [0, 1, 2, 99] {
        let wait = pace.wait(14 * SECOND, place);
        assert!((4 * SECOND..=4 * SECOND + 2 * NSEC_PER_MSEC).contains(&wait));
    }
    pace.note_response(14 * SECOND, 3);
    assert_eq!(pace.wait(15 * SECOND, 2), 0);
    // What was forgotten may go at once.
    pace.reset();
    assert_eq!(pace.wait(13 * SECOND, 1), 0);
}

/// Whoever tells us places, in whatever order, and each as early as can be.
#[test]
fn no_order_of_places_makes_it_more() {
    for places in 1..8 {
        for stride in 1..4 {
            let pace = Pace::new();
            let mut sent: [(u64, u64); 200] = [(0, 0); 200];
            let mut now = 100 * SECOND + 7;
            for n in 0..sent.len() {
                let to = (n as u64 * stride) % places + 1;
                now += pace.wait(now, to);
                assert_eq!(pace.wait(now, to), 0);
                pace.note_initiation(now, to);
                for (at, before) in &sent[..n] {
                    assert!(now - at >= SECOND);
                    assert!(before != &to || now - at >= REKEY_TIMEOUT_NS);
                }
                sent[n] = (now, to);
            }
        }
    }
}

#[test]
fn places_have_numbers_of_their_own() {
    let v4 = |last, port| place([10, 0, 0, last].into(), port);
    let v6 = |first, last, port| place([first, 0, 0, 0, 0, 0, 0, last].into(), port);
    let all = [
        v4(1, 1),
        v4(1, 2),
        v4(2, 1),
        v6(1, 1, 1),
        v6(1, 1, 2),
        v6(1, 2, 1),
        v6(2, 1, 1),
        place([0; 4].into(), 0),
        place([0; 16].into(), 0),
    ];
    for (n, number) in all.iter().enumerate() {
        assert!(*number != 0);
        assert!(!all[..n].contains(number));
        let mark = |number: &u64| Sent::mark(*number);
        assert!(all[..n].iter().all(|other| mark(other) != mark(number)));
    }
}
