# SPDX-License-Identifier: GPL-2.0
"""Outer headers, congestion marks, sizes on the wire, fragments, bursts."""

import socket
import struct

from lab import UDP_SEGMENT, attempt, dissect, row, udp
from wgpeer import DATA, INITIATION

NOT_ECT, ECT1, ECT0, CE = range(4)
ECN = {NOT_ECT: 'not ECT', ECT1: 'ECT(1)', ECT0: 'ECT(0)', CE: 'CE'}


def session(pair):
    assert pair.peer.initiate(), 'no answer to a handshake'
    pair.peer.send(b'')
    assert pair.barrier(), 'the tunnel does not work'


def egress(lab, outer):
    pair = lab.pair(outer=outer)
    session(pair)
    for version in 4, 6:
        for dscp in 0x00, 0xb8:
            for ecn in ECN:
                port = 5100 + (dscp | ecn)
                pair.say(b'x', version, port=port, tos=dscp | ecn)
                got = pair.peer.messages(1)
                lab.see(f'inner IPv{version} DSCP {dscp >> 2:#04x} {ECN[ecn]}: outer', [m.tos for m in got],
                        [ECT0 if ecn == CE else ecn])
    pair.peer.send(b'')
    pair.set_peer('persistent-keepalive', '1')
    got = pair.peer.messages(1, keepalives=True)
    lab.see('an empty message', [[m.tos, m.length] for m in got], [[0, 32]])


@row('the DSCP stays inside, the congestion mark is copied out (outer IPv4)')
def egress4(lab):
    egress(lab, 4)


@row('the DSCP stays inside, the congestion mark is copied out (outer IPv6)')
def egress6(lab):
    egress(lab, 6)


def ingress(lab, outer):
    pair = lab.pair(outer=outer)
    session(pair)
    for version in 4, 6:
        for inside in ECN:
            for outside in ECN:
                want = inside
                if outside == CE and inside != NOT_ECT:
                    want = CE
                elif outside == ECT1 and inside == ECT0:
                    want = ECT1
                pair.reply(b'x', version, tos=0xb8 | inside, how={'tos': 0x20 | outside})
                got = pair.hear(version)
                lab.see(f'inner IPv{version} {ECN[inside]}, outer {ECN[outside]}: delivered with', got and got[1],
                        0xb8 | want)
    stats = pair.stats()
    lab.see('errors', {k: v for k, v in stats.items() if v and ('error' in k or 'drop' in k)}, {})


@row('congestion marks of the outer packet reach the inner one (outer IPv4)')
def ingress4(lab):
    ingress(lab, 4)


@row('congestion marks of the outer packet reach the inner one (outer IPv6)')
def ingress6(lab):
    ingress(lab, 6)


@row('outer headers of each kind of message')
def headers(lab):
    for version in 4, 6:
        lab.see('outer', version)
        if version == 4:
            pair = lab.pair()
        else:
            pair.peer.address = ('fd01::1', 51820)
            pair.set_peer('endpoint', '[fd01::2]:51900')
            pair.a.ip('link', 'set', 'wg0', 'down')
            pair.a.ip('link', 'set', 'wg0', 'up')
        capture = lab.keep_capture(pair.a, 'outer')

        def show(what, want_tos):
            for p in capture.sent():
                lab.see(what, p._asdict() | {'tos': p.tos})
                lab.see(what + ': DS field', p.tos, want_tos)
        lab.see('handshake', pair.peer.initiate(), True)
        show('response', 0x88)
        pair.peer.send(b'')
        pair.barrier()
        pair.say()
        pair.peer.messages(1)
        show('data', 0)
        pair.a.sysctl('ipv4/ip_default_ttl', 99)
        pair.a.sysctl('ipv6/conf/outer/hop_limit', 77)
        # Its own handshake, with other limits on the way.
        pair.a.ip('link', 'set', 'wg0', 'down')
        pair.a.ip('link', 'set', 'wg0', 'up')
        pair.say()
        lab.see('begins a handshake', len(pair.peer.messages(1)), 1)
        for p in capture.sent():
            name = {INITIATION: 'initiation', DATA: 'data after it'}[p.kind]
            lab.see(name, p._asdict())
            lab.see(name + ': DS field, TTL', [p.tos, p.ttl], [0x88 if p.kind == INITIATION else 0, 99 if version == 4 else 77])
        capture.close()


SIZES = (28, 29, 31, 32, 33, 47, 48, 49, 64, 100, 250, 511, 576, 999, 1279, 1280, 1281, 1390, 1391, 1392, 1403, 1404, 1405,
         1407, 1408, 1409, 1417, 1418, 1419, 1420)


def wire(pair, size, version=4):
    """Sends an inner packet of that size; the payload of the UDP datagrams outside."""
    pair.say(bytes(size - (28 if version == 4 else 48)), version)
    got = pair.peer.messages(1)
    return [m.length for m in got], [len(m.inner) for m in got], [m.inner for m in got]


@row('padding to 16 bytes, but never beyond the MTU')
def padding(lab):
    pair = lab.pair()
    session(pair)
    for mtu in 1420, 1419, 1392, 1391, 1281, 1000, 577, 100:
        pair.a.ip('link', 'set', 'wg0', 'mtu', str(mtu))
        for size in sorted({s for s in SIZES + (mtu - 1, mtu) if s <= mtu} if mtu in (1420, 1391) else
                           {mtu - 17, mtu - 15, mtu - 1, mtu}):
            length, inner, packets = wire(pair, size)
            want = min(mtu, (size + 15) // 16 * 16)
            lab.see(f'MTU {mtu}, inner {size}: UDP payload', length, [want + 32])
            if any(p[size:].strip(b'\0') for p in packets):
                lab.see('padding', 'not all zero', 'zero')
    pair.a.ip('link', 'set', 'wg0', 'mtu', '1420')
    pair.a.ip('addr', 'replace', 'fd05::1/64', 'dev', 'wg0', 'nodad')
    for size in 49, 64, 65, 1279, 1400, 1419, 1420:
        lab.see(f'IPv6, inner {size}: UDP payload', wire(pair, size, 6)[0], [min(1420, (size + 15) // 16 * 16) + 32])


@row('padding and fragments inside by the MTU of the route')
def route_mtu(lab):
    pair = lab.pair()
    session(pair)
    pair.a.ip('route', 'replace', '192.168.5.2/32', 'dev', 'wg0', 'mtu', '1001')
    for size in 900, 990, 1000, 1001:
        lab.see(f'inner {size}: UDP payload', wire(pair, size)[0], [min(1001, (size + 15) // 16 * 16) + 32])
    pair.say(bytes(3000))
    got = pair.peer.messages(4, 2)
    lab.see('inner fragments of 3028 bytes', [m.length for m in got])
    lab.see('of a size', max(m.length for m in got) <= 1001 + 32, True)
    pair.a.ip('route', 'replace', '192.168.5.2/32', 'dev', 'wg0')
    pair.say(bytes(3000))
    lab.see('with the MTU of the device', [m.length for m in pair.peer.messages(3, 2)])


@row('senders are told the MTU')
def told(lab):
    pair = lab.pair()
    session(pair)
    c = lab.ns('c')
    lab.cable(c, pair.a, 'lan', '172.16.0', 'fd16:')
    pair.a.sysctl('ipv4/ip_forward', 1)
    pair.a.sysctl('ipv6/conf/all/forwarding', 1)
    c.ip('route', 'add', '192.168.5.0/24', 'via', '172.16.0.2')
    c.ip('route', 'add', 'fd05::/64', 'via', 'fd16::2')
    for version, level, mtu_option, src in ((4, socket.IPPROTO_IP, 14, '172.16.0.1'), (6, socket.IPPROTO_IPV6, 24, 'fd16::1')):
        to = (pair.inner[version][1], 7)
        own = pair.socket(version, 5200, df=True)
        own.connect(to)
        lab.see(f'IPv{version}: 1421 bytes of its own', attempt(own.send, bytes(1421 - (28 if version == 4 else 48))), 'EMSGSIZE')
        lab.see(f'IPv{version}: 1420 bytes of its own', attempt(own.send, bytes(1420 - (28 if version == 4 else 48))), 'ok')
        lab.see('arrives', [m.length for m in pair.peer.messages(1)], [1452])
        lab.see('MTU it is told', own.getsockopt(level, mtu_option), 1420)
        # Forwarded.
        far = lab.udp(c, src, 5201, df=True, errors=True)
        far.connect(to)
        lab.see(f'IPv{version}: 1500 bytes forwarded', attempt(far.send, bytes(1500 - (28 if version == 4 else 48))), 'ok')
        lab.see('arrives', [m.length for m in pair.peer.messages(1, 0.5)], [])
        lab.see('MTU it is told', far.getsockopt(level, mtu_option), 1420)


def fragments(lab, outer):
    pair = lab.pair(outer=outer, cable_mtu=1280)
    session(pair)
    capture = lab.keep_capture(pair.a, 'outer')
    for size in 1180, 1184, 1200, 1420:
        lab.see(f'inner {size} over a link of 1280: UDP payload', wire(pair, size)[0], [min(1420, (size + 15) // 16 * 16) + 32])
        lab.see('outer packets', [[p.length, p.fragment, p.offset, p.df] for p in capture.packets(False)
                                  if p.out and (p.proto == 17)])


@row('outer fragments where the link is too small (IPv4)')
def fragments4(lab):
    fragments(lab, 4)


@row('outer fragments where the link is too small (IPv6)')
def fragments6(lab):
    fragments(lab, 6)


@row('a smaller MTU on the way')
def path_mtu(lab):
    pair = lab.pair(endpoint='10.3.0.2:51900')
    a, p = pair.a, pair.p
    q = lab.ns('q')
    lab.cable(p, q, 'narrow', '10.3.0', 'fd03:', mtu=1300)
    p.sysctl('ipv4/ip_forward', 1)
    p.sysctl('ipv6/conf/all/forwarding', 1)
    a.ip('route', 'add', '10.3.0.0/24', 'via', '10.1.0.2')
    a.ip('route', 'add', 'fd03::/64', 'via', 'fd01::2')
    q.ip('route', 'add', '10.1.0.0/24', 'via', '10.3.0.1')
    q.ip('route', 'add', 'fd01::/64', 'via', 'fd03::1')
    pair.peer.ns = q
    pair.peer.bind(51900)
    session(pair)
    capture = lab.keep_capture(a, 'outer')
    for version in 4, 6:
        if version == 6:
            pair.set_peer('endpoint', '[fd03::2]:51900')
            pair.peer.address = ('fd01::1', 51820)
        for n in range(3):
            pair.say(bytes(1392))
            # The first over IPv6 is only reported as too big.
            lost = version == 6 and n == 0
            got = [m.length for m in pair.peer.messages(1, 3 if lost else 20)]
            lab.see(f'IPv{version}, packet {n}: arrives', got, [] if lost else [1452])
            lab.see('outer packets', [[x.length, x.fragment, x.df] for x in capture.packets() if x.out])


@row('a burst in one buffer is cut up')
def burst(lab):
    pair = lab.pair()
    session(pair)
    for version in 4, 6:
        head = 28 if version == 4 else 48
        s = pair.socket(version, 5300)
        s.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 700)
        s.sendto(bytes(700 * 5 + 99), (pair.inner[version][1], 7))
        got = pair.peer.messages(6, 2)
        lab.see(f'IPv{version}: UDP payloads', [m.length for m in got],
                [(n + head + 15) // 16 * 16 + 32 for n in [700] * 5 + [99]])
        lab.see('counters one after the other', {b.counter - a.counter for a, b in zip(got, got[1:])} == {1}, True)
        lab.see('each of its own', [m.inner[:head + 1] and struct.unpack('!H', m.inner[head - 4:head - 2])[0] for m in got],
                [708] * 5 + [107])
        lab.see('congestion marks', [m.tos for m in got], [0] * 6)
    # With segmentation switched off the stack cuts it up before.
    pair.a.run('ethtool', '-K', 'wg0', 'tx-udp-segmentation', 'off', 'tx', 'off')
    s.sendto(bytes(700 * 2 + 99), (pair.inner[6][1], 7))
    lab.see('without offload', [m.length for m in pair.peer.messages(3, 2)], [784, 784, 192])


# Accepts a packet with as many bytes as its flow hash says, plus 64: so one sees the hash.
HASH = [(0x20, 0xfffff000 + 32), (0x54, 0x3ff), (0x04, 64), (0x16, 0)]


@row('the flow hash is that of the inner flow, the outer ports are fixed')
def flow(lab):
    pair = lab.pair()
    session(pair)
    outer, hashes = lab.keep_capture(pair.a, 'outer'), lab.keep_capture(pair.a, 'outer', HASH)
    for port in range(5400, 5408):
        for _ in range(2):
            pair.say(bytes(1392), port=port)
            pair.peer.messages(1)
    found = [len(data) for data, out in hashes.frames() if out and (dissect(data, out) or [None])[-1] == DATA]
    lab.see('packets', len(found), 16)
    lab.see('one flow has one hash', all(a == b for a, b in zip(found[::2], found[1::2])), True)
    lab.see('eight flows have several', len(set(found)) > 3, True)
    lab.see('outer ports', sorted({(p.sport, p.dport) for p in outer.sent(DATA)}), [[51820, 51900]])


@row('checksums inside are vouched for by the tag')
def inner_checksum(lab):
    pair = lab.pair()
    session(pair)
    for version in 4, 6:
        pair.reply(b'wrong', version, bad_checksum=True)
        got = pair.hear(version)
        lab.see(f'IPv{version}: a datagram with a wrong checksum is delivered', got and got[0].decode(), 'wrong')
    # And outgoing ones are whole, though the stack left them to the device.
    for version in 4, 6:
        pair.say(b'sum', version)
        got = pair.peer.messages(1)[0].inner
        src, dst = pair.inner[version]
        head = 20 if version == 4 else 40
        sport = struct.unpack('!H', got[head:head + 2])[0]
        want = udp(src, dst, sport, 7, b'sum')[head:]
        lab.see(f'IPv{version}: an outgoing one has the right one', got[head:head + len(want)] == want, True)
