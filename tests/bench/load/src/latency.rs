// SPDX-License-Identifier: GPL-2.0
//! Small datagrams at a given rate, with the time in them: how long each was on its way.

use std::{
    net::{
        SocketAddrV4,
        UdpSocket, //
    },
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
    socket,
    within,
    Result,
    SINK_PORT, //
};

/// The datagram's number, and when it was sent.
const HEAD: usize = 16;
/// How long the last datagrams may take: what comes later is lost.
const LAST: Duration = Duration::from_secs(2);

/// From whom to whom: a namespace, an address, and the namespace that has this address.
pub struct Flow {
    pub from: String,
    pub to: std::net::Ipv4Addr,
    pub into: String,
}

impl std::str::FromStr for Flow {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(from), Some(to), Some(into), None) => Ok(Self {
                from: from.into(),
                to: to.parse()?,
                into: into.into(),
            }),
            _ => Err(format!("not FROM:ADDRESS:INTO: {text}").into()),
        }
    }
}

impl Flow {
    /// A socket at each end; `port`: where the flow ends.
    pub fn sockets(&self, port: u16) -> Result<(UdpSocket, UdpSocket)> {
        let source = within(&self.from, || socket(0))?;
        source.connect(SocketAddrV4::new(self.to, port))?;
        let sink = within(&self.into, || socket(port))?;
        Ok((source, sink))
    }
}

/// How long they were on their way, in nanoseconds.
#[derive(Default)]
pub struct Delays(Vec<u64>);

impl Delays {
    /// The least delay that `part` of all do not exceed; `None` if there are none.
    fn quantile(&self, part: f64) -> Option<u64> {
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied()
    }

    /// Those of all flows.
    fn collect(flows: Vec<Vec<u64>>) -> Self {
        let mut all = flows.concat();
        all.sort_unstable();
        Self(all)
    }
}

/// Sends `count` datagrams, one in each `interval`; those it is late with at once.
fn send(
    source: &UdpSocket,
    length: usize,
    count: u64,
    interval: Duration,
    first: Instant,
    zero: Instant,
) -> Result<()> {
    let mut datagram = vec![0; length];
    for n in 0..count {
        let due = first + interval.mul_f64(n as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        datagram[..8].copy_from_slice(&n.to_le_bytes());
        let now = zero.elapsed().as_nanos() as u64;
        datagram[8..HEAD].copy_from_slice(&now.to_le_bytes());
        source.send(&datagram)?;
    }
    Ok(())
}

/// The delays of what arrives, until all have, or the last one was sent and no more come.
fn receive(sink: &UdpSocket, count: u64, all_sent: &AtomicBool, zero: Instant) -> Result<Vec<u64>> {
    sink.set_read_timeout(Some(LAST))?;
    let mut buffer = [0; 2048];
    let mut seen = vec![false; count as usize];
    let mut delays = Vec::with_capacity(count as usize);
    while delays.len() < count as usize {
        // Asked before it waits: who waited for so long after that waited long enough.
        let was_last = all_sent.load(Ordering::Acquire);
        let len = match sink.recv(&mut buffer) {
            Ok(len) => len,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                if was_last {
                    break;
                }
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let now = zero.elapsed().as_nanos() as u64;
        let number = u64::from_le_bytes(buffer[..8].try_into()?);
        let sent = u64::from_le_bytes(buffer[8..HEAD].try_into()?);
        let seen = seen
            .get_mut(number as usize)
            .filter(|_| len >= HEAD)
            .ok_or("a datagram that nobody sent arrived")?;
        if std::mem::replace(seen, true) {
            return Err(format!("datagram {number} arrived twice").into());
        }
        delays.push(now.saturating_sub(sent));
    }
    Ok(delays)
}

/// The subcommand; see `main.rs`.
pub fn run(args: &[String]) -> Result<()> {
    let [rate, length, count, flows @ ..] = args else {
        return Err("latency wants at least 4 arguments".into());
    };
    let (rate, length, count): (u32, usize, u64) = (rate.parse()?, length.parse()?, count.parse()?);
    if rate == 0 || !(HEAD..=1400).contains(&length) || flows.is_empty() {
        return Err("latency: no flow, no rate, or a length that is not from 16 to 1400".into());
    }
    let interval = Duration::from_secs(1) / rate;
    let zero = Instant::now();
    // Each begins a little after the one before.
    let first = |n: usize| {
        zero + Duration::from_millis(20) + interval.mul_f64(n as f64 / flows.len() as f64)
    };
    let mut ends = Vec::new();
    for (n, flow) in flows.iter().enumerate() {
        let (source, sink) = flow.parse::<Flow>()?.sockets(SINK_PORT + 1 + n as u16)?;
        let all_sent = Arc::new(AtomicBool::new(false));
        let sent = all_sent.clone();
        let first = first(n);
        // As text: an error in a box stays in its thread.
        let sender = thread::spawn(move || {
            let result = send(&source, length, count, interval, first, zero);
            sent.store(true, Ordering::Release);
            result.map_err(|e| e.to_string())
        });
        let receiver = thread::spawn(move || {
            receive(&sink, count, &all_sent, zero).map_err(|e| e.to_string())
        });
        ends.push((sender, receiver));
    }
    let mut delays = Vec::new();
    for (sender, receiver) in ends {
        sender.join().map_err(|_| "a sender panicked")??;
        delays.push(receiver.join().map_err(|_| "a receiver panicked")??);
    }
    let delays = Delays::collect(delays);
    let quantile = |part| delays.quantile(part).ok_or("nothing arrived");
    println!(
        "sent {} arrived {} p50 {} p99 {} max {}",
        count * flows.len() as u64,
        delays.0.len(),
        quantile(0.5)?,
        quantile(0.99)?,
        quantile(1.0)?
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let delays = Delays::collect(vec![vec![30, 10], vec![], vec![20, 40]]);
        for (part, delay) in [
            (0.0, 10),
            (0.25, 10),
            (0.26, 20),
            (0.5, 20),
            (0.99, 40),
            (1.0, 40),
        ] {
            assert_eq!(delays.quantile(part), Some(delay), "{part}");
        }
        let hundred = Delays::collect(vec![(1..=100).rev().collect()]);
        assert_eq!(
            hundred.quantile(0.99),
            Some(99),
            "one in a hundred is above"
        );
        assert_eq!(Delays::default().quantile(0.5), None);
    }

    #[test]
    fn flows() {
        let flow: Flow = "a:10.0.0.1:b".parse().unwrap();
        assert_eq!((flow.from.as_str(), flow.into.as_str()), ("a", "b"));
        assert_eq!(flow.to, std::net::Ipv4Addr::new(10, 0, 0, 1));
        for text in ["", "a:10.0.0.1", "a:10.0.0:b", "a:10.0.0.1:b:c"] {
            assert!(text.parse::<Flow>().is_err(), "{text}");
        }
    }

    /// Between two sockets here: what arrives is timed, what doesn't is not waited for without end.
    #[test]
    fn lost_ones() {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        let source = UdpSocket::bind("127.0.0.1:0").unwrap();
        source.connect(sink.local_addr().unwrap()).unwrap();
        let zero = Instant::now();
        send(&source, HEAD, 3, Duration::from_millis(1), zero, zero).unwrap();
        assert!(zero.elapsed() >= Duration::from_millis(2));
        let delays = receive(&sink, 4, &AtomicBool::new(true), zero).unwrap();
        assert_eq!(delays.len(), 3);
        assert!(delays.iter().all(|&d| d > 0));
        // The same numbers again.
        send(&source, HEAD, 2, Duration::ZERO, zero, zero).unwrap();
        send(&source, HEAD, 2, Duration::ZERO, zero, zero).unwrap();
        assert!(receive(&sink, 4, &AtomicBool::new(true), zero).is_err());
    }
}
