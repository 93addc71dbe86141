# SPDX-License-Identifier: GPL-2.0
"""What senders are told, and what is ignored."""

import errno
import select
import socket
import struct
import time

from lab import ETH_P_IP, ETH_P_IPV6, UDP_SEGMENT, attempt, row, udp
from wgpeer import Peer

MSG_ERRQUEUE = 0x2000


def errors(sock, wait=1.0):
    """The error queue of a socket: (errno, origin, type, code, who says so)."""
    found = []
    while True:
        end = time.monotonic() + wait
        while True:
            try:
                _, extra, _, _ = sock.recvmsg(2048, 512, MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    return found
                time.sleep(0.02)
        for level, kind, value in extra:
            if (level, kind) in ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)):
                number, origin, icmp, code = struct.unpack('=IBBB', value[:7])
                family = struct.unpack('=H', value[16:18])[0]
                who = socket.inet_ntop(family, value[20:24] if family == socket.AF_INET else value[24:40]) \
                    if family in (socket.AF_INET, socket.AF_INET6) else None
                found.append([errno.errorcode.get(number, number), {2: 'ICMP', 3: 'ICMPv6', 1: 'local'}.get(origin, origin),
                              icmp, code, who])
        wait = 0.2


@row('a destination that no peer has')
def nobody(lab):
    pair = lab.pair()
    before = pair.stats()
    for version, to, said in ((4, '192.168.5.9', ['EHOSTUNREACH', 'ICMP', 3, 1, '192.168.5.1']),
                              (6, 'fd05::9', ['EHOSTUNREACH', 'ICMPv6', 1, 3, 'fd05::1'])):
        s = pair.socket(version, 5500, errors=True)
        lab.see(f'IPv{version}: sendto', attempt(s.sendto, b'x', (to, 7)), 'ENOKEY')
        lab.see('and by ICMP', errors(s), [said])
        s = pair.socket(version, 5501)
        s.connect((to, 7))
        lab.see('connected: first', attempt(s.send, b'x'), 'ENOKEY')
        lab.see('then', [attempt(s.send, b'x') for _ in range(2)])
    lab.see('counters', {k: v for k, v in pair.change(before).items() if 'errors' in k or 'drop' in k})


@row('a peer without an endpoint')
def no_endpoint(lab):
    pair = lab.pair(endpoint=False)
    before = pair.stats()
    for version, said in ((4, ['EHOSTUNREACH', 'ICMP', 3, 1, '192.168.5.1']), (6, ['EHOSTUNREACH', 'ICMPv6', 1, 3, 'fd05::1'])):
        s = pair.socket(version, 5500, errors=True)
        lab.see(f'IPv{version}: sendto', attempt(s.sendto, b'x', (pair.inner[version][1], 7)), 'EDESTADDRREQ')
        lab.see('and by ICMP', errors(s), [said])
    lab.see('counters', pair.change(before), {'tx_errors': 2})
    lab.see('as a burst', burst(pair), 'EDESTADDRREQ')
    lab.see('counters', pair.change(before), {'tx_errors': 3})
    pair.set_peer('endpoint', pair.endpoint())
    lab.see('with an endpoint', pair.works(), 'works')


def burst(pair):
    s = pair.socket(4, 5510)
    s.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 700)
    return attempt(s.sendto, bytes(2100), (pair.inner[4][1], 7))


@row('no way to the endpoint')
def no_route(lab):
    pair = lab.pair(endpoint='10.77.0.1:51900')
    a, p = pair.a, pair.p
    p.ip('addr', 'add', '10.77.0.1/32', 'dev', 'lo')
    p.ip('addr', 'add', 'fd77::1/128', 'dev', 'lo')
    capture = lab.keep_capture(a, 'outer')
    s = pair.socket(4, 5500, errors=True)
    to = (pair.inner[4][1], 7)
    lab.see('no route: sendto', attempt(s.sendto, b'x', to), 'ok')
    lab.see('by ICMP', errors(s, 0.3), [])
    lab.see('counters', {k: v for k, v in pair.stats().items() if v and k.startswith('tx')}, {})
    lab.see('wg transfer', pair.show('transfer'), ['0', '0'])
    lab.see('outside', len(capture.sent()), 0)
    # The first attempt was lost; the next comes five seconds later by itself.
    a.ip('route', 'add', '10.77.0.1', 'via', '10.1.0.2')
    lab.see('a route comes: the packet arrives', len(pair.peer.messages(1, 15)), 1)
    for kind in 'unreachable', 'prohibit', 'blackhole':
        a.ip('route', 'del', '10.77.0.1')
        a.ip('route', 'add', kind, '10.77.0.1')
        before, sent = pair.stats(), pair.show('transfer')
        lab.see(f'{kind}, in a session: sendto', attempt(s.sendto, b'x', to), 'ok')
        lab.see('arrives', len(pair.peer.messages(1, 0.3)), 0)
        lab.see('by ICMP', errors(s, 0.2))
        lab.see('counters', pair.change(before))
        lab.see('wg transfer', [int(y) - int(x) for x, y in zip(sent, pair.show('transfer'))])
    a.ip('route', 'del', '10.77.0.1')
    a.ip('route', 'add', '10.77.0.1', 'via', '10.1.0.2')
    lab.see('a route again', [attempt(s.sendto, b'x', to), len(pair.peer.messages(1))], ['ok', 1])
    pair.set_peer('endpoint', '[fd77::1]:51900')
    lab.see('IPv6, no route: sendto', attempt(s.sendto, b'x', to), 'ok')
    lab.see('arrives', len(pair.peer.messages(1, 0.3)), 0)
    lab.see('wg transfer', pair.show('transfer'))
    a.ip('route', 'add', 'fd77::1', 'via', 'fd01::2')
    lab.see('a route comes', [attempt(s.sendto, b'x', to), len(pair.peer.messages(1))], ['ok', 1])
    a.ip('link', 'set', 'outer', 'down')
    lab.see('the link is down: sendto', attempt(s.sendto, b'x', to), 'ok')
    lab.see('arrives', len(pair.peer.messages(1, 0.3)), 0)


@row('what is not an IP packet')
def not_ip(lab):
    pair = lab.pair()
    pair.works()
    with pair.a:
        cooked = lab.keep(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
        raw = lab.keep(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    one = {v: udp(*pair.inner[v], 1, 7, b'x') for v in (4, 6)}
    before, wrong = pair.stats(), 0
    for name, proto, packet, want in (
            ('IPv4', ETH_P_IP, one[4], 'ok'),
            ('IPv6', ETH_P_IPV6, one[6], 'ok'),
            ('IPv4 that says it is IPv6', ETH_P_IPV6, one[4], 'EPROTONOSUPPORT'),
            ('IPv6 that says it is IPv4', ETH_P_IP, one[6], 'EPROTONOSUPPORT'),
            ('ARP', 0x806, bytes(28), 'EPROTONOSUPPORT'),
            ('an experimental protocol', 0x88b5, one[4], 'EPROTONOSUPPORT'),
            ('VLAN', 0x8100, b'\0\5\x08\0' + one[4], 'EPROTONOSUPPORT'),
            ('MPLS', 0x8847, one[4], 'EPROTONOSUPPORT'),
            ('IP version 0', ETH_P_IP, b'\0' + one[4][1:], 'EPROTONOSUPPORT'),
            ('IP version 5', ETH_P_IP, b'\x55' + one[4][1:], 'EPROTONOSUPPORT'),
            ('half an IPv4 header', ETH_P_IP, one[4][:19], 'EPROTONOSUPPORT'),
            ('half an IPv6 header', ETH_P_IPV6, one[6][:39], 'EPROTONOSUPPORT'),
            ('one byte', ETH_P_IP, b'E', 'EPROTONOSUPPORT'),
            ('an IPv4 header alone', ETH_P_IP, one[4][:20], 'ok'),
            ('to nobody', ETH_P_IP, udp('192.168.5.1', '192.168.5.9', 1, 7, b'x'), 'ENOKEY'),
            ('to the broadcast address', ETH_P_IP, udp('192.168.5.1', '255.255.255.255', 1, 7, b'x'), 'ENOKEY'),
            ('to a multicast group', ETH_P_IPV6, udp('fd05::1', 'ff02::1', 1, 7, b'x'), 'ENOKEY'),
    ):
        wrong += want != 'ok'
        lab.see(name, attempt(cooked.sendto, packet, ('wg0', proto)), want)
        if want == 'ok':
            lab.see('arrives', [m.inner[:len(packet)] == packet for m in pair.peer.messages(1, 5)], [True])
    lab.see('from a raw socket, protocol by the packet', attempt(raw.sendto, one[4], ('wg0', 0)), 'ok')
    lab.see('arrives', len(pair.peer.messages(1, 5)), 1)
    lab.see('from a raw socket, too short for that', attempt(raw.sendto, one[4][:10], ('wg0', 0)), 'EPROTONOSUPPORT')
    lab.see('too long', attempt(cooked.sendto, one[4][:20] + bytes(1401), ('wg0', ETH_P_IP)), 'EMSGSIZE')
    lab.see('counters', {k: v for k, v in pair.change(before).items() if 'error' in k or 'drop' in k}, {'tx_errors': wrong + 1})


def forwarded(lab, masquerade):
    pair = lab.pair()
    c = lab.ns('c')
    lab.cable(c, pair.a, 'lan', '172.16.0', 'fd16:')
    pair.a.sysctl('ipv4/ip_forward', 1)
    pair.a.sysctl('ipv6/conf/all/forwarding', 1)
    c.ip('route', 'add', '192.168.5.0/24', 'via', '172.16.0.2')
    c.ip('route', 'add', 'fd05::/64', 'via', 'fd16::2')
    if masquerade:
        pair.a.run('nft', '-f', '-', must=True,
                   stdin='table inet t { chain p { type nat hook postrouting priority 100; oifname "wg0" masquerade; }; }')
    for version, src, to, said in ((4, '172.16.0.1', '192.168.5.9', ['EHOSTUNREACH', 'ICMP', 3, 1, '172.16.0.2']),
                                   (6, 'fd16::1', 'fd05::9', ['EHOSTUNREACH', 'ICMPv6', 1, 3, 'fd16::2'])):
        s = lab.udp(c, src, 5600, errors=True)
        lab.see(f'IPv{version}: sendto', attempt(s.sendto, b'x', (to, 7)), 'ok')
        lab.see('the ICMP error that comes back', errors(s, 3), [said])
    lab.see('counters', {k: v for k, v in pair.stats().items() if v}, {'tx_errors': 2})
    if masquerade:
        s = lab.udp(c, '172.16.0.1', 5601)
        s.sendto(b'out', (pair.inner[4][1], 7))
        got = pair.peer.messages(1)
        lab.see('what arrives comes from', [socket.inet_ntoa(m.inner[12:16]) for m in got], ['192.168.5.1'])
        pair.peer.send(udp('192.168.5.2', '192.168.5.1', 7, struct.unpack('!H', got[0].inner[20:22])[0], b'back'))
        lab.see('the answer gets back', bool(select.select([s], [], [], 10)[0]) and s.recv(100).decode(), 'back')


@row('a forwarded packet that no peer has')
def forward(lab):
    forwarded(lab, False)


@row('a forwarded packet that no peer has, behind NAT')
def forward_nat(lab):
    forwarded(lab, True)


@row('garbage on the port')
def garbage(lab):
    pair = lab.pair()
    peer = pair.peer
    lab.see('session', [peer.initiate(), peer.send(b''), pair.barrier()], [True, None, True])
    before = pair.stats()
    sound = peer.message(udp('192.168.5.2', '192.168.5.1', 7, 5000, b'sound'), counter=50)
    for data in (b'', b'\1', b'\4\0\0', bytes(4), bytes(32), bytes(148), b'\1' + bytes(147), b'\1' + bytes(146), b'\1' + bytes(148),
                 b'\2' + bytes(91), b'\2' + bytes(90), b'\3' + bytes(63), b'\3' + bytes(62), b'\4' + bytes(31), b'\4' + bytes(30),
                 b'\4' + bytes(15), b'\5' + bytes(31), b'\4\1' + sound[2:], b'\4\0\0\1' + sound[4:], sound[:4] + b'zzzz' + sound[8:],
                 sound[:-1], sound + b'x', sound[:-1] + bytes([sound[-1] ^ 1]), sound[:20] + b'\xff' + sound[21:], sound[:31],
                 bytes(1400), b'\4' + bytes(1399)):
        peer.raw(data)
    lab.see('answers', peer.quiet(), [])
    lab.see('the tunnel', pair.barrier(), True)
    lab.see('counters', pair.change(before, rx_packets=1, rx_bytes=80), {})
    lab.see('wg transfer', pair.show('transfer'))
    peer.raw(sound)
    got = pair.hear()
    lab.see('the same message, sound', got and got[0].decode(), 'sound')
    lab.see('endpoint', pair.show('endpoints'), '10.1.0.2:51900')


@row('handshakes from nobody we know')
def stranger(lab):
    pair = lab.pair()
    other = lab.keep(Peer(pair.p, 'stranger', port=51901))
    other.address = pair.peer.address
    before = pair.stats()
    lab.see('a handshake of a stranger', other.initiate(timeout=0.5), False)
    wrong = lab.keep(Peer(pair.p, 'peer', other='somebody else', port=51902))
    wrong.address = pair.peer.address
    lab.see('one for another key than ours', wrong.initiate(timeout=0.5), False)
    lab.see('counters', pair.change(before), {})
    lab.see('one of the peer', pair.peer.initiate(), True)
    lab.see('the tunnel', [pair.peer.send(b''), pair.barrier()], [None, True])
