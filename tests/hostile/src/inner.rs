// SPDX-License-Identifier: GPL-2.0
//! Packets for the inside of a tunnel that a host should think twice about.

use crate::rng::{mangle, Rng};

const MINE: [u8; 4] = [192, 168, 77, 3];
const THEIRS: [u8; 4] = [192, 168, 77, 1];
const MINE6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];
const THEIRS6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn checksum(data: &[u8]) -> [u8; 2] {
    let mut sum: u32 = data
        .chunks(2)
        .map(|c| (u32::from(c[0]) << 8) | c.get(1).map_or(0, |b| u32::from(*b)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn ipv4(proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(((20 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, proto, 0, 0]);
    packet.extend(MINE);
    packet.extend(THEIRS);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(MINE6);
    packet.extend(THEIRS6);
    packet.extend(payload);
    packet
}

/// A ping of this number; its answer is the proof that what was sent before has been looked at.
pub fn echo(number: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x4d, 0x61];
    icmp.extend(number.to_be_bytes());
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    ipv4(1, &icmp)
}

fn sound(rng: &mut Rng) -> Vec<u8> {
    let size = match rng.below(10) {
        0 => rng.range(1200, 1400),
        // In fragments outside.
        1 if rng.chance(10) => rng.range(3000, 20000),
        _ => rng.range(8, 200),
    };
    let mut payload = rng.bytes(size);
    let (proto, next) = match rng.below(6) {
        0 => (6, 6),
        1 => (1, 58),
        2 => (47, 47),
        3 => (4, 41),
        4 => {
            // IPv6: headers in a chain; IPv4: any protocol.
            let next = *rng.pick(&[0u8, 43, 44, 50, 51, 59, 60, 135]);
            payload[0] = *rng.pick(&[0u8, 17, 43, 44, 60]);
            (rng.next() as u8, next)
        }
        _ => (17, 17),
    };
    if rng.chance(50) {
        ipv4(proto, &payload)
    } else {
        ipv6(next, &payload)
    }
}

/// Any packet; some are as they should be.
pub fn packet(rng: &mut Rng) -> Vec<u8> {
    let mut packet = sound(rng);
    match rng.below(12) {
        0 => (),
        // Version and header length.
        1 => packet[0] = rng.next() as u8,
        2 => packet[0] = packet[0] & 0xf0 | *rng.pick(&[0u8, 1, 4, 5, 6, 15]),
        // Lengths: of both versions' headers, whichever it is.
        3 | 4 => {
            let at = if packet[0] >> 4 == 4 { 2 } else { 4 };
            let whole = packet.len() as u16;
            let random = rng.next() as u16;
            let value = *rng.pick(&[
                0,
                1,
                19,
                20,
                21,
                39,
                40,
                41,
                whole - 1,
                whole,
                whole + 1,
                whole.wrapping_add(16),
                65535,
                random,
            ]);
            packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        // Short of everything.
        5 => packet.truncate(rng.range(1, 60)),
        // From and to whoever.
        6 => {
            let at = if packet[0] >> 4 == 4 {
                rng.range(12, 16)
            } else {
                rng.range(8, 24)
            };
            let n = rng.below(4);
            rng.fill(&mut packet[at..at + n]);
        }
        7 => {
            let n = rng.range(1, 200);
            packet = rng.bytes(n);
        }
        // Padded, as it should be or more.
        8 => {
            let n = packet.len() + rng.range(0, 64);
            packet.resize(n, 0);
        }
        9 => packet.truncate(rng.range(1, 4)),
        _ => mangle(rng, &mut packet),
    }
    if packet.is_empty() {
        packet.push(0x45);
    }
    packet
}
