// SPDX-License-Identifier: GPL-2.0
//! Requests of the family `wireguard_rs`, valid ones, from which `nlmsg.rs` makes those that are not.

use std::ffi::CString;

use crate::{
    nlmsg::{attr, device_name, key},
    rng::Rng,
};

const DEVICE_GET: u8 = 1;
const PEER_GET: u8 = 2;
const DEVICE_SET: u8 = 11;
const PEER_SET: u8 = 16;

const IFINDEX: u16 = 1;
const IFNAME: u16 = 2;
const PUBLIC_KEY: u16 = 3;
const LOCAL_GSO: u16 = 6;
const COPY_DSCP: u16 = 14;
const BIND_IFINDEX: u16 = 15;
const BIND_IFNAME: u16 = 16;
const BIND_IPV4: u16 = 17;
const BIND_IPV6: u16 = 18;
const AUTO_MTU: u16 = 21;

/// What there is to be asked for; the names are those that tests/sanitize/netlink.py wants to hear of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    Device,
    Devices,
    Peer,
    Peers,
    Set,
    Bind,
    SetPeer,
}

impl Asked {
    /// Those of one peer more often: it has to be there.
    const DRAWN: [Self; 9] = [
        Self::Device,
        Self::Devices,
        Self::Peer,
        Self::Peer,
        Self::Peers,
        Self::Set,
        Self::Bind,
        Self::SetPeer,
        Self::SetPeer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device-get",
            Self::Devices => "device-get, dump",
            Self::Peer => "peer-get",
            Self::Peers => "peer-get, dump",
            Self::Set => "device-set",
            Self::Bind => "device-set, bind",
            Self::SetPeer => "peer-set",
        }
    }

    pub fn command(self) -> u8 {
        match self {
            Self::Device | Self::Devices => DEVICE_GET,
            Self::Peer | Self::Peers => PEER_GET,
            Self::Set | Self::Bind => DEVICE_SET,
            Self::SetPeer => PEER_SET,
        }
    }

    pub fn is_dump(self) -> bool {
        matches!(self, Self::Devices | Self::Peers)
    }
}

/// The index of an interface of this namespace, or one that it has not got.
fn index(name: &[u8]) -> [u8; 4] {
    let name = CString::from_vec_with_nul(name.to_vec()).expect("a name");
    // SAFETY: The string ends.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        u32::MAX.to_ne_bytes()
    } else {
        index.to_ne_bytes()
    }
}

/// The interface that it is about, by name or by index.
fn subject(rng: &mut Rng) -> Vec<u8> {
    let name = device_name(rng);
    if rng.chance(20) {
        attr(IFINDEX, &index(&name))
    } else {
        attr(IFNAME, &name)
    }
}

/// Something to bind the sockets to, possible or not, or nothing any more.
fn bind(rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => {
            let name = *rng.pick(&[&b"lo\0"[..], b"lo\0", b"h0\0", b"h1\0", b"none\0"]);
            attr(BIND_IFNAME, name)
        }
        1 => {
            let index = *rng.pick(&[0, 0, 1, 1, 7, u32::MAX]);
            attr(BIND_IFINDEX, &index.to_ne_bytes())
        }
        2 => {
            let address = *rng.pick(&[
                [127, 0, 0, 1],
                [127, 0, 0, 2],
                [0; 4],
                [0; 4],
                [10, 0, 0, 9],
                [224, 0, 0, 1],
                [255; 4],
            ]);
            attr(BIND_IPV4, &address)
        }
        _ => {
            let mut address = [0; 16];
            match rng.below(5) {
                0 | 1 => address[15] = 1,
                2 => address[0] = 0xff,
                3 => rng.fill(&mut address),
                _ => (),
            }
            attr(BIND_IPV6, &address)
        }
    }
}

/// One request: what it asks for, and its attributes.
pub fn body(rng: &mut Rng) -> (Asked, Vec<u8>) {
    let asked = *rng.pick(&Asked::DRAWN);
    if asked == Asked::Devices {
        return (asked, Vec::new());
    }
    let mut attrs = subject(rng);
    let on = [rng.below(2) as u8];
    match asked {
        Asked::Peer => attrs.extend(attr(PUBLIC_KEY, &key(rng))),
        Asked::Set => {
            for kind in [LOCAL_GSO, COPY_DSCP] {
                if rng.chance(60) {
                    attrs.extend(attr(kind, &on));
                }
            }
        }
        Asked::Bind => {
            for _ in 0..rng.range(1, 2) {
                attrs.extend(bind(rng));
            }
        }
        Asked::SetPeer => {
            attrs.extend(attr(PUBLIC_KEY, &key(rng)));
            attrs.extend(attr(AUTO_MTU, &on));
        }
        Asked::Device | Asked::Devices | Asked::Peers => (),
    }
    (asked, attrs)
}

/// A dump of an interface's peers.
pub fn dump(rng: &mut Rng) -> (Asked, Vec<u8>) {
    (Asked::Peers, subject(rng))
}
