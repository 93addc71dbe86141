#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Counters that anybody may read, as they are for somebody without a right to any.

usage (in the guest): tests/smoke/eyes.py

Prints what it sees of the network namespace that it is in, as a line of JSON, for each line that it
is given. tests/smoke/drops.py has it run by nobody, and by root of another user namespace.

Not looked at is what tells how busy the machine is, whatever it does: /proc/net/softnet_stat, /proc/interrupts,
/proc/stat; and what this end sends by itself.
"""

import glob
import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
# With their groups gone, and with no more capabilities than the namespace of users that the second one makes gives.
NOBODY = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all')
WHO = {'nobody': NOBODY, 'root of another user namespace': (*NOBODY, 'unshare', '--user', '--map-root-user')}
DEVICE = 'wg0'


def lines(path):
    """Of a file that is there."""
    try:
        with open(path, encoding='ascii', errors='replace') as file:
            return file.read().splitlines()
    except OSError:
        return []


def protocols():
    """What UDP and IPv6 have counted, but for what was sent."""
    names = []
    for line in lines('/proc/net/snmp') + lines('/proc/net/netstat'):
        prefix, *words = line.split()
        if prefix in ('Udp:', 'UdpLite:', 'TcpExt:', 'Icmp:'):
            if not words[0].lstrip('-').isdigit():
                names = words
            else:
                yield from ((f'{prefix}{name}', int(value)) for name, value in zip(names, words))
    for path, prefix in (('/proc/net/snmp6', ('Udp6', 'UdpLite6')), (f'/proc/net/dev_snmp6/{DEVICE}', ('Ip6',))):
        for line in lines(path):
            name, value = line.split()[:2]
            if name.startswith(prefix):
                yield f'{os.path.basename(path)}:{name}', int(value)


def interface():
    """Of the interface, where it is: sysfs, /proc/net/dev and what rtnetlink and ethtool say."""
    for path in glob.glob(f'/sys/class/net/{DEVICE}/statistics/*'):
        yield f'sysfs:{os.path.basename(path)}', int(lines(path)[0])
    for line in lines('/proc/net/dev'):
        name, _, values = line.partition(':')
        if name.strip() == DEVICE:
            yield from ((f'dev:{"tx_" if n >= 8 else ""}{n}', int(value)) for n, value in enumerate(values.split()))
    if not os.path.exists(f'/sys/class/net/{DEVICE}'):
        return
    said = subprocess.run(['ip', '-s', '-s', '-j', 'link', 'show', DEVICE], capture_output=True, text=True, timeout=60, check=True).stdout
    for way, values in json.loads(said)[0]['stats64'].items():
        yield from ((f'link:{way}_{name}', value) for name, value in values.items())
    said = subprocess.run(['ethtool', '-S', DEVICE], capture_output=True, text=True, timeout=60, check=True).stdout
    for line in said.splitlines():
        name, colon, value = line.strip().partition(': ')
        if colon and value.isdigit():
            yield f'ethtool:{name}', int(value)


def sockets():
    """UDP's: what waits to be read, and what was lost; the same of netlink's, that is of who listens."""
    for version in ('udp', 'udp6'):
        for line in lines(f'/proc/net/{version}')[1:]:
            words = line.split()
            yield f'{version}:{words[1]}:waiting', int(words[4].split(':')[1], 16)
            yield f'{version}:{words[1]}:lost', int(words[-1])
    for line in lines('/proc/net/netlink')[1:]:
        words = line.split()
        if words[3] != '00000000':
            yield f'netlink:{words[1]}:{words[2]}:waiting', int(words[4])
            yield f'netlink:{words[1]}:{words[2]}:lost', int(words[8])


def seen():
    """All of that: by name, what was not sent by this end."""
    found = dict([*protocols(), *interface(), *sockets()])
    return {name: value for name, value in found.items() if 'Out' not in name and 'tx_' not in name}


def closed():
    """What of these is open to be read, which should not be."""
    places = ['/sys/kernel/tracing/trace', '/sys/kernel/tracing/events/wireguard_rs/packet_dropped/id', '/sys/kernel/tracing/events/wireguard_rs/enable',
              '/sys/kernel/debug/tracing/trace', '/proc/slabinfo', '/proc/kcore']
    return [place for place in places if os.access(place, os.R_OK)]


class Eyes:
    """Somebody who looks, in a namespace."""

    def __init__(self, ns, before):
        self.process = subprocess.Popen(['ip', 'netns', 'exec', ns.name, *before, 'python3', os.path.abspath(__file__)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.closed = json.loads(self.process.stdout.readline())

    def look(self):
        """What he sees now."""
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        """He goes."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


def main():
    """As told."""
    print(json.dumps(closed()), flush=True)
    for _ in sys.stdin:
        print(json.dumps(seen()), flush=True)


if __name__ == '__main__':
    main()
