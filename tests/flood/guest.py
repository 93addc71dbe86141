#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a flood of initiations costs a server, its tunnel and who wants to connect; see scripts/flood.

usage (in the guest, under the instruction clock): tests/flood/guest.py DRIVERS RATE...

  right --(veth)-- left, the server --(eth0)-- the flooder, a guest of its own

A line of JSON with `=` in front for each driver, rate and target of the flood: the driver's port, or (`sink`) that of a
socket which drops it, so that what is left is the network stack's part. At the high rates also floods of messages with
anything for a MAC2 (`junk`), and of one message over and over whose MAC2 is good (`replay`).
"""

import ctypes
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'bench'), os.path.join(HERE, '..')]
import lab  # noqa: E402
import observe  # noqa: E402
from rows_traffic import Server, tcp  # noqa: E402

HELPER = '/hostile'
FLOODER, SERVER, SINK = '10.1.0.2:7000', '10.1.0.1', 9999
OVER = '/tmp/over'
# From here on the driver is under load.
LOADED = 10000
REPETITIONS, HANDSHAKES = 3, 10
SO_ATTACH_FILTER = 26
# The one who wants in; any key will do.
FRIEND = bytes([77] * 32)


def hostile(ns, *words):
    """Starts the helper in a namespace."""
    return ns.start(HELPER, 'flood', *map(str, words), stdout=subprocess.PIPE)


def outcome(process, seconds=300):
    """The line that it prints in the end."""
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise lab.Failed('the helper did not end') from None
    if process.returncode:
        raise lab.Failed(f'the helper ended with status {process.returncode}')
    return json.loads(out)


class Sink:
    """A socket whose filter drops everything."""

    def __init__(self, ns):
        with ns:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(('0.0.0.0', SINK))
        # BPF_RET, 0 bytes
        code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack('HxxxxxxP', 1, ctypes.addressof(code)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # It would keep the namespace, and so the card in it.
        self.socket.close()


class Busy:
    """Keeps the CPU from being idle, at a priority that takes nothing from anybody: an idle CPU's
    clock jumps to the next timer, and the flooder would not answer beats in time."""

    def __enter__(self):
        self.process = subprocess.Popen(['chrt', '--idle', '0', 'sh', '-c', 'while :; do :; done'])
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Flood:
    """Beats at a rate, which may be 0: they have their cost as well, and the baseline shall have it."""

    def __init__(self, left, rate, where):
        port, kind = (SINK, 'plain') if where == 'sink' else (51820, 'plain' if where == 'driver' else where)
        self.words = ('chrt', '--fifo', '10', HELPER, 'flood', 'beat', '--flooder', FLOODER, '--rate', str(rate),
                      '--port', str(port), '--kind', kind, '--until', OVER)
        self.left = left

    def __enter__(self):
        if os.path.exists(OVER):
            os.unlink(OVER)
        self.sent = traffic(self.left)['tx_packets']
        self.process = self.left.start(*self.words, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        with open(OVER, 'w', encoding='ascii'):
            pass
        self.beats = outcome(self.process)
        time.sleep(0.3)
        # What the server sent besides the beats: cookies.
        self.answers = traffic(self.left)['tx_packets'] - self.sent - self.beats['beats'] + self.beats['refused']


def traffic(left):
    """The counters of the link to the flooder."""
    ways = json.loads(left.run('ip', '-s', '-j', 'link', 'show', 'eth0'))[0]['stats64']
    return {f'{way}_{what}': value for way, values in ways.items() for what, value in values.items()}


def no_ports(left):
    """Datagrams that came to a port without a socket."""
    lines = [line.split() for line in left.run('cat', '/proc/net/snmp').splitlines() if line.startswith('Udp:')]
    return int(dict(zip(*lines))['NoPorts'])


def reasons(kind, left):
    """Our driver's counters."""
    if kind != 'ours':
        return {}
    with left:
        return observe.drops('wg1')


def free():
    """KiB that could be used."""
    with open('/proc/meminfo', encoding='ascii') as file:
        return next(int(line.split()[1]) for line in file if line.startswith('MemAvailable'))


def handshakes(right, left_secret):
    """An honest peer's, while the tunnel is busy."""
    load = right.start('iperf3', '-c', '192.168.77.1', '-t', '100', stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.1)
        return outcome(hostile(right, 'handshakes', '--target', '10.0.0.1:51820', '--target-secret', left_secret,
                               '--secret', FRIEND.hex(), '--count', HANDSHAKES))
    finally:
        load.kill()
        load.wait()


def measure(kind, left, right, where, rate):
    """One line of the table."""
    before, missing, drops = free(), no_ports(left), reasons(kind, left)
    memory = []
    line = {'driver': kind, 'to': where, 'rate': rate}
    with Busy(), Flood(left, rate, where) as flood:
        time.sleep(0.3)
        began, arrived, sent = time.monotonic(), traffic(left)['rx_packets'], traffic(left)['tx_packets']
        line['goodput'] = []
        for _ in range(1 if where == 'sink' else REPETITIONS):
            line['goodput'].append(tcp(right, '192.168.77.1', seconds=1))
            memory.append(before - free())
        ended, now = time.monotonic(), traffic(left)
        line['arrived'] = (now['rx_packets'] - arrived) / (ended - began)
        line['answered'] = (now['tx_packets'] - sent) / (ended - began)
        if where != 'sink':
            done = handshakes(right, lab.PRIVATE['left'].hex())
            line.update(us=done['us'], cookies=done['cookies'], lost=done['lost'])
            memory.append(before - free())
    # Beats are among what was sent.
    seconds = flood.beats['us'] / 1e6
    line['answered'] -= flood.beats['beats'] / seconds
    line['answers'] = flood.answers
    line['memory'] = max(memory)
    line['nobody'] = no_ports(left) - missing
    line['drops'] = {name: value - drops[name] for name, value in reasons(kind, left).items() if value != drops[name]}
    print('=' + json.dumps(line), flush=True)
    lab.say(f'{kind} {where} {rate}/s: {statistics.median(line["goodput"]):.1f} Mbit/s, {line["arrived"]:.0f} arrived per second '
            f'(up {time.monotonic():.0f} s)')
    # No longer under load.
    time.sleep(1.5)


def link(left):
    """Waits for the flooder."""
    # Back from the namespace of the driver before.
    lab.wait_for('the card', lambda: os.path.exists('/sys/class/net/eth0'))
    lab.run('ip', 'link', 'set', 'eth0', 'netns', left.name)
    left.run('ip', 'addr', 'add', f'{SERVER}/24', 'dev', 'eth0')
    left.run('ip', 'link', 'set', 'eth0', 'up')
    left.run('ip', 'route', 'add', '198.18.0.0/15', 'via', FLOODER.split(':', maxsplit=1)[0])
    # Waiting must take time, which it doesn't for an idle CPU.
    with Busy():
        lab.wait_for('the flooder', lambda: ' 0% packet loss' in left.run('ping', '-c', '1', '-W', '1', '10.1.0.2', check=False), 300)


def run(kind, rates):
    """One driver."""
    with lab.Driver(kind) as driver:
        left, right = driver.pair()
        link(left)
        friend = lab.run('wg', 'pubkey', text=lab.base64.b64encode(FRIEND).decode()).strip()
        left.run('wg', 'set', 'wg1', 'peer', friend, 'allowed-ips', '192.168.77.3/32')
        with Sink(left), Server(left):
            tcp(right, '192.168.77.1', seconds=1)
            for rate in rates:
                if rate:
                    measure(kind, left, right, 'sink', rate)
                measure(kind, left, right, 'driver', rate)
                if rate >= LOADED:
                    measure(kind, left, right, 'junk', rate)
                    measure(kind, left, right, 'replay', rate)


def main():
    """All of it."""
    kinds, rates = sys.argv[1].split(','), [int(rate) for rate in sys.argv[2:]]
    os.makedirs(lab.SCRATCH, exist_ok=True)
    lab.run('modprobe', 'virtio_net')
    try:
        for kind in kinds:
            run(kind, rates)
        print('=end', flush=True)
    finally:
        # The card is back from the namespace that ended.
        with Busy():
            lab.run('ip', 'addr', 'add', f'{SERVER}/24', 'dev', 'eth0', check=False)
            lab.run('ip', 'link', 'set', 'eth0', 'up', check=False)
            lab.run(HELPER, 'flood', 'over', '--flooder', FLOODER, check=False)
    return 0


if __name__ == '__main__':
    sys.exit(main())
