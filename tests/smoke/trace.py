#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The tracepoints wireguard_rs:*: each is told when what it is for happens, with its fields, as the manual has them;
and who counts them by perf's system call sees as many.

usage (in the guest): tests/smoke/trace.py [WORD]...

Only ours: the C driver has none.
"""

import collections
import contextlib
import ctypes
import os
import platform
import re
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from lab import report, run_parts, wait_for  # noqa: E402

TRACING = '/sys/kernel/tracing'
EVENTS = f'{TRACING}/events/wireguard_rs'
LINE = re.compile(r': (\w+): (ifname=.*)$')
PERF_EVENT_OPEN = {'x86_64': 298, 'aarch64': 241}


def write(path, text):
    with open(path, 'w', encoding='ascii') as file:
        file.write(text)


def read(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()


@contextlib.contextmanager
def traced():
    """All of our events; what is given tells those so far."""
    for path, text in ('trace', ''), ('events/wireguard_rs/enable', '1'), ('tracing_on', '1'):
        write(f'{TRACING}/{path}', text)

    def seen():
        found = (LINE.search(line) for line in read(f'{TRACING}/trace').splitlines())
        return [(m[1], dict(f.split('=', 1) for f in m[2].split())) for m in found if m]
    try:
        yield seen
    finally:
        write(f'{EVENTS}/enable', '0')


@contextlib.contextmanager
def counted(event):
    """A function that says how often an event was counted, as `perf stat -e wireguard_rs:EVENT` does it."""
    libc = ctypes.CDLL(None, use_errno=True)
    # type, size, config; the rest is zero: count, on each CPU, whoever it is.
    attributes = struct.pack('=IIQ', 2, 64, int(read(f'{EVENTS}/{event}/id'))).ljust(64, b'\0')
    with contextlib.ExitStack() as stack:
        fds = []
        for cpu in os.sched_getaffinity(0):
            fd = libc.syscall(PERF_EVENT_OPEN[platform.machine()], attributes, -1, cpu, -1, 0)
            if fd < 0:
                raise OSError(ctypes.get_errno(), 'perf_event_open')
            stack.callback(os.close, fd)
            fds.append(fd)
        yield lambda: sum(struct.unpack('=Q', os.read(fd, 8))[0] for fd in fds)


def peer_of(pair):
    """What events of the only peer are to have in common."""
    with pair.home, observe.Family() as family:
        found = family.peers('wg0')[1][0]
        return {'ifname': 'wg0', 'ifindex': str(socket.if_nametoindex('wg0')), 'peer': str(found['id'])}


def expect(seen, name, event, **fields):
    """There is such an event, soon."""
    def there():
        return any(e == event and fields.items() <= f.items() for e, f in seen())
    good = wait_for(there, 30)
    report(good, name, '' if good else f'no {event} {fields} in {seen()}')


def manual(_):
    """The manual's table has each event, with its fields."""
    page = read(os.path.join(HERE, '../../Documentation/observability.md'))
    said = {name: re.findall(r'`(\w+)`', fields) for name, fields in re.findall(r'^\| `wireguard_rs:(\w+)` \| ([^|]+) \|', page, re.M)}
    there = {}
    for name in os.listdir(EVENTS):
        if os.path.isdir(f'{EVENTS}/{name}'):
            fields = re.findall(r'field:[^;]*?(\w+)(?:\[\d*\])?;', read(f'{EVENTS}/{name}/format'))
            there[name] = [f for f in fields if not f.startswith('common_') and f not in ('ifname', 'ifindex')]
            report({'ifname', 'ifindex'} <= set(fields), f'{name} says which interface', fields)
    gaps = {}
    for name in there:
        end = 0
        for at, size in re.findall(r'offset:(\d+);\s*size:(\d+);', read(f'{EVENTS}/{name}/format')):
            if int(at) != end:
                gaps[name] = f'{end} to {at}'
            end = int(at) + int(size)
    report(not gaps, "no bytes of a record are in no field, where another record's would show", gaps)
    room = int(re.search(r'field:char reason\[(\d+)\];', read(f'{EVENTS}/packet_dropped/format'))[1])
    report(max(map(len, observe.reasons())) < room, 'there is room for each reason', room)
    report(said == there and len(there) >= 8, 'events and fields are those of the manual', f'{there}, said {said}')


def life(lab):
    """Handshakes, sessions, workers, timers."""
    pair = lab.pair(home='h')
    peer, common = pair.peer, peer_of(pair)
    with traced() as seen, counted('handshake_received') as count:
        report(pair.works() == 'works', 'a session of ours')
        expect(seen, 'an initiation was sent', 'handshake_sent', kind='initiation', outcome='sent', **common)
        expect(seen, 'its response was accepted', 'handshake_received', kind='response', outcome='accepted', **common)
        expect(seen, 'we have a session', 'session_begun', side='initiator', **common)
        for _ in range(4):
            report(peer.initiate() and pair.works() == 'works', 'a session of the peer')
            time.sleep(0.1)
        expect(seen, 'an initiation was accepted', 'handshake_received', kind='initiation', outcome='accepted', **common)
        expect(seen, 'a response was sent', 'handshake_sent', kind='response', outcome='sent', **common)
        expect(seen, 'the peer has a session', 'session_begun', side='responder', **common)
        expect(seen, 'ours is over', 'session_ended', side='initiator', **common)
        # Those that have no number of a session that had begun would be of another one.
        numbers = {e: [f['session'] for name, f in seen() if name == e] for e in ('session_begun', 'session_ended')}
        report(len(numbers['session_begun']) == len(set(numbers['session_begun'])) >= 5
               and set(numbers['session_ended']) < set(numbers['session_begun']), 'each session has its number', numbers)
        expect(seen, 'a worker for handshakes', 'worker_called', ifname='wg0', ifindex=common['ifindex'], stage='handshake')
        for stage, act in (('encrypt', pair.say), ('decrypt', lambda: peer.send(b''))):
            def called(stage=stage, act=act):
                for _ in range(20):
                    act()
                return any(e == 'worker_called' and f['stage'] == stage for e, f in seen())
            report(wait_for(called, 30), f'a worker for {stage}ion')
        pair.set_peer('persistent-keepalive', '1')
        expect(seen, 'a keepalive', 'timer_fired', timer='persistent-keepalive', **common)
        pair.set_peer('persistent-keepalive', '0')
        names = collections.Counter(e for e, _ in seen())
        report(not names['packet_dropped'] and not names['queue_full'], 'nothing is dropped', names)
        report(count() == names['handshake_received'] > 4, 'perf counts the same', f'{count()}, {names}')


def losses(lab):
    """Packets that are dropped, queues that are full, messages that come to nothing."""
    pair = lab.pair(home='h')
    peer, common = pair.peer, peer_of(pair)
    nobody = common | {'peer': '0'}
    with traced() as seen:
        for state in 'down', 'up':
            pair.home.ip('link', 'set', 'wg0', state)
        dropped = [fields for event, fields in seen() if event == 'packet_dropped']
        report(not dropped, 'an interface that has nothing loses nothing', dropped)
        peer.raw(b'no message')
        expect(seen, 'no message', 'packet_dropped', reason='rx-type', packets='1', **nobody)
        peer.raw(b'\1\0\0\0' + bytes(144))
        expect(seen, 'no MAC', 'handshake_received', kind='initiation', outcome='handshake-mac', **nobody)
        expect(seen, 'no MAC: dropped', 'packet_dropped', reason='handshake-mac', packets='1', **nobody)
        peer.raw(peer.macs(struct.pack('<III', 2, 5, 6) + bytes(48)))
        expect(seen, 'an answer to nothing', 'handshake_received', kind='response', outcome='handshake-invalid', **nobody)
        peer.raw(struct.pack('<II', 3, 77) + bytes(56))
        expect(seen, 'a cookie for nobody', 'handshake_received', kind='cookie', outcome='cookie-invalid', **nobody)
        report(peer.initiate(), 'a session')
        peer.raw(struct.pack('<IIQ', 4, peer.session.remote, 3) + bytes(16))
        expect(seen, 'a wrong tag', 'packet_dropped', reason='rx-auth', packets='1', **common)
        pair.set_peer('remove')
        pair.set_peer('allowed-ips', '192.168.5.2/32', 'endpoint', '10.99.0.1:1')
        common = peer_of(pair)
        for n in range(200):
            pair.say(b'%d' % n)
        expect(seen, 'an initiation has no route', 'handshake_sent', kind='initiation', outcome='no-route', **common)
        expect(seen, 'too many wait', 'queue_full', queue='staged', **common)
        expect(seen, 'too many wait: dropped', 'packet_dropped', reason='tx-staged', packets='1', **common)
        dropped = collections.Counter()
        for event, fields in seen():
            if event == 'packet_dropped':
                dropped[fields['reason']] += int(fields['packets'])
        with pair.home:
            counts = {name: n for name, n in observe.drops('wg0').items() if n}
        report(dropped == counts, 'what is traced is what is counted', f'{dict(dropped)}, {counts}')


if __name__ == '__main__':
    sys.exit(run_parts('trace', (manual, life, losses)))
