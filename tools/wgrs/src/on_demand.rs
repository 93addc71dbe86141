// SPDX-License-Identifier: GPL-2.0
//! `wgrs on-demand`: peers of an interface that are added when they call.
//!
//! Who calls has only claimed to be who he says, and can be invented: what one call costs is bounded
//! in time, in memory and in what is printed, and of a file only what is in it is added.
//!
//! Peers are added with the family that `wg` speaks, which has no way to say "only if it is not there".
//! So it is asked just before, and nothing that somebody else has set is taken back: a network is
//! added, never replaced, and what a section does not say stays.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ChildStdout;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use crate::clock::Clock;
use crate::command::{Bounds, Call, Commands};
use crate::failure::{Failure, ENOENT};
use crate::monitor::{decode, line, note, object};
use crate::netlink::{attribute, Ears, Family, Heard, GONE};
use crate::schema;
use crate::section::{Config, Key, Network, Peer};
use crate::wire::{self, Contents, Look};

/// How often it is looked whether file and interface are still the same.
const TICK: Duration = Duration::from_secs(1);
/// Reads of events between two looks at what else there is to do.
const READS: u32 = 64;
/// Lines about those who are not added, in a second.
const REFUSALS: u32 = 32;
/// Networks in one request: the kernel takes 64 KiB of a peer.
const NETWORKS: usize = 1000;
/// A caller calls again after 5 seconds.
const BOUNDS: Bounds = Bounds {
    at_once: 32,
    waiting: 256,
    run: Duration::from_secs(10),
    wait: Duration::from_secs(5),
};
const ASKING: &str = "asking for the peer";
const ADDING: &str = "adding the peer";

/// Where peers come from.
pub enum Source {
    /// A file of sections.
    Config(PathBuf),
    /// A command, with words that stand before the key.
    Exec(Vec<OsString>),
}

/// The same in use.
enum Book {
    Config(Config),
    Exec(Commands),
}

/// What is to be done.
pub struct OnDemand<'a, W> {
    /// Flushed after each line.
    pub out: W,
    /// One object a line, or a line for people.
    pub json: bool,
    /// Which interface; later it is known by its index.
    pub interface: &'a str,
    /// Bytes that events may take that are not read yet.
    pub room: usize,
}

/// What ends it, or a command.
struct Signals {
    stream: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (stream, end) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        // What whoever started this has ignored stays so (nohup).
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let wanted = |signal: &i32| ignored(&status) & (1 << (signal - 1)) == 0;
        for signal in [SIGTERM, SIGINT, SIGHUP].into_iter().filter(wanted) {
            // The second one does not wait until somebody reads what is printed.
            flag::register_conditional_shutdown(signal, 1, stop.clone())?;
            flag::register(signal, stop.clone())?;
            pipe::register(signal, end.try_clone()?)?;
        }
        pipe::register(SIGCHLD, end)?;
        Ok(Self { stream, stop })
    }

    /// Whether it is to end.
    fn take(&self) -> bool {
        // Emptied before the flag is looked at: what comes later wakes again.
        while matches!((&self.stream).read(&mut [0; 64]), Ok(1..)) {}
        self.stop.load(Ordering::SeqCst)
    }
}

/// The signals that are ignored, a bit for each, as /proc has it.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok())
        .unwrap_or(0)
}

/// Lines that may be printed before the next tick, and how many were not.
struct Quota {
    left: u32,
    more: u64,
}

impl Quota {
    const FULL: Self = Self {
        left: REFUSALS,
        more: 0,
    };

    fn take(&mut self) -> bool {
        if self.left == 0 {
            self.more += 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

/// What is needed to add a peer.
struct Desk {
    family: Family,
    configuring: Family,
    interface: String,
    index: u32,
}

impl Desk {
    fn has(&mut self, key: &Key) -> Result<bool, Failure> {
        let index = self.index.to_ne_bytes();
        let number = |name| attribute(&schema::SET_PEER, name);
        let asked = self.family.ask(
            ASKING,
            "peer-get",
            wire::ACK,
            Some(&self.interface),
            &[
                (number("ifindex"), index.as_slice()),
                (number("public-key"), key),
            ],
        );
        match asked {
            Ok(_) => Ok(true),
            Err(Failure::Kernel(_, ENOENT, _)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether it was added: it may be there already.
    fn add(&mut self, peer: &Peer) -> Result<bool, Failure> {
        if self.has(&peer.key)? {
            return Ok(false);
        }
        for message in requests(self.index, peer) {
            self.configuring
                .configure(ADDING, &self.interface, &message)?;
        }
        Ok(true)
    }

    /// That it has moved to another namespace is no event of the family.
    fn still_there(&self, ears: &Ears) -> Result<(), Failure> {
        match index_to_name(ears, self.index) {
            Err(Errno::NODEV) => Err(Failure::NoInterface(self.interface.clone())),
            _ => Ok(()),
        }
    }
}

/// What adds a peer: one request, unless it has a great many networks.
fn requests(index: u32, peer: &Peer) -> Vec<WireguardMessage> {
    let mut parts: Vec<&[Network]> = peer.allowed.chunks(NETWORKS).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let request = |(n, part): (usize, &&[Network])| {
        let mut attributes = vec![WireguardPeerAttribute::PublicKey(peer.key)];
        if n == 0 {
            attributes.extend(peer.preshared.map(WireguardPeerAttribute::PresharedKey));
            attributes.extend(
                peer.keepalive
                    .map(WireguardPeerAttribute::PersistentKeepalive),
            );
        } else {
            // Who has removed it meanwhile knew why.
            attributes.push(WireguardPeerAttribute::Flags(
                WireguardPeerFlags::UpdateOnly,
            ));
        }
        if !part.is_empty() {
            attributes.push(WireguardPeerAttribute::AllowedIps(
                part.iter().map(allowed).collect(),
            ));
        }
        WireguardMessage {
            cmd: WireguardCmd::SetDevice,
            attributes: vec![
                WireguardAttribute::IfIndex(index),
                WireguardAttribute::Peers(vec![WireguardPeer(attributes)]),
            ],
        }
    };
    parts.iter().enumerate().map(request).collect()
}

fn allowed((address, bits): &Network) -> WireguardAllowedIp {
    let family = if address.is_ipv4() {
        WireguardAddressFamily::Ipv4
    } else {
        WireguardAddressFamily::Ipv6
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(*address),
        WireguardAllowedIpAttr::Cidr(*bits),
    ])
}

impl<W: Write> OnDemand<'_, W> {
    /// Adds peers until it is told to stop.
    pub fn run(&mut self, source: Source) -> Result<(), Failure> {
        let failed = |e| Failure::System("waiting for events", e);
        let signals = Signals::new().map_err(failed)?;
        let mut family = Family::open()?;
        // First of all: who may not do this is told that.
        let ears = family.listen(self.room)?;
        let index = index(&mut family, self.interface)?;
        let mut book = match source {
            Source::Config(path) => Book::Config(Config::open(path).map_err(Failure::Usage)?),
            Source::Exec(words) => Book::Exec(Commands::new(words, BOUNDS)),
        };
        let mut desk = Desk {
            configuring: family.configuring()?,
            family,
            interface: self.interface.into(),
            index,
        };
        let mut quota = Quota::FULL;
        let mut ticked = Instant::now();
        self.note("listening", &[])?;
        if let Book::Config(config) = &book {
            self.known(config.len())?;
        }
        loop {
            wait(&ears, &signals, &book).map_err(failed)?;
            if signals.take() {
                return Ok(());
            }
            for _ in 0..READS {
                match ears.hear(false)? {
                    Heard::Nothing => break,
                    Heard::Overrun => {
                        self.note(
                            "overrun",
                            &[(
                                "meaning",
                                "calls were lost; who called calls again after 5 seconds",
                            )],
                        )?;
                        // That it went may have been lost as well.
                        desk.still_there(&ears)?;
                    }
                    Heard::Events(events) => {
                        for (number, attributes) in events {
                            if number == GONE {
                                return Err(Failure::NoDriver);
                            }
                            let (name, event) = decode(number, &attributes);
                            self.event(&mut desk, &mut book, &mut quota, &name, &event)?;
                        }
                    }
                }
            }
            if let Book::Exec(commands) = &mut book {
                for (call, answer) in commands.turn(Instant::now()) {
                    match answer {
                        Ok(Some(peer)) => self.add(&mut desk, &mut quota, &call, &peer)?,
                        Ok(None) => {
                            self.refuse(&mut quota, &call, "the command does not know it")?
                        }
                        Err(why) => self.refuse(&mut quota, &call, &why)?,
                    }
                }
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                desk.still_there(&ears)?;
                if let Book::Config(config) = &mut book {
                    self.refresh(config)?;
                }
                if quota.more > 0 {
                    self.note(
                        "more",
                        &[(
                            "meaning",
                            &format!("{} calls more were refused", quota.more),
                        )],
                    )?;
                }
                quota = Quota::FULL;
            }
        }
    }

    /// Does what an event asks for.
    fn event(
        &mut self,
        desk: &mut Desk,
        book: &mut Book,
        quota: &mut Quota,
        name: &str,
        event: &Contents,
    ) -> Result<(), Failure> {
        if event.number("ifindex") != Some(desk.index.into()) {
            return Ok(());
        }
        // As it is called now.
        if let Some(interface) = event.word("ifname") {
            desk.interface = interface;
        }
        if name == "device-removed" {
            return Err(Failure::NoInterface(desk.interface.clone()));
        }
        let word = event.word("public-key").unwrap_or_default();
        let (true, Some(key)) = (name == "unknown-peer", wire::key(&word)) else {
            return Ok(());
        };
        let call = Call {
            key,
            word,
            endpoint: event.word("endpoint").unwrap_or_default(),
            interface: desk.interface.clone(),
        };
        match book {
            Book::Config(config) => {
                self.refresh(config)?;
                match config.find(&key) {
                    Some(peer) => self.add(desk, quota, &call, &peer),
                    None => self.refuse(quota, &call, "it is not in the file"),
                }
            }
            Book::Exec(commands) => match commands.ask(&call, Instant::now()) {
                Ok(()) => Ok(()),
                Err(why) => self.refuse(quota, &call, why),
            },
        }
    }

    fn add(
        &mut self,
        desk: &mut Desk,
        quota: &mut Quota,
        call: &Call,
        peer: &Peer,
    ) -> Result<(), Failure> {
        match desk.add(peer) {
            Ok(true) => self.say("added", call, None),
            Ok(false) if quota.take() => {
                self.say("left", call, Some("somebody has added it already"))
            }
            Ok(false) => Ok(()),
            // It may do for the next one.
            Err(e @ Failure::Kernel(..)) => self.refuse(quota, call, &e.to_string()),
            Err(e) => Err(e),
        }
    }

    fn refuse(&mut self, quota: &mut Quota, call: &Call, why: &str) -> Result<(), Failure> {
        if quota.take() {
            self.say("refused", call, Some(why))?;
        }
        Ok(())
    }

    /// Looks whether the file has changed.
    fn refresh(&mut self, config: &mut Config) -> Result<(), Failure> {
        match config.refresh() {
            Ok(None) => Ok(()),
            Ok(Some(many)) => self.known(many),
            Err(why) => {
                let why = format!("{why}; the peers from before stay known");
                self.note("file-refused", &[("why", &why)])
            }
        }
    }

    fn known(&mut self, many: usize) -> Result<(), Failure> {
        self.note(
            "file-read",
            &[("meaning", &format!("{many} peers are known"))],
        )
    }

    fn say(&mut self, what: &str, call: &Call, why: Option<&str>) -> Result<(), Failure> {
        let mut event = Contents::new();
        event.insert("ifname".into(), call.interface.clone().into());
        event.insert("public-key".into(), call.word.clone().into());
        event.insert("endpoint".into(), call.endpoint.clone().into());
        event.extend(why.map(|why| ("why".into(), why.into())));
        let clock = Clock::now();
        let text = if self.json {
            object(what, &event, false, &clock).to_string()
        } else {
            line(what, &event, false, &clock)
        };
        self.print(&text)
    }

    fn note(&mut self, name: &str, words: &[(&str, &str)]) -> Result<(), Failure> {
        let text = note(name, words, self.json, &Clock::now());
        self.print(&text)
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")
            .and_then(|()| self.out.flush())
            .map_err(|e| Failure::System("printing", e))
    }
}

/// The index of an interface of ours.
fn index(family: &mut Family, interface: &str) -> Result<u32, Failure> {
    let name = [interface.as_bytes(), b"\0"].concat();
    let answer = family.ask(
        "asking for the interface",
        "device-get",
        wire::ACK,
        Some(interface),
        &[(attribute(&schema::SET_DEVICE, "ifname"), &name)],
    )?;
    let number = answer.messages.first().and_then(|d| d.number("ifindex"));
    number
        .and_then(|n| n.try_into().ok())
        .ok_or_else(|| Failure::NoInterface(interface.into()))
}

/// Until there is something to do, or for a tick.
fn wait(ears: &Ears, signals: &Signals, book: &Book) -> io::Result<()> {
    let outputs: Vec<&ChildStdout> = match book {
        Book::Exec(commands) => commands.outputs().collect(),
        Book::Config(_) => Vec::new(),
    };
    let mut fds = vec![
        PollFd::new(ears, PollFlags::IN),
        PollFd::new(&signals.stream, PollFlags::IN),
    ];
    fds.extend(
        outputs
            .iter()
            .map(|output| PollFd::new(*output, PollFlags::IN)),
    );
    let timeout = Timespec::try_from(TICK).map_err(|_| ErrorKind::InvalidInput)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, Parseable};
    use serde_json::{json, Value};
    use std::net::{IpAddr, Ipv4Addr};

    fn peer(networks: u32) -> Peer {
        Peer {
            key: [1; 32],
            preshared: Some([2; 32]),
            keepalive: Some(25),
            allowed: (0..networks)
                .map(|n| (IpAddr::from(Ipv4Addr::from_bits(n)), 32))
                .collect(),
        }
    }

    /// Nothing is replaced, nothing is lost, and each part fits in the kernel's attributes.
    #[test]
    fn asked_of_the_kernel() {
        for (networks, messages) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (5000, 5)] {
            let made = requests(7, &peer(networks));
            assert_eq!(made.len(), messages);
            let mut found = 0;
            for (n, message) in made.iter().enumerate() {
                let [WireguardAttribute::IfIndex(7), WireguardAttribute::Peers(peers)] =
                    message.attributes.as_slice()
                else {
                    panic!("{message:?}")
                };
                assert!(message.buffer_len() < 1 << 16);
                for attribute in &peers[0].0 {
                    match attribute {
                        WireguardPeerAttribute::PublicKey(key) => assert_eq!(*key, [1; 32]),
                        WireguardPeerAttribute::PresharedKey(_)
                        | WireguardPeerAttribute::PersistentKeepalive(25) => assert_eq!(n, 0),
                        WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly) => {
                            assert_ne!(n, 0);
                        }
                        WireguardPeerAttribute::AllowedIps(list) => found += list.len(),
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!(found, networks as usize);
        }
        // Containers are marked as such, which the kernel insists on.
        let mut bytes = vec![0; requests(7, &peer(1))[0].buffer_len()];
        requests(7, &peer(1))[0].emit(&mut bytes);
        assert_eq!(bytes[8 + 2..8 + 4], 0x8008u16.to_ne_bytes());
        let buffer = netlink_packet_core::NlaBuffer::new(&bytes[8..]);
        assert!(WireguardAttribute::parse(&buffer).is_ok());
    }

    #[test]
    fn signals() {
        let status = "Name:\twgrs\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(status), (1 << (SIGHUP - 1)) | (1 << 12));
        assert_eq!(ignored(""), 0);
    }

    #[test]
    fn what_is_said() {
        let call = Call {
            key: [0; 32],
            word: "AAAA=".into(),
            endpoint: "10.0.0.1:7".into(),
            interface: "wg0".into(),
        };
        let mut quota = Quota::FULL;
        let mut said = |json, many| {
            let mut on_demand = OnDemand {
                out: Vec::new(),
                json,
                interface: "wg0",
                room: 0,
            };
            on_demand.say("added", &call, None).unwrap();
            for _ in 0..many {
                on_demand.refuse(&mut quota, &call, "no-answer").unwrap();
            }
            String::from_utf8(on_demand.out).unwrap()
        };
        let text = said(false, 1);
        assert!(text.contains(" wg0 AAAA= added endpoint=10.0.0.1:7\n"));
        assert!(text.contains(" wg0 AAAA= refused endpoint=10.0.0.1:7 why=no-answer\n"));
        let text = said(true, 2 * REFUSALS);
        let objects: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        // Whoever invents callers does not fill the journal.
        assert_eq!(objects.len(), REFUSALS as usize);
        assert_eq!(
            (&objects[0]["event"], &objects[1]["why"]),
            (&json!("added"), &json!("no-answer"))
        );
        assert_eq!(quota.more, u64::from(REFUSALS) + 1);
    }
}
