# SPDX-License-Identifier: GPL-2.0
"""Rows about parts of the work, by sampling: what the cipher takes, and the key agreement.

The sampler is perf's cpu-clock event, so it is timed by the same clock as all else.
"""

import bisect
import collections
import os
import re
import subprocess

import lab
import rows_traffic

DATA = f'{lab.SCRATCH}/perf.data'
# What is in front, the address, the function, where that is.
FRAME = re.compile(r'^(.*?\s)([0-9a-f]{6,16}) (\S.*) \((.*)\)$')
IDLE = re.compile(r'idle|_halt|mwait|cpu_startup_entry')
AEAD = re.compile(r'chacha|poly1305')
CURVE = re.compile(r'curve25519')


def recorded(data, measure, *options):
    """What `measure` returns; perf samples all CPUs into the file `data` meanwhile."""
    # It takes a while to begin, and says so by starting its command; it ends with that, and that with its input.
    ready = f'{lab.SCRATCH}/ready'
    with subprocess.Popen([lab.PERF, 'record', '-q', '-a', '-e', 'cpu-clock', *options, '-o', data, '--',
                           'sh', '-c', f': >{ready}; exec cat'],
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as recorder:
        lab.wait_for('perf record', lambda: os.path.exists(ready) or recorder.poll() is not None)
        value = measure()
        _, err = recorder.communicate(timeout=120)
    os.unlink(ready)
    if recorder.returncode:
        raise lab.Failed(f'perf record: {err.strip()[-200:]}')
    return value


class Symbols:
    """The kernel's functions by address, modules and all, as /proc/kallsyms has them.

    perf goes by where /proc/modules says that a module is; but the code of several lies mixed, in one large page, and
    it finds the wrong one."""

    def __init__(self):
        found = []
        with open('/proc/kallsyms', encoding='ascii') as f:
            for line in f:
                address, kind, name, *module = line.split()
                if kind in 'tTwW':
                    found.append((int(address, 16), name, module[0] if module else '[kernel.kallsyms]'))
        found.sort(key=lambda symbol: symbol[0])
        self.starts = [symbol[0] for symbol in found]
        self.found = found

    def at(self, address):
        """(function, module); None in user space."""
        if address < self.starts[0]:
            return None
        return self.found[bisect.bisect_right(self.starts, address) - 1][1:]

    def correct(self, line):
        """A line of perf script's, with the function that it should name."""
        found = FRAME.search(line)
        known = found and self.at(int(found[2], 16))
        return f'{found[1]}{found[2]} {known[0]}+0x0 ({known[1]})\n' if known else line


def samples(measure):
    """Counts of (symbol, module) while `measure` runs, and what it returned. Idle time is none."""
    value = recorded(DATA, measure, '-F', '4999')
    out = lab.run(lab.PERF, 'script', '-i', DATA, '-F', 'comm,ip,sym,dso', timeout=300)
    os.unlink(DATA)
    symbols = Symbols()
    counts = collections.Counter()
    for line in out.splitlines():
        found = FRAME.search(line)
        if found and not (found[1].strip() == 'swapper' and IDLE.search(found[3])):
            counts[symbols.at(int(found[2], 16)) or (found[3].split('+')[0], found[4])] += 1
    if sum(counts.values()) < 200:
        raise lab.Failed(f'perf saw only {sum(counts.values())} samples; the first: {out[:200]!r}')
    return counts, value


def share(counts, wanted):
    """Part of the samples whose (symbol, module) is wanted."""
    return sum(n for (symbol, module), n in counts.items() if wanted(symbol, module)) / sum(counts.values())


def aead(driver, plan, row):
    """What the cipher takes of a bulk transfer. If all else were free, that would be the limit."""
    left, right = driver.pair()
    seen = []
    with rows_traffic.Server(right):
        def part():
            counts, rate = samples(lambda: rows_traffic.tcp(left, '192.168.77.2', seconds=plan.seconds))
            seen[:] = [share(counts, lambda symbol, module: AEAD.search(f'{symbol} {module}')), rate]
            return 100 * seen[0]
        row('TCP, 1 stream: ChaCha20-Poly1305, of all instructions', '%', part, 'share')
    if seen and seen[0]:
        row('TCP, 1 stream, if only ChaCha20-Poly1305 cost anything', rows_traffic.MBIT, lambda: seen[1] / seen[0], 'share')


def curve(driver, plan, row):
    """What a handshake costs over its Curve25519 operations, four at each end."""
    all_ = rows_traffic.Initiators(driver)
    all_.forget()

    def part():
        counts, _ = samples(all_.shake)
        return 1 / share(counts, lambda symbol, module: CURVE.search(f'{symbol} {module}'))
    row('handshake, over its Curve25519 operations', 'x', part)
