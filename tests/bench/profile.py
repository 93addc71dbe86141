#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Samples both drivers at work, with call chains; leaves what perf script prints in /out.

usage (in the guest, instruction clock): tests/bench/profile.py WORKLOAD...

WORKLOAD is tcp (one stream), whole (the same, taken whole past GRO; C has no switch for that), udp (64 B packets),
handshakes (of many peers with one), prefixes (100,000 added), peers (10,000 added) or deletion (of an interface with as
many).
"""

import contextlib
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lab  # noqa: E402
import rows_scale, rows_shares, rows_traffic  # noqa: E401,E402

SECONDS = 2
DATA = f'{lab.SCRATCH}/perf.data'


def traffic(measure, whole=False):
    """A workload between two, which is done once beforehand."""
    def prepare(driver):
        left, right = driver.pair()
        if whole and driver.kind == 'ours':
            rows_traffic.take_whole(left, right)
        server = rows_traffic.Server(right)
        measure(left)
        return lambda: measure(left), server
    return prepare


def handshakes(driver):
    """The second handshake of each."""
    all_ = rows_traffic.Initiators(driver)
    all_.forget()
    return all_.shake, contextlib.nullcontext()


def prefixes(driver):
    """Prefixes of one peer, from messages made beforehand."""
    left, _ = driver.pair()
    messages = rows_scale.added(driver, rows_scale.prefixes(100000))
    return lambda: driver.send(left, 'wg1', messages), contextlib.nullcontext()


def peers(driver, count=10000):
    """An interface, and what adds so many peers to it."""
    ns = driver.ns('right')
    driver.interface(ns, 'wgr', lab.PRIVATE['right'], 51820, None)
    messages = driver.peers_messages('wgr', rows_scale.many_keys(count, 0), 'add')
    return ns, lambda: driver.send(ns, 'wgr', messages)


def addition(driver):
    """Peers, from messages made beforehand."""
    return peers(driver)[1], contextlib.nullcontext()


def deletion(driver):
    """Peers that go with their interface."""
    ns, add = peers(driver)
    add()
    return lambda: rows_scale.deletion(driver, ns), contextlib.nullcontext()


WORK = {
    'tcp': traffic(lambda ns: rows_traffic.tcp(ns, '192.168.77.2', seconds=SECONDS)),
    'whole': traffic(lambda ns: rows_traffic.tcp(ns, '192.168.77.2', seconds=SECONDS), whole=True),
    'udp': traffic(lambda ns: rows_traffic.udp(ns, '192.168.77.2', 64, seconds=SECONDS)[0]),
    'handshakes': handshakes,
    'prefixes': prefixes,
    'peers': addition,
    'deletion': deletion,
}


def record(driver, kind, workload):
    """One workload with one driver."""
    work, around = WORK[workload](driver)
    with around:
        value = rows_shares.recorded(DATA, work, '-g', '-F', '3999')
    lab.say(f'{kind} {workload}: {value:.1f}')
    raw = f'{lab.SCRATCH}/perf.script'
    with open(raw, 'w', encoding='utf-8') as out:
        subprocess.run([lab.PERF, 'script', '-i', DATA], check=True, stdout=out, timeout=600, stderr=subprocess.DEVNULL)
    # While its modules are there.
    symbols = rows_shares.Symbols()
    with open(raw, encoding='utf-8', errors='replace') as seen, \
            open(f'/out/{kind}-{workload}.script', 'w', encoding='utf-8') as out:
        out.writelines(map(symbols.correct, seen))
    os.unlink(DATA)
    os.unlink(raw)


def main():
    os.makedirs(lab.SCRATCH, exist_ok=True)
    for workload in sys.argv[1:]:
        for kind in ('c', 'ours'):
            with lab.Driver(kind) as driver:
                record(driver, kind, workload)


if __name__ == '__main__':
    main()
