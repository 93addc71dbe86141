#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's side of tests/secrets/host.py: wg0 gets keys and makes sessions.

usage (in the guest): tests/secrets/guest.py keep|remove SEED FIRST-PUBLIC SECOND-PUBLIC ours|c

"keep" ends with all of it in place; "remove" takes the peers, the interface
and the module away first. Nothing here may ask the family `wireguard` for a dump, which
leaves copies of the keys in netlink's buffers. What our driver's other family
tells meanwhile, and its tracepoints, is in /out afterwards.
"""

import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../sanitize")]
import nl  # noqa: E402
import observe  # noqa: E402

TRACING = "/sys/kernel/tracing"
# Told of what the other end does, which takes its time.
AWAITED = {"session-established", "unknown-peer", "endpoint-changed"}


class Told:
    """All that the family `wireguard_rs` and the tracepoints tell: the bytes, and what they mean."""

    def __init__(self):
        self.family = observe.Family()
        self.sock = self.family.listen()
        self.raw, self.events, self.answers = b"", [], []
        self.trace("events/wireguard_rs/enable", "1")
        self.trace("tracing_on", "1")

    @staticmethod
    def trace(name, text):
        """A switch of tracefs."""
        with open(f"{TRACING}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    def listen(self, seconds, awaited=frozenset()):
        """Takes events for so long, or until those were among them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (awaited and awaited <= {name for name, _ in self.events}):
            self.sock.settimeout(0.5)
            try:
                data = self.sock.recv(1 << 16)
            except TimeoutError:
                continue
            self.raw += data
            event = self.family.events[data[16]]
            self.events.append((event["name"], self.family.decode(data[20 : int.from_bytes(data[:4], sys.byteorder)], event["attribute-set"])))

    def ask(self, operation, attrs=b"", dump=False):
        """Asks for something, and has all that is answered."""
        what = self.family.operations[operation]
        body = bytes([what["value"], 1, 0, 0]) + attrs
        _, bodies = self.family.netlink.call(16, self.family.number, body, nl.NLM_F_DUMP if dump else nl.NLM_F_ACK)
        for answer in bodies:
            self.raw += answer
            self.answers.append(self.family.decode(answer[4:], what["attribute-set"]))

    def write(self):
        """For the host."""
        self.trace("events/wireguard_rs/enable", "0")
        with open("/out/raw", "wb") as file:
            file.write(self.raw)
        with open("/out/told", "w", encoding="ascii") as file:
            json.dump({"events": self.events, "answers": self.answers}, file)
        with open(f"{TRACING}/trace", encoding="utf-8", errors="replace") as trace, open("/out/trace", "w", encoding="utf-8") as file:
            file.write(trace.read())
        self.sock.close()
        self.family.netlink.close()



def sh(*command, check=True):
    """Runs a command."""
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=120).returncode == 0


def main():
    """All of it."""
    what, seed, first, second, driver = sys.argv[1:]
    sh("modprobe", "virtio_net", check=False)
    for _ in range(50):
        if os.path.exists("/sys/class/net/eth0"):
            break
        time.sleep(0.1)
    sh("ip", "addr", "add", "10.2.0.1/24", "dev", "eth0")
    sh("ip", "link", "set", "eth0", "up")
    told = Told() if driver == "ours" else None
    sh("ip", "link", "add", "wg0", "type", "wireguard")
    with nl.Netlink() as net:
        net.resolve()
        family = str(net.family)
    sh("/hostile", "keys", "--family", family, "--seed", seed, "--first", first, "--second", second)
    sh("ip", "addr", "add", "192.168.5.1/24", "dev", "wg0")
    sh("ip", "link", "set", "wg0", "up")
    # The other end begins a session of its own after the first answer.
    good = sh("ping", "-q", "-c", "6", "-i", "0.5", "-w", "40", "192.168.5.2", check=False)
    print(f"# the first peer {'answers' if good else 'does not answer'}", flush=True)
    # Never answered: a handshake that stays begun.
    sh("ping", "-q", "-c", "2", "-W", "1", "192.168.5.3", check=False)
    if told:
        told.listen(30, AWAITED)
        name = nl.name(2, "wg0")
        told.ask("device-get", name)
        told.ask("device-get", dump=True)
        told.ask("peer-get", name, dump=True)
        for key in (first, second):
            told.ask("peer-get", name + nl.attr(3, bytes.fromhex(key)))
        told.ask("device-set", name + nl.u8(14, 1))
        told.ask("peer-set", name + nl.attr(3, bytes.fromhex(first)) + nl.u8(21, 1))
    if what == "remove":
        import base64  # pylint: disable=import-outside-toplevel

        sh("wg", "set", "wg0", "peer", base64.b64encode(bytes.fromhex(first)).decode(), "remove")
        sh("ip", "link", "del", "wg0")
    if told:
        told.listen(2)
        told.write()
    if what == "remove":
        sh("rmmod", "wireguard_rs" if driver == "ours" else "wireguard")
    time.sleep(2)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
