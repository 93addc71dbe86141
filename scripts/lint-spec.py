#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The family `wireguard_rs` is one in the code, its specification and the documentation.

usage: lint-spec.py (in the checkout)

Numbers of operations and attributes, and the reasons to drop a packet: each has the attribute with
its number, and a row in Documentation/statistics.md that names its total.
"""

import re
import sys

import yaml

wrong = []


def same(what, code, other):
    """Both must be equal."""
    if code != other:
        wrong.append(f"{what}: {code} in the code, but {other}")


def text(path):
    """A file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def numbered(spec, name):
    """The attributes of a set, with their numbers."""
    attributes = next(s for s in spec["attribute-sets"] if s["name"] == name)["attributes"]
    found, number = {}, 0
    for attribute in attributes:
        number = attribute.get("value", number + 1)
        found[attribute["name"]] = number
    return found


def main():
    """Prints what differs."""
    spec = yaml.safe_load(text("Documentation/netlink/specs/wireguard_rs.yaml"))
    drops, observe, main_rs = (text(f"src/{name}.rs") for name in ("drops", "observe", "main"))

    family = re.search(r'c"(wireguard_rs)",\s+(\d+),\s+&observe::OPS', main_rs)
    same("the family", (family[1], int(family[2])), (spec["name"], spec.get("version", 1)))
    commands = {n.lower().replace("_", "-"): int(v) for n, v in re.findall(r"const CMD_(\w+): u8 = (\d+);", observe)}
    same("operations", commands, {o["name"]: o["value"] for o in spec["operations"]["list"]})
    attributes = {n.lower().replace("_", "-"): int(v) for n, v in re.findall(r"const A_DEVICE_(\w+): u32 = (\d+);", observe)}
    same("attributes of a device", attributes, numbered(spec, "device"))

    totals = re.findall(r'"(\w+)",', drops[drops.index("pub(crate) const TOTALS"):])
    order = re.findall(r"^    (\w+),$", drops[drops.index("pub(crate) enum Total {"):drops.index("pub(crate) const TOTALS")], re.M)
    same("totals", len(order), len(totals))
    named = dict(zip(order, totals))
    rows = re.findall(r"^    (\w+) => (?:Some\(Total::(\w+)\)|None),$", drops, re.M)
    reasons = {re.sub(r"(?<=[a-z])(?=[A-Z])", "-", reason).lower(): named.get(total, "none") for reason, total in rows}
    if len(reasons) < 30:
        wrong.append(f"only {len(reasons)} reasons found in src/drops.rs")
    same("reasons", {name: number for number, name in enumerate(reasons, 1)}, numbered(spec, "drops"))
    table = re.findall(r"^\| `([a-z-]+)` \| `?(\w+)`? \|", text("Documentation/statistics.md"), re.M)
    same("reasons and totals", sorted(reasons.items()), sorted(table))

    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
