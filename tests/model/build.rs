// SPDX-License-Identifier: GPL-2.0
//! Takes the protocol files of src/ as they are, but for what a model checker needs: states that
//! can be copied, compared and hashed, a look at the deadlines, and the faults that tests ask for
//! (`src/seed.rs`). Each replacement must still fit.

use std::{
    env,
    fs,
    path::{
        Path,
        PathBuf, //
    }, //
};

/// What is replaced by what, once.
type Change = (&'static str, &'static str);

/// Name, and types that become part of a state.
const FILES: &[(&str, &[&str], &[Change])] = &[
    (
        "conduct",
        &["pub struct Pace {"],
        &[
            (
                "Err(Failed::ForNow) => return defer(peer, REKEY_TIMEOUT_NS),",
                "Err(Failed::ForNow) if seeded(Seed::FailureForgotten) => return,\n        \
                 Err(Failed::ForNow) => return defer(peer, REKEY_TIMEOUT_NS),",
            ),
            (
                "        if wait != 0 {\n            t.hand",
                "        if wait != 0 && !seeded(Seed::TooSoonForgotten) {\n            t.hand",
            ),
            (
                "        // A response was sent since this was queued.\n",
                "        if seeded(Seed::TooSoonForgottenByWorker) { return; }\n",
            ),
            (
                "            .filter(|sent| sent.is_to(place))\n",
                "            .filter(|sent| sent.is_to(place) && !seeded(Seed::PlacesForgotten))\n",
            ),
            (
                "                peer.timers(|t, now| t.any_authenticated_packet_traversal(now, interval));\n",
                "                if !seeded(Seed::KeepaliveForgotten) {\n                \
                 peer.timers(|t, now| t.any_authenticated_packet_traversal(now, interval));\n}\n",
            ),
            (
                "        peer.timers(|t, now| t.keepalive_failed(now));\n",
                "        if seeded(Seed::KeepaliveForgotten) { return; }\n        \
                 peer.timers(|t, now| t.keepalive_failed(now));\n",
            ),
            (
                "    peer.timers(|t, now| {\n        t.any_authenticated_packet_traversal(now, \
                 peer.keepalive_ns());\n        t.any_authenticated_packet_sent();\n        \
                 t.handshake_initiated",
                "    peer.timers(|t, now| {\n        t.any_authenticated_packet_traversal(now, \
                 peer.keepalive_ns());\n        t.any_authenticated_packet_sent();\n        \
                 if !seeded(Seed::NoRetransmission) { t.handshake_initiated",
            ),
            (
                "(now, || peer.jitter());\n    });\n    if !peer.send_to",
                "(now, || peer.jitter()); }\n    });\n    if !peer.send_to",
            ),
            (
                "    if left != 0 {\n",
                "    if left != 0 && !seeded(Seed::SuccessorUnwatched) {\n",
            ),
        ],
    ),
    (
        "cookie",
        &[
            "struct DeviceKeys {",
            "pub struct CookieSecret {",
            "pub struct Checker {",
            "pub struct PeerCookie {",
        ],
        &[],
    ),
    (
        "keypairs",
        &["pub(crate) struct Keypairs<T: RcuObject> {"],
        &[(
            "        let current = self.current.swap(Some(new));\n",
            "        if seeded(Seed::SessionLost) { return [Some(new), waiting]; }\n        \
             let current = self.current.swap(Some(new));\n",
        )],
    ),
    (
        "life",
        &["pub struct KeyLife {"],
        &[(
            "            && !expired(origin.birthdate_ns, REJECT_AFTER_TIME_NS, now_ns)\n",
            "            && (seeded(Seed::KeysLiveForEver) || \
             !expired(origin.birthdate_ns, REJECT_AFTER_TIME_NS, now_ns))\n",
        )],
    ),
    ("load", &["pub struct Load {"], &[]),
    ("messages", &[], &[]),
    (
        "noise",
        &[
            "struct Transcript {",
            "enum Progress {",
            "pub struct SessionKeys {",
            "pub struct Handshake {",
        ],
        &[],
    ),
    (
        "replay",
        &["pub struct ReplayWindow {"],
        &[(
            "    pub fn accept(&mut self, counter: u64) -> bool {\n",
            "    pub fn accept(&mut self, counter: u64) -> bool {\n        \
             if seeded(Seed::ReplaysAccepted) { return true; }\n",
        )],
    ),
    (
        "timers",
        &["pub struct Timers {"],
        &[
            (
                "        self.armed = NEVER;\n\n        let earliest",
                "        if !seeded(Seed::StaleArming) { self.armed = NEVER; }\n\n        let earliest",
            ),
            (
                "        if self.slow[CHECK_SESSION] != NEVER {\n",
                "        if self.slow[CHECK_SESSION] != NEVER && !seeded(Seed::SleepUnnoticed) {\n",
            ),
        ],
    ),
];

/// Put after a file.
const TAILS: &[(&str, &str)] = &[(
    "timers",
    "impl Timers {\n    /// The earliest deadline.\n    \
     pub fn next_deadline(&self) -> Option<u64> {\n        \
     Some(self.earliest()).filter(|at| *at != NEVER)\n    }\n    \
     /// Whether an initiation will be sent in time.\n    \
     pub fn will_initiate(&self) -> bool { self.pending(RETRANSMIT_HANDSHAKE) }\n    \
     /// Whether a persistent keepalive will be sent in time.\n    \
     pub fn will_keep_alive(&self) -> bool { self.pending(PERSISTENT_KEEPALIVE) }\n    \
     /// When it will be looked whether a session is over.\n    \
     pub fn session_check(&self) -> Option<u64> {\n        \
     Some(self.slow[CHECK_SESSION]).filter(|at| *at != NEVER)\n    }\n}\n",
)];

fn under_test(name: &str, types: &[&str], changes: &[Change]) -> String {
    let from = format!("../../src/{name}.rs");
    println!("cargo:rerun-if-changed={from}");
    let mut text = fs::read_to_string(&from).expect(&from);
    for tests in ["#[cfg(any(test, CONFIG_KUNIT", "#[cfg(test)]"] {
        if let Some((kept, _)) = text.split_once(tests) {
            text = kept.to_owned();
        }
    }
    let types = types
        .iter()
        .map(|t| (*t, format!("#[derive(Clone, PartialEq, Eq, Hash)]\n{t}")));
    let changes = changes.iter().map(|(from, to)| (*from, (*to).to_owned()));
    for (what, by) in types.chain(changes) {
        assert_eq!(
            text.matches(what).count(),
            1,
            "tests/model/build.rs no longer fits src/{name}.rs: {what}"
        );
        text = text.replace(what, &by);
    }
    let tail = TAILS.iter().find(|(of, _)| *of == name);
    text.replacen("\nuse ", "\nuse crate::seed::{seeded, Seed};\nuse ", 1)
        + tail.map_or("", |(_, text)| text)
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let mut modules = String::new();
    for (name, types, changes) in FILES {
        let to: &Path = &out.join(format!("{name}.rs"));
        fs::write(to, under_test(name, types, changes)).expect("OUT_DIR is for that");
        modules += &format!(
            "/// `src/{name}.rs`.\n#[allow(warnings, clippy::all, reason = \"linted elsewhere\")]\n\
             #[path = {to:?}]\npub mod {name};\n"
        );
    }
    fs::write(out.join("modules.rs"), modules).expect("OUT_DIR is for that");
}
