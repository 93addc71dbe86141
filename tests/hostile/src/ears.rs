// SPDX-License-Identifier: GPL-2.0
//! Listeners to the events of the family `wireguard_rs`: such as read what comes, such as read too seldom
//! and lose some, and such as leave with everything unread.

use std::{
    fmt, io, mem,
    os::fd::{AsRawFd, OwnedFd},
};

use crate::{netlink, rng::Rng};

const SOL_NETLINK: libc::c_int = 270;
const ADD_MEMBERSHIP: libc::c_int = 1;

/// One of them at a time.
pub struct Ears {
    group: u32,
    fd: Option<OwnedFd>,
    joined: u64,
    /// By the last one's error, if any could not join.
    refused: u64,
    error: i32,
    heard: u64,
    overrun: u64,
    buffer: Vec<u8>,
}

impl Ears {
    /// `group` is its number; 0: there is none.
    pub fn new(group: u32) -> Self {
        Self {
            group,
            fd: None,
            joined: 0,
            refused: 0,
            error: 0,
            heard: 0,
            overrun: 0,
            buffer: vec![0; 1 << 16],
        }
    }

    /// Joins, or finds out that it may not.
    fn join(&mut self, small: bool) {
        self.fd = None;
        let Ok(fd) = netlink::open(small) else {
            return;
        };
        // SAFETY: Zero is a value of each of its fields.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        // One without an address of its own has the kernel's, whose messages it does not get.
        // SAFETY: The address is valid for reads of its size.
        let status = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        assert!(status == 0, "a netlink socket gets an address");
        // SAFETY: The value is valid for reads of its size.
        let status = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                SOL_NETLINK,
                ADD_MEMBERSHIP,
                (&raw const self.group).cast(),
                4,
            )
        };
        if status == 0 {
            self.joined += 1;
            self.fd = Some(fd);
        } else {
            self.refused += 1;
            self.error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        }
    }

    /// Between two batches of messages: mostly nothing.
    pub fn turn(&mut self, rng: &mut Rng) {
        if self.group == 0 {
            return;
        }
        if self.fd.is_none() || rng.chance(3) {
            self.join(rng.chance(70));
        }
        if !rng.chance(50) {
            return;
        }
        let Some(fd) = &self.fd else { return };
        for _ in 0..rng.range(1, 400) {
            match netlink::receive(fd, &mut self.buffer) {
                Ok(_) => self.heard += 1,
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => self.overrun += 1,
                Err(_) => return,
            }
        }
    }
}

impl fmt::Display for Ears {
    /// As members of a JSON object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"joined\": {}, \"not_joined\": {}, \"join_error\": {}, \"heard\": {}, \"overrun\": {}",
            self.joined, self.refused, self.error, self.heard, self.overrun
        )
    }
}
