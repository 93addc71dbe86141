// SPDX-License-Identifier: GPL-2.0
//! Initiations that anybody can make who knows the public key, from many addresses, at an exact
//! rate; and an honest peer that wants in meanwhile. They come without MAC2, with anything for a
//! MAC2, or as one message over and over that has a good one, with a cookie that was asked for.
//!
//! The flooder is in a guest of its own, so its work costs the server nothing. But its clock isn't
//! the server's, which counts instructions. So the server beats time: `beat` sends a small
//! datagram every millisecond of the server's clock, and `serve`, in the other guest, answers each
//! with as many initiations as it asks for. They are made beforehand, with their IP headers.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    args::Args,
    rng::Rng,
    sock,
    wire::{self, Mallory},
};

/// Different datagrams; then they begin again.
const STOCK: usize = 8192;
/// More than any beat asks for; as a count it means that all is over.
const OVER: u32 = u32::MAX;
/// Without a beat for so long, the server is gone. Its second takes many of ours.
const PATIENCE: Duration = Duration::from_secs(240);

/// hostile flood serve --port P --target ADDRESS --target-secret HEX --seed N
/// hostile flood beat --flooder A:P --rate N --port P --kind plain|junk|replay --until FILE
/// hostile flood over --flooder A:P
/// hostile flood handshakes --target A:P --target-secret HEX --secret HEX --count N
pub fn main(what: &str, args: &Args) {
    match what {
        "serve" => serve(args),
        "beat" => beat(args),
        "over" => over(args),
        _ => handshakes(args),
    }
}

fn secret(args: &Args, name: &str) -> wire::Key {
    wire::key(&args.text(name)).expect("64 hex digits")
}

fn public(secret: wire::Key) -> wire::Key {
    x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES)
}

/// What the flood is made of.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// From many addresses, without MAC2.
    Plain,
    /// From many addresses, with 16 bytes that are no MAC2.
    Junk,
    /// One message from our own address, with a MAC2.
    Replay,
}

impl Kind {
    const ALL: [(&'static str, Self); 3] = [
        ("plain", Self::Plain),
        ("junk", Self::Junk),
        ("replay", Self::Replay),
    ];
}

/// Where MAC2 is in a datagram of the stock, behind the headers of IP and UDP.
const MAC2: std::ops::Range<usize> = 28 + 132..28 + 148;

/// Asks for a cookie, and what it does with it.
struct Honest {
    socket: UdpSocket,
    from: SocketAddrV4,
    to: SocketAddrV4,
    target: wire::Key,
    /// Who asked, each once: an answer is for one message, and may be late, for the server's time is
    /// slower than ours.
    askers: VecDeque<Mallory>,
    datagram: Option<Vec<u8>>,
    asked: Instant,
}

/// Who may wait for an answer: for a minute and more.
const ASKERS: usize = 1024;

impl Honest {
    fn new(to: SocketAddrV4, target: wire::Key) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect(to).expect("a route");
        socket.set_nonblocking(true).expect("a socket");
        let from = match socket.local_addr().expect("an address") {
            std::net::SocketAddr::V4(from) => from,
            std::net::SocketAddr::V6(_) => unreachable!("bound to an IPv4 address"),
        };
        Self {
            socket,
            from,
            to,
            target,
            askers: VecDeque::new(),
            datagram: None,
            asked: Instant::now(),
        }
    }

    /// The message with MAC2, if there was a cookie. A new one (the secret has changed) makes a new
    /// message; without one it's asked for again now and then.
    fn datagram(&mut self) -> Option<&[u8]> {
        let mut buffer = [0; 2048];
        let mut news = false;
        while let Ok(n) = self.socket.recv(&mut buffer) {
            let answered = |asker: &mut Mallory| asker.take_cookie(&buffer[..n]);
            if let Some(i) = self.askers.iter_mut().position(answered) {
                // What comes from here on is answered to this one, for it is this one's message.
                self.askers.swap(0, i);
                self.askers.truncate(1);
                news = true;
            }
        }
        if news {
            let message = self.askers[0].initiation();
            let datagram = sock::udp(self.from.port(), self.to.port(), &message);
            self.datagram = Some(sock::ipv4(
                *self.from.ip(),
                *self.to.ip(),
                0,
                0,
                false,
                17,
                &datagram,
            ));
        } else if self.datagram.is_none() && self.asked.elapsed() > Duration::from_millis(100) {
            self.asked = Instant::now();
            // Nobody the server knows.
            let mut asker = Mallory::new([78; 32], self.target);
            let _ = self.socket.send(&asker.initiation());
            self.askers.push_back(asker);
            if self.askers.len() > ASKERS {
                self.askers.pop_front();
            }
        }
        self.datagram.as_deref()
    }
}

/// Answers beats.
fn serve(args: &Args) {
    let target: Ipv4Addr = args.value("--target");
    let key = public(secret(args, "--target-secret"));
    let mac1_key = wire::mac1_key(&key);
    let mut rng = Rng::new(args.value("--seed"));
    let mut stock: Vec<Vec<u8>> = (0..STOCK)
        .map(|_| {
            let message = wire::with_valid_mac1(&mut rng, &mac1_key, None, false);
            // 198.18.0.0/15: the addresses of benchmarks.
            let from = Ipv4Addr::from(0xc612_0000 | (rng.next() as u32 & 0x1_ffff));
            let datagram = sock::udp(1024 | rng.next() as u16, 0, &message);
            sock::ipv4(from, target, 0, 0, false, 17, &datagram)
        })
        .collect();
    let raw = sock::raw().expect("a raw socket");
    let to = SocketAddrV4::new(target, 0);
    let socket = UdpSocket::bind(("0.0.0.0", args.value("--port"))).expect("a free port");
    sock::prepare(&socket).expect("room for beats");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let (mut at, mut sent, mut beats, mut port) = (0usize, 0u64, 0u64, 0u16);
    let (mut kind, mut honest) = (Kind::Plain, None);
    let mut buffer = [0; 64];
    while let Ok(n) = socket.recv(&mut buffer) {
        if n != 7 {
            continue;
        }
        let count = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        let wanted = u16::from_be_bytes([buffer[4], buffer[5]]);
        if count == OVER {
            println!("{{\"sent\": {sent}, \"beats\": {beats}}}");
            return;
        }
        let Some(&(_, wanted_kind)) = Kind::ALL.get(usize::from(buffer[6])) else {
            continue;
        };
        if (wanted, wanted_kind) != (port, kind) {
            (port, kind) = (wanted, wanted_kind);
            for datagram in &mut stock {
                datagram[22..24].copy_from_slice(&port.to_be_bytes());
                datagram[MAC2].fill(if kind == Kind::Junk { 0x5a } else { 0 });
            }
            honest =
                (kind == Kind::Replay).then(|| Honest::new(SocketAddrV4::new(target, port), key));
        }
        beats += 1;
        let mut missing = count as usize;
        if let Some(datagram) = honest.as_mut().and_then(Honest::datagram) {
            let copies = vec![datagram.to_vec(); missing];
            sent += sock::send_many(&raw, &copies, Some(to)) as u64;
            continue;
        }
        // Until there is a cookie: so that there is a reason to send one.
        while missing != 0 {
            let end = (at + missing).min(STOCK);
            sent += sock::send_many(&raw, &stock[at..end], Some(to)) as u64;
            missing -= end - at;
            at = end % STOCK;
        }
    }
    eprintln!(
        "hostile: the server was silent for {} s",
        PATIENCE.as_secs()
    );
    std::process::exit(1);
}

fn beat_socket(args: &Args) -> UdpSocket {
    let flooder: SocketAddrV4 = args.value("--flooder");
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect(flooder).expect("a route");
    socket
}

/// A beat each millisecond. A late one is made up for: what counts is the rate.
fn beat(args: &Args) {
    let socket = beat_socket(args);
    let rate: u64 = args.value("--rate");
    let port: u16 = args.value("--port");
    let until = args.text("--until");
    let wanted = args.text("--kind");
    let kind = Kind::ALL.iter().position(|(name, _)| *name == wanted);
    let kind = kind.expect("plain, junk or replay") as u8;
    let start = Instant::now();
    let (mut beats, mut asked, mut refused) = (0u64, 0u64, 0u64);
    loop {
        if beats % 64 == 0 && Path::new(&until).exists() {
            break;
        }
        let due = start + Duration::from_millis(beats + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        beats += 1;
        let count = beats * rate / 1000 - asked;
        asked += count;
        let mut message = [0; 7];
        message[..4].copy_from_slice(&(count as u32).to_be_bytes());
        message[4..6].copy_from_slice(&port.to_be_bytes());
        message[6] = kind;
        refused += u64::from(socket.send(&message).is_err());
    }
    println!(
        "{{\"beats\": {beats}, \"asked\": {asked}, \"refused\": {refused}, \"us\": {}}}",
        start.elapsed().as_micros()
    );
}

/// Tells the flooder to go home, more than once: nobody says whether it heard.
fn over(args: &Args) {
    let socket = beat_socket(args);
    let mut message = [0; 7];
    message[..4].copy_from_slice(&OVER.to_be_bytes());
    for _ in 0..5 {
        let _ = socket.send(&message);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How long each handshake takes.
fn handshakes(args: &Args) {
    let target: SocketAddrV4 = args.value("--target");
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect(target).expect("a route");
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time-out");
    let mut peer = Mallory::new(
        secret(args, "--secret"),
        public(secret(args, "--target-secret")),
    );
    let count: usize = args.value("--count");
    let (mut times, mut cookies, mut lost) = (Vec::new(), 0, 0);
    for _ in 0..count {
        let message = peer.initiation();
        let start = Instant::now();
        let _ = socket.send(&message);
        let mut buffer = [0; 2048];
        loop {
            match socket.recv(&mut buffer) {
                Ok(n) if peer.take_cookie(&buffer[..n]) => {
                    cookies += 1;
                    let again = peer.initiation();
                    let _ = socket.send(&again);
                }
                Ok(n) if peer.finish(&buffer[..n]).is_some() => {
                    times.push(start.elapsed().as_micros());
                    break;
                }
                Ok(_) => (),
                Err(_) => {
                    lost += 1;
                    break;
                }
            }
        }
        // Under load the limit per address is 20 in a second.
        std::thread::sleep(Duration::from_millis(60));
    }
    let list: Vec<_> = times.iter().map(ToString::to_string).collect();
    println!(
        "{{\"us\": [{}], \"cookies\": {cookies}, \"lost\": {lost}}}",
        list.join(", ")
    );
}
