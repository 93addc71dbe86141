#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Where two drivers spend their instructions, side by side.

usage: tests/bench/tops.py NAME=FOLDED NAME=FOLDED [COUNT]

FOLDED has a line for each call chain, frames joined by semicolons, and how often it was seen. Prints the functions with
the greatest own cost, in percent of all samples, then those with the greatest cost including what they call.
"""

import collections
import re
import sys

IDLE = re.compile(r'default_idle|_halt|cpu_startup_entry|do_idle')


def load(path):
    """Own and inclusive counts by function, and the total, without idle time."""
    own, inclusive, total = collections.Counter(), collections.Counter(), 0
    with open(path, encoding='utf-8') as f:
        for line in f:
            chain, count = line.rsplit(None, 1)
            frames = [re.sub(r'_\[k\]$', '', frame) for frame in chain.split(';')]
            if frames[0].startswith('swapper') and any(IDLE.search(frame) for frame in frames[-4:]):
                continue
            total += int(count)
            own[frames[-1]] += int(count)
            for frame in set(frames):
                inclusive[frame] += int(count)
    if not total:
        sys.exit(f'tops.py: {path} holds no samples')
    return own, inclusive, total


def main():
    names = [a.split('=', 1) for a in sys.argv[1:3]]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 30
    found = [load(path) for _, path in names]
    for title, which in (('own cost', 0), ('cost with what it calls', 1)):
        share = [{frame: 100 * n / f[2] for frame, n in f[which].items()} for f in found]
        order = sorted(set(share[0]) | set(share[1]), key=lambda k: -max(s.get(k, 0) for s in share))
        print(f'{title}, % of all samples')
        print(''.join(f'{name:>9}' for name, _ in names))
        for frame in order[:count]:
            print(''.join(f'{s.get(frame, 0):9.2f}' for s in share) + '  ' + frame)
        print()


if __name__ == '__main__':
    main()
