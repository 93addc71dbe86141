# SPDX-License-Identifier: GPL-2.0
"""The family `wireguard_rs` while memory fails: what it is asked for, and what it tells.

For tests/sanitize/faults.py. Whatever finds no memory, a listener is told of each change or that
he has lost something, the switches are as they were or as they should be, and the sockets are where
`device-get` says. Who calls meanwhile and is not configured may be lost, and
nothing else of him.
"""

import base64
import collections
import contextlib
import errno
import os
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE), os.path.join(HERE, "../smoke"), os.path.join(HERE, "../network")]
import nl  # noqa: E402
import observe  # noqa: E402
from netns import Inside  # noqa: E402
from events import Replay, dumped  # noqa: E402

# Attributes of requests.
IFNAME, PUBLIC_KEY, LOCAL_GSO, BIND_IFNAME, BIND_IPV4, AUTO_MTU = 2, 3, 6, 16, 17, 21
PORT = 7654
KEYS = [bytes([n]) * 32 for n in (1, 2, 3)]


class Listener:
    """Somebody who listens, and knows from that alone what there is."""

    def __init__(self):
        self.family = observe.Family()
        self.sock = self.family.listen()
        self.replay = Replay()
        self.lost = self.heard = 0
        self.begin_anew()

    def begin_anew(self):
        """From a dump."""
        self.replay.devices, self.replay.peers = dumped(self.family)

    def take(self):
        """The names of what was told since; None if some of it was lost."""
        try:
            events = self.family.received(self.sock)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.lost += 1
            # Until nothing is left, as the manual has it; there may be another loss behind it.
            while True:
                with contextlib.suppress(OSError):
                    self.family.received(self.sock)
                    break
            self.begin_anew()
            return None
        self.heard += len(events)
        self.replay.take(events)
        return [name for name, _ in events]

    def close(self):
        """Listens no more."""
        self.sock.close()
        self.family.netlink.close()


def bound_to():
    """The IPv4 addresses on which the port is open, in hexadecimal."""
    with open("/proc/net/udp", encoding="ascii") as table:
        places = [line.split()[1].split(":") for line in list(table)[1:]]
    return [address for address, port in places if int(port, 16) == PORT]


def operations(every, result, calls, peers, full):
    """Each with a listener. `every` is that of faults.py but for its first and last argument."""
    ears = Listener()
    family = ears.family
    wrong = []

    def ask(operation, attrs=b"", dump=False):
        what = family.operations[operation]
        body = struct.pack("=BBH", what["value"], 1, 0) + attrs
        return calls(lambda net: net.call(16, family.number, body, nl.NLM_F_DUMP if dump else nl.NLM_F_ACK)[0])

    def checked(operation, *wanted):
        """The operation, after which the listener knows what there is, and has heard what it is called."""

        def run():
            error = None
            try:
                error = operation()
            except OSError as exception:
                error = exception.errno
                raise
            finally:
                outcomes.append((error, wanted))
            return error

        return run

    outcomes = []

    def look():
        """Without faults: compares."""
        names = ears.take()
        # The last one counts: one before it was refused, or its answer was lost, and what it did is told.
        error, wanted = outcomes[-1] if outcomes else (None, ())
        outcomes.clear()
        if ears.replay.state() != dumped(family):
            wrong.append(f"told {ears.replay.state()}, there is {dumped(family)}")
            ears.begin_anew()
        if names is not None and error == 0 and not set(wanted) <= set(names):
            wrong.append(f"done, and told only {names}")

    def quietly(undo):
        """What undoes it is told as well, and not looked at."""

        def run():
            look()
            undo()
            ears.take()

        return run

    def tried(what, operation, undo, wanted=(), allowed=()):
        """One of them; what went wrong meanwhile is of it."""
        wrong.clear()
        before = ears.lost
        every(f"{what}, heard", checked(operation, *wanted), quietly(undo), allowed)
        result(not wrong, f"{what}: each change is told, or a loss ({ears.lost - before} times)", "; ".join(wrong[:4]))

    name = nl.name(IFNAME, "wgf")
    there = (0, errno.EEXIST)

    def add():
        error = calls(lambda net: net.add_link("wgf"))
        return 0 if error in there else error

    def delete():
        error = calls(lambda net: net.del_link("wgf"))
        return 0 if error == errno.ENODEV else error

    def configure():
        return calls(lambda net: net.set("wgf", nl.attr(nl.PRIVATE_KEY, b"\x42" * 32), nl.u16(nl.LISTEN_PORT, PORT), peers))

    def clear():
        return calls(lambda net: net.set("wgf", nl.u32(nl.FLAGS, nl.REPLACE_PEERS), nl.attr(nl.PRIVATE_KEY, bytes(32))))

    if full:
        # There are hundreds before the event's. EINVAL: see the same without a listener.
        tried("ip link add", add, delete, ("device-added",), {errno.EINVAL})
        # And to make it anew takes longest of all.
        add()
        tried("ip link del", delete, add)
    add()
    tried("set key, port and peers", configure, clear, ("peer-added",))
    configure()
    tried("replace peers", clear, configure, ("peer-removed",))
    tried("change peers", configure, lambda: 0, ("peer-changed",))
    calls(lambda net: net.set_link("wgf", True))
    ears.take()

    every("device-get", lambda: ask("device-get", name), lambda: 0, ())
    every("device-get, dump", lambda: ask("device-get", dump=True), lambda: 0, {errno.EMSGSIZE})
    every("peer-get", lambda: ask("peer-get", name + nl.attr(PUBLIC_KEY, KEYS[0])), lambda: 0, ())
    every("peer-get, dump", lambda: ask("peer-get", name, dump=True), lambda: 0, {errno.EMSGSIZE})

    def switch(on):
        return lambda: ask("peer-set", name + nl.attr(PUBLIC_KEY, KEYS[1]) + nl.u8(AUTO_MTU, on))

    tried("peer-set", switch(1), switch(0), ("peer-changed",))

    def gso(on):
        return lambda: ask("device-set", name + nl.u8(LOCAL_GSO, on))

    tried("device-set, local-gso", gso(1), gso(0), ("device-changed",))
    strange = []

    def bind(device, address):
        attrs = name + nl.name(BIND_IFNAME, device) if device else name + nl.u32(15, 0)
        return ask("device-set", attrs + nl.attr(BIND_IPV4, socket.inet_aton(address)))

    def unbind():
        told = family.device("wgf")[1]
        said = told.get("bind-ifname"), told.get("bind-ipv4", "00000000")
        open_at = bound_to()
        # As the table has it: the bytes in the machine's order.
        want = "%08X" % struct.unpack("=I", bytes.fromhex(said[1]))
        if said not in (("lo", "7f000001"), (None, "00000000")) or open_at != [want]:
            strange.append(f"{told} but open at {open_at}")
        bind(None, "0.0.0.0")

    tried("device-set, bind", lambda: bind("lo", "127.0.0.1"), unbind, ("device-changed",))
    result(not strange, "the sockets are where they were, or where they should be, as is said", "; ".join(strange[:4]))
    delete()
    result(
        ears.lost > 0 < ears.heard,
        f"{ears.heard} events were heard, and {ears.lost} times some were lost",
        "nothing was lost: this checks nothing",
    )
    ears.close()


class Callers:
    """Peers in the namespace fr that call wgf in fl, which does not know them; and who listens there."""

    NAMES = [f"caller{n}" for n in range(6)]

    def __init__(self, sh, public):
        self.sh = sh
        self.heard, self.lost = collections.Counter(), 0
        for name in self.NAMES:
            sh("ip", "-n", "fr", "link", "add", name, "type", "wireguard")
            sh(
                *("ip", "netns", "exec", "fr", "wg", "set", name, "private-key", "/dev/stdin"),
                *("peer", public, "endpoint", "10.0.0.1:7777", "persistent-keepalive", "1"),
                input=sh("wg", "genkey"),
            )
        self.last = sh("ip", "netns", "exec", "fr", "wg", "show", self.NAMES[-1], "public-key").strip()
        with Inside("fl"):
            self.family = observe.Family()
            self.sock = self.family.listen()

    def call(self, names):
        """They begin anew, if they find the memory for it."""
        for name in names:
            for way in ("down", "up"):
                with contextlib.suppress(subprocess.CalledProcessError):
                    self.sh("ip", "-n", "fr", "link", "set", name, way)

    def take(self, timeout=0.0):
        """What was told since: (name, contents); a loss stands before what came later."""
        for _ in range(100):
            try:
                found = self.family.received(self.sock, timeout)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
                continue
            self.heard.update(name for name, _ in found)
            return found
        return []

    def awaited(self, name):
        """Whether that is told of the last of them, within the time that several attempts take."""
        key, end = base64.b64decode(self.last).hex(), time.monotonic() + 40
        while time.monotonic() < end:
            if any(what == name and contents["public-key"] == key for what, contents in self.take(1)):
                return True
        return False

    def verdict(self, result):
        """Once memory is there again."""
        print(f"# told while allocations fail: {dict(self.heard)}, and lost {self.lost} times")
        result(
            all(self.heard[name] or self.lost for name in ("unknown-peer", "session-established")),
            "sessions and callers are told of while allocations fail, or that there was something to be told",
            str(dict(self.heard)),
        )
        self.take()
        self.call(self.NAMES[-1:])
        called = self.awaited("unknown-peer")
        result(called, "a caller is told of after the faults", "not within 40 s")
        self.sh("ip", "netns", "exec", "fl", "wg", "set", "wgf", "peer", self.last)
        result(called and self.awaited("session-established"), "and has a session once he is added", "not within 40 s")
        self.sock.close()
        self.family.netlink.close()
