// SPDX-License-Identifier: GPL-2.0
//! From every state that these bounds allow, both sides find together again; and each fault that is
//! put in is found. FULL=1 takes larger bounds.

use wireguard_rs_model::{
    check::{
        Bounds,
        Peers, //
    },
    seed::Seed,
    side::Config, //
};

/// One of two numbers: of the quick run, and with FULL=1.
fn size(quick: u8, full: u8) -> u8 {
    if std::env::var_os("FULL").is_some_and(|v| v == "1") {
        full
    } else {
        quick
    }
}

fn peers(config: Config, bounds: Bounds) -> Peers {
    Peers {
        config,
        bounds,
        ready: [true; 2],
        seed: Seed::None,
    }
}

/// Nothing is wrong in any state.
fn holds(name: &str, peers: Peers) {
    if let Some(story) = peers.check(name) {
        panic!("{name}:\n{story}");
    }
}

/// With `seed` there is a state of which that is said.
fn finds(seed: Seed, what: &str, peers: Peers) {
    let name = format!("with {seed:?}");
    let story = Peers { seed, ..peers }.check(&name);
    let story = story.unwrap_or_else(|| panic!("{name} nothing is found"));
    assert!(story.contains(what), "{name}, not {what:?} but\n{story}");
}

fn network() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [1, 1],
            waits: size(1, 2),
            losses: 1,
            doubles: 1,
            reorders: size(0, 1),
            ..Bounds::default()
        },
    )
}

fn retries() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [1, 0],
            waits: size(3, 5),
            losses: size(2, 3),
            ..Bounds::default()
        },
    )
}

fn slow_sender() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [2, 0],
            slowly: 2,
            waits: size(2, 3),
            losses: size(1, 2),
            ..Bounds::default()
        },
    )
}

fn restart() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [1, 1],
            waits: size(1, 2),
            restarts: 1,
            ..Bounds::default()
        },
    )
}

fn late_randomness() -> Peers {
    Peers {
        ready: [false, size(1, 0) == 1],
        ..peers(
            Config::KEEPALIVE,
            Bounds {
                sends: [0, size(0, 1)],
                waits: 2,
                losses: size(0, 1),
                ..Bounds::default()
            },
        )
    }
}

fn shortage() -> Peers {
    peers(
        Config::KEEPALIVE,
        Bounds {
            sends: [0, size(0, 1)],
            waits: size(2, 3),
            shortages: 1,
            ..Bounds::default()
        },
    )
}

fn sleep() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [2, 0],
            waits: size(1, 2),
            sleeps: size(1, 2),
            ..Bounds::default()
        },
    )
}

fn expiry() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [2, 0],
            waits: size(3, 5),
            ..Bounds::default()
        },
    )
}

fn down_and_up() -> Peers {
    peers(
        Config::KEEPALIVE,
        Bounds {
            sends: [0, 1],
            waits: size(1, 2),
            downs: size(1, 2),
            ..Bounds::default()
        },
    )
}

fn roaming() -> Peers {
    peers(
        Config::KEEPALIVE,
        Bounds {
            sends: [0, 1],
            waits: size(1, 2),
            losses: 1,
            roams: 1,
            ..Bounds::default()
        },
    )
}

fn corrected() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [1, 0],
            waits: size(2, 3),
            losses: size(0, 1),
            points: size(3, 4),
            ..Bounds::default()
        },
    )
}

fn load() -> Peers {
    peers(
        Config::PLAIN,
        Bounds {
            sends: [1, size(0, 1)],
            waits: 2,
            losses: size(0, 1),
            loads: 2,
            ..Bounds::default()
        },
    )
}

/// For each name, a test that nothing is wrong within those bounds.
macro_rules! nobody_is_stuck {
    ($($name:ident: $bounds:ident, $what:literal;)*) => {$(
        #[test]
        fn $name() {
            holds($what, $bounds());
        }
    )*};
}

nobody_is_stuck! {
    with_a_bad_network: network, "a network that loses, doubles, reorders";
    with_retries: retries, "retries";
    with_a_slow_sender: slow_sender, "a sender that is slow to put back";
    with_a_restart: restart, "a restart";
    with_late_randomness: late_randomness, "late randomness";
    with_short_memory: shortage, "short memory";
    with_a_sleep: sleep, "a sleep";
    with_the_end_of_a_session: expiry, "the end of a session";
    with_down_and_up: down_and_up, "down and up";
    with_another_address: roaming, "another address";
    with_another_endpoint: corrected, "another endpoint";
    under_load: load, "under load";
}

const STUCK: &str = "packets wait for a handshake that nobody will begin";

#[test]
fn what_is_seeded_is_found() {
    // An idle peer whose first handshake comes before there is randomness, and one that finds no
    // memory for it.
    finds(Seed::FailureForgotten, STUCK, late_randomness());
    finds(Seed::FailureForgotten, STUCK, shortage());
    finds(Seed::TooSoonForgotten, STUCK, network());
    finds(Seed::TooSoonForgottenByWorker, STUCK, network());
    finds(
        Seed::PlacesForgotten,
        "two initiations to one place",
        corrected(),
    );
    finds(Seed::NoRetransmission, STUCK, retries());
    finds(Seed::KeepaliveForgotten, "persistent keepalive", shortage());
    finds(Seed::StaleArming, "what waits is not sent", retries());
    finds(Seed::SessionLost, "data does not flow", network());
    finds(
        Seed::KeysLiveForEver,
        "keys are used past their life",
        sleep(),
    );
    finds(Seed::SleepUnnoticed, "is told late", sleep());
    finds(
        Seed::SuccessorUnwatched,
        "whose end nobody will tell",
        expiry(),
    );
    finds(
        Seed::ReplaysAccepted,
        "a packet is delivered twice",
        network(),
    );
}
