// SPDX-License-Identifier: GPL-2.0
//! `wgrs show`: a line for each peer, which says since when there is a session, or why there is none.

use serde_json::{json, Value};

use crate::cli::SWITCHES;
use crate::clock::{span, Clock};
use crate::netlink::Device;
use crate::schema::{ENUM_FAILURE, SET_DROPS};
use crate::wire::{plain, Contents, Look};

/// In what state a peer is, as far as this side knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// There is a session to send with.
    Up,
    /// The handshakes since the last session fail.
    Down,
    /// A handshake is under way, the first since the last session.
    Calling,
    /// There was a session; nothing has asked for another one.
    Idle,
    /// There never was one, nor a try.
    New,
}

impl State {
    /// Of what `peer-get` says.
    pub fn of(peer: &Contents) -> Self {
        let usable = peer
            .nest("session")
            .is_some_and(|s| s.contains_key("usable"));
        if usable {
            Self::Up
        } else if failing(peer).is_some() {
            Self::Down
        } else if peer.contains_key("initiations") {
            Self::Calling
        } else if peer.contains_key("last-handshake") {
            Self::Idle
        } else {
            Self::New
        }
    }

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Calling => "calling",
            Self::Idle => "idle",
            Self::New => "new",
        }
    }
}

/// The failure after which no handshake was completed.
fn failing(peer: &Contents) -> Option<&Contents> {
    let failure = peer.nest("failure")?;
    (failure.number("time")? > peer.number("last-handshake").unwrap_or(0)).then_some(failure)
}

/// What to look at when a handshake failed for that reason.
pub fn advice(reason: &str, interface: &str, endpoint: Option<&str>) -> Option<String> {
    Some(match reason {
        "no-answer" => "it is down, or knows another public key of ours than we have, or a firewall is in between".into(),
        "bad-answer" => "compare the preshared keys of both sides".into(),
        "no-endpoint" => "give it an endpoint, or wait until it calls".into(),
        "no-route" => {
            let address = endpoint.and_then(|e| e.parse::<std::net::SocketAddr>().ok()).map_or("ENDPOINT".into(), |e| e.ip().to_string());
            format!("see 'ip route get {address}' where {interface} was created")
        }
        "no-socket" => format!("{interface} is going down, or bound to a device that is gone ('wgrs bind'), or the namespace that it was created in is gone: then create it anew"),
        "no-memory" | "no-entropy" => "passes by itself".into(),
        "no-key" => format!("'wg set {interface} private-key FILE'"),
        "bad-key" => "nobody can have this public key: ask the peer for the right one".into(),
        // A newer module's.
        other => ENUM_FAILURE.iter().find(|f| f.name == other)?.doc.into(),
    })
}

/// A reason with what to look at.
pub fn reason(reason: &str, interface: &str, endpoint: Option<&str>) -> String {
    advice(reason, interface, endpoint)
        .map_or_else(|| reason.into(), |advice| format!("{reason} ({advice})"))
}

fn side(of: &Contents) -> String {
    match of.word("side").as_deref() {
        Some("initiator") => "begun here".into(),
        Some("responder") => "begun by the peer".into(),
        Some(other) => format!("side {other}"),
        None => "side unknown".into(),
    }
}

fn tries(n: u64) -> String {
    match n {
        0 => "the first initiation is put off, as there was a message less than 5 s ago".into(),
        1 => "1 initiation sent, no answer so far".into(),
        n => format!("{n} initiations sent, no answer so far"),
    }
}

/// What the sockets of an interface are bound to, if they are.
fn bound(device: &Contents) -> Option<String> {
    let mut to = Vec::new();
    match (device.word("bind-ifname"), device.number("bind-ifindex")) {
        (Some(name), _) => to.push(format!("dev {name}")),
        (None, Some(_)) => to.push("a device that is gone ('wgrs bind' to another)".into()),
        _ => {}
    }
    for address in ["bind-ipv4", "bind-ipv6"] {
        to.extend(device.word(address).map(|a| format!("addr {a}")));
    }
    (!to.is_empty()).then(|| format!("bound to {}", to.join(" ")))
}

/// What a person is told about a peer, without its key.
pub fn peer_line(peer: &Contents, interface: &str, clock: &Clock) -> String {
    let endpoint = peer.word("endpoint");
    let endpoint = endpoint.as_deref();
    let initiations = peer.number("initiations");
    let failed = |failure: &Contents| {
        let why = failure.word("reason").unwrap_or_else(|| "unknown".into());
        format!(
            "{} {} ago",
            reason(&why, interface, endpoint),
            clock.since(failure.number("time").unwrap_or(0))
        )
    };
    let ended = |failure: &Contents| {
        if failure.contains_key("gave-up") {
            "given up until there is something to send"
        } else {
            "tried again"
        }
    };
    let last = |peer: &Contents| match peer.number("last-handshake") {
        Some(time) => format!("last handshake {} ago", clock.since(time)),
        None => "no handshake yet".into(),
    };
    let mut said = vec![match State::of(peer) {
        State::Up => {
            let session = peer.nest("session").unwrap_or(peer);
            let age = session.number("age").unwrap_or(0);
            format!(
                "up since {} ({}), {}",
                clock.before(age),
                span(age),
                side(session)
            )
        }
        State::Down => {
            let failure = failing(peer).unwrap_or(peer);
            format!(
                "down: {}, {}; {}",
                failed(failure),
                ended(failure),
                last(peer)
            )
        }
        State::Calling => format!(
            "calling: {}; {}",
            tries(initiations.unwrap_or(0)),
            last(peer)
        ),
        State::Idle => format!("idle: {}, the next packet begins one", last(peer)),
        State::New if endpoint.is_none() => "new: no endpoint, waits until the peer calls".into(),
        State::New => "new: nothing sent yet, the first packet begins a handshake".into(),
    }];
    match (State::of(peer), initiations, failing(peer)) {
        (State::Up, Some(n), None) => said.push(format!("being renewed: {}", tries(n))),
        (State::Up, _, Some(failure)) => said.push(format!(
            "renewing it fails: {}, {}",
            failed(failure),
            ended(failure)
        )),
        (State::Down, Some(n), _) => said.push(tries(n)),
        _ => {}
    }
    if peer.contains_key("unconfirmed") {
        said.push("the peer began a session and has not used it (if that stays, compare the preshared keys)".into());
    }
    said.extend(endpoint.map(|e| format!("endpoint {e}")));
    let count = |name: &str, one: &str, many: &str| {
        peer.number(name).filter(|n| *n > 0).map(|n| {
            if n == 1 {
                format!("1 {one}")
            } else {
                format!("{n} {many}")
            }
        })
    };
    said.extend(count(
        "staged",
        "packet waits for a session",
        "packets wait for a session",
    ));
    said.extend(count(
        "tx-queued",
        "message being sent",
        "messages being sent",
    ));
    said.extend(count(
        "rx-queued",
        "message being received",
        "messages being received",
    ));
    said.extend(
        peer.number("roamed")
            .filter(|n| *n > 0)
            .map(|n| format!("roamed {n}×")),
    );
    if peer.number("auto-mtu") == Some(1) {
        said.push(
            peer.number("path-mtu")
                .map_or_else(|| "mtu auto".into(), |n| format!("mtu auto, {n} bytes fit")),
        );
    }
    said.join("; ")
}

/// An interface and its peers for a person.
pub fn text(devices: &[Device], clock: &Clock) -> String {
    let mut out = String::new();
    for Device {
        device,
        peers,
        torn,
    } in devices
    {
        let name = device.word("ifname").unwrap_or_default();
        let mut head = vec![format!(
            "{} peer{}",
            peers.len(),
            if peers.len() == 1 { "" } else { "s" }
        )];
        let up = peers.iter().filter(|p| State::of(p) == State::Up).count();
        head.push(format!("{up} up"));
        for switch in SWITCHES {
            if device.number(switch) == Some(1) {
                head.push(format!("{switch} on"));
            }
        }
        head.extend(bound(device));
        if *torn {
            head.push("changed while it was read: some peers may be missing".into());
        }
        out += &format!("{name}: {}\n", head.join(", "));
        for peer in peers {
            out += &format!(
                "  {} {}\n",
                peer.word("public-key").unwrap_or_default(),
                peer_line(peer, &name, clock)
            );
        }
        for (reason, count) in device
            .nest("drops")
            .into_iter()
            .flatten()
            .filter(|(_, n)| n.as_u64() != Some(0))
        {
            let doc = SET_DROPS.named(reason).map_or("", |a| a.doc);
            out += &format!(
                "  dropped {} {reason}{}{doc}\n",
                plain(count),
                if doc.is_empty() { "" } else { ": " }
            );
        }
    }
    out
}

/// The same for a program: what the family says, in its words, with the state of each peer.
pub fn json(devices: Vec<Device>, clock: &Clock) -> Value {
    devices
        .into_iter()
        .map(
            |Device {
                 mut device,
                 peers,
                 torn,
             }| {
                let name = device.word("ifname").unwrap_or_default();
                let peers: Vec<_> = peers
                    .into_iter()
                    .map(|mut peer| {
                        let line = peer_line(&peer, &name, clock);
                        peer.insert("state".into(), State::of(&peer).word().into());
                        peer.insert("summary".into(), line.into());
                        peer
                    })
                    .collect();
                device.insert("peers".into(), json!(peers));
                device.insert("interrupted".into(), torn.into());
                device
            },
        )
        .map(Value::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_764_203_000_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    fn line(peer: Value) -> String {
        peer_line(peer.as_object().unwrap(), "wg0", &Clock::at(NOW))
    }

    #[test]
    fn up() {
        let session = json!({"age": 63, "side": "initiator", "usable": true});
        assert_eq!(
            line(
                json!({"session": session, "endpoint": "10.0.0.2:51821", "staged": 0, "roamed": 2, "auto-mtu": 1, "path-mtu": 1420, "last-handshake": NOW})
            ),
            "up since 00:22:17 (1 min 3 s), begun here; endpoint 10.0.0.2:51821; roamed 2×; mtu auto, 1420 bytes fit"
        );
        // An old failure is none.
        let failure = json!({"time": NOW - 200 * SECOND, "reason": "no-answer"});
        assert!(!line(
            json!({"session": session, "failure": failure, "last-handshake": NOW - 63 * SECOND})
        )
        .contains("no-answer"));
        let failure = json!({"time": NOW - 2 * SECOND, "reason": "no-answer"});
        let said = line(
            json!({"session": session, "failure": failure, "initiations": 2, "last-handshake": NOW - 63 * SECOND}),
        );
        assert!(
            said.starts_with("up since")
                && said.contains("renewing it fails: no-answer (it is down")
                && said.contains("2 s ago, tried again"),
            "{said}"
        );
    }

    #[test]
    fn why_not() {
        let failure = json!({"time": NOW - 7 * SECOND, "reason": "no-answer", "gave-up": true});
        let said = line(json!({"failure": failure, "staged": 1, "endpoint": "10.0.0.2:1"}));
        assert_eq!(
            said,
            "down: no-answer (it is down, or knows another public key of ours than we have, or a firewall is in between) 7 s ago, given up until there is \
             something to send; no handshake yet; endpoint 10.0.0.2:1; 1 packet waits for a session"
        );
        let failure = json!({"time": NOW, "reason": "no-route"});
        assert!(line(json!({"failure": failure, "endpoint": "[fd00::2]:9"}))
            .contains("ip route get fd00::2"));
        assert_eq!(
            line(json!({"initiations": 1})),
            "calling: 1 initiation sent, no answer so far; no handshake yet"
        );
        assert!(line(json!({"initiations": 0})).contains("put off"));
        let old = json!({"session": {"age": 400, "side": "responder"}, "last-handshake": NOW - 400 * SECOND});
        assert_eq!(
            line(old),
            "idle: last handshake 6 min 40 s ago, the next packet begins one"
        );
        assert!(line(json!({})).starts_with("new: no endpoint"));
        assert!(line(json!({"endpoint": "1.2.3.4:5"})).starts_with("new: nothing sent"));
        assert!(line(json!({"unconfirmed": true})).contains("compare the preshared keys"));
        // Of a newer module.
        assert!(line(json!({"failure": {"time": NOW, "reason": 77}})).contains("down: 77 0 s ago"));
    }

    /// Nobody is left with a bare word.
    #[test]
    fn advice_for_each() {
        for failure in ENUM_FAILURE {
            let said = advice(failure.name, "wg0", None).unwrap();
            assert_ne!(
                said, failure.doc,
                "{} has no advice of its own",
                failure.name
            );
        }
        assert_eq!(advice("12", "wg0", None), None);
    }

    #[test]
    fn devices() {
        let device = |drops: Value| Device {
            device: json!({
                "ifname": "wg0", "ifindex": 3, "local-gso": 1, "copy-dscp": 1, "drops": drops,
                "bind-ifindex": 7, "bind-ipv4": "10.0.0.1"
            })
            .as_object()
            .unwrap()
            .clone(),
            peers: vec![json!({"public-key": "AAAA=", "initiations": 2})
                .as_object()
                .unwrap()
                .clone()],
            torn: false,
        };
        let clock = Clock::at(NOW);
        let said = text(
            &[device(
                json!({"rx-auth": 3, "rx-type": 0, "attribute-99": "ff"}),
            )],
            &clock,
        );
        assert_eq!(
            said,
            "wg0: 1 peer, 0 up, local-gso on, copy-dscp on, bound to a device that is gone ('wgrs bind' to another) addr 10.0.0.1\n  AAAA= calling: 2 initiations sent, no answer so far; no handshake yet\n  dropped ff attribute-99\n  \
             dropped 3 rx-auth: The tag is wrong.\n"
        );
        let said = json(vec![device(json!({}))], &clock);
        assert_eq!(
            (&said[0]["peers"][0]["state"], &said[0]["interrupted"]),
            (&json!("calling"), &json!(false))
        );
        assert_eq!(text(&[], &clock), "");
    }
}
