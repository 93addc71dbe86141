#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measures the rows of one clock; lines with `=` in front are results, for report.py.

usage (in the guest): tests/bench/guest.py icount|plain[:CPUS] [--quick] [--only WORD,...] [--drivers c,ours,go]

Each part is measured with one driver after the other, and the throughput as often as there are repetitions, the
drivers in turn, so that a machine that slows down does it to all of them.
"""

import argparse
import os
import re
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lab  # noqa: E402
import rows_queues, rows_scale, rows_shares, rows_traffic  # noqa: E401,E402


class Plan:
    """How much is measured."""

    def __init__(self, clock, quick):
        self.clock, self.quick = clock, quick
        # With CPUs named: what there is to see with a number of them.
        self.queues = ':' in clock
        self.seconds = 1 if clock.startswith('icount') else 2
        self.repetitions = 1 if quick else 3
        self.packets, self.rounds = 4096, 1 if quick else 5
        self.sessions = 9999
        # The C driver ends at 10,000: 100,000 threads, and half an hour to get rid of them.
        some = (1, 1000) if quick else (1, 1000, 10000)
        self.peers = {'c': some, 'go': (1, 1000), 'ours': some if quick else (*some, 100000)}
        table = (1, 1000) if quick else (1, 1000, 100000, 1000000)
        self.prefixes = {'c': table, 'ours': table, 'go': table[:3]}
        # Peers in all, those added first, those removed
        self.manage = (1100, 1000, 500) if quick else (11000, 10000, 1000)
        # Peers, and those of them that get a session
        self.million = (100000, 1000) if quick else (1000000, 1000)

    def parts(self):
        """(name, function, drivers, repetitions); the C driver last where leaving costs it minutes."""
        three = ('c', 'ours', 'go')
        if self.queues:
            yield 'crowd', rows_queues.crowd, three, self.repetitions
            yield 'slow', rows_queues.slow, three, self.repetitions
            yield 'slow-nic', rows_queues.slow_nic, three, self.repetitions
            return
        yield 'traffic', rows_traffic.direct, three, self.repetitions
        if self.clock == 'icount':
            yield 'nic', rows_traffic.nic, three, self.repetitions
            # The others have no such thing.
            yield 'whole', rows_traffic.whole, ('ours',), self.repetitions
        yield 'relay', rows_traffic.relay, three, self.repetitions
        yield 'handshakes', rows_traffic.handshakes, three, self.repetitions
        yield 'fairness', rows_traffic.fairness, three, self.repetitions
        if self.clock == 'icount':
            yield 'aead', rows_shares.aead, ('c', 'ours'), 1
            yield 'curve', rows_shares.curve, ('c', 'ours'), 1
            yield 'lookup', rows_scale.lookup, three, 1
            yield 'receive', rows_scale.receive, ('ours', 'go', 'c'), 1
        yield 'manage', rows_scale.manage, ('ours', 'go', 'c'), 1
        # The others have a thread, or some goroutines, for each peer, and end long before.
        yield 'million', rows_scale.million, ('ours',), 1


def clock(text):
    """One that there is, maybe with a number of CPUs."""
    if not re.fullmatch('(icount|plain)(:[1-9])?', text):
        raise argparse.ArgumentTypeError(f'icount or plain, and :CPUS if need be, not {text!r}')
    return text


def main():
    p = argparse.ArgumentParser()
    p.add_argument('clock', type=clock)
    p.add_argument('--quick', action='store_true')
    p.add_argument('--only', default='')
    p.add_argument('--drivers', default='c,ours,go')
    args = p.parse_args()
    plan = Plan(args.clock, args.quick)
    os.makedirs(lab.SCRATCH, exist_ok=True)
    wanted = [w for w in args.only.split(',') if w]
    bad = 0
    for part, function, drivers, repetitions in plan.parts():
        if wanted and part not in wanted:
            continue
        for n in range(repetitions):
            for kind in drivers:
                if kind not in args.drivers.split(','):
                    continue
                lab.say(f'{plan.clock} {part} {kind} {n + 1}/{repetitions} (up {time.monotonic():.0f} s)')

                def row(name, unit, measure, group=part, kind=kind, n=n):
                    nonlocal bad
                    try:
                        lab.result(name, kind, measure(), unit, repetition=n, group=group, clock=plan.clock)
                    except (lab.Failed, OSError, LookupError, ValueError, ZeroDivisionError) as error:
                        bad += 1
                        lab.failed(name, kind, f'{plan.clock}: {type(error).__name__}: {error}')
                try:
                    with lab.Driver(kind) as driver:
                        function(driver, plan, row)
                except (lab.Failed, OSError, LookupError, ValueError) as error:
                    bad += 1
                    lab.failed(part, kind, f'{plan.clock}: {type(error).__name__}: {error}')
    print('=end', flush=True)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
