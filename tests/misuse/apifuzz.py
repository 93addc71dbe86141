#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random sequences of safe calls, while devices and namespaces come and go.

usage (in the guest): tests/misuse/apifuzz.py --seed N --count N --seconds N [--rounds N]

The calls are made by wgk_misuse.ko (fuzz.rs), this is the world around it. Each round is a life of the
module; it ends when the calls were made, or its share of the time is over, with whatever devices there
are then. The same seed gives the same calls and the same world, not the same moments.
"""

import argparse
import contextlib
import errno
import os
import random
import re
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import nl  # noqa: E402
from guest import MODULE, in_namespace, namespace, result, sh, traffic, without_a_name  # noqa: E402

NAMES = "a", "b", "c"
# Sockets that listen to the module's events, or did.
EARS = []
HEARD = [0, 0]


def add(name, number):
    """A device, up if that can be, with addresses."""
    sh(f"ip -n {name} link add mis{number} type misuse && ip -n {name} link set mis{number} up && "
       f"ip -n {name} addr add 10.9.{number}.1/24 dev mis{number} && "
       f"ip -n {name} addr add fd09:{number}::1/64 dev mis{number} nodad", False)


def listen(rng):
    """Somebody joins in the first namespace, where most events are sent; those before him read something, or leave."""
    for net in EARS[:]:
        with contextlib.suppress(BlockingIOError):
            for _ in range(rng.choice((1, 200))):
                try:
                    HEARD[0] += len(net.sockets[16].recv(1 << 16)) > 0
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    HEARD[1] += 1
        if rng.randrange(3) == 0:
            EARS.remove(net)
            net.close()
    net = nl.Netlink()
    error, _, group = net.lookup("misuse_fuzz")
    if error or group is None or len(EARS) > 3:
        net.close()
        return
    sock = net.sockets[16]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rng.choice((1, 1 << 16)))
    # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP; the family may have gone meanwhile.
    with contextlib.suppress(OSError):
        sock.setsockopt(270, 1, group)
    sock.setblocking(False)
    EARS.append(net)


def world(rng):
    """One thing that happens around the module."""
    name, other = rng.choice(NAMES), rng.choice(NAMES)
    number = rng.randrange(3)
    what = rng.randrange(10)
    if what == 0:
        if not os.path.exists(f"/run/netns/{name}"):
            namespace(name)
    elif what == 1:
        sh(f"ip netns del {name}", False)
    elif what in (2, 3):
        add(name, number)
    elif what == 4:
        sh(f"ip -n {name} link del mis{number}", False)
    elif what == 5:
        sh(f"ip -n {name} link set mis{number} netns {other}", False)
    elif what == 6:
        sh(f"ip -n {name} link set mis{number} {rng.choice(('up', 'down'))}", False)
    elif what == 7:
        if os.path.exists(f"/run/netns/{name}"):
            in_namespace(name, without_a_name)
    elif os.path.exists(f"/run/netns/{name}"):
        in_namespace(name, lambda: traffic(f"10.9.{number}.2", f"fd09:{number}::2"))


def one_round(log, number, seed, calls, seconds):
    """One life of the module; returns the calls that were made."""
    rng = random.Random(seed)
    log.mark(f"fuzz, seed {seed}")
    if not sh(f"insmod {MODULE} attempt={number} seed={seed} calls={calls}", False):
        result(False, f"fuzz with seed {seed}", "insmod failed")
        return 0
    for name in NAMES:
        namespace(name)
        add(name, 0)
    end = time.monotonic() + seconds
    happened = 0
    while time.monotonic() < end and not any("fuzz: done" in line for line in log.read()):
        listen(rng)
        world(rng)
        happened += 1
    for net in EARS:
        net.close()
    EARS.clear()
    try:
        gone = sh("rmmod wgk_misuse", False)
    except RuntimeError:
        gone = False
    sh("ip -all netns del", False)
    line = next((line for line in log.read() if re.search(r"fuzz: seed \d+: ", line)), "")
    made = re.search(r"seed \d+: (\d+) calls", line)
    made = int(made[1]) if made else 0
    result(gone and made > 0, f"fuzz with seed {seed}: {made} calls, {happened} events around it",
           "rmmod failed" if not gone else "it did not say what it did")
    print("# " + line, flush=True)
    return made if gone else 0


def main():
    """All rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=1 << 40)
    parser.add_argument("--least", type=int, default=10000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    guest.depends()
    log = guest.Log()
    number = next((number for number, name, _ in guest.attempts(log) if name == "fuzz"), None)
    made = 0
    for index in range(args.rounds):
        made += one_round(log, number, args.seed + index, args.count // args.rounds, args.seconds / args.rounds)
        if os.path.exists("/sys/module/wgk_misuse"):
            break
    result(HEARD[0] > 0, f"{HEARD[0]} events were heard, and {HEARD[1]} times some were lost", "nobody heard of any")
    result(made >= args.least, f"{made} calls from seed {args.seed} on", f"fewer than {args.least}")
    return guest.RESULTS[False] != 0


if __name__ == "__main__":
    sys.exit(main())
