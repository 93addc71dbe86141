// SPDX-License-Identifier: GPL-2.0
//! Sockets that send many datagrams in a call.

use std::{
    io,
    mem::size_of_val,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

const UDP_SEGMENT: libc::c_int = 103;

fn set<T>(fd: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its size.
    let status = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of_val(value) as u32,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Room for much in both directions, and no waiting.
pub fn prepare(socket: &UdpSocket) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &(8 << 20))?;
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(2 << 20))
}

/// Datagrams of this size are made of what is sent at once, or (0) it stays one.
pub fn segment(socket: &UdpSocket, size: usize) -> io::Result<()> {
    set(socket, libc::SOL_UDP, UDP_SEGMENT, &(size as libc::c_int))
}

/// Sends all of them on a connected socket; returns how many the kernel took.
pub fn send_many(
    fd: &impl AsRawFd,
    messages: &[impl AsRef<[u8]>],
    to: Option<SocketAddrV4>,
) -> usize {
    let mut name = to.map(sockaddr);
    let name_ptr = name
        .as_mut()
        .map_or(ptr::null_mut(), |n| ptr::from_mut(n).cast());
    let name_len = name.map_or(0, |n| size_of_val(&n) as u32);
    let mut vectors: Vec<libc::iovec> = messages
        .iter()
        .map(|m| libc::iovec {
            iov_base: m.as_ref().as_ptr().cast_mut().cast(),
            iov_len: m.as_ref().len(),
        })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|v| {
            // SAFETY: All zeros is a header of nothing.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = v;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = name_ptr;
            header.msg_hdr.msg_namelen = name_len;
            header
        })
        .collect();
    let (mut at, mut taken) = (0, 0);
    while at < headers.len() {
        let rest = &mut headers[at..];
        // SAFETY: The headers, and what they point to, live until after the call.
        let n = unsafe { libc::sendmmsg(fd.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
        if n > 0 {
            at += n as usize;
            taken += n as usize;
        } else {
            // This one was refused (too long, an ICMP error that waited): go on behind it.
            at += 1;
        }
    }
    taken
}

fn sockaddr(to: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(to.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

/// A socket on which the IP header is ours, too.
pub fn raw() -> io::Result<OwnedFd> {
    // SAFETY: Makes a descriptor that nobody else has.
    let fd = unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::IPPROTO_RAW,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: As said.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &(8 << 20))?;
    Ok(fd)
}

/// An IPv4 header (its checksum is the kernel's to compute) before `payload`; `offset` in bytes.
pub fn ipv4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    id: u16,
    offset: usize,
    more: bool,
    proto: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(((20 + payload.len()) as u16).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend((((offset / 8) as u16 & 0x1fff) | (u16::from(more) << 13)).to_be_bytes());
    packet.extend([64, proto, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// A UDP header without checksum before `payload`.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(8 + payload.len());
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend(((8 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}
