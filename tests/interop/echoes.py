#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Datagrams there and back, for a long time, and how many of them were lost.

usage: tests/interop/echoes.py serve ADDRESS PORT
       tests/interop/echoes.py send ADDRESS PORT SECONDS

The one who serves sends each datagram back, and says `ready` once it can. The other sends 25 of 500 bytes per second, numbered, for SECONDS (by
their number: a machine that is slow takes longer), then waits until all have come back, or nothing has for 20 s. It prints `PACKETS LOST`:
both ways are one, so what is lost on either is lost once. The exit status is 1 if any is, or if it takes a minute more than twice as long.
"""

import socket
import struct
import sys
import time

RATE, SIZE, QUIET = 25, 500, 20


def serve(address, port):
    """Until somebody ends it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        s.bind((address, port))
        print('ready', flush=True)
        while True:
            data, sender = s.recvfrom(2048)
            s.sendto(data, sender)


def send(address, port, seconds):
    """Sends, and counts what comes back."""
    total, back, start = seconds * RATE, set(), time.monotonic()
    end = start + 2 * seconds + 60
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        s.connect((address, port))
        sent, heard = 0, start
        while len(back) < total and time.monotonic() < end:
            now = time.monotonic()
            if sent < total and now >= start + sent / RATE:
                s.send(struct.pack('!I', sent).ljust(SIZE, b'.'))
                sent += 1
                continue
            if sent == total and now > heard + QUIET:
                break
            s.settimeout(max(start + sent / RATE - now, 0.001) if sent < total else 1)
            try:
                back.add(struct.unpack_from('!I', s.recv(2048))[0])
                heard = time.monotonic()
            except TimeoutError:
                pass
            except ConnectionRefusedError:
                sys.exit(f'nobody serves at {address} port {port} any more: {len(back)} of {sent} came back')
    print(sent, sent - len(back), flush=True)
    return 0 if len(back) == total else 1


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        serve(sys.argv[2], int(sys.argv[3]))
    sys.exit(send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
