#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Configures and dumps an interface by netlink alone, as a network manager does.

usage (in the guest): manager.py INTERFACE PEERS

Sets that many peers in messages of a few peers each, reads them all back by a
dump of several messages, and compares with what wg shows.
"""

import base64
import os
import socket
import struct
import subprocess
import sys

NETLINK_GENERIC, GENL_CTRL, CTRL_GETFAMILY = 16, 16, 3
REQUEST, ACK, DUMP = 1, 4, 0x300
ERROR, DONE = 2, 3
GET_DEVICE, SET_DEVICE = 0, 1
NESTED = 0x8000


def attribute(kind, value):
    """One netlink attribute, padded."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def attributes(data):
    """Yields (kind, value) of a row of attributes."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


class Generic:
    """A generic netlink socket."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.socket.bind((0, 0))
        self.sequence = 0
        self.messages = 0

    def ask(self, family, command, payload, flags):
        """Sends a request; returns the payloads of the answers."""
        self.sequence += 1
        body = struct.pack("=BBH", command, 1, 0) + payload
        self.socket.send(struct.pack("=IHHII", 16 + len(body), family, REQUEST | flags, self.sequence, 0) + body)
        answers = []
        while True:
            data = self.socket.recv(1 << 17)
            while data:
                length, kind, _, _, _ = struct.unpack_from("=IHHII", data)
                if kind == ERROR:
                    number = -struct.unpack_from("=i", data, 16)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return answers
                if kind == DONE:
                    return answers
                answers.append(data[20:length])
                self.messages += 1
                if not flags & (DUMP | ACK):
                    return answers
                data = data[(length + 3) & ~3 :]


def peer(number):
    """Key and attributes of the peer with this number."""
    key = struct.pack("!I", number + 1) * 8
    networks = b"".join(
        attribute(NESTED, attribute(1, struct.pack("=H", socket.AF_INET)) + attribute(2, socket.inet_aton(net)) + attribute(3, bytes([width])))
        for net, width in ((f"10.{number >> 8}.{number & 255}.0", 24), (f"172.16.{number >> 8}.{number & 255}", 32))
    )
    endpoint = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 1000 + number) + socket.inet_aton("192.0.2.9") + bytes(8)
    nested = attribute(1, key) + attribute(4, endpoint) + attribute(5, struct.pack("=H", 25)) + attribute(9 | NESTED, networks)
    return key, attribute(NESTED, nested)


def main():
    """Sets, dumps, compares."""
    name, count = sys.argv[1].encode() + b"\0", int(sys.argv[2])
    netlink = Generic()
    answer = netlink.ask(GENL_CTRL, CTRL_GETFAMILY, attribute(2, b"wireguard\0"), 0)[0]
    family = struct.unpack("=H", dict(attributes(answer))[1])[0]

    keys = []
    private = os.urandom(32)
    for first in range(0, count, 20):
        batch = [peer(n) for n in range(first, min(first + 20, count))]
        keys += [key for key, _ in batch]
        device = attribute(2, name)
        if first == 0:  # replaces the peers there are
            device += attribute(5, struct.pack("=I", 1)) + attribute(3, private)
        device += attribute(8 | NESTED, b"".join(nested for _, nested in batch))
        netlink.ask(family, SET_DEVICE, device, ACK)

    netlink.messages = 0
    networks = {}
    for message in netlink.ask(family, GET_DEVICE, attribute(2, name), DUMP):
        for kind, value in attributes(message):
            for _, one in attributes(value) if kind == 8 else ():
                fields = dict(attributes(one))
                # A peer that does not fit is continued in the next message.
                networks.setdefault(fields[1], 0)
                networks[fields[1]] += len(list(attributes(fields.get(9, b""))))
    shown = subprocess.run(["wg", "show", sys.argv[1], "allowed-ips"], stdout=subprocess.PIPE, check=True, text=True)
    lines = {base64.b64decode(line.split()[0]): len(line.split()) - 1 for line in shown.stdout.splitlines()}
    print(f"{len(networks)} peers in {netlink.messages} messages")
    assert netlink.messages > 1, "the dump did not need a second message"
    assert list(networks) == keys, "the dump has other peers, or another order"
    assert all(number == 2 for number in networks.values()), "allowed IPs are missing"
    assert lines == networks, "wg shows something else"


if __name__ == "__main__":
    main()
