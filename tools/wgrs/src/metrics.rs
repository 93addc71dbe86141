// SPDX-License-Identifier: GPL-2.0
//! `wgrs metrics`: OpenMetrics, and of that what the older text format of Prometheus also understands,
//! as node_exporter's textfile collector reads that one.

use std::fmt::Write;

use crate::netlink::Device;
use crate::show::State;
use crate::wire::{Contents, Look};

const PREFIX: &str = "wireguard_rs_";

/// A family of metrics, as it grows.
struct Metric {
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
    samples: String,
}

impl Metric {
    const fn new(
        name: &'static str,
        kind: &'static str,
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            unit,
            help,
            samples: String::new(),
        }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let total = if self.kind == "counter" { "_total" } else { "" };
        let labels: Vec<_> = labels
            .iter()
            .map(|(k, v)| format!("{k}=\"{}\"", escaped(v)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.samples, "{PREFIX}{}{total}{labels} {value}", self.name);
    }

    fn print(self, out: &mut String) {
        let Self {
            name,
            kind,
            unit,
            help,
            samples,
        } = self;
        // Nothing is said about nothing.
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(out, "# TYPE {PREFIX}{name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(out, "# UNIT {PREFIX}{name} {unit}");
        }
        let _ = write!(out, "# HELP {PREFIX}{name} {help}\n{samples}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Nanoseconds as seconds, to the digit.
fn seconds(nanoseconds: u64) -> String {
    format!(
        "{}.{:09}",
        nanoseconds / 1_000_000_000,
        nanoseconds % 1_000_000_000
    )
}

/// The counters of something that was dropped, by reason.
fn drops(of: &Contents) -> impl Iterator<Item = (&String, u64)> {
    let reasons = of.nest("drops").into_iter().flatten();
    reasons.filter_map(|(reason, n)| Some((reason, n.as_u64()?)))
}

/// All of it.
pub fn text(devices: &[Device]) -> String {
    // Always there: that the command ran is worth a line.
    let mut interfaces = Metric::new("interfaces", "gauge", "", "WireGuard interfaces.");
    interfaces.add(&[], devices.len());
    let mut dropped = Metric::new(
        "dropped_packets",
        "counter",
        "packets",
        "Packets and messages given up, by reason.",
    );
    let mut local_gso = Metric::new("local_gso", "gauge", "", "Whether local-gso is on.");
    let mut copy_dscp = Metric::new("copy_dscp", "gauge", "", "Whether copy-dscp is on.");
    let mut peers_of = Metric::new(
        "peers",
        "gauge",
        "",
        "Peers by state, which is that of 'wgrs show'.",
    );
    let mut up = Metric::new(
        "peer_up",
        "gauge",
        "",
        "Whether there is a session to send with.",
    );
    let mut age = Metric::new(
        "peer_session_age_seconds",
        "gauge",
        "seconds",
        "Since the session's keys were derived.",
    );
    let mut last = Metric::new(
        "peer_last_handshake_timestamp_seconds",
        "gauge",
        "seconds",
        "When the last handshake was completed.",
    );
    let mut failed = Metric::new(
        "peer_last_failure_timestamp_seconds",
        "gauge",
        "seconds",
        "When a handshake failed last, and why.",
    );
    let mut initiations = Metric::new(
        "peer_initiations",
        "gauge",
        "",
        "Initiations sent in a row without an answer.",
    );
    let mut sent = Metric::new(
        "peer_sent_bytes",
        "counter",
        "bytes",
        "Bytes of messages sent.",
    );
    let mut received = Metric::new(
        "peer_received_bytes",
        "counter",
        "bytes",
        "Bytes of authentic messages received.",
    );
    let mut staged = Metric::new(
        "peer_staged_packets",
        "gauge",
        "packets",
        "Packets that wait for a session.",
    );
    let mut queued = Metric::new(
        "peer_queued_packets",
        "gauge",
        "packets",
        "Messages in the peer's queues.",
    );
    let mut roamed = Metric::new(
        "peer_roamed",
        "counter",
        "",
        "How often it was heard from another address than before.",
    );

    let mut lost = Metric::new(
        "peer_dropped_packets",
        "counter",
        "packets",
        "Packets and messages of the peer given up, by reason.",
    );

    for Device { device, peers, .. } in devices {
        let name = device.word("ifname").unwrap_or_default();
        let interface = ("interface", name.as_str());
        for (reason, count) in drops(device) {
            dropped.add(&[interface, ("reason", reason)], count);
        }
        device
            .number("local-gso")
            .into_iter()
            .for_each(|on| local_gso.add(&[interface], on));
        device
            .number("copy-dscp")
            .into_iter()
            .for_each(|on| copy_dscp.add(&[interface], on));
        for state in [
            State::Up,
            State::Down,
            State::Calling,
            State::Idle,
            State::New,
        ] {
            let many = peers.iter().filter(|p| State::of(p) == state).count();
            peers_of.add(&[interface, ("state", state.word())], many);
        }
        for peer in peers {
            let key = peer.word("public-key").unwrap_or_default();
            let labels = [interface, ("public_key", key.as_str())];
            let none = Contents::new();
            up.add(&labels, u8::from(State::of(peer) == State::Up));
            initiations.add(&labels, peer.number("initiations").unwrap_or(0));
            let each = |metric: &mut Metric, name: &str| {
                peer.number(name)
                    .into_iter()
                    .for_each(|n| metric.add(&labels, n))
            };
            each(&mut sent, "tx-bytes");
            each(&mut received, "rx-bytes");
            each(&mut staged, "staged");
            each(&mut roamed, "roamed");
            for (direction, name) in [("sent", "tx-queued"), ("received", "rx-queued")] {
                let labels = [
                    interface,
                    ("public_key", key.as_str()),
                    ("direction", direction),
                ];
                peer.number(name)
                    .into_iter()
                    .for_each(|n| queued.add(&labels, n));
            }
            peer.nest("session")
                .unwrap_or(&none)
                .number("age")
                .into_iter()
                .for_each(|n| age.add(&labels, n));
            peer.number("last-handshake")
                .into_iter()
                .for_each(|n| last.add(&labels, seconds(n)));
            for (reason, count) in drops(peer) {
                let labels = [interface, ("public_key", key.as_str()), ("reason", reason)];
                lost.add(&labels, count);
            }
            let failure = peer.nest("failure").unwrap_or(&none);
            if let (Some(time), Some(reason)) = (failure.number("time"), failure.word("reason")) {
                failed.add(
                    &[interface, ("public_key", key.as_str()), ("reason", &reason)],
                    seconds(time),
                );
            }
        }
    }
    let mut out = String::new();
    for metric in [
        interfaces,
        dropped,
        local_gso,
        copy_dscp,
        peers_of,
        up,
        age,
        last,
        failed,
        initiations,
        sent,
        received,
        staged,
        queued,
        roamed,
        lost,
    ] {
        metric.print(&mut out);
    }
    out + "# EOF\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use openmetrics_parser::openmetrics;
    use serde_json::json;

    fn sample() -> String {
        let device = json!({"ifname": "we\"ird\\", "local-gso": 0, "copy-dscp": 1, "drops": {"rx-auth": 3, "attribute-99": "ff"}});
        let peer = json!({"public-key": "AA+/=", "tx-bytes": u64::MAX, "rx-bytes": 5, "staged": 2, "tx-queued": 1, "rx-queued": 0, "roamed": 4, "drops": {"rx-replay": 6},
            "session": {"age": 9, "usable": true}, "last-handshake": 1_764_203_000_000_000_001_u64,
            "failure": {"time": 1_000_000_000, "reason": "no-answer"}});
        let object = |v: serde_json::Value| v.as_object().unwrap().clone();
        text(&[Device {
            device: object(device),
            peers: vec![object(peer), object(json!({"public-key": "BB="}))],
            torn: false,
        }])
    }

    #[test]
    fn what_it_says() {
        let said = sample();
        for line in [
            r#"wireguard_rs_dropped_packets_total{interface="we\"ird\\",reason="rx-auth"} 3"#,
            r#"wireguard_rs_peers{interface="we\"ird\\",state="up"} 1"#,
            r#"wireguard_rs_peers{interface="we\"ird\\",state="new"} 1"#,
            r#"wireguard_rs_peer_sent_bytes_total{interface="we\"ird\\",public_key="AA+/="} 18446744073709551615"#,
            r#"wireguard_rs_peer_last_handshake_timestamp_seconds{interface="we\"ird\\",public_key="AA+/="} 1764203000.000000001"#,
            r#"wireguard_rs_peer_last_failure_timestamp_seconds{interface="we\"ird\\",public_key="AA+/=",reason="no-answer"} 1.000000000"#,
            r#"wireguard_rs_peer_dropped_packets_total{interface="we\"ird\\",public_key="AA+/=",reason="rx-replay"} 6"#,
            r#"wireguard_rs_peer_up{interface="we\"ird\\",public_key="BB="} 0"#,
        ] {
            assert!(said.lines().any(|l| l == line), "{line} is not in\n{said}");
        }
        assert!(said.ends_with("\n# EOF\n") && !said.contains("attribute-99"));
    }

    /// Whom it is for reads it, also with nothing to tell.
    #[test]
    fn is_read() {
        for said in [sample(), text(&[])] {
            openmetrics::parse_openmetrics(&said).unwrap_or_else(|e| panic!("{e}\n{said}"));
        }
        let read = openmetrics::parse_openmetrics(&sample()).unwrap();
        assert_eq!(read.families.len(), 16);
        // The older format has no other types than these in common with this one.
        let said = sample();
        assert!(said
            .lines()
            .filter(|l| l.starts_with("# TYPE"))
            .all(|l| l.ends_with(" counter") || l.ends_with(" gauge")));
    }
}
