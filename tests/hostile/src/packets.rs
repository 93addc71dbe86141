// SPDX-License-Identifier: GPL-2.0
//! Hostile datagrams to a driver's port, by a peer with a session and by strangers.
//!
//! Two ways: "account" sends in small groups and waits in between until the driver has worked on
//! what it got, so that nothing is dropped for want of room and every authentic message must show in
//! the driver's counters; "flood" sends as fast as it can.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::{
    args::Args,
    inner,
    rng::{mangle, Rng},
    sock,
    wire::{self, Key, Mallory, Session},
};

const GROUP: usize = 64;
/// A session is renewed before the driver stops to take it.
const SESSION_AGE: Duration = Duration::from_secs(90);

struct Attacker {
    rng: Rng,
    target: SocketAddrV4,
    from: Ipv4Addr,
    udp4: UdpSocket,
    udp6: UdpSocket,
    raw: OwnedFd,
    mallory: Mallory,
    mac1_key: Key,
    session: Option<Session>,
    born: Instant,
    asked: Instant,
    /// Valid messages to mutate: what was captured, and what is learned on the way.
    corpus: Vec<Vec<u8>>,
    captured: usize,
    /// Sealed messages that were sent, to be sent again.
    old: Vec<Vec<u8>>,
    /// Sealed messages that wait to be sent later than those after them.
    late: Vec<Vec<u8>>,
    sent: BTreeMap<&'static str, u64>,
    authentic: u64,
    heard: BTreeMap<&'static str, u64>,
    ping: u16,
    pong: Option<u16>,
}

impl Attacker {
    fn count(&mut self, what: &'static str, n: usize) {
        *self.sent.entry(what).or_default() += n as u64;
    }

    fn hear(&mut self, what: &'static str) {
        *self.heard.entry(what).or_default() += 1;
    }

    fn learn(&mut self, message: Vec<u8>) {
        if self.corpus.len() < self.captured + 64 {
            self.corpus.push(message);
        } else {
            let at = self.captured + self.rng.below(64);
            self.corpus[at] = message;
        }
    }

    fn send4(&mut self, what: &'static str, messages: &[Vec<u8>]) {
        let n = sock::send_many(&self.udp4, messages, None);
        self.count(what, n);
    }

    fn initiate(&mut self) {
        let message = self.mallory.initiation();
        self.asked = Instant::now();
        self.learn(message.clone());
        self.send4("initiation", &[message]);
    }

    /// Everything that came back.
    fn drain(&mut self) {
        let mut buffer = [0; 2048];
        for v6 in [false, true] {
            for _ in 0..4096 {
                let socket = if v6 { &self.udp6 } else { &self.udp4 };
                match socket.recv(&mut buffer) {
                    Ok(n) => self.one(buffer[..n].to_vec()),
                    // An ICMP error is read off by that.
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => (),
                    Err(_) => break,
                }
            }
        }
    }

    fn one(&mut self, message: Vec<u8>) {
        match message.first() {
            Some(&wire::RESPONSE) => {
                self.hear("response");
                if let Some(session) = self.mallory.finish(&message) {
                    // Our initiation was taken for one.
                    self.authentic += 1;
                    self.establish(session);
                    self.hear("session");
                }
            }
            Some(&wire::INITIATION) => {
                self.hear("initiation");
                let Some((response, session)) = self.mallory.respond(&message) else {
                    return;
                };
                let nonce: [u8; 24] = self.rng.bytes(24).try_into().expect("24 bytes");
                let cookie = self.mallory.cookie_reply(&message, &nonce, &[7; 16]);
                // First what is nearly right, while the driver waits for it.
                let mut spoilt = Vec::new();
                for of in [&response, &cookie] {
                    for _ in 0..3 {
                        let mut bad = of.clone();
                        mangle(&mut self.rng, &mut bad);
                        if bad[..] != of[..] {
                            spoilt.push(bad);
                        }
                    }
                }
                self.send4("spoilt answer", &spoilt);
                if self.rng.chance(30) {
                    self.send4("cookie reply", &[cookie.clone()]);
                }
                self.learn(cookie);
                self.learn(response.clone());
                self.send4("response", &[response]);
                self.authentic += 1;
                self.establish(session);
            }
            Some(&wire::COOKIE) => {
                self.hear("cookie");
                if self.mallory.take_cookie(&message) {
                    self.hear("our cookie");
                    self.initiate();
                }
            }
            Some(&wire::DATA) => {
                self.hear("data");
                if let Some(inner) = self.session.as_ref().and_then(|s| s.open(&message)) {
                    self.hear("opened");
                    if inner.len() >= 28 && inner[0] == 0x45 && inner[9] == 1 && inner[20] == 0 {
                        self.pong = Some(u16::from_be_bytes([inner[26], inner[27]]));
                    }
                }
            }
            _ => self.hear("strange"),
        }
    }

    /// A session is the driver's only after a message under it.
    fn establish(&mut self, mut session: Session) {
        let first = session.seal(b"");
        self.session = Some(session);
        self.born = Instant::now();
        // Too late now.
        self.lost(self.late.len());
        self.late.clear();
        self.learn(first.clone());
        self.authentic += 1;
        self.send4("keepalive", &[first]);
    }

    /// Sees to it that there is a session; false if there's none for now.
    fn keep_session(&mut self) -> bool {
        let due = self.session.is_none() || self.born.elapsed() > SESSION_AGE;
        if due && self.asked.elapsed() > Duration::from_secs(5) {
            self.initiate();
        }
        self.session.is_some()
    }

    /// A sealed message: nearly always with something unsound in it.
    fn sealed(&mut self) -> Option<Vec<u8>> {
        let packet = inner::packet(&mut self.rng);
        let message = self.session.as_mut()?.seal(&packet);
        self.authentic += 1;
        Some(message)
    }

    /// One message that is not authentic.
    fn forged(&mut self) -> (&'static str, Vec<u8>) {
        let session = self.session.clone();
        match self.rng.below(16) {
            0..=5 => {
                let of = self.rng.below(self.corpus.len());
                let original = self.corpus[of].clone();
                let mut bad = original.clone();
                mangle(&mut self.rng, &mut bad);
                if bad == original {
                    bad.push(0);
                }
                // Authentic data must not come about: flipping twice is no mutation.
                ("mutated", bad)
            }
            6 => {
                // Another index, everything else as it was.
                let of = self.rng.below(self.corpus.len());
                let mut bad = self.corpus[of].clone();
                let at = if bad.first() == Some(&wire::RESPONSE) {
                    8
                } else {
                    4
                };
                if bad.len() < 12 {
                    return ("short", bad);
                }
                let index = self.rng.next() as u32;
                bad[at..at + 4].copy_from_slice(&index.to_le_bytes());
                ("wrong index", bad)
            }
            7 => {
                // What a captured message is of, with another's contents.
                let (a, b) = (
                    self.rng.below(self.corpus.len()),
                    self.rng.below(self.corpus.len()),
                );
                let mut bad = self.corpus[a].clone();
                let other = &self.corpus[b];
                let cut = self.rng.below(bad.len().min(other.len()).max(1));
                bad.truncate(cut);
                bad.extend(&other[cut.min(other.len())..]);
                if bad == self.corpus[a] || bad == *other {
                    bad.push(0);
                }
                ("spliced", bad)
            }
            8 | 9 => {
                let response = self.rng.chance(30);
                let cookie = if self.rng.chance(30) {
                    self.mallory.cookie().copied()
                } else {
                    None
                };
                let bad =
                    wire::with_valid_mac1(&mut self.rng, &self.mac1_key, cookie.as_ref(), response);
                ("valid MAC1", bad)
            }
            10 => ("zero length", Vec::new()),
            11 => {
                let n = self.rng.range(1, 200);
                let mut bad = self.rng.bytes(n);
                if self.rng.chance(70) {
                    bad[0] = self.rng.range(0, 5) as u8;
                    let zero = bad.len().min(4);
                    bad[1..zero.max(1)].fill(0);
                }
                ("random", bad)
            }
            12 | 13 if session.is_some() => {
                // To a session that exists, under keys that do not.
                let session = session.expect("just seen");
                let n = self.rng.below(100);
                let noise = self.rng.bytes(n + 32);
                let counter = *self.rng.pick(&[
                    0,
                    session.counter,
                    session.counter + 5000,
                    1 << 40,
                    u64::MAX,
                    u64::MAX - 8129,
                ]);
                let mut bad = vec![wire::DATA, 0, 0, 0];
                bad.extend(session.remote.to_le_bytes());
                bad.extend(counter.to_le_bytes());
                bad.extend(noise);
                ("forged data", bad)
            }
            // Seldom: it costs this side more than all others.
            14 if self.rng.chance(12) => {
                let secret = self.rng.bytes(32).try_into().expect("32 bytes");
                ("of a stranger", self.mallory.stranger(secret).initiation())
            }
            _ if !self.old.is_empty() => {
                let n = self.rng.below(self.old.len());
                ("replayed", self.old[n].clone())
            }
            _ => ("zero length", Vec::new()),
        }
    }

    /// As IP packets of our own making: in fragments, from other addresses, with UDP headers that lie.
    fn raw_packets(&mut self) -> Vec<Vec<u8>> {
        let (_, message) = self.forged();
        let from = match self.rng.below(4) {
            0 => Ipv4Addr::from(0xc612_0000 | (self.rng.next() as u32 & 0xffff)),
            _ => self.from,
        };
        let to = *self.target.ip();
        let port = self.rng.next() as u16;
        let mut datagram = sock::udp(port, self.target.port(), &message);
        let id = self.rng.next() as u16 | 1;
        match self.rng.below(6) {
            // Lengths that are not so.
            0 => {
                let length = *self.rng.pick(&[0u16, 7, 8, 9, 40, 65535]);
                datagram[4..6].copy_from_slice(&length.to_be_bytes());
                vec![sock::ipv4(from, to, id, 0, false, 17, &datagram)]
            }
            // A checksum that is wrong.
            1 => {
                datagram[6..8].copy_from_slice(&[0x12, 0x34]);
                vec![sock::ipv4(from, to, id, 0, false, 17, &datagram)]
            }
            // Half a header.
            2 => vec![sock::ipv4(
                from,
                to,
                id,
                0,
                false,
                17,
                &datagram[..self.rng.below(8)],
            )],
            // Fragments: in any order, one missing, one twice, or overlapping.
            _ => {
                let more = self.rng.range(0, 600);
                let more = self.rng.bytes(more);
                datagram.extend(more);
                let length = datagram.len() as u16;
                datagram[4..6].copy_from_slice(&length.to_be_bytes());
                let mut cuts = vec![0];
                while *cuts.last().expect("never empty") < datagram.len() {
                    let step = 8 * self.rng.range(1, 24);
                    cuts.push((cuts[cuts.len() - 1] + step).min(datagram.len()));
                }
                let mut pieces: Vec<Vec<u8>> = cuts
                    .windows(2)
                    .map(|w| {
                        sock::ipv4(
                            from,
                            to,
                            id,
                            w[0],
                            w[1] < datagram.len(),
                            17,
                            &datagram[w[0]..w[1]],
                        )
                    })
                    .collect();
                if self.rng.chance(50) {
                    pieces.reverse();
                }
                match self.rng.below(8) {
                    0 => {
                        let n = self.rng.below(pieces.len());
                        pieces.remove(n);
                    }
                    1 => {
                        let n = self.rng.below(pieces.len());
                        pieces.push(pieces[n].clone());
                    }
                    2 => {
                        let n = self.rng.below(cuts.len() - 1);
                        let end = (cuts[n] + 40).min(datagram.len());
                        pieces.push(sock::ipv4(
                            from,
                            to,
                            id,
                            cuts[n],
                            end < datagram.len(),
                            17,
                            &datagram[cuts[n]..end],
                        ));
                    }
                    _ => (),
                }
                pieces
            }
        }
    }

    /// A group of datagrams, mixed; `fast`: nothing that costs this side much.
    fn group(&mut self, fast: bool) {
        let has_session = self.keep_session();
        match self.rng.below(10) {
            0 => {
                let mut packets = Vec::new();
                while packets.len() < GROUP / 4 {
                    packets.extend(self.raw_packets());
                }
                let to = SocketAddrV4::new(*self.target.ip(), 0);
                let n = sock::send_many(&self.raw, &packets, Some(to));
                self.count("IP packets of our own", n);
            }
            1 | 2 if has_session => {
                // Sealed, in an order of our own; and all of it once more.
                let mut messages: Vec<Vec<u8>> =
                    (0..GROUP / 2).filter_map(|_| self.sealed()).collect();
                messages.append(&mut self.late);
                for n in (1..messages.len()).rev() {
                    let with = self.rng.below(n + 1);
                    messages.swap(n, with);
                }
                // Within the replay window, and by whichever address family.
                if self.rng.chance(30) {
                    self.late = messages.split_off(messages.len() - 4);
                }
                let replays = messages.clone();
                if self.rng.chance(30) {
                    let n = sock::send_many(&self.udp6, &messages, None);
                    self.count("sealed", n);
                    self.lost(messages.len() - n);
                } else {
                    let n = sock::send_many(&self.udp4, &messages, None);
                    self.count("sealed", n);
                    self.lost(messages.len() - n);
                }
                self.send4("replayed", &replays);
                self.old = replays;
            }
            3..=7 => {
                // One buffer that the kernel cuts up; the pieces are of one length.
                let (_, first) = self.forged();
                let size = first.len().clamp(1, 1400);
                let number = (60000 / size).min(GROUP);
                let mut buffer = first;
                buffer.resize(size, 0);
                while buffer.len() < size * number {
                    let at = buffer.len();
                    let (_, next) = self.forged();
                    buffer.extend(next.iter().take(size));
                    // What is shorter is filled up with what was captured last.
                    buffer.resize(at + size, 0x5a);
                }
                if self.rng.chance(20) {
                    buffer.truncate(buffer.len() - size / 2);
                }
                let socket = if self.rng.chance(20) {
                    &self.udp6
                } else {
                    &self.udp4
                };
                let mut sent = 0;
                if sock::segment(socket, size).is_ok() {
                    for _ in 0..if fast { 12 } else { 1 } {
                        sent +=
                            sock::send_many(socket, &[&buffer], None) * buffer.len().div_ceil(size);
                        // The next ones are like these, but for a bit in each.
                        for start in (0..buffer.len()).step_by(size) {
                            let at = start + self.rng.below(size.min(buffer.len() - start));
                            buffer[at] ^= 1 << self.rng.below(8);
                        }
                    }
                    let _ = sock::segment(socket, 0);
                }
                self.count("in super-packets", sent);
            }
            _ => {
                let mut by_kind: BTreeMap<&'static str, Vec<Vec<u8>>> = BTreeMap::new();
                for _ in 0..GROUP {
                    let (what, message) = self.forged();
                    by_kind.entry(what).or_default().push(message);
                }
                let v6 = self.rng.chance(30);
                for (what, messages) in by_kind {
                    let socket = if v6 { &self.udp6 } else { &self.udp4 };
                    let n = sock::send_many(socket, &messages, None);
                    self.count(what, n);
                }
            }
        }
        self.drain();
    }

    /// Authentic messages that the kernel did not take were not sent.
    fn lost(&mut self, n: usize) {
        self.authentic -= n as u64;
    }

    /// Waits until the driver has answered a ping through the tunnel, and so has seen all before it.
    fn barrier(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        self.pong = None;
        while Instant::now() < end {
            if !self.keep_session() {
                std::thread::sleep(Duration::from_millis(20));
                self.drain();
                continue;
            }
            self.ping = self.ping.wrapping_add(1);
            let echo = inner::echo(self.ping);
            if let Some(message) = self.session.as_mut().map(|s| s.seal(&echo)) {
                self.authentic += 1;
                self.send4("ping", &[message]);
            }
            let once = Instant::now() + Duration::from_secs(2);
            while Instant::now() < once {
                self.drain();
                if self.pong == Some(self.ping) {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        false
    }
}

/// What Python captured of the honest tunnel: each with its length before it.
fn load(path: &str) -> Vec<Vec<u8>> {
    let data = fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut messages = Vec::new();
    let mut rest = &data[..];
    while let Some((len, more)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(more.len());
        messages.push(more[..len].to_vec());
        rest = &more[len..];
    }
    messages
}

/// hostile packets account|flood ...
pub fn main(how: &str, args: &Args) {
    let target: SocketAddrV4 = args.value("--target");
    let target6: SocketAddr = args.value("--target6");
    let key =
        |name| wire::key(&args.text(name)).unwrap_or_else(|| panic!("{name} wants 64 hex digits"));
    let bind = |at: &str, to: SocketAddr| {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("bind {at}: {e}"));
        socket
            .connect(to)
            .unwrap_or_else(|e| panic!("connect {to}: {e}"));
        sock::prepare(&socket).expect("socket options");
        socket
            .set_nonblocking(true)
            .expect("a socket can be made not to wait");
        socket
    };
    let port: u16 = args.value("--port");
    let udp4 = bind(&format!("0.0.0.0:{port}"), target.into());
    let SocketAddr::V4(from) = udp4.local_addr().expect("it is bound") else {
        panic!("an IPv4 socket has an IPv4 address");
    };
    let corpus = load(&args.text("--corpus"));
    assert!(!corpus.is_empty(), "nothing was captured");
    let public = key("--public");
    let long_ago = Instant::now()
        .checked_sub(Duration::from_secs(60))
        .unwrap_or_else(Instant::now);
    let mut attacker = Attacker {
        rng: Rng::new(args.value("--seed")),
        target,
        from: *from.ip(),
        udp4,
        udp6: bind(&format!("[::]:{}", port + 1), target6),
        raw: sock::raw().expect("a raw socket"),
        mallory: Mallory::new(key("--secret"), public),
        mac1_key: wire::mac1_key(&public),
        session: None,
        born: long_ago,
        asked: long_ago,
        captured: corpus.len(),
        corpus,
        old: Vec::new(),
        late: Vec::new(),
        sent: BTreeMap::new(),
        authentic: 0,
        heard: BTreeMap::new(),
        ping: 0,
        pong: None,
    };
    let count: u64 = args.value("--count");
    let end = Instant::now() + Duration::from_secs(args.value("--seconds"));
    let total = |a: &Attacker| a.sent.values().sum::<u64>();
    let start = Instant::now();
    let mut barriers = 0;
    let mut lost = 0;
    if how == "account" {
        assert!(attacker.barrier(Duration::from_secs(30)), "no session");
        while total(&attacker) < count && Instant::now() < end {
            attacker.group(false);
            if attacker.barrier(Duration::from_secs(20)) {
                barriers += 1;
            } else {
                lost += 1;
            }
        }
        // Nothing authentic stays unsent.
        let late = std::mem::take(&mut attacker.late);
        attacker.send4("sealed", &late);
        attacker.barrier(Duration::from_secs(20));
    } else {
        while total(&attacker) < count && Instant::now() < end {
            attacker.group(true);
        }
    }
    let numbers = |map: &BTreeMap<&str, u64>| {
        map.iter()
            .map(|(k, v)| format!("\"{k}\": {v}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    println!(
        "{{\"total\": {}, \"authentic\": {}, \"barriers\": {barriers}, \"unanswered\": {lost}, \"ms\": {}, \"sent\": {{{}}}, \"heard\": {{{}}}}}",
        total(&attacker),
        attacker.authentic,
        start.elapsed().as_millis(),
        numbers(&attacker.sent),
        numbers(&attacker.heard),
    );
}
