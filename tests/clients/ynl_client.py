#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage (in the guest, in a network namespace of its own): tests/clients/ynl_client.py DIR

The kernel's YNL client with the family's specification: do, dump, several in
one message, extended acknowledgements, policies. DIR holds tools/net/ynl/pyynl
of the kernel's source as pyynl, and wireguard.yaml.
"""

import os
import socket
import subprocess
import sys

from steps import key, step


def sockaddr4(addr, port):
    return (b'\2\0' + port.to_bytes(2, 'big') + socket.inet_aton(addr) + bytes(8)).hex()


def sockaddr6(addr, port):
    return (b'\12\0' + port.to_bytes(2, 'big') + bytes(4) + socket.inet_pton(socket.AF_INET6, addr) + bytes(4)).hex()


def prefix(addr, cidr, **more):
    return {'family': 10 if ':' in addr else 2, 'ipaddr': addr, 'cidr-mask': cidr, **more}


def peer(n, **more):
    return {'public-key': key(n).hex(), **more}


def conversation(ynl, again, index):
    def put(want, name, **attrs):
        step(want, name, lambda: ynl.do('set-device', attrs))

    def dump(name, client=ynl):
        step(0, f'dump: {name}', lambda: client.dump('get-device', {'ifname': 'wg0'}))

    for op, mode in (('set-device', 'do'), ('get-device', 'dump')):
        step(0, f'policy of {op}', lambda op=op, mode=mode: ynl.get_policy(op, mode).to_dict())
    dump('a new interface')
    put(0, 'key, port, mark', **{'ifname': 'wg0', 'private-key': key(0).hex(), 'listen-port': 4242, 'fwmark': 7})
    dump('key, port, mark')
    put(0, 'peers', ifindex=index, peers=[
        peer(1, **{'preshared-key': key(9).hex(), 'persistent-keepalive-interval': 5,
                   'endpoint': sockaddr4('192.0.2.1', 1234),
                   'allowedips': [prefix('10.0.0.0', 8), prefix('fd00::', 64)]}),
        peer(2, **{'protocol-version': 1, 'endpoint': sockaddr6('2001:db8::1', 1),
                   'allowedips': [prefix('10.0.0.0', 8), prefix('10.1.0.0', 16)]})])
    dump('peers')
    put(0, 'an allowed IP removed', ifname='wg0', peers=[
        peer(2, allowedips=[prefix('10.0.0.0', 8, flags=['remove-me'])])])
    dump('an allowed IP removed')
    put(0, 'update-only, of none and of one', ifname='wg0', peers=[
        peer(3, flags=['update-only']),
        peer(2, **{'flags': ['update-only', 'replace-allowedips'], 'persistent-keepalive-interval': 65535})])
    dump('update-only')
    put(22, 'cidr out of range', ifname='wg0', peers=[peer(2, allowedips=[prefix('10.0.0.0', 33)])])
    put(96, 'version 2', ifname='wg0', peers=[peer(4), peer(2, **{'protocol-version': 2}), peer(5)])
    put(22, 'a peer without a key', ifname='wg0', peers=[{'flags': ['remove-me']}])
    put(22, 'flags outside the mask', ifname='wg0', flags=2)
    put(34, 'a key that is too short', **{'ifname': 'wg0', 'private-key': '0011'})
    # The client can't say where in an array it is, but it's told.
    put(None, 'a peer\'s key that is too short', ifname='wg0', peers=[{'public-key': '0011'}])
    put(None, 'a peer\'s flags outside the mask', ifname='wg0', peers=[peer(2, flags=8)])
    put(53, 'neither name nor index', fwmark=1)
    put(53, 'name and index', ifname='wg0', ifindex=index)
    put(19, 'no such interface', ifname='nope')
    put(95, 'not wireguard', ifname='lo')
    put(None, 'a name that is too long', ifname='sixteen-letters-')
    step(19, 'dump of no such interface', lambda: ynl.dump('get-device', {'ifname': 'nope'}))
    step(53, 'dump of neither', lambda: ynl.dump('get-device', {}))
    step(22, 'dump with what is only for set', lambda: ynl.dump('get-device', {'ifname': 'wg0', 'fwmark': 1}))
    step(95, 'get instead of dump', lambda: ynl.do('get-device', {'ifname': 'wg0'}))
    step(None, 'several in one', lambda: ynl.do_multi([
        ('set-device', {'ifname': 'wg0', 'fwmark': 8}, []), ('set-device', {'ifname': 'wg0', 'listen-port': 9}, [])]))
    dump('after the errors')
    for at in range(100, 300, 20):
        put(0, f'peers {at} to {at + 19}', ifname='wg0', peers=[
            peer(n, allowedips=[prefix(f'10.{n % 256}.{i}.0', 24) for i in range(4)]) for n in range(at, at + 20)])
    dump('many')
    dump('many, in small parts', again)
    put(0, 'all replaced', ifname='wg0', flags=['replace-peers'], peers=[peer(1)])
    dump('one')


def main():
    where = sys.argv[1]
    sys.path.insert(0, where)
    from pyynl.lib import YnlFamily
    spec = os.path.join(where, 'wireguard.yaml')
    subprocess.run(['ip', 'link', 'add', 'wg0', 'index', '77', 'type', 'wireguard'], check=True)
    conversation(YnlFamily(spec, schema=''), YnlFamily(spec, schema='', recv_size=4000), 77)

    def cli():
        r = subprocess.run(['python3', os.path.join(where, 'pyynl/cli.py'), '--spec', spec, '--no-schema',
                            '--output-json', '--dump', 'get-device', '--json', '{"ifname": "wg0"}'],
                           capture_output=True, text=True, timeout=60)
        return [r.returncode, r.stdout, r.stderr]
    step(0, 'the command line client', cli)


if __name__ == '__main__':
    main()
