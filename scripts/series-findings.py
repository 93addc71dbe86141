#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares what checkpatch finds in a series with what is argued for.

usage: series-findings.py KERNEL-SOURCE SERIES ARGUED

A line of ARGUED is TYPE, a pattern of the files (of the kernel's paths; "patch"
for what is about no file), an argument. Wrong is a finding without an argument,
and an argument without a finding.
"""

import collections
import fnmatch
import glob
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True

# "path:12: WARNING:LONG_LINE: line length of 110 exceeds 100 columns"
FINDING = re.compile(r"^(?P<at>[^:]*):(?P<line>\d+)?:? ?(ERROR|WARNING|CHECK):(?P<type>\w+): (?P<text>.*)$")


def findings(kernel, patch):
    """What checkpatch has to say of a patch: type, file, the line that says it."""
    done = subprocess.run(
        ["perl", "scripts/checkpatch.pl", "--strict", "--terse", "--show-types",
         "--showfile", "--no-summary", patch],
        cwd=kernel, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.stderr.strip():
        sys.exit(f"checkpatch cannot be run: {done.stderr.strip().splitlines()[0]}")
    found = []
    for line in done.stdout.splitlines():
        fits = FINDING.match(line)
        if not fits:
            if line.strip():
                sys.exit(f"checkpatch says what is not understood here: {line}")
            continue
        at = fits["at"]
        about = "patch" if os.path.basename(patch) in at or not at else at
        found.append((fits["type"], about, line))
    return found


def argued(path):
    """The arguments: type, pattern, text."""
    with open(path, encoding="utf-8") as file:
        lines = [l for l in file.read().splitlines() if l.strip() and not l.startswith("#")]
    return [tuple(line.split(None, 2)) for line in lines]


def main():
    """Prints counts, and ends with 1 if something is not argued for or stale."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    kernel, series, path = sys.argv[1:]
    arguments = argued(path)
    counts = collections.Counter()
    wrong = 0
    for patch in sorted(glob.glob(os.path.join(os.path.abspath(series), "000[1-9]*.patch"))):
        for kind, about, line in findings(kernel, patch):
            fits = [a for a in arguments if a[0] == kind and fnmatch.fnmatchcase(about, a[1])]
            if not fits:
                print(f"{os.path.basename(patch)[:4]} {line}")
                wrong += 1
                continue
            counts[fits[0]] += 1
    for argument in arguments:
        if len(argument) != 3:
            print(f"no argument: {' '.join(argument)}")
            wrong += 1
        elif not counts[argument]:
            print(f"argued for, but not found (any more): {' '.join(argument)}")
            wrong += 1
    for (kind, pattern, text), number in sorted(counts.items()):
        print(f"{number:5} {kind} {pattern}: {text}")
    if wrong:
        sys.exit(f"{wrong} findings of checkpatch's are not argued for in {path}, or arguments are stale")


main()
