#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Collects what tests/bench/guest.py printed: JSON, a table as text and Markdown, a picture.

usage: tests/bench/report.py [--commit TEXT] [--quick] DIR LOG...

Exit status: 1 if a log is not whole or a row has no value.
"""

import argparse
import collections
import json
import os
import statistics
import sys

sys.dont_write_bytecode = True
import pictures  # noqa: E402

DRIVERS = ('c', 'ours', 'go')

# A clock may have the number of its CPUs behind a colon.
TITLES = {'icount': 'Instruction clock (1 CPU, 1 instruction = 1 ns)', 'plain': 'Plain clock (2 CPUs)'}
TITLES_CPUS = {'icount': 'Instruction clock, {} CPUs in turn', 'plain': 'Plain clock ({} CPUs)'}


def title(clock):
    """Of a section."""
    name, _, cpus = clock.partition(':')
    return TITLES_CPUS[name].format(cpus) if cpus else TITLES[name]


def clocks_of(summary):
    """Those there are, in the order of what they measured first."""
    return list(dict.fromkeys(e['clock'] for e in summary))


# Of these there is no ratio.
NO_RATIO = ('share',)


def load(logs):
    """Values by (clock, row) and driver, and what went wrong."""
    rows, wrong = collections.OrderedDict(), []
    for path in logs:
        whole = False
        with open(path, encoding='utf-8', errors='replace') as f:
            for line in f:
                if not line.startswith('='):
                    continue
                if line.startswith('=end'):
                    whole = True
                    continue
                found = json.loads(line[1:])
                if 'error' in found:
                    wrong.append(f'{found["row"]} ({found["driver"]}): {found["error"]}')
                    continue
                row = rows.setdefault((found['clock'], found['row']), {'unit': found['unit'], 'group': found['group'],
                                                                        'values': {d: [] for d in DRIVERS}})
                row['values'][found['driver']].append(found['value'])
        if not whole:
            wrong.append(f'{os.path.basename(path)} is not whole: the guest did not come to its end')
    return rows, wrong


def number(value):
    """Three digits, or all before the point."""
    if value == 0:
        return '0'
    if abs(value) >= 1000:
        return f'{value:,.0f}'
    return f'{value:.3g}' if abs(value) < 100 else f'{value:.0f}'


def spread(values):
    """Half the range, in percent of the median."""
    median = statistics.median(values)
    return 50 * (max(values) - min(values)) / median if median else 0


def summarise(rows):
    """A list of plain dictionaries."""
    found = []
    for (clock, name), row in rows.items():
        entry = {'clock': clock, 'row': name, 'unit': row['unit'], 'group': row['group']}
        for driver in DRIVERS:
            values = row['values'][driver]
            if values:
                entry[driver] = {'median': statistics.median(values), 'spread_percent': round(spread(values), 2),
                                 'values': values}
        if 'c' in entry and row['group'] not in NO_RATIO and entry['c']['median']:
            for driver in ('ours', 'go'):
                if driver in entry:
                    entry[f'{driver}/c'] = round(entry[driver]['median'] / entry['c']['median'], 4)
        found.append(entry)
    return found


def cells(entry):
    """Texts of a table's line."""
    def value(driver):
        if driver not in entry:
            return '-'
        text = number(entry[driver]['median'])
        if len(entry[driver]['values']) > 1:
            text += f' ±{entry[driver]["spread_percent"]:.1f}%'
        return text

    def ratio(key):
        return f'{entry[key]:.3f}' if key in entry else '-'
    return [f'{entry["row"]}' + (f' [{entry["unit"]}]' if entry['unit'] else ''), *map(value, DRIVERS), ratio('ours/c'),
            ratio('go/c')]


HEAD = ['', 'C', 'ours', 'wireguard-go', 'ours/C', 'go/C']


def text(summary, clock):
    """A table in columns."""
    lines = [HEAD] + [cells(e) for e in summary if e['clock'] == clock]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEAD))]
    return '\n'.join(line[0].ljust(widths[0]) + ''.join('  ' + c.rjust(w) for c, w in zip(line[1:], widths[1:]))
                     for line in lines)


def markdown(summary, clock):
    """The same in Markdown."""
    lines = [HEAD, ['---'] + ['---:'] * (len(HEAD) - 1)] + [cells(e) for e in summary if e['clock'] == clock]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--commit', default='unknown')
    p.add_argument('--quick', action='store_true')
    p.add_argument('directory')
    p.add_argument('logs', nargs='+')
    args = p.parse_args()
    rows, wrong = load(args.logs)
    for (clock, name), row in rows.items():
        missing = {'c', 'ours'} - {d for d, v in row['values'].items() if v}
        # Rows of more peers than the C driver is asked to hold are ours alone.
        if 'ours' in missing and any(r['values']['ours'] for r in rows.values()):
            wrong.append(f'{clock}: {name} has no value of ours')
    summary = summarise(rows)
    about = f'wireguard_rs {args.commit}' + (', a quick run' if args.quick else '')
    sections = clocks_of(summary)
    with open(os.path.join(args.directory, 'results.json'), 'w', encoding='utf-8') as f:
        json.dump({'commit': args.commit, 'quick': args.quick, 'rows': summary, 'not_measured': wrong}, f, indent=1)
        f.write('\n')
    with open(os.path.join(args.directory, 'results.txt'), 'w', encoding='utf-8') as f:
        f.write(about + '\n')
        for clock in sections:
            f.write(f'\n{title(clock)}\n{text(summary, clock)}\n')
    with open(os.path.join(args.directory, 'results.md'), 'w', encoding='utf-8') as f:
        f.write(f'<!-- SPDX-License-Identifier: GPL-2.0 -->\n# Results\n\nMade by `scripts/bench`, from {about}. Medians, '
                'and half the range of the repetitions.\n')
        for clock in sections:
            f.write(f'\n## {title(clock)}\n\n{markdown(summary, clock)}\n')
    if any('ours/c' in e for e in summary):
        pictures.all_rows(summary, os.path.join(args.directory, 'results.svg'), about, title)
        pictures.glance(summary, os.path.join(args.directory, 'glance.svg'), about)
    for line in wrong:
        print(f'not measured: {line}')
    if not rows:
        print('not measured: anything')
    return 1 if wrong or not rows else 0


if __name__ == '__main__':
    sys.exit(main())
