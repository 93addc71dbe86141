#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage (in the guest, in a network namespace of its own): tests/clients/pyroute2_client.py

pyroute2: links through IPRoute, configuration through its WireGuard class. Each
step's name, outcome and status go to stdout, as those of lib.sh's step do.
"""

import base64
import hashlib
import sys

from pyroute2 import IPRoute, WireGuard

KEYS = [base64.b64encode(hashlib.sha256(b'pyroute2 %d' % n).digest()).decode() for n in range(400)]
# What a run decides.
VARYING = ('pid', 'header', 'event', 'IFLA_STATS', 'IFLA_STATS64', 'IFLA_AF_SPEC', 'WGDEVICE_A_IFINDEX')


def plain(x):
    """A message as nested lists that print the same in every run."""
    if hasattr(x, 'get') and x.get('attrs') is not None:
        rest = {k: plain(v) for k, v in x.items() if k not in ('attrs', *VARYING)}
        return [sorted(rest.items()), [(a[0], plain(a[1])) for a in x['attrs'] if a[0] not in VARYING]]
    if isinstance(x, dict):
        return sorted((k, plain(v)) for k, v in x.items() if k not in VARYING)
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return x


def step(want, name, what):
    """`want` is 0, or the errno that it must fail with, or None for any."""
    print(f'== {name}')
    status = 0
    try:
        result = what()
        for r in result if isinstance(result, (list, tuple)) else [result]:
            print(plain(r))
    except Exception as e:  # whatever it is, it has to be the same
        status = getattr(e, 'code', None) or getattr(e, 'errno', None) or -1
        print(f'{type(e).__name__}: {e}')
    print(f'-- status {status}' + ('' if want is None or status == want else f', wanted {want}'), flush=True)


def main():
    with IPRoute() as ip, WireGuard() as wg:
        index = lambda: ip.link_lookup(ifname='wgp')[0]  # noqa: E731
        info = lambda: wg.info('wgp')  # noqa: E731
        step(0, 'link add', lambda: ip.link('add', ifname='wgp', kind='wireguard'))
        step(17, 'link add again', lambda: ip.link('add', ifname='wgp', kind='wireguard'))
        step(0, 'link', lambda: [m.get_attr('IFLA_LINKINFO') for m in ip.get_links(index())])
        step(0, 'info of a new one', info)
        step(0, 'set', lambda: wg.set('wgp', private_key=KEYS[0], listen_port=2345, fwmark=0x55))
        step(0, 'info', info)
        peer = {'public_key': KEYS[1], 'preshared_key': KEYS[2], 'endpoint_addr': '192.0.2.7', 'endpoint_port': 77,
                'persistent_keepalive': 15, 'allowed_ips': ['10.0.0.0/24', '10.1.0.0/16', 'fd00::/64']}
        step(0, 'set a peer', lambda: wg.set('wgp', peer=peer))
        step(0, 'info', info)
        step(0, 'set another peer', lambda: wg.set('wgp', peer={
            'public_key': KEYS[3], 'endpoint_addr': '2001:db8::7', 'endpoint_port': 78,
            'allowed_ips': ['10.0.0.0/24']}))
        step(0, 'info', info)
        step(0, 'replace allowed IPs', lambda: wg.set('wgp', peer={
            'public_key': KEYS[1], 'replace_allowed_ips': True, 'allowed_ips': ['10.2.0.0/16']}))
        step(0, 'info', info)
        step(0, 'remove a peer', lambda: wg.set('wgp', peer={'public_key': KEYS[3], 'remove': True}))
        step(0, 'info', info)
        for n in range(10, 60):
            step(0, f'peer {n}', lambda n=n: wg.set('wgp', peer={
                'public_key': KEYS[n], 'allowed_ips': [f'10.{n}.{i}.0/24' for i in range(20)]}))
        step(0, 'info of many', info)
        step(0, 'up', lambda: ip.link('set', index=index(), state='up'))
        step(0, 'set a port while up', lambda: wg.set('wgp', listen_port=2346))
        step(0, 'info', info)
        step(95, 'info of what is no wireguard', lambda: wg.info('lo'))
        step(19, 'info of nothing', lambda: wg.info('nope'))
        step(19, 'set of nothing', lambda: wg.set('nope', fwmark=1))
        step(0, 'down and del', lambda: [ip.link('set', index=index(), state='down'), ip.link('del', index=index())])
        step(19, 'info after that', info)
    return 0


if __name__ == '__main__':
    sys.exit(main())
