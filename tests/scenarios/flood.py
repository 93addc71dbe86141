#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Floods a WireGuard endpoint with handshake initiations and counts cookies.

usage (in the guest): flood.py ADDRESS PORT PUBLIC-KEY SECONDS [--burst N] [--pause S] [--from ADDRESS]

The initiations are random but for their type and MAC1, which anybody who knows
the public key can compute: they cost the receiver a key agreement each, unless
it is under load and asks for a cookie instead. Ends after SECONDS, or sooner
when told to (SIGTERM); prints a line of JSON.
"""

import argparse
import base64
import hashlib
import json
import os
import signal
import socket
import time

UDP_SEGMENT = 103  # linux/udp.h
LENGTH, BATCH = 148, 64


def initiations(public, number):
    """That many initiations with a valid MAC1."""
    key = hashlib.blake2s(b"mac1----" + public).digest()
    for _ in range(number):
        body = b"\1\0\0\0" + os.urandom(112)
        yield body + hashlib.blake2s(body, digest_size=16, key=key).digest() + bytes(16)


def main():
    """Sends bursts until the time is over; between them counts the answers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("public")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--burst", type=int, default=3000)
    parser.add_argument("--pause", type=float, default=0.2)
    parser.add_argument("--from", dest="source")
    args = parser.parse_args()

    family = socket.AF_INET6 if ":" in args.address else socket.AF_INET
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    if args.source:
        sender.bind((args.source, 0))
    sender.connect((args.address, args.port))
    sender.setblocking(False)
    # Many datagrams in one call, cut up by the kernel: fast enough to flood a
    # machine from within itself.
    sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, LENGTH)
    packets = list(initiations(base64.b64decode(args.public), args.burst))
    # What each one said it is called; a cookie reply must name one of them.
    names = {packet[4:8] for packet in packets}
    batches = [b"".join(packets[i : i + BATCH]) for i in range(0, len(packets), BATCH)]
    sent = cookies = strange = 0
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    end = time.monotonic() + args.seconds
    while time.monotonic() < end and not stopped:
        for batch in batches:
            try:
                sent += sender.send(batch) // LENGTH
            except (BlockingIOError, ConnectionRefusedError):
                pass
        rest = time.monotonic() + args.pause
        while True:
            try:
                answer = sender.recv(2048)
            except (BlockingIOError, ConnectionRefusedError):
                if time.monotonic() >= rest:
                    break
                time.sleep(0.01)
                continue
            if len(answer) == 64 and answer[:4] == b"\3\0\0\0" and answer[4:8] in names:
                cookies += 1
            else:
                strange += 1
    print(json.dumps({"sent": sent, "cookies": cookies, "strange": strange}))


if __name__ == "__main__":
    main()
