# SPDX-License-Identifier: GPL-2.0
"""Transcripts: what of them may differ from run to run, how they read, and where two differ."""

import ipaddress
import struct

import script as S
from wire import *  # noqa: F403

# The kernel gives out ports from here on when it is asked for any.
EPHEMERAL = 32768
ANY_PORT = 0xFFFF


class Masker:
    """Takes out of a datagram what legitimately varies; all the rest must be equal to the byte."""

    def __init__(self, family):
        self.family = family
        self.protocols, self.told = {}, {}

    def datagram(self, data, route):
        out, at = bytearray(data), 0
        while at + 16 <= len(out):
            length, type_ = struct.unpack_from('<IH', out, at)
            if length < 16:
                break
            if route:
                if type_ == RTM_NEWLINK:
                    self.link(out, at + 32, at + length)
            elif type_ == self.family:
                struct.pack_into('<H', out, at + 4, FAMILY)
                self.device(out, at, length)
            elif type_ == GENL_ID_CTRL:
                for pos, kind, _ in self.each(out, at + 20, at + length):
                    if kind == CTRL_A_FAMILY_ID:
                        out[pos:pos + 2] = b'\xff\xff'
            elif type_ == NLMSG_ERROR and length >= 36:
                if struct.unpack_from('<H', out, at + 24)[0] == self.family:
                    struct.pack_into('<H', out, at + 24, FAMILY)
            at += length + 3 & ~3
        return bytes(out)

    @staticmethod
    def each(out, at, end):
        while at + 4 <= end:
            length, kind = struct.unpack_from('<HH', out, at)
            if length < 4:
                return
            yield at + 4, kind & 0x3FFF, length - 4
            at += length + 3 & ~3

    def device(self, out, at, length):
        """A port that the kernel chose, and bytes sent: when a handshake goes out is a matter of time."""
        for pos, kind, size in self.each(out, at + 20, at + length):
            if kind == D_LISTEN_PORT and size == 2:
                if struct.unpack_from('<H', out, pos)[0] >= EPHEMERAL:
                    struct.pack_into('<H', out, pos, ANY_PORT)
            elif kind == D_PEERS:
                for pos2, _, size2 in self.each(out, pos, pos + size):
                    for pos3, what, size3 in self.each(out, pos2, pos2 + size2):
                        if what == P_TX and size3 == 8:
                            out[pos3:pos3 + 8] = bytes(8)

    def link(self, out, at, end):
        """Counters, and what IPv6 times and draws by lot."""
        for pos, kind, size in self.each(out, at, end):
            if kind in (IFLA_STATS, IFLA_STATS64):
                out[pos:pos + size] = bytes(size)
            elif kind == IFLA_AF_SPEC:
                for pos2, family, size2 in self.each(out, pos, pos + size):
                    if family == AF_INET6:
                        for pos3, what, size3 in self.each(out, pos2, pos2 + size2):
                            if what in (3, 5, 6):  # STATS, CACHEINFO, ICMP6STATS
                                out[pos3:pos3 + size3] = bytes(size3)

    def context(self, op, a, payload):
        """(operation, whether it's on a route socket), also for what an actor is told and answers later."""
        if op == S.TELL:
            op2, a2, _, payload2 = next(S.records(payload))
            self.told[a] = self.context(op2, (a, a2), payload2)
            return op, False
        if op == S.WAIT:
            return self.told[a]
        if op == S.OPEN:
            self.protocols[a] = struct.unpack_from('<I', payload)[0]
        return op, self.protocols.get(a) == NETLINK_ROUTE

    def answer(self, op, a, payload, answer):
        """The answer without what varies, and how to read it."""
        op, route = self.context(op, a, payload)
        if op == S.EXEC or not answer.datagrams:
            return answer.text, answer.datagrams, op, route
        return answer.text, [self.datagram(d, route) for d in answer.datagrams], op, route


# ------------------------------------------------------------- reading

def timespec(data):
    return '%d.%09d' % struct.unpack('<qq', data)


def endpoint(data):
    family, = struct.unpack_from('<H', data)
    if family == AF_INET and len(data) == 16:
        rest = data[8:].hex() if any(data[8:]) else ''
        return f'{ipaddress.IPv4Address(data[4:8])}:{struct.unpack_from(">H", data, 2)[0]}{rest and " zero=" + rest}'
    if family == AF_INET6 and len(data) == 28:
        port, flow = struct.unpack_from('>HI', data, 2)
        return (f'[{ipaddress.IPv6Address(data[8:24])}]:{port}' + (f' flow={flow:#x}' if flow else '') +
                (f' scope={struct.unpack_from("<I", data, 24)[0]}' if any(data[24:]) else ''))
    return data.hex()


def number(data):
    return str(int.from_bytes(data, 'little')) if len(data) in (1, 2, 4, 8) else data.hex()


def text(data):
    return repr(data.rstrip(b'\0').decode(errors='replace'))


DEVICE = {D_IFINDEX: ('ifindex', number), D_IFNAME: ('ifname', text), D_PRIVATE_KEY: ('private', bytes.hex),
          D_PUBLIC_KEY: ('public', bytes.hex), D_FLAGS: ('flags', number), D_LISTEN_PORT: ('port', number),
          D_FWMARK: ('fwmark', number)}
PEER = {P_PUBLIC_KEY: ('key', bytes.hex), P_PRESHARED_KEY: ('psk', bytes.hex), P_FLAGS: ('flags', number),
        P_ENDPOINT: ('endpoint', endpoint), P_KEEPALIVE: ('keepalive', number), P_LAST_HANDSHAKE: ('last', timespec),
        P_RX: ('rx', number), P_TX: ('tx', number), P_VERSION: ('version', number)}


def named(table, kind, data):
    name, how = table.get(kind & 0x3FFF, (f'attribute{kind & 0x3FFF}', bytes.hex)) if kind != 'garbage' else (
        'garbage', bytes.hex)
    flags = '' if kind == 'garbage' or not kind & 0xC000 else f'(flags {kind & 0xC000:#x})'
    try:
        return f'{name}{flags}={how(data)}'
    except (struct.error, ValueError):
        return f'{name}{flags}?={data.hex()}'


def prefix(data):
    f = {kind: v for kind, v in attrs(data)}
    try:
        extra = {k: v.hex() for k, v in f.items() if k not in (A_FAMILY, A_IPADDR, A_CIDR)}
        return (f'{ipaddress.ip_address(f[A_IPADDR])}/{f[A_CIDR][0]}' +
                ('' if list(f) == [A_CIDR, A_FAMILY, A_IPADDR] else f' order {list(f)} {extra}'))
    except (KeyError, ValueError, IndexError):
        return '?' + data.hex()


def device_lines(body):
    """A device as generic netlink tells or is told it."""
    for kind, data in attrs(body):
        if kind == 'garbage' or kind & 0x3FFF != D_PEERS:
            yield '  ' + named(DEVICE, kind, data)
            continue
        yield f'  peers(flags {kind & 0xC000:#x})'
        for kind2, data2 in attrs(data):
            if kind2 == 'garbage':
                yield '    garbage ' + data2.hex()
                continue
            line, ips = [], []
            for kind3, data3 in attrs(data2):
                if kind3 != 'garbage' and kind3 & 0x3FFF == P_ALLOWEDIPS:
                    line.append('allowedips' + (f'(flags {kind3 & 0xC000:#x})' if kind3 & 0xC000 else ''))
                    ips += [prefix(d) if k != 'garbage' else 'garbage ' + d.hex() for k, d in attrs(data3)]
                else:
                    line.append(named(PEER, kind3, data3))
            yield f'    peer{f"({kind2:#x})" if kind2 else ""} ' + ' '.join(line)
            for i in range(0, len(ips), 8):
                yield '      ' + ' '.join(ips[i:i + 8])


def message_lines(type_, flags, seq, body, route):
    if type_ in (NLMSG_ERROR, NLMSG_DONE):
        code = struct.unpack_from('<i', body)[0] if len(body) >= 4 else 0
        line = f'{"error" if type_ == NLMSG_ERROR else "done"} #{seq} {errname(code)}'
        if flags & (NLM_F_DUMP_INTR | NLM_F_MULTI):
            line += f' flags={flags & 0xff:#x}'
        at = 4 if type_ == NLMSG_DONE else 20
        if type_ == NLMSG_ERROR and not flags & NLM_F_CAPPED:
            length = struct.unpack_from('<I', body, 4)[0] - 16
            line += f' echo={body[20:20 + length].hex()}'
            at += length + 3 & ~3
        if flags & NLM_F_ACK_TLVS:
            names = {1: 'msg', 2: 'offset', 3: 'cookie', 4: 'policy', 5: 'miss-type', 6: 'miss-nest'}
            for kind, data in attrs(body[at:]):
                value = text(data) if kind == 1 else number(data)
                line += f' {names.get(kind & 0x3FFF, kind) if kind != "garbage" else kind}={value}'
        yield line
        return
    yield (f'message #{seq} type={"wireguard" if type_ == FAMILY else type_} flags={flags:#x}'
           f'{" INTERRUPTED" if flags & NLM_F_DUMP_INTR else ""} {len(body)} bytes')
    if type_ == FAMILY:
        yield f'  cmd={body[0]} version={body[1]}'
        yield from device_lines(body[4:])
    elif route:
        yield f'  ifinfo={body[:16].hex()}'
        for kind, data in attrs(body[16:]):
            yield f'  {kind}={data.hex()}'
    else:
        yield '  ' + body.hex()


def answer_lines(op, route, text_, datagrams):
    if text_:
        yield text_
    for n, d in enumerate(datagrams):
        if op == S.EXEC:
            yield from (f'{"out" if n == 0 else "err"}: {line}' for line in d.decode(errors='replace').splitlines())
            continue
        yield f'datagram {n}: {len(d)} bytes'
        for type_, flags, seq, _, body in messages(d):
            yield from message_lines(type_, flags, seq, body, route)


def request_lines(op, a, b, payload, seqs=None):
    """What was asked; of a batch only the messages numbered in `seqs`, if any."""
    if op == S.EXEC:
        yield 'exec ' + payload.decode()
    elif op == S.NOTE:
        yield 'note ' + payload.decode()
    elif op in (S.SEND, S.PUSH, S.UNTIL):
        size, fixes = struct.unpack_from('<IH', payload)
        yield f'{S.NAMES[op]} on socket {a}, read size {size}{", unprivileged" if b & S.UNPRIVILEGED else ""}:'
        for type_, flags, seq, _, body in messages(payload[6 + 4 * fixes:]):
            if seqs and seq not in seqs:
                continue
            if type_ == FAMILY:
                cmd = {GET_DEVICE: 'GET', SET_DEVICE: 'SET'}.get(body[0] if body else None, f'command {body[:1].hex()}')
                yield f'  #{seq} {cmd} flags={flags:#x} header={body[:4].hex()}'
                yield from ('  ' + x for x in device_lines(body[4:]))
            else:
                yield f'  #{seq} type={type_} flags={flags:#x} {body.hex()}'
    elif op == S.TELL:
        for op2, a2, b2, payload2 in S.records(payload):
            yield f'to actor {a}:'
            yield from ('  ' + x for x in request_lines(op2, a2, b2, payload2))
    else:
        yield f'{S.NAMES[op]} {a} {b} {payload.hex()}'
