// SPDX-License-Identifier: GPL-2.0
//! Sockets: requests to the family and its events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use netlink_packet_core::Nla;
use netlink_packet_generic::GenlFamily;
use netlink_packet_wireguard::WireguardMessage;
use netlink_sys::{protocols::NETLINK_GENERIC, Socket, SocketAddr};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::failure::{Failure, ENODEV, ENOENT};
use crate::schema::{self, FAMILY, GROUP, VERSION};
use crate::wire::{self, Contents, Reply};

/// Room for a part of a dump: the kernel makes them as large as what is read with, up to 32 KiB.
const ROOM: usize = 1 << 16;
const CTRL: u16 = 16;
const CTRL_CMD_DELFAMILY: u8 = 2;
const CTRL_CMD_GETFAMILY: u8 = 3;
/// The group that is told of families.
const CTRL_NOTIFY: u32 = 16;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

/// The family, by a socket in this network namespace.
pub struct Family {
    socket: Socket,
    sequence: u32,
    id: u16,
    group: Option<u32>,
}

/// What a request was answered.
#[derive(Default)]
pub struct Answer {
    /// In the order in which they came.
    pub messages: Vec<Contents>,
    /// They are not of one moment.
    pub interrupted: bool,
}

/// An interface and its peers.
pub struct Device {
    /// Of `device-get`.
    pub device: Contents,
    /// Of `peer-get`, in the order in which they were added.
    pub peers: Vec<Contents>,
    /// The peers are not of one moment, as often as they were asked for.
    pub torn: bool,
}

fn socket() -> Result<Socket, Failure> {
    let opened = || -> io::Result<Socket> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(socket)
    };
    opened().map_err(|e| Failure::System("opening a netlink socket", e))
}

/// A datagram from the kernel.
fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    socket.recv_from(&mut bytes, 0)?;
    Ok(bytes)
}

impl Family {
    /// Finds it, or who serves WireGuard in its place.
    pub fn open() -> Result<Self, Failure> {
        Self::named(FAMILY)?.ok_or_else(|| missing(Path::new("/sys/module")))
    }

    /// The one that `wg` speaks with. Only for who has [opened](Self::open) ours, which is of the same
    /// module: asking for one that is not there could load another.
    pub fn configuring(&self) -> Result<Self, Failure> {
        Self::named(WireguardMessage::family_name())?.ok_or(Failure::NoDriver)
    }

    fn named(name: &str) -> Result<Option<Self>, Failure> {
        let socket = socket()?;
        // Answers without a copy of the question, and with words.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        let mut family = Self {
            socket,
            sequence: 0,
            id: CTRL,
            group: None,
        };
        let name = [name.as_bytes(), b"\0"].concat();
        let mut found = None;
        let asked = family.ask_raw(
            CTRL_CMD_GETFAMILY,
            1,
            wire::ACK,
            &[(CTRL_ATTR_FAMILY_NAME, &name)],
            |attributes| {
                found = wire::find(attributes, CTRL_ATTR_FAMILY_ID)
                    .and_then(wire::number)
                    .map(|id| (id as u16, group(attributes)));
            },
        )?;
        match (asked.0, found) {
            (0, Some((id, group))) => {
                family.id = id;
                family.group = group;
                Ok(Some(family))
            }
            (0 | ENOENT, _) => Ok(None),
            (errno, _) => Err(Failure::of(
                "asking for a netlink family",
                None,
                errno,
                asked.1,
            )),
        }
    }

    /// Sends a request and has each message of the answer looked at; errno and words at its end, and
    /// whether it is of one moment.
    fn ask_raw(
        &mut self,
        command: u8,
        version: u8,
        flags: u16,
        attributes: &[(u16, &[u8])],
        each: impl FnMut(&[u8]),
    ) -> Result<(i32, Option<String>, bool), Failure> {
        self.exchange(command, version, flags, &wire::list(attributes), each)
    }

    /// The same with attributes of any kind.
    fn exchange(
        &mut self,
        command: u8,
        version: u8,
        flags: u16,
        attributes: &[impl Nla],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(i32, Option<String>, bool), Failure> {
        let failed = |e| Failure::System("asking the kernel", e);
        self.sequence += 1;
        let request = wire::request(
            self.id,
            wire::REQUEST | flags,
            self.sequence,
            command,
            version,
            attributes,
        );
        self.socket.send(&request, 0).map_err(failed)?;
        let mut interrupted = false;
        loop {
            let bytes = receive(&self.socket).map_err(failed)?;
            for message in wire::messages(&bytes).filter(|m| m.sequence == self.sequence) {
                interrupted |= message.interrupted;
                match message.reply {
                    Reply::Data { attributes, .. } => each(attributes),
                    Reply::End(errno, said) => return Ok((errno, said, interrupted)),
                }
            }
        }
    }

    /// A request of the family `wireguard` ([`configuring`](Self::configuring)) that changes an
    /// interface, for what is said if it fails.
    pub fn configure(
        &mut self,
        doing: &'static str,
        interface: &str,
        message: &WireguardMessage,
    ) -> Result<(), Failure> {
        let (command, version) = (message.command(), message.version());
        match self.exchange(command, version, wire::ACK, &message.attributes, |_| {})? {
            (0, ..) => Ok(()),
            (errno, said, _) => Err(Failure::of(doing, Some(interface), errno, said)),
        }
    }

    /// A request of the family. `interface`: which it is about, for what is said if it fails.
    pub fn ask(
        &mut self,
        doing: &'static str,
        operation: &str,
        flags: u16,
        interface: Option<&str>,
        attributes: &[(u16, &[u8])],
    ) -> Result<Answer, Failure> {
        let operation = schema::operation(operation);
        let mut answer = Answer::default();
        let (errno, said, interrupted) =
            self.ask_raw(operation.number, VERSION, flags, attributes, |attributes| {
                answer
                    .messages
                    .push(wire::contents(attributes, operation.set));
            })?;
        answer.interrupted = interrupted;
        match errno {
            0 => Ok(answer),
            errno => Err(Failure::of(doing, interface, errno, said)),
        }
    }

    /// An interface, or all of the namespace, with their peers. A torn dump is tried again so often.
    pub fn devices(
        &mut self,
        interface: Option<&str>,
        attempts: u32,
    ) -> Result<Vec<Device>, Failure> {
        const DOING: &str = "asking for interfaces";
        let named = interface.map(|name| [name.as_bytes(), b"\0"].concat());
        let devices = match &named {
            Some(name) => self.ask(
                DOING,
                "device-get",
                wire::ACK,
                interface,
                &[(attribute(&schema::SET_DEVICE, "ifname"), name)],
            )?,
            None => self.ask(DOING, "device-get", wire::DUMP, None, &[])?,
        };
        let mut found = Vec::new();
        for device in devices.messages {
            if let Some((peers, torn)) = self.peers(&device, attempts)? {
                found.push(Device {
                    device,
                    peers,
                    torn,
                });
            } else if interface.is_some() {
                return Err(Failure::of(DOING, interface, ENODEV, None));
            }
        }
        Ok(found)
    }

    /// Its peers, and whether they are not of one moment; nothing, if it is gone.
    fn peers(
        &mut self,
        device: &Contents,
        attempts: u32,
    ) -> Result<Option<(Vec<Contents>, bool)>, Failure> {
        let index = device
            .get("ifindex")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0) as u32;
        let index = index.to_ne_bytes();
        let mut attempt = 1;
        loop {
            let asked = self.ask(
                "asking for peers",
                "peer-get",
                wire::DUMP,
                None,
                &[(attribute(&schema::SET_PEER, "ifindex"), &index)],
            );
            match asked {
                Err(Failure::Kernel(_, ENODEV, _)) => return Ok(None),
                Err(e) => return Err(e),
                Ok(answer) if answer.interrupted && attempt < attempts => attempt += 1,
                Ok(answer) => return Ok(Some((answer.messages, answer.interrupted))),
            }
        }
    }

    /// A socket that gets the events, with so many bytes of room, what the kernel needs besides included.
    pub fn listen(&self, room: usize) -> Result<Ears, Failure> {
        let socket = socket()?;
        // Root of another user namespace may not have more than others.
        if set_socket_recv_buffer_size_force(&socket, room).is_err() {
            let _ = socket.set_rx_buf_sz(i32::try_from(room).unwrap_or(i32::MAX));
        }
        socket
            .add_membership(self.group.ok_or(Failure::OldDriver)?)
            .map_err(|e| match e.raw_os_error() {
                Some(errno) => Failure::of("listening to events", None, errno, None),
                None => Failure::System("listening to events", e),
            })?;
        socket
            .add_membership(CTRL_NOTIFY)
            .map_err(|e| Failure::System("listening to events", e))?;
        Ok(Ears {
            socket,
            family: self.id,
        })
    }
}

/// The number of an attribute of the specification.
pub fn attribute(set: &schema::Set, name: &str) -> u16 {
    set.named(name)
        .expect("an attribute of the specification")
        .number
}

/// The number of the group of the events.
fn group(attributes: &[u8]) -> Option<u32> {
    wire::each(wire::find(attributes, CTRL_ATTR_MCAST_GROUPS)?)
        .find(|(_, group)| {
            wire::find(group, CTRL_ATTR_MCAST_GRP_NAME)
                .map(wire::text)
                .as_deref()
                == Some(GROUP)
        })
        .and_then(|(_, group)| {
            Some(wire::number(wire::find(group, CTRL_ATTR_MCAST_GRP_ID)?)? as u32)
        })
}

/// Why there is no such family. Asking for the other one could load a module.
fn missing(modules: &Path) -> Failure {
    if modules.join("wireguard_rs").exists() {
        Failure::OldDriver
    } else if modules.join("wireguard").exists() {
        Failure::CDriver
    } else {
        Failure::NoDriver
    }
}

/// Who hears the events.
pub struct Ears {
    socket: Socket,
    family: u16,
}

/// Readable when there is something to hear.
impl AsFd for Ears {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What is heard.
pub enum Heard {
    /// Numbers of events, with their attributes; [`GONE`]: the family went, with its module.
    Events(Vec<(u8, Vec<u8>)>),
    /// Events were lost.
    Overrun,
    /// There is nothing, and waiting was not asked for.
    Nothing,
}

/// The number of no event.
pub const GONE: u8 = 0;

impl Ears {
    /// Whether a message about a family is about ours.
    fn is_meant(&self, attributes: &[u8]) -> bool {
        wire::find(attributes, CTRL_ATTR_FAMILY_ID).and_then(wire::number)
            == Some(self.family.into())
    }

    /// The next that is heard. With `wait`, not before there is something.
    pub fn hear(&self, wait: bool) -> Result<Heard, Failure> {
        let failed = |e| Failure::System("listening to events", e);
        self.socket.set_non_blocking(!wait).map_err(failed)?;
        match receive(&self.socket) {
            Ok(bytes) => {
                let mut events = Vec::new();
                for message in wire::messages(&bytes) {
                    if let Reply::Data {
                        family,
                        command,
                        attributes,
                    } = message.reply
                    {
                        if family == self.family {
                            events.push((command, attributes.to_vec()));
                        } else if family == CTRL
                            && command == CTRL_CMD_DELFAMILY
                            && self.is_meant(attributes)
                        {
                            events.push((GONE, Vec::new()));
                        }
                    }
                }
                Ok(Heard::Events(events))
            }
            Err(e) if e.raw_os_error() == Some(crate::failure::ENOBUFS) => Ok(Heard::Overrun),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Heard::Events(Vec::new())),
            Err(e) => Err(failed(e)),
        }
    }
}
