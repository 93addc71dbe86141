// SPDX-License-Identifier: GPL-2.0
//! Who sends as much as he can, and who forges what another sends. Both go on until their input ends.

use std::{
    io::{
        self,
        Read, //
    },
    net::SocketAddrV4,
    sync::{
        atomic::{
            AtomicBool,
            Ordering, //
        },
        Arc,
    },
    thread,
    time::{
        Duration,
        Instant, //
    },
};

use crate::{
    latency::Flow,
    socket,
    within,
    Random,
    Result,
    SINK_PORT,
    WIREGUARD_PORT, //
};

/// Who started this may have died: longer than any measurement.
const LONGEST: Duration = Duration::from_secs(600);
/// A forger sends as many in one go as are due after so long.
const TURN: Duration = Duration::from_millis(1);

/// Sends until the input ends; says "ready" first, and in the end how many there were per second. `send` is told for
/// how long it has been at it, and how many were sent, and says how many more were.
fn until_input_ends(mut send: impl FnMut(Duration, u64) -> io::Result<u64>) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let told = over.clone();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    println!("ready");
    let start = Instant::now();
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let elapsed = start.elapsed();
        if elapsed > LONGEST {
            return Err("nobody has ended this".into());
        }
        sent += send(elapsed, sent)?;
    }
    println!(
        "rate {}",
        (sent as f64 / start.elapsed().as_secs_f64()) as u64
    );
    Ok(())
}

/// The subcommand; see `main.rs`.
pub fn flood(args: &[String]) -> Result<()> {
    let [length, flow] = args else {
        return Err("flood wants 2 arguments".into());
    };
    let datagram = vec![0; length.parse()?];
    // Nobody reads there, so what has come through the tunnel is soon dropped.
    let (source, _sink) = flow.parse::<Flow>()?.sockets(SINK_PORT)?;
    until_input_ends(|_, _| source.send(&datagram).map(|_| 1))
}

/// A data message to the session with this index, whose counter is `counter`.
fn forge_message(message: &mut [u8], index: u32, counter: u64) {
    message[..4].copy_from_slice(&[4, 0, 0, 0]);
    message[4..8].copy_from_slice(&index.to_le_bytes());
    message[8..16].copy_from_slice(&counter.to_le_bytes());
}

/// The subcommand; see `main.rs`.
pub fn forge(args: &[String]) -> Result<()> {
    let [index, length, rate, namespace, address] = args else {
        return Err("forge wants 5 arguments".into());
    };
    let (index, rate): (u32, u32) = (index.parse()?, rate.parse()?);
    let mut message = vec![0; length.parse::<usize>()?.max(32)];
    let mut random = Random(0xdead_beef_feed_cafe);
    message.fill_with(|| random.next() as u8);
    let wire = within(namespace, || socket(0))?;
    wire.connect(SocketAddrV4::new(address.parse()?, WIREGUARD_PORT))?;
    until_input_ends(|elapsed, sent| {
        let due = (elapsed.as_secs_f64() * f64::from(rate)) as u64;
        for n in sent..due {
            // Each stands alone: what has consecutive counters would be taken together.
            forge_message(&mut message, index, 2 * n);
            wire.send(&message)?;
        }
        thread::sleep(TURN);
        Ok(due.saturating_sub(sent))
    })
}
