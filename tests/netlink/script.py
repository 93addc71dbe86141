# SPDX-License-Identifier: GPL-2.0
"""The form of a conversation: what the host writes and the guest replays.

A script is a sequence of records, each an operation with two small numbers and
a payload; a transcript is one answer for each of them. All messages are made on
the host, so that the guest, which is emulated, has little to do per message.
"""

import json
import struct

(NS, OPEN, CLOSE, SEND, PUSH, READ, DRAIN, BIND, UNBIND, EXEC, ACTOR, TELL, WAIT, SLEEP, UNTIL, NSCLOSE, FORGET,
 NOTE) = range(1, 19)
NAMES = ('', 'namespace', 'open', 'close', 'send', 'push', 'read', 'drain', 'bind', 'unbind', 'exec', 'actor', 'tell',
         'wait', 'sleep', 'until', 'nsclose', 'forget', 'note')

# Options of a socket, and the mark of an operation done without privileges.
EXT_ACK, CAP_ACK, STRICT, UNPRIVILEGED = 1, 2, 4, 8

# Where namespace N is to be found as a file descriptor, so that messages can
# name it without having been patched.
NS_FD = 200

# Seconds to wait for an answer that should have come at once.
PATIENCE = 30


def record(op, a=0, b=0, payload=b''):
    return struct.pack('<BBHI', op, a, b, len(payload)) + payload


def records(data):
    at = 0
    while at < len(data):
        op, a, b, length = struct.unpack_from('<BBHI', data, at)
        at += 8
        yield op, a, b, data[at:at + length]
        at += length


class Answer:
    """What an operation led to: a line of text and the datagrams that came."""
    __slots__ = ('text', 'datagrams')

    def __init__(self, text='', datagrams=()):
        self.text, self.datagrams = text, list(datagrams)

    def encode(self):
        text = self.text.encode()
        parts = [struct.pack('<IHI', 0, len(text), len(self.datagrams)), text]
        for d in self.datagrams:
            parts += (struct.pack('<I', len(d)), d)
        whole = b''.join(parts)
        return struct.pack('<I', len(whole)) + whole[4:]

    @classmethod
    def decode(cls, data, at=0):
        """The answer at `at`, and where the next one is."""
        total, textlen, count = struct.unpack_from('<IHI', data, at)
        end, at = at + total, at + 10
        text = bytes(data[at:at + textlen]).decode()
        at += textlen
        datagrams = []
        for _ in range(count):
            length, = struct.unpack_from('<I', data, at)
            datagrams.append(bytes(data[at + 4:at + 4 + length]))
            at += 4 + length
        if at != end:
            raise ValueError('a damaged transcript')
        return cls(text, datagrams), end


def answers(data):
    at = 0
    while at < len(data):
        answer, at = Answer.decode(data, at)
        yield answer


class Script:
    """Writes a script; `count` is how many netlink messages it sends."""

    def __init__(self, name):
        self.name, self.parts, self.count, self.seq = name, [], 0, 100

    def add(self, op, a=0, b=0, payload=b''):
        self.parts.append(record(op, a, b, payload))

    def next_seq(self):
        self.seq += 1
        return self.seq

    def note(self, text):
        self.add(NOTE, 0, 0, text.encode())

    def namespace(self, n):
        self.add(NS, n)

    def open(self, sock, proto, ns=0, options=EXT_ACK | CAP_ACK, portid=None):
        self.add(OPEN, sock, options, struct.pack('<III', proto, ns, portid or 4000 + sock))

    def close(self, sock):
        self.add(CLOSE, sock)

    def packed(self, batch, size):
        """A payload: how much to read at a time, where the family's number goes, the bytes."""
        from wire import FAMILY
        fixes, at = [], 0
        for m in batch:
            if struct.unpack_from('<H', m, 4)[0] == FAMILY:
                fixes.append(at + 4)
            at += len(m)
        self.count += len(batch)
        return struct.pack(f'<IH{len(fixes)}I', size, len(fixes), *fixes) + b''.join(batch)

    def send(self, sock, *batch, size=32768, options=0):
        self.add(SEND, sock, options, self.packed(batch, size))

    def push(self, sock, *batch, size=32768, options=0):
        self.add(PUSH, sock, options, self.packed(batch, size))

    def until(self, sock, code, message, size=32768):
        """Sends `message` until its answer is `code`, for what happens in the background."""
        self.add(UNTIL, sock, -code, self.packed([message], size))

    def read(self, sock, size=32768):
        self.add(READ, sock, 0, struct.pack('<I', size))

    def drain(self, sock, size=32768):
        self.add(DRAIN, sock, 0, struct.pack('<I', size))

    def bind(self, slot, family, port, ns=0):
        self.add(BIND, slot, port, struct.pack('<BB', family, ns))

    def unbind(self, slot):
        self.add(UNBIND, slot)

    def exec(self, argv, ns=0, stdin='', timeout=30):
        self.add(EXEC, ns, timeout, json.dumps([argv, stdin]).encode())

    def sh(self, text, ns=0, timeout=30):
        self.exec(['sh', '-c', text], ns, '', timeout)

    def actor(self, n, userns=None):
        """A second process, in user and network namespaces of its own if `userns` numbers the latter."""
        self.add(ACTOR, n, 0 if userns is None else userns + 1)

    def tell(self, n, fill):
        """Lets actor `n` do the one operation that `fill` puts into a script; wait() has its answer."""
        other = Script(self.name)
        other.seq = self.seq
        fill(other)
        self.seq, self.count = other.seq, self.count + other.count
        assert len(other.parts) == 1
        self.add(TELL, n, 0, other.parts[0])

    def wait(self, n):
        self.add(WAIT, n)

    def ask(self, n, fill):
        self.tell(n, fill)
        self.wait(n)

    def sleep(self, ms):
        self.add(SLEEP, 0, ms)

    def nsclose(self, n):
        self.add(NSCLOSE, n)

    def bytes(self):
        return b''.join(self.parts)
