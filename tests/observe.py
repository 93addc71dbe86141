#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A client of the generic netlink family `wireguard_rs`, which knows it from its specification.

usage (in the guest): tests/observe.py [INTERFACE [local-gso=0|1]]

Prints a line of JSON for the interface, or for each of the namespace; or changes it.
"""

import functools
import json
import os
import struct
import sys

import yaml

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, 'sanitize'))
import nl  # noqa: E402

SPEC = os.path.join(HERE, '../Documentation/netlink/specs/wireguard_rs.yaml')


@functools.cache
def specification():
    """What the file says."""
    with open(SPEC, encoding='utf-8') as file:
        return yaml.safe_load(file)


class Family:
    """The family, by sockets of the namespace this process is in now."""

    def __init__(self):
        spec = specification()
        self.name = spec['name']
        self.sets = {}
        for attributes in spec['attribute-sets']:
            number, table = 0, {}
            for attribute in attributes['attributes']:
                number = attribute.get('value', number + 1)
                table[number] = attribute
            self.sets[attributes['name']] = table
        self.operations = {o['name']: o['value'] for o in spec['operations']['list']}
        self.netlink = nl.Netlink()
        error, bodies = self.netlink.call(16, 16, struct.pack('=BBH', 3, 1, 0) + nl.name(2, self.name))
        if error:
            raise OSError(error, f'no family {self.name}')
        self.number = next(struct.unpack('=H', p)[0] for k, p in walk(bodies[0][4:]) if k == 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.netlink.close()

    def decode(self, data, name):
        """Attributes of a set, in the order in which they come. One that the specification does not
        have is an error."""
        found = {}
        for kind, payload in walk(data):
            attribute = self.sets[name][kind]
            match attribute['type']:
                case 'nest':
                    value = self.decode(payload, attribute['nested-attributes'])
                case 'string':
                    value = payload.rstrip(b'\0').decode()
                case 'u8' | 'u32' | 'uint':
                    value = int.from_bytes(payload, sys.byteorder)
            found[attribute['name']] = value
        return found

    def call(self, operation, attributes=b'', dump=False):
        """(errno, answers)"""
        body = struct.pack('=BBH', self.operations[operation], 1, 0) + attributes
        error, bodies = self.netlink.call(16, self.number, body, nl.NLM_F_DUMP if dump else nl.NLM_F_ACK)
        return error, [self.decode(b[4:], 'device') for b in bodies]

    def device(self, name):
        """(errno, the device that is called so)"""
        error, answers = self.call('device-get', nl.name(2, name))
        return error, answers[0] if answers else None

    def local_gso(self, name, on):
        """Has packets of UDP's GSO kind taken whole there, or not; errno."""
        return self.call('device-set', nl.name(2, name) + nl.attr(4, bytes([on])))[0]

    def devices(self):
        """(errno, those of the namespace)"""
        return self.call('device-get', dump=True)


def walk(data):
    """The attributes in some bytes: (type without flags, payload)."""
    while data:
        length, kind = struct.unpack('=HH', data[:4])
        yield kind & 0x3fff, data[4:length]
        data = data[(length + 3) & ~3:]


def reasons():
    """The reasons to drop something, in order."""
    return [a['name'] for s in specification()['attribute-sets'] if s['name'] == 'drops' for a in s['attributes']]


def drops(name):
    """What an interface of this namespace has dropped, by reason."""
    with Family() as family:
        error, device = family.device(name)
    if error:
        raise OSError(error, os.strerror(error), name)
    return device['drops']


def main():
    """Prints."""
    name, change = (sys.argv[1:] + [None] * 2)[:2]
    with Family() as family:
        if change:
            error, found = family.local_gso(name, int(change.removeprefix('local-gso='))), []
        else:
            error, found = family.call('device-get', nl.name(2, name)) if name else family.devices()
    for device in found:
        print(json.dumps(device))
    if error:
        print(f'observe: {os.strerror(error)}', file=sys.stderr)
    return int(error != 0)


if __name__ == '__main__':
    sys.exit(main())
