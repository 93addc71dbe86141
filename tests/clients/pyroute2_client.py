#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage (in the guest, in a network namespace of its own): tests/clients/pyroute2_client.py

pyroute2: links through IPRoute, configuration through its WireGuard class. Each
step's name, outcome and status go to stdout, as those of lib.sh's step do.
"""

import sys

from pyroute2 import IPRoute, WireGuard

from steps import key64, step

KEYS = [key64(n) for n in range(100)]


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
