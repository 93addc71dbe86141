#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every source file says its licence in its first lines, and can be run if and only if these say what by; long
ones are named.

usage: lint-files.py (in the checkout)
"""

import os
import pathlib
import sys

SUFFIXES = {".rs", ".c", ".h", ".sh", ".py"}
NAMES = {"Makefile", "Kbuild", "run", "init", ".config.fragment"}
SKIPPED = {"build", "target", ".git"}
LONG = 600


def sources():
    """The files that are held to it."""
    for root, directories, files in os.walk("."):
        directories[:] = sorted(d for d in directories if d not in SKIPPED)
        for file in sorted(files):
            path = pathlib.Path(root, file)
            # In scripts/series.d is what becomes part of messages and of other people's files.
            script = path.parts[:1] == ("scripts",) and path.parts[:2] != ("scripts", "series.d")
            if path.suffix in SUFFIXES or file in NAMES or script:
                yield path


def main():
    """Prints files without a licence line or with a wrong mode (errors), or too long (a warning)."""
    bad = 0
    for path in sources():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if not any("SPDX-License-Identifier: GPL-2.0" in line for line in lines[:3]):
            print(f"{path}: no SPDX-License-Identifier: GPL-2.0 in its first lines")
            bad += 1
        runs = "".join(lines[:1]).startswith("#!")
        if runs != os.access(path, os.X_OK):
            print(f"{path}: " + ("chmod +x it: it begins with #!" if runs else "chmod -x it: it does not begin with #!"))
            bad += 1
        if len(lines) > LONG:
            print(f"{path}: warning: {len(lines)} lines; is it still one concern?", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
