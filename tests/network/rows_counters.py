# SPDX-License-Identifier: GPL-2.0
"""`ip -s link` and `wg show transfer` after exchanges of which every byte is known."""

import struct

from lab import ip, row, udp


def sized(message):
    return 32 + (message + 15) // 16 * 16


@row('a handshake that the peer begins, and data both ways')
def responder(lab):
    pair = lab.pair()
    lab.see('at first', {k: v for k, v in pair.stats().items() if v}, {})
    peer = pair.peer
    lab.see('handshake', peer.initiate(), True)
    peer.send(b'')
    for n in 10, 100, 1000:
        pair.reply(bytes(n))
        pair.hear()
    received = 148 + 32 + sum(sized(28 + n) for n in (10, 100, 1000))
    stats = pair.stats()
    lab.see('received', [stats['rx_packets'], stats['rx_bytes']], [5, received])
    for n in 20, 200:
        pair.say(bytes(n))
        peer.messages(1)
    sent = 92 + sized(48) + sized(228)
    lab.see('wg show transfer', pair.show('transfer'), [str(received), str(sent)])
    stats = pair.stats()
    lab.see('sent', [stats['tx_packets'], stats['tx_bytes']])
    lab.see('the rest', {k: v for k, v in stats.items() if v and k not in ('tx_packets', 'tx_bytes', 'rx_packets', 'rx_bytes')}, {})
    lab.see('a handshake was noted', int(pair.show('latest-handshakes')) > 1000000000, True)


@row('a handshake that it begins, and data both ways')
def initiator(lab):
    pair = lab.pair(outer=6)
    pair.say(bytes(500), 6)
    lab.see('arrives', len(pair.peer.messages(1)), 1)
    pair.reply(bytes(50), 6)
    pair.hear(6)
    stats = pair.stats()
    lab.see('received', [stats['rx_packets'], stats['rx_bytes']], [2, 92 + sized(98)])
    lab.see('sent', [stats['tx_packets'], stats['tx_bytes']])
    lab.see('wg show transfer', pair.show('transfer'), [str(92 + sized(98)), str(148 + sized(548))])


def bad_packets(pair):
    src, dst = pair.inner[4]
    src6, dst6 = pair.inner[6]
    good, good6 = udp(dst, src, 7, 5000, b'x' * 20), udp(dst6, src6, 7, 5000, b'x' * 20)
    frame, length = {'rx_errors': 1, 'rx_frame_errors': 1}, {'rx_errors': 1, 'rx_length_errors': 1}
    return (
        ('IP version 0', bytes(48), frame),
        ('IP version 5', b'\x55' + good[1:], frame),
        ('IP version 15', b'\xff' * 48, frame),
        ('one byte', b'\x45', frame),
        ('half an IPv4 header', good[:19], frame),
        ('half an IPv6 header', good6[:39], frame),
        ('IPv4 that says it is longer', ip(dst, src, bytes(8), total=49), length),
        ('IPv4 that says it is very long', ip(dst, src, bytes(8), total=65535), length),
        ('IPv4 that says it is shorter than its header', ip(dst, src, bytes(8), total=19), length),
        ('IPv4 that says it has no length', ip(dst, src, bytes(8), total=0), length),
        ('IPv6 that says it is longer', ip(dst6, src6, bytes(8), total=9), length),
        ('IPv6 that says it is very long', ip(dst6, src6, bytes(8), total=65535), length),
        ('a source that the peer has not', udp('192.168.5.9', src, 7, 5000, b'x'), frame),
        ('our address as the source', udp(src, src, 7, 5000, b'x'), frame),
        ('an IPv6 source that the peer has not', udp('fd05::9', src6, 7, 5000, b'x'), frame),
        ('both wrong: length first', ip('192.168.5.9', src, bytes(8), total=49), length),
        ('an IPv4 header of 16 bytes', b'\x44' + good[1:], None),
        ('an IPv4 header that goes beyond the end', b'\x4f' + ip(dst, src, bytes(8))[1:], None),
        ('a wrong IPv4 header checksum', good[:10] + b'zz' + good[12:], None),
        ('to somebody else', udp(dst, '192.168.5.77', 7, 5000, b'x'), None),
        ('an IPv4 header alone', ip(dst, src), None),
        ('an IPv6 header alone', ip(dst6, src6, proto=59), None),
        ('a jumbo payload of length 0', ip(dst6, src6, b'\x3b\0\xc2\4' + struct.pack('!I', 70000), proto=0, total=0), None),
    )


@row('unsound packets in sound messages')
def bad_inner(lab):
    pair = lab.pair()
    peer = pair.peer
    lab.see('session', [peer.initiate(), peer.send(b''), pair.barrier()], [True, None, True])
    for pad in True, False:
        lab.see('padded', pad)
        for name, packet, want in bad_packets(pair):
            # 35 bytes padded to 48 and 32 around them are the barrier's.
            before, transfer = pair.stats(), pair.show('transfer')
            peer.send(packet, pad=pad)
            lab.see('the tunnel', pair.barrier(), True)
            change = pair.change(before, rx_packets=1, rx_bytes=80)
            if name.startswith(('half', 'one')) and pad:
                want = None
            if want is None:
                lab.see(name, change)
            else:
                lab.see(name, change, want)
            lab.see('received by wg show transfer', int(pair.show('transfer')[0]) - int(transfer[0]))


@row('padding is cut off, and counted')
def padding(lab):
    pair = lab.pair()
    peer = pair.peer
    lab.see('session', [peer.initiate(), peer.send(b''), pair.barrier()], [True, None, True])
    for extra in 0, 1, 15, 16, 500, 1300:
        before = pair.stats()
        peer.send(udp('192.168.5.2', '192.168.5.1', 7, 5000, b'exactly') + b'\xaa' * extra, pad=False)
        got = pair.hear()
        lab.see(f'{extra} bytes behind the packet: delivered', got and got[0].decode(), 'exactly')
        pair.barrier()
        lab.see('counters', pair.change(before, rx_packets=1, rx_bytes=80), {'rx_packets': 1, 'rx_bytes': 32 + 35 + extra})


@row('replayed, reordered and late messages')
def replay(lab):
    pair = lab.pair()
    peer = pair.peer
    lab.see('session', [peer.initiate(), peer.send(b''), pair.barrier()], [True, None, True])

    def goes(counter, session=None):
        peer.send(udp('192.168.5.2', '192.168.5.1', 7, 5000, b'%d' % counter), counter=counter, session=session)

    def heard():
        found = []
        while True:
            got = pair.hear(timeout=0.5)
            if got is None:
                return found
            found.append(int(got[0]))
    before = pair.stats()
    for n in 100, 99, 100, 101, 99, 102, 5:
        goes(n)
    lab.see('of 100, 99, 100, 101, 99, 102, 5', heard(), [100, 99, 101, 102, 5])
    for n in 20000, 20000 - 8128, 20000 - 8129, 20000 - 8127, 20000 - 8191, 20000 - 8192, 20000, 1:
        goes(n)
    lab.see('the window', heard(), [20000, 20000 - 8128, 20000 - 8127])
    lab.see('counters', {k: v for k, v in pair.change(before).items() if 'error' in k or 'drop' in k}, {})
    old = peer.session
    lab.see('a new session', peer.initiate(), True)
    goes(3, old)
    lab.see('the old one before the new one is confirmed', heard())
    peer.counter = 10
    goes(9)
    goes(4, old)
    goes(10)
    lab.see('after that', heard())
    lab.see('data goes out under', [pair.say(), [m.counter for m in pair.peer.messages(1)]], ['ok', [0]])
    lab.see('one more', peer.initiate(), True)
    lab.see('and one more', peer.initiate(), True)
    goes(1)
    goes(5, old)
    lab.see('the last and the first of four', heard())


@row('the last counters of a session')
def last_counters(lab):
    pair = lab.pair()
    peer = pair.peer
    window, last = 8128, 2**64 - 1 - 8128 - 1
    for counter in 2**63, last - 1, last, last + 1, 2**64 - 1:
        lab.see('session', [peer.initiate(), peer.send(b''), pair.barrier()], [True, None, True])
        top, used_up = 0, False
        for n in counter, counter - 5, 3, counter - 6:
            peer.send(udp('192.168.5.2', '192.168.5.1', 7, 5000, b'%d' % n), counter=n)
            sound = not used_up and n < last and n + 1 + window >= top
            if sound:
                top = max(top, n + 1)
                used_up = top >= last
            got = pair.hear(timeout=0.4)
            lab.see(f'{n}', got and got[0].decode(), str(n) if sound else None)


@row('the other end of a message: a burst that arrives in a burst')
def train(lab):
    pair = lab.pair()
    peer = pair.peer
    lab.see('session', [peer.initiate(), peer.send(b''), pair.barrier()], [True, None, True])
    before = pair.stats()
    messages = [peer.message(udp('192.168.5.2', '192.168.5.1', 7, 5000, b'%03d' % n)) for n in range(150)]
    for message in messages:
        peer.raw(message)
    got = []
    while len(got) < 150:
        one = pair.hear(timeout=5)
        if one is None:
            break
        got.append(int(one[0]))
    lab.see('all in order', got == list(range(150)), True)
    lab.see('counters', pair.change(before), {'rx_packets': 150, 'rx_bytes': 150 * 64})
