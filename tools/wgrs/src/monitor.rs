// SPDX-License-Identifier: GPL-2.0
//! `wgrs monitor`: a line for each event, also for those that were lost.

use std::io::Write;

use serde_json::Value;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::mirror::{Event, Mirror};
use crate::netlink::{Ears, Family, Heard, GONE};
use crate::schema;
use crate::show::reason;
use crate::wire::{self, plain, Contents, Look};

/// How often a dump is tried again before it is said that it takes long.
const ATTEMPTS: u32 = 20;

/// What is to be printed, and where.
pub struct Monitor<'a, W> {
    /// Flushed after each line.
    pub out: W,
    /// One object a line, or a line for people.
    pub json: bool,
    /// Only what happens to the interface that is called so then.
    pub interface: Option<&'a str>,
    /// Begin with what is there.
    pub initial: bool,
    /// Bytes that events may take that are not read yet.
    pub room: usize,
}

/// An event by its name; one that is not known by its number.
pub fn decode(number: u8, attributes: &[u8]) -> Event {
    match schema::event(number) {
        Some(event) => (event.name.into(), wire::contents(attributes, event.set)),
        // Its attributes may be of any set; the interface is the same in all.
        None => (
            format!("event-{number}"),
            wire::contents(attributes, &schema::SET_DEVICE),
        ),
    }
}

/// For people.
pub fn line(name: &str, event: &Contents, recovered: bool, clock: &Clock) -> String {
    let interface = event.word("ifname").unwrap_or_default();
    let mut said = vec![clock.show_now(), interface.clone()];
    said.extend(event.word("public-key"));
    said.push(name.into());
    let endpoint = event.word("endpoint");
    for (attribute, value) in event {
        match attribute.as_str() {
            "ifname" | "ifindex" | "public-key" => {}
            "reason" => said.push(format!(
                "reason={}",
                reason(&plain(value), &interface, endpoint.as_deref())
            )),
            _ => said.push(format!("{attribute}={}", plain(value))),
        }
    }
    if recovered {
        said.push("(lost, found by asking)".into());
    }
    said.retain(|s| !s.is_empty());
    said.join(" ")
}

/// For programs.
pub fn object(name: &str, event: &Contents, recovered: bool, clock: &Clock) -> Value {
    let mut event = event.clone();
    event.insert("event".into(), name.into());
    event.insert("time".into(), clock.rfc3339().into());
    if recovered {
        event.insert("recovered".into(), true.into());
    }
    event.into()
}

/// What the command says of its own, for programs or for people.
pub fn note(name: &str, words: &[(&str, &str)], json: bool, clock: &Clock) -> String {
    if json {
        let words = words.iter().map(|(k, v)| (k.to_string(), (*v).into()));
        object(name, &words.collect(), false, clock).to_string()
    } else {
        let words: Vec<_> = words.iter().map(|(_, v)| format!(": {v}")).collect();
        format!("{} # {name}{}", clock.show_now(), words.concat())
    }
}

impl<W: Write> Monitor<'_, W> {
    /// Prints for ever.
    pub fn run(&mut self, family: &mut Family) -> Result<(), Failure> {
        let ears = family.listen(self.room)?;
        let mut mirror = Mirror::default();
        // Listening first: nothing is between the two.
        let found = mirror.replace(snapshot(family)?);
        for (name, event) in if self.initial { found } else { Vec::new() } {
            self.say(&name, &event, false)?;
        }
        self.note("listening", &[])?;
        // Whether there may be what was told before the last dump.
        let mut behind = true;
        loop {
            match ears.hear(!behind)? {
                Heard::Events(events) => self.events(&mut mirror, events)?,
                Heard::Nothing => {
                    mirror.settle();
                    behind = false;
                }
                Heard::Overrun => {
                    self.catch_up(family, &ears, &mut mirror)?;
                    behind = true;
                }
            }
        }
    }

    fn events(&mut self, mirror: &mut Mirror, events: Vec<(u8, Vec<u8>)>) -> Result<(), Failure> {
        for (number, attributes) in events {
            if number == GONE {
                self.note("module-unloaded", &[])?;
                return Err(Failure::NoDriver);
            }
            let (name, event) = decode(number, &attributes);
            if mirror.apply(&name, &event) {
                self.say(&name, &event, false)?;
            }
        }
        Ok(())
    }

    /// After events were lost: what is left of them, then what a dump shows that none has told.
    fn catch_up(
        &mut self,
        family: &mut Family,
        ears: &Ears,
        mirror: &mut Mirror,
    ) -> Result<(), Failure> {
        self.note(
            "overrun",
            &[("meaning", "events were lost; what they changed follows")],
        )?;
        loop {
            match ears.hear(false)? {
                Heard::Events(events) => self.events(mirror, events)?,
                Heard::Overrun => {}
                Heard::Nothing => break,
            }
        }
        let fresh = snapshot(family)?;
        for (name, event) in mirror.replace(fresh) {
            self.say(&name, &event, true)?;
        }
        self.note("recovered", &[])
    }

    /// Prints an event, if it is about who is asked about.
    fn say(&mut self, name: &str, event: &Contents, recovered: bool) -> Result<(), Failure> {
        if self
            .interface
            .is_some_and(|i| event.word("ifname").is_some_and(|n| n != i))
        {
            return Ok(());
        }
        let clock = Clock::now();
        if self.json {
            self.print(&object(name, event, recovered, &clock).to_string())
        } else {
            self.print(&line(name, event, recovered, &clock))
        }
    }

    /// Says something of its own.
    fn note(&mut self, name: &str, words: &[(&str, &str)]) -> Result<(), Failure> {
        self.print(&note(name, words, self.json, &Clock::now()))
    }

    fn print(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "{line}")
            .and_then(|()| self.out.flush())
            .map_err(|e| Failure::System("printing", e))
    }
}

/// All of the namespace, of one moment each.
fn snapshot(family: &mut Family) -> Result<Mirror, Failure> {
    loop {
        let devices = family.devices(None, ATTEMPTS)?;
        let Some(torn) = devices.iter().find(|d| d.torn) else {
            return Ok(Mirror::of(&devices));
        };
        let name = torn.device.word("ifname").unwrap_or_default();
        eprintln!("wgrs: the peers of {name} change faster than they can be read; trying again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(value: Value) -> Contents {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn lines() {
        let clock = Clock::at(1_764_203_000_000_000_000);
        let given_up = event(
            json!({"ifname": "wg0", "ifindex": 3, "public-key": "AAA=", "id": 4, "reason": "bad-answer"}),
        );
        assert_eq!(
            line("handshake-given-up", &given_up, false, &clock),
            "00:23:20 wg0 AAA= handshake-given-up id=4 reason=bad-answer (compare the preshared keys of both sides)"
        );
        let moved = event(
            json!({"ifname": "wg0", "ifindex": 3, "public-key": "AAA=", "id": 4, "endpoint": "10.0.0.1:9", "generation": 7}),
        );
        assert_eq!(
            line("endpoint-changed", &moved, false, &clock),
            "00:23:20 wg0 AAA= endpoint-changed endpoint=10.0.0.1:9 generation=7 id=4"
        );
        assert_eq!(
            line(
                "peer-removed",
                &event(json!({"ifname": "wg0", "public-key": "AAA="})),
                true,
                &clock
            ),
            "00:23:20 wg0 AAA= peer-removed (lost, found by asking)"
        );
        assert_eq!(
            object(
                "device-added",
                &event(json!({"ifindex": 3, "cause": "interface"})),
                true,
                &clock
            )
            .to_string(),
            r#"{"cause":"interface","event":"device-added","ifindex":3,"recovered":true,"time":"2025-11-27T00:23:20.000000Z"}"#
        );
    }

    #[test]
    fn of_a_newer_module() {
        let (name, event) = decode(99, &[8, 0, 1, 0, 7, 0, 0, 0, 5, 0, 99, 0, 1, 0, 0, 0]);
        assert_eq!(
            (name.as_str(), Value::from(event)),
            ("event-99", json!({"ifindex": 7, "attribute-99": "01"}))
        );
        // No request is an event.
        assert_eq!(decode(2, &[]).0, "event-2");
    }

    /// Events of another interface are not printed, but known.
    #[test]
    fn one_interface() {
        let mut monitor = Monitor {
            out: Vec::new(),
            json: true,
            interface: Some("wg0"),
            initial: false,
            room: 0,
        };
        monitor
            .say("device-added", &event(json!({"ifname": "wg1"})), false)
            .unwrap();
        monitor
            .say("device-added", &event(json!({"ifname": "wg0"})), false)
            .unwrap();
        monitor.note("overrun", &[("meaning", "lost")]).unwrap();
        let said: Vec<Value> = monitor
            .out
            .split(|b| *b == b'\n')
            .filter_map(|l| serde_json::from_slice(l).ok())
            .collect();
        assert_eq!(
            (said.len(), &said[0]["ifname"], &said[1]["event"]),
            (2, &json!("wg0"), &json!("overrun"))
        );
    }
}
