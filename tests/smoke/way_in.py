#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Who calls from inside a tunnel is not answered in there, around the user's routes.

usage (in the guest): tests/smoke/way_in.py [WORD]...

A client whose routes lead everything into the tunnel (0.0.0.0/1 and 128.0.0.0/1), but for a route of its own to
the hub, by the uplink. The hub is hostile: it sends an initiation, of its own or another's, inside the tunnel. The way back is
for who calls by another uplink, so the routes have their say as with the C driver.
"""

import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from lab import b64encode, report, run_parts, udp  # noqa: E402
from wgpeer import Peer  # noqa: E402

HALVES = {4: ('0.0.0.0/1', '128.0.0.0/1'), 6: ('::/1', '8000::/1')}


def through_the_tunnel(pair, version, excepted, rp_filter):
    """The routes of the client; `excepted` leaves by the uplink."""
    pair.set_peer('allowed-ips', '0.0.0.0/0,::/0')
    for where in 'all', 'wg0', 'outer':
        pair.a.sysctl(f'ipv4/conf/{where}/rp_filter', rp_filter)
    pair.a.ip(f'-{version}', 'route', 'add', excepted, 'dev', 'outer')
    for half in HALVES[version]:
        pair.a.ip(f'-{version}', 'route', 'add', half, 'dev', 'wg0')


def made(peer):
    """An initiation of `peer`, not sent."""
    raw, kept = peer.raw, []
    peer.raw = lambda data, *_more, **_how: kept.append(data)
    peer.initiate(timeout=0)
    peer.raw = raw
    return kept[0]


def own(lab, version, rp_filter):
    pair = lab.pair(outer=version)
    peer = pair.peer
    here, there = pair.outer[version]
    through_the_tunnel(pair, version, f'{there}/{32 if version == 4 else 128}', rp_filter)
    name = f'IPv{version}, rp_filter {rp_filter}'
    report(peer.initiate() and pair.works() == 'works', f'{name}: a tunnel')
    session = peer.session
    peer.send(udp(there, here, 51900, 51820, made(peer)), session=session)
    # By the uplink comes the answer, if rp_filter lets the call in, and then what is said.
    peer.messages(1, timeout=1)
    for n in range(5):
        pair.say(b'after %d' % n)
    report(any(peer.receive(1)), f'{name}: what is for the hub leaves by the uplink')
    with pair.a:
        drops = observe.drops('wg0')
    report(not drops['tx-loop'], f'{name}: and not into the tunnel', drops)


def another(lab):
    """A third party's call, which the hub has seen on its way, and hands on"""
    pair = lab.pair()
    hub = pair.peer
    pair.p.ip('addr', 'add', '10.1.0.3/24', 'dev', 'outer')
    through_the_tunnel(pair, 4, '10.1.0.2/31', 2)
    other = lab.keep(Peer(pair.p, 'third', port=51903))
    other.address = hub.address
    pair.wg('peer', b64encode(other.public).decode(), 'allowed-ips', '192.168.6.2/32', 'endpoint', '10.1.0.3:51903', must=True)
    report(hub.initiate() and pair.works() == 'works', 'a tunnel to the hub')
    hub.send(udp('10.1.0.3', '10.1.0.1', 51903, 51820, made(other)))
    outside = [m.kind for m in other.receive(5)]
    inside = [m.inner for m in hub.receive(0.5) if m.inner]
    report(outside and not inside, 'what is for the third party leaves by the uplink, not through the hub', f'{outside} {inside}')


def four_loose(lab):
    """IPv4, loose filter, as systemd has it"""
    own(lab, 4, 2)


def four_none(lab):
    """IPv4, none, as the kernel has it"""
    own(lab, 4, 0)


def four_strict(lab):
    """IPv4, strict"""
    own(lab, 4, 1)


def six(lab):
    """IPv6"""
    own(lab, 6, 0)


if __name__ == '__main__':
    sys.exit(run_parts('way in', (another, four_loose, four_none, four_strict, six)))
