#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Each dropped packet is counted by its reason, once, and nothing is lost between the counters.

usage (in the guest): tests/smoke/drops.py [WORD]...

Only ours: the C driver has no `ethtool -S`. The peer is the one of tests/network. Not provoked here,
for it takes what a test cannot have: rx_drop_header, rx_drop_memory, tx_drop_memory, tx_drop_seal,
tx_drop_segment (a failing allocation), rx_drop_queue, tx_drop_queue, rx_drop_down, tx_drop_gone (a
race), tx_drop_no_socket (as well: without sockets there is no carrier), rx_handshake_entropy (boot),
rx_handshake_rate (a valid cookie).
"""

import os
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../network'))

from lab import ETH_P_IP, Lab, udp, wait_for  # noqa: E402
from wgpeer import COOKIE, DATA, INITIATION  # noqa: E402

LAST_COUNTER = 2**64 - 1 - 8128 - 1
failed = 0


def report(good, name, detail=''):
    global failed
    failed += not good
    print(f'{"ok" if good else "not ok"} - {name}{"" if good else f": {detail}"}', flush=True)


def counts(pair):
    found = {}
    for line in pair.home.run('ethtool', '-S', 'wg0', must=True).stdout.splitlines():
        name, colon, value = line.strip().partition(': ')
        if colon and value.isdigit():
            found[name] = int(value)
    return found


def change(pair, before):
    after = counts(pair)
    return {k: v - before[k] for k, v in after.items() if v != before[k]}


def step(pair, name, action, **want):
    """Does something, after which exactly these counters have grown by so much."""
    before = counts(pair)
    action()
    wait_for(lambda: change(pair, before) == want, 20)
    # A packet that is counted twice is counted the second time soon.
    time.sleep(0.2)
    got = change(pair, before)
    report(got == want, name, f'{got}, should be {want}')


def datagrams(ns):
    """UDP datagrams that sockets of a namespace were given."""
    with ns, open('/proc/thread-self/net/snmp') as f:
        rows = [line.split() for line in f if line.startswith('Udp:')]
    return int(rows[1][rows[0].index('InDatagrams')])


def data(index, counter=0, sealed=bytes(16)):
    return struct.pack('<IIQ', DATA, index, counter) + sealed


def received(lab):
    """Datagrams on the port."""
    pair = lab.pair(home='h')
    peer = pair.peer
    report(set(counts(pair).values()) == {0}, 'a new interface has dropped nothing')
    arrived, taken = datagrams(pair.a), pair.stats()['rx_packets']
    step(pair, 'no type of message',
         lambda: [peer.raw(m) for m in (b'\0', b'\4\0\0', bytes(148), b'\1\0\0\0' + bytes(143), b'\5\0\0\0' + bytes(60),
                                        b'\4\0\0\0' + bytes(27), b'\4\0\0\1' + bytes(60))], rx_drop_type=7)
    step(pair, 'an index of nobody', lambda: [peer.raw(data(n)) for n in (0, 1, 2**32 - 1)], rx_drop_index=3)
    pair.say()
    pending = struct.unpack('<4xI', peer.messages(1, want=INITIATION, answer=False)[0].data[:8])[0]
    step(pair, 'an index without keys', lambda: peer.raw(data(pending)), rx_drop_no_keys=1)
    step(pair, 'a handshake message without MAC',
         lambda: [peer.raw(b'\1\0\0\0' + bytes(144)), peer.raw(b'\2\0\0\0' + bytes(88))], rx_handshake_mac=2)
    step(pair, 'handshake messages with a MAC and nothing else',
         lambda: [peer.raw(peer.macs(struct.pack('<II', INITIATION, 5) + bytes(108))),
                  peer.raw(peer.macs(struct.pack('<III', 2, 5, 6) + bytes(48)))], rx_handshake_invalid=2)
    step(pair, 'cookies that were not asked for',
         lambda: [peer.raw(struct.pack('<II', COOKIE, index) + bytes(56)) for index in (77, pending)], rx_cookie_invalid=2)
    report(peer.initiate(), 'a handshake')
    remote = peer.session.remote
    peer.send(b'')
    pair.reply(b'good')
    report(pair.hear() == (b'good', 0), 'a datagram')
    step(pair, 'a wrong tag', lambda: [peer.raw(data(remote, n)) for n in range(5)], rx_drop_auth=5)
    again = peer.message(udp(*reversed(pair.inner[4]), 7, 5001, b'again'))
    step(pair, 'a replay', lambda: [peer.raw(again) for _ in range(4)], rx_drop_replay=3)
    step(pair, 'no IP packet inside', lambda: [peer.send(m) for m in (bytes(48), b'\x55' * 48, b'\x45')], rx_drop_inner_type=3)
    good = udp(*reversed(pair.inner[4]), 7, 5001, b'x')
    step(pair, 'a length that cannot be',
         lambda: [peer.send(good[:2] + struct.pack('!H', n) + good[4:]) for n in (19, 0, 200)], rx_drop_inner_length=3)
    step(pair, 'the source address of another',
         lambda: [peer.send(udp('192.168.5.3', pair.inner[4][0], 7, 5001, b'x')), peer.send(udp('fd05::3', pair.inner[6][0], 7, 5001, b'x'))],
         rx_drop_source=2)
    step(pair, 'a session that has received too much',
         lambda: [peer.send(b'', counter=LAST_COUNTER - 1), pair.barrier_quiet(), peer.send(b'', counter=5), peer.send(b'', counter=6)],
         rx_drop_expired=2)
    report(peer.initiate() and pair.works() == 'works', 'a new session works')
    check_sum(pair, arrived, taken)


def check_sum(pair, arrived, taken):
    """Datagrams on the port = accepted + dropped, whichever way."""
    def balance():
        dropped = sum(v for k, v in counts(pair).items() if k.startswith('rx_'))
        return datagrams(pair.a) - arrived, pair.stats()['rx_packets'] - taken + dropped
    wait_for(lambda: len(set(balance())) == 1, 30)
    came, known = balance()
    report(came == known and came, f'{came} datagrams: each was accepted, or its reason to be dropped counted', f'{known} of them are known')


def flooded(lab):
    """More handshake messages than can be worked on."""
    pair = lab.pair(home='h')
    arrived, taken, sent = datagrams(pair.a), pair.stats()['rx_packets'], 0
    message = pair.peer.macs(struct.pack('<II', INITIATION, 5) + bytes(108))
    end = time.monotonic() + 60
    while time.monotonic() < end and not counts(pair)['rx_handshake_cookie_sent']:
        pair.peer.raw_many(message, 12000)
        sent += 12000
    before = counts(pair)
    report(before['rx_handshake_cookie_sent'] > 0, f'under load, cookies are sent (after {sent} messages)', before)
    check_sum(pair, arrived, taken)
    got = {k: v for k, v in counts(pair).items() if v}
    report(set(got) <= {'rx_handshake_cookie_sent', 'rx_handshake_queue', 'rx_handshake_invalid'}, 'and nothing else happens', got)


def sent(lab):
    """Packets into the interface."""
    pair = lab.pair(home='h')
    step(pair, 'a destination of nobody', lambda: [pair.say_to('192.168.5.9'), pair.say_to('192.168.5.10')], tx_drop_no_peer=2)
    with pair.home:
        cooked = lab.keep(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
    for packet in (bytes(28), b'\x65' + bytes(40)):
        def broken(packet=packet):
            try:
                cooked.sendto(packet, ('wg0', ETH_P_IP))
            except OSError:
                pass
        step(pair, f'no IP packet ({packet[0]})', broken, tx_drop_type=1)
    step(pair, 'more than can wait for a handshake', lambda: [pair.say(b'%04d' % n) for n in range(200)], tx_drop_staged=71)
    report(len(pair.peer.messages(129)) == 129, 'the others are sent')
    pair.a.ip('route', 'add', 'unreachable', '10.1.0.2/32')
    pair.set_peer('endpoint', '10.1.0.2:51901')
    step(pair, 'no route to the endpoint', lambda: [pair.say(), pair.say()], tx_drop_no_route=2)
    pair.a.ip('route', 'del', 'unreachable', '10.1.0.2/32')


def waiting(lab):
    """Packets that wait for a handshake that does not come."""
    pair = lab.pair(home='h')
    [pair.say() for _ in range(10)]
    step(pair, 'going down', lambda: pair.home.ip('link', 'set', 'wg0', 'down'), tx_drop_purged=10)
    pair.home.ip('link', 'set', 'wg0', 'up')
    [pair.say() for _ in range(3)]
    step(pair, 'the peer is removed', lambda: pair.set_peer('remove'), tx_drop_purged=3)
    pair.set_peer('allowed-ips', '192.168.5.2/32')
    step(pair, 'a peer without an endpoint', pair.say, tx_drop_no_endpoint=1)
    pair.set_peer('endpoint', '10.99.0.1:1')
    before = counts(pair)
    pair.say()
    good = wait_for(lambda: change(pair, before).get('tx_handshake_lost', 0) >= 1, 20)
    report(good and set(change(pair, before)) == {'tx_handshake_lost'}, 'an initiation without a route', change(pair, before))


def main():
    import lab as module

    def barrier_quiet(self):
        """What was sent before has been received, as far as counters go."""
        before = self.stats()['rx_packets']
        return wait_for(lambda: self.stats()['rx_packets'] > before, 2)

    def say_to(self, to):
        return module.attempt(self.socket().sendto, b'x', (to, 7))

    module.Pair.barrier_quiet, module.Pair.say_to = barrier_quiet, say_to
    for part in received, flooded, sent, waiting:
        if sys.argv[1:] and part.__name__ not in sys.argv[1:]:
            continue
        print(f'# drops: {part.__doc__}', flush=True)
        lab = Lab()
        try:
            part(lab)
        except Exception as e:
            report(False, f'drops: {part.__name__}', repr(e))
        lab.close()
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
