# SPDX-License-Identifier: GPL-2.0
"""What churn.py's workers do with the family `wireguard_rs`: they look, set, listen and leave.

Each function gets the worker and the sockets of the namespace, and returns (errno, the errnos it may give).
"""

import errno
import socket
import struct

import nl

DEVICE_GET, PEER_GET, DEVICE_SET, PEER_SET = 1, 2, 11, 16
IFNAME, PUBLIC_KEY, LOCAL_GSO, COPY_DSCP, BIND_IFINDEX, BIND_IFNAME, BIND_IPV4, BIND_IPV6, AUTO_MTU = 2, 3, 6, 14, 15, 16, 17, 18, 21
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
# As another worker may have been there first.
GONE = {0, errno.ENODEV}


class Second:
    """A worker's part of it: the family's numbers, and who listens, by namespace."""

    def __init__(self):
        self.number = self.group = None
        self.ears = {}
        self.heard = self.overrun = 0


def ask(worker, net, command, attrs=b"", flags=nl.NLM_F_ACK):
    """One message of the family; (errno, answers)."""
    second = worker.second
    for _ in range(2):
        if second.number is None:
            error, second.number, second.group = net.lookup("wireguard_rs")
            if error:
                return error, []
        error, bodies = net.call(16, second.number, struct.pack("=BBH", command, 1, 0) + attrs, flags)
        # There is no such peer; or the module was loaded anew since, and the family has another number.
        if error != errno.ENOENT:
            break
        second.number = None
    return error, bodies


def some_key(worker):
    """Of a peer that is there most of the time."""
    return nl.attr(PUBLIC_KEY, worker.rng.choice(worker.keys)[1])


def see(worker, net):
    """Devices, peers, or one of them; or a dump that nobody waits for."""
    name = nl.name(IFNAME, worker.name())
    match worker.rng.randrange(5):
        case 0:
            return ask(worker, net, DEVICE_GET, flags=nl.NLM_F_DUMP)[0], {0}
        case 1:
            return ask(worker, net, DEVICE_GET, name)[0], GONE
        case 2:
            return ask(worker, net, PEER_GET, name, nl.NLM_F_DUMP)[0], GONE
        case 3:
            return ask(worker, net, PEER_GET, name + some_key(worker))[0], GONE | {errno.ENOENT}
    with nl.Netlink() as other:
        if worker.second.number is not None:
            body = struct.pack("=BBH", PEER_GET, 1, 0) + name
            head = struct.pack("=IHHII", 16 + len(body), worker.second.number, nl.NLM_F_REQUEST | nl.NLM_F_DUMP, 1, 0)
            other.sockets[16].send(head + body)
    return 0, GONE


def device_set(worker, net):
    """Switches, and what the sockets are bound to: also to what goes soon."""
    rng = worker.rng
    attrs = [nl.u8(kind, rng.randrange(2)) for kind in (LOCAL_GSO, COPY_DSCP) if rng.random() < 0.5]
    match rng.randrange(6):
        case 0:
            attrs.append(nl.name(BIND_IFNAME, rng.choice(("lo", worker.name()))))
        case 1:
            attrs.append(nl.attr(BIND_IPV4, rng.choice((bytes(4), b"\x7f\0\0\1"))))
        case 2:
            attrs.append(nl.attr(BIND_IPV6, rng.choice((bytes(16), bytes(15) + b"\1"))))
        case 3 | 4:
            attrs += [nl.u32(BIND_IFINDEX, 0), nl.attr(BIND_IPV4, bytes(4)), nl.attr(BIND_IPV6, bytes(16))]
    # EPERM: the namespace that it was made in is gone. ENXIO, ELOOP: what it is to be bound to is not there, or itself.
    may = GONE | {errno.EPERM, errno.ENXIO, errno.ELOOP, errno.EADDRINUSE, errno.EADDRNOTAVAIL}
    return ask(worker, net, DEVICE_SET, nl.name(IFNAME, worker.name()) + b"".join(attrs))[0], may


def peer_set(worker, net):
    """What a peer has switched."""
    attrs = nl.name(IFNAME, worker.name()) + some_key(worker) + nl.u8(AUTO_MTU, worker.rng.randrange(2))
    return ask(worker, net, PEER_SET, attrs)[0], GONE | {errno.ENOENT, errno.EPERM}


def listen(worker, net):
    """Somebody joins, reads, or leaves with what is unread; with little room, as some read too seldom."""
    second, space = worker.second, worker.space
    sock = second.ears.get(space)
    if sock is None:
        error, _, group = net.lookup("wireguard_rs")
        if error:
            return error, {0}
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        sock.bind((0, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, worker.rng.choice((1, 1 << 14, 1 << 20)))
        sock.setblocking(False)
        try:
            sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        except OSError as failure:
            sock.close()
            return failure.errno, {0}
        second.ears[space] = sock
        return 0, {0}
    for _ in range(worker.rng.choice((10, 1000))):
        try:
            sock.recv(1 << 16)
            second.heard += 1
        except BlockingIOError:
            break
        except OSError as failure:
            if failure.errno != errno.ENOBUFS:
                return failure.errno, {0}
            second.overrun += 1
    # After an unloading the group is nobody's any more: a new socket joins that of the next loading.
    if worker.rng.random() < 0.3:
        second.ears.pop(space).close()
    return 0, {0}


OPERATIONS = ((see, 10), (device_set, 8), (peer_set, 5), (listen, 8))
