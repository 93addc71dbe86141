#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage (in the guest): replay.py SCRIPTS OUT

Replays every script in the directory SCRIPTS against the driver that is
loaded, each in network namespaces of its own, and writes its transcript into
OUT. It judges nothing: the host does, with the transcripts of two drivers.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import script as S  # noqa: E402

NLM_F_MULTI, NLMSG_ERROR, NLMSG_DONE = 2, 2, 3
NLM_F_REQUEST, NLM_F_ACK = 1, 4
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
header = struct.Struct('<IHHII')
libc = ctypes.CDLL(None, use_errno=True)


def resolve_family():
    """The number of the family "wireguard"."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as s:
        name = b'wireguard\0\0\0'
        s.send(header.pack(36, 16, NLM_F_REQUEST, 1, 0) + struct.pack('<BBHHH', 3, 1, 0, 14, 2) + name)
        answer = s.recv(65536)
    at = 20
    while at < len(answer):
        length, kind = struct.unpack_from('<HH', answer, at)
        if kind == 1:
            return struct.unpack_from('<H', answer, at + 4)[0]
        at += length + 3 & ~3
    raise SystemExit('replay: there is no generic netlink family "wireguard"')


class Unprivileged:
    """Without effective capabilities: what the kernel checks at open and at send."""

    def __init__(self, on):
        self.on = on

    def __enter__(self):
        if self.on:
            os.seteuid(65534)

    def __exit__(self, *_):
        if self.on:
            os.seteuid(0)


def multi_ended(datagram):
    """None if this is no part of a dump, else whether it ends it."""
    at, result = 0, None
    while at + 16 <= len(datagram):
        length, kind, flags, _, _ = header.unpack_from(datagram, at)
        if kind == NLMSG_DONE:
            return True
        if flags & NLM_F_MULTI:
            result = False
        at += max(length, 16) + 3 & ~3
    return result


class Player:
    def __init__(self, family):
        self.family = family
        self.socks, self.binds, self.actors, self.here = {}, {}, {}, None
        self.ops = {
            S.NS: self.namespace, S.OPEN: self.open, S.CLOSE: self.close, S.SEND: self.send, S.PUSH: self.push,
            S.READ: self.read, S.DRAIN: self.drain, S.BIND: self.bind, S.UNBIND: self.unbind, S.EXEC: self.exec,
            S.ACTOR: self.actor, S.TELL: self.tell, S.WAIT: self.wait, S.SLEEP: self.sleep, S.UNTIL: self.until,
            S.NSCLOSE: self.nsclose, S.NOTE: lambda a, b, p: S.Answer(),
        }
        self.sentinel = 0xF0000000

    def play(self, data, write):
        for op, a, b, payload in S.records(data):
            write(self.do(op, a, b, payload).encode())

    def do(self, op, a, b, payload):
        try:
            return self.ops[op](a, b, payload)
        except OSError as e:
            return S.Answer(f'{S.NAMES[op]}: {errno.errorcode.get(e.errno, e)}')
        except KeyError:  # a socket whose making failed before
            return S.Answer(f'{S.NAMES[op]}: not there')

    # ------------------------------------------------------- namespaces
    def enter(self, n):
        if n != self.here:
            os.setns(S.NS_FD + n, os.CLONE_NEWNET)
            self.here = n

    def namespace(self, a, _b, _p):
        os.unshare(os.CLONE_NEWNET)
        self.keep_ns(a, '/proc/self/ns/net')
        self.here = a
        return S.Answer()

    @staticmethod
    def keep_ns(n, path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(fd, S.NS_FD + n, inheritable=False)
        os.close(fd)

    def nsclose(self, a, _b, _p):
        if self.here == a:
            self.enter(0)
        os.close(S.NS_FD + a)
        return S.Answer()

    # ---------------------------------------------------------- sockets
    def open(self, a, b, payload):
        proto, ns, portid = struct.unpack('<III', payload)
        self.enter(ns)
        with Unprivileged(b & S.UNPRIVILEGED):
            s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, proto)
        s.bind((portid, 0))
        for bit, option in ((S.EXT_ACK, NETLINK_EXT_ACK), (S.CAP_ACK, NETLINK_CAP_ACK),
                            (S.STRICT, NETLINK_GET_STRICT_CHK)):
            s.setsockopt(SOL_NETLINK, option, 1 if b & bit else 0)
        for option in SO_SNDBUFFORCE, SO_RCVBUFFORCE:
            try:
                s.setsockopt(socket.SOL_SOCKET, option, 16 << 20)
            except PermissionError:  # in a user namespace
                pass
        s.settimeout(S.PATIENCE)
        self.socks[a] = s
        return S.Answer()

    def close(self, a, _b, _p):
        self.socks.pop(a).close()
        return S.Answer()

    def unpack(self, payload):
        size, fixes = struct.unpack_from('<IH', payload)
        offsets = struct.unpack_from(f'<{fixes}I', payload, 6)
        data = bytearray(payload[6 + 4 * fixes:])
        for at in offsets:
            struct.pack_into('<H', data, at, self.family)
        return size, data

    def send(self, a, b, payload):
        size, data = self.unpack(payload)
        s = self.socks[a]
        if b & S.UNPRIVILEGED:
            with Unprivileged(True):
                s.send(data)
        else:
            s.send(data)
        return self.collect(s, size)

    def push(self, a, b, payload):
        _, data = self.unpack(payload)
        with Unprivileged(b & S.UNPRIVILEGED):
            self.socks[a].send(data)
        return S.Answer()

    def read(self, a, _b, payload):
        s = self.socks[a]
        s.setblocking(False)
        try:
            return S.Answer('', [s.recv(*struct.unpack('<I', payload))])
        finally:
            s.settimeout(S.PATIENCE)

    def drain(self, a, _b, payload):
        return self.collect(self.socks[a], *struct.unpack('<I', payload))

    def collect(self, s, size):
        """All answers. The end of them is the acknowledgement of a no-op sent
        after the messages, which has a number of its own, and the end of a
        dump if one goes on."""
        self.sentinel += 1
        mark = self.sentinel
        s.send(header.pack(16, 1, NLM_F_REQUEST | NLM_F_ACK, mark, 0))
        got, marked, dumping = [], False, False
        recv, unpack = s.recv, header.unpack_from
        try:
            while dumping or not marked:
                d = recv(size)
                _, kind, flags, seq, _ = unpack(d)
                if kind == NLMSG_ERROR:
                    if seq == mark:
                        marked = True
                        continue
                elif flags & NLM_F_MULTI or kind == NLMSG_DONE:
                    dumping = not multi_ended(d)
                got.append(d)
        except TimeoutError:
            return S.Answer(f'no answer within {S.PATIENCE} s', got)
        except OSError as e:
            return S.Answer('recv: ' + errno.errorcode.get(e.errno, str(e)), got)
        return S.Answer('', got)

    def until(self, a, b, payload):
        deadline = time.monotonic() + S.PATIENCE
        while True:
            answer = self.send(a, 0, payload)
            code = struct.unpack_from('<i', answer.datagrams[0], 16)[0] if answer.datagrams else 1
            if code == -b or time.monotonic() > deadline:
                return answer
            time.sleep(0.05)

    # ------------------------------------------------------------- others
    def bind(self, a, b, payload):
        family, ns = payload
        self.enter(ns)
        s = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind(('', b))
        self.binds[a] = s
        return S.Answer()

    def unbind(self, a, _b, _p):
        self.binds.pop(a).close()
        return S.Answer()

    def exec(self, a, b, payload):
        argv, stdin = json.loads(payload)
        self.enter(a)
        try:
            r = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=b, errors='replace')
        except subprocess.TimeoutExpired:
            return S.Answer(f'exec: not finished in {b} s')
        return S.Answer(f'status {r.returncode}', [r.stdout.encode(), r.stderr.encode()])

    def sleep(self, _a, b, _p):
        time.sleep(b / 1000)
        return S.Answer()

    # -------------------------------------------------------------- actors
    def actor(self, a, b, _p):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                signal.alarm(300)
                if b:
                    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
                    self.here = b - 1
                theirs.sendall(b'+')
                theirs.recv(1)
                if b:
                    self.keep_ns(b - 1, '/proc/self/ns/net')
                else:
                    self.socks = {}
                self.serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        ours.settimeout(2 * S.PATIENCE)
        ours.recv(1)
        if b:
            # Its root is nobody here.
            for name in 'uid_map', 'gid_map':
                with open(f'/proc/{pid}/{name}', 'w') as f:
                    f.write('0 100000 65536\n')
            self.keep_ns(b - 1, f'/proc/{pid}/ns/net')
        ours.sendall(b'+')
        self.actors[a] = (pid, ours)
        return S.Answer()

    def serve(self, pipe):
        """What an actor does: one operation at a time, until it is hung up on."""
        with pipe.makefile('rb') as f:
            while len(head := f.read(8)) == 8:
                op, a, b, length = struct.unpack('<BBHI', head)
                pipe.sendall(self.do(op, a, b, f.read(length)).encode())

    def tell(self, a, _b, payload):
        self.actors[a][1].sendall(payload)
        return S.Answer()

    def wait(self, a, _b, _p):
        pipe, data = self.actors[a][1], b''
        while len(data) < 4 or len(data) < struct.unpack_from('<I', data)[0]:
            more = pipe.recv(65536)
            if not more:
                return S.Answer('the actor is gone')
            data += more
        return S.Answer.decode(data)[0]

    def leave(self):
        """Gives back all of a script, so that none leans on another's leftovers."""
        for s in [*self.socks.values(), *self.binds.values()]:
            s.close()
        for pid, pipe in self.actors.values():
            pipe.close()
            os.waitpid(pid, 0)
        self.socks, self.binds, self.actors, self.here = {}, {}, {}, None
        for n in range(16):
            try:
                os.close(S.NS_FD + n)
            except OSError:
                pass


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    source, out = sys.argv[1:]
    # Malformed messages are warned about; a serial console is slow.
    subprocess.run(['dmesg', '-n', '4'], check=False)
    home = os.open('/proc/self/ns/net', os.O_RDONLY)
    player = Player(resolve_family())
    total = 0.0
    with open(os.path.join(out, 'family'), 'w') as f:
        f.write(str(player.family))
    for name in sorted(os.listdir(source)):
        with open(os.path.join(source, name), 'rb') as f:
            data = f.read()
        start = time.monotonic()
        with open(os.path.join(out, name), 'wb', buffering=1 << 20) as f:
            player.play(data, f.write)
        player.leave()
        os.setns(home, os.CLONE_NEWNET)
        took = time.monotonic() - start
        total += took
        print(f'# {name}: {took:.1f} s', flush=True)
    with open(os.path.join(out, 'seconds'), 'w') as f:
        f.write(f'{total:.1f}\n')


if __name__ == '__main__':
    main()
