# SPDX-License-Identifier: GPL-2.0
"""Rows about throughput and delay between two interfaces, or three."""

import json
import os
import re
import statistics
import struct
import subprocess
import time

import lab

MBIT, PPS, US = 'Mbit/s', 'packets/s', 'us'


class Server:
    """iperf3 -s in a namespace."""

    def __init__(self, ns, *options):
        self.process = ns.start('iperf3', '-s', *options, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        port = options[options.index('-p') + 1] if '-p' in options else '5201'
        lab.wait_for('iperf3 -s', lambda: f':{port} ' in ns.run('ss', '-Hltn'))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def iperf(ns, to, *options, seconds):
    """Runs the client; the "end" of its report."""
    out = ns.run('iperf3', '-c', to, '-J', '-t', str(seconds), *options, check=False, timeout=120 + 60 * seconds)
    try:
        report = json.loads(out)
    except json.JSONDecodeError:
        raise lab.Failed(f'iperf3 said {out[-200:]!r}') from None
    if 'error' in report:
        raise lab.Failed(f'iperf3: {report["error"]}')
    return report['end']


def tcp(ns, to, *options, seconds):
    """Mbit/s received."""
    return iperf(ns, to, *options, seconds=seconds)['sum_received']['bits_per_second'] / 1e6


def udp(ns, to, length, *options, seconds):
    """Packets per second received, and the part of those sent that was lost."""
    end = iperf(ns, to, '-u', '-b', '0', '-l', str(length), *options, seconds=seconds)['sum']
    if not end['packets']:
        raise lab.Failed('iperf3 counted no packet')
    return (end['packets'] - end['lost_packets']) / end['seconds'], end['lost_packets'] / end['packets']


def pings(ns, to, *pace, count, least):
    """Round trips in microseconds, of as many pings as were answered: that part of them at least."""
    out = ns.run('ping', '-c', str(count), *pace, '-W', '5', to, check=False)
    times = [float(t) * 1000 for t in re.findall(r'time=([\d.]+) ms', out)]
    if len(times) < count * least:
        raise lab.Failed(f'{count - len(times)} of {count} pings lost')
    return times


def rtt(ns, to, *pace, count=100):
    """The median of the pings, in microseconds."""
    return statistics.median(pings(ns, to, *pace, count=count, least=0.9))


def take_whole(left, right):
    """Has what comes as one packet past GRO taken whole, by the interfaces of a pair."""
    for ns, name in ((left, 'wg1'), (right, 'wg2')):
        ns.run('python3', os.path.join(lab.HERE, '../observe.py'), name, 'local-gso=1')


def direct(driver, plan, row, nic=False, whole=False):
    """Between two: TCP, UDP, ping."""
    left, right = driver.pair(nic=nic)
    if whole:
        take_whole(left, right)
    with Server(right):
        for streams in (1, 4):
            for way, option in (('', ()), (' back', ('-R',))):
                row(f'TCP, {streams} stream{"s" * (streams > 1)}{way}', MBIT,
                    lambda s=streams, o=option: tcp(left, '192.168.77.2', '-P', str(s), *o, seconds=plan.seconds))
        for length in (64, 512, 1400):
            lost = []

            def arrived(n=length, lost=lost):
                rate, part = udp(left, '192.168.77.2', n, seconds=plan.seconds)
                lost.append(100 * part)
                return rate
            row(f'UDP, {length} B', PPS, arrived)
            row(f'UDP, {length} B, of those sent lost', '% lost', lost.pop, 'share')
    row('ping, median', US, lambda: rtt(left, '192.168.77.2', '-i', '0.02'))
    # The next one as soon as the answer is there: a conversation.
    row('ping, one after the other, median', US, lambda: rtt(left, '192.168.77.2', '-A'))


def nic(driver, plan, row):
    """The same where datagrams cross the link one by one."""
    direct(driver, plan, lambda name, *rest: row(f'one by one: {name}', *rest), nic=True)


def whole(driver, plan, row):
    """The same with the hook that has datagrams taken whole where no device puts them together."""
    direct(driver, plan, lambda name, *rest: row(f'taken whole: {name}', *rest), whole=True)


def relay(driver, plan, row):
    """left - middle - right: what middle decrypts it encrypts for the other."""
    left, middle, right = map(driver.ns, ('left', 'middle', 'right'))
    lab.joined(left, middle, '10.0.1')
    lab.joined(right, middle, '10.0.2')
    ends = ((left, 1, '10.0.1'), (right, 2, '10.0.2'))
    driver.interface(middle, 'wgm', lab.PRIVATE['middle'], 51820, '192.168.77.3/24')
    middle.run('sysctl', '-q', '-w', 'net.ipv4.ip_forward=1')
    for ns, n, net in ends:
        driver.interface(ns, f'wg{n}', lab.PRIVATE[ns.name], 51820, f'192.168.77.{n}/24')
        ns.run('wg', 'set', f'wg{n}', 'peer', lab.public('middle'), 'endpoint', f'{net}.2:51820', 'allowed-ips',
               '192.168.77.0/24')
        middle.run('wg', 'set', 'wgm', 'peer', lab.public(ns.name), 'endpoint', f'{net}.1:51820', 'allowed-ips',
                   f'192.168.77.{n}/32')
    left.run('ping', '-q', '-c', '3', '-i', '0.1', '-W', '10', '192.168.77.2')
    with Server(right):
        row('TCP, 1 stream, through a relay', MBIT, lambda: tcp(left, '192.168.77.2', seconds=plan.seconds))


def fairness(driver, plan, row):
    """Two peers of one interface: left floods with what it can, third sends a little; how much of that arrives?"""
    left, right, third = map(driver.ns, ('left', 'right', 'third'))
    lab.joined(left, right, '10.0.1')
    lab.joined(third, right, '10.0.2')
    driver.interface(right, 'wgr', lab.PRIVATE['right'], 51820, '192.168.77.3/24')
    for ns, n, net in ((left, 1, '10.0.1'), (third, 2, '10.0.2')):
        driver.interface(ns, f'wg{n}', lab.PRIVATE[ns.name], 51820, f'192.168.77.{n}/24')
        ns.run('wg', 'set', f'wg{n}', 'peer', lab.public('right'), 'endpoint', f'{net}.2:51820', 'allowed-ips',
               '192.168.77.3/32')
        right.run('wg', 'set', 'wgr', 'peer', lab.public(ns.name), 'allowed-ips', f'192.168.77.{n}/32')
        ns.run('ping', '-q', '-c', '2', '-i', '0.1', '-W', '10', '192.168.77.3')

    def share():
        with Server(right, '-p', '5201'), Server(right, '-p', '5202'):
            flood = left.start('iperf3', '-c', '192.168.77.3', '-p', '5201', '-u', '-b', '0', '-l', '512', '-P', '2', '-t',
                               str(plan.seconds + 3), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
            try:
                time.sleep(0.5)
                end = iperf(third, '192.168.77.3', '-p', '5202', '-u', '-b', '4M', '-l', '512', seconds=plan.seconds)['sum']
                if flood.poll() is not None:
                    raise lab.Failed('the flood ended too early')
            finally:
                flood.terminate()
                flood.wait(60)
            wanted = 4e6 / 8 / 512 * plan.seconds
            return 100 * min(1, (end['packets'] - end['lost_packets']) / wanted)
    row('4 Mbit/s of one peer while another floods, arrived', '%', share)


INITIATORS = 48


class Initiators:
    """One responder with many initiators, each an interface of its own. The first handshake of each is made here:
    the drivers differ in what they leave to it."""

    def __init__(self, driver):
        left, right = self.left, _ = driver.ns('left'), driver.ns('right')
        lab.joined(left, right, '10.0.0')
        driver.interface(right, 'wgr', lab.PRIVATE['right'], 51820, '192.168.200.1/24')
        # Going down forgets the session, but not with wireguard-go: there the peer goes and comes. (With the others,
        # it would take along what of the first handshake is kept.)
        self.by_peer = driver.kind == 'go'
        self.key = lab.public('right')
        for n in range(INITIATORS):
            private = bytes([n + 40] * 32)
            driver.interface(left, f'wgi{n}', private, 52000 + n, f'192.168.{n}.1/32')
            self.peer(n)
            right.run('ip', 'addr', 'add', f'192.168.{100 + n}.1/32', 'dev', 'wgr')
            pub = lab.run('wg', 'pubkey', text=lab.base64.b64encode(private).decode()).strip()
            right.run('wg', 'set', 'wgr', 'peer', pub, 'allowed-ips', f'192.168.{n}.1/32')
        right.run('ip', 'route', 'add', '192.168.0.0/16', 'dev', 'wgr')
        self.targets = f'{lab.SCRATCH}/targets'
        with open(self.targets, 'wb') as f:
            f.write(b''.join(struct.pack('4B', 192, 168, 100 + n, 1) for n in range(INITIATORS)))
        self.forget()
        self.shake()

    def peer(self, n):
        """Gives an initiator its peer."""
        self.left.run('wg', 'set', f'wgi{n}', 'peer', self.key, 'endpoint', '10.0.0.2:51820', 'allowed-ips',
                      f'192.168.{100 + n}.1/32')

    def forget(self):
        """Takes all sessions away."""
        left = self.left
        if self.by_peer:
            for n in range(INITIATORS):
                left.run('wg', 'set', f'wgi{n}', 'peer', self.key, 'remove')
                self.peer(n)
        batch(left, (f'link set wgi{n} down' for n in range(INITIATORS)))
        time.sleep(0.5)
        batch(left, (f'link set wgi{n} up' for n in range(INITIATORS)))
        batch(left, (f'route replace 192.168.{100 + n}.1/32 dev wgi{n} src 192.168.{n}.1' for n in range(INITIATORS)))
        time.sleep(0.5)

    def shake(self):
        """Handshakes of all; nanoseconds until all have a packet through."""
        return spray(self.left, self.targets, INITIATORS, 'right', 1)[0]


def handshakes(driver, plan, row):
    """How many handshakes there are in a second."""
    all_ = Initiators(driver)
    all_.forget()
    row('handshakes', '1/s', lambda: INITIATORS * 1e9 / all_.shake())


def batch(ns, lines):
    """Commands of ip, all at once."""
    ns.run('ip', '-batch', '-', text='\n'.join(lines) + '\n')


def spray(ns, targets, window, into, rounds):
    """wgrs-load spray; nanoseconds of each round."""
    return [int(line.split()[1]) for line in ns.run(lab.LOAD, 'spray', targets, str(window), into, str(rounds)).splitlines()]
