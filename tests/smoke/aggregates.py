#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Datagrams that the receiving device merges are dealt with as if each had come alone, and what is merged on its
way to somebody else gets there unharmed.

usage (in the guest): tests/smoke/aggregates.py [ours|c [WORD]...]

A burst waits in the sender's queue (sch_plug) and leaves at once: so one poll of the receiver has all of it, however
busy the machine. That it was merged is seen in the UDP layer's count of packets. The C driver's sockets have nothing
merged for them; what is expected of ours holds for it, too, but for the reasons of drops, which it does not count.
"""

import os
import select
import socket
import struct
import sys
from base64 import b64encode
from collections import Counter, namedtuple
from contextlib import nullcontext

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from lab import FAILED, SO_RCVBUFFORCE, UDP_SEGMENT, Lab, Pair, command, report, udp, wait_for  # noqa: E402
from wgpeer import COOKIE, DATA, INITIATION, RESPONSE, Peer  # noqa: E402

OURS = sys.argv[1:2] != ['c']
LARGE = 900

# data: of the UDP payload. text: what comes out of the tunnel for it. reason: why nothing does. counted: it is one of
# the interface's received packets nevertheless.
Message = namedtuple('Message', 'data text reason counted', defaults=(None, None, False))


class Held:
    """With it, what a device is to send waits, and then leaves at once."""

    def __init__(self, ns, device):
        self.ns, self.device = ns, device
        # To a device that could do this, a veth gives packets of sockets past what merges them.
        ethtool(ns, device, 'tso', 'off')
        ns.run('tc', 'qdisc', 'add', 'dev', device, 'root', 'plug', 'limit', str(16 << 20), must=True)
        self.change('release_indefinite')

    def change(self, what):
        self.ns.run('tc', 'qdisc', 'change', 'dev', self.device, 'root', 'plug', what, must=True)

    def __enter__(self):
        self.change('block')

    def __exit__(self, *_):
        self.change('release_indefinite')


def ethtool(ns, device, *args):
    ns.run('ethtool', '-K', device, *args, must=True)


def mib(ns, protocol, name):
    """A number of /proc/net/snmp, and its like of IPv6."""
    six = {'Udp': 'Udp6', 'Ip': 'Ip6'}[protocol] + ('Out' if name == 'ForwDatagrams' else '') + name
    with ns:
        with open('/proc/thread-self/net/snmp') as f:
            rows = [line.split() for line in f if line.startswith(protocol + ':')]
        with open('/proc/thread-self/net/snmp6') as f:
            more = sum(int(line.split()[1]) for line in f if line.split()[0] == six)
    return int(rows[1][rows[0].index(name)]) + more


def received(ns, device):
    """What a device has received: bytes, packets, errors."""
    with ns, open('/proc/thread-self/net/dev') as f:
        row = next(line.partition(':')[2].split() for line in f if line.strip().startswith(device + ':'))
    return [int(number) for number in row[:3]]


def packets_of(ns, device):
    return received(ns, device)[1]


def merged(name, packets, messages):
    """Whether a burst came as fewer packets: at ours it must, or the test shows nothing. (Rarely another CPU still polls
    the device meanwhile, and has the burst in parts.)"""
    good = packets <= messages // 2 if OURS else packets == messages
    report(good, f'{name}: {"merged" if OURS else "not merged"} on the way', f'{messages} came as {packets} packets')


# ----------------------------------------------------------------- tunnel

class End(Pair):
    """The driver's end, whose device merges what it receives, and a peer that sends bursts."""

    def __init__(self, lab, outer=4, hold=True, **how):
        super().__init__(lab, outer, **how)
        self.held = Held(self.p, 'outer') if hold else nullcontext()
        if hold:
            ethtool(self.a, 'outer', 'gro', 'on')
        for version in 4, 6:
            self.socket(version).setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.numbers = 0
        self.allow(self.peer, '192.168.5.2', 'fd05::2')

    def allow(self, peer, *addresses):
        peer.inner = dict(zip((4, 6), addresses))
        report(peer.initiate(), f'a handshake with {addresses[0]}')

    def fresh(self):
        """A session lives three minutes, which a busy machine may take for a few bursts."""
        report(self.peer.initiate(), 'a handshake before the next burst')

    def packet(self, length, version=4, peer=None):
        """A packet into the tunnel as large as makes a message of `length` bytes; what it brings."""
        self.numbers += 1
        text = (b'%06d ' % self.numbers * (length // 7 + 1))[:length - 32 - {4: 28, 6: 48}[version]]
        return udp((peer or self.peer).inner[version], self.inner[version][0], 7, 5000, text), text

    def message(self, length=96, version=4, peer=None, **how):
        """One that is delivered. Lengths need not be multiples of 16: with padding or without, it is sound."""
        packet, text = self.packet(length, version, peer)
        return Message((peer or self.peer).message(packet, pad=False, **how), text, counted=True)

    def forged(self, length=96):
        good = self.message(length)
        return Message(good.data[:-1] + bytes([good.data[-1] ^ 1]), reason='rx-auth')

    def counts(self):
        found = Counter(dict(zip(('bytes', 'packets', 'errors'), received(self.home, 'wg0'))))
        if OURS:
            with self.home:
                found.update(observe.drops('wg0'))
        return found

    def transfer(self):
        return sum(int(line.split()[1]) for line in self.home.run('wg', 'show', 'wg0', 'transfer', must=True).stdout.splitlines())

    def burst(self, name, messages, merge=True, each=None, peers=(), ordered=True):
        """Sends them at once; what must become of each. `each` is how one is sent; `peers`, who have sent; what
        they send, and what comes from several ports, is in no order."""
        before, came, transfer = self.counts(), mib(self.a, 'Udp', 'InDatagrams'), self.transfer()
        with self.held:
            for message in messages:
                (each or (lambda m: self.peer.raw(m.data)))(message)
        want, heard = wanted(messages), []
        wait_for(lambda: self.counts() - before == want)
        if merge:
            merged(name, mib(self.a, 'Udp', 'InDatagrams') - came, len(messages))
        got = self.counts() - before
        transfer = self.transfer() - transfer
        report(got == want and transfer == want['bytes'], f'{name}: each is counted as what it is',
               f'{dict(got)}, should be {dict(want)}; {transfer} bytes from peers')
        for peer in peers or (self.peer,):
            # Sent alone, behind them.
            packet, text = self.packet(200, peer=peer)
            peer.send(packet)
            heard += self.hear_until(text)
        texts = [m.text for m in messages if m.text is not None]
        if peers or not ordered:
            heard, texts = sorted(heard), sorted(texts)
        report(heard == texts, f'{name}: each arrives once, in order, as it was sent',
               f'{len(heard)} of {len(texts)}, the first that differs: {next((p for p in zip(heard, texts) if p[0] != p[1]), None)}')

    def hear_until(self, end):
        """What comes out of the tunnel before that."""
        found, sockets = [], [self.socket(6), self.socket(4)]
        while ready := select.select(sockets, [], [], 20)[0]:
            # What came for IPv6 came before, for the end is of IPv4.
            text = ready[0].recv(65536)
            if text == end:
                return found
            found.append(text)
        return found + [b'and nothing more']


def wanted(messages):
    """How counters are to change."""
    want = Counter()
    for message in messages:
        if message.counted:
            want.update(packets=1, bytes=len(message.data))
        elif OURS:
            want[message.reason] += 1
        want['errors'] += message.reason == 'rx-inner-type'
    return want


def bad_messages(reason, *data):
    return [Message(d, reason=reason) for d in data]


def alike(lab, outer):
    """Messages of one size."""
    end = End(lab, outer)
    end.burst('64 messages', [end.message() for _ in range(64)])
    end.fresh()
    end.burst('64 with IPv6 inside', [end.message(version=6) for _ in range(64)])
    end.fresh()
    end.burst('128 in a row', [end.message(80) for _ in range(128)])
    end.fresh()
    end.burst('40 large ones', [end.message(LARGE) for _ in range(40)])
    end.fresh()
    end.burst('40 empty ones', [Message(end.peer.message(b''), counted=True) for _ in range(40)])
    end.fresh()
    end.burst('the last shorter', [end.message() for _ in range(40)] + [end.message(80)])
    end.fresh()
    end.burst('the last longer', [end.message() for _ in range(40)] + [end.message(97)])
    end.fresh()
    end.burst('no bytes at the end', [end.message() for _ in range(40)] + bad_messages('rx-type', b''))
    end.fresh()
    end.burst('no bytes among them', [end.message() for _ in range(20)] + bad_messages('rx-type', b'') + [end.message() for _ in range(20)])
    ethtool(end.a, 'outer', 'rx-gro-list', 'on')
    end.fresh()
    end.burst('a device that makes lists for others', [end.message() for _ in range(40)])
    ethtool(end.a, 'outer', 'rx-gro-list', 'off', 'rx-udp-gro-forwarding', 'on')
    end.fresh()
    end.burst('a device that merges for others', [end.message() for _ in range(40)], merge=OURS)


def segmented(lab, outer):
    """Bursts that are the sender's own, whose messages share pages."""
    end = End(lab, outer)
    sender = end.peer.sockets[outer == 6]
    for offload in 'off', 'on':
        ethtool(end.p, 'outer', 'tx-udp-segmentation', offload)
        messages = [end.message() for _ in range(40)] + [end.message(70)]

        def each(message, messages=messages):
            if message is messages[0]:
                sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(message.data))
                sender.sendto(b''.join(m.data for m in messages), end.peer.address)
                sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        # What a sender on this machine made one, the UDP layer takes apart.
        end.burst(f'sent as one, cut by the device: {offload == "off"}', messages, merge=offload == 'off', each=each)


def watched(lab, outer):
    """Somebody watches, and gets to see what came, not what becomes of it."""
    end = End(lab, outer)
    head = 14 + {4: 28, 6: 48}[outer]
    for length in 96, LARGE:
        capture = lab.keep_capture(end.a, 'outer')
        messages = [end.message(length) for _ in range(40)]
        end.burst(f'{length} bytes, watched', messages)
        seen = [frame[head:] for frame, out in capture.frames() if not out and frame[head - 6:head - 4] == struct.pack('!H', end.port)]
        # The last came alone.
        report(b''.join(seen[:-1]) == b''.join(m.data for m in messages), f'{length} bytes, watched: the watcher sees what was sent',
               f'{len(seen)} packets')
        if OURS:
            report(1 < len(seen) <= len(messages) // 2, f'{length} bytes, watched: as it was merged', f'{len(seen)} packets')


def bad(lab, outer):
    """Messages among them that are none, or not as the others."""
    end = End(lab, outer)
    peer = end.peer

    def among(name, others, length=96):
        """The others in the middle of sound ones, and after each another sound one."""
        burst = [end.message(length) for _ in range(12)]
        for other in others:
            burst += [other, end.message(length)]
        end.burst(name, burst + [end.message(length) for _ in range(12)])

    among('one is forged', [end.forged()])
    among('forged ones', [end.forged() for _ in range(5)])
    end.burst('all are forged', [end.forged() for _ in range(40)])
    among('no type of message', bad_messages('rx-type', *(bytes([kind]) + bytes(95) for kind in (0, 5, 1, 2, 3, 255))))
    among('indices of nobody', bad_messages('rx-index', *(struct.pack('<IIQ', DATA, n, 0) + bytes(80) for n in (0, 1, 2**32 - 1))))
    among('no packet inside', bad_messages('rx-inner-type', *(peer.message(bytes(64)) for _ in range(3))))
    early = [end.message() for _ in range(3)]
    end.burst('three', early, merge=False)
    among('replays', bad_messages('rx-replay', *(m.data for m in early)))
    twin = end.message()
    among('twins', [twin, *bad_messages('rx-replay', twin.data)])
    among('handshakes without a MAC', bad_messages('handshake-mac', struct.pack('<I', INITIATION) + bytes(144)), 148)
    among('handshakes of nobody', bad_messages(
        'handshake-invalid', *(peer.macs(struct.pack('<II', INITIATION, n) + bytes(108)) for n in range(3))), 148)
    among('answers to nothing', bad_messages('handshake-invalid', peer.macs(struct.pack('<III', RESPONSE, 5, 6) + bytes(48))), 92)
    among('cookies for nothing', bad_messages('cookie-invalid', struct.pack('<II', COOKIE, 77) + bytes(56)), 64)
    start, peer.counter = peer.counter, peer.counter + 200
    end.burst('gaps between the counters', [end.message(counter=start + n) for n in (
        0, 1, 2, 5, 6, 9, 30, 31, 33, 35, 37, 40, 41, 42, 43, 44)], merge=True)
    end.burst('counters backwards', [end.message(counter=start + n) for n in range(180, 140, -1)])


def two(lab, outer):
    """Two peers at one address and port, who are one flow."""
    end = End(lab, outer)
    one, other = end.peer, Peer(end.p, 'another', port=51901)
    other.close()
    other.sockets, other.address = one.sockets, one.address
    end.wg('peer', b64encode(other.public).decode(), 'allowed-ips', '192.168.5.3/32,fd05::3/128', must=True)
    end.allow(other, '192.168.5.3', 'fd05::3')
    both = one, other
    end.burst('two peers in turn', [end.message(peer=both[i % 2]) for i in range(64)], peers=both)
    end.burst('two peers, five each', [end.message(peer=both[i // 5 % 2]) for i in range(60)], peers=both)
    session, counter = one.session, one.counter
    report(one.initiate(), 'another handshake')
    burst = []
    for i in range(20):
        burst += [end.message(session=session, counter=counter + i), end.message()]
    end.burst('two sessions of a peer', burst)


def roaming(lab, outer):
    """The peer's address is where the last sound message came from."""
    end = End(lab, outer)
    peer, host = end.peer, end.outer[outer][1]
    another, prefix = {4: ('10.1.0.3', '24'), 6: ('fd01::3', '64')}[outer]
    end.p.ip('addr', 'add', f'{another}/{prefix}', 'dev', 'outer', *(['nodad'] if outer == 6 else []))

    def follows(name, messages, where, port, **how):
        want = f'[{where}]:{port}' if outer == 6 else f'{where}:{port}'
        end.burst(name, messages, **how)
        report(end.show('endpoints') == want, f'{name}: the endpoint', f'{end.show("endpoints")}, should be {want}')

    # Routing would choose the newer one.
    peer.local = host
    follows('from the first port', [end.message() for _ in range(30)], host, 51900)
    stranger = lab.keep(Peer(end.p, 'stranger', port=51905))
    follows('forged ones from elsewhere', [end.message() for _ in range(20)] + [end.forged() for _ in range(20)], host, 51900,
            each=lambda m: (stranger if m.reason else peer).raw(m.data, to=peer.address))
    messages = [end.message() for _ in range(40)]
    later = {id(m) for m in messages[20:]}
    end.burst('the second half from elsewhere', messages, ordered=False,
              each=lambda m: (stranger if id(m) in later else peer).raw(m.data, to=peer.address))
    peer.bind(51902)
    follows('from another port', [end.message() for _ in range(30)], host, 51902)
    peer.local = another
    follows('from another address', [end.message() for _ in range(30)], another, 51902)


# ------------------------------------------------------- to somebody else

PORT = Pair.port


def interface(ns, name='wg0', port=PORT):
    """An interface that has nothing to do with what passes, but for the port."""
    ns.ip('link', 'add', name, 'type', 'wireguard')
    ns.run('wg', 'set', name, 'listen-port', str(port), 'private-key', '/dev/stdin', stdin=command('wg', 'genkey', must=True).stdout, must=True)
    ns.ip('link', 'set', name, 'up')


def passes(lab, name, held, sender, to, receiver, at, port=PORT):
    """Bursts of plain datagrams to the same port somewhere else."""
    v6 = ':' in to
    source, sink = lab.udp(sender, '::' if v6 else '0.0.0.0', 0), lab.udp(receiver, at, port)
    sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    sink.settimeout(20)
    bursts = {'': [96] * 64, ', some larger': [LARGE] * 20 + [200] * 20 + [300] * 20 + [5]}
    for what, sizes in bursts.items():
        # Like data, should somebody think it is.
        sent = [(struct.pack('<IIQ', DATA, 1, n) + bytes([n]) * size)[:size] for n, size in enumerate(sizes)]
        got = []
        with held:
            for data in sent:
                source.sendto(data, (to, port))
        try:
            while len(got) < len(sent):
                got.append(sink.recv(65536))
            source.sendto(b'last', (to, port))
            while got[-1] != b'last':
                got.append(sink.recv(65536))
        except TimeoutError:
            pass
        report(got == [*sent, b'last'], f'{name}{what}: arrives as it was sent', f'{len(got)} of {len(sent) + 1}, sizes {Counter(map(len, got))}')
    source.close()
    sink.close()
    # The last of each came alone.
    return sum(len(sizes) + 1 for sizes in bursts.values())


OFFLOADS = (('a device that can segment', 'tx-udp-segmentation', 'on'), ('one that cannot', 'tx-udp-segmentation', 'off'),
            ('nor make checksums', 'tx-checksum-ip-generic', 'off'), ('nor send pieces', 'sg', 'off'))


def routed(lab):
    """Two ends, and between them a router that has an interface with the same port."""
    s, r, d = lab.ns('s'), lab.ns('r'), lab.ns('d')
    lab.cable(s, r)
    lab.cable(r, d, 'far', '10.2.0', 'fd02:')
    for ns, *via in (s, '10.1.0.2', 'fd01::2'), (d, '10.2.0.1', 'fd02::1'):
        for router in via:
            ns.ip('route', 'add', 'default', 'via', router)
    r.sysctl('ipv4/ip_forward', 1)
    r.sysctl('ipv6/conf/all/forwarding', 1)
    interface(r)
    ethtool(r, 'outer', 'gro', 'on')
    return s, r, d, Held(s, 'outer')


def forwarded(lab, outer):
    """Through a router that has an interface with the same port."""
    s, r, d, held = routed(lab)
    to, own = {4: ('10.2.0.2', '10.1.0.2'), 6: ('fd02::2', 'fd01::2')}[outer]
    for name, *offload in OFFLOADS:
        ethtool(r, 'far', *offload)
        before = mib(r, 'Ip', 'ForwDatagrams')
        sent = passes(lab, f'forwarded to {name}', held, s, to, d, to)
        merged(f'forwarded to {name}', mib(r, 'Ip', 'ForwDatagrams') - before, sent)
    ethtool(r, 'far', 'sg', 'on', 'tx-checksum-ip-generic', 'on', 'tx-udp-segmentation', 'on')
    family = {4: 'ip', 6: 'ip6'}[outer]
    r.run('nft', f'add table {family} t; add chain {family} t c {{ type nat hook prerouting priority dstnat; }}; '
          f'add rule {family} t c {family} daddr {own} udp dport {PORT} dnat to {to}', must=True)
    for name, *offload in OFFLOADS[:2]:
        ethtool(r, 'far', *offload)
        before, arrived = mib(r, 'Ip', 'ForwDatagrams'), packets_of(d, 'far')
        sent = passes(lab, f'another destination, {name}', held, s, own, d, to)
        merged(f'another destination, {name}', mib(r, 'Ip', 'ForwDatagrams') - before, sent)
        # It was marked as what is for this host: a mark that no device is to see.
        wait_for(lambda: packets_of(d, 'far') - arrived >= sent, 2)
        arrived = packets_of(d, 'far') - arrived
        report(arrived >= sent, f'another destination, {name}: leaves as single ones', f'{sent} left as {arrived}')


def bridged(lab, outer):
    """Through a bridge of a namespace that has an interface with the same port."""
    s, r, d = lab.ns('s'), lab.ns('r'), lab.ns('d')
    for ns in s, d:
        lab.cable(r, ns, f'to-{ns.name}', f'10.{ord(ns.name)}.0', f'fd{ord(ns.name):02x}:')
    r.ip('link', 'add', 'bridge0', 'type', 'bridge')
    r.ip('link', 'set', 'bridge0', 'up')
    for ns, host in (s, 1), (d, 2):
        r.ip('link', 'set', f'to-{ns.name}', 'master', 'bridge0')
        ns.ip('addr', 'add', f'10.5.0.{host}/24', 'dev', f'to-{ns.name}')
        ns.ip('addr', 'add', f'fd55::{host}/64', 'dev', f'to-{ns.name}', 'nodad')
    interface(r)
    ethtool(r, 'to-s', 'gro', 'on')
    held = Held(s, 'to-s')
    to = {4: '10.5.0.2', 6: 'fd55::2'}[outer]
    for name, *offload in OFFLOADS[::3]:
        ethtool(r, 'to-d', *offload)
        passes(lab, f'bridged to {name}', held, s, to, d, to)


# --------------------------------------------------------- inside others

# By name: what the outside is, what kinds of packets the test has inside, and what `ip link` wants.
TUNNELS = {
    'vxlan': (4, (4, 6), 'vxlan', 'id', '7', 'dstport', '4789'),
    'vxlan with checksums': (4, (6,), 'vxlan', 'id', '7', 'dstport', '4789', 'udpcsum'),
    'vxlan over IPv6': (6, (6,), 'vxlan', 'id', '7', 'dstport', '4789', 'udp6zerocsumtx', 'udp6zerocsumrx'),
    'vxlan over IPv6 with checksums': (6, (4,), 'vxlan', 'id', '7', 'dstport', '4789'),
    'geneve': (4, (6,), 'geneve', 'id', '7'),
    'gre': (4, (4,), 'gre'),
    'gretap': (4, (6,), 'gretap'),
    'gre over IPv6': (6, (4,), 'ip6gre', 'encaplimit', 'none'),
    'ipip': (4, (4,), 'ipip'),
    'sit': (4, (6,), 'sit'),
    'ip6tnl': (6, (4, 6), 'ip6tnl', 'mode', 'any', 'encaplimit', 'none'),
}


def tunnel(kind, more, *ends):
    """One with these ends: the namespace, its own address, the other's. Whether this kernel has it."""
    number, rest = (more[:2], more[2:]) if 'id' in more else ((), more)
    for ns, own, other in ends:
        done = ns.ip('link', 'add', 'tun', 'type', kind, *number, 'remote', other, *(() if kind == 'geneve' else ('local', own)), *rest, must=False)
        if done.returncode:
            return False
    return True


def inner_addresses(inner, *ends):
    """Their devices are at the ends of a tunnel; the first one sends."""
    for n, ns in enumerate(ends, 1):
        ns.ip('addr', 'add', *((f'172.16.0.{n}/24',) if inner == 4 else (f'fd16::{n}/64', 'nodad')), 'dev', 'tun')
        ns.ip('link', 'set', 'tun', 'up')
    # Else the sender's tunnel leaves a mark in the packet, by which the receiver leaves it alone.
    ethtool(ends[0], 'tun', 'tx', 'off')


def inside(lab, inner):
    """In another tunnel, whose outside is in a namespace that has an interface with the same port."""
    end = End(lab)
    under = lab.ns('under')
    lab.cable(under, end.p, 'lower', '10.3.0', 'fd03:')
    held = end.held = Held(end.p, 'lower')
    ethtool(under, 'lower', 'gro', 'on')
    interface(under)
    interface(under, 'wg1', 51999)
    at = {4: '172.16.0.2', 6: 'fd16::2'}[inner]
    end.peer.address = at, PORT
    for name, (version, inners, kind, *more) in TUNNELS.items():
        if inner not in inners:
            continue
        here, far = {4: ('10.3.0.1', '10.3.0.2'), 6: ('fd03::1', 'fd03::2')}[version]
        if tunnel(kind, more, (under, here, far), (end.p, far, here)):
            under.ip('link', 'set', 'tun', 'netns', end.a.name)
            inner_addresses(inner, end.p, end.a)
            before = packets_of(end.a, 'tun')
            sent = passes(lab, f'in {name}', held, end.p, at, end.a, at, 51999)
            merged(f'in {name}', packets_of(end.a, 'tun') - before, sent)
            report(end.peer.initiate(), f'in {name}, a handshake')
            end.burst(f'in {name}, messages', [end.message() for _ in range(50)], merge=False)
        else:
            print(f'# no {name} in this kernel', flush=True)
        for ns in end.a, end.p, under:
            ns.ip('link', 'del', 'tun', must=False)


def through(lab, inner):
    """In another tunnel, on the way through a router that has an interface with the same port."""
    s, r, d, held = routed(lab)
    # So that GRO looks into what is to its port.
    for name, own in ('look4', '10.2.0.1'), ('look6', 'fd02::1'):
        r.ip('link', 'add', name, 'type', 'vxlan', 'id', '9', 'dstport', '4789', 'local', own)
        r.ip('link', 'set', name, 'up')
    at = {4: '172.16.0.2', 6: 'fd16::2'}[inner]
    for name, (version, inners, kind, *more) in TUNNELS.items():
        if inner not in inners or kind == 'geneve':
            continue
        here, far = {4: ('10.1.0.1', '10.2.0.2'), 6: ('fd01::1', 'fd02::2')}[version]
        if tunnel(kind, more, (s, here, far), (d, far, here)):
            inner_addresses(inner, s, d)
            for how, *offload in OFFLOADS[:3]:
                ethtool(r, 'far', *offload)
                before = mib(r, 'Ip', 'ForwDatagrams')
                sent = passes(lab, f'in {name}, forwarded to {how}', held, s, at, d, at)
                merged(f'in {name}, forwarded to {how}', mib(r, 'Ip', 'ForwDatagrams') - before, sent)
            ethtool(r, 'far', 'tx-checksum-ip-generic', 'on', 'tx-udp-segmentation', 'on')
        for ns in s, d:
            ns.ip('link', 'del', 'tun', must=False)


def lacking():
    """What this kernel lacks for the test."""
    lab = Lab()
    try:
        ns = lab.ns('without')
        if ns.run('tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'plug').returncode:
            return 'sch_plug'
        if ns.run('ip', 'link', 'add', 'vx', 'type', 'vxlan', 'id', '1', 'dstport', '4789').returncode:
            return 'vxlan'
        return None
    finally:
        lab.close()


def run(parts, words):
    """Those of the parts that words name, or all, each with both versions of IP."""
    for part in parts:
        if words and part.__name__ not in words:
            continue
        for version in 4, 6:
            print(f'# IPv{version}: {part.__doc__}', flush=True)
            lab = Lab()
            try:
                part(lab, version)
            except Exception as e:
                report(False, part.__name__, repr(e))
            lab.close()
    return bool(FAILED)


def main():
    if without := lacking():
        print(f'skip - messages that arrive together (this kernel has no {without})')
        return 0
    return run((alike, segmented, watched, bad, two, roaming, forwarded, bridged, inside, through), sys.argv[2:])


if __name__ == '__main__':
    sys.exit(main())
