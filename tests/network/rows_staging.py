# SPDX-License-Identifier: GPL-2.0
"""Packets before there is a session, coming up and going down, keys."""

import socket
import time
from base64 import b64encode

from lab import UDP_SEGMENT, row, said, wait_for
from wgpeer import DATA, INITIATION, private, public


def numbers(messages):
    return [int(m.inner[28:32]) for m in messages]


@row('packets wait for the handshake, the newest ones')
def staged(lab):
    pair = lab.pair()
    for n in range(200):
        pair.say(b'%04d' % n)
    lab.see('counters', {k: v for k, v in pair.stats().items() if v and k not in ('tx_bytes', 'tx_packets')}, {'tx_dropped': 71})
    got = pair.peer.messages(129)
    lab.see('sent after the handshake', [len(got), numbers(got) == list(range(71, 200))], [129, True])
    lab.see('counters of the messages', [m.counter for m in got] == list(range(129)), True)
    lab.see('nothing else', pair.peer.quiet(), [])
    lab.see('dropped', pair.stats()['tx_dropped'], 71)


@row('a burst is staged whole')
def staged_burst(lab):
    pair = lab.pair()
    for n in range(150):
        pair.say(b'%04d' % n)
    lab.see('dropped', pair.stats()['tx_dropped'], 21)
    s = pair.socket(4, 5700)
    s.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 100)
    s.sendto(b''.join(b'%04d' % n + bytes(96) for n in range(1000, 1040)), (pair.inner[4][1], 7))
    lab.see('dropped for 40 in one buffer', pair.stats()['tx_dropped'], 22)
    pair.say(b'2000')
    lab.see('dropped for one more', pair.stats()['tx_dropped'], 22 + 40)
    got = pair.peer.messages(129)
    lab.see('sent', [len(got), numbers(got) == list(range(62, 150)) + list(range(1000, 1040)) + [2000]], [129, True])


@row('a small handshake queue: no answer, then an answer')
def late_answer(lab):
    pair = lab.pair()
    pair.say(b'0000')
    first = [m.kind for m in pair.peer.messages(1, 3, want=INITIATION)]
    lab.see('an initiation', first, [INITIATION])
    pair.say(b'0001')
    lab.see('not another one at once', pair.peer.quiet(), [])
    start = time.monotonic()
    again = pair.peer.messages(1, 15, want=INITIATION)
    lab.see('the next by the timer, after about 5 s', [len(again), 3 < time.monotonic() - start < 12], [1, True])
    lab.see('answered', pair.peer.answer(again[0]), True)
    lab.see('both packets', numbers(pair.peer.messages(2)), [0, 1])


@row('going down drops what is staged, and counts it')
def purge_down(lab):
    pair = lab.pair()
    for n in range(10):
        pair.say(b'%04d' % n)
    pair.a.ip('link', 'set', 'wg0', 'down')
    lab.see('dropped', pair.stats()['tx_dropped'], 10)
    pair.a.ip('link', 'set', 'wg0', 'up')
    pair.say(b'0099')
    lab.see('sent then', numbers(pair.peer.messages(1)), [99])
    lab.see('and nothing else', pair.peer.quiet(), [])


@row('removing a peer drops what is staged, and counts it')
def purge_remove(lab):
    pair = lab.pair()
    for n in range(10):
        pair.say(b'%04d' % n)
    pair.set_peer('remove')
    lab.see('dropped', wait_for(lambda: pair.stats()['tx_dropped'] == 10, 10), True)
    lab.see('sending then', pair.say(), 'ENOKEY')
    pair.set_peer('allowed-ips', '192.168.5.2/32', 'endpoint', pair.endpoint())
    lab.see('added again', pair.works(), 'works')
    lab.see('transfer begins anew', int(pair.show('transfer')[0]) < 400, True)


@row('coming up with a persistent keepalive')
def keepalive_up(lab):
    pair = lab.pair(up=False, keepalive=25)
    lab.see('while down', pair.peer.quiet(), [])
    pair.a.ip('link', 'set', 'wg0', 'up')
    got = pair.peer.messages(1, 10, keepalives=True)
    lab.see('at once a handshake, and an empty message', [[m.length, m.counter] for m in got], [[32, 0]])
    lab.see('nothing more for now', pair.peer.quiet(), [])
    lab.see('sent, received', pair.show('transfer'), ['92', str(148 + 32)])


@row('persistent keepalive set while up')
def keepalive_set(lab):
    pair = lab.pair()
    lab.see('without', pair.peer.quiet(), [])
    pair.set_peer('persistent-keepalive', '1')
    lab.see('set: at once', [[m.length, m.counter] for m in pair.peer.messages(1, 10, keepalives=True)], [[32, 0]])
    lab.see('and again each second', [m.counter for m in pair.peer.messages(2, 10, keepalives=True)], [1, 2])
    pair.set_peer('persistent-keepalive', '2')
    pair.peer.quiet(0.1)
    pair.set_peer('persistent-keepalive', 'off')
    # One may be on its way.
    pair.peer.quiet(0.1)
    time.sleep(2.5)
    lab.see('off', len(pair.peer.quiet()) <= 1, True)


@row('a data message is answered by an empty one, in ten seconds')
def passive(lab):
    pair = lab.pair()
    lab.see('session', [pair.peer.initiate(), pair.peer.send(b''), pair.barrier()], [True, None, True])
    start = time.monotonic()
    got = pair.peer.messages(1, 25, keepalives=True)
    lab.see('an empty message', [[m.length, m.counter] for m in got], [[32, 0]])
    lab.see('after about 10 s', 7 < time.monotonic() - start < 17, True)


@row('down and up: sessions are forgotten, the rest is not')
def down_up(lab):
    pair = lab.pair()
    peer = pair.peer
    lab.see('before', pair.works(), 'works')
    before = [pair.show(w) for w in ('endpoints', 'transfer', 'latest-handshakes', 'persistent-keepalive', 'allowed-ips')]
    listening = pair.a.listeners()
    pair.a.ip('link', 'set', 'wg0', 'down')
    lab.see('down: listening', pair.a.listeners(), [])
    lab.see('sending', pair.say())
    pair.reply(b'late')
    lab.see('configuration stays', [pair.show(w) for w in ('endpoints', 'transfer', 'latest-handshakes', 'persistent-keepalive', 'allowed-ips')] == before, True)
    lab.see('wg set while down', said(pair.set_peer('persistent-keepalive', '9')), 'ok')
    pair.set_peer('persistent-keepalive', 'off')
    pair.a.ip('link', 'set', 'wg0', 'up')
    lab.see('up: listening as before', pair.a.listeners() == listening, True)
    stats = pair.stats()
    pair.reply(b'under the old session')
    lab.see('messages of the old session', [pair.hear(timeout=0.4), pair.change(stats)], [None, {}])
    pair.say()
    kinds = [m.kind for m in pair.peer.messages(1, 10, want=INITIATION)]
    lab.see('the next packet begins a handshake, at once', kinds, [INITIATION])
    lab.see('a handshake of the peer', [peer.initiate(), peer.send(b''), pair.barrier()], [True, None, True])
    lab.see('the staged packet arrives', len(peer.messages(1)), 1)
    for _ in range(3):
        pair.a.ip('link', 'set', 'wg0', 'down')
        pair.a.ip('link', 'set', 'wg0', 'up')
    lab.see('again and again', pair.works(), 'works')


@row('a random port stays')
def random_port(lab):
    pair = lab.pair()
    pair.wg('listen-port', '0', must=True)
    ports = [x for x in pair.a.listeners() if x.startswith('4')]
    pair.a.ip('link', 'set', 'wg0', 'down')
    pair.a.ip('link', 'set', 'wg0', 'up')
    lab.see('after down and up', [x for x in pair.a.listeners() if x.startswith('4')] == ports, True)
    shown = pair.a.run('wg', 'show', 'wg0', 'listen-port').stdout.strip()
    lab.see('and is shown', f'4:{shown}' in ports, True)


@row('the private key changes')
def new_key(lab):
    pair = lab.pair()
    peer = pair.peer
    lab.see('before', pair.works(), 'works')
    pair.set_key('driver')
    pair.say()
    lab.see('the same key again: the session goes on', [m.kind for m in peer.messages(1, 5, answer=False)], [DATA])
    pair.set_key('another')
    pair.reply(b'still heard')
    got = pair.hear(timeout=3)
    lab.see('a new key: what the peer sends under the old session', got and got[0].decode())
    pair.say(b'0042')
    got = peer.messages(1, 5, want=INITIATION)
    lab.see('the next packet begins a handshake', len(got), 1)
    lab.see('not of the old key', peer.answer(got[0]), False)
    peer.other = public(private('another'))
    lab.see('of the new one', peer.answer(got[0]), True)
    lab.see('and arrives', numbers(peer.messages(1)), [42])
    lab.see('the tunnel', pair.works(), 'works')


@row('no private key')
def no_key(lab):
    pair = lab.pair(key=False)
    lab.see('sending', [pair.say(b'%04d' % n) for n in range(3)], ['ok'] * 3)
    lab.see('nothing goes out', pair.peer.quiet(), [])
    lab.see('a handshake is not answered', pair.peer.initiate(timeout=0.5), False)
    pair.set_key('driver')
    lab.see('with a key the packets go, at once', numbers(pair.peer.messages(3, 4)), [0, 1, 2])
    pair.wg('private-key', '/dev/null', must=True)
    lab.see('the key is taken away: sending', pair.say(), 'ok')
    lab.see('nothing goes out', pair.peer.quiet(), [])
    pair.reply(b'still heard')
    got = pair.hear(timeout=0.5)
    lab.see('what the peer sends', got and got[0].decode())


@row('a preshared key changes')
def psk(lab):
    pair = lab.pair()
    lab.see('before', pair.works(), 'works')
    pair.set_peer('preshared-key', '/dev/stdin', stdin=b64encode(bytes([7] * 32)).decode())
    lab.see('the session goes on', pair.works(), 'works')
    lab.see('a handshake without it', [pair.peer.initiate(timeout=3), pair.works()])
    pair.set_peer('preshared-key', '/dev/null')
    lab.see('a handshake without it, when it is taken away', pair.peer.initiate(), True)


@row('a new endpoint for what is staged')
def staged_endpoint(lab):
    pair = lab.pair(endpoint='10.1.0.9:9')
    pair.say(b'0007')
    pair.set_peer('endpoint', pair.endpoint())
    # The initiation went to the wrong place; the next is due five seconds after it.
    lab.see('arrives there with the next attempt', numbers(pair.peer.messages(1, 15)), [7])


@row('a busy port leaves the interface down')
def busy(lab):
    pair = lab.pair(up=False)
    sock = lab.udp(pair.a, '0.0.0.0', 51820)
    lab.see('IPv4', pair.a.try_ip('link', 'set', 'wg0', 'up'), 'RTNETLINK answers: Address already in use')
    sock.close()
    sock = lab.udp(pair.a, '::1', 51820)
    lab.see('IPv6', pair.a.try_ip('link', 'set', 'wg0', 'up'), 'RTNETLINK answers: Address already in use')
    lab.see('no socket stays', pair.a.listeners(), ['6:51820'])
    sock.close()
    lab.see('free', pair.a.try_ip('link', 'set', 'wg0', 'up'), 'ok')
    lab.see('the tunnel', pair.works(), 'works')
