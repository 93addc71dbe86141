# SPDX-License-Identifier: GPL-2.0
"""A WireGuard peer in user space, which does nothing by itself: what it sends, when, and in which
order is the test's decision, down to counters, padding and broken packets inside sound messages."""

import hashlib
import hmac
import itertools
import select
import socket
import struct
import threading
import time
from collections import namedtuple

P = 2**255 - 19
INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4
SO_RCVBUFFORCE = 33


# ------------------------------------------------------------ primitives

def x25519(secret, point):
    k = int.from_bytes(secret, 'little') & ~7 & ~(128 << 8 * 31) | (64 << 8 * 31)
    x1 = int.from_bytes(point, 'little') & ~(1 << 255)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % P, c * b % P, a * a % P, b * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        e = aa - bb
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, 'little')


def chacha20(key, counter, nonce, data):
    start = list(struct.unpack('<4I8I', b'expand 32-byte k' + key))
    tail = list(struct.unpack('<3I', nonce))
    rounds = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
              (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
    m, out = 0xffffffff, []
    for block in range((len(data) + 63) // 64):
        initial = start + [counter + block] + tail
        x = initial[:]
        for _ in range(10):
            for a, b, c, d in rounds:
                x[a] = x[a] + x[b] & m
                v = x[d] ^ x[a]
                x[d] = (v << 16 | v >> 16) & m
                x[c] = x[c] + x[d] & m
                v = x[b] ^ x[c]
                x[b] = (v << 12 | v >> 20) & m
                x[a] = x[a] + x[b] & m
                v = x[d] ^ x[a]
                x[d] = (v << 8 | v >> 24) & m
                x[c] = x[c] + x[d] & m
                v = x[b] ^ x[c]
                x[b] = (v << 7 | v >> 25) & m
        out.append(struct.pack('<16I', *(i + j & m for i, j in zip(x, initial))))
    return bytes(i ^ j for i, j in zip(data, b''.join(out)))


def poly1305(key, data):
    r = int.from_bytes(key[:16], 'little') & 0x0ffffffc0ffffffc0ffffffc0fffffff
    total = 0
    for i in range(0, len(data), 16):
        total = (total + int.from_bytes(data[i:i + 16] + b'\1', 'little')) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:32], 'little')) & (2**128 - 1)).to_bytes(16, 'little')


def tag(key, nonce, sealed, extra):
    def padded(b):
        return b + bytes(-len(b) % 16)
    return poly1305(chacha20(key, 0, nonce, bytes(32)),
                    padded(extra) + padded(sealed) + struct.pack('<QQ', len(extra), len(sealed)))


def seal(key, counter, data, extra=b''):
    nonce = struct.pack('<IQ', 0, counter)
    sealed = chacha20(key, 1, nonce, data)
    return sealed + tag(key, nonce, sealed, extra)


def unseal(key, counter, data, extra=b''):
    """The text, or None if its tag is wrong."""
    nonce, sealed = struct.pack('<IQ', 0, counter), data[:-16]
    if len(data) < 16 or tag(key, nonce, sealed, extra) != data[-16:]:
        return None
    return chacha20(key, 1, nonce, sealed)


def blake(*data):
    return hashlib.blake2s(b''.join(data)).digest()


def kdf(count, key, data):
    secret, block, out = hmac.digest(key, data, 'blake2s'), b'', []
    for i in range(count):
        block = hmac.digest(secret, block + bytes([i + 1]), 'blake2s')
        out.append(block)
    return out


def private(name):
    """The private key of a name: the same in each run."""
    key = bytearray(blake(b'tests/network ', name.encode()))
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)


def public(secret):
    return x25519(secret, (9).to_bytes(32, 'little'))


# ------------------------------------------------------------------ peer

Session = namedtuple('Session', 'local remote sending receiving')
# inner: what was in it, or None if it cannot be opened; length: of the UDP payload.
Message = namedtuple('Message', 'kind inner length counter tos source to data')


class Peer:
    """Its sockets are in namespace `ns`; the driver has the private key of `other`."""

    CHAIN = blake(b'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s')
    HASH = blake(CHAIN, b'WireGuard v1 zx2c4 Jason@zx2c4.com')
    indices = itertools.count(0x1001)
    ephemerals = itertools.count()
    psk = bytes(32)

    def __init__(self, ns, name='peer', other='driver', port=51900):
        self.ns, self.port = ns, port
        self.secret = private(name)
        self.public = public(self.secret)
        self.other = public(private(other))
        self.address = None         # where the driver is: (host, port)
        self.local = None           # which of its own addresses to send from, if not by routing
        self.sessions, self.counter, self.session = {}, 0, None
        self.sockets = []
        self.bind(port)

    def bind(self, port):
        """Opens sockets on another port in place of the present ones."""
        self.close()
        self.port = port
        with self.ns:
            for family in socket.AF_INET, socket.AF_INET6:
                s = socket.socket(family, socket.SOCK_DGRAM)
                s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
                if family == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                else:
                    s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
                    s.setsockopt(socket.IPPROTO_IP, 8, 1)       # IP_PKTINFO
                s.bind(('', port))
                self.sockets.append(s)

    def close(self):
        for s in self.sockets:
            s.close()
        self.sockets = []

    # ---- sending

    def raw(self, data, to=None, tos=0, local=None):
        """Sends any bytes to the driver's socket."""
        to, local = to or self.address, local or self.local
        v6 = ':' in to[0]
        s = self.sockets[v6]
        s.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if v6 else (socket.IPPROTO_IP, socket.IP_TOS)), tos)
        extra = []
        if local and v6:
            extra = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, local) + bytes(4))]
        elif local:
            extra = [(socket.IPPROTO_IP, 8, bytes(4) + socket.inet_aton(local) + bytes(4))]
        s.sendmsg([data], extra, 0, to)

    def raw_many(self, data, count, threads=4):
        """Sends the same bytes over and over, as fast as can be: several threads, and the kernel cuts them out of
        large ones."""
        s = self.sockets[':' in self.address[0]]
        most = min(60, 60000 // len(data))

        def send():
            for at in range(0, count // threads, most):
                s.sendto(data * min(most, count // threads - at), self.address)
        s.setsockopt(socket.IPPROTO_UDP, 103, len(data))        # UDP_SEGMENT
        senders = [threading.Thread(target=send) for _ in range(threads)]
        [t.start() for t in senders]
        [t.join() for t in senders]
        s.setsockopt(socket.IPPROTO_UDP, 103, 0)

    def message(self, inner, counter=None, session=None, pad=True):
        """A data message with the next counter, or with that one."""
        if counter is None:
            counter = self.counter
            self.counter += 1
        session = session or self.session
        padded = inner + bytes(-len(inner) % 16 if pad else 0)
        return struct.pack('<IIQ', DATA, session.remote, counter) + seal(session.sending, counter, padded)

    def send(self, inner, to=None, tos=0, **how):
        self.raw(self.message(inner, **how), to, tos)

    def macs(self, body):
        mac1 = hashlib.blake2s(body, digest_size=16, key=blake(b'mac1----', self.other)).digest()
        return body + mac1 + bytes(16)

    def ephemeral(self):
        secret = private(f'ephemeral {next(self.ephemerals)}')
        return secret, public(secret)

    def initiate(self, to=None, tos=0, timeout=20):
        """A handshake that this side begins; true if it was answered."""
        secret, ephemeral = self.ephemeral()
        local = next(self.indices)
        chain = kdf(1, self.CHAIN, ephemeral)[0]
        digest = blake(blake(self.HASH, self.other), ephemeral)
        chain, key = kdf(2, chain, x25519(secret, self.other))
        static = seal(key, 0, self.public, digest)
        digest = blake(digest, static)
        chain, key = kdf(2, chain, x25519(self.secret, self.other))
        now = time.time_ns()
        stamp = seal(key, 0, struct.pack('>QI', (1 << 62) + now // 10**9, now % 10**9), digest)
        digest = blake(digest, stamp)
        self.raw(self.macs(struct.pack('<II', INITIATION, local) + ephemeral + static + stamp), to, tos)
        for message in self.receive(timeout):
            if message.kind != RESPONSE:
                continue
            _, remote, mine = struct.unpack('<III', message.data[:12])
            if mine != local:
                continue
            theirs = message.data[12:44]
            chain = kdf(1, chain, theirs)[0]
            digest = blake(digest, theirs)
            chain = kdf(1, chain, x25519(secret, theirs))[0]
            chain = kdf(1, chain, x25519(self.secret, theirs))[0]
            chain, t, key = kdf(3, chain, self.psk)
            if unseal(key, 0, message.data[44:60], blake(digest, t)) is None:
                return False
            sending, receiving = kdf(2, chain, b'')
            self.establish(Session(local, remote, sending, receiving))
            self.response = message
            return True
        return False

    def establish(self, session):
        self.sessions[session.local] = self.session = session
        self.counter = 0

    def answer(self, message):
        """Answers an initiation; true if it was one of whom it should be of."""
        secret, ephemeral = self.ephemeral()
        data = message.data
        remote, theirs, static, stamp = struct.unpack('<4xI32s48s28s', data[:116])
        chain = kdf(1, self.CHAIN, theirs)[0]
        digest = blake(blake(self.HASH, self.public), theirs)
        chain, key = kdf(2, chain, x25519(self.secret, theirs))
        who = unseal(key, 0, static, digest)
        digest = blake(digest, static)
        if who != self.other:
            return False
        chain, key = kdf(2, chain, x25519(self.secret, who))
        if unseal(key, 0, stamp, digest) is None:
            return False
        digest = blake(digest, stamp)
        local = next(self.indices)
        chain = kdf(1, chain, ephemeral)[0]
        digest = blake(digest, ephemeral)
        chain = kdf(1, chain, x25519(secret, theirs))[0]
        chain = kdf(1, chain, x25519(secret, who))[0]
        chain, t, key = kdf(3, chain, self.psk)
        empty = seal(key, 0, b'', blake(digest, t))
        self.raw(self.macs(struct.pack('<III', RESPONSE, local, remote) + ephemeral + empty), message.source, local=message.to)
        receiving, sending = kdf(2, chain, b'')
        self.establish(Session(local, remote, sending, receiving))
        return True

    # ---- receiving

    def receive(self, timeout):
        """Messages as they come, until there was none for `timeout` seconds."""
        while True:
            ready = select.select(self.sockets, [], [], timeout)[0]
            if not ready:
                return
            for s in ready:
                yield self.one(s)

    def one(self, s):
        data, extra, _, source = s.recvmsg(65536, 256)
        tos = to = None
        for level, kind, value in extra:
            if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
                tos = value[0]
            elif (level, kind) == (socket.IPPROTO_IP, 8):
                to = socket.inet_ntop(socket.AF_INET, value[8:12])
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                to = socket.inet_ntop(socket.AF_INET6, value[:16])
        kind = data[0] if data else None
        inner = counter = None
        if kind == DATA and len(data) >= 32:
            index, counter = struct.unpack('<4xIQ', data[:16])
            session = self.sessions.get(index)
            inner = unseal(session.receiving, counter, data[16:]) if session else None
        return Message(kind, inner, len(data), counter, tos, source[:2] if source[1] else source, to, data)

    def messages(self, count=1, timeout=20, want=DATA, keepalives=False, answer=True):
        """The next `count` messages of kind `want`; initiations meanwhile are answered. Fewer if
        nothing comes for `timeout` seconds."""
        found = []
        for message in self.receive(timeout):
            if message.kind == want and (want != DATA or message.inner or keepalives and message.inner == b''):
                found.append(message)
                if len(found) == count:
                    break
            elif message.kind == INITIATION and answer:
                self.answer(message)
        return found

    def quiet(self, seconds=0.3):
        """What comes within a short time: kinds of messages; they are not answered."""
        return [m.kind for m in self.receive(seconds)]
