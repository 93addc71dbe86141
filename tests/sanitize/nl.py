# SPDX-License-Identifier: GPL-2.0
"""Netlink by hand, fast enough for tens of thousands of calls under KASAN.

rtnetlink for interfaces and generic netlink for the family "wireguard". Every
call returns an errno (0 for success) instead of raising.
"""

import ctypes
import errno
import os
import socket
import struct

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x300, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_F_NESTED = 0x8000
RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, RTM_NEWADDR = 16, 17, 19, 20
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_INFO_KIND = 3, 4, 18, 28, 1
IFF_UP = 1

GET_DEVICE, SET_DEVICE = 0, 1
IFINDEX, IFNAME, PRIVATE_KEY, FLAGS, LISTEN_PORT, FWMARK, PEERS = 1, 2, 3, 5, 6, 7, 8
P_PUBLIC_KEY, P_PSK, P_FLAGS, P_ENDPOINT, P_KEEPALIVE, P_ALLOWEDIPS = 1, 2, 3, 4, 5, 9
A_FAMILY, A_IPADDR, A_CIDR, A_FLAGS = 1, 2, 3, 4
REPLACE_PEERS = 1
REMOVE_ME, REPLACE_ALLOWEDIPS, UPDATE_ONLY = 1, 2, 4

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def attr(kind, payload):
    """One attribute, padded."""
    data = struct.pack("=HH", 4 + len(payload), kind) + payload
    return data + bytes(-len(data) % 4)


def attributes(data):
    """Those in some bytes: (type without flags, payload)."""
    while data:
        length, kind = struct.unpack("=HH", data[:4])
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def nest(kind, *attrs):
    """Attributes inside an attribute."""
    return attr(kind | NLA_F_NESTED, b"".join(attrs))


def u8(kind, value):
    """An 8-bit attribute."""
    return attr(kind, struct.pack("=B", value))


def u16(kind, value):
    """A 16-bit attribute."""
    return attr(kind, struct.pack("=H", value))


def u32(kind, value):
    """A 32-bit attribute."""
    return attr(kind, struct.pack("=I", value))


def name(kind, value):
    """A string attribute."""
    return attr(kind, value.encode() + b"\0")


def endpoint(address, port):
    """An endpoint attribute of a peer."""
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address)
        return attr(P_ENDPOINT, struct.pack("=HHI16sI", socket.AF_INET6, socket.htons(port), 0, packed, 0))
    packed = socket.inet_aton(address)
    return attr(P_ENDPOINT, struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), packed))


def prefix(address, cidr, flags=0):
    """One allowed IP; `address` is packed."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    attrs = [u16(A_FAMILY, family), attr(A_IPADDR, address), u8(A_CIDR, cidr)]
    return nest(0, *attrs, *([u32(A_FLAGS, flags)] if flags else []))


def setns(fd):
    """Moves this process to the network namespace of `fd`."""
    if LIBC.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def new_netns():
    """A descriptor of a new network namespace, loopback up; this process stays where it is."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    if LIBC.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    os.set_inheritable(fd, True)
    with Netlink() as nl:
        nl.set_link("lo", up=True)
    setns(home)
    os.close(home)
    return fd


class Netlink:
    """Sockets of rtnetlink and generic netlink in the namespace this process is in now."""

    def __init__(self):
        self.sockets = {}
        self.family = None
        self.seq = 0
        for protocol in (0, 16):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            sock.settimeout(120)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.bind((0, 0))
            self.sockets[protocol] = sock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes both sockets."""
        for sock in self.sockets.values():
            sock.close()

    def call(self, protocol, kind, body, flags=NLM_F_ACK):
        """Sends one message; returns (errno, bodies of the answers)."""
        sock = self.sockets[protocol]
        self.seq += 1
        try:
            sock.send(struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | flags, self.seq, 0) + body)
        except OSError as error:
            return error.errno, []
        bodies = []
        while True:
            data = sock.recv(1 << 18)
            while data:
                length, kind, _, seq = struct.unpack("=IHHI", data[:12])
                body, data = data[16:length], data[(length + 3) & ~3 :]
                if seq != self.seq:
                    continue
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    return -struct.unpack("=i", body[:4])[0], bodies
                bodies.append(body)

    # ---- interfaces

    def link(self, kind, wanted, attrs=b"", flags=0, change=0, more=0):
        """One message about the interface called `wanted`."""
        body = struct.pack("=BxHiII", 0, 0, 0, flags, change) + name(IFLA_IFNAME, wanted) + attrs
        return self.call(0, kind, body, NLM_F_ACK | more)[0]

    def add_link(self, wanted):
        """ip link add WANTED type wireguard"""
        info = nest(IFLA_LINKINFO, name(IFLA_INFO_KIND, "wireguard"))
        return self.link(RTM_NEWLINK, wanted, info, more=NLM_F_CREATE | NLM_F_EXCL)

    def del_link(self, wanted):
        """ip link del WANTED"""
        return self.link(RTM_DELLINK, wanted)

    def set_link(self, wanted, up):
        """ip link set WANTED up|down"""
        return self.link(RTM_NEWLINK, wanted, flags=IFF_UP if up else 0, change=IFF_UP)

    def by_index(self, wanted, attrs):
        """Changes an interface that is named by its index, as renaming needs."""
        try:
            index = socket.if_nametoindex(wanted)
        except OSError:
            return errno.ENODEV
        return self.call(0, RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0) + attrs)[0]

    def rename(self, wanted, to):
        """ip link set WANTED name TO"""
        return self.by_index(wanted, name(IFLA_IFNAME, to))

    def move(self, wanted, fd, to=None):
        """ip link set WANTED netns FD [name TO]"""
        return self.by_index(wanted, u32(IFLA_NET_NS_FD, fd) + (name(IFLA_IFNAME, to) if to else b""))

    def set_mtu(self, wanted, mtu):
        """ip link set WANTED mtu MTU"""
        return self.by_index(wanted, u32(IFLA_MTU, mtu))

    def add_addr(self, wanted, address, cidr):
        """ip addr add ADDRESS/CIDR dev WANTED; the process must be in the namespace."""
        try:
            index = socket.if_nametoindex(wanted)
        except OSError:
            return errno.ENODEV
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        # IFA_F_NODAD
        body = struct.pack("=BBBBi", family, cidr, 2, 0, index) + attr(2, address) + attr(1, address)
        return self.call(0, RTM_NEWADDR, body, NLM_F_ACK | NLM_F_CREATE)[0]

    # ---- families

    def lookup(self, name_):
        """(errno, a family's number, its first group's); each time its module is loaded they are others."""
        error, bodies = self.call(16, 16, struct.pack("=BBH", 3, 1, 0) + name(2, name_))
        if error:
            return error, None, None
        found = dict(attributes(bodies[0][4:]))
        groups = [dict(attributes(group)) for _, group in attributes(found.get(7, b""))]
        return 0, struct.unpack("=H", found[1])[0], struct.unpack("=I", groups[0][2])[0] if groups else None

    # ---- the family "wireguard"

    def resolve(self):
        """Looks the family up; errno."""
        error, self.family, _ = self.lookup("wireguard")
        return error

    def genl(self, command, payload, flags):
        """One message of the family."""
        for _ in range(2):
            if self.family is None:
                error = self.resolve()
                if error:
                    return error, []
            error, bodies = self.call(16, self.family, struct.pack("=BBH", command, 1, 0) + payload, flags)
            if error != errno.ENOENT:
                break
            # Loaded anew since: it has another number now.
            self.family = None
        return error, bodies

    def set(self, wanted, *attrs):
        """SET_DEVICE; returns the errno."""
        return self.genl(SET_DEVICE, name(IFNAME, wanted) + b"".join(attrs), NLM_F_ACK)[0]

    def get(self, wanted):
        """GET_DEVICE; returns (errno, parts of the dump)."""
        return self.genl(GET_DEVICE, name(IFNAME, wanted), NLM_F_DUMP)
