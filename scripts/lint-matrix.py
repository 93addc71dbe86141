#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every public type of crate wgk has a row in the matrix, every row a type and an attempt; `unsafe` is counted.

usage: lint-matrix.py [--unsafe] (in the checkout)

Rows are those of Documentation/matrix.md whose first cell is a name. Somebody must try to misuse each type:
it is named in the code of tests/misuse or tests/compile-fail, or the list "Tried by another word" says where.

The table "unsafe, by file" of Documentation/safety.md has, for each file of rust/, how often the keyword stands
in its code, and what for: blocks, functions, implementations, traits, the rest (types of functions, items of macros).
--unsafe prints that table anew.
"""

import pathlib
import re
import sys

ITEM = re.compile(r"^\s*pub (?:unsafe )?(?:struct|enum|union|trait|type) (\w+)")
ROW = re.compile(r"^\| `(\w+)` \|")
COUNT = re.compile(r"^\| ([a-z_0-9/]+\.rs) \| (\d+) \| (.*) \|$")
NOISE = re.compile(r'//.*|b?"(?:\\.|[^"\\])*"')
KINDS = (
    ("block", re.compile(r"\bunsafe\s*(?:\{|$)")),
    ("fn", re.compile(r"\bunsafe\s+(?:extern\b[^(]*?)?fn\s+\w")),
    ("impl", re.compile(r"\bunsafe\s+impl\b")),
    ("trait", re.compile(r"\bunsafe\s+trait\b")),
)
SEALED = ("Chain",)
# Where misuse is tried, and the line of the matrix that says how, where a type is not named there.
TRIED = ("tests/misuse", "tests/compile-fail")
BY_ANOTHER = re.compile(r"^- `(\w+)`: (tests/\S+\.rs), `([^`]+)`")


def code(path):
    """The lines of a file without comments and strings."""
    for line in path.read_text(encoding="utf-8").splitlines():
        # In a string or an attribute it is no keyword.
        yield re.sub(r"unsafe_\w+|#\[.*unsafe\(.*", "", NOISE.sub("", line))


def public_types():
    """Name of each public type, and its file."""
    types = {}
    for path in sorted(pathlib.Path("rust").rglob("*.rs")):
        for line in code(path):
            match = ITEM.match(line)
            if match and match[1] not in SEALED:
                types.setdefault(match[1], path)
    return types


def counted(path):
    """How often, and what for."""
    total, kinds = 0, {}
    for line in code(path):
        for site in re.finditer(r"\bunsafe\b", line):
            total += 1
            rest = line[site.start():]
            kind = next((name for name, pattern in KINDS if pattern.match(rest)), "other")
            kinds[kind] = kinds.get(kind, 0) + 1
    order = [name for name, _ in KINDS] + ["other"]
    return total, ", ".join(f"{kinds[name]} {name}" for name in order if name in kinds) or "none"


def untried(types, matrix):
    """How many types nobody tries to misuse: neither by name, nor as the list of the others says."""
    attempts = {str(p): "\n".join(code(p)) for d in TRIED for p in sorted(pathlib.Path(d).rglob("*.rs"))}
    words = set(re.findall(r"\w+", "\n".join(attempts.values())))
    table = {match[1]: (match[2], match[3]) for match in map(BY_ANOTHER.match, matrix) if match}
    bad = 0
    for name in sorted(types):
        if name in words:
            if name in table:
                print(f"Documentation/matrix.md: `{name}` is named in an attempt: it needs no other word")
                bad += 1
            continue
        path, word = table.get(name, (None, None))
        if path is None:
            print(f"{types[name]}: `{name}` is tried neither in tests/misuse nor in tests/compile-fail")
            bad += 1
        elif word not in attempts.get(path, ""):
            print(f"Documentation/matrix.md: there is no `{word}` in {path}, where `{name}` is said to be tried")
            bad += 1
    for name in sorted(set(table) - set(types)):
        print(f"Documentation/matrix.md: there is no public type `{name}` to be tried by another word")
        bad += 1
    return bad


def main():
    """Prints what does not agree."""
    files = {str(path.relative_to("rust")): counted(path) for path in sorted(pathlib.Path("rust").rglob("*.rs"))}
    if "--unsafe" in sys.argv:
        print("| file | `unsafe` | of these |\n|---|---|---|")
        for name, (total, kinds) in files.items():
            print(f"| {name} | {total} | {kinds} |")
        print(f"\n{sum(total for total, _ in files.values())} in all.")
        return 0
    bad = 0
    types = public_types()
    matrix = pathlib.Path("Documentation/matrix.md").read_text(encoding="utf-8").splitlines()
    rows = [match[1] for match in map(ROW.match, matrix) if match]
    for name in sorted(set(types) - set(rows)):
        print(f"{types[name]}: `{name}` has no row in Documentation/matrix.md")
        bad += 1
    for name in sorted(set(rows)):
        if name not in types:
            print(f"Documentation/matrix.md: there is no public type `{name}` in rust/")
            bad += 1
        if rows.count(name) > 1:
            print(f"Documentation/matrix.md: `{name}` has more than one row")
            bad += 1
    for number, line in enumerate(matrix, 1):
        if ROW.match(line) and (line.count("|") != 8 or re.search(r"\|\s*\|", line)):
            print(f"Documentation/matrix.md:{number}: a row has seven cells, none of them empty")
            bad += 1
    bad += untried(types, matrix)
    safety = pathlib.Path("Documentation/safety.md").read_text(encoding="utf-8").splitlines()
    said = {match[1]: (int(match[2]), match[3]) for match in map(COUNT.match, safety) if match}
    for name in sorted(set(files) | set(said)):
        if files.get(name) != said.get(name):
            print(f"Documentation/safety.md: unsafe in {name} is {files.get(name)}, the table says {said.get(name)};"
                  " scripts/lint-matrix.py --unsafe prints it")
            bad += 1
    total = sum(number for number, _ in files.values())
    if f"{total} in all." not in safety:
        print(f"Documentation/safety.md: unsafe stands {total} times in all, which is not what it says")
        bad += 1
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
