#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Wrong input gets its error, the one the C driver gives.

usage (in the guest): tests/smoke/errors.py

Speaks generic netlink by hand, because tools refuse to send most of this. Each
check is one message and the errno that must come back; after the refused ones
the interface must be as it was.
"""

import errno
import os
import socket
import struct
import subprocess
import sys

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE, GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 2, 3, 16, 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
NLA_F_NESTED = 0x8000

GET_DEVICE, SET_DEVICE = 0, 1
IFINDEX, IFNAME, PRIVATE_KEY, FLAGS, LISTEN_PORT, FWMARK, PEERS = 1, 2, 3, 5, 6, 7, 8
P_PUBLIC_KEY, P_PSK, P_FLAGS, P_ENDPOINT, P_KEEPALIVE, P_ALLOWEDIPS, P_VERSION = 1, 2, 3, 4, 5, 9, 10
A_FAMILY, A_IPADDR, A_CIDR, A_FLAGS = 1, 2, 3, 4

KEY = bytes(range(32))
IN4 = socket.inet_aton("10.9.8.7")


def attr(kind, payload):
    """One attribute, padded."""
    data = struct.pack("=HH", 4 + len(payload), kind) + payload
    return data + bytes(-len(data) % 4)


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


def name(value):
    """The interface by its name."""
    return attr(IFNAME, value.encode() + b"\0")


class Genl:
    """A generic netlink socket."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.sock.settimeout(10)
        self.sock.bind((0, 0))
        self.family = None

    def call(self, family, command, payload, flags=NLM_F_ACK):
        """Sends one message; returns (errno, bodies of the answers)."""
        body = struct.pack("=BBH", command, 1, 0) + payload
        head = struct.pack("=IHHII", 16 + len(body), family, NLM_F_REQUEST | flags, 1, 0)
        self.sock.send(head + body)
        bodies = []
        while True:
            data = self.sock.recv(1 << 17)
            while data:
                length, kind = struct.unpack("=IH", data[:6])
                body, data = data[16:length], data[(length + 3) & ~3 :]
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    return -struct.unpack("=i", body[:4])[0], bodies
                bodies.append(body)

    def resolve(self, wanted):
        """Looks the family up."""
        error, bodies = self.call(
            GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attr(CTRL_ATTR_FAMILY_NAME, wanted.encode() + b"\0")
        )
        if error:
            sys.exit(f"not ok - no generic netlink family {wanted}: {os.strerror(error)}")
        body = bodies[0][4:]
        while body:
            length, kind = struct.unpack("=HH", body[:4])
            if kind == CTRL_ATTR_FAMILY_ID:
                self.family = struct.unpack("=H", body[4:6])[0]
            body = body[(length + 3) & ~3 :]

    def set(self, *attrs):
        """SET_DEVICE; returns the errno."""
        return self.call(self.family, SET_DEVICE, b"".join(attrs))[0]

    def get(self, *attrs):
        """GET_DEVICE as a dump; returns the errno."""
        return self.call(self.family, GET_DEVICE, b"".join(attrs), NLM_F_DUMP)[0]


RESULTS = {True: 0, False: 0}


def result(good, text, why=""):
    """Prints one check."""
    RESULTS[good] += 1
    print(("ok - " if good else "not ok - ") + text + ("" if good else f": {why}"))


def expect(text, got, want):
    """One check of an errno."""

    def spell(number):
        return errno.errorcode.get(number, str(number)) if number else "success"

    result(got == want, f"{text}: {spell(want)}", f"got {spell(got)}")


def run(*command):
    """Runs a command; returns (status, all output)."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def send_to(address):
    """What sendto() says to a packet routed to the tunnel."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        try:
            sock.sendto(b"x", (address, 9))
        except OSError as error:
            return error.errno
    return 0


def peer(*attrs, public_key=KEY):
    """The peers attribute with one peer in it."""
    return nest(PEERS, nest(0, attr(P_PUBLIC_KEY, public_key), *attrs))


def allowed(*attrs):
    """One allowed IP of a peer."""
    return peer(nest(P_ALLOWEDIPS, nest(0, *attrs)))


def configuration(genl):
    """What must not change under refused messages."""
    wg, index = name("wgerr0"), socket.if_nametoindex("wgerr0")

    expect("private key of 31 bytes", genl.set(wg, attr(PRIVATE_KEY, KEY[:31])), errno.ERANGE)
    expect("private key of 33 bytes", genl.set(wg, attr(PRIVATE_KEY, KEY + b"x")), errno.ERANGE)
    expect("empty private key", genl.set(wg, attr(PRIVATE_KEY, b"")), errno.ERANGE)
    expect("public key of 31 bytes", genl.set(wg, peer(public_key=KEY[:31])), errno.ERANGE)
    expect("preshared key of 16 bytes", genl.set(wg, peer(attr(P_PSK, KEY[:16]))), errno.ERANGE)
    expect("peer without a public key", genl.set(wg, nest(PEERS, nest(0, u16(P_KEEPALIVE, 1)))), errno.EINVAL)
    expect("unknown attribute of the device", genl.set(wg, u32(99, 1)), errno.EINVAL)
    expect("unknown attribute of a peer", genl.set(wg, peer(u32(99, 1))), errno.EINVAL)
    expect("unknown attribute of an allowed IP", genl.set(wg, allowed(u32(99, 1))), errno.EINVAL)
    expect("unknown flag of the device", genl.set(wg, u32(FLAGS, 1 << 7)), errno.EINVAL)
    expect("unknown flag of a peer", genl.set(wg, peer(u32(P_FLAGS, 1 << 7))), errno.EINVAL)
    expect("listen port of 1 byte", genl.set(wg, u8(LISTEN_PORT, 1)), errno.EINVAL)
    expect("fwmark of 1 byte", genl.set(wg, u8(FWMARK, 1)), errno.EINVAL)
    expect("endpoint of 8 bytes", genl.set(wg, peer(attr(P_ENDPOINT, bytes(8)))), errno.ERANGE)
    expect("protocol version 2", genl.set(wg, peer(u32(P_VERSION, 2))), errno.EPFNOSUPPORT)
    expect(
        "allowed IP without an address family",
        genl.set(wg, allowed(attr(A_IPADDR, IN4), u8(A_CIDR, 32))),
        errno.EINVAL,
    )
    expect(
        "allowed IP of an unknown address family",
        genl.set(wg, allowed(u16(A_FAMILY, 77), attr(A_IPADDR, IN4), u8(A_CIDR, 32))),
        errno.EINVAL,
    )
    expect(
        "allowed IP /33",
        genl.set(wg, allowed(u16(A_FAMILY, socket.AF_INET), attr(A_IPADDR, IN4), u8(A_CIDR, 33))),
        errno.EINVAL,
    )
    expect(
        "IPv6 allowed IP of 4 bytes",
        genl.set(wg, allowed(u16(A_FAMILY, socket.AF_INET6), attr(A_IPADDR, IN4), u8(A_CIDR, 32))),
        errno.EINVAL,
    )

    expect("neither name nor index", genl.set(u16(LISTEN_PORT, 0)), errno.EBADR)
    expect("name and index", genl.set(wg, u32(IFINDEX, index)), errno.EBADR)
    expect("an interface that does not exist", genl.set(name("nosuch")), errno.ENODEV)
    expect("an interface that is not ours", genl.set(name("lo")), errno.EOPNOTSUPP)
    expect("the same when asked for its state", genl.get(name("lo")), errno.EOPNOTSUPP)
    expect("state of one that does not exist", genl.get(name("nosuch")), errno.ENODEV)
    expect("a name that is too long", genl.set(name("x" * 16)), errno.EINVAL)
    expect("unknown command", genl.call(genl.family, 9, wg)[0], errno.EOPNOTSUPP)


def unprivileged(genl):
    """GET and SET want CAP_NET_ADMIN."""
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            other = Genl()
            other.family = genl.family
            good = other.set(name("wgerr0")) == errno.EPERM and other.get(name("wgerr0")) == errno.EPERM
        except OSError:
            good = False
        os._exit(0 if good else 1)
    result(os.waitpid(pid, 0)[1] == 0, "without CAP_NET_ADMIN: EPERM", "it was allowed")


def ports_and_packets(genl):
    """What the rest of the network stack is told."""
    run("ip", "link", "set", "wgerr0", "up")
    expect("a port of its own", genl.set(name("wgerr0"), u16(LISTEN_PORT, 7777)), 0)
    run("ip", "link", "add", "wgerr1", "type", "wireguard")
    expect("the same port while down", genl.set(name("wgerr1"), u16(LISTEN_PORT, 7777)), 0)
    status, text = run("ip", "link", "set", "wgerr1", "up")
    result(
        status != 0 and "Address already in use" in text,
        "coming up on a port in use: EADDRINUSE",
        text.strip() or "it came up",
    )
    expect("another port", genl.set(name("wgerr1"), u16(LISTEN_PORT, 7778)), 0)
    status, text = run("ip", "link", "set", "wgerr1", "up")
    result(status == 0, "then it comes up", text.strip())
    expect(
        "changing to a port in use while up",
        genl.set(name("wgerr1"), u16(LISTEN_PORT, 7777)),
        errno.EADDRINUSE,
    )

    run("ip", "addr", "add", "10.9.8.1/24", "dev", "wgerr0")
    run("ip", "addr", "add", "fd98::1/64", "dev", "wgerr0", "nodad")
    expect("a packet for nobody", send_to("10.9.8.7"), errno.ENOKEY)
    expect("an IPv6 packet for nobody", send_to("fd98::7"), errno.ENOKEY)
    address = nest(P_ALLOWEDIPS, nest(0, u16(A_FAMILY, socket.AF_INET), attr(A_IPADDR, IN4), u8(A_CIDR, 32)))
    expect("a peer without an endpoint", genl.set(name("wgerr0"), peer(address)), 0)
    expect("a packet for it", send_to("10.9.8.7"), errno.EDESTADDRREQ)
    nowhere = peer(attr(P_ENDPOINT, struct.pack("=H", socket.AF_UNIX) + bytes(14)))
    expect("an endpoint of an unknown address family is ignored", genl.set(name("wgerr0"), nowhere), 0)
    expect("so a packet still has no way", send_to("10.9.8.7"), errno.EDESTADDRREQ)

    status, text = run("ip", "link", "add", "wgerr0", "type", "wireguard")
    result(status != 0 and "File exists" in text, "a name in use: EEXIST", text.strip())
    status, text = run("ip", "link", "set", "wgerr0", "mtu", "99999999999")
    result(status != 0, "an MTU out of range is refused", text.strip() or "it was taken")


def main():
    """Runs all checks on two interfaces of its own."""
    for interface in ("wgerr0", "wgerr1"):
        run("ip", "link", "del", interface)
    status, text = run("ip", "link", "add", "wgerr0", "type", "wireguard")
    if status:
        print(f"not ok - ip link add type wireguard: {text.strip()}")
        return 1
    genl = Genl()
    genl.resolve("wireguard")
    before = run("wg", "show", "wgerr0", "dump")
    configuration(genl)
    unprivileged(genl)
    after = run("wg", "show", "wgerr0", "dump")
    # C adds the peer of a message before it meets what is wrong further in.
    result(
        after[0] == 0 and before[1].splitlines()[0] == after[1].splitlines()[0],
        "after the refused messages the device is as before",
        after[1],
    )
    genl.set(name("wgerr0"), u32(FLAGS, 1))
    ports_and_packets(genl)
    for interface in ("wgerr0", "wgerr1"):
        result(run("ip", "link", "del", interface)[0] == 0, f"{interface} can be deleted", "it can not")
    return 1 if RESULTS[False] or not RESULTS[True] else 0


if __name__ == "__main__":
    sys.exit(main())
