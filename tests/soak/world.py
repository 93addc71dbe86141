# SPDX-License-Identifier: GPL-2.0
"""Two ends of a tunnel, and one loop for all that they do: datagrams, answers to them, events.

Nothing here starts a process where it can be helped: on the instruction clock that is what costs.
"""

import os
import re
import select
import socket
import struct
import subprocess
import time
from base64 import b64decode, b64encode

import observe
from netns import Inside
from observe import nl

INNER_PORT, NOBODY_PORT = 7000, 9
# Drops of what came to a port, as against what was to be sent.
RECEIVED = [reason for reason in observe.reasons() if not reason.startswith('tx-')]


def now():
    """Seconds, with suspend; clock steps don't matter to it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(*command, text=None):
    """What a command prints; it must succeed."""
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=600, check=True).stdout


class End(Inside):
    """A namespace with wg0, whose only peer of importance is the other end."""

    def __init__(self, number):
        self.number = number
        super().__init__('left' if number == 1 else 'right')
        self.private = b64decode(run('wg', 'genkey'))
        self.other = self.key = None
        self.outer, self.port = f'10.0.0.{number}', 51820
        self.inner = f'192.168.77.{number}'
        # What interfaces that are gone had counted; what was lost on the way, or came from elsewhere.
        self.gone = {'sent': 0, 'received': 0, 'drops': dict.fromkeys(observe.reasons(), 0)}
        self.cut, self.injected = 0, 0
        run('ip', 'netns', 'add', self.name)
        with self:
            run('ip', 'link', 'set', 'lo', 'up')
            self.netlink, self.family = nl.Netlink(), observe.Family()
            self.ears = self.family.listen()
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        self.socket.bind(('0.0.0.0', INNER_PORT))
        self.socket.setblocking(False)
        # As events tell it: the device's index; of each peer its number and endpoint; whether there is a session.
        self.told, self.told_peers, self.session = None, {}, False

    # ---- configuration

    def must(self, error, what):
        """Raises for an errno."""
        if error:
            raise OSError(error, os.strerror(error), f'{self.name}: {what}')

    def set(self, what, *attrs):
        """A request of the family `wireguard`."""
        self.must(self.netlink.set('wg0', *attrs), what)

    def set_peer(self, key, *attrs, flags=0):
        """Of one peer."""
        more = [nl.u32(nl.P_FLAGS, flags)] if flags else []
        self.set('peer', nl.nest(nl.PEERS, nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, key), *more, *attrs)))

    def add_other(self):
        """The other end, as a peer."""
        self.set_peer(self.other.key, nl.endpoint(self.other.outer, self.other.port),
                      nl.nest(nl.P_ALLOWEDIPS, nl.prefix(socket.inet_aton(self.other.inner), 32)))

    def keepalive(self, seconds):
        """Every so many seconds; 0: none."""
        self.set_peer(self.other.key, nl.u16(nl.P_KEEPALIVE, seconds))

    def make(self):
        """wg0, configured and up."""
        with self:
            self.must(self.netlink.add_link('wg0'), 'add wg0')
            self.set('key and port', nl.attr(nl.PRIVATE_KEY, self.private), nl.u16(nl.LISTEN_PORT, self.port))
            self.add_other()
            self.must(self.netlink.add_addr('wg0', socket.inet_aton(self.inner), 24), 'address')
            self.up(True)

    def up(self, yes):
        """ip link set wg0 up or down; going down ends sessions."""
        self.must(self.netlink.set_link('wg0', yes), 'up or down')
        if not yes:
            self.session = False

    def remove(self):
        """wg0 goes; what it has counted stays."""
        self.up(False)
        counted = self.counted()
        self.must(self.netlink.del_link('wg0'), 'delete wg0')
        self.gone = counted

    # ---- what it says

    def device(self):
        """The family `wireguard_rs` of wg0."""
        error, found = self.family.device('wg0')
        self.must(error, 'device-get')
        return found

    def shown(self):
        """Its peers, by key."""
        error, found = self.family.peers('wg0')
        self.must(error, 'peer-get')
        return {peer['public-key']: peer for peer in found}

    def counted(self):
        """Messages sent and received, and drops by reason, since the beginning."""
        with self:
            with open('/proc/thread-self/net/dev', encoding='ascii') as file:
                line = next((line for line in file if line.strip().startswith('wg0:')), None)
        if line is None:
            return self.gone
        words = line.split(':')[1].split()
        drops = self.device()['drops']
        return {'sent': self.gone['sent'] + int(words[9]), 'received': self.gone['received'] + int(words[1]),
                'drops': {reason: drops[reason] + before for reason, before in self.gone['drops'].items()}}

    def no_port(self):
        """Datagrams that came to a port which nobody had, or were refused by the socket."""
        with self:
            with open('/proc/thread-self/net/snmp', encoding='ascii') as file:
                names, values = [line.split()[1:] for line in file if line.startswith('Udp:')]
        udp = dict(zip(names, map(int, values)))
        return udp['NoPorts'] + udp['InErrors']

    def missed_events(self):
        """Those for which there was no room, of all sockets of the namespace."""
        with self:
            with open('/proc/thread-self/net/netlink', encoding='ascii') as file:
                return sum(int(line.split()[8]) for line in list(file)[1:])

    def hear(self, name, contents):
        """An event changes what was told."""
        key = contents.get('public-key')
        if 'ifname' in contents and contents['ifname'] != 'wg0':
            return
        match name:
            case 'device-added':
                self.told, self.told_peers = contents['ifindex'], {}
            case 'device-removed':
                self.told, self.told_peers, self.session = None, {}, False
            case 'peer-added':
                self.told_peers[key] = (contents['id'], contents.get('endpoint'))
            case 'peer-removed':
                self.told_peers.pop(key, None)
                self.session = self.session and key != self.other.key.hex()
            case 'peer-changed' | 'endpoint-changed' | 'session-established' | 'session-expired':
                # The first session may be told before the peer is; it isn't here, whose one thread adds peers.
                self.told_peers[key] = (contents['id'], contents.get('endpoint', self.told_peers[key][1]))
        if key == self.other.key.hex() and name.startswith('session-'):
            self.session = name == 'session-established'


class World:
    """Both ends, and what has happened."""

    def __init__(self):
        self.ends = self.left, self.right = End(1), End(2)
        self.left.other, self.right.other = self.right, self.left
        for end in self.ends:
            end.key = b64decode(run('wg', 'pubkey', text=b64encode(end.private).decode()))
        run('ip', '-n', 'left', 'link', 'add', 'outer', 'type', 'veth', 'peer', 'name', 'outer', 'netns', 'right')
        for end in self.ends:
            run('ip', '-n', end.name, 'addr', 'add', f'{end.outer}/24', 'dev', 'outer')
            run('ip', '-n', end.name, 'link', 'set', 'outer', 'up')
            with end:
                run('iptables', '-w', '-t', 'raw', '-N', 'cut')
                run('iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-i', 'outer', '-p', 'udp', '-j', 'cut')
        self.events, self.number, self.unanswered = [], 0, set()
        self.datagrams = self.slept = 0
        for end in self.ends:
            end.make()
        self.turn(1)

    # ---- the loop

    def turn(self, seconds, until=lambda: False):
        """Lets time pass, or what `until` waits for happen; whether it has."""
        deadline = now() + seconds
        watched = {s.fileno(): (end, kind) for end in self.ends for s, kind in ((end.ears, 'event'), (end.socket, 'data'))}
        poll = select.poll()
        for fd in watched:
            poll.register(fd, select.POLLIN)
        while not until():
            left = deadline - now()
            if left <= 0:
                return False
            for fd, _ in poll.poll(left * 1000 + 1):
                end, kind = watched[fd]
                if kind == 'event':
                    self.listen(end)
                else:
                    self.answer(end)
        return True

    def listen(self, end):
        """Events that have come. ENOBUFS ends it all: one is lost."""
        for name, contents in end.family.received(end.ears):
            end.hear(name, contents)
            self.events.append((now(), end, name, contents))

    def answer(self, end):
        """Datagrams that have come: a question is sent back, an answer noted."""
        while True:
            try:
                data, source = end.socket.recvfrom(65536)
            except BlockingIOError:
                return
            if data[:1] == b'Q':
                end.socket.sendto(b'A' + data[1:], source)
            elif data[:1] == b'A':
                self.unanswered.discard(struct.unpack('=Q', data[1:9])[0])

    def ask(self, end, count, size):
        """Sends questions, and waits for nothing; their numbers."""
        asked = []
        for _ in range(count):
            self.number += 1
            asked.append(self.number)
            end.socket.sendto(b'Q' + struct.pack('=Q', self.number) + bytes(size - 9), (end.other.inner, INNER_PORT))
        self.unanswered |= set(asked)
        self.datagrams += count
        return asked

    def exchange(self, end, count=1, size=100, seconds=30):
        """How many of so many questions are not answered within that time."""
        self.ask(end, count, size)
        self.turn(seconds, lambda: not self.unanswered)
        missing, self.unanswered = len(self.unanswered), set()
        return missing

    # ---- what else may happen to them

    def cut(self, yes):
        """Nothing arrives from the other end, either way; what is lost is counted."""
        for end in self.ends:
            with end:
                if yes:
                    run('iptables', '-w', '-t', 'raw', '-A', 'cut', '-j', 'DROP')
                else:
                    listed = run('iptables', '-w', '-t', 'raw', '-nvxL', 'cut')
                    end.cut += int(re.search(r'^\s*(\d+)\s+\d+\s+DROP', listed, re.M)[1])
                    run('iptables', '-w', '-t', 'raw', '-F', 'cut')

    def roam(self, end, outer, port):
        """That end is somewhere else, from one moment to the next."""
        if outer != end.outer:
            # In this order: with the first address of a subnet the others go, too.
            run('ip', '-n', end.name, 'addr', 'del', f'{end.outer}/24', 'dev', 'outer')
            run('ip', '-n', end.name, 'addr', 'add', f'{outer}/24', 'dev', 'outer')
        end.set('port', nl.u16(nl.LISTEN_PORT, port))
        end.outer, end.port = outer, port

    def inject(self, end, data):
        """A datagram of a stranger to that end's port."""
        end.other.stranger.sendto(data, (end.outer, end.port))
        end.injected += 1

    def take(self):
        """Events since the last call."""
        taken, self.events = self.events, []
        return taken
