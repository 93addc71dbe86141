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
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

from lab import FAILED, SO_RCVBUFFORCE, UDP_SEGMENT, Lab, command, report, wait_for  # noqa: E402

PORTS = {'left': 51820, 'right': 51821}
OUTER = {'left': ('10.1.0.1', 'fd01::1'), 'right': ('10.1.0.2', 'fd01::2')}
INNER = {'left': '192.168.77.1', 'right': '192.168.77.2'}
SIOCOUTQ = 0x5411


def setup(lab):
    """Two ends, joined by a veth and a tunnel."""
    ends = {name: lab.ns(name) for name in PORTS}
    lab.cable(*ends.values())
    keys = {name: command('wg', 'genkey', must=True).stdout for name in PORTS}
    for (name, ns), other in zip(ends.items(), ('right', 'left')):
        ns.ip('link', 'add', 'wg0', 'type', 'wireguard')
        ns.run('wg', 'set', 'wg0', 'private-key', '/dev/stdin', 'listen-port', str(PORTS[name]), 'peer',
               command('wg', 'pubkey', stdin=keys[other], must=True).stdout.strip(), 'allowed-ips', f'{INNER[other]}/32',
               stdin=keys[name], must=True)
        ns.ip('addr', 'add', f'{INNER[name]}/24', 'dev', 'wg0')
        ns.ip('link', 'set', 'wg0', 'up')
    return ends['left'], ends['right']


def endpoint(left, right, address):
    """Both sides talk by that kind of address from now on."""
    for ns, other in (left, right), (right, left):
        to = OUTER[other.name][address]
        peer = ns.run('wg', 'show', 'wg0', 'peers', must=True).stdout.strip()
        ns.run('wg', 'set', 'wg0', 'peer', peer, 'endpoint', f'{f"[{to}]" if ":" in to else to}:{PORTS[other.name]}', must=True)
    left.run('ping', '-q', '-c', '3', '-i', '0.2', '-W', '20', INNER['right'], must=True)


def counts(ns, way):
    """What wg0 has counted one way."""
    link = json.loads(ns.ip('-j', '-s', 'link', 'show', 'dev', 'wg0').stdout)[0]
    return {k: link['stats64'][way][k] for k in ('packets', 'bytes')}


def sender_at(ns, size):
    """A socket that cuts what it sends at once into datagrams of `size` bytes, for the other end."""
    with ns:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((INNER['right'], 7777))
    s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    return s


def deliver(left, right, data):
    """Sends datagrams of one size at once, the last may be shorter; what arrives of them."""
    with right:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender_at(left, len(data[0])) as sender:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        receiver.bind((INNER['right'], 7777))
        receiver.settimeout(20)
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


def burst(lab, left, right, size, last, count, packets, name):
    """Datagrams of `size` bytes, the last of them with `last`, are to leave in so many packets, watched or not."""
    data = [bytes([i]) * (last if i == count - 1 else size) for i in range(count)]
    want = [counted(data)] * 2

    def attempt(watch):
        """(what arrived, what both ends have counted, datagrams that have left)"""
        capture = lab.keep_capture(left, 'outer') if watch else None
        before = counts(left, 'tx'), counts(right, 'rx')
        got = deliver(left, right, data)

        def seen():
            after = counts(left, 'tx'), counts(right, 'rx')
            return [{k: a[k] - b[k] for k in a} for a, b in zip(after, before)]
        # Counted is right after what happened.
        wait_for(lambda: seen() == want)
        # UDP, whole or in fragments: as each packet is given to the link's driver.
        return got, seen(), sum(p.out and p.proto == 17 for p in capture.packets(False)) if watch else None

    for watch in (False, True):
        watched = f'{name}, watched' if watch else name
        # A new session's messages may come between, on a slow machine; once in two minutes.
        for _ in range(3):
            session = handshake(left)
            got, seen, left_by = attempt(watch)
            if handshake(left) == session:
                break
        report(got == data, f'{watched}: each datagram arrives as it was sent, in order', f'{len(got)} of {count}')
        report(seen == want, f'{watched}: sender and receiver count each message', f'{seen}, should be {want}')
        if watch:
            report(left_by == packets, f'{name}: {packets} packets leave', left_by)


def handshake(ns):
    """When the last one was."""
    return ns.run('wg', 'show', 'wg0', 'latest-handshakes', must=True).stdout


def accounting(left):
    """What a socket has sent is no more its own when it has left, however it left."""
    with sender_at(left, 400) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sender.settimeout(20)
        # Of what comes back as an error, nobody listening there is one.
        for _ in range(200):
            try:
                sender.send(bytes(40 * 400))
            except ConnectionRefusedError:
                pass
            except TimeoutError as error:
                report(False, 'a socket with a small buffer goes on sending', error)
                return
        charge = array.array('i', [0])

        def charged():
            fcntl.ioctl(sender, SIOCOUTQ, charge)
            return charge[0]
        wait_for(lambda: charged() == 0)
        report(charged() == 0, 'a socket whose bursts have left is charged with nothing', charge[0])


TCP_PORT, STREAM = 7778, 400_000


def stream(lab, left, right):
    """Sends bytes by TCP; the longest UDP payload that left meanwhile."""
    with right:
        server = socket.create_server((INNER['right'], TCP_PORT))
    with left:
        sender = socket.socket()
    with server, sender:
        for end in server, sender:
            end.settimeout(30)
        sender.connect((INNER['right'], TCP_PORT))
        receiver, _ = server.accept()
        with receiver:
            receiver.settimeout(30)
            capture = lab.keep_capture(left, 'outer')
            todo, got = memoryview(bytes(STREAM)), 0
            sender.setblocking(False)
            while got < STREAM:
                try:
                    todo = todo[sender.send(todo[:65536]):]
                except BlockingIOError:
                    pass
                data = receiver.recv(1 << 20)
                if not data:
                    break
                got += len(data)
            longest = max(p.length for p in capture.packets() if p.out)
    return got == STREAM, longest


SHAPER = 'tbf rate 1gbit burst 256k limit 1m'


def streams(lab, left, right, queues, way=''):
    """Of a TCP stream, messages leave together only past queues that take no packet apart: TCP would think that what
    is in such a queue was sent. (Here none is taken apart, as the bucket is large; but that can't be seen from outside.)"""
    for queue, together in queues:
        left.run('tc', 'qdisc', 'replace', 'dev', 'outer', 'root', *queue.split(), must=True)
        # Whether four were ready at once is chance.
        for _ in range(20 if together else 3):
            arrived, longest = stream(lab, left, right)
            if not arrived or (longest > 1500) == together:
                break
        report(arrived and (longest > 1500) == together, f'a TCP stream through {way}{queue.split()[0]}: messages leave {"together" if together else "one by one"}',
               f'{longest} bytes at most, {arrived}')
    left.run('tc', 'qdisc', 'replace', 'dev', 'outer', 'root', 'noqueue', must=True)


def bridged(lab, left, right):
    """The same where the queue is that of a device below the one that is routed to."""
    left.ip('link', 'add', 'bridge', 'type', 'bridge')
    address = f'{OUTER["left"][0]}/24'
    for words in (('link', 'set', 'bridge', 'up'), ('addr', 'del', address, 'dev', 'outer'), ('link', 'set', 'outer', 'master', 'bridge'),
                  ('addr', 'add', address, 'dev', 'bridge')):
        left.ip(*words)
    endpoint(left, right, 0)
    streams(lab, left, right, (('noqueue', True), (SHAPER, False)), 'a bridge over ')
    for words in (('link', 'del', 'bridge'), ('addr', 'add', address, 'dev', 'outer')):
        left.ip(*words)


def rows(lab):
    left, right = setup(lab)

    def link(*args):
        left.ip('link', 'set', 'outer', *args)

    def offload(*args):
        left.run('ethtool', '-K', 'outer', *args, must=True)

    for address, name in enumerate(('over IPv4', 'over IPv6')):
        def expect(size, last, count, packets, what):
            burst(lab, left, right, size, last, count, packets, f'{name}, {what}')
        endpoint(left, right, address)
        expect(100, 100, 32, 1, '32 of a size')
        expect(100, 40, 40, 2, '40 of a size, the last shorter')
        expect(100, 100, 3, 3, 'three, which is too few')
        accounting(left)
        streams(lab, left, right, (('noqueue', True), (SHAPER, False), ('fq', True), ('netem limit 10000', False), ('fq_codel', True)))
        link('gso_max_segs', '10')
        expect(100, 100, 40, 4, 'a link that takes ten')
        link('gso_max_segs', '1')
        expect(100, 100, 40, 40, 'a link that takes one by one')
        link('gso_max_segs', '65535')
        offload('tx-udp-segmentation', 'off')
        expect(100, 40, 40, 40, 'a link that cannot segment')
        offload('tx-checksum-ip-generic', 'off')
        expect(100, 40, 40, 40, 'a link that cannot make checksums either')
        offload('sg', 'off')
        expect(100, 40, 40, 40, 'a link that wants each packet in one piece')
        offload('sg', 'on', 'tx-checksum-ip-generic', 'on', 'tx-udp-segmentation', 'on')
        for ns in left, right:
            ns.ip('link', 'set', 'outer', 'mtu', '1300')
        expect(1350, 1350, 10, 20, 'messages larger than the way')
        expect(1100, 1100, 10, 1, 'messages that fit a small way')
        for ns in left, right:
            ns.ip('link', 'set', 'outer', 'mtu', '1500')
    bridged(lab, left, right)


def main():
    lab = Lab()
    try:
        rows(lab)
    finally:
        lab.close()
    return bool(FAILED)


if __name__ == '__main__':
    sys.exit(main())
