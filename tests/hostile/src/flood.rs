// SPDX-License-Identifier: GPL-2.0
//! Initiations that anybody can make who knows the public key, from many addresses, at an exact
//! rate; and an honest peer that wants in meanwhile.
//!
//! The flooder is in a guest of its own, so its work costs the server nothing. But its clock isn't
//! the server's, which counts instructions. So the server beats time: `beat` sends a small
//! datagram every millisecond of the server's clock, and `serve`, in the other guest, answers each
//! with as many initiations as it asks for. They are made beforehand, with their IP headers.

use std::{
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
/// hostile flood beat --flooder A:P --rate N --port P --until FILE
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

/// Answers beats.
fn serve(args: &Args) {
    let target: Ipv4Addr = args.value("--target");
    let mac1_key = wire::mac1_key(&public(secret(args, "--target-secret")));
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
    let mut buffer = [0; 64];
    while let Ok(n) = socket.recv(&mut buffer) {
        if n != 6 {
            continue;
        }
        let count = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        let wanted = u16::from_be_bytes([buffer[4], buffer[5]]);
        if count == OVER {
            println!("{{\"sent\": {sent}, \"beats\": {beats}}}");
            return;
        }
        if wanted != port {
            port = wanted;
            for datagram in &mut stock {
                datagram[22..24].copy_from_slice(&port.to_be_bytes());
            }
        }
        beats += 1;
        let mut missing = count as usize;
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
        let mut message = [0; 6];
        message[..4].copy_from_slice(&(count as u32).to_be_bytes());
        message[4..].copy_from_slice(&port.to_be_bytes());
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
    let mut message = [0; 6];
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
