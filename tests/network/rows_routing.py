# SPDX-License-Identifier: GPL-2.0
"""Which way outer packets go, from which of our addresses, with which marks; and where the peer is."""

import json
import socket
from base64 import b64encode

from lab import row, said, wait_for
from wgpeer import DATA, INITIATION, Peer


def settle(pair):
    """A session that the peer began, on the address it sends to."""
    return pair.peer.initiate() and (pair.peer.send(b''), pair.barrier())[1]


def outer(pair):
    """Source, destination and ports of the next data message."""
    pair.say()
    got = pair.peer.messages(1)
    if not got:
        return None
    return [got[0].source[0], got[0].to, got[0].source[1]]


@row('fwmark and policy routing')
def policy(lab):
    pair = lab.pair(endpoint='10.9.0.1:51900')
    a, p = pair.a, pair.p
    lab.cable(a, p, 'second', '10.2.0', 'fd02:')
    p.ip('addr', 'add', '10.9.0.1/32', 'dev', 'lo')
    a.ip('route', 'add', '10.9.0.1', 'via', '10.1.0.2')
    a.ip('route', 'add', '10.9.0.1', 'via', '10.2.0.2', 'table', '77')
    a.ip('rule', 'add', 'fwmark', '5', 'lookup', '77')
    one, two = lab.keep_capture(a, 'outer'), lab.keep_capture(a, 'second')

    def ways(want):
        got = outer(pair)
        lab.see('source', got and got[0], f'10.{want}.0.1')
        lab.see('data by the first and the second way', [len(one.sent(DATA)), len(two.sent(DATA))],
                [int(want == 1), int(want == 2)])
    ways(1)
    lab.see('fwmark 5', said(pair.wg('fwmark', '5')), 'ok')
    ways(2)
    lab.see('fwmark 6', said(pair.wg('fwmark', '6')), 'ok')
    ways(1)
    lab.see('a rule for 6 comes', a.try_ip('rule', 'add', 'fwmark', '6', 'lookup', '77'), 'ok')
    ways(2)
    lab.see('fwmark off', said(pair.wg('fwmark', 'off')), 'ok')
    ways(1)
    # Handshakes take the same way.
    lab.see('fwmark 5', said(pair.wg('fwmark', '5')), 'ok')
    pair.a.ip('link', 'set', 'wg0', 'down')
    pair.a.ip('link', 'set', 'wg0', 'up')
    one.packets(), two.packets()
    lab.see('a new handshake', outer(pair), ['10.2.0.1', '10.9.0.1', 51820])
    lab.see('initiations by the first and the second way', [len(one.sent(INITIATION)), len(two.sent(INITIATION))], [0, 1])


@row('everything through the tunnel but what carries it')
def default_route(lab):
    pair = lab.pair()
    a = pair.a
    pair.set_peer('allowed-ips', '0.0.0.0/0,::/0')
    pair.wg('fwmark', '51820', must=True)
    for v in '-4', '-6':
        a.ip(v, 'route', 'add', 'default', 'dev', 'wg0', 'table', '51820')
        a.ip(v, 'rule', 'add', 'not', 'fwmark', '51820', 'table', '51820')
        a.ip(v, 'rule', 'add', 'table', 'main', 'suppress_prefixlength', '0')
    capture = lab.keep_capture(a, 'outer')
    for version, to in (4, '203.0.113.9'), (6, '2001:db8::9'):
        with a:
            pair.socket(version).sendto(b'far', (to, 7))
        got = pair.peer.messages(1)
        lab.see(f'IPv{version}: arrives in the tunnel', [to in str(_addresses(m.inner)) for m in got], [True])
    a.ip('link', 'set', 'wg0', 'down')
    a.ip('link', 'set', 'wg0', 'up')
    for v in '-4', '-6':
        a.ip(v, 'route', 'replace', 'default', 'dev', 'wg0', 'table', '51820')
    with a:
        pair.socket(4).sendto(b'far', ('203.0.113.9', 7))
    lab.see('after down and up', len(pair.peer.messages(1)), 1)
    seen = capture.sent()
    lab.see('outer packets to', sorted({p.dst for p in seen}), ['10.1.0.2'])
    lab.see('kinds of them', sorted({p.kind for p in seen}), [INITIATION, DATA])


def _addresses(inner):
    if inner[0] >> 4 == 4:
        return [socket.inet_ntop(socket.AF_INET, inner[i:i + 4]) for i in (12, 16)]
    return [socket.inet_ntop(socket.AF_INET6, inner[i:i + 16]) for i in (8, 24)]


RULES = '''
table inet t {
	chain out {
		type filter hook output priority 0
		oifname "wg0" meta mark 0x42 meta priority 6 counter comment "inner out: mark 0x42, priority 6"
		oifname "outer" udp dport 51900 meta mark 0 counter comment "outer out: mark 0"
		oifname "outer" udp dport 51900 meta mark 5 counter comment "outer out: mark 5"
		oifname "outer" udp dport 51900 meta mark 0x42 counter comment "outer out: mark 0x42"
		oifname "outer" udp dport 51900 meta priority 0 counter comment "outer out: priority 0"
		oifname "outer" udp dport 51900 meta priority 6 counter comment "outer out: priority 6"
		oifname "outer" udp dport 51900 meta skuid 0 counter comment "outer out: has a socket of root"
	}
	chain pre {
		type filter hook prerouting priority -300
		iifname "outer" udp sport 51900 meta mark set 0x99 meta priority set 6 counter comment "outer in: marked 0x99"
		iifname "wg0" meta mark 0 counter comment "inner in: mark 0"
		iifname "wg0" meta mark 0x99 counter comment "inner in: mark 0x99"
		iifname "wg0" meta priority 0 counter comment "inner in: priority 0"
		iifname "wg0" meta pkttype host counter comment "inner in: for this host"
	}
	chain conn {
		type filter hook prerouting priority 0
		iifname "wg0" ct state new counter comment "inner in: a connection of its own"
	}
}
'''


@row('marks, priority and connection tracking end at the tunnel')
def marks(lab):
    pair = lab.pair()
    lab.see('session', settle(pair), True)
    pair.a.run('nft', '-f', '-', stdin=RULES, must=True)

    def counters():
        found = {}
        for item in json.loads(pair.a.run('nft', '-j', 'list', 'table', 'inet', 't', must=True).stdout)['nftables']:
            rule = item.get('rule')
            for part in rule['expr'] if rule else ():
                if 'counter' in part:
                    found[rule['comment']] = part['counter']['packets']
        return found
    before = counters()

    def since():
        nonlocal before
        after = counters()
        change = {k: after[k] - before[k] for k in after if after[k] != before[k]}
        before = after
        return change
    pair.say(b'x', port=5001, mark=0x42, priority=6)
    pair.peer.messages(1)
    lab.see('inner packet with a mark, no fwmark', since())
    pair.wg('fwmark', '5', must=True)
    pair.say(b'x', port=5002, mark=0x42, priority=6)
    pair.peer.messages(1)
    lab.see('the same, fwmark 5', since())
    pair.reply(b'in')
    lab.see('from outside', pair.hear()[0].decode(), 'in')
    lab.see('the packet, marked outside', since())


@row('our source address is where the peer talks to (IPv4)')
def source4(lab):
    sources(lab, 4, '10.1.0.1', '10.1.0.3', '10.1.0.3/24')


@row('our source address is where the peer talks to (IPv6)')
def source6(lab):
    sources(lab, 6, 'fd01::1', 'fd01::3', 'fd01::3/64')


def sources(lab, version, first, second, network):
    pair = lab.pair(outer=version)
    a = pair.a
    nodad = ['nodad'] if version == 6 else []
    # Deprecated, so that it isn't chosen for IPv6 because it is newer.
    a.ip('addr', 'add', network, 'dev', 'outer', *nodad, *(['preferred_lft', '0'] if version == 6 else []))
    pair.peer.address = (second, 51820)
    lab.see('handshake with the second address', pair.peer.initiate(), True)
    lab.see('the response comes from', pair.peer.response.source[0], second)
    pair.peer.send(b'')
    pair.barrier()
    lab.see('data comes from', outer(pair)[0], second)
    pair.peer.address = (first, 51820)
    pair.reply()
    pair.hear()
    lab.see('the peer sends to the first: from', outer(pair)[0], first)
    pair.peer.address = (second, 51820)
    pair.reply()
    pair.hear()
    lab.see('to the second again: from', outer(pair)[0], second)
    a.ip('addr', 'del', network, 'dev', 'outer')
    lab.see('the second is taken away: from', outer(pair)[0], first)
    a.ip('addr', 'add', network, 'dev', 'outer', *nodad, *(['preferred_lft', '0'] if version == 6 else []))
    lab.see('it comes back: from', outer(pair)[0], first)
    pair.reply()
    pair.hear()
    lab.see('the peer sends to it: from', outer(pair)[0], second)
    lab.see('wg set endpoint to what it is', said(pair.set_peer('endpoint', pair.endpoint())), 'ok')
    lab.see('from', outer(pair)[0])
    pair.reply()
    pair.hear()
    pair.wg('fwmark', '1', must=True)
    lab.see('a new fwmark: from', outer(pair)[0])
    pair.reply()
    pair.hear()
    pair.wg('listen-port', '51820', must=True)
    lab.see('the same port again: from', outer(pair)[0])
    pair.wg('listen-port', '51821', must=True)
    lab.see('another port: from', outer(pair))


@row('a route moves to another interface')
def route_change(lab):
    pair = lab.pair(endpoint='10.9.0.1:51900')
    a, p = pair.a, pair.p
    lab.cable(a, p, 'second', '10.2.0', 'fd02:')
    p.ip('addr', 'add', '10.9.0.1/32', 'dev', 'lo')
    p.ip('addr', 'add', 'fd09::1/128', 'dev', 'lo')
    a.ip('route', 'add', '10.9.0.1', 'via', '10.1.0.2')
    a.ip('route', 'add', 'fd09::1', 'via', 'fd01::2')
    lab.see('from', outer(pair), ['10.1.0.1', '10.9.0.1', 51820])
    # So that the driver knows on which of its addresses it is talked to.
    pair.peer.local = '10.9.0.1'
    pair.reply()
    pair.hear()
    a.ip('route', 'replace', '10.9.0.1', 'via', '10.2.0.2')
    lab.see('route replaced: from', outer(pair), ['10.2.0.1', '10.9.0.1', 51820])
    a.ip('route', 'replace', '10.9.0.1', 'via', '10.1.0.2')
    lab.see('and back: from', outer(pair), ['10.1.0.1', '10.9.0.1', 51820])
    pair.peer.address = ('10.2.0.1', 51820)
    pair.reply()
    pair.hear()
    lab.see('the peer talks to the other address, the endpoint is', pair.show('endpoints'))
    lab.see('from', outer(pair))
    pair.set_peer('endpoint', '10.9.0.1:51900')
    a.ip('link', 'set', 'outer', 'down')
    a.ip('route', 'add', '10.9.0.1', 'via', '10.2.0.2')
    lab.see('its interface goes down: from', outer(pair), ['10.2.0.1', '10.9.0.1', 51820])
    a.ip('link', 'set', 'outer', 'up')
    a.ip('addr', 'replace', 'fd01::1/64', 'dev', 'outer', 'nodad')
    a.ip('route', 'replace', 'fd09::1', 'via', 'fd01::2')
    pair.set_peer('endpoint', '[fd09::1]:51900')
    lab.see('IPv6: from', outer(pair), ['fd01::1', 'fd09::1', 51820])
    pair.peer.address, pair.peer.local = ('fd01::1', 51820), 'fd09::1'
    pair.reply()
    pair.hear()
    lab.see('IPv6, talked to: from', outer(pair), ['fd01::1', 'fd09::1', 51820])
    a.ip('route', 'replace', 'fd09::1', 'via', 'fd02::2')
    lab.see('IPv6, route replaced: from', outer(pair))


@row('a peer moves')
def roaming(lab):
    pair = lab.pair(endpoint=False)
    peer = pair.peer
    lab.see('endpoint at first', pair.show('endpoints'), '(none)')
    lab.see('sending', pair.say(), 'EDESTADDRREQ')
    lab.see('session', settle(pair), True)
    lab.see('endpoint', pair.show('endpoints'), '10.1.0.2:51900')
    peer.bind(51901)
    pair.reply()
    pair.hear()
    lab.see('by a data message from another port', pair.show('endpoints'), '10.1.0.2:51901')
    lab.see('sends there', outer(pair), ['10.1.0.1', '10.1.0.2', 51820])
    peer.bind(51902)
    peer.send(b'')
    pair.barrier()
    lab.see('by an empty message', pair.show('endpoints'), '10.1.0.2:51902')
    peer.address = ('fd01::1', 51820)
    pair.reply()
    pair.hear()
    lab.see('by IPv6', pair.show('endpoints'), '[fd01::2]:51902')
    lab.see('sends there', outer(pair), ['fd01::1', 'fd01::2', 51820])
    link_local = pair.p.ip('-j', '-6', 'addr', 'show', 'dev', 'outer', 'scope', 'link').stdout
    lab.see('there is a link-local address', 'fe80' in link_local, True)
    shown = json.loads(pair.a.ip('-j', '-6', 'addr', 'show', 'dev', 'outer', 'scope', 'link').stdout)
    ours = [i['local'] for link in shown for i in link.get('addr_info', ()) if 'local' in i][0]
    wait_for(lambda: 'tentative' not in pair.p.ip('-6', 'addr', 'show', 'dev', 'outer').stdout)
    wait_for(lambda: 'tentative' not in pair.a.ip('-6', 'addr', 'show', 'dev', 'outer').stdout)
    with pair.p:
        scope = socket.if_nametoindex('outer')
    peer.address = (ours, 51820, 0, scope)
    pair.reply()
    pair.hear()
    where = pair.show('endpoints')
    lab.see('by a link-local address, with its interface', [where.startswith('[fe80:'), where.rpartition('%')[2]],
            [True, 'outer]:51902'])
    pair.say()
    got = peer.messages(1)
    lab.see('sends there', [m.source[0].startswith('fe80:') for m in got], [True])
    # Not by what isn't authentic, or was there before.
    old = peer.message(b'')
    peer.address = ('10.1.0.1', 51820)
    peer.bind(51903)
    pair.reply()
    pair.hear()
    peer.raw(old)
    pair.barrier()
    peer.bind(51904)
    peer.raw(old)
    peer.raw(peer.message(b'')[:-1] + b'x')
    peer.bind(51903)
    pair.barrier()
    lab.see('not by a replayed or forged message', pair.show('endpoints'), '10.1.0.2:51903')
    peer.bind(51905)
    lab.see('handshake from another port', peer.initiate(), True)
    lab.see('by a handshake', pair.show('endpoints'), '10.1.0.2:51905')


@row('two peers, and a prefix that moves between them')
def two_peers(lab):
    pair = lab.pair()
    other = lab.keep(Peer(pair.p, 'other', port=51901))
    other.address = pair.peer.address
    pair.wg('peer', b64encode(other.public).decode(), 'endpoint', '10.1.0.2:51901', 'allowed-ips', '192.168.5.3/32',
            must=True)
    lab.see('to the first', len(outer(pair) or ()), 3)
    pair.socket().sendto(b'x', ('192.168.5.3', 7))
    lab.see('to the second', len(other.messages(1)), 1)
    pair.wg('peer', b64encode(other.public).decode(), 'allowed-ips', '192.168.5.2/32,192.168.5.3/32', must=True)
    pair.say()
    lab.see('its prefix taken over', [len(other.messages(1)), len(pair.peer.messages(1, 0.3))], [1, 0])
    before = pair.stats()
    pair.reply()
    lab.see('what the first sends is dropped then', [pair.hear(timeout=0.5), pair.change(before)],
            [None, {'rx_errors': 1, 'rx_frame_errors': 1}])
