#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Messages that are ready together leave as one packet where that can be taken apart again, and only there;
whatever the way, each is delivered as it was sent, and counted.

usage (in the guest): tests/smoke/together.py

Only ours: with the C driver each message is a packet. A burst is one `sendmsg()` with UDP_SEGMENT, which the
interface gets as one packet and seals as one batch: so its messages are ready together, however busy the machine.
"""

import array
import fcntl
import json
import os
import socket
import subprocess
import sys
import time

PORTS = {'left': 51820, 'right': 51821}
OUTER = {'left': ('10.0.0.1', 'fd00:aa::1'), 'right': ('10.0.0.2', 'fd00:aa::2')}
INNER = {'left': '192.168.77.1', 'right': '192.168.77.2'}
UDP_SEGMENT = 103
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86dd
SO_RCVBUFFORCE = 33
SIOCOUTQ = 0x5411
failed = 0


def report(good, name, detail=''):
    global failed
    failed += not good
    print(f'{"ok" if good else "not ok"} - {name}{"" if good else f": {detail}"}', flush=True)


def run(*command, ns=None, text=None, must=True):
    """What a command says; ends the test if it fails and must not."""
    if ns:
        command = ('ip', 'netns', 'exec', ns, *command)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    if must and done.returncode:
        sys.exit(f'{" ".join(command)}: {done.stderr.strip()}')
    return done.stdout.strip()


def setup():
    for ns in PORTS:
        run('ip', 'netns', 'add', ns)
        run('ip', 'link', 'set', 'lo', 'up', ns=ns)
    run('ip', 'link', 'add', 'outer', 'type', 'veth', 'peer', 'name', 'outer', 'netns', 'right', ns='left')
    keys = {ns: run('wg', 'genkey') for ns in PORTS}
    for ns, other in (('left', 'right'), ('right', 'left')):
        for address, bits in zip(OUTER[ns], ('24', '64')):
            run('ip', 'addr', 'add', f'{address}/{bits}', 'dev', 'outer', *(['nodad'] if ':' in address else []), ns=ns)
        run('ip', 'link', 'set', 'outer', 'up', ns=ns)
        run('ip', 'link', 'add', 'wg0', 'type', 'wireguard', ns=ns)
        run('wg', 'set', 'wg0', 'private-key', '/dev/stdin', 'listen-port', str(PORTS[ns]), 'peer',
            run('wg', 'pubkey', text=keys[other]), 'allowed-ips', f'{INNER[other]}/32', ns=ns, text=keys[ns])
        run('ip', 'addr', 'add', f'{INNER[ns]}/24', 'dev', 'wg0', ns=ns)
        run('ip', 'link', 'set', 'wg0', 'up', ns=ns)


def endpoint(address):
    """Both sides talk by that kind of address from now on."""
    for ns, other in (('left', 'right'), ('right', 'left')):
        to = OUTER[other][address]
        peer = run('wg', 'show', 'wg0', 'peers', ns=ns)
        run('wg', 'set', 'wg0', 'peer', peer, 'endpoint', f'{f"[{to}]" if ":" in to else to}:{PORTS[other]}', ns=ns)
    run('ping', '-q', '-c', '3', '-i', '0.2', '-W', '20', INNER['right'], ns='left')


def stats(ns, link):
    return json.loads(run('ip', '-s', '-j', 'link', 'show', link, ns=ns))[0]['stats64']


def in_namespace(ns, make):
    """What `make` returns, made in a namespace."""
    home = os.open('/proc/self/ns/net', os.O_RDONLY)
    there = os.open(f'/run/netns/{ns}', os.O_RDONLY)
    try:
        os.setns(there, os.CLONE_NEWNET)
        return make()
    finally:
        os.setns(home, os.CLONE_NEWNET)
        os.close(home)
        os.close(there)


class Tap:
    """What of the tunnel's leaves `left` by its link: as each packet is given to the link's driver."""

    def __init__(self):
        self.tap = in_namespace('left', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)))
        self.tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
        self.tap.setblocking(False)
        self.seen = 0

    def count(self):
        while True:
            try:
                packet, (link, protocol, kind, *_) = self.tap.recvfrom(65536)
            except BlockingIOError:
                return self.seen
            if link != 'outer' or kind != socket.PACKET_OUTGOING:
                continue
            # UDP, whole or in fragments.
            self.seen += packet[9] == 17 if protocol == ETH_P_IP else packet[6] in (17, 44) and protocol == ETH_P_IPV6

    def close(self):
        self.tap.close()


def deliver(data):
    """Sends datagrams of one size at once, the last may be shorter; what arrives of them."""
    receiver = in_namespace('right', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender = in_namespace('left', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with receiver, sender:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        receiver.bind((INNER['right'], 7777))
        receiver.settimeout(20)
        sender.connect((INNER['right'], 7777))
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(data[0]))
        sender.send(b''.join(data))
        got = []
        try:
            while len(got) < len(data):
                got.append(receiver.recv(65536))
        except TimeoutError:
            pass
        return got


def counted(data):
    return {'packets': len(data),
            # A message has 32 bytes more than the packet, which is padded to 16.
            'bytes': sum(-(-(len(d) + 28) // 16) * 16 + 32 for d in data)}


def burst(size, last, count, packets, name):
    """Datagrams of `size` bytes, the last of them with `last`, are to leave in so many packets, watched or not."""
    data = [bytes([i]) * (last if i == count - 1 else size) for i in range(count)]
    for watch in (False, True):
        tap = Tap() if watch else None
        watched = f'{name}, watched' if watch else name
        before = [stats('left', 'wg0')['tx'], stats('right', 'wg0')['rx']]
        got = deliver(data)
        report(got == data, f'{watched}: each datagram arrives as it was sent, in order', f'{len(got)} of {count}')
        # Counted is right after what happened.
        want, deadline = [counted(data)] * 2, time.monotonic() + 20
        while True:
            after = [stats('left', 'wg0')['tx'], stats('right', 'wg0')['rx']]
            seen = [{k: a[k] - b[k] for k in want[0]} for a, b in zip(after, before)]
            if seen == want or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        report(seen == want, f'{watched}: sender and receiver count each message', f'{seen}, should be {want}')
        if watch:
            report(tap.count() == packets, f'{name}: {packets} packets leave', tap.seen)
            tap.close()


def accounting():
    """What a socket has sent is no more its own when it has left, however it left."""
    sender = in_namespace('left', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sender.connect((INNER['right'], 7777))
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 400)
        sender.settimeout(20)
        left = array.array('i', [0])
        # Of what comes back as an error, nobody listening there is one.
        for _ in range(200):
            try:
                sender.send(bytes(40 * 400))
            except ConnectionRefusedError:
                pass
            except TimeoutError as error:
                report(False, 'a socket with a small buffer goes on sending', error)
                return
        deadline = time.monotonic() + 20
        while True:
            fcntl.ioctl(sender, SIOCOUTQ, left)
            if left[0] == 0 or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        report(left[0] == 0, 'a socket whose bursts have left is charged with nothing', left[0])


def main():
    setup()
    try:
        for address, name in enumerate(('over IPv4', 'over IPv6')):
            endpoint(address)
            burst(100, 100, 32, 1, f'{name}, 32 of a size')
            burst(100, 40, 40, 2, f'{name}, 40 of a size, the last shorter')
            burst(100, 100, 3, 3, f'{name}, three, which is too few')
            accounting()
            run('ip', 'link', 'set', 'outer', 'gso_max_segs', '10', ns='left')
            burst(100, 100, 40, 4, f'{name}, a link that takes ten')
            run('ip', 'link', 'set', 'outer', 'gso_max_segs', '1', ns='left')
            burst(100, 100, 40, 40, f'{name}, a link that takes one by one')
            run('ip', 'link', 'set', 'outer', 'gso_max_segs', '65535', ns='left')
            run('ethtool', '-K', 'outer', 'tx-udp-segmentation', 'off', ns='left')
            burst(100, 40, 40, 40, f'{name}, a link that cannot segment')
            run('ethtool', '-K', 'outer', 'tx-checksum-ip-generic', 'off', ns='left')
            burst(100, 40, 40, 40, f'{name}, a link that cannot make checksums either')
            run('ethtool', '-K', 'outer', 'sg', 'off', ns='left')
            burst(100, 40, 40, 40, f'{name}, a link that wants each packet in one piece')
            run('ethtool', '-K', 'outer', 'sg', 'on', 'tx-checksum-ip-generic', 'on', 'tx-udp-segmentation', 'on', ns='left')
            for ns in PORTS:
                run('ip', 'link', 'set', 'outer', 'mtu', '1300', ns=ns)
            burst(1350, 1350, 10, 20, f'{name}, messages larger than the way')
            burst(1100, 1100, 10, 1, f'{name}, messages that fit a small way')
            for ns in PORTS:
                run('ip', 'link', 'set', 'outer', 'mtu', '1500', ns=ns)
    finally:
        for ns in PORTS:
            run('ip', 'netns', 'del', ns, must=False)
    return failed != 0


sys.exit(main())
