#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that a capture of an Ethernet link holds WireGuard and nothing else.

Every UDP datagram must be a well-formed WireGuard message between the two
ports; beside that only what a link needs to work (ARP, neighbour and multicast
discovery). Neither the marker nor a pair of inner addresses may be anywhere.
"""

import argparse
import collections
import ipaddress
import struct
import sys

# Message type -> name and exact length; transport (4) is checked by rule.
FIXED = {1: ("initiation", 148), 2: ("response", 92), 3: ("cookie reply", 64)}
MTU = 1420
HOUSEKEEPING_ICMP6 = {130, 131, 132, 133, 134, 135, 136, 143}


def packets(path):
    """Yields the captured bytes of each frame of a pcap file."""
    with open(path, "rb") as file:
        header = file.read(24)
        if len(header) < 24:
            return
        endian = "<" if header[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        if struct.unpack(endian + "I", header[20:24])[0] != 1:
            sys.exit("not a capture of Ethernet")
        while len(record := file.read(16)) == 16:
            captured = struct.unpack(endian + "I", record[8:12])[0]
            yield file.read(captured)


def classify_message(payload, length):
    """Names a WireGuard message, or says what is wrong with it."""
    if len(payload) < 4 or payload[1:4] != b"\0\0\0":
        return None, "reserved bytes are not zero"
    kind = payload[0]
    if kind in FIXED:
        name, want = FIXED[kind]
        return (name, None) if length == want else (None, f"{name} of {length} bytes")
    if kind == 4:
        # Padded to 16 bytes, but not beyond the MTU of the interface.
        if length < 32 or (length % 16 and length - 32 != MTU):
            return None, f"transport message of {length} bytes"
        return ("keepalive" if length == 32 else "data"), None
    return None, f"message type {kind}"


def classify(frame, ports):
    """Names a frame, or says what is wrong with it."""
    ethertype, body = struct.unpack("!H", frame[12:14])[0], frame[14:]
    if ethertype == 0x0806:
        return "ARP", None
    if ethertype == 0x0800:
        protocol, rest = body[9], body[(body[0] & 15) * 4 :]
        if struct.unpack("!H", body[6:8])[0] & 0x3FFF:
            return None, "IPv4 fragment"
        if protocol == 2:
            return "IGMP", None
    elif ethertype == 0x86DD:
        protocol, rest = body[6], body[40:]
        if protocol == 0:  # hop-by-hop options, before multicast listener reports
            protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
        if protocol == 58 and rest[0] in HOUSEKEEPING_ICMP6:
            return "ICMPv6 housekeeping", None
    else:
        return None, f"ethertype {ethertype:#06x}"
    if protocol != 17:
        return None, f"IP protocol {protocol}"
    source, destination, length = struct.unpack("!HHH", rest[:6])
    if {source, destination} != ports:
        return None, f"UDP {source} > {destination}"
    return classify_message(rest[8:], length - 8)


def main():
    """Reads the capture, prints what it holds, fails on what should not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pcap")
    parser.add_argument("--ports", nargs=2, type=int, required=True)
    parser.add_argument("--marker", required=True, help="hex bytes that must not appear")
    parser.add_argument("--inner", nargs="+", required=True, help="inner addresses")
    args = parser.parse_args()

    # An IPv4 address alone is short enough to turn up by chance: look for pairs.
    inner = [ipaddress.ip_address(a).packed for a in args.inner]
    secrets = [bytes.fromhex(args.marker)]
    secrets += [a + b for a in inner for b in inner if a != b and len(a) == len(b)]

    counts, problems = collections.Counter(), collections.Counter()
    for frame in packets(args.pcap):
        if any(secret in frame for secret in secrets):
            problems["inner plaintext is visible"] += 1
        name, problem = classify(frame, set(args.ports))
        if problem:
            problems[problem] += 1
        else:
            counts[name] += 1
    for problem, number in problems.items():
        print(f"{number} x {problem}")
    for name in ("initiation", "response", "data"):
        if not counts[name]:
            problems[f"no {name} seen"] += 1
            print(f"no {name} was captured")
    print(", ".join(f"{number} {name}" for name, number in counts.most_common()) or "empty")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
