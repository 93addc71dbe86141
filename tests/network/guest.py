#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the rows, or those with one of WORDs in their title; lines with `|` in front are the transcript.

usage (in the guest): tests/network/guest.py [WORD]...

It judges what it can; tests/network/run, on the host, does the rest.
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lab  # noqa: E402
import rows_namespaces, rows_routing, rows_packets, rows_errors, rows_link, rows_counters, rows_staging, rows_power  # noqa: E401,E402,F401


def main():
    os.environ['LC_ALL'] = 'C'
    count = lab.run_rows(sys.argv[1:])
    lab.say('== end')
    return 0 if count else 1


if __name__ == '__main__':
    sys.exit(main())
