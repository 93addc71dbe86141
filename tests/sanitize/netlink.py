#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Hostile netlink, from several processes and namespaces at once, beside an honest tunnel.

usage (in the guest): tests/sanitize/netlink.py --seed N --count N --seconds N [--least N]

tests/hostile (netlink.rs) mutates valid messages: lengths, types, flags,
nesting, contents, many in one datagram, dumps that are begun and left. With our
driver, two in five are of the family `wireguard_rs` (second.rs), and each process
listens to its events (ears.rs), mostly too seldom to get them all. Of the
processes two share a namespace and its interfaces, one has another for
itself, and two have no CAP_NET_ADMIN: the one without the capability, the
other in a user namespace of its own that does not own the network. These two
must be told EPERM to every message whose header is sound, and nothing else, and may not listen.
"""

import errno
import os
import subprocess
import sys
import time

from honest import (  # pylint: disable=no-name-in-module
    RESULTS,
    Watched,
    available,
    helper,
    keys,
    memory_returns,
    options,
    outcome,
    result,
    sh,
    slack,
)

import nl
import observe

EPERM = str(errno.EPERM)
INTERFACES = 4
# What of the family `wireguard_rs` must have been reached with valid requests.
ASKED = {"device-get", "device-get, dump", "peer-get", "peer-get, dump", "device-set", "device-set, bind", "peer-set"}


def arena(name):
    """A namespace with interfaces to be configured, up and down."""
    sh("ip", "netns", "add", name)
    sh("ip", "-n", name, "link", "set", "lo", "up")
    for number in range(INTERFACES):
        dev = f"h{number}"
        sh("ip", "-n", name, "link", "add", dev, "type", "wireguard")
        if number % 2 == 0:
            sh("ip", "-n", name, "link", "set", dev, "up")


def second_family():
    """The family `wireguard_rs`, if the driver has one, and its group: their numbers."""
    if not os.path.exists("/sys/module/wireguard_rs"):
        return 0, 0
    with observe.Family() as family:
        return family.number, family.groups["events"]


def second_checked(who, done, powerless):
    """What of the family `wireguard_rs` a process has reached."""
    if powerless:
        result(
            done["answers"] == done["joined"] == 0 and done["join_error"] == errno.EPERM and done["not_joined"] > 10,
            f"{who}: no answer of the second family, no event ({done['not_joined']} times refused)",
            f"{done['answers']} answers, joined {done['joined']} times, error {done['join_error']}",
        )
        return
    reached = ", ".join(f"{n} {what}" for what, n in sorted(done["reached"].items()))
    result(
        set(done["reached"]) == ASKED and done["answers"] > 100,
        f"{who}: each operation of the second family is done ({reached}; {done['answers']} answers, {done['torn']} torn)",
        f"not reached: {ASKED - set(done['reached'])}",
    )
    result(
        done["heard"] > 20 and done["overrun"] > 0 and done["not_joined"] == 0,
        f"{who}: {done['joined']} listeners heard {done['heard']} events, and lost some {done['overrun']} times",
        f"{done['not_joined']} could not listen",
    )


def comes_and_goes(name, until):
    """Meanwhile interfaces vanish and come back, which dumps and messages then meet."""
    rounds = 0
    while not until():
        dev = f"h{rounds % INTERFACES}"
        for command in (("link", "del", dev), ("link", "add", dev, "type", "wireguard"), ("link", "set", dev, "up")):
            subprocess.run(["ip", "-n", name, *command], capture_output=True, timeout=120, check=False)
        rounds += 1
        end = time.monotonic() + 2
        while time.monotonic() < end and not until():
            time.sleep(0.2)
    return rounds


def main():
    """All processes."""
    args = options()

    honest = Watched([keys(), keys()])
    honest.namespaces()
    honest.up()
    arena("shared")
    arena("alone")
    with nl.Netlink() as net:
        net.resolve()
        family = net.family
    second, group = second_family()
    base = available()
    start = time.time()
    honest.watch()
    honest.look()

    plain = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    cast = (
        ("first in a namespace", "shared", ()),
        ("second in it", "shared", ()),
        ("alone in another", "alone", ()),
        ("without CAP_NET_ADMIN", "shared", plain),
        ("in a user namespace of its own", "shared", ("unshare", "--user", "--map-root-user")),
    )
    powerless = cast[3:]
    each = max(args.count // len(cast), 1)
    processes = [
        helper(
            *(ns, "netlink", "--family", family, "--second", second, "--group", group),
            *("--seed", args.seed * 100 + n, "--count", each, "--seconds", args.seconds),
            before=before,
        )
        for n, (_, ns, before) in enumerate(cast)
    ]
    limit = time.time() + args.seconds * 2 + 60

    def over():
        honest.look()
        return all(p.poll() is not None for p in processes) or time.time() > limit

    rounds = comes_and_goes("shared", over)
    total = accepted = refused = 0
    for who, process in zip(cast, processes):
        done = outcome(process, 10)
        if done is None:
            result(False, f"netlink, {who[0]}", "the process failed or hangs")
            continue
        print(f"# {who[0]}: {done}")
        total += done["sent"]
        if who in powerless:
            result(
                done["permitted"] == 0 and done["valid_accepted"] == 0 and done["parts"] == 0 and done["refused"].get(EPERM, 0) > 100,
                f"{who[0]}: every GET and SET is refused with EPERM ({done['refused'].get(EPERM, 0)})",
                f"{done['permitted']} other answers, {done['valid_accepted']} accepted, {done['parts']} parts of dumps",
            )
        else:
            no = sum(done["refused"].values())
            accepted, refused = accepted + done["accepted"], refused + no
            result(
                min(done["accepted"], no) * 20 > done["accepted"] + no and done["valid_accepted"] > 0 and done["parts"] > 0,
                f"{who[0]}: {done['accepted']} accepted, {no} refused, {done['parts']} parts of dumps, {done['abandoned']} abandoned",
                "one of them is not even a twentieth: the messages are too wild or too tame",
            )
            result(EPERM not in done["refused"], f"{who[0]}: none refused with EPERM", f"{done['refused'].get(EPERM)} were")
        if second:
            second_checked(who[0], done, who in powerless)
    result(
        total >= args.least,
        f"{total} messages, {accepted} accepted, {refused} refused, interfaces came and went {rounds} times, seed {args.seed}",
        f"should be {args.least} at least",
    )
    wrong, summary = honest.verdict(start)
    result(not wrong, f"the honest tunnel keeps its session ({summary})", "; ".join(wrong))
    for ns in ("shared", "alone"):
        sh("ip", "netns", "del", ns)
    memory_returns(base, slack())
    return 1 if RESULTS[False] or not RESULTS[True] else 0


if __name__ == "__main__":
    sys.exit(main())
