#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Pairs the lines about objects' lives in a kernel log.

The lines are those of the C driver: "wg0: Interface created", "wg0: Peer 3
created", "wg0: Peer 3 ([::1]:2) destroyed", "wg0: Keypair 7 created for peer
3", "wg0: Keypair 7 destroyed for peer 3", "wg0: Interface destroyed". Numbers
of peers and keypairs are the module's, never used twice; interfaces have only
a name, which may be.
"""

import collections
import re
import sys

LINE = re.compile(
    r"wireguard: (?P<name>\S+): (?P<kind>Interface|Peer|Keypair)(?: (?P<id>\d+))?"
    r"(?: \(.*\))? (?P<event>created|destroyed)"
)


def main():
    """Prints one result per kind of object; fails unless all are paired."""
    alive = collections.defaultdict(collections.Counter)
    created = collections.Counter()
    problems = collections.defaultdict(list)
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for line in log:
            match = LINE.search(line)
            if not match:
                continue
            kind = match["kind"]
            # An interface may be renamed, so only their number can balance.
            what = match["id"] or "all"
            if match["event"] == "created":
                created[kind] += 1
                alive[kind][what] += 1
                if match["id"] and alive[kind][what] > 1:
                    problems[kind].append(f"{kind} {what} was created twice")
            else:
                alive[kind][what] -= 1
                if alive[kind][what] < 0:
                    problems[kind].append(f"{kind} {what} was destroyed, but not created before")
    failed = False
    for kind in ("Interface", "Peer", "Keypair"):
        for what, number in alive[kind].items():
            if number > 0:
                problems[kind].append(f"{kind} {what}: {number} not destroyed")
        if not created[kind]:
            problems[kind].append("no such line was seen: are they switched on?")
        if problems[kind]:
            failed = True
            print(f"not ok - life of every {kind}")
            for problem in problems[kind][:10]:
                print(f"#   {problem}")
        else:
            print(f"ok - life of every {kind} ({created[kind]} created and destroyed)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
