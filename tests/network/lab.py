# SPDX-License-Identifier: GPL-2.0
"""The guest's side: namespaces, cables, tunnels, captures, and the transcript."""

import errno
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
import traceback
from base64 import b64encode
from collections import namedtuple

from wgpeer import Peer, private

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from netns import Inside  # noqa: E402

ROWS = []
UNSET = object()
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
UDP_SEGMENT, SO_MARK, SO_PRIORITY, SO_SNDBUFFORCE, SO_RCVBUFFORCE = 103, 36, 12, 32, 33


def row(title):
    """Declares a row: a function that gets a Lab."""
    def declare(function):
        ROWS.append((f'{function.__module__.removeprefix("rows_")}: {title}', function))
        return function
    return declare


class Skip(Exception):
    """The row cannot be shown here; the reason is part of the transcript."""


def spell(number):
    """An errno by its name."""
    return errno.errorcode.get(number, str(number)) if number else 'ok'


def attempt(function, *args):
    """What a system call says."""
    try:
        function(*args)
    except OSError as e:
        return spell(e.errno)
    return 'ok'


def wait_for(condition, seconds=20):
    """Whether it comes true within that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# Names of what was not as it should be, by report().
FAILED = []


def report(good, name, detail=''):
    """Prints one check, for scripts that are no rows."""
    if not good:
        FAILED.append(name)
    print(f'{"ok" if good else "not ok"} - {name}{"" if good else f": {detail}"}', flush=True)


# ---------------------------------------------------------------- packets

def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def address(text):
    return socket.inet_pton(socket.AF_INET6 if ':' in text else socket.AF_INET, text)


def ip(src, dst, payload=b'', proto=17, tos=0, total=None, version=None):
    """A packet; `total` is what it says its length is (v6: of its payload)."""
    if ':' in src:
        head = struct.pack('!IHBB', (version or 6) << 28 | tos << 20, len(payload) if total is None else total, proto, 64)
        return head + address(src) + address(dst) + payload
    head = struct.pack('!BBHHHBBH', (version or 4) << 4 | 5, tos, 20 + len(payload) if total is None else total, 0, 0x4000,
                       64, proto, 0) + address(src) + address(dst)
    return head[:10] + struct.pack('!H', checksum(head)) + head[12:] + payload


def udp(src, dst, sport, dport, data, bad_checksum=False, **header):
    """An IP packet with a datagram in it."""
    length = 8 + len(data)
    pseudo = address(src) + address(dst) + struct.pack('!HH', 17, length)
    body = struct.pack('!HHHH', sport, dport, length, 0) + data
    total = checksum(pseudo + body) or 0xffff
    if bad_checksum:
        total ^= 0x5555
    return ip(src, dst, body[:6] + struct.pack('!H', total) + data, **header)


Outer = namedtuple('Outer', 'out version src dst tos ttl df fragment offset proto sport dport length kind')


def dissect(frame, out):
    """What the outer headers of an Ethernet frame say; None if they are none."""
    proto = struct.unpack('!H', frame[12:14])[0]
    body = frame[14:]
    if proto == ETH_P_IP:
        tos, total, _, flags, ttl, up = struct.unpack('!xBHHHBB', body[:10])
        src, dst = (socket.inet_ntop(socket.AF_INET, body[i:i + 4]) for i in (12, 16))
        more, offset, df = bool(flags & 0x2000), (flags & 0x1fff) * 8, bool(flags & 0x4000)
        payload, version = body[20:total], 4
    elif proto == ETH_P_IPV6:
        word, length, up, ttl = struct.unpack('!IHBB', body[:8])
        tos, total, df, more, offset = word >> 20 & 255, length + 40, None, False, 0
        src, dst = (socket.inet_ntop(socket.AF_INET6, body[i:i + 16]) for i in (8, 24))
        payload, version = body[40:total], 6
        if up == 44:
            up, bits = struct.unpack('!BxH4x', payload[:8])
            more, offset, payload = bool(bits & 1), bits & ~7, payload[8:]
    else:
        return None
    sport = dport = kind = None
    if up == 17 and offset == 0 and len(payload) >= 9:
        sport, dport = struct.unpack('!HH', payload[:4])
        kind = payload[8]
    return Outer(out, version, src, dst, tos, ttl, df, more or offset > 0, offset, up, sport, dport, total, kind)


class Capture:
    """What passes a device, from now on."""

    def __init__(self, ns, device, program=None):
        with ns:
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        if program:
            code = b''.join(struct.pack('=HBBI', op, 0, 0, k) for op, k in program)
            self.code = bytearray(code)     # must live as long as the call
            import ctypes
            buffer = (ctypes.c_char * len(code)).from_buffer(self.code)
            self.sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack('@HP', len(program), ctypes.addressof(buffer)))
        with ns:
            self.sock.bind((device, ETH_P_ALL))
        self.sock.setblocking(False)

    def close(self):
        self.sock.close()

    def frames(self):
        while True:
            try:
                data, where = self.sock.recvfrom(65536)
            except BlockingIOError:
                return
            yield data, where[2] == 4       # PACKET_OUTGOING

    def packets(self, udp_only=True):
        """Those since the last call."""
        found = [dissect(data, out) for data, out in self.frames()]
        return [p for p in found if p and (p.proto == 17 or not udp_only)]

    def sent(self, kind=None):
        """Those that went out, of one kind of message."""
        return [p for p in self.packets() if p.out and (kind is None or p.kind == kind)]


# ------------------------------------------------------------- namespaces

# Ports that rows send from inside the tunnel.
OWN = [f'{version}:{port}' for version in (4, 6) for port in range(5000, 6000)]


class Ns(Inside):
    """A network namespace; `with ns:` is being in it. Its canary shows when it is freed."""

    count = 0

    def __init__(self, name):
        Ns.count += 1
        super().__init__(name)
        self.canary = f'canary{Ns.count}'
        command('ip', 'netns', 'add', name, must=True)
        command('ip', 'link', 'add', self.canary, 'type', 'veth', 'peer', 'name', 'canary', 'netns', name, must=True)
        self.ip('link', 'set', 'lo', 'up')
        self.there = True

    def run(self, *args, **how):
        with self:
            return command(*args, **how)

    def ip(self, *args, **how):
        """Must succeed unless told otherwise."""
        how.setdefault('must', True)
        return command('ip', '-n', self.name, *args, **how)

    def try_ip(self, *args):
        """What `ip` says: ok, or its last line."""
        return said(self.ip(*args, must=False))

    def sysctl(self, name, value=None):
        with self:
            with open('/proc/sys/net/' + name, 'r+' if value is not None else 'r') as f:
                if value is not None:
                    f.write(str(value))
                    return None
                return f.read().strip()

    def sysfs(self, script):
        """The output of a shell script that sees this namespace in /sys."""
        return command('ip', 'netns', 'exec', self.name, 'sh', '-c', script).stdout.splitlines()

    def delete(self):
        command('ip', 'netns', 'del', self.name, must=True)
        self.there = False

    def freed(self, seconds=20):
        """Whether it is gone, not just its name."""
        return wait_for(lambda: not os.path.exists(f'/sys/class/net/{self.canary}'), seconds)

    def listeners(self):
        """The ports of its UDP sockets, by protocol, without those of the rows."""
        found = []
        with self:
            for version, name in (4, 'udp'), (6, 'udp6'):
                with open('/proc/thread-self/net/' + name) as f:
                    found += [f'{version}:{int(line.split()[1].rpartition(":")[2], 16)}' for line in f.readlines()[1:]]
        return sorted(p for p in found if p not in OWN)


def command(*args, must=False, stdin=None):
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    if must and done.returncode:
        raise RuntimeError(f'{" ".join(args)}: {said(done)}')
    return done


def said(done):
    if done.returncode == 0:
        return 'ok'
    lines = (done.stderr + done.stdout).strip().splitlines()
    return lines[-1] if lines else f'status {done.returncode}'


# --------------------------------------------------------------------- lab

class Lab:
    """What one row works with, and what it has seen."""

    def __init__(self):
        self.spaces, self.closing = [], []

    # ---- transcript

    def see(self, name, value, want=UNSET):
        """Notes a value; with `want` it is also known what it must be."""
        text = json.dumps(value, sort_keys=True, default=str)
        line = f'{name}: {text}'
        if want is not UNSET and json.loads(text) != json.loads(json.dumps(want, default=str)):
            line += f' !! wanted {json.dumps(want, sort_keys=True, default=str)}'
        say(line)

    # ---- things

    def ns(self, name):
        space = Ns(name)
        self.spaces.append(space)
        return space

    def cable(self, a, b, name='outer', net='10.1.0', net6='fd01:', mtu=None):
        """A veth pair, .1 at a, .2 at b."""
        a.ip('link', 'add', name, 'type', 'veth', 'peer', 'name', name, 'netns', b.name)
        for n, ns in enumerate((a, b), 1):
            ns.ip('addr', 'add', f'{net}.{n}/24', 'dev', name)
            ns.ip('addr', 'add', f'{net6}:{n}/64', 'dev', name, 'nodad')
            ns.ip('link', 'set', name, 'up', *(('mtu', str(mtu)) if mtu else ()))

    def pair(self, **how):
        return Pair(self, **how)

    def keep(self, thing):
        """To be closed when the row is over."""
        self.closing.append(thing)
        return thing

    def keep_capture(self, ns, device, program=None):
        return self.keep(Capture(ns, device, program))

    def udp(self, ns, local, port, **options):
        """A UDP socket; options: tos, mark, priority, errors, df."""
        v6 = ':' in local
        with ns:
            s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
        s.setsockopt(level, socket.IPV6_RECVTCLASS if v6 else socket.IP_RECVTOS, 1)
        if 'tos' in options:
            s.setsockopt(level, socket.IPV6_TCLASS if v6 else socket.IP_TOS, options['tos'])
        if 'mark' in options:
            s.setsockopt(socket.SOL_SOCKET, SO_MARK, options['mark'])
        if 'priority' in options:
            s.setsockopt(socket.SOL_SOCKET, SO_PRIORITY, options['priority'])
        if 'errors' in options:
            s.setsockopt(level, 25 if v6 else 11, 1)        # IPV6_RECVERR, IP_RECVERR
        if 'df' in options:
            s.setsockopt(level, 23 if v6 else 10, 2)        # IPV6_MTU_DISCOVER, IP_MTU_DISCOVER: DO
        s.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
        s.bind((local, port))
        return self.keep(s)

    def close(self):
        """The end of a row: everything goes, and is seen to go."""
        for thing in reversed(self.closing):
            thing.close()
        for space in self.spaces:
            if space.there:
                space.delete()
        self.see('all namespaces freed', all(s.freed() for s in self.spaces), True)


class Pair:
    """wg0 in `home`, its sockets in `a` (the same unless it is moved), and at the other end of the
    cable `p` with a peer in user space."""

    inner = {4: ('192.168.5.1', '192.168.5.2'), 6: ('fd05::1', 'fd05::2')}
    outer = {4: ('10.1.0.1', '10.1.0.2'), 6: ('fd01::1', 'fd01::2')}
    port = 51820
    turn = 0

    def __init__(self, lab, outer=4, home=None, mtu=None, up=True, keepalive=None, endpoint=True, key=True, cable_mtu=None):
        self.lab, self.version = lab, outer
        self.a, self.p = lab.ns('a'), lab.ns('p')
        self.home = lab.ns(home) if home else self.a
        lab.cable(self.a, self.p, mtu=cable_mtu)
        self.a.ip('link', 'add', 'wg0', 'type', 'wireguard')
        if home:
            self.a.ip('link', 'set', 'wg0', 'netns', home)
        self.peer = lab.keep(Peer(self.p))
        self.peer.address = (self.outer[outer][0], self.port)
        if key:
            self.set_key('driver')
        self.wg('listen-port', str(self.port), must=True)
        self.set_peer('allowed-ips', '192.168.5.2/32,fd05::2/128',
                      *(('endpoint', self.endpoint()) if endpoint is True else ('endpoint', endpoint) if endpoint else ()),
                      *(('persistent-keepalive', str(keepalive)) if keepalive else ()))
        self.sockets = {}
        if mtu:
            self.home.ip('link', 'set', 'wg0', 'mtu', str(mtu))
        self.home.ip('addr', 'add', '192.168.5.1/24', 'dev', 'wg0')
        if not mtu or mtu >= 1280:
            self.home.ip('addr', 'add', 'fd05::1/64', 'dev', 'wg0', 'nodad')
        if up:
            self.home.ip('link', 'set', 'wg0', 'up')

    def endpoint(self):
        host = self.outer[self.version][1]
        return f'[{host}]:51900' if self.version == 6 else f'{host}:51900'

    def set_key(self, name):
        self.wg('private-key', '/dev/stdin', stdin=b64encode(private(name)).decode(), must=True)

    @property
    def peer_key(self):
        return b64encode(self.peer.public).decode()

    def wg(self, *args, **how):
        return self.home.run('wg', 'set', 'wg0', *args, **how)

    def set_peer(self, *args, **how):
        how.setdefault('must', True)
        return self.wg('peer', self.peer_key, *args, **how)

    def show(self, what):
        """A field of `wg show` for the peer."""
        for line in self.home.run('wg', 'show', 'wg0', what).stdout.splitlines():
            key, _, value = line.partition('\t')
            if key == self.peer_key:
                return value.split('\t') if '\t' in value else value
        return None

    def socket(self, version=4, port=5000, **options):
        """A socket with an inner address; the same one if asked for again without options."""
        if options:
            return self.lab.udp(self.home, self.inner[version][0], port, **options)
        if (version, port) not in self.sockets:
            self.sockets[version, port] = self.lab.udp(self.home, self.inner[version][0], port)
        return self.sockets[version, port]

    def say(self, data=b'hello', version=4, to_port=7, **options):
        """Sends a datagram into the tunnel."""
        return attempt(self.socket(version, **options).sendto, data, (self.inner[version][1], to_port))

    def reply(self, data=b'hello', version=4, to_port=5000, how=None, **header):
        """A datagram from the peer's inner address."""
        if to_port == 5000:
            self.socket(version)    # so that somebody gets it
        self.peer.send(udp(self.inner[version][1], self.inner[version][0], 7, to_port, data, **header), **(how or {}))

    def hear(self, version=4, timeout=20, port=5000):
        """The next datagram that comes out of the tunnel: (data, tos), or None."""
        s = self.socket(version, port)
        if not select.select([s], [], [], timeout)[0]:
            return None
        data, extra, _, _ = s.recvmsg(65536, 256)
        return data, struct.unpack('=i', extra[0][2][:4].ljust(4, b'\0'))[0] & 255

    def barrier(self, version=4):
        """Returns when all that the peer sent before this has been dealt with."""
        self.reply(b'barrier', version)
        while True:
            got = self.hear(version)
            if got is None or got[0] == b'barrier':
                return got is not None

    def works(self, version=4):
        """One datagram there, one back."""
        self.turn += 1
        word = b'there %d' % self.turn
        self.say(word, version)
        # Others may have sent before.
        while True:
            got = self.peer.messages(1)
            if not got:
                return 'nothing arrives'
            if word in got[0].inner:
                break
        self.reply(b'back', version)
        got = self.hear(version)
        return 'works' if got and got[0] == b'back' else f'comes back: {got}'

    def stats(self, ns=None, device='wg0'):
        """The interface's counters, flat."""
        link = json.loads((ns or self.home).ip('-j', '-s', '-s', 'link', 'show', 'dev', device).stdout)[0]
        found = {}
        for way, counters in link['stats64'].items():
            for name, value in counters.items():
                found[f'{way}_{name}'] = value
        return found

    def change(self, before, **expected_noise):
        """Which counters have changed since, but for what is known to change. Not what was sent: on
        a slow machine that has an empty message, ten seconds after data came."""
        after = self.stats()
        found = {k: after[k] - before[k] - expected_noise.get(k, 0) for k in after if k not in ('tx_packets', 'tx_bytes')}
        return {k: v for k, v in found.items() if v}


def say(line):
    """A line of the transcript."""
    print('|' + line, flush=True)


def run_parts(title, parts, lab_of=lambda _: Lab()):
    """Those of the parts that words of the command line name, or all; whether a check has failed."""
    for part in parts:
        if sys.argv[1:] and part.__name__ not in sys.argv[1:]:
            continue
        print(f'# {title}: {part.__doc__}', flush=True)
        lab = lab_of(part)
        try:
            part(lab)
        except Exception as e:
            report(False, f'{title}: {part.__name__}', repr(e))
        lab.close()
    return bool(FAILED)


def run_rows(words):
    """All rows whose title has one of the words in it; the number of titles."""
    count = 0
    for title, function in ROWS:
        if words and not any(w in title for w in words):
            continue
        count += 1
        say(f'== {title}')
        lab, start = Lab(), time.monotonic()
        try:
            function(lab)
        except Skip as reason:
            say(f'skip: {reason}')
        except Exception:
            text = re.sub(r'\s+', ' ', traceback.format_exc(limit=-3))
            say(f'exception: {text} !! wanted none')
        try:
            lab.close()
        except Exception as e:
            say(f'exception: at the end: {e} !! wanted none')
        print(f'# {title}: {time.monotonic() - start:.1f} s', flush=True)
    return count
