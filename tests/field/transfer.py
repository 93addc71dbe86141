#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One TCP connection, and whether what comes is what was sent.

usage (in the guest): tests/field/transfer.py send ADDRESS BYTES | receive BYTES
"""

import random
import socket
import sys
import time

PORT = 7777


def content(count):
    """What is sent."""
    return random.Random(17).randbytes(count)


def receive(count):
    """Takes it."""
    with socket.create_server(('::', PORT), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.settimeout(30)
        connection, _ = server.accept()
    with connection:
        connection.settimeout(30)
        got = b''
        while chunk := connection.recv(1 << 20):
            got += chunk
        connection.sendall(b'.' if got == content(count) else b'!')
    return 0 if got == content(count) else f'{len(got)} of {count} bytes, or not the same'


def send(address, count):
    """Sends it, once somebody listens."""
    end = time.monotonic() + 20
    while True:
        try:
            connection = socket.create_connection((address, PORT), 10)
            break
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    with connection:
        connection.settimeout(40)
        connection.sendall(content(count))
        connection.shutdown(socket.SHUT_WR)
        return 0 if connection.recv(1) == b'.' else 'it came otherwise'


if __name__ == '__main__':
    sys.exit(send(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == 'send' else receive(int(sys.argv[2])))
