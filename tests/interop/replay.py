#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Sends the frames of a capture once more, as they are.

usage (in the guest): replay.py DEVICE FILE.pcap
"""

import socket
import struct
import sys


def main():
    """Reads, sends, counts."""
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((sys.argv[1], 0))
    frames = 0
    with open(sys.argv[2], "rb") as file:
        file.read(24)
        while len(record := file.read(16)) == 16:
            captured, length = struct.unpack("<II", record[8:16])
            frame = file.read(captured)
            if captured == length:
                frames += sender.send(frame) > 0
    print(f"{frames} frames sent again")
    return 0 if frames else 1


if __name__ == "__main__":
    sys.exit(main())
