#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the module has allocated and not freed, by the stacks of the allocations.

usage (in the guest): tests/sanitize/owners.py save FILE
                      tests/sanitize/owners.py compare FILE

A leak detector for kernels without kmemleak, such as the stock one: booted
with slab_debug=U, SLUB remembers who allocated every object. "save" keeps the
stacks with our module on them, "compare" fails if there are more by now and
still are half a minute later: namespaces are taken down, and what RCU frees is
freed, after the call that asked for it has returned.
"""

import collections
import glob
import json
import re
import sys
import time


def owned():
    """Number of objects per cache and stack."""
    found = collections.Counter()
    for path in glob.glob("/sys/kernel/debug/slab/*/alloc_traces"):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        for group in text.split("\n\n"):
            if "[wireguard_rs]" not in group:
                continue
            # Not ours, though we had it made: neighbour tables, and each CPU's stock of sk_buffs.
            # And what loading the module made, which looks different each time.
            if any(w in group for w in ("neigh_hash_alloc", "kmem_cache_alloc_bulk", "do_init_module")):
                continue
            lines = group.strip().splitlines()
            number = re.match(r"\s*(\d+) ", lines[0])
            stack = "\n".join(line.strip() for line in lines[1:])
            found[f"{path.split('/')[-2]}\n{stack}"] += int(number[1]) if number else 1
    return found


def main():
    """Saves or compares."""
    if not glob.glob("/sys/kernel/debug/slab/kmalloc-64/alloc_traces"):
        print("skip - allocations by owner (the kernel was not booted with slab_debug=U)")
        return 0
    if sys.argv[1] == "save":
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            json.dump(owned(), file)
        return 0
    with open(sys.argv[2], encoding="utf-8") as file:
        before = collections.Counter(json.load(file))
    deadline = time.time() + 30
    while True:
        now = owned()
        more = now - before
        # The list of namespaces that have tokens keeps its memory when it gets shorter.
        total = sum(number for what, number in more.items() if number > 1 or "WeakNet3new" not in what)
        if not total or time.time() > deadline:
            break
        time.sleep(2)
    if not total:
        print(f"ok - nothing more is allocated by the module than before ({sum(now.values())} objects)")
        return 0
    print(f"not ok - {total} more objects are allocated by the module than before")
    for what, number in more.most_common(10):
        print(f"#   {number} in {what}".replace("\n", "\n#       "))
    return 1


if __name__ == "__main__":
    sys.exit(main())
