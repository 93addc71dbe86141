// SPDX-License-Identifier: GPL-2.0
//! Bytes of netlink: requests into them, answers and attributes out of them. Pure; whatever the bytes
//! are, nothing panics, and what is not understood is passed on as it is.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use base64::prelude::{Engine, BASE64_STANDARD};
use netlink_packet_core::{DefaultNla, Emitable, NetlinkBuffer, NetlinkHeader, Nla, NlasIterator};
use serde_json::{Map, Value};

use crate::schema::{Attribute, Kind, Set};

/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`.
pub const REQUEST: u16 = 1;
/// An answer is wanted in any case.
pub const ACK: u16 = 4;
/// All there is.
pub const DUMP: u16 = 0x300;
const DUMP_INTR: u16 = 0x10;
const ACK_TLVS: u16 = 0x200;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Attributes by their names.
pub type Contents = Map<String, Value>;

/// A request: what netlink and generic netlink put in front, and attributes.
pub fn request(
    family: u16,
    flags: u16,
    sequence: u32,
    command: u8,
    version: u8,
    attributes: &[impl Nla],
) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.length = (16 + 4 + attributes.buffer_len()) as u32;
    header.message_type = family;
    header.flags = flags;
    header.sequence_number = sequence;
    let mut out = vec![0; header.length as usize];
    header.emit(&mut out);
    out[16..18].copy_from_slice(&[command, version]);
    attributes.emit(&mut out[20..]);
    out
}

/// Attributes that hold bytes as they are.
pub fn list(attributes: &[(u16, &[u8])]) -> Vec<DefaultNla> {
    attributes
        .iter()
        .map(|(kind, value)| DefaultNla::new(*kind, value.to_vec()))
        .collect()
}

/// A message from the kernel.
#[derive(Debug, PartialEq)]
pub enum Reply<'a> {
    /// Attributes, of a message of a family.
    Data {
        /// Which family.
        family: u16,
        /// Which operation.
        command: u8,
        /// Not decoded.
        attributes: &'a [u8],
    },
    /// The end of what was asked for: 0 or an errno, and what the kernel says to it.
    End(i32, Option<String>),
}

/// A message, and what its header says.
#[derive(Debug, PartialEq)]
pub struct Message<'a> {
    /// Of the request that it answers; events have 0.
    pub sequence: u32,
    /// The dump is not of one moment.
    pub interrupted: bool,
    /// The rest.
    pub reply: Reply<'a>,
}

/// The messages in a datagram. Ends at what is none.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || loop {
        let message = NetlinkBuffer::new_checked(bytes).ok()?;
        let padded = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(padded..).unwrap_or(&[]);
        let (kind, flags, payload) = (message.message_type(), message.flags(), message.payload());
        let code = |p: &[u8]| {
            p.first_chunk()
                .map_or(0, |c| i32::from_ne_bytes(*c).saturating_neg())
        };
        let reply = match kind {
            NLMSG_ERROR => Reply::End(code(payload), said(flags, payload.get(20..))),
            NLMSG_DONE => Reply::End(code(payload), said(flags, payload.get(4..))),
            0..16 => continue,
            _ => match payload {
                [command, _, _, _, attributes @ ..] => Reply::Data {
                    family: kind,
                    command: *command,
                    attributes,
                },
                _ => continue,
            },
        };
        return Some(Message {
            sequence: message.sequence_number(),
            interrupted: flags & DUMP_INTR != 0,
            reply,
        });
    })
}

/// What an extended acknowledgement says in words (`NLMSGERR_ATTR_MSG`).
fn said(flags: u16, attributes: Option<&[u8]>) -> Option<String> {
    attributes
        .filter(|_| flags & ACK_TLVS != 0)
        .and_then(|a| find(a, 1))
        .map(text)
}

/// The value of an attribute.
pub fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    each(attributes)
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}

/// Attributes as they come; ends at what is none.
pub fn each(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .map(|a| {
            let (kind, length) = (a.kind(), a.length() as usize);
            (kind, &a.into_inner()[4..length])
        })
}

/// Attributes of a set, by their names; `attribute-N` is one that the specification has not got.
pub fn contents(attributes: &[u8], set: &Set) -> Contents {
    each(attributes)
        .map(|(number, bytes)| match set.numbered(number) {
            Some(attribute) => (attribute.name.to_string(), value(attribute, bytes)),
            None => (format!("attribute-{number}"), hex(bytes)),
        })
        .collect()
}

fn value(attribute: &Attribute, bytes: &[u8]) -> Value {
    match attribute.kind {
        Kind::Number => match number(bytes) {
            Some(n) => attribute
                .values
                .iter()
                .find(|v| v.number == n)
                .map_or(n.into(), |v| v.name.into()),
            None => hex(bytes),
        },
        Kind::Text => text(bytes).into(),
        Kind::Flag => true.into(),
        Kind::Key if bytes.len() == 32 => BASE64_STANDARD.encode(bytes).into(),
        Kind::Address => address(bytes).map_or_else(|| hex(bytes), |a| a.to_string().into()),
        Kind::Host => host(bytes).map_or_else(|| hex(bytes), |a| a.to_string().into()),
        Kind::Nest(set) => contents(bytes, set).into(),
        Kind::Key | Kind::Bytes => hex(bytes),
    }
}

/// A public key, as `wg` writes it.
pub fn key(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// Of 1, 2, 4 or 8 bytes, in the machine's order.
pub fn number(bytes: &[u8]) -> Option<u64> {
    Some(match bytes.len() {
        1 => bytes[0].into(),
        2 => u16::from_ne_bytes(bytes.try_into().ok()?).into(),
        4 => u32::from_ne_bytes(bytes.try_into().ok()?).into(),
        8 => u64::from_ne_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}

/// Up to the first zero; control characters are not for terminals.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end])
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn hex(bytes: &[u8]) -> Value {
    bytes
        .iter()
        .fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
        .into()
}

/// An address by itself.
fn host(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match (family, bytes.len()) {
        (2, 16) => {
            Some(SocketAddrV4::new(Ipv4Addr::from(*bytes[4..].first_chunk::<4>()?), port).into())
        }
        (10, 28) => {
            let scope = u32::from_ne_bytes(*bytes[24..].first_chunk()?);
            Some(
                SocketAddrV6::new(
                    Ipv6Addr::from(*bytes[8..].first_chunk::<16>()?),
                    port,
                    0,
                    scope,
                )
                .into(),
            )
        }
        _ => None,
    }
}

/// What is asked of contents everywhere.
pub trait Look {
    /// A number that is there.
    fn number(&self, name: &str) -> Option<u64>;
    /// A text, or the name of a value, or the number of one that has none.
    fn word(&self, name: &str) -> Option<String>;
    /// Attributes in an attribute.
    fn nest(&self, name: &str) -> Option<&Contents>;
}

impl Look for Contents {
    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }
    fn word(&self, name: &str) -> Option<String> {
        self.get(name).map(plain)
    }
    fn nest(&self, name: &str) -> Option<&Contents> {
        self.get(name)?.as_object()
    }
}

/// A value without quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{self, SET_DEVICE, SET_PEER};
    use proptest::prelude::*;
    use serde_json::json;

    fn peer(attributes: &[u8]) -> Value {
        contents(attributes, &SET_PEER).into()
    }

    #[test]
    fn both_ways() {
        let bytes = request(
            0x25,
            REQUEST | DUMP,
            7,
            2,
            1,
            &list(&[(2, b"wg0\0"), (3, &[9; 3])]),
        );
        assert_eq!(bytes.len() % 4, 0);
        let all: Vec<_> = messages(&bytes).collect();
        let [Message {
            sequence: 7,
            interrupted: false,
            reply:
                Reply::Data {
                    family: 0x25,
                    command: 2,
                    attributes,
                },
        }] = all.as_slice()
        else {
            panic!("{all:?}")
        };
        assert_eq!(
            each(attributes).collect::<Vec<_>>(),
            [(2, b"wg0\0".as_slice()), (3, &[9; 3])]
        );
    }

    #[test]
    fn kinds() {
        let attribute = |kind: u16, value: &[u8]| {
            let all = request(0, 0, 0, 0, 0, &list(&[(kind, value)]));
            all[20..].to_vec()
        };
        let number = |name| SET_PEER.named(name).unwrap().number;
        let v4 = [&2u16.to_ne_bytes()[..], &[0x12, 0x34, 10, 0, 0, 1], &[0; 8]].concat();
        let v6 = [
            &10u16.to_ne_bytes()[..],
            &[0, 9, 0, 0, 0, 0, 0xfe, 0x80],
            &[0; 13],
            &[1],
            &7u32.to_ne_bytes(),
        ]
        .concat();
        assert_eq!(
            peer(&attribute(number("endpoint"), &v4)),
            json!({"endpoint": "10.0.0.1:4660"})
        );
        assert_eq!(
            peer(&attribute(number("endpoint"), &v6)),
            json!({"endpoint": "[fe80::1%7]:9"})
        );
        assert_eq!(
            peer(&attribute(number("endpoint"), &[2, 0, 1])),
            json!({"endpoint": "020001"})
        );
        assert_eq!(
            peer(&attribute(number("public-key"), &[0; 32])),
            json!({"public-key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})
        );
        assert_eq!(
            peer(&attribute(number("public-key"), &[0; 2])),
            json!({"public-key": "0000"})
        );
        assert_eq!(
            peer(&attribute(number("side"), &2u32.to_ne_bytes())),
            json!({"side": "responder"})
        );
        // What a newer module says.
        assert_eq!(
            peer(&attribute(number("side"), &9u32.to_ne_bytes())),
            json!({"side": 9})
        );
        assert_eq!(peer(&attribute(999, b"x")), json!({"attribute-999": "78"}));
        // An integer is as long as it needs to be.
        assert_eq!(
            peer(&attribute(number("tx-bytes"), &5u32.to_ne_bytes())),
            json!({"tx-bytes": 5})
        );
        assert_eq!(
            peer(&attribute(number("tx-bytes"), &u64::MAX.to_ne_bytes())),
            json!({"tx-bytes": u64::MAX})
        );
        assert_eq!(
            peer(&attribute(number("tx-bytes"), &[1, 2, 3])),
            json!({"tx-bytes": "010203"})
        );
        assert_eq!(
            peer(&attribute(number("unconfirmed"), &[])),
            json!({"unconfirmed": true})
        );
        // No terminal is told anything by the name of an interface.
        assert_eq!(
            peer(&attribute(number("ifname"), b"a\x1b[2J\xff\0junk")),
            json!({"ifname": "a\u{fffd}[2J\u{fffd}"})
        );
    }

    #[test]
    fn ends() {
        let end = |kind: u16, flags: u16, payload: &[u8]| {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&(16 + payload.len() as u32).to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
            bytes.extend(payload);
            messages(&bytes)
                .map(|m| (m.interrupted, m.reply.to_owned_end()))
                .collect::<Vec<_>>()
        };
        let said = [&[0; 16][..], &[9, 0, 1, 0], b"why?\0\0\0\0"].concat();
        let error = [&(-19i32).to_ne_bytes()[..], &said].concat();
        assert_eq!(
            end(NLMSG_ERROR, ACK_TLVS, &error),
            [(false, (19, Some("why?".into())))]
        );
        assert_eq!(end(NLMSG_ERROR, 0, &error), [(false, (19, None))]);
        assert_eq!(
            end(NLMSG_DONE, DUMP_INTR, &0i32.to_ne_bytes()),
            [(true, (0, None))]
        );
        assert_eq!(
            end(NLMSG_DONE, 0, &(-19i32).to_ne_bytes()),
            [(false, (19, None))]
        );
        assert_eq!(end(NLMSG_DONE, 0, &[]), [(false, (0, None))]);
        assert_eq!(
            end(NLMSG_ERROR, 0, &i32::MIN.to_ne_bytes()),
            [(false, (i32::MAX, None))]
        );
        // NLMSG_NOOP.
        assert_eq!(end(1, 0, &[]), []);
    }

    impl Reply<'_> {
        fn to_owned_end(&self) -> (i32, Option<String>) {
            match self {
                Self::End(errno, said) => (*errno, said.clone()),
                Self::Data { .. } => panic!("not the end"),
            }
        }
    }

    /// Looks at all there is to look at.
    fn look(bytes: &[u8]) {
        for message in messages(bytes) {
            if let Reply::Data { attributes, .. } = message.reply {
                schema::OPERATIONS
                    .iter()
                    .for_each(|o| drop(contents(attributes, o.set)));
            }
        }
        schema::OPERATIONS
            .iter()
            .for_each(|o| drop(contents(bytes, o.set)));
    }

    /// Attributes that are almost right, some with others in them.
    fn odd() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop::collection::vec(any::<u8>(), 0..40);
        bytes.prop_recursive(3, 200, 6, |inner| {
            prop::collection::vec((inner, 0..40u16, -3..4i16), 0..6).prop_map(|all| {
                let put = |(value, kind, wrong): (Vec<u8>, u16, i16)| {
                    let mut out = request(0, 0, 0, 0, 0, &list(&[(kind, &value)]))[20..].to_vec();
                    let length = (4 + value.len() as u16).wrapping_add_signed(wrong);
                    out[..2].copy_from_slice(&length.to_ne_bytes());
                    out
                };
                all.into_iter().flat_map(put).collect()
            })
        })
    }

    proptest! {
        #[test]
        fn whatever_comes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            look(&bytes);
        }

        #[test]
        fn almost_right(attributes in odd(), kind in 0..40u16, flags: u16, length in -8..8i32, cut in 0..64usize) {
            let mut bytes = request(kind, flags, 1, 2, 1, &list(&[]));
            bytes.extend(&attributes);
            let whole = (bytes.len() as u32).wrapping_add_signed(length);
            bytes[..4].copy_from_slice(&whole.to_ne_bytes());
            look(&bytes);
            look(&bytes[..bytes.len().saturating_sub(cut)]);
            look(&attributes);
        }
    }

    /// What a module said: a peer after an unanswered initiation, and the same one after the peer began a
    /// session; an interface. (The machine was a little-endian one.)
    const DOWN: &str =
        "0800010004000000080002007767300008000500040000002400030083142d9d2675a9dd8cc8eb669b739947b7210132a62edc3b91b5feb3503b67160800040001000000140006000200cabc0a010002\
         000000000000000008000b002801000008000c000000000008000f0001000000080010000000000008001100000000000800120002000000180013800c000100809ea438a6c1eb180800020001000000\
         0800140000000000";
    const BEGUN: &str =
        "0800010004000000080002007767300008000500040000002400030083142d9d2675a9dd8cc8eb669b739947b7210132a62edc3b91b5feb3503b67160800040001000000140006000200cabc0a010002\
         000000000000000008000b008401000008000c009400000004000e0008000f0001000000080010000000000008001100000000000800120002000000180013800c000100809ea438a6c1eb1808000200\
         010000000800140000000000";
    const INTERFACE: &str =
        "0800010004000000080002007767300008000400040000000c01038008000100000000000800020000000000080003000000000008000400000000000800050000000000080006000000000008000700\
         000000000800080000000000080009000000000008000a000000000008000b000000000008000c000000000008000d000000000008000e000000000008000f0000000000080010000000000008001100\
         000000000800120000000000080013000100000008001400000000000800150000000000080016000000000008001700000000000800180000000000080019000000000008001a000000000008001b00\
         0000000008001c000000000008001d000000000008001e000000000008001f0000000000080020000000000008002100000000000500060000000000";

    fn recorded(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn said_by_a_module() {
        let common = json!({"ifindex": 4, "ifname": "wg0", "generation": 4, "id": 1, "endpoint": "10.1.0.2:51900", "staged": 1, "initiations": 2,
            "public-key": "gxQtnSZ1qd2MyOtmm3OZR7chATKmLtw7kbX+s1A7ZxY=", "roamed": 0, "tx-queued": 0, "rx-queued": 0,
            "failure": {"time": 1_795_741_796_096_319_104_u64, "reason": "no-answer"}});
        for (hex, more) in [
            (DOWN, json!({"tx-bytes": 296, "rx-bytes": 0})),
            (
                BEGUN,
                json!({"tx-bytes": 388, "rx-bytes": 148, "unconfirmed": true}),
            ),
        ] {
            let mut want = common.clone();
            want.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            assert_eq!(peer(&recorded(hex)), want);
        }
        let device = contents(&recorded(INTERFACE), &SET_DEVICE);
        assert_eq!(
            (
                device.word("ifname").unwrap().as_str(),
                device.number("local-gso")
            ),
            ("wg0", Some(0))
        );
        let drops = device.nest("drops").unwrap();
        assert_eq!(drops.len(), 33);
        assert_eq!(drops.number("handshake-invalid"), Some(1));
        assert_eq!(drops.values().filter_map(Value::as_u64).sum::<u64>(), 1);
    }

    #[test]
    fn keys() {
        let text = "gxQtnSZ1qd2MyOtmm3OZR7chATKmLtw7kbX+s1A7ZxY=";
        assert_eq!(
            key(text).map(|k| BASE64_STANDARD.encode(k)).as_deref(),
            Some(text)
        );
        for wrong in [
            "",
            "gxQtnSZ1",
            &text[1..],
            &text[..43],
            "-xQtnSZ1qd2MyOtmm3OZR7chATKmLtw7kbX+s1A7ZxY=",
        ] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }

    /// Cut off anywhere, and with any byte another one, it is still something.
    #[test]
    fn damaged() {
        for hex in [DOWN, BEGUN, INTERFACE] {
            let bytes = recorded(hex);
            for at in 0..bytes.len() {
                look(&bytes[..at]);
                for wrong in [0, 1, 3, 0x7f, 0xff] {
                    let mut bytes = bytes.clone();
                    bytes[at] = wrong;
                    look(&bytes);
                }
            }
        }
    }

    #[test]
    fn a_device_without_anything() {
        assert_eq!(Value::from(contents(&[], &SET_DEVICE)), json!({}));
        let none = contents(&[], &SET_DEVICE);
        assert_eq!(
            (
                none.number("ifindex"),
                none.word("ifname"),
                none.nest("drops")
            ),
            (None, None, None)
        );
    }
}
