// SPDX-License-Identifier: GPL-2.0
//! Netlink messages as `wg` sends them, and `wgrs`, and then not quite.

use crate::{
    rng::{mangle, Rng},
    second::{self, Asked},
};

pub const HEADER: usize = 16;
const GENL_HEADER: usize = 4;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const NESTED: u16 = 0x8000;

const GET: u8 = 0;
const SET: u8 = 1;

/// What a message was made from, and what it must be answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// As it should be.
    Valid,
    /// Header and command are, so who has no right to it must be told so.
    Addressed,
    /// Not even those.
    Wild,
}

/// The numbers that the kernel has given to the families.
#[derive(Clone, Copy)]
pub struct Families {
    /// `wireguard`.
    pub first: u16,
    /// `wireguard_rs`; 0: there is none.
    pub second: u16,
}

/// A message, and what is known of it.
pub struct Made {
    pub data: Vec<u8>,
    pub class: Class,
    /// What it asks of the family `wireguard_rs`, if it is of that one.
    pub asked: Option<Asked>,
}

pub fn attr(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(payload.len() + 8);
    data.extend(((payload.len() + 4) as u16).to_ne_bytes());
    data.extend(kind.to_ne_bytes());
    data.extend(payload);
    data.resize(data.len().next_multiple_of(4), 0);
    data
}

fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attr(kind | NESTED, &parts.concat())
}

/// Keys come from a small stock, so that peers are met again.
pub fn key(rng: &mut Rng) -> Vec<u8> {
    let mut key = vec![rng.below(40) as u8 + 1; 32];
    if rng.chance(5) {
        rng.fill(&mut key);
    }
    if rng.chance(3) {
        key.fill(0);
    }
    key
}

fn prefix(rng: &mut Rng) -> Vec<u8> {
    let v6 = rng.chance(40);
    let mut address = if v6 {
        vec![0xfd; 16]
    } else {
        vec![10, 0, 0, 0]
    };
    let from = rng.range(1, address.len());
    rng.fill(&mut address[from - 1..]);
    let most = if v6 { 128 } else { 32 };
    let cidr = if rng.chance(3) {
        rng.next() as u8
    } else {
        rng.range(0, most) as u8
    };
    let family: u16 = if v6 { 10 } else { 2 };
    let mut parts = vec![
        attr(1, &family.to_ne_bytes()),
        attr(2, &address),
        attr(3, &[cidr]),
    ];
    if rng.chance(10) {
        let flags: u32 = if rng.chance(80) { 1 } else { rng.next() as u32 };
        parts.push(attr(4, &flags.to_ne_bytes()));
    }
    nest(0, &parts)
}

fn endpoint(rng: &mut Rng) -> Vec<u8> {
    // Itself, mostly: then the devices of a namespace talk to each other.
    let port = (20000 + rng.below(12) as u16).to_be_bytes();
    let mut address = Vec::new();
    if rng.chance(30) {
        address.extend(10u16.to_ne_bytes());
        address.extend(port);
        address.extend([0; 4]);
        address.extend([0; 15]);
        address.push(1);
        address.extend([0; 4]);
    } else {
        address.extend(2u16.to_ne_bytes());
        address.extend(port);
        address.extend([127, 0, 0, 1]);
        address.extend([0; 8]);
    }
    attr(4, &address)
}

fn peer(rng: &mut Rng) -> Vec<u8> {
    let mut parts = vec![attr(1, &key(rng))];
    let flags = *rng.pick(&[0u32, 0, 0, 1, 2, 3, 4, 6]);
    if flags != 0 {
        parts.push(attr(3, &flags.to_ne_bytes()));
    }
    if rng.chance(30) {
        parts.push(attr(2, &key(rng)));
    }
    if rng.chance(50) {
        parts.push(endpoint(rng));
    }
    if rng.chance(20) {
        let seconds = *rng.pick(&[0u16, 25, 65535, 1]);
        parts.push(attr(5, &seconds.to_ne_bytes()));
    }
    if rng.chance(60) {
        let prefixes: Vec<_> = (0..rng.below(6)).map(|_| prefix(rng)).collect();
        parts.push(nest(9, &prefixes));
    }
    if rng.chance(3) {
        parts.push(attr(10, &1u32.to_ne_bytes()));
    }
    nest(0, &parts)
}

/// An interface of those that there are, most of the time.
pub fn device_name(rng: &mut Rng) -> Vec<u8> {
    let mut name = format!("h{}", rng.below(4)).into_bytes();
    if rng.chance(3) {
        name = b"lo".to_vec();
    }
    name.push(0);
    name
}

/// Finishes a message: headers before the attributes.
fn message(family: u16, command: u8, flags: u16, attrs: &[u8]) -> Vec<u8> {
    let length = (HEADER + GENL_HEADER + attrs.len()) as u32;
    let mut data = Vec::with_capacity(length as usize);
    data.extend(length.to_ne_bytes());
    data.extend(family.to_ne_bytes());
    data.extend((REQUEST | flags).to_ne_bytes());
    data.extend([0; 8]);
    data.extend([command, 1, 0, 0]);
    data.extend(attrs);
    data
}

/// One attribute list, valid for its command; (command, attributes).
fn body(rng: &mut Rng) -> (u8, Vec<u8>) {
    let mut attrs = attr(2, &device_name(rng));
    if rng.chance(30) {
        return (GET, attrs);
    }
    for _ in 0..rng.range(1, 3) {
        let more = match rng.below(10) {
            // Seldom: it costs a Curve25519 for each peer of the interface.
            0 if rng.chance(10) => attr(3, &key(rng)),
            0 | 1 => attr(6, &(20000 + rng.below(12) as u16).to_ne_bytes()),
            2 => attr(7, &(rng.below(3) as u32).to_ne_bytes()),
            3 if rng.chance(40) => attr(5, &1u32.to_ne_bytes()),
            _ => {
                let peers: Vec<_> = (0..rng.below(5)).map(|_| peer(rng)).collect();
                nest(8, &peers)
            }
        };
        attrs.extend(more);
    }
    (SET, attrs)
}

/// Where attributes begin in `data`, in any depth, as far as their lengths can be followed.
fn positions(data: &[u8], from: usize, depth: usize, found: &mut Vec<usize>) {
    let mut at = from;
    while at + 4 <= data.len() {
        let length = usize::from(u16::from_ne_bytes([data[at], data[at + 1]]));
        if length < 4 || at + length > data.len() {
            return;
        }
        found.push(at);
        let kind = u16::from_ne_bytes([data[at + 2], data[at + 3]]);
        if kind & NESTED != 0 && depth < 4 {
            positions(&data[..at + length], at + 4, depth + 1, found);
        }
        at += length.next_multiple_of(4);
    }
}

/// Spoils the attributes; the headers stay.
fn spoil(rng: &mut Rng, attrs: &mut Vec<u8>) {
    let mut found = Vec::new();
    positions(attrs, 0, 0, &mut found);
    if found.is_empty() || rng.chance(15) {
        mangle(rng, attrs);
        return;
    }
    let at = *rng.pick(&found);
    let length = u16::from_ne_bytes([attrs[at], attrs[at + 1]]);
    match rng.below(9) {
        // A length that is not so: less, more, none.
        0 | 1 => {
            let random = rng.next() as u16;
            let value = *rng.pick(&[
                0,
                1,
                3,
                4,
                length - 1,
                length + 1,
                length + 4,
                length + 200,
                0xffff,
                random,
            ]);
            attrs[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        }
        // Another type, known or not, with and without the flags.
        2 | 3 => {
            let random = rng.next() as u16;
            let value = *rng.pick(&[
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x4001, 0x8008, 0x8009, 0xc008, 0x7fff,
                random,
            ]);
            attrs[at + 2..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        // Contents.
        4 => {
            let end = (at + usize::from(length)).min(attrs.len());
            if at + 4 < end {
                let byte = rng.range(at + 4, end - 1);
                attrs[byte] ^= 1 << rng.below(8);
            }
        }
        // Missing, twice, or somebody else's.
        5 => {
            let end = (at + usize::from(length).next_multiple_of(4)).min(attrs.len());
            let piece: Vec<u8> = attrs[at..end].to_vec();
            match rng.below(3) {
                0 => drop(attrs.drain(at..end)),
                1 => drop(attrs.splice(at..at, piece)),
                _ => {
                    let to = *rng.pick(&found);
                    attrs.splice(to..to, piece);
                }
            }
        }
        // Cut in the middle of it.
        6 => attrs.truncate(at + rng.below(usize::from(length) + 1)),
        // Nested in itself, many times.
        7 => {
            let end = (at + usize::from(length).next_multiple_of(4)).min(attrs.len());
            let kind = u16::from_ne_bytes([attrs[at + 2], attrs[at + 3]]);
            let mut piece: Vec<u8> = attrs[at..end].to_vec();
            for _ in 0..rng.range(1, 30) {
                piece = attr(kind | NESTED, &piece);
            }
            attrs.splice(at..end, piece);
        }
        // One that nobody knows.
        _ => {
            let n = rng.below(40);
            let payload = rng.bytes(n);
            let unknown = attr(rng.next() as u16, &payload);
            attrs.splice(at..at, unknown);
        }
    }
}

/// What a message is made of: its family, command, flags and attributes, and what it asks of the second
/// family.
type Parts = (u16, u8, u16, Vec<u8>, Option<Asked>);

/// A request of one of the families that is as it should be.
fn request(rng: &mut Rng, families: Families) -> Parts {
    if families.second != 0 && rng.chance(40) {
        let (asked, attrs) = second::body(rng);
        let flags = if asked.is_dump() { DUMP | ACK } else { ACK };
        return (families.second, asked.command(), flags, attrs, Some(asked));
    }
    let (command, attrs) = body(rng);
    let flags = if command == GET { DUMP | ACK } else { ACK };
    (families.first, command, flags, attrs, None)
}

/// One message.
pub fn make(rng: &mut Rng, families: Families) -> Made {
    let (family, command, flags, mut attrs, asked) = request(rng, families);
    let made = |data, class| Made { data, class, asked };
    if rng.chance(35) {
        return made(message(family, command, flags, &attrs), Class::Valid);
    }
    for _ in 0..rng.range(1, 3) {
        spoil(rng, &mut attrs);
    }
    attrs.truncate(60000);
    let mut data = message(family, command, flags, &attrs);
    if rng.chance(80) {
        return made(data, Class::Addressed);
    }
    match rng.below(6) {
        // Another command, or none.
        0 => data[16] = *rng.pick(&[0, 1, 2, 3, 11, 16, 17, 255]),
        1 => data[17] = rng.next() as u8,
        2 => {
            let flags = rng.next() as u16 | REQUEST;
            data[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        3 => {
            let whole = data.len() as u32;
            let length = *rng.pick(&[
                0,
                1,
                15,
                16,
                17,
                19,
                20,
                21,
                whole - 1,
                whole + 1,
                whole + 100,
                u32::MAX,
                0x8000_0000,
            ]);
            data[..4].copy_from_slice(&length.to_ne_bytes());
        }
        4 => data.truncate(rng.below(data.len() + 1)),
        // The family's description, which anybody may ask for.
        _ => {
            let number = attr(1, &family.to_ne_bytes());
            data = message(
                16,
                *rng.pick(&[3, 10]),
                if rng.chance(50) { DUMP | ACK } else { ACK },
                &number,
            );
        }
    }
    made(data, Class::Wild)
}

/// A dump of an interface, by one of the families.
pub fn dump(rng: &mut Rng, families: Families) -> Vec<u8> {
    if families.second != 0 && rng.chance(50) {
        let (asked, attrs) = second::dump(rng);
        return message(families.second, asked.command(), DUMP, &attrs);
    }
    message(families.first, GET, DUMP, &attr(2, &device_name(rng)))
}
