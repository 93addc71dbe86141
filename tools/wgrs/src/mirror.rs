// SPDX-License-Identifier: GPL-2.0
//! What events have told so far, so that a dump can tell what lost events would have.
//!
//! An interface is known by its index, which no other one has after it; names change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::netlink::Device;
use crate::wire::{Contents, Look};

/// A peer's number, and where it is.
type Peer = (u64, Option<String>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Interface {
    name: String,
    /// What happened up to this generation is known from the dump.
    known: Option<u32>,
    peers: BTreeMap<String, Peer>,
}

/// Interfaces with their peers.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    interfaces: BTreeMap<u64, Interface>,
    /// Those that a dump has not got any more: what is still heard of them is old.
    gone: BTreeSet<u64>,
}

/// An event: its name, and what is in it.
pub type Event = (String, Contents);

impl Mirror {
    /// Of a dump.
    pub fn of(devices: &[Device]) -> Self {
        let interface = |d: &Device| {
            // That of the peers is of the moment of the peers.
            let generation = d.peers.first().unwrap_or(&d.device).number("generation");
            Interface {
                name: d.device.word("ifname").unwrap_or_default(),
                known: generation.map(|g| g as u32),
                peers: d.peers.iter().filter_map(peer).collect(),
            }
        };
        let interfaces = devices
            .iter()
            .filter_map(|d| Some((d.device.number("ifindex")?, interface(d))))
            .collect();
        Self {
            interfaces,
            gone: BTreeSet::new(),
        }
    }

    /// Takes an event in; `false`: the dump has told of it already.
    pub fn apply(&mut self, name: &str, event: &Contents) -> bool {
        let Some(index) = event.number("ifindex") else {
            return true;
        };
        if self.gone.contains(&index) {
            return false;
        }
        match name {
            "device-removed" => return self.interfaces.remove(&index).is_some(),
            "device-added" if self.interfaces.contains_key(&index) => return false,
            _ => {}
        }
        let configured = matches!(name, "peer-added" | "peer-changed" | "peer-removed");
        // Sessions may be told of after their interface has gone.
        if !configured && name != "device-added" && !self.interfaces.contains_key(&index) {
            return true;
        }
        let interface = self.interfaces.entry(index).or_default();
        if let Some(name) = event.word("ifname") {
            interface.name = name;
        }
        if configured {
            let Some(generation) = event.number("generation").map(|g| g as u32) else {
                return true;
            };
            if interface
                .known
                .is_some_and(|known| generation.wrapping_sub(known) as i32 <= 0)
            {
                return false;
            }
            // The events of one request have the same one; it wraps around.
            interface.known = Some(generation.wrapping_sub(1));
        }
        let Some((key, told)) = peer(event) else {
            return true;
        };
        match name {
            "peer-removed" => {
                interface.peers.remove(&key);
            }
            "peer-added" | "peer-changed" => {
                interface.peers.insert(key, told);
            }
            _ => {
                // What happens beside the configuration may be of a peer that is not there yet, or not any more.
                if let Some(there) = interface
                    .peers
                    .get_mut(&key)
                    .filter(|p| p.0 == told.0 && told.1.is_some())
                {
                    *there = told;
                }
            }
        }
        true
    }

    /// Takes the place of what events have told; these events would have made the one of the other.
    pub fn replace(&mut self, fresh: Self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut tell =
            |name: &str, index: u64, interface: &Interface, peer: Option<(&String, &Peer)>| {
                let mut event = Contents::new();
                event.insert("ifindex".into(), index.into());
                event.insert("ifname".into(), interface.name.clone().into());
                event.extend(interface.known.map(|g| ("generation".into(), g.into())));
                if let Some((key, (id, endpoint))) = peer {
                    event.insert("public-key".into(), key.clone().into());
                    event.insert("id".into(), (*id).into());
                    event.extend(
                        endpoint
                            .clone()
                            .map(|e| ("endpoint".into(), Value::from(e))),
                    );
                }
                events.push((name.into(), event));
            };
        for (index, old) in &self.interfaces {
            let Some(new) = fresh.interfaces.get(index) else {
                tell("device-removed", *index, old, None);
                continue;
            };
            for (key, peer) in &old.peers {
                if new.peers.get(key).is_none_or(|p| p.0 != peer.0) {
                    tell("peer-removed", *index, new, Some((key, peer)));
                }
            }
        }
        for (index, new) in &fresh.interfaces {
            let old = self.interfaces.get(index);
            if old.is_none() {
                tell("device-added", *index, new, None);
            }
            for (key, peer) in &new.peers {
                match old.and_then(|o| o.peers.get(key)) {
                    Some(there) if there == peer => {}
                    Some(there) if there.0 == peer.0 => {
                        tell("peer-changed", *index, new, Some((key, peer)))
                    }
                    _ => tell("peer-added", *index, new, Some((key, peer))),
                }
            }
        }
        self.gone.extend(
            self.interfaces
                .keys()
                .filter(|i| !fresh.interfaces.contains_key(i)),
        );
        self.interfaces = fresh.interfaces;
        events
    }

    /// What was told before the last dump has all been heard. An interface that went to another
    /// namespace, of which nothing is told, may come back.
    pub fn settle(&mut self) {
        self.gone.clear();
    }

    #[cfg(test)]
    fn peers(&self) -> Vec<(u64, &String, &Peer)> {
        self.interfaces
            .iter()
            .flat_map(|(i, d)| d.peers.iter().map(|(k, p)| (*i, k, p)))
            .collect()
    }
}

fn peer(contents: &Contents) -> Option<(String, Peer)> {
    Some((
        contents.word("public-key")?,
        (contents.number("id")?, contents.word("endpoint")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event(index: u32, generation: u32, peer: Option<(u8, u64, Option<u8>)>) -> Contents {
        let mut event =
            json!({"ifindex": index, "ifname": format!("wg{index}"), "generation": generation})
                .as_object()
                .unwrap()
                .clone();
        if let Some((key, id, endpoint)) = peer {
            event.insert("public-key".into(), key.to_string().into());
            event.insert("id".into(), id.into());
            event.extend(endpoint.map(|e| ("endpoint".into(), Value::from(e.to_string()))));
        }
        event
    }

    /// A generation, and peers by key: number, endpoint.
    type Configured = (u32, BTreeMap<u8, (u64, Option<u8>)>);

    /// The kernel's side: it makes events of what is done to it, and dumps.
    #[derive(Default)]
    struct Kernel {
        devices: BTreeMap<u32, Configured>,
        ids: u64,
        indices: u32,
    }

    impl Kernel {
        fn act(&mut self, (what, which, key): (u8, u8, u8)) -> Vec<Event> {
            let known: Vec<u32> = self.devices.keys().copied().collect();
            let Some(index) = (!known.is_empty())
                .then(|| known[which as usize % known.len()])
                .filter(|_| what > 0)
            else {
                self.indices += 1;
                // Where it wraps around.
                let generation = u32::MAX - 3;
                self.devices
                    .insert(self.indices, (generation, BTreeMap::new()));
                return vec![("device-added".into(), event(self.indices, generation, None))];
            };
            if what == 1 {
                let (generation, _) = self.devices.remove(&index).unwrap();
                return vec![("device-removed".into(), event(index, generation, None))];
            }
            let (generation, peers) = self.devices.get_mut(&index).unwrap();
            *generation = generation.wrapping_add(1);
            let told = |name: &str, key, (id, endpoint)| {
                (
                    name.to_string(),
                    event(index, *generation, Some((key, id, endpoint))),
                )
            };
            match what {
                2 => {
                    // Replace all by one.
                    let mut events: Vec<_> = std::mem::take(peers)
                        .into_iter()
                        .map(|(k, p)| told("peer-removed", k, p))
                        .collect();
                    self.ids += 1;
                    peers.insert(key, (self.ids, None));
                    events.push(told("peer-added", key, (self.ids, None)));
                    events
                }
                3 => peers
                    .remove(&key)
                    .map(|p| told("peer-removed", key, p))
                    .into_iter()
                    .collect(),
                _ => match peers.get_mut(&key) {
                    Some(peer) => {
                        peer.1 = Some(what);
                        vec![told("peer-changed", key, *peer)]
                    }
                    None => {
                        self.ids += 1;
                        peers.insert(key, (self.ids, Some(what)));
                        vec![told("peer-added", key, (self.ids, Some(what)))]
                    }
                },
            }
        }

        fn dump(&self) -> Vec<Device> {
            let device = |(i, (g, peers)): (&u32, &Configured)| Device {
                device: event(*i, *g, None),
                peers: peers
                    .iter()
                    .map(|(k, p)| event(*i, *g, Some((*k, p.0, p.1))))
                    .collect(),
                torn: false,
            };
            self.devices.iter().map(device).collect()
        }
    }

    fn acts(most: usize) -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
        prop::collection::vec((0..8u8, 0..4u8, 0..6u8), 0..most)
    }

    proptest! {
        /// Some events are heard, some lost; some that the dump has told of come after it. What is told,
        /// one after another, always makes the state that the kernel has.
        #[test]
        fn as_the_kernel_has_it(rounds in prop::collection::vec((acts(12), acts(12), acts(12), acts(12)), 1..4)) {
            let (mut kernel, mut mirror, mut reader) = (Kernel::default(), Mirror::default(), Mirror::default());
            mirror.replace(Mirror::of(&kernel.dump()));
            for (heard, lost, late, after) in rounds {
                let said: Vec<_> = heard.into_iter().flat_map(|a| kernel.act(a)).collect();
                for (name, event) in said {
                    prop_assert!(mirror.apply(&name, &event));
                    reader.apply(&name, &event);
                }
                lost.into_iter().for_each(|a| drop(kernel.act(a)));
                let late: Vec<_> = late.into_iter().flat_map(|a| kernel.act(a)).collect();
                let known: Vec<_> = mirror.interfaces.keys().copied().collect();
                for (name, mut event) in mirror.replace(Mirror::of(&kernel.dump())) {
                    // A reader has no dump to compare with: it takes what it is told.
                    event.remove("generation");
                    reader.take(&name, &event);
                }
                let state = format!("{:?}", mirror.peers());
                for (name, event) in late {
                    let index = event.number("ifindex").unwrap();
                    // It came and went meanwhile.
                    let unheard = !known.contains(&index) && !kernel.devices.contains_key(&(index as u32));
                    if mirror.apply(&name, &event) {
                        prop_assert!(unheard, "told twice: {}", name);
                        reader.take(&name, &event);
                    }
                }
                mirror.settle();
                prop_assert_eq!(format!("{:?}", mirror.peers()), state);
                let said: Vec<_> = after.into_iter().flat_map(|a| kernel.act(a)).collect();
                for (name, event) in said {
                    prop_assert!(mirror.apply(&name, &event));
                    reader.take(&name, &event);
                }
                let fresh = Mirror::of(&kernel.dump());
                prop_assert_eq!(mirror.peers(), fresh.peers());
                prop_assert_eq!(reader.peers(), fresh.peers());
                prop_assert_eq!(mirror.interfaces.keys().collect::<Vec<_>>(), fresh.interfaces.keys().collect::<Vec<_>>());
            }
        }
    }

    impl Mirror {
        /// As somebody would who only reads.
        fn take(&mut self, name: &str, event: &Contents) {
            let index = event.number("ifindex").unwrap();
            match (name, peer(event)) {
                ("device-removed", _) => drop(self.interfaces.remove(&index)),
                ("peer-removed", Some((key, _))) => {
                    drop(self.interfaces.entry(index).or_default().peers.remove(&key))
                }
                (_, Some((key, told))) => drop(
                    self.interfaces
                        .entry(index)
                        .or_default()
                        .peers
                        .insert(key, told),
                ),
                _ => drop(self.interfaces.entry(index).or_default()),
            }
        }
    }

    #[test]
    fn beside_the_configuration() {
        let mut mirror = Mirror::default();
        assert!(mirror.apply("device-added", &event(1, 5, None)));
        // The first session before the peer.
        assert!(mirror.apply("session-established", &event(1, 6, Some((1, 10, Some(7))))));
        assert!(mirror.peers().is_empty());
        assert!(mirror.apply("peer-added", &event(1, 6, Some((1, 10, None)))));
        assert!(mirror.apply("session-established", &event(1, 6, Some((1, 10, Some(7))))));
        assert_eq!(mirror.peers(), [(1, &"1".into(), &(10, Some("7".into())))]);
        assert!(mirror.apply("endpoint-changed", &event(1, 6, Some((1, 10, Some(9))))));
        assert_eq!(mirror.peers()[0].2, &(10, Some("9".into())));
        assert!(mirror.apply("endpoint-changed", &event(1, 6, Some((1, 10, Some(7))))));
        assert!(mirror.apply("session-expired", &event(1, 6, Some((1, 10, Some(7))))));
        // Of a peer that had the key before.
        assert!(mirror.apply("session-established", &event(1, 6, Some((1, 9, Some(8))))));
        assert_eq!(mirror.peers()[0].2, &(10, Some("7".into())));
        assert!(mirror.apply("device-removed", &event(1, 7, None)));
        assert!(mirror.apply("session-established", &event(1, 7, Some((1, 10, Some(7))))));
        assert!(
            !mirror.apply("device-removed", &event(1, 7, None)) && mirror.interfaces.is_empty()
        );
        // What nobody knows yet.
        assert!(mirror.apply("event-200", &Contents::new()));
    }
}
