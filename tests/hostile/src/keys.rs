// SPDX-License-Identifier: GPL-2.0
//! Gives an interface its keys without leaving a copy of them in user space.
//!
//! The keys come from a seed, number by number, straight into the message; the page that holds the
//! message is never swapped and is overwritten afterwards. tests/secrets/host.py makes the same keys.

use std::{os::fd::AsRawFd, ptr};

use crate::{args::Args, netlink, rng::Rng, wire};

const PAGE: usize = 4096;

/// A message that is built where it stays.
struct Buffer {
    page: Box<[u8; PAGE]>,
    len: usize,
}

impl Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.page[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self.len = self.len.next_multiple_of(4);
    }

    fn head(&mut self, kind: u16, len: usize) {
        self.put(&((len + 4) as u16).to_ne_bytes());
        self.len -= 2;
        self.put(&kind.to_ne_bytes());
    }

    /// An attribute with the key of this seed.
    fn key(&mut self, kind: u16, seed: u64, private: bool) {
        self.head(kind, 32);
        let mut rng = Rng::new(seed);
        let key = &mut self.page[self.len..self.len + 32];
        rng.fill(key);
        if private {
            key[0] &= 248;
            key[31] = (key[31] & 127) | 64;
        }
        self.len += 32;
    }

    /// An attribute that others lie in; their end is told to `close`.
    fn open(&mut self, kind: u16) -> usize {
        let at = self.len;
        self.head(kind | 0x8000, 0);
        at
    }

    fn close(&mut self, at: usize) {
        let len = (self.len - at) as u16;
        self.page[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        for byte in self.page.iter_mut() {
            // SAFETY: A reference is valid for writes.
            unsafe { ptr::write_volatile(byte, 0) };
        }
    }
}

/// hostile keys --family N --seed N --first HEX --second HEX
pub fn main(args: &Args) {
    let seed: u64 = args.value("--seed");
    let family: u16 = args.value("--family");
    let mut message = Buffer {
        page: Box::new([0; PAGE]),
        len: 0,
    };
    // SAFETY: The page is ours; a failure only means that it may be swapped, and there is no swap.
    unsafe { libc::mlock(message.page.as_ptr().cast(), PAGE) };
    // Length (later), family, request and acknowledge; SET_DEVICE.
    message.put(&[0; 4]);
    message.put(&(u32::from(family) | (5 << 16)).to_ne_bytes());
    message.put(&[0; 8]);
    message.put(&[1, 1, 0, 0]);
    message.head(2, 4);
    message.put(b"wg0\0");
    message.key(3, seed, true);
    message.head(6, 2);
    message.put(&51820u16.to_ne_bytes());
    let peers = message.open(8);
    for (number, name) in ["--first", "--second"].into_iter().enumerate() {
        let public = wire::key(&args.text(name)).expect("64 hex digits");
        let peer = message.open(0);
        message.head(1, 32);
        message.put(&public);
        message.key(2, seed + 1 + number as u64, false);
        message.head(4, 16);
        message.put(&2u16.to_ne_bytes());
        message.len -= 2;
        message.put(&(51900 + number as u16).to_be_bytes());
        message.put(&[10, 2, 0, 2]);
        message.put(&[0; 8]);
        let prefixes = message.open(9);
        let prefix = message.open(0);
        message.head(1, 2);
        message.put(&2u16.to_ne_bytes());
        message.head(2, 4);
        message.put(&[192, 168, 5, 2 + number as u8]);
        message.head(3, 1);
        message.put(&[32]);
        message.close(prefix);
        message.close(prefixes);
        message.close(peer);
    }
    message.close(peers);
    let len = message.len as u32;
    message.page[..4].copy_from_slice(&len.to_ne_bytes());
    let fd = netlink::open(false).expect("a netlink socket");
    netlink::send(&fd, &message.page[..message.len]).expect("the kernel takes the message");
    drop(message);
    let mut answer = [0; 256];
    let mut n = 0;
    for _ in 0..1000 {
        if let Ok(got) = netlink::receive(&fd, &mut answer) {
            n = got;
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = i32::from_ne_bytes(answer[16..20].try_into().expect("4 bytes"));
    assert!(
        n >= 20 && error == 0,
        "the driver says {error} (fd {})",
        fd.as_raw_fd()
    );
    println!("{{\"set\": 1}}");
}
