// SPDX-License-Identifier: GPL-2.0
//! The family as its specification has it (build.rs), and looking things up in it.

/// A value of an enumeration.
pub struct Named {
    /// On the wire.
    pub number: u64,
    /// In the specification.
    pub name: &'static str,
    /// What it says there.
    pub doc: &'static str,
}

/// What an attribute holds.
pub enum Kind {
    /// An unsigned integer of 1, 2, 4 or 8 bytes.
    Number,
    /// With or without a zero at its end.
    Text,
    /// Being there is all it says.
    Flag,
    /// A WireGuard key.
    Key,
    /// `struct sockaddr_in` or `sockaddr_in6`.
    Address,
    /// An IPv4 or IPv6 address by itself.
    Host,
    /// Anything else; the specification has nothing of that kind so far.
    #[allow(dead_code)]
    Bytes,
    /// Attributes of another set.
    Nest(&'static Set),
}

/// An attribute of a set.
pub struct Attribute {
    /// On the wire.
    pub number: u16,
    /// In the specification.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Names of its values; none, if it is no enumeration.
    pub values: &'static [Named],
    /// What the specification says about it.
    pub doc: &'static str,
}

/// A set of attributes.
pub struct Set(pub &'static [Attribute]);

impl Set {
    /// The attribute of that number.
    pub fn numbered(&self, number: u16) -> Option<&'static Attribute> {
        self.0.iter().find(|a| a.number == number)
    }

    /// The attribute of that name.
    pub fn named(&self, name: &str) -> Option<&'static Attribute> {
        self.0.iter().find(|a| a.name == name)
    }
}

/// A request, or an event.
pub struct Operation {
    /// On the wire.
    pub number: u8,
    /// In the specification.
    pub name: &'static str,
    /// Its attributes.
    pub set: &'static Set,
    /// Whether it comes by itself.
    pub event: bool,
}

include!(concat!(env!("OUT_DIR"), "/family.rs"));

/// The operation of that name, which the specification has.
pub fn operation(name: &str) -> &'static Operation {
    OPERATIONS
        .iter()
        .find(|o| o.name == name)
        .expect("an operation of the specification")
}

/// The event of that number.
pub fn event(number: u8) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|o| o.number == number && o.event)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are forever: what tells them apart from the specification's, if build.rs miscounts.
    #[test]
    fn numbers() {
        assert_eq!((FAMILY, VERSION, GROUP), ("wireguard_rs", 1, "events"));
        assert_eq!(
            (
                operation("device-get").number,
                operation("peer-get").number,
                operation("device-set").number
            ),
            (1, 2, 11)
        );
        assert_eq!(event(9).unwrap().name, "session-established");
        assert_eq!(event(15).unwrap().name, "endpoint-changed");
        assert_eq!(event(17).unwrap().name, "session-expired");
        assert!(event(1).is_none() && event(11).is_none() && event(250).is_none());
        assert_eq!(SET_DEVICE.named("local-gso").unwrap().number, 6);
        assert_eq!(SET_PEER.named("roamed").unwrap().number, 20);
        assert_eq!(SET_DROPS.numbered(1).unwrap().name, "rx-header");
        assert_eq!(
            (ENUM_FAILURE[0].number, ENUM_FAILURE[0].name),
            (1, "no-answer")
        );
        assert!(ENUM_FAILURE.iter().all(|f| !f.doc.is_empty()));
        assert!(SET_DROPS
            .0
            .iter()
            .all(|d| !d.doc.is_empty() && matches!(d.kind, Kind::Number)));
    }
}
