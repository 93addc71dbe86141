#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage (in the guest): tests/sanitize/locks.py [TABLE.md]

Compares what lockdep has seen of the driver's locks with the table of locks in
Documentation/architecture.md: each lock of the driver that was made is in the table
by the name of its class, and each that was taken directly inside of another has that
one in the column "directly inside of". Prints what was seen. Nothing to compare
without /proc/lockdep (CONFIG_PROVE_LOCKING).
"""
import os
import re
import sys

RTNL = 'rtnl_mutex'


def table(path):
    """The locks of the table, each with those that it may be taken in."""
    locks = {}
    for line in open(path, encoding='utf-8'):
        cells = [cell.strip() for cell in line.split('|')]
        if len(cells) == 7 and re.fullmatch(r'`\w+(::\w+)?`', cells[1]):
            locks[cells[1].strip('`')] = set(re.findall(r'`(\w+(?:::\w+)?)`', cells[5]))
    if RTNL not in locks or len(locks) < 3:
        sys.exit(f'not ok - {path} has no table of locks that can be read')
    return locks


def observed(path):
    """The classes that lockdep knows, each with those that were taken directly inside of it."""
    classes, holder = {}, None
    for line in open(path, encoding='ascii', errors='replace'):
        line = line.rstrip('\n')
        if line.startswith(' -> '):
            if holder is not None:
                classes[holder].add(name(line.split('] ', 1)[1]))
        elif ': ' in line and re.match(r'[0-9a-f]{8,}\b', line):
            holder = name(line.split(': ')[-1])
            classes.setdefault(holder, set())
    return classes


def named(top):
    """The names that locks are given in the sources; those of work items are none."""
    names = set()
    for folder in ('src', 'rust'):
        for directory, _, files in os.walk(f'{top}/{folder}'):
            for file in files:
                if file.endswith('.rs'):
                    text = open(f'{directory}/{file}', encoding='utf-8').read()
                    text = re.sub(r'new_work!\([^)]*\)', '', text)
                    names |= set(re.findall(r'"([A-Z]\w+::\w+)"', text))
    return names


def name(text):
    """A class's name, without the marks of subclasses and of classes that share it."""
    return re.sub(r'(#\d+|/\d+)+$', '', text.strip())


def main():
    if not os.path.exists('/proc/lockdep'):
        print('skip - order of locks: this kernel has no /proc/lockdep')
        return
    top = os.path.normpath(f'{os.path.dirname(os.path.abspath(__file__))}/../..')
    path = sys.argv[1] if len(sys.argv) > 1 else f'{top}/Documentation/architecture.md'
    locks = table(path)
    seen = observed('/proc/lockdep')
    ours = named(top) & seen.keys()
    if not ours:
        print('skip - order of locks: none of the driver was made')
        return
    wrong = [f'{lock} is not in the table of {path}' for lock in sorted(ours - locks.keys())]
    edges = 0
    for outer in sorted(ours | {RTNL}):
        for inner in sorted(seen.get(outer, set())):
            if inner not in ours and not (inner == RTNL and outer in ours):
                continue
            edges += 1
            print(f'# {inner} was taken directly inside of {outer}')
            if outer not in locks.get(inner, set()):
                wrong.append(f'{inner} was taken inside of {outer}, of which the table says nothing')
    for line in wrong:
        print(f'# {line}')
    print(f'{"not " if wrong else ""}ok - the order of {len(ours)} locks, {edges} times one inside of another, is that of the table')
    sys.exit(bool(wrong))


if __name__ == '__main__':
    main()
