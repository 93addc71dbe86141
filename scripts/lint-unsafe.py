#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every `unsafe` of a Rust source tree has its argument directly above.

A block or an `unsafe impl` wants a `// SAFETY:` comment, an `unsafe fn` or
`unsafe trait` a `# Safety` section in its documentation. Clippy asks for the
same, but not inside macros, nor on private functions.

usage: lint-unsafe.py DIRECTORY
"""

import pathlib
import re
import sys

# What is neither a comment nor a string can hold the keyword.
NOISE = re.compile(r'//.*|b?"(?:\\.|[^"\\])*"')
SITE = re.compile(r"\bunsafe\b")
# A pointer type, not code: `unsafe extern "C" fn(...)` without a name.
TYPE = re.compile(r"\bunsafe\s+(?:extern\s*(?:\"\"|\"C\")?\s*)?fn\s*\(")
FUNCTION = re.compile(r"\bunsafe\s+(?:extern\b.*)?(?:fn\s+\w|trait\b)")
CONTAINER = re.compile(r"(\s*)(?:pub\S*\s+)?(?:unsafe\s+)?(impl|trait|mod|extern)\b")
ATTRIBUTE = re.compile(r"unsafe_(?:code|op_in_unsafe_fn)|unsafe\((?:no_mangle|link_section|export_name)")


def comment_above(lines, index):
    """The comment (and attributes) directly above a line, of a statement that
    may span lines."""
    text = []
    # Up to the start of the statement the keyword is in.
    while index > 0:
        above = lines[index - 1].strip()
        if above.startswith(("//", "#[", "#!", "*", "/*")) or above.endswith("*/"):
            break
        if not above or above.endswith((";", "{", "}", "},", ")]")):
            break
        index -= 1
    while index > 0:
        above = lines[index - 1].strip()
        if not above.startswith(("//", "#[")) and not (text and above.endswith("]")):
            break
        text.append(above)
        index -= 1
    return "\n".join(text)


def in_trait_impl(lines, index):
    """Whether a line is directly in an `impl Trait for Type`: the contract of
    its functions is the trait's, and the `unsafe impl` has its own argument."""
    indent = len(lines[index]) - len(lines[index].lstrip())
    for above in range(index - 1, -1, -1):
        match = CONTAINER.match(lines[above])
        if match and len(match[1]) < indent:
            header = ""
            for line in lines[above:index]:
                header += " " + line
                if line.rstrip().endswith("{"):
                    break
            return match[2] == "impl" and " for " in header
    return False


def check(path):
    """Yields (line number, what is missing)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for index, line in enumerate(lines):
        code = NOISE.sub("", ATTRIBUTE.sub("", line))
        if not SITE.search(code) or (TYPE.search(code) and not FUNCTION.search(code)):
            continue
        above = comment_above(lines, index)
        if FUNCTION.search(code):
            if "# Safety" not in above and "SAFETY:" not in above and not in_trait_impl(lines, index):
                yield index + 1, "unsafe fn without a `# Safety` section"
        elif "SAFETY:" not in above and "SAFETY:" not in line:
            yield index + 1, "unsafe without a `SAFETY:` comment directly above"


def main():
    """Prints what is missing and the number of sites."""
    bad = 0
    for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.rs")):
        for number, problem in check(path):
            print(f"{path}:{number}: {problem}")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
