#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Two builds of our module, one after the other over and over in one guest with the instruction clock: whether one of
them costs more, and how sure that is. Prints a table.

usage (in the guest): tests/bench/compare.py ROUNDS ONE.ko OTHER.ko [steady|bulk|nic|whole]...

As scripts/vm would have it:
  scripts/vm --driver none --icount --mem 3G --timeout 6000 --add one.ko:vm/one.ko --add other.ko:vm/other.ko \\
      --add build/bench-load/release/wgrs-load:usr/local/bin/wgrs-load -- tests/bench/compare.py 5 /vm/one.ko /vm/other.ko

The rows are those of tests/bench/guest.py, and two that depend on no chance of who runs when: what a packet costs while
64 are under way, and what an echo does. TCP's depend on it most, so it is a mean that is to be looked at, with the
standard error of the ratio.
"""

import collections
import os
import shutil
import socket
import statistics
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lab  # noqa: E402
import rows_traffic  # noqa: E402

# Of one round.
PACKETS, SPRAYS, ECHOES, SHAKES = 4096, 6, 1500, 6


class Plan:
    """For the rows of others."""
    seconds = 1


def echoes(ns, to):
    """Nanoseconds of echoes, one after the other, each as the process sees it."""
    found = []
    with ns, socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(10)
        s.connect((to, 0))
        for n in range(ECHOES):
            body = struct.pack('!HH', 7, n)
            total = 0x0800 + sum(struct.unpack('!HH', body))
            total = (total & 0xffff) + (total >> 16)
            request = struct.pack('!BBH', 8, 0, ~total & 0xffff) + body
            start = time.perf_counter_ns()
            s.send(request)
            while s.recv(100)[20] != 0:
                pass
            found.append(time.perf_counter_ns() - start)
    return found


def steady(row):
    """The rows that hardly vary."""
    with lab.Driver('ours') as driver:
        left, _ = driver.pair()
        targets = f'{lab.SCRATCH}/targets'
        with open(targets, 'wb') as file:
            file.write(socket.inet_aton('192.168.77.2') * PACKETS)
        for ns in rows_traffic.spray(left, targets, 64, 'right', SPRAYS)[1:]:
            row('send and receive, 64 under way', 'ns/packet', lambda v=ns / PACKETS: v)
        found = echoes(left, '192.168.77.2')[ECHOES // 10:]
        row('echo, median', 'ns', lambda: statistics.median(found))
    with lab.Driver('ours') as driver:
        all_ = rows_traffic.Initiators(driver)
        for _ in range(SHAKES):
            all_.forget()
            row('handshakes', '1/s', lambda: rows_traffic.INITIATORS * 1e9 / all_.shake())


def bulk(row):
    """TCP, UDP, ping."""
    with lab.Driver('ours') as driver:
        rows_traffic.direct(driver, Plan, row)


def nic(row):
    """The same where datagrams cross the link one by one."""
    with lab.Driver('ours') as driver:
        rows_traffic.nic(driver, Plan, row)


def whole(row):
    """The same with the hook that has datagrams taken whole."""
    with lab.Driver('ours') as driver:
        rows_traffic.whole(driver, Plan, row)


def ratio(one, other):
    """Of the means, with its standard error: (ratio, error), both in percent."""
    means = [statistics.mean(v) for v in (one, other)]
    errors = [statistics.stdev(v) / len(v) ** 0.5 / m if len(v) > 1 and m else 0 for v, m in zip((one, other), means)]
    return 100 * (means[1] / means[0] - 1), 100 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5


def main():
    rounds, names = int(sys.argv[1]), sys.argv[2:4]
    parts = [part for part in (steady, bulk, nic, whole) if part.__name__ in (sys.argv[4:] or ('steady', 'bulk'))]
    os.makedirs(lab.SCRATCH, exist_ok=True)
    values = collections.OrderedDict()
    bad = 0

    def table():
        print(f'| | {os.path.basename(names[0])} | {os.path.basename(names[1])} | change of the mean |')
        print('| --- | ---: | ---: | ---: |')
        for (name, unit), sides in values.items():
            if all(sides) and 'lost' not in name:
                change, error = ratio(*sides)
                medians = [statistics.median(v) for v in sides]
                print(f'| {name} [{unit}] | {medians[0]:,.6g} | {medians[1]:,.6g} | {change:+.2f} % ±{error:.2f} |', flush=True)

    for n in range(rounds):
        for part in parts:
            for side, module in enumerate(names):
                shutil.copy(module, '/vm/wireguard_rs.ko')
                lab.say(f'{part.__name__} {os.path.basename(module)} {n + 1}/{rounds} (up {time.monotonic():.0f} s)')

                def row(name, unit, measure, _group='', side=side):
                    nonlocal bad
                    try:
                        value = measure()
                        values.setdefault((name, unit), ([], []))[side].append(value)
                        # Also for who has to end this before its time.
                        print(f'{os.path.basename(names[side])} {name} [{unit}]: {value:.6g}', flush=True)
                    except (lab.Failed, OSError, LookupError, ValueError, ZeroDivisionError) as error:
                        bad += 1
                        lab.say(f'no {name}: {error}')
                try:
                    part(row)
                except (lab.Failed, OSError, LookupError, ValueError) as error:
                    bad += 1
                    lab.say(f'no {part.__name__}: {error}')
    table()
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
