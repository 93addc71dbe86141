#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""An assertion of a suite that KUnit runs carries no message of its own.

usage: lint-kunit.py (in the checkout)

`#[kunit_tests]` puts macros of its own for assert! and assert_eq!, which take one and two arguments; on the host,
and in a kernel without KUnit, the same text is the language's and takes more. A build for either doesn't tell.
"""

import pathlib
import re
import sys

SUITE = re.compile(r"^#\[.*kunit_tests\(.*\n(?:#\[.*\n)*(?:pub(?:\(.*\))? )?mod \w+(?P<body> \{\n(?:.*\n)*?\}\n|;)", re.M)
ASSERTION = re.compile(r"\b(?P<name>assert|assert_eq)!\(")
TAKES = {"assert": 1, "assert_eq": 2}
# A literal, in which brackets and commas are no more than text; a lifetime is none.
LITERAL = re.compile(r'b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\])\'|//.*', re.S)


def arguments(text, at):
    """How many arguments there are before the bracket that closes the one before `at`; a comma at the end begins none."""
    depth, count, empty = 1, 0, True
    while depth:
        literal = LITERAL.match(text, at) if text[at] in "b\"'/" else None
        if literal and literal.group().startswith("//"):
            at = text.index("\n", at)
            continue
        char = text[at]
        if literal:
            at = literal.end() - 1
        depth += (char in "([{") - (char in ")]}")
        if depth == 1 and char == ",":
            empty = True
        elif depth and not char.isspace() and empty:
            count, empty = count + 1, False
        at += 1
    return count


def main():
    """Prints the assertions that a kernel with KUnit would not compile, and fails if there are any."""
    bad = seen = 0
    for path in sorted([*pathlib.Path("src").rglob("*.rs"), *pathlib.Path("rust").rglob("*.rs")]):
        text = path.read_text(encoding="utf-8")
        for suite in SUITE.finditer(text):
            if suite["body"] == ";":
                print(f"{path}: a suite in a file of its own: KUnit's macro does not see into it")
                bad += 1
            start, end = suite.span("body")
            for assertion in ASSERTION.finditer(text, start, end):
                seen += 1
                given = arguments(text, assertion.end())
                if given != TAKES[assertion["name"]]:
                    line = text.count("\n", 0, assertion.start()) + 1
                    print(f"{path}:{line}: {assertion['name']}! of a KUnit suite with {given} arguments: say it in a comment")
                    bad += 1
    if not seen:
        print("no assertion of a suite was found: this check is blind")
        bad += 1
    print(f"{seen} assertions")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
