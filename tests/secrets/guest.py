#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The guest's side of tests/secrets/host.py: wg0 gets keys and makes sessions.

usage (in the guest): tests/secrets/guest.py keep|remove SEED FIRST-PUBLIC SECOND-PUBLIC ours|c

"keep" ends with all of it in place; "remove" takes the peers, the interface
and the module away first. Nothing here may ask for a dump, which leaves
copies of the keys in netlink's buffers.
"""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "sanitize"))
import nl  # noqa: E402


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
    if what == "remove":
        import base64  # pylint: disable=import-outside-toplevel

        sh("wg", "set", "wg0", "peer", base64.b64encode(bytes.fromhex(first)).decode(), "remove")
        sh("ip", "link", "del", "wg0")
        sh("rmmod", "wireguard_rs" if driver == "ours" else "wireguard")
    time.sleep(2)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
