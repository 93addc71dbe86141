#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the table of scripts/flood, and judges it: tests/flood/table.py --commit WORD DIRECTORY LOG."""

import argparse
import json
import os
import statistics
import sys

HEAD = ('driver', 'flood/s, to', 'arrived/s', 'Mbit/s', 'kept', 'us each', 'handshake', 'slowest', 'lost', 'answers/s', 'KiB')
# From here on either driver must be under load.
LOADED = 10000
TO = {'sink': 'a socket', 'driver': 'the driver', 'junk': 'the driver, any MAC2', 'replay': 'the driver, one cookie'}


class Line:
    """One measured line."""

    def __init__(self, data, base):
        self.__dict__.update(data)
        self.middle = statistics.median(self.goodput)
        self.spread = max(self.goodput) - min(self.goodput)
        base = base or self
        self.kept = self.middle / base.middle
        # What a datagram takes away from the tunnel, in time of the CPU.
        self.each = (1 - self.kept) / self.arrived * 1e6 if self.rate else None
        times = data.get('us') or []
        self.handshake = statistics.median(times) / 1000 if times else None
        self.slowest = max(times) / 1000 if times else None

    def cells(self):
        """As text."""
        def number(value, form):
            return '-' if value is None else form.format(value)
        flood = 'none' if not self.rate else f'{self.rate}, {TO[self.to]}'
        return (self.driver, flood, number(self.arrived if self.rate else None, '{:.0f}'), f'{self.middle:.1f} ±{self.spread / 2:.1f}',
                f'{100 * self.kept:.1f} %', number(self.each, '{:.1f}'), number(self.handshake, '{:.2f} ms'),
                number(self.slowest, '{:.1f} ms'), number(self.__dict__.get('lost'), '{}'), number(max(self.answered, 0) if self.rate else None, '{:.0f}'),
                str(self.memory))


def read(log):
    """The lines of all drivers, each with its baseline known."""
    lines, whole, base = [], False, {}
    with open(log, encoding='utf-8') as file:
        for text in file:
            if text.startswith('={'):
                data = json.loads(text[1:])
                line = Line(data, base.get(data['driver']))
                if not line.rate:
                    base[line.driver] = line
                lines.append((line, data))
            whole |= text == '=end\n'
    return lines, whole


def judge(lines):
    """What must not be: sentences."""
    for line in lines:
        name = f'{line.driver}, {line.rate}/s to {TO[line.to]}'
        if line.rate and not 0.95 < line.arrived / line.rate < 1.05:
            yield f'{name}: the flood did not arrive at that rate, but {line.arrived:.0f} per second'
        if line.nobody:
            yield f'{name}: {line.nobody} datagrams found no socket'
        if line.to == 'sink':
            if line.answers > 50:
                yield f'{name}: the socket that drops the flood answered {line.answers} times'
            continue
        if line.driver == 'ours' and line.rate and sum(line.drops.values()) < line.rate:
            yield f'{name}: the driver has counted {sum(line.drops.values())} messages only: the flood did not reach it'
        # Who has a cookie is sent none.
        if line.rate >= LOADED and line.to != 'replay' and line.answers < 100:
            yield f'{name}: {line.answers} cookies were sent: it was never under load'
        if line.to == 'replay' and line.answered > line.arrived / 2:
            yield f'{name}: {line.answered:.0f} cookies per second were sent: the MAC2 was not good'
        if line.handshake is None:
            yield f'{name}: the honest peer never got in'
    c, ours = ({(line.rate, line.to): line for line in lines if line.driver == kind and line.to != 'sink'} for kind in ('c', 'ours'))
    for rate, to in sorted(c.keys() & ours.keys()):
        one, other = c[rate, to], ours[rate, to]
        margin = max(one.spread, other.spread, 0.02 * one.middle)
        if other.middle < one.middle - margin:
            yield f'{rate}/s to {TO[to]}: the tunnel carries {other.middle:.1f} Mbit/s with ours, {one.middle:.1f} with C'
        margin = max(line.spread / line.middle for line in (one, other, c[0, 'driver'], ours[0, 'driver']))
        margin = max(margin, 0.02)
        # What looking at it before the queue costs, and buys, is told in flood.md; the goodput itself counts above.
        if to != 'junk' and other.kept < one.kept - margin:
            yield f'{rate}/s to {TO[to]}: the tunnel keeps {100 * other.kept:.1f} % with ours, {100 * one.kept:.1f} % with C'
        if one.handshake and other.handshake and other.handshake > one.handshake * 1.25 + 0.5:
            yield f'{rate}/s to {TO[to]}: a handshake takes {other.handshake:.2f} ms with ours, {one.handshake:.2f} ms with C'
        if other.lost > one.lost + 1:
            yield f'{rate}/s to {TO[to]}: {other.lost} handshakes were lost with ours, {one.lost} with C'
        if other.memory > one.memory + 4096:
            yield f'{rate}/s to {TO[to]}: ours takes {other.memory} KiB, C {one.memory} KiB'


def main():
    """Table and verdict."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--commit', default='unknown')
    parser.add_argument('directory')
    parser.add_argument('log')
    args = parser.parse_args()
    pairs, whole = read(args.log)
    lines = [line for line, _ in pairs]
    rows = [HEAD] + [line.cells() for line in lines]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    text = [' '.join(f'{cell:>{w}}' for cell, w in zip(row, widths)) for row in rows]
    marks = [f'| {" | ".join(row)} |' for row in rows]
    marks.insert(1, '|---|---|' + '--:|' * (len(HEAD) - 2))
    wrong = list(judge(lines)) + ([] if whole else ['the measurement did not come to its end'])
    with open(os.path.join(args.directory, 'table.txt'), 'w', encoding='utf-8') as file:
        file.write('\n'.join(text) + '\n')
    with open(os.path.join(args.directory, 'table.md'), 'w', encoding='utf-8') as file:
        file.write(f'Measured with {args.commit}.\n\n' + '\n'.join(marks) + '\n')
    with open(os.path.join(args.directory, 'lines.json'), 'w', encoding='utf-8') as file:
        json.dump([data for _, data in pairs], file, indent=1)
    for sentence in wrong:
        print(f'flood: error: {sentence}', file=sys.stderr)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
