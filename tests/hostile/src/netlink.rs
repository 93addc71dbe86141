// SPDX-License-Identifier: GPL-2.0
//! Hostile netlink: one process's share of it.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use crate::{
    args::Args,
    ears::Ears,
    nlmsg::{self, Class, Families, HEADER},
    rng::Rng,
    second::Asked,
};

const EPERM: i32 = libc::EPERM;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flag of a part of a dump that is not of one moment.
const INTERRUPTED: u16 = 0x10;

/// A socket of generic netlink, with room for one answer at a time or for many.
pub fn open(small: bool) -> io::Result<OwnedFd> {
    // SAFETY: Makes a descriptor that nobody else has.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 16) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: As said.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let size: libc::c_int = if small { 1 } else { 1 << 20 };
    // SAFETY: The value is valid for reads of its size.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const size).cast(),
            4,
        );
    }
    Ok(fd)
}

/// Sends one datagram.
pub fn send(fd: &OwnedFd, data: &[u8]) -> io::Result<usize> {
    // SAFETY: `data` is valid for reads of its length.
    let n = unsafe {
        libc::send(
            fd.as_raw_fd(),
            data.as_ptr().cast(),
            data.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Receives one datagram, if there's one.
pub fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is valid for writes of its length.
    let n = unsafe {
        libc::recv(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

struct Talker {
    rng: Rng,
    families: Families,
    fd: OwnedFd,
    buffer: Vec<u8>,
    /// By sequence number, what each message was that has no answer yet.
    asked: BTreeMap<u32, (Class, Option<Asked>)>,
    seq: u32,
    sent: u64,
    accepted: u64,
    refused: BTreeMap<i32, u64>,
    valid_accepted: u64,
    /// Messages of the family itself that came back: parts of dumps.
    parts: u64,
    /// Those of the second family: answers as well.
    answers: u64,
    /// Of these, such as said that the configuration was changed under their dump.
    torn: u64,
    /// By what they asked of the second family: how many valid messages were accepted.
    reached: BTreeMap<Asked, u64>,
    /// Answers to messages with a proper header that were not EPERM.
    permitted: u64,
    abandoned: u64,
    sockets: u64,
    unsent: u64,
}

impl Talker {
    /// Reads at most that many datagrams.
    fn drain(&mut self, most: usize) {
        for _ in 0..most {
            let Ok(n) = receive(&self.fd, &mut self.buffer) else {
                return;
            };
            let data = std::mem::take(&mut self.buffer);
            let mut rest = &data[..n];
            while rest.len() >= HEADER {
                let length = u32::from_ne_bytes(rest[..4].try_into().expect("4 bytes")) as usize;
                if length < HEADER || length > rest.len() {
                    break;
                }
                self.answer(&rest[..length]);
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            }
            self.buffer = data;
        }
    }

    fn answer(&mut self, message: &[u8]) {
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        if kind == self.families.first {
            self.parts += 1;
            return;
        }
        if kind == self.families.second {
            let flags = u16::from_ne_bytes([message[6], message[7]]);
            self.answers += 1;
            self.torn += u64::from(flags & INTERRUPTED != 0);
            return;
        }
        if (kind != ERROR && kind != DONE) || message.len() < HEADER + 4 {
            return;
        }
        let seq = u32::from_ne_bytes(message[8..12].try_into().expect("4 bytes"));
        let error = -i32::from_ne_bytes(message[16..20].try_into().expect("4 bytes"));
        // Others' answers, and second ones to the same message, say nothing.
        let Some((class, asked)) = self.asked.remove(&seq) else {
            return;
        };
        if error == 0 {
            self.accepted += 1;
            if class == Class::Valid {
                self.valid_accepted += 1;
                if let Some(asked) = asked {
                    *self.reached.entry(asked).or_default() += 1;
                }
            }
        } else {
            *self.refused.entry(error).or_default() += 1;
        }
        if class != Class::Wild && error != EPERM {
            self.permitted += 1;
        }
    }

    fn reopen(&mut self, small: bool) {
        self.asked.clear();
        if let Ok(fd) = open(small) {
            self.fd = fd;
            self.sockets += 1;
        }
    }

    /// One datagram of one to eight messages.
    fn datagram(&mut self) {
        let number = if self.rng.chance(70) {
            1
        } else {
            self.rng.range(2, 8)
        };
        let mut data = Vec::new();
        for n in 0..number {
            let made = nlmsg::make(&mut self.rng, self.families);
            let (mut message, class) = (made.data, made.class);
            self.seq = self.seq.wrapping_add(1);
            if message.len() >= 12 {
                message[8..12].copy_from_slice(&self.seq.to_ne_bytes());
                // A wild one may take those behind it along.
                if n == 0 || data.len() % 4 == 0 {
                    self.asked.insert(self.seq, (class, made.asked));
                }
            }
            let wild = class == Class::Wild;
            data.extend(message);
            data.resize(data.len().next_multiple_of(4), 0);
            self.sent += 1;
            if wild {
                break;
            }
        }
        if send(&self.fd, &data).is_err() {
            self.unsent += number as u64;
            self.sent -= number as u64;
            self.drain(64);
        }
    }

    /// A dump of which only the first part is read, or none; and the socket is closed, or not.
    fn abandon(&mut self) {
        self.reopen(true);
        for _ in 0..self.rng.range(1, 3) {
            let message = nlmsg::dump(&mut self.rng, self.families);
            if send(&self.fd, &message).is_ok() {
                self.sent += 1;
                self.abandoned += 1;
            }
            let parts = self.rng.below(3);
            self.drain(parts);
        }
        if self.rng.chance(60) {
            self.reopen(false);
        }
    }
}

/// `"NAME": COUNT` of each, with commas between.
fn listed<K: std::fmt::Display>(counts: impl Iterator<Item = (K, u64)>) -> String {
    let each: Vec<_> = counts.map(|(k, n)| format!("\"{k}\": {n}")).collect();
    each.join(", ")
}

/// hostile netlink --family N --second N --group N --seed N --count N --seconds N
pub fn main(args: &Args) {
    let mut talker = Talker {
        rng: Rng::new(args.value("--seed")),
        families: Families {
            first: args.value("--family"),
            second: args.value("--second"),
        },
        fd: open(false).expect("a netlink socket"),
        buffer: vec![0; 1 << 18],
        asked: BTreeMap::new(),
        seq: 0,
        sent: 0,
        accepted: 0,
        refused: BTreeMap::new(),
        valid_accepted: 0,
        parts: 0,
        answers: 0,
        torn: 0,
        reached: BTreeMap::new(),
        permitted: 0,
        abandoned: 0,
        sockets: 1,
        unsent: 0,
    };
    let mut ears = Ears::new(args.value("--group"));
    let count: u64 = args.value("--count");
    let start = Instant::now();
    let end = start + Duration::from_secs(args.value("--seconds"));
    while talker.sent < count && Instant::now() < end {
        if talker.rng.chance(2) {
            talker.abandon();
        }
        for _ in 0..16 {
            talker.datagram();
        }
        talker.drain(256);
        if talker.asked.len() > 4096 {
            talker.asked.clear();
        }
        ears.turn(&mut talker.rng);
    }
    talker.drain(4096);
    println!(
        "{{\"sent\": {}, \"accepted\": {}, \"valid_accepted\": {}, \"refused\": {{{}}}, \"parts\": {}, \"answers\": {}, \"torn\": {}, \"reached\": {{{}}}, \"permitted\": {}, \"abandoned\": {}, \"sockets\": {}, \"unsent\": {}, {}, \"ms\": {}}}",
        talker.sent, talker.accepted, talker.valid_accepted, listed(talker.refused.into_iter()), talker.parts,
        talker.answers, talker.torn, listed(talker.reached.into_iter().map(|(asked, n)| (asked.name(), n))),
        talker.permitted, talker.abandoned, talker.sockets, talker.unsent, ears, start.elapsed().as_millis(),
    );
}
