#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Confirms the message formats with tshark's WireGuard dissector, field by field.

usage: decode.py DIRECTORY... (each what pair.sh left of one pair)

The dissector has the static private keys of both ends, so it decrypts what
they open: the static key and the timestamp in each initiation, after checking
MAC1. Ephemeral keys never leave the kernel, so the rest stays sealed; that
both ends agree on it is what pair.sh shows.
"""

import collections
import os
import subprocess
import sys

FIELDS = """frame.time_epoch ip.dsfield ipv6.tclass udp.srcport udp.dstport udp.length
wg.type wg.reserved wg.sender wg.receiver wg.ephemeral wg.static wg.timestamp.tai64_label wg.timestamp.nanoseconds
wg.mac1 wg.mac2 wg.nonce wg.encrypted_cookie wg.counter wg.receiver_pubkey wg.encrypted_static
wg.encrypted_timestamp wg.encrypted_empty wg.response_to wg.bad_packet_length _ws.malformed""".split()
INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4
# Port -> end and tunnel, as lib.sh gives them.
PORTS = {51801: ("left", 0), 51802: ("right", 0), 51811: ("left", 1), 51812: ("right", 1)}
NO_MAC2 = "0" * 32
HANDSHAKE_DSCP = 0x88
REKEY_AFTER = 120
RETRIED = 20

Message = collections.namedtuple("Message", "time end tunnel length kind fields")


def dissect(directory):
    """Yields every message of the capture."""
    command = ["tshark", "-r", f"{directory}/outer.pcap", "-n", "-o", f"wg.keylog_file:{directory}/keys"]
    for port in PORTS:
        command += ["-d", f"udp.port=={port},wg"]
    command += ["-T", "fields", "-E", "separator=/t", "-E", "occurrence=f"]
    for field in FIELDS:
        command += ["-e", field]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    # A capture that ended in the middle of a packet is all the same a capture.
    if result.returncode and not result.stdout:
        sys.exit(f"tshark failed: {result.stderr}")
    for line in result.stdout.splitlines():
        fields = dict(zip(FIELDS, line.split("\t")))
        if int(fields["udp.srcport"] or 0) not in PORTS:
            continue
        end, tunnel = PORTS[int(fields["udp.srcport"])]
        kind = int(fields["wg.type"] or 0)
        yield Message(float(fields["frame.time_epoch"]), end, tunnel, int(fields["udp.length"]) - 8, kind, fields)


def timestamp(message):
    """The decrypted time of an initiation, in seconds since 1970; 0 if there is none."""
    label = int(message.fields["wg.timestamp.tai64_label"] or "0", 0)
    if not label:
        return 0
    return label - (1 << 62) - 10 + int(message.fields["wg.timestamp.nanoseconds"]) / 1e9


class Checks:
    """The checks on one pair's messages; each keeps what contradicts it."""

    def __init__(self, directory):
        self.name = os.path.basename(directory.rstrip("/"))
        self.messages = list(dissect(directory))
        self.failed = self.passed = 0
        with open(f"{directory}/public", encoding="ascii") as file:
            rows = [line.split() for line in file]
        self.public = {(end, int(tunnel)): key for end, tunnel, key in rows}
        with open(f"{directory}/mtu", encoding="ascii") as file:
            self.mtus = {int(line) for line in file}
        with open(f"{directory}/seconds", encoding="ascii") as file:
            self.seconds = int(file.read())
        self.windows = []
        begin = 0.0
        with open(f"{directory}/disturbed", encoding="ascii") as file:
            for moment, what in (line.split() for line in file):
                if what == "off":
                    self.windows.append((begin - 1, float(moment) + 1))
                    begin = 0.0
                else:
                    begin = float(moment)
        if begin:  # the run ended in the middle
            self.windows.append((begin - 1, float("inf")))

    def verdict(self, name, wrong, seen):
        """One line: passes if something was seen and nothing of it is wrong."""
        wrong = list(wrong)
        good = seen and not wrong
        self.passed += bool(good)
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} - decode {self.name}: {name} ({seen} messages)")
        for message in wrong[:3]:
            if isinstance(message, Message):
                shown = {name: value for name, value in message.fields.items() if value}
                message = message._replace(fields=shown)
            print(f"#   {message}")

    def of(self, *kinds, end=None):
        """Messages of these kinds, from one end or both."""
        return [m for m in self.messages if m.kind in kinds and end in (None, m.end)]

    def undisturbed(self, message):
        """Whether netem left this one alone."""
        return not any(begin <= message.time <= end for begin, end in self.windows)

    def sizes(self):
        """Types, lengths, reserved bytes."""
        all_of_them = self.messages
        self.verdict("everything dissects as WireGuard, nothing malformed",
                     (m for m in all_of_them if m.kind not in (1, 2, 3, 4) or m.fields["_ws.malformed"] or m.fields["wg.bad_packet_length"]),
                     len(all_of_them))
        self.verdict("the three reserved bytes are zero",
                     (m for m in all_of_them if m.fields["wg.reserved"] != "000000"), len(all_of_them))
        for end in ("left", "right"):
            whose = "ours" if end == "left" else "theirs"
            for kind, what, length in ((INITIATION, "initiations", 148), (RESPONSE, "responses", 92), (COOKIE, "cookie replies", 64)):
                them = self.of(kind, end=end)
                self.verdict(f"{whose}: {what} are {length} bytes", (m for m in them if m.length != length), len(them))
            them = self.of(DATA, end=end)
            self.verdict(f"{whose}: data messages are at least 32 bytes", (m for m in them if m.length < 32), len(them))
            empty = [m for m in them if m.length == 32]
            self.verdict(f"{whose}: keepalives are exactly 32 bytes", (), len(empty))
        # 16 of header, 16 of tag; in between a multiple of 16, or a full MTU.
        them = self.of(DATA, end="left")
        self.verdict("ours: data is padded to 16 bytes, up to the MTU",
                     (m for m in them if (m.length - 32) % 16 and m.length - 32 not in self.mtus), len(them))
        them = self.of(INITIATION, RESPONSE, end="left")
        self.verdict("ours: handshake messages are marked AF41, without ECN",
                     (m for m in them if int(m.fields["ip.dsfield"] or m.fields["ipv6.tclass"] or "0", 0) != HANDSHAKE_DSCP), len(them))

    def handshakes(self):
        """Fields of the handshake messages, decrypted where the keys allow."""
        for end, other in (("left", "right"), ("right", "left")):
            whose = "ours" if end == "left" else "theirs"
            them = self.of(INITIATION, end=end)
            self.verdict(f"{whose}: MAC1 of initiations fits the receiver's public key",
                         (m for m in them if m.fields["wg.receiver_pubkey"] != self.public[other, m.tunnel]), len(them))
            self.verdict(f"{whose}: they decrypt with its private key, and hold the sender's public key",
                         (m for m in them if m.fields["wg.static"] != self.public[end, m.tunnel]), len(them))
            # Later initiations have later timestamps; netem's doubles are the same one again.
            wrong, last = [], {}
            for m in them:
                if not self.undisturbed(m):
                    continue
                stamp = timestamp(m)
                if stamp <= last.get(m.tunnel, 0):
                    wrong.append(m)
                last[m.tunnel] = stamp
            self.verdict(f"{whose}: they decrypt to timestamps that grow", wrong, len(them))
            if end == "left":
                # 2^62 + 10 is 1970 (paper, 5.4.2 and TAI64N); sending may take its time.
                self.verdict("ours: the timestamps are of now",
                             (m for m in them if self.undisturbed(m) and abs(m.time - timestamp(m)) > 5), len(them))
                self.verdict("ours: and tell no more than 1/60 s",
                             (m for m in them if int(m.fields["wg.timestamp.nanoseconds"] or -1) % (1 << 24)), len(them))
            both = self.of(INITIATION, RESPONSE, end=end)
            again = collections.Counter(m.fields["wg.ephemeral"] for m in both if self.undisturbed(m))
            self.verdict(f"{whose}: every ephemeral key is new", (k for k, n in again.items() if n > 1 or not k), len(again))
            self.verdict(f"{whose}: MAC1 is there, 16 bytes",
                         (m for m in both if len(m.fields["wg.mac1"]) != 32 or m.fields["wg.mac1"] == NO_MAC2), len(both))
            cookied = [m.time for m in self.of(COOKIE, end=other)]
            self.verdict(f"{whose}: MAC2 is zero but after a cookie",
                         (m for m in both if m.fields["wg.mac2"] != NO_MAC2 and not any(0 <= m.time - c < 125 for c in cookied)), len(both))
            with_cookie = [m for m in both if m.fields["wg.mac2"] != NO_MAC2]
            if cookied:
                self.verdict(f"{whose}: after a cookie it is not", (), len(with_cookie))
            else:
                print(f"skip - decode {self.name}: {whose}: after a cookie it is not (none was sent)")

            offered = {m.fields["wg.sender"] for m in self.of(INITIATION, end=other)}
            them = self.of(RESPONSE, end=end)
            self.verdict(f"{whose}: responses name the initiator's index",
                         (m for m in them if m.fields["wg.receiver"] not in offered), len(them))
            offered |= {m.fields["wg.sender"] for m in self.of(RESPONSE, end=other)}
            them = self.of(COOKIE, end=end)
            self.verdict(f"{whose}: cookie replies name the sender's index",
                         (m for m in them if m.fields["wg.receiver"] not in offered), len(them))
            again = collections.Counter(m.fields["wg.nonce"] for m in them)
            self.verdict(f"{whose}: with a nonce of 24 bytes, never the same, and a cookie of 32",
                         (m for m in them if len(m.fields["wg.nonce"]) != 48 or again[m.fields["wg.nonce"]] > 1
                          or len(m.fields["wg.encrypted_cookie"]) not in (0, 64)), len(them))

    def counters(self):
        """Counters of data messages."""
        for end, other in (("left", "right"), ("right", "left")):
            whose = "ours" if end == "left" else "theirs"
            them = self.of(DATA, end=end)
            offered = {m.fields["wg.sender"] for m in self.of(INITIATION, RESPONSE, end=other)}
            self.verdict(f"{whose}: data messages name an index the other end gave out",
                         (m for m in them if m.fields["wg.receiver"] not in offered), len(them))
            wrong, last = [], {}
            disturbed = {m.fields["wg.receiver"] for m in them if not self.undisturbed(m)}
            calm = [m for m in them if m.fields["wg.receiver"] not in disturbed]
            for m in calm:
                key, counter = (m.tunnel, m.fields["wg.receiver"]), int(m.fields["wg.counter"])
                # Ours is recorded where it is sent: strictly one after the other.
                expected = last.get(key, -1) + 1
                if counter != expected if end == "left" else counter < expected:
                    wrong.append(m)
                last[key] = counter
            what = "start at 0 and grow by one" if end == "left" else "grow"
            self.verdict(f"{whose}: counters {what} in each session", wrong, len(calm))

    def rekeys(self):
        """The initiator of a session asks for the next after 120 seconds."""
        for end, tunnel, whose in (("left", 0, "ours"), ("right", 1, "theirs")):
            if self.seconds < 125:
                print(f"skip - decode {self.name}: {whose}: the rekey (REKEY_SECONDS is {self.seconds})")
                continue
            them = [m for m in self.of(INITIATION, end=end) if m.tunnel == tunnel]
            # What is sent again after 5 s, for want of an answer, belongs to the same attempt.
            # The session's age counts from the last of them.
            pairs = [(b.time - a.time, b) for a, b in zip(them, them[1:]) if b.time - a.time > RETRIED and self.undisturbed(b)]
            # The last distance is that of the long run.
            distance = pairs[-1][0] if pairs else 0
            self.verdict(f"{whose}: the rekey came {distance:.1f} s after the session before",
                         () if REKEY_AFTER - 1 <= distance <= REKEY_AFTER + 8 else [distance], len(pairs))

    def run(self):
        """All of them."""
        kinds = collections.Counter((m.end, m.kind) for m in self.messages)
        print(f"# decode {self.name}: " + ", ".join(f"{n} x type {k} from the {e}" for (e, k), n in sorted(kinds.items())))
        self.sizes()
        self.handshakes()
        self.counters()
        self.rekeys()
        return self.failed == 0


if __name__ == "__main__":
    results = [Checks(directory).run() for directory in sys.argv[1:]]
    sys.exit(0 if results and all(results) else 1)
