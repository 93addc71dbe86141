// SPDX-License-Identifier: GPL-2.0
//! Load for the benchmarks.
//!
//! ```text
//! wgrs-load keys COUNT SERVER-PRIVATE-HEX FILE
//!     makes COUNT peers; FILE gets 96 bytes for each: private key, public key, product with the
//!     server's. Runs on the host, before anything is timed.
//! wgrs-load swarm FILE FIRST SESSIONS SERVER-PUBLIC-HEX SERVER NAMESPACE PACKETS ROUNDS
//!     runs where the interface is; its peers are in NAMESPACE. Sets up SESSIONS sessions, of
//!     peer FIRST and those after it, prints "ready", waits for a line, and then in each round sends
//!     PACKETS sealed packets of peers taken at random; prints the nanoseconds of each round.
//! wgrs-load spray FILE WINDOW NAMESPACE ROUNDS
//!     sends a datagram to each address in FILE (4 bytes each) from here; they must come out in
//!     NAMESPACE. Prints the nanoseconds of each round.
//! wgrs-load latency RATE LENGTH COUNT FLOW...
//!     sends COUNT datagrams of LENGTH bytes over each FLOW, RATE per second; prints how many there
//!     were, how many arrived, and of these the median delay, the 99th percentile and the longest, in
//!     nanoseconds. A FLOW is FROM:ADDRESS:INTO, between namespaces.
//! wgrs-load flood LENGTH FLOW
//!     sends as much as it can; prints "ready", and when its input ends how many per second it sent.
//! wgrs-load forge INDEX LENGTH RATE NAMESPACE ADDRESS
//!     sends from NAMESPACE data messages that are none, to the session that the interface at ADDRESS
//!     has given this INDEX, RATE per second; prints as flood does.
//! ```
//!
//! With swarm and spray, at most WINDOW packets are under way at once, so that none is lost: a lost
//! one is an error.

mod flood;
mod latency;
mod noise;

use std::{
    fs,
    io::{
        self,
        Write, //
    },
    net::{
        Ipv4Addr,
        SocketAddrV4,
        UdpSocket, //
    },
    os::fd::AsFd,
    process::ExitCode,
    time::{
        Duration,
        Instant, //
    },
};

use noise::{
    Responder,
    Session,
    INITIATION,
    RESPONSE, //
};
use rustix::thread::{
    move_into_link_name_space,
    LinkNameSpaceType, //
};
use wgk::crypto::{
    x25519,
    x25519_clamp,
    x25519_public,
    Secret, //
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where the interface listens, and where what was sent inside comes out.
const WIREGUARD_PORT: u16 = 51820;
const SINK_PORT: u16 = 9999;
/// Packets under way: below every queue's limit, and the socket buffers'.
const WINDOW: usize = 64;
/// Address of the interface inside; peer N has 10.0.0.0 + N + 2^16.
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A small generator (xorshift64*), the same on each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn key(&mut self) -> Secret<32> {
        let mut key = Secret::zero();
        for bytes in key.as_mut_bytes().chunks_mut(8) {
            bytes.copy_from_slice(&self.next().to_le_bytes());
        }
        x25519_clamp(&mut key);
        key
    }
}

fn hex(text: &str) -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return Err(format!("not a key: {text}").into());
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2).ok_or("not ASCII")?, 16)?;
    }
    Ok(bytes)
}

/// Runs `f` with this thread in the namespace of that name.
fn within<T>(namespace: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let home = fs::File::open("/proc/thread-self/ns/net")?;
    let there = fs::File::open(format!("/run/netns/{namespace}"))?;
    move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))?;
    let result = f();
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
    result
}

fn socket(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sends with `send` and waits for as many packets to come out of `sink`, a window at a time.
fn timed(
    count: usize,
    window: usize,
    sink: &UdpSocket,
    mut send: impl FnMut(usize) -> io::Result<()>,
) -> Result<u128> {
    let mut buffer = [0; 2048];
    let start = Instant::now();
    let mut arrived = 0;
    while arrived < count {
        let end = (arrived + window).min(count);
        for n in arrived..end {
            send(n)?;
        }
        for n in arrived..end {
            sink.recv(&mut buffer)
                .map_err(|e| format!("packet {n} of {count} did not arrive: {e}"))?;
        }
        arrived = end;
    }
    Ok(start.elapsed().as_nanos())
}

fn keys(count: usize, server: &Secret<32>, file: &str) -> Result<()> {
    let server_public = x25519_public(server).ok_or("a null key")?;
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut out = io::BufWriter::new(fs::File::create(file)?);
    for _ in 0..count {
        let private = random.key();
        let shared = x25519(&private, &server_public).ok_or("a bad key")?;
        out.write_all(private.as_bytes())?;
        out.write_all(&x25519_public(&private).ok_or("a null key")?)?;
        out.write_all(shared.as_bytes())?;
    }
    Ok(out.flush()?)
}

/// The records of a file of keys.
struct Keys(Vec<u8>);

impl Keys {
    fn field(&self, peer: usize, field: usize) -> Result<[u8; 32]> {
        let at = 96 * peer + 32 * field;
        Ok(self
            .0
            .get(at..at + 32)
            .ok_or("the file of keys is too short")?
            .try_into()?)
    }
}

/// An IPv4 UDP packet of `peer`, padded as WireGuard does. Its checksums are right.
fn packet(peer: usize, payload: usize) -> Vec<u8> {
    let len = 28 + payload;
    let mut bytes = vec![0; len.next_multiple_of(16)];
    let source = Ipv4Addr::from(0x0a01_0000 + peer as u32);
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = 17;
    bytes[12..16].copy_from_slice(&source.octets());
    bytes[16..20].copy_from_slice(&INSIDE.octets());
    let mut sum: u32 = bytes[..20]
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
    bytes[20..22].copy_from_slice(&SINK_PORT.to_be_bytes());
    bytes[22..24].copy_from_slice(&SINK_PORT.to_be_bytes());
    bytes[24..26].copy_from_slice(&(8 + payload as u16).to_be_bytes());
    bytes
}

struct Peer {
    number: usize,
    session: Session,
    counter: u64,
}

/// Sessions of `count` peers.
fn establish(
    keys: &Keys,
    first: usize,
    count: usize,
    server: &Responder,
    wire: &UdpSocket,
) -> Result<Vec<Peer>> {
    let mut done = Vec::with_capacity(count);
    let mut begun = Vec::with_capacity(count);
    let mut buffer = [0; 2048];
    while done.len() < count {
        while begun.len() < (done.len() + WINDOW).min(count) {
            let number = first + begun.len();
            let (msg, waiting) = server.initiate(
                begun.len() as u32,
                &keys.field(number, 1)?,
                &keys.field(number, 2)?,
            );
            debug_assert_eq!(msg.len(), INITIATION);
            wire.send(&msg)?;
            begun.push(Some((number, waiting)));
        }
        let len = wire
            .recv(&mut buffer)
            .map_err(|e| format!("no response after {} handshakes: {e}", done.len()))?;
        if len != RESPONSE || buffer[0] != 2 {
            continue;
        }
        let response: &[u8; RESPONSE] = buffer[..RESPONSE].try_into()?;
        let index = u32::from_le_bytes(response[8..12].try_into()?) as usize;
        let Some((number, waiting)) = begun.get_mut(index).and_then(Option::take) else {
            continue;
        };
        let private = Secret::from_bytes(keys.field(number, 0)?);
        let session = waiting
            .finish(&private, response)
            .ok_or("a response that does not open")?;
        // Empty: confirms the session.
        wire.send(&session.seal(0, &[]))?;
        done.push(Peer {
            number,
            session,
            counter: 1,
        });
    }
    Ok(done)
}

fn swarm(args: &[String]) -> Result<()> {
    let [file, first, sessions, public, address, namespace, packets, rounds] = args else {
        return Err("swarm wants 8 arguments".into());
    };
    let keys = Keys(fs::read(file)?);
    let (first, sessions): (usize, usize) = (first.parse()?, sessions.parse()?);
    let (packets, rounds): (usize, usize) = (packets.parse()?, rounds.parse()?);
    let server = Responder::new(hex(public)?);
    let sink = socket(SINK_PORT)?;
    let wire = within(namespace, || socket(0))?;
    wire.connect(SocketAddrV4::new(address.parse()?, WIREGUARD_PORT))?;
    let start = Instant::now();
    let mut swarm = establish(&keys, first, sessions, &server, &wire)?;
    println!("ready {}", start.elapsed().as_nanos());
    io::stdin().read_line(&mut String::new())?;

    let mut random = Random(0xfeed_beef_dead_cafe);
    for round in 0..=rounds {
        let messages: Vec<Vec<u8>> = (0..packets)
            .map(|_| {
                let n = (random.next() % swarm.len() as u64) as usize;
                let peer = &mut swarm[n];
                peer.counter += 1;
                peer.session.seal(peer.counter, &packet(peer.number, 64))
            })
            .collect();
        let elapsed = timed(packets, WINDOW, &sink, |n| {
            wire.send(&messages[n]).map(drop)
        })?;
        // The first one warms up.
        if round > 0 {
            println!("round {elapsed}");
        }
    }
    Ok(())
}

fn spray(args: &[String]) -> Result<()> {
    let [file, window, namespace, rounds] = args else {
        return Err("spray wants 4 arguments".into());
    };
    let bytes = fs::read(file)?;
    let to: Vec<SocketAddrV4> = bytes
        .chunks_exact(4)
        .map(|b| SocketAddrV4::new(Ipv4Addr::new(b[0], b[1], b[2], b[3]), SINK_PORT))
        .collect();
    let sink = within(namespace, || socket(SINK_PORT))?;
    let source = socket(0)?;
    for _ in 0..rounds.parse()? {
        let elapsed = timed(to.len(), window.parse()?, &sink, |n| {
            source.send_to(&[0; 64], to[n]).map(drop)
        })?;
        println!("round {elapsed}");
    }
    Ok(())
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((word, [count, private, file])) if word == "keys" => {
            keys(count.parse()?, &Secret::from_bytes(hex(private)?), file)
        }
        Some((word, rest)) if word == "swarm" => swarm(rest),
        Some((word, rest)) if word == "spray" => spray(rest),
        Some((word, rest)) if word == "latency" => latency::run(rest),
        Some((word, rest)) if word == "flood" => flood::flood(rest),
        Some((word, rest)) if word == "forge" => flood::forge(rest),
        _ => Err("wants keys, swarm, spray, latency, flood or forge; see src/main.rs".into()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wgrs-load: {error}");
            ExitCode::FAILURE
        }
    }
}
