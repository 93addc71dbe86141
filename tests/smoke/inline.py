#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The first message of an idle peer, and short ones that go to and fro, are sealed, sent and opened where they come
from, without a worker; not if that is in a tunnel of ours already; and whichever way messages take, they keep their
order.

usage (in the guest, two CPUs or more): tests/smoke/inline.py

Only ours: the C driver calls a worker for each message. Whether one is called is seen by the kernel's event of a
work item that is queued, in the work queue `wg-crypt-INTERFACE` (which also has the peers' transmit work).
"""

import os
import random
import socket
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

from lab import FAILED, SO_RCVBUFFORCE, Lab, command, report  # noqa: E402

TRACING = '/sys/kernel/tracing'
EVENT = 'events/workqueue/workqueue_queue_work'
# Pings that may find a tick already used, or a peer busy with something else, on a busy machine.
TRIES = 50


class Calls:
    """Workers that are called."""

    def __enter__(self):
        self.write(f'{EVENT}/filter', 'workqueue ~ "wg-crypt-*"')
        self.write(f'{EVENT}/enable', '1')
        # Others leave it off.
        self.write('tracing_on', '1')
        return self

    def __exit__(self, *_):
        self.write(f'{EVENT}/enable', '0')
        self.write(f'{EVENT}/filter', '0')
        self.write('trace', '')

    @staticmethod
    def write(name, text):
        with open(f'{TRACING}/{name}', 'w', encoding='ascii') as file:
            file.write(text)

    def during(self, action):
        """Whether `action` succeeded, and how often workers were called meanwhile, by interface."""
        self.write('trace', '')
        done = action()
        with open(f'{TRACING}/trace', encoding='ascii', errors='replace') as file:
            names = [line.split('workqueue=wg-crypt-')[1].split()[0] for line in file if 'workqueue=wg-crypt-' in line]
        return done, {name: names.count(name) for name in names}


def join(left, right, n, outer, port):
    """A tunnel wg`n` between the two, inside of what has the addresses `outer`."""
    keys = {ns: command('wg', 'genkey', must=True).stdout for ns in (left, right)}
    for me, other, mine, theirs in (left, right, 1, 2), (right, left, 2, 1):
        me.ip('link', 'add', f'wg{n}', 'type', 'wireguard')
        me.run('wg', 'set', f'wg{n}', 'private-key', '/dev/stdin', 'listen-port', str(port), 'peer',
               command('wg', 'pubkey', stdin=keys[other], must=True).stdout.strip(), 'allowed-ips',
               f'192.168.{70 + n}.{theirs}/32', 'endpoint', f'{outer}.{theirs}:{port}', stdin=keys[me], must=True)
        me.ip('addr', 'add', f'192.168.{70 + n}.{mine}/24', 'dev', f'wg{n}')
        me.ip('link', 'set', f'wg{n}', 'up')


def pings(ns, n, count=1, *options):
    # An interval, however short, lets the tick pass that the one before was in.
    time.sleep(0.02)
    return ' 0% packet loss' in ns.run('ping', '-q', '-c', str(count), '-W', '20', *options, f'192.168.{70 + n}.2').stdout


def until(calls, ns, n, wanted, name, *options):
    """One ping after the other through wg`n`, until one is as wanted."""
    seen = []
    for _ in range(TRIES):
        done, called = calls.during(lambda: pings(ns, n, 1, *options))
        if not done:
            report(False, name, 'no answer')
            return
        if wanted(called):
            break
        seen.append(called)
    report(len(seen) < TRIES, name, f'workers called, by interface: {seen}')


class Flow(threading.Thread):
    """Small datagrams from one end to the other, with pauses of any length up to some ticks of the clock."""
    COUNT = 3000

    def __init__(self, source, to, address, seed):
        super().__init__()
        self.random = random.Random(seed)
        with to:
            self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with source:
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.receiver.bind((address, 7777))
        self.receiver.settimeout(20)
        self.sender.connect((address, 7777))

    def run(self):
        sent = 0
        while sent < self.COUNT:
            # One alone, or some in a row.
            for _ in range(self.random.choice((1, 1, 2, 7, 30))):
                self.sender.send(struct.pack('>Q', sent) + bytes(56))
                sent += 1
            time.sleep(self.random.choice((0, 0.0001, 0.001, 0.005, 0.012)))
        self.sent = sent

    def arrived(self):
        """The numbers, in the order of their arrival."""
        numbers = []
        try:
            while not hasattr(self, 'sent') or len(numbers) < self.sent:
                numbers.append(struct.unpack('>Q', self.receiver.recv(65536)[:8])[0])
        except TimeoutError:
            pass
        self.join()
        self.receiver.close()
        self.sender.close()
        return numbers


def conversation(calls, ns):
    """Each ping as soon as the last is answered, so many of them in one tick of the coarse clock."""
    count = 500
    done, called = calls.during(lambda: pings(ns, 0, count, '-A'))
    # By far fewer than one for each message, of which there are four a ping, at both ends: a tick is few
    # pings long on a slow machine, and whatever else is sent makes two in a row.
    report(done and called.get('wg0', 0) < count, 'pings one after the other take hardly any worker',
           f'{count} pings, {called} workers')


def order(left, right, n, name):
    flows = [Flow(left, right, f'192.168.{70 + n}.2', 1), Flow(right, left, f'192.168.{70 + n}.1', 2)]
    for flow in flows:
        flow.start()
    numbers = [flow.arrived() for flow in flows]
    for flow, got in zip(flows, numbers):
        report(got == list(range(flow.sent)), f'{name}: all arrive, in order',
               f'{len(got)} of {flow.sent}, {sum(a > b for a, b in zip(got, got[1:]))} overtaken')


def redirected(left):
    """With the lock of its queue held, the link has a packet sent that is to leave by the link in the end."""
    name = "pings that a rule of the link's queue has sent through the tunnel"
    if left.run('tc', 'qdisc', 'add', 'dev', 'outer', 'root', 'handle', '1:', 'prio').returncode:
        print(f'skip - {name} (this kernel has no sch_prio)', flush=True)
        return
    left.run('tc', 'filter', 'add', 'dev', 'outer', 'parent', '1:', 'protocol', 'ip', 'prio', '1', 'u32', 'match', 'ip', 'dst', '192.168.70.2/32',
             'action', 'mirred', 'egress', 'redirect', 'dev', 'wg0', must=True)
    left.ip('route', 'add', '192.168.70.2/32', 'via', '10.1.0.2', 'dev', 'outer', 'src', '192.168.70.1')
    report(pings(left, 0, 20, '-i', '0.05'), name)
    left.ip('route', 'del', '192.168.70.2/32')
    left.run('tc', 'qdisc', 'del', 'dev', 'outer', 'root')


def rows(lab, calls):
    left, right = lab.ns('left'), lab.ns('right')
    lab.cable(left, right)
    join(left, right, 0, '10.1.0', 51820)
    report(pings(left, 0, 3, '-i', '0.2'), 'a tunnel')
    until(calls, left, 0, lambda called: called.get('wg0'), 'several at once take workers', '-s', '4000')
    until(calls, left, 0, lambda called: not called, 'a ping and its answer take no worker')
    conversation(calls, left)
    order(left, right, 0, 'now and then one alone, some in a row, both ways')

    report(left.run('tc', 'qdisc', 'add', 'dev', 'wg0', 'root', 'pfifo', 'limit', '100').returncode == 0,
           'a queue in front of the tunnel')
    until(calls, left, 0, lambda called: not called, 'and a ping takes no worker')
    order(left, right, 0, 'with a queue')
    left.run('tc', 'qdisc', 'del', 'dev', 'wg0', 'root')

    redirected(left)

    for n in 1, 2:
        join(left, right, n, f'192.168.{69 + n}', 51820 + n)
        report(pings(left, n, 3, '-i', '0.2'), f'{n} more around it')
    until(calls, left, 2, lambda called: 'wg2' not in called and called.get('wg1') and called.get('wg0'),
          'only the innermost one does without workers')
    order(left, right, 2, 'three, one in the other')
    report(pings(left, 2, 2000, '-f'), 'many pings through them')


def main():
    if not os.path.exists(f'{TRACING}/{EVENT}'):
        print('skip - the first message of an idle peer (this kernel has no events of work queues)')
        return 0
    lab = Lab()
    try:
        with Calls() as calls:
            rows(lab, calls)
    finally:
        lab.close()
    return bool(FAILED)


if __name__ == '__main__':
    sys.exit(main())
