#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Hostile datagrams, to the port on which an honest tunnel lives.

usage (in the guest): tests/sanitize/packets.py --seed N --count N --seconds N [--account N]

  right --(veth)-- left --(veth)-- evil
  honest tunnel: left and right; in evil are two peers of left's, too, with a
  session each

tests/hostile (packets.rs) mutates what was captured of the honest tunnel and
what it makes itself. First a few thousand datagrams with pauses: each of them
must be received, and the counters of the interface must have exactly the
authentic ones, as packets or as errors, whatever is in them. They cross the
cable one by one, and GRO makes aggregates of them. Then, without, as many as
fit in the time, from both peers at once, so that CPUs receive side by side; the
second one's inner packets are from addresses of the first's. With our driver
somebody on left's side listens to events, too seldom to get them all, and asks
for what there is to know of peers. In the meantime and afterwards the honest tunnel must work with the session it has, and the
memory must return.
"""

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter

from honest import (  # pylint: disable=no-name-in-module
    RESULTS,
    Watched,
    available,
    helper,
    hexed,
    keys,
    memory_returns,
    options,
    outcome,
    result,
    sh,
    slack,
    stats,
    udp_counters,
)
from netns import Inside  # pylint: disable=wrong-import-order
import observe  # pylint: disable=wrong-import-order

EVIL = "10.1.0.2"
# Of each attacker: the UDP port, and the last part of the inner address.
ATTACKERS = ((51900, 3), (51910, 4))
ETH_P_ALL = 3


def sniffer(ns):
    """A socket that sees what crosses the cable of the honest tunnel."""
    with Inside(ns):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        sock.bind(("outer", ETH_P_ALL))
    sock.settimeout(1)
    return sock


def captured(sock, most):
    """UDP payloads, of every type the tunnel sends."""
    found = []
    end = time.monotonic() + 5
    while len(found) < most and time.monotonic() < end:
        try:
            packet, where = sock.recvfrom(65536)
        except TimeoutError:
            break
        start = (packet[0] & 15) * 4
        # In both directions.
        if where[1] == 0x800 and packet[9] == 17:
            length = struct.unpack("!H", packet[start + 4 : start + 6])[0]
            found.append(packet[start + 8 : start + length])
    sock.close()
    return found


def gro(on):
    """Whether what came over the attackers' cable is put together."""
    sh("ip", "netns", "exec", "left", "ethtool", "-K", "wild", "gro", "on" if on else "off")


def evil_peers(publics):
    """A third namespace, and left's peers in it."""
    sh("ip", "netns", "add", "evil")
    sh("ip", "-n", "evil", "link", "set", "lo", "up")
    sh("ip", "-n", "left", "link", "add", "wild", "type", "veth", "peer", "name", "wild", "netns", "evil")
    for ns, number in (("left", 1), ("evil", 2)):
        sh("ip", "-n", ns, "addr", "add", f"10.1.0.{number}/24", "dev", "wild")
        sh("ip", "-n", ns, "addr", "add", f"fd01::{number}/64", "dev", "wild", "nodad")
        sh("ip", "-n", ns, "link", "set", "wild", "up")
        sh("ip", "netns", "exec", ns, "ethtool", "-K", "wild", "tso", "off", "tx-udp-segmentation", "off")
    # What waits for the neighbour's address may be dropped: not in the middle of it all.
    for address in ("10.1.0.1", "fd01::1"):
        sh("ip", "netns", "exec", "evil", "ping", "-q", "-c", "1", "-W", "20", address)
    # Where the spoofed ones are from.
    sh("ip", "-n", "left", "route", "add", "198.18.0.0/15", "via", EVIL)
    sh("ip", "-n", "left", "addr", "add", "fd77::1/64", "dev", "honest", "nodad")
    for public, (port, number) in zip(publics, ATTACKERS):
        sh(
            *("ip", "netns", "exec", "left", "wg", "set", "honest", "peer", public, "endpoint", f"{EVIL}:{port}"),
            *("allowed-ips", f"192.168.77.{number}/32,fd77::{number}/128"),
        )


class Listener:
    """Somebody in a namespace with a right to the family `wireguard_rs`, who uses it now and then."""

    # What src/callers.rs tells of strangers at most: so many in a second, and so many more at once.
    RATE, BURST = 128, 256

    def __init__(self, ns):
        with Inside(ns):
            self.family = observe.Family()
            self.sock = self.family.listen(1 << 14)
        self.heard, self.lost, self.asked = Counter(), 0, 0
        self.start = time.monotonic()

    def turn(self):
        """Reads what came, and looks at each peer and the device."""
        try:
            self.heard.update(name for name, _ in self.family.received(self.sock))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.lost += 1
        for error, found in (self.family.peers("honest"), self.family.call("device-get", observe.nl.name(2, "honest"))):
            self.asked += len(found) if error == 0 else 0

    def verdict(self):
        """What was told is what the specification has, or it could not have been read."""
        self.turn()
        most = self.BURST + self.RATE * (time.monotonic() - self.start + 1)
        result(
            self.heard["session-established"] > 0 and 0 < self.heard["unknown-peer"] <= most and self.asked > 4,
            f"events ({dict(self.heard)}, {self.lost} times some were lost) and {self.asked} answers as they should be",
            f"of strangers at most {most:.0f} may be told",
        )
        self.sock.close()
        self.family.netlink.close()


def settled(read, want, seconds=15):
    """Reads both until they are equal, or for that long: the honest tunnel goes on meanwhile."""
    end = time.monotonic() + seconds
    while True:
        both = read(), want()
        if both[0] == both[1] or time.monotonic() > end:
            return both
        time.sleep(0.2)


def total(outcomes):
    """What several attackers did, in one, as if one had."""
    return {
        "ms": max(o["ms"] for o in outcomes),
        **{what: sum(o[what] for o in outcomes) for what in ("total", "authentic")},
        **{what: dict(sum((Counter(o[what]) for o in outcomes), Counter())) for what in ("sent", "heard")},
    }


def account(arguments, seed, count, honest):
    """Every datagram, and every authentic message in one, is accounted for."""
    # While nothing is on its way.
    before, right, udp = stats("left"), stats("right"), udp_counters("left")
    honest.watch()
    honest.look()
    done = outcome(helper("evil", "packets", "account", *arguments, "--seed", seed, "--count", count, "--seconds", 120), 300)
    if done is None:
        result(False, "hostile datagrams in small groups", "the sender failed")
        return
    kinds = ", ".join(f"{n} {what}" for what, n in done["sent"].items())
    print(f"# {done['total']} in {done['ms'] / 1000:.0f} s: {kinds}; heard: {done['heard']}")
    result(
        done["barriers"] > 0 and done["unanswered"] == 0,
        f"between {done['barriers']} groups the tunnel with the attacker answers",
        f"{done['unanswered']} times no answer",
    )

    def seen():
        now = stats("left")
        return sum(now[k] - before[k] for k in ("rx_packets", "rx_errors"))

    def expected():
        return done["authentic"] + stats("right")["tx_packets"] - right["tx_packets"]

    # Both are read a moment after one another: nothing may be sent in between.
    honest.ping.send_signal(signal.SIGSTOP)
    got, want = settled(seen, expected)
    honest.ping.send_signal(signal.SIGCONT)
    result(
        got == want and done["authentic"] > count // 20,
        f"{done['authentic']} authentic messages of {done['total']} datagrams are counted, and nothing else",
        f"{got} were counted as packets or errors, {want} sent ({done['authentic']} by the attacker)",
    )
    after = stats("left")
    for what in ("rx_frame_errors", "rx_length_errors"):
        changed = after[what] - before[what]
        result(changed > 0, f"{what} counts unsound packets ({changed})", "none")
    now = udp_counters("left")
    change = {k: now[k] - udp[k] for k in now if now[k] != udp.get(k)}
    print(f"# UDP: {change}")


def main():
    """Both ways."""
    args = options(account=4000)

    honest = Watched([keys(), keys()])
    honest.namespaces()
    sock = sniffer("right")
    honest.up()
    sh("ip", "netns", "exec", "left", "ping", "-q", "-c", "20", "-i", "0.05", "-s", "500", "192.168.77.2")
    messages = captured(sock, 60)
    types = {m[0] for m in messages if m}
    result({1, 2, 4} <= types, f"{len(messages)} messages captured, of types {sorted(types)} (3 the attacker makes itself)", "some are missing")
    with open("/tmp/corpus", "wb") as file:
        for message in messages:
            file.write(struct.pack("<H", len(message)) + message)
    evil = [keys() for _ in ATTACKERS]
    evil_peers([public for _, public in evil])
    with open("/proc/sys/net/core/netdev_max_backlog", "w", encoding="ascii") as file:
        file.write("20000")
    common = ("--target", "10.1.0.1:51820", "--target6", "[fd01::1]:51820", "--corpus", "/tmp/corpus", "--public", hexed(honest.keys[0][1]))
    each = [(*common, "--port", port, "--secret", hexed(private)) for (port, _), (private, _) in zip(ATTACKERS, evil)]
    listener = Listener("left") if os.path.exists("/sys/module/wireguard_rs") else None
    start = time.time()
    gro(True)
    account(each[0], args.seed, args.account, honest)
    # A flood would have the tunnel's packets wait for its own, with a veth's NAPI.
    gro(False)
    base = available()

    # In the order of a message's way: one that is sent in between may be missing, not too many.
    udp, right, counted = udp_counters("left"), stats("right"), stats("left")
    # Has left begin handshakes as well.
    pingers = [
        subprocess.Popen(  # pylint: disable=consider-using-with
            ["ip", "netns", "exec", "left", "ping", "-q", "-i", "1", f"192.168.77.{number}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _, number in ATTACKERS
    ]
    processes = [
        helper("evil", "packets", "flood", *arguments, "--seed", args.seed + n, "--count", args.count // len(each), "--seconds", args.seconds)
        for n, arguments in enumerate(each, start=1)
    ]
    end = time.time() + args.seconds * 2 + 60
    while any(p.poll() is None for p in processes) and time.time() < end:
        time.sleep(3)
        honest.look()
        if listener:
            listener.turn()
    outcomes = [outcome(p, 10) for p in processes]
    for pinger in pingers:
        pinger.terminate()
        pinger.wait(timeout=30)
    done = None
    if None in outcomes:
        result(False, "hostile datagrams as fast as they can be sent", "a sender failed")
    else:
        done = total(outcomes)
        kinds = ", ".join(f"{n} {what}" for what, n in done["sent"].items())
        print(f"# {done['total']} in {done['ms'] / 1000:.0f} s: {kinds}; heard: {done['heard']}")
        received = udp_counters("left")["InDatagrams"] - udp["InDatagrams"]
        result(
            done["total"] >= args.least and received >= done["total"] // 2,
            f"{done['total']} hostile datagrams sent, the driver was handed {received}, seed {args.seed}",
            f"at least {args.least} should be sent, and half of them arrive",
        )
        seen = sum(stats("left")[k] - counted[k] for k in ("rx_packets", "rx_errors"))
        most = done["authentic"] + stats("right")["tx_packets"] - right["tx_packets"]
        result(0 < seen <= most, f"{seen} were taken for authentic, {most} are", "forged or replayed messages were taken for authentic")
    wrong, summary = honest.verdict(start)
    result(not wrong, f"the honest tunnel keeps its session ({summary})", "; ".join(wrong))
    if listener:
        listener.verdict()
    if done is not None:
        # Not under load any more: whoever was the victim serves the attacker, too, if he behaves.
        time.sleep(2)
        again = outcome(helper("evil", "packets", "account", *each[0], "--seed", args.seed + 1 + len(each), "--count", 1, "--seconds", 30), 120)
        result(bool(again and again["heard"].get("session")), "afterwards a handshake is answered as before", "no session")
    memory_returns(base, slack())
    return 1 if RESULTS[False] or not RESULTS[True] else 0


if __name__ == "__main__":
    sys.exit(main())
