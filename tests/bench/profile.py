#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Samples both drivers at work, with call chains; leaves what perf script prints in /out.

usage (in the guest, instruction clock): tests/bench/profile.py WORKLOAD...

WORKLOAD is tcp (one stream) or udp (64 B packets).
"""

import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lab  # noqa: E402
import rows_shares, rows_traffic  # noqa: E401,E402

SECONDS = 2
WORK = {
    'tcp': lambda ns: rows_traffic.tcp(ns, '192.168.77.2', seconds=SECONDS),
    'udp': lambda ns: rows_traffic.udp(ns, '192.168.77.2', 64, seconds=SECONDS)[0],
}
DATA = f'{lab.SCRATCH}/perf.data'


def record(driver, kind, workload):
    """One workload with one driver."""
    left, right = driver.pair()
    with rows_traffic.Server(right):
        WORK[workload](left)
        value = rows_shares.recorded(DATA, lambda: WORK[workload](left), '-g', '-F', '3999')
    lab.say(f'{kind} {workload}: {value:.1f}')
    with open(f'/out/{kind}-{workload}.script', 'w', encoding='utf-8') as out:
        subprocess.run([lab.PERF, 'script', '-i', DATA], check=True, stdout=out, timeout=600, stderr=subprocess.DEVNULL)
    os.unlink(DATA)


def main():
    os.makedirs(lab.SCRATCH, exist_ok=True)
    for workload in sys.argv[1:]:
        for kind in ('c', 'ours'):
            with lab.Driver(kind) as driver:
                record(driver, kind, workload)


if __name__ == '__main__':
    main()
