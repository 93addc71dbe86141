#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A client of the generic netlink family `wireguard_rs`, which knows it from its specification.

usage (in the guest): tests/observe.py [INTERFACE [SWITCH=0|1] | --peers INTERFACE | --auto-mtu INTERFACE 0|1
    | --bind INTERFACE [dev=NAME | index=N] [v4=ADDRESS] [v6=ADDRESS] | --join]

Prints a line of JSON for the interface, or for each of the namespace, or for each of an interface's peers;
or changes the interface; or joins the group of the events and prints their names and contents as they come.
"""

import functools
import json
import os
import socket
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


SOL_NETLINK, ADD_MEMBERSHIP, NLM_F_DUMP_INTR = 270, 1, 0x10


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
        self.enums = {}
        for definition in spec['definitions']:
            number, table = -1, {}
            for entry in definition['entries']:
                number = entry.get('value', number + 1)
                table[number] = entry['name']
            self.enums[definition['name']] = table
        self.operations = {o['name']: o for o in spec['operations']['list']}
        self.events = {o['value']: o for o in spec['operations']['list'] if 'event' in o}
        self.netlink = nl.Netlink()
        error, bodies = self.netlink.call(16, 16, struct.pack('=BBH', 3, 1, 0) + nl.name(2, self.name))
        if error:
            raise OSError(error, f'no family {self.name}')
        family = dict(nl.attributes(bodies[0][4:]))
        self.number = struct.unpack('=H', family[1])[0]
        groups = [dict(nl.attributes(group)) for _, group in nl.attributes(family.get(7, b''))]
        self.groups = {g[1].rstrip(b'\0').decode(): struct.unpack('=I', g[2])[0] for g in groups}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.netlink.close()

    def decode(self, data, name):
        """Attributes of a set, in the order in which they come. One that the specification does not
        have is an error."""
        found = {}
        for kind, payload in nl.attributes(data):
            attribute = self.sets[name][kind]
            match attribute['type']:
                case 'nest':
                    value = self.decode(payload, attribute['nested-attributes'])
                case 'string':
                    value = payload.rstrip(b'\0').decode()
                case 'binary':
                    value = payload.hex()
                case 'flag':
                    value = True
                case 'u8' | 'u32' | 'uint':
                    value = int.from_bytes(payload, sys.byteorder)
                    if 'enum' in attribute:
                        value = self.enums[attribute['enum']][value]
            if attribute['name'] in found:
                raise ValueError(f'{attribute["name"]} twice')
            found[attribute['name']] = value
        return found

    def call(self, operation, attributes=b'', dump=False):
        """(errno, answers)"""
        what = self.operations[operation]
        body = struct.pack('=BBH', what['value'], 1, 0) + attributes
        error, bodies = self.netlink.call(16, self.number, body, nl.NLM_F_DUMP if dump else nl.NLM_F_ACK)
        return error, [self.decode(b[4:], what['attribute-set']) for b in bodies]

    def peers(self, name):
        """(errno, those of an interface)"""
        return self.call('peer-get', nl.name(2, name), dump=True)

    def listen(self, room=1 << 23):
        """A socket that gets the events, with so many bytes of room; `None`: what everybody has."""
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        try:
            if room:
                # SO_RCVBUFFORCE, which not everybody may.
                sock.setsockopt(socket.SOL_SOCKET, 33, room)
            sock.bind((0, 0))
            sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, self.groups['events'])
        except OSError:
            sock.close()
            raise
        return sock

    def received(self, sock, timeout=0.0):
        """Events that are there, or come within that time: (name, contents). ENOBUFS is raised."""
        found = []
        sock.settimeout(timeout)
        while True:
            try:
                data = sock.recv(1 << 16)
            except (BlockingIOError, TimeoutError):
                return found
            sock.settimeout(0.0)
            while data:
                length, kind = struct.unpack('=IH', data[:6])
                if kind == self.number:
                    event = self.events[data[16]]
                    found.append((event['name'], self.decode(data[20:length], event['attribute-set'])))
                data = data[(length + 3) & ~3:]

    def device(self, name):
        """(errno, the device that is called so)"""
        error, answers = self.call('device-get', nl.name(2, name))
        return error, answers[0] if answers else None

    def bind(self, name, *to):
        """Binds the sockets there to what is named: dev, index, v4, v6 (FIELD=VALUE); errno."""
        attributes = {
            'dev': lambda value: nl.name(16, value),
            'index': lambda value: nl.attr(15, struct.pack('=I', int(value))),
            'v4': lambda value: nl.attr(17, socket.inet_pton(socket.AF_INET, value)),
            'v6': lambda value: nl.attr(18, socket.inet_pton(socket.AF_INET6, value)),
        }
        asked = (word.split('=') for word in to)
        return self.call('device-set', nl.name(2, name) + b''.join(attributes[field](value) for field, value in asked))[0]

    def switch(self, name, **switches):
        """Has switches there set, or not, by one request: local_gso, copy_dscp; errno."""
        numbers = {a['name']: n for n, a in self.sets['device'].items()}
        asked = (nl.attr(numbers[switch.replace('_', '-')], bytes([on])) for switch, on in switches.items())
        return self.call('device-set', nl.name(2, name) + b''.join(asked))[0]

    def local_gso(self, name, on):
        """Has packets of UDP's GSO kind taken whole there, or not; errno."""
        return self.switch(name, local_gso=on)

    def auto_mtu(self, name, key, on):
        """Has what is too long for the path to a peer refused there, or not; errno."""
        return self.call('peer-set', nl.name(2, name) + nl.attr(3, key) + nl.attr(21, bytes([on])))[0]

    def devices(self):
        """(errno, those of the namespace)"""
        return self.call('device-get', dump=True)


def reasons():
    """The reasons to drop something, in order."""
    return [a['name'] for s in specification()['attribute-sets'] if s['name'] == 'drops' for a in s['attributes']]


def device(name):
    """What is told of an interface of this namespace."""
    with Family() as family:
        error, found = family.device(name)
    if error:
        raise OSError(error, os.strerror(error), name)
    return found


def drops(name):
    """What an interface of this namespace has dropped, by reason."""
    return device(name)['drops']


def follow(family):
    """Prints events for ever."""
    with family.listen() as sock:
        while True:
            for name, contents in family.received(sock, 3600):
                print(name, json.dumps(contents), flush=True)


def main():
    """Prints."""
    with Family() as family:
        match sys.argv[1:]:
            case ['--join']:
                try:
                    follow(family)
                except OSError as e:
                    error, found = e.errno, []
            case ['--peers', name]:
                error, found = family.peers(name)
            case ['--auto-mtu', name, on]:
                error, found = family.peers(name)
                for peer in found:
                    error = error or family.auto_mtu(name, bytes.fromhex(peer['public-key']), on == '1')
                found = []
            case ['--bind', name, *to]:
                error, found = family.bind(name, *to), []
            case [name, change]:
                switch, on = change.split('=')
                error, found = family.switch(name, **{switch: int(on)}), []
            case [name]:
                error, found = family.call('device-get', nl.name(2, name))
            case _:
                error, found = family.devices()
    for one in found:
        print(json.dumps(one))
    if error:
        print(f'observe: {os.strerror(error)}', file=sys.stderr)
    return int(error != 0)


if __name__ == '__main__':
    sys.exit(main())
