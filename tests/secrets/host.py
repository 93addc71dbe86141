#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""No key stays in a guest's memory, or comes into its log, or is told by the second family.

usage: tests/secrets/host.py --driver ours|c --dir DIR --hostile FILE --seed N -- VM-COMMAND...

VM-COMMAND is scripts/vm with its options, up to --. The guest's network card
ends here, in a peer that speaks WireGuard (tests/network/wgpeer.py): so every
secret that a handshake makes is known here and in the driver, and nowhere else
in the guest. Private and pre-shared keys are set by a program that overwrites
them. The guest runs twice, with its memory in a file that stays: once it ends
with all in place, and the secrets must be found; once peers, interface and
module are removed before, and none may be found, however it's cut in halves.
Private keys of ephemeral pairs are looked for by their public halves.

With our driver, somebody in the guest listens to events, asks for all that the
family `wireguard_rs` answers, and has its tracepoints on. In none of that may
there be a secret, or what MACs and cookies are made with; nor any other
bytes that could be one, as it is public keys of peers and nothing else.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "network"))
import wgpeer  # noqa: E402

OURS, THEIRS = bytes([10, 2, 0, 2]), bytes([10, 2, 0, 1])
MAC = bytes.fromhex("020000000002")
BASE = (9).to_bytes(32, "little")
FAILED = []


def result(good, text, why=""):
    """Prints one check."""
    if not good:
        FAILED.append(text)
    print(("ok - " if good else "not ok - ") + text + ("" if good else f": {why}"), flush=True)


def generated(seed):
    """The 32 bytes that tests/hostile (rng.rs) makes of a seed."""
    out, mask = b"", (1 << 64) - 1
    for _ in range(4):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        out += struct.pack("<Q", z ^ (z >> 31))
    return out


def clamped(key):
    """As a private key is."""
    return bytes([key[0] & 248]) + key[1:31] + bytes([key[31] & 127 | 64])


class Secrets:
    """What nobody may find, by name."""

    def __init__(self):
        self.secret = {}
        self.public = {}
        self.who = "nobody"

    def note(self, name, key):
        """Another one."""
        known = set(self.secret.values())
        if key not in known and key != bytes(32):
            number = sum(n.startswith(name) for n in self.secret)
            self.secret[f"{name}.{number}"] = key

    def record(self):
        """Has the peer's handshakes tell what they compute."""
        kdf, x25519 = wgpeer.kdf, wgpeer.x25519

        def noting_kdf(count, key, data):
            out = kdf(count, key, data)
            # The first step of a handshake has no secret in it.
            if key != wgpeer.Peer.CHAIN:
                for n, block in enumerate(out):
                    self.note(f"{self.who}.kdf{count}-{n}", block)
            return out

        def noting_x25519(secret, point):
            out = x25519(secret, point)
            if point != BASE:
                self.note(f"{self.who}.shared", out)
            return out

        wgpeer.kdf, wgpeer.x25519 = noting_kdf, noting_x25519


class Cable:
    """The other end of the guest's network card."""

    def __init__(self, here, there):
        self.there = there
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind(here)
        self.mac = b"\xff" * 6
        self.queues = {}

    def frame(self, kind, payload):
        """Sends a frame, or loses it."""
        try:
            self.sock.sendto(self.mac + MAC + struct.pack("!H", kind) + payload, socket.MSG_DONTWAIT, self.there)
        except OSError:
            pass

    def send(self, port, to, data):
        """Sends a datagram, without a UDP checksum."""
        udp = struct.pack("!HHHH", port, to, 8 + len(data), 0) + data
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, OURS, THEIRS)
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        self.frame(0x800, head[:10] + struct.pack("!H", 0xFFFF - total) + head[12:] + udp)

    def pump(self, timeout):
        """Takes in what comes within that time; false if nothing did."""
        self.sock.settimeout(timeout)
        try:
            frame = self.sock.recv(65536)
        except (TimeoutError, socket.timeout):
            return False
        kind, body = frame[12:14], frame[14:]
        self.mac = frame[6:12]
        if kind == b"\x08\x06" and body[6:8] == b"\0\1" and body[24:28] == OURS:
            self.frame(0x806, body[:6] + b"\0\2" + MAC + OURS + body[8:18])
        elif kind == b"\x08\0" and body[9] == 17 and body[16:20] == OURS:
            start = (body[0] & 15) * 4
            source, port, length = struct.unpack("!HHH", body[start : start + 6])
            self.queues.setdefault(port, []).append((source, body[start + 8 : start + length]))
        return True


class RemotePeer(wgpeer.Peer):
    """A peer at the end of the cable."""

    def __init__(self, cable, name, other, port, psk):
        self.cable = cable
        super().__init__(None, name, port=port)
        self.other, self.psk = other, psk
        self.address = ("10.2.0.1", 51820)
        self.mute = False

    def bind(self, port):
        self.port = port

    def raw(self, data, to=None, tos=0, local=None):
        if not self.mute:
            self.cable.send(self.port, 51820, data)

    def receive(self, timeout):
        end = time.monotonic() + timeout
        while True:
            queue = self.cable.queues.setdefault(self.port, [])
            if queue:
                source, data = queue.pop(0)
                inner = None
                if data[0] == wgpeer.DATA and len(data) >= 32:
                    index, counter = struct.unpack("<4xIQ", data[:16])
                    session = self.sessions.get(index)
                    inner = wgpeer.unseal(session.receiving, counter, data[16:]) if session else None
                yield wgpeer.Message(data[0], inner, len(data), None, 0, ("10.2.0.1", source), None, data)
                end = time.monotonic() + timeout
            elif time.monotonic() > end:
                return
            else:
                self.cable.pump(0.05)


def pong(packet):
    """The answer to a ping."""
    icmp = b"\0" + packet[21:22] + b"\0\0" + packet[24:]
    total = sum(struct.unpack(f"!{len(icmp) // 2}H", icmp))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    icmp = icmp[:2] + struct.pack("!H", 0xFFFF - total) + icmp[4:]
    return packet[:12] + packet[16:20] + packet[12:16] + icmp


class Run:
    """One boot of the guest."""

    def __init__(self, args, what, seed):
        self.args, self.what, self.seed = args, what, seed
        self.memory = os.path.join(args.dir, f"memory-{what}")
        self.log = os.path.join(args.dir, f"log-{what}")
        self.out = os.path.join(args.dir, f"out-{what}")
        # Whose public keys may be told, and keys that follow from our public key.
        self.publics, self.made_of_public = set(), {}
        self.secrets = Secrets()
        self.sessions, self.pending = [], []

    def boot(self):
        """Runs the guest and is its peers; true if it ended well."""
        paths = [os.path.join(self.args.dir, f"{self.what}-{end}") for end in ("vm", "here")]
        for path in paths:
            if os.path.exists(path):
                os.unlink(path)
        cable = Cable(paths[1], paths[0])
        private = clamped(generated(self.seed))
        self.secrets.note("private", private)
        psks = [generated(self.seed + 1 + n) for n in range(2)]
        for n, psk in enumerate(psks):
            self.secrets.note(f"preshared{n}", psk)
        public = wgpeer.public(private)
        first = RemotePeer(cable, f"first {self.seed}", public, 51900, psks[0])
        second = RemotePeer(cable, f"second {self.seed}", public, 51901, psks[1])
        second.mute = True
        stranger = RemotePeer(cable, f"stranger {self.seed}", public, 51903, bytes(32))
        self.publics = {p.public for p in (first, second, stranger)}
        self.made_of_public = {f"the key of {name}": wgpeer.blake(label, public) for name, label in (("MAC1", b"mac1----"), ("cookies", b"cookie--"))}
        self.secrets.record()
        command = [
            *self.args.vm,
            *("--link", f"{paths[0]}:{paths[1]}"),
            *("--memory", self.memory, "--log", self.log, "--out", self.out, "--timeout", "400", "--"),
            *("python3", "tests/secrets/guest.py", self.what, str(self.seed)),
            *(first.public.hex(), second.public.hex(), self.args.driver),
        ]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as vm:
            asked = False
            while vm.poll() is None:
                cable.pump(0.1)
                self.secrets.who = "first"
                for message in first.receive(0):
                    if message.kind == wgpeer.INITIATION:
                        first.answer(message)
                        self.secrets.public[f"ephemeral.{len(self.secrets.public)}"] = message.data[8:40]
                    elif message.inner and message.inner[9] == 1:
                        first.send(pong(message.inner[: struct.unpack("!H", message.inner[2:4])[0]]))
                        if not asked and first.initiate(timeout=10):
                            asked = True
                            self.secrets.public[f"ephemeral.{len(self.secrets.public)}"] = first.response.data[12:44]
                            first.send(b"")
                            # Somebody who is not configured, and a peer that is elsewhere now.
                            self.secrets.who = "stranger"
                            stranger.initiate(timeout=0)
                            self.secrets.who = "first"
                            first.bind(51902)
                            first.send(b"")
                self.secrets.who = "second"
                for message in second.receive(0):
                    if message.kind == wgpeer.INITIATION:
                        known = len(self.secrets.secret)
                        second.answer(message)
                        # The second derivation of two is with the static keys, and gives the chaining key that stays.
                        chains = [k for n, k in list(self.secrets.secret.items())[known:] if n.startswith("second.kdf2-0")]
                        name = f"pending.{len(self.pending)}"
                        self.secrets.public[name] = message.data[8:40]
                        self.pending.append((name, chains))
        for session in first.sessions.values():
            self.sessions += [session.sending, session.receiving]
        return vm.returncode == 0

    def scan(self, other):
        """Where the secrets are, by name. `other` is the memory of the other run, which has none of them."""
        needles = os.path.join(self.args.dir, f"needles-{self.what}")
        with open(needles, "w", encoding="ascii") as file:
            for name, key in self.secrets.secret.items():
                file.write(f"secret {name} {key.hex()}\n")
            for name, key in self.secrets.public.items():
                file.write(f"public {name} {key.hex()}\n")
        out = subprocess.run(
            [self.args.hostile, "scan", "--memory", self.memory, "--other", other, "--needles", needles],
            check=True, capture_output=True, text=True, timeout=900,
        ).stdout
        os.unlink(needles)
        found = json.loads(out)
        print(
            f"# {self.what}: {found['bytes'] >> 20} MiB, {found['used'] >> 20} of it in use; {len(self.secrets.secret)} secrets and "
            f"{len(self.secrets.public)} public keys looked for, {found['tried']} private keys tried; found {len(found['found'])}",
            flush=True,
        )
        return found["found"]

    def in_log(self):
        """Secrets in the kernel's log, in whichever spelling; None if the driver told nothing of its objects."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if not re.search(r"Keypair \d+ created for peer", text):
            return None
        return spelled(self.secrets.secret, text)

    def told(self):
        """What the second family and the tracepoints told."""
        with open(os.path.join(self.out, "raw"), "rb") as file:
            raw = file.read()
        with open(os.path.join(self.out, "told"), encoding="ascii") as file:
            decoded = json.load(file)
        with open(os.path.join(self.out, "trace"), encoding="utf-8") as file:
            trace = [line for line in file if not line.startswith("#")]
        return raw, decoded, trace

    def in_what_is_told(self):
        """Secrets in that, and public keys that nobody has."""
        raw, decoded, trace = self.told()
        secrets = self.secrets.secret | self.made_of_public
        found = [name for name, key in secrets.items() if any(half in raw for half in (key[:16], key[16:]))]
        found += spelled(secrets, "".join(trace))
        told = {bytes.fromhex(c["public-key"]) for c in [c for _, c in decoded["events"]] + decoded["answers"] if "public-key" in c}
        return found + [f"public key {key.hex()}" for key in told - self.publics]


def spelled(secrets, text):
    """The names of those that are in a text, in whichever spelling."""
    digits = re.sub(r"[^0-9a-f]", "", re.sub(r"0x|, ", "", text.lower()))
    return [
        name
        for name, key in secrets.items()
        if base64.b64encode(key).decode()[:-2] in text
        or key.hex() in digits
        or key[::-1].hex() in digits
        # As Rust prints an array.
        or any(", ".join(format(b, how) for b in key) in text for how in ("d", "x", "#x"))
    ]


def main():
    """Both runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default="ours")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--hostile", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("vm", nargs="+")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    print(f"# seed {args.seed}")
    runs = []
    for what in ("keep", "remove"):
        # Of each run its own, so that neither has a key of the other's.
        seed = int.from_bytes(hashlib.sha256(f"{what} {args.seed}".encode()).digest()[:7], "little")
        wgpeer.kdf, wgpeer.x25519 = KDF, X25519
        run = Run(args, what, seed)
        runs.append(run)
        result(run.boot(), f"{what}: the guest makes its sessions and ends well", "it failed")
        result(
            len(run.sessions) >= 4 and len(run.pending) >= 1,
            f"{what}: {len(run.sessions) // 2} sessions, {len(run.pending)} handshakes begun and not answered",
            "there should be 2 and 1",
        )
    if not FAILED:
        looked_at(*runs)
        looked_at(*reversed(runs))
    for run in runs:
        if os.path.exists(run.memory):
            os.unlink(run.memory)
    return 1 if FAILED else 0


def looked_at(run, other):
    """The checks of one run."""
    what = run.what
    found = run.scan(other.memory)
    by_key = {}
    for name, key in run.secrets.secret.items():
        by_key[key] = [found.get(f"{name}.{half}", []) for half in "ab"]
    if what == "remove":
        for name, places in list(found.items())[:20]:
            print(f"# {name}: {len(places)} times")
            for at, around in places[:4]:
                print(f"#   at {at:#x}: {around}")
        result(not found, "remove: no private, pre-shared, chaining, session or ephemeral key is left in the memory", ", ".join(found))
    else:
        wanted = {
            "the private key": [run.secrets.secret["private.0"]],
            "the pre-shared keys": [run.secrets.secret[f"preshared{n}.0"] for n in range(2)],
            "the keys of the current session": run.sessions[-2:],
            "a begun handshake's chaining key": run.pending[-1][1][1:2] if run.pending else [],
        }
        for name, keys in wanted.items():
            missing = [k for k in keys if not all(by_key.get(k, [[]]))]
            result(bool(keys) and not missing, f"keep: {name}: found", "not found: this looks in the wrong place")
        last = run.pending[-1][0] if run.pending else ""
        result(last in found, "keep: a begun handshake's ephemeral key: found by its public half", "not found: this looks in the wrong place")
    told = run.in_log()
    result(told == [], f"{what}: no key is in the kernel's log, which tells of the sessions", f"in it: {told}")
    if run.args.driver == "ours":
        second_family(run)


def second_family(run):
    """The checks of what it told in a run."""
    raw, decoded, trace = run.told()
    names = {name for name, _ in decoded["events"]}
    wanted = {"device-added", "peer-added", "session-established", "unknown-peer", "endpoint-changed", "device-changed", "peer-changed"}
    if run.what == "remove":
        wanted |= {"peer-removed", "device-removed"}
    traced = {word for line in trace for word in re.findall(r": (\w+): ifname=", line)}
    result(
        wanted <= names and len(decoded["answers"]) == 6 and all(key in raw for key in run.publics)
        and {"handshake_sent", "handshake_received", "session_begun"} <= traced,
        f"{run.what}: the second family tells {len(decoded['events'])} events and {len(decoded['answers'])} answers, tracepoints {len(trace)} lines",
        f"events not told: {wanted - names}; {len(decoded['answers'])} answers; traced: {traced}",
    )
    found = run.in_what_is_told()
    result(not found, f"{run.what}: no key in any of it, but public keys of peers", f"in it: {found}")


KDF, X25519 = wgpeer.kdf, wgpeer.x25519

if __name__ == "__main__":
    sys.exit(main())
