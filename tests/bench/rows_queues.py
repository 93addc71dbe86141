# SPDX-License-Identifier: GPL-2.0
"""Rows about who waits for whom: little of many while one floods, or is flooded; and what waits in front of a slow link."""

import contextlib
import json
import math
import signal
import socket
import statistics
import subprocess
import time

import lab
from rows_traffic import MBIT, PPS, US, Server, pings

PEERS = 8
# All but the last send this much each: 1 Mbit/s.
LENGTH, RATE = 128, 977
# What the last one floods with; and bytes of a forged message, what a datagram of that length would have.
FLOOD_LENGTH, FORGED_LENGTH = 512, 576
FORGED_PER_SECOND = 20000
HUB = '192.168.77.100'
# Before all others: what is measured is the driver, and not when its user gets a CPU.
FIRST = ('chrt', '-f', '1')


class Hub:
    """An interface with peers, each in a namespace of its own and behind a link of its own."""

    def __init__(self, driver):
        self.hub = driver.ns('hub')
        self.peers = {n: driver.ns(f'peer{n}') for n in range(1, PEERS + 1)}
        driver.interface(self.hub, 'wgh', lab.PRIVATE['hub'], 51820, f'{HUB}/24')
        for n, ns in self.peers.items():
            lab.joined(ns, self.hub, f'10.0.{n}')
            driver.interface(ns, f'wgp{n}', lab.PRIVATE[ns.name], 51820, f'{self.address(n)}/24')
            ns.run('wg', 'set', f'wgp{n}', 'peer', lab.public('hub'), 'endpoint', f'10.0.{n}.2:51820', 'allowed-ips', f'{HUB}/32')
            self.hub.run('wg', 'set', 'wgh', 'peer', lab.public(ns.name), 'allowed-ips', f'{self.address(n)}/32')
        for n in self.peers:
            self.ping(n)

    @staticmethod
    def address(n):
        """Of peer n inside."""
        return f'192.168.77.{n}'

    def ping(self, n):
        """Peer n has a session."""
        self.peers[n].run('ping', '-q', '-c', '1', '-W', '10', HUB)

    def flow(self, n, back):
        """From peer n to the hub, or back, for wgrs-load."""
        return f'hub:{self.address(n)}:peer{n}' if back else f'peer{n}:{HUB}:hub'

    def latency(self, seconds, back):
        """What wgrs-load latency tells of all peers but the last, as a dictionary."""
        flows = (self.flow(n, back) for n in range(1, PEERS))
        words = self.hub.run(*FIRST, lab.LOAD, 'latency', str(RATE), str(LENGTH), str(RATE * seconds), *flows).split()
        found = {word: int(value) for word, value in zip(words[::2], words[1::2])}
        found['lost'] = 100 * (1 - found['arrived'] / found['sent'])
        return found

    def index(self):
        """The index that the hub has given to the last peer's session: it is in each message of that peer's."""
        ns = self.peers[PEERS]
        with ns, socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as s:
            s.bind(('vhub', 3))
            s.settimeout(10)
            self.ping(PEERS)
            while True:
                packet, about = s.recvfrom(2048)
                # IPv4 without options, UDP, to the hub, data.
                if about[2] == socket.PACKET_OUTGOING and packet[9] == socket.IPPROTO_UDP and packet[28:32] == b'\4\0\0\0':
                    return int.from_bytes(packet[32:36], 'little')

    @contextlib.contextmanager
    def forging(self):
        """Somebody forges messages of the last peer's; the index is one that counts, before and after."""
        rate, index = FORGED_PER_SECOND, self.index()
        with load(self.peers[PEERS], 'forge', str(index), str(FORGED_LENGTH), str(rate), f'peer{PEERS}', f'10.0.{PEERS}.2',
                  first=True) as found:
            yield
        if self.index() != index:
            raise lab.Failed('the session whose messages were forged is another one now')
        if found['rate'] < 0.9 * rate:
            raise lab.Failed(f'{found["rate"]} messages per second were forged, and not {rate}')

    def flooding(self, back):
        """The last peer floods the hub, or the hub floods it."""
        return load(self.hub, 'flood', str(FLOOD_LENGTH), self.flow(PEERS, back))

    def received(self, back):
        """Packets that have come out of the tunnel: at the hub, or at the last peer's."""
        ns, name = (self.peers[PEERS], f'wgp{PEERS}') if back else (self.hub, 'wgh')
        return counters(ns, name)['rx']['packets']


def counters(ns, name):
    """Of an interface."""
    return json.loads(ns.run('ip', '-s', '-j', 'link', 'show', name))[0]['stats64']


@contextlib.contextmanager
def load(ns, *arguments, first=False):
    """wgrs-load, meanwhile; afterwards what it did is in the dictionary that it gives."""
    process = ns.start(*(FIRST if first else ()), lab.LOAD, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    found = {}
    try:
        if process.stdout.readline() != 'ready\n':
            raise lab.Failed(f'wgrs-load {arguments[0]}: {process.communicate(timeout=60)[1].strip()}')
        yield found
        out, err = process.communicate(timeout=60)
        if process.returncode:
            raise lab.Failed(err.strip())
        found['rate'] = int(out.split()[1])
    finally:
        process.kill()
        process.wait()


def crowd(driver, plan, row):
    """Seven peers send a little each; what is it to them what the eighth does?"""
    hub = Hub(driver)

    def measured(what, around, back=False, flood=False):
        """Rows of the seven, from one measurement; with `flood`, one of how much of that came through."""
        found = {}

        def median():
            with around():
                before, start = hub.received(back), time.monotonic()
                found.update(hub.latency(plan.seconds, back))
                received, seconds = hub.received(back) - before, time.monotonic() - start
            # Those of the seven come out at the hub as well.
            found['flood'] = (received - (0 if back else found['arrived'])) / seconds
            return found['p50'] / 1000
        row(f'{what}: delay, median', US, median)
        row(f'{what}: delay, 99th percentile', US, lambda: found['p99'] / 1000)
        row(f'{what}: delay, longest', US, lambda: found['max'] / 1000)
        row(f'{what}: lost', '% lost', lambda: found['lost'], 'share')
        if flood:
            row(f'{what}: the flood', PPS, lambda: found['flood'])
    measured('nothing else', contextlib.nullcontext)
    measured('another floods', lambda: hub.flooding(False), flood=True)
    measured(f'{FORGED_PER_SECOND:,} messages per second of another are forged', hub.forging)
    measured('another is flooded', lambda: hub.flooding(True), back=True, flood=True)


# -------------------------------------------------------------- a slow link

# Bytes that may go at once: some full packets. And those that may wait: 100 ms of them, as in front of a modem.
TBF = ('tbf', 'rate', '20mbit', 'burst', '16kb', 'limit', '250kb')


def slow(driver, plan, row, nic=False):
    """A TCP stream of the tunnel has a slow link under it: how long does everything else wait?"""
    left, right = driver.pair(nic=nic)
    left.run('tc', 'qdisc', 'replace', 'dev', 'vright', 'root', *TBF)

    def measured(what, count, interval):
        found = {}

        def median():
            before, start = counters(right, 'wg2')['rx']['bytes'], time.monotonic()
            times = sorted(pings(left, '192.168.77.2', '-i', interval, count=count, least=0.5))
            received, seconds = counters(right, 'wg2')['rx']['bytes'] - before, time.monotonic() - start
            found.update(rate=8e-6 * received / seconds, p99=times[math.ceil(0.99 * len(times)) - 1], lost=100 * (1 - len(times) / count))
            return statistics.median(times)
        row(f'20 Mbit/s link, {what}: ping, median', US, median)
        row(f'20 Mbit/s link, {what}: ping, 99th percentile', US, lambda: found['p99'])
        row(f'20 Mbit/s link, {what}: pings lost', '% lost', lambda: found['lost'], 'share')
        return found
    measured('idle', 100, '0.01')

    def sent():
        return counters(left, 'vright')['tx']['bytes']
    with Server(right):
        before = sent()
        stream = left.start('iperf3', '-c', '192.168.77.2', '-t', '300', '-J', stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)
        try:
            # Its start is over, and the link full.
            lab.wait_for('2 s of the stream', lambda: sent() - before > 5e6)
            # Its window goes up and down once in 5 s: several times of that.
            found = measured('a TCP stream', 300 if plan.quick else 600, '0.04')
            if stream.poll() is not None:
                raise lab.Failed('the stream ended too early')
            stream.send_signal(signal.SIGINT)
            report = json.loads(stream.communicate(timeout=60)[0])
        finally:
            stream.kill()
            stream.wait()
    row('20 Mbit/s link, a TCP stream: IP packets that arrive', MBIT, lambda: found['rate'])
    row('20 Mbit/s link, a TCP stream: sent again', 'per MB',
        lambda: report['end']['sum_sent']['retransmits'] / (report['end']['sum_sent']['bytes'] / 1e6), 'share')


def slow_nic(driver, plan, row):
    """The same where datagrams cross the link one by one."""
    slow(driver, plan, lambda name, *rest: row(f'one by one: {name}', *rest), nic=True)
