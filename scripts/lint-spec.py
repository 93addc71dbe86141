#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The family `wireguard_rs` is one in the code, its specification and the documentation.

usage: lint-spec.py (in the checkout)

Numbers of operations, events, attributes and enumerations; what is in a message of each; the reasons to
drop a packet: each has the attribute with its number, and a row in Documentation/statistics.md that names its
total. Each operation, event and reason for a failed handshake is in Documentation/observability.md.
"""

import re
import sys

import yaml

wrong = []


def same(what, code, other):
    """Both must be equal, and something."""
    if not code or code != other:
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


def dashed(name):
    """A Rust name of any kind as the specification would have it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).replace("_", "-").lower()


def function(source, name):
    """The body of one."""
    return re.search(rf"\nfn {name}\(.*?\n}}\n|\npub\(crate\) fn {name}\(.*?\n}}\n", source, re.S)[0]


def mentioned(body, prefix):
    """Attributes that some code names, in order."""
    return [dashed(n) for n in re.findall(rf"\b{prefix}(\w+)", body)]


def enumerations(spec):
    """Each definition, in the code and in the specification."""
    for name, path in ("cause", "events"), ("side", "conduct"), ("failure", "failure"):
        entries = next(d for d in spec["definitions"] if d["name"] == name)["entries"]
        numbers, number = {}, -1
        for entry in entries:
            number = entry.get("value", number + 1)
            numbers[entry["name"]] = number
        body = re.search(rf"enum {name.title()} {{\n(.*?)\n}}", text(f"src/{path}.rs"), re.S)[1]
        same(f"enumeration {name}", {dashed(n): int(v) for n, v in re.findall(r"^    (\w+) = (\d+),$", body, re.M)}, numbers)


def messages(spec, events, observe, bind, peer):
    """What is in each message."""
    operations = {o["name"]: o for o in spec["operations"]["list"]}
    device_base = mentioned(function(events, "put_device"), "A_DEVICE_")
    peer_base = mentioned(function(events, "put_peer"), "A_PEER_")
    puts = function(observe, "put_device") + function(bind, "put")
    same("device-get", sorted(device_base + mentioned(puts, "A_DEVICE_")),
         sorted(operations["device-get"]["do"]["reply"]["attributes"]))
    puts = function(peer, "put_peer") + function(peer, "put_sessions")
    same("peer-get", sorted(peer_base + mentioned(puts, "A_PEER_")), sorted(operations["peer-get"]["do"]["reply"]["attributes"]))
    told = {dashed(cmd): peer_base + [dashed(attr)] for cmd, attr in re.findall(r"tell_peer\(peer, CMD_(\w+), A_PEER_(\w+),", events)}
    told |= {dashed(cmd): peer_base for cmd in re.findall(r"tell_there\(peer, CMD_(\w+)\)", events)}
    told |= {dashed(cmd): peer_base + [dashed(attr)] for cmd, attr in re.findall(r"send\(peer, CMD_(\w+), \|msg\| \{\s+msg\.put_u32\(A_PEER_(\w+),", events)}
    told |= {dashed(cmd): peer_base for cmd in re.findall(r" send\(peer, CMD_(\w+), \|_\| Ok", events)}
    told["unknown-peer"] = mentioned(function(events, "put_unknown"), "A_PEER_")
    extra = mentioned(function(events, "tell_device"), "A_DEVICE_")
    told |= {dashed(cmd): device_base + extra for cmd in re.findall(r"tell_device\(device, CMD_(\w+),", events)}
    told |= {dashed(cmd): device_base for cmd in re.findall(r"tell_load\(device, CMD_(\w+)\)", events)}
    same("events", told, {n: o["event"]["attributes"] for n, o in operations.items() if "event" in o})
    same("groups of the events", {re.search(r'Group::new\(c"(\w+)"\)', events)[1]},
         {o["mcgrp"] for o in operations.values() if "event" in o} | {g["name"] for g in spec["mcast-groups"]["list"]})


def described(spec):
    """What the documentation must have a word about."""
    page = text("Documentation/observability.md")
    names = [o["name"] for o in spec["operations"]["list"]]
    names += [e["name"] for d in spec["definitions"] if d["name"] == "failure" for e in d["entries"]]
    for name in names:
        if f"`{name}`" not in page:
            wrong.append(f"Documentation/observability.md has nothing about {name}")


def main():
    """Prints what differs."""
    spec = yaml.safe_load(text("Documentation/netlink/specs/wireguard_rs.yaml"))
    drops, observe, bind, peer, events, main_rs = (text(f"src/{name}.rs") for name in ("reasons", "observe", "bind", "observe/peer", "events", "main"))

    family = re.search(r'c"(wireguard_rs)",\s+(\d+),\s+&observe::OPS,\s+&events::GROUP', main_rs)
    same("the family", (family[1], int(family[2])), (spec["name"], spec.get("version", 1)))
    code = observe + bind + peer + events
    commands = {dashed(n): int(v) for n, v in re.findall(r"const CMD_(\w+): u8 = (\d+);", code)}
    same("operations", commands, {o["name"]: o["value"] for o in spec["operations"]["list"]})
    for name in "device", "peer", "session", "failure":
        found = {dashed(n): int(v) for n, v in re.findall(rf"const A_{name.upper()}_(\w+): u32 = (\d+);", code)}
        same(f"attributes of {name}", found, numbered(spec, name))
    enumerations(spec)
    messages(spec, events, observe, bind, peer)
    described(spec)

    totals = re.findall(r'"(\w+)",', drops[drops.index("pub const TOTALS"):])
    order = re.findall(r"^    (\w+),$", drops[drops.index("pub enum Total {"):drops.index("pub const TOTALS")], re.M)
    same("totals", len(order), len(totals))
    named = dict(zip(order, totals))
    rows = re.findall(r"^    (\w+) => (?:Some\(Total::(\w+)\)|None), \w+,$", drops, re.M)
    reasons = {dashed(reason): named.get(total, "none") for reason, total in rows}
    if len(reasons) < 30:
        wrong.append(f"only {len(reasons)} reasons found in src/reasons.rs")
    same("reasons", {name: number for number, name in enumerate(reasons, 1)}, numbered(spec, "drops"))
    table = re.findall(r"^\| `([a-z-]+)` \| `?(\w+)`? \|", text("Documentation/statistics.md"), re.M)
    same("reasons and totals", sorted(reasons.items()), sorted(table))

    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
