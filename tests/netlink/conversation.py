# SPDX-License-Identifier: GPL-2.0
"""A seeded conversation: valid and malformed messages, and dumps of what came of them.

What is said doesn't depend on the answers, so two drivers get the same
messages even after they have answered one differently. What is drawn from is
small (a dozen keys, a few networks), so that messages meet: keys that exist,
allowed IPs that another peer has, ports that are in use.
"""

import random
import struct

import script as S
from wire import *  # noqa: F403

WG0, WG1, DUMMY, LO = 10, 11, 12, 1
NAMES = {WG0: 'wg0', WG1: 'wg1', DUMMY: 'dm0', LO: 'lo'}
BUSY4, BUSY6 = 7001, 7002
# Sockets: three that configure, one for links, and readers with small, middle and large buffers.
CONF, CONF_ECHO, CONF_PLAIN, ROUTE, SMALL, MIDDLE, LARGE, POOR = range(8)
SIZES = {SMALL: 4096, MIDDLE: 8192, LARGE: 32768}

BAD_LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 24, 28, 31, 32, 33, 64)
V4 = ('10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.1.0', '10.128.0.0', '192.168.4.77', '0.0.0.0', '255.255.255.255')
V6 = ('fd00::', 'fd00::1', 'fd00::2', 'fd00:0:0:1::', '::', '2001:db8::ff', 'fe80::1', 'ffff:ffff:ffff:ffff:ffff::')


def private_keys():
    """Keys that differ in what clamping does to them, and the null key, raw and clamped."""
    rng = random.Random('keys')
    keys = [rng.randbytes(32) for _ in range(3)]
    clamped = bytearray(keys[0])
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    return [*keys, bytes(clamped), bytes(32), bytes(31) + b'\x40']


PRIVATE = private_keys()
OWN = [public_key(k) for k in PRIVATE]


class Conversation:
    def __init__(self, seed):
        self.rng = random.Random(f'conversation {seed}')
        self.s = S.Script(f'seed-{seed:04}')
        rng = self.rng
        # Any 32 bytes are a public key; two are of small order.
        self.keys = [rng.randbytes(32) for _ in range(10)] + OWN[:3] + [bytes(32), b'\1' + bytes(31)]
        # How malformed, how full and how often up a conversation is differs between seeds.
        self.malformed = rng.choice((0.15, 0.35, 0.6))
        self.max_peers = rng.choice((1, 2, 4, 8))
        self.max_ips = rng.choice((1, 3, 12))
        self.up = {WG0: False, WG1: False}
        self.bound = {}

    # ----------------------------------------------------------- a request
    def address(self):
        rng = self.rng
        if rng.random() < 0.6:
            addr = rng.choice(V4)
            return addr, rng.choice((0, 1, 8, 9, 16, 24, 25, 30, 31, 32, 32, 32))
        return rng.choice(V6), rng.choice((0, 1, 7, 16, 48, 63, 64, 65, 127, 128, 128))

    def allowedip(self):
        rng = self.rng
        addr, cidr = self.address()
        a = allowedip(addr, cidr, rng.choice((None, None, None, 0, AF_REMOVE_ME)))
        if rng.random() < 0.03:
            how = rng.randrange(5)
            if how == 0:
                a.payload[2].payload = u8(rng.choice((33, 64, 127, 129, 255)))
            elif how == 1:
                a.payload[0].payload = u16(rng.choice((0, 1, 2, 10, 7, 255, 0x200, 0xFFFF)))
            elif how == 2:
                a.payload[1].payload = rng.randbytes(rng.choice((4, 5, 8, 12, 16, 17, 20)))
            elif how == 3:
                del a.payload[rng.randrange(3)]
            else:
                a.flags = 0
        return a

    def endpoint(self):
        rng = self.rng
        port = rng.choice((0, 1, 51820, 65535))
        how = rng.randrange(12)
        if how < 4:
            return sockaddr4(rng.choice(('127.0.0.1', '192.0.2.1', '0.0.0.0', '255.255.255.255', '224.0.0.1')), port)
        if how < 7:
            return sockaddr6(rng.choice(('::1', '2001:db8::1', '::', 'ff02::1', '::ffff:192.0.2.1')), port,
                             rng.choice((0, 0, 0x12345678)), rng.choice((0, 0, 1, 77)))
        if how == 7:  # bytes that no one looks at are kept all the same
            return sockaddr4('192.0.2.9', port, zero=rng.randbytes(8))
        if how == 8:
            return sockaddr6('fe80::5', port, rng.getrandbits(32), rng.choice((WG0, LO, 5555)))
        if how == 9:  # the family of the other size
            return sockaddr4('192.0.2.2', port, family=rng.choice((AF_INET6, 0, 1, 0xFFFF)))
        if how == 10:
            return sockaddr6('2001:db8::2', port, family=rng.choice((AF_INET, 0, 0xFFFF)))
        base = rng.choice((sockaddr4('192.0.2.3', port), sockaddr6('2001:db8::3', port)))
        return (base + rng.randbytes(8))[:rng.choice((16, 17, 20, 24, 27, 28, 29, 32, 36))]

    def peer(self):
        rng = self.rng
        maybe = lambda chance, value: value() if rng.random() < chance else None  # noqa: E731
        flags = maybe(0.4, lambda: rng.choice((0, 1, 1, 2, 2, 4, 4, 6, 3, 5, 7)))
        ips = maybe(0.6, lambda: [self.allowedip() for _ in range(rng.randint(0, self.max_ips))])
        p = peer(rng.choice(self.keys), ips, flags, maybe(0.25, lambda: rng.choice((bytes(32), rng.randbytes(32)))),
                 maybe(0.35, self.endpoint), maybe(0.25, lambda: rng.choice((0, 1, 25, 65535))),
                 maybe(0.08, lambda: rng.choice((1, 1, 1, 0, 2, 1 << 31))))
        if rng.random() < 0.02:  # read-only ones are accepted and ignored
            p.payload.append(Attr(rng.choice((P_LAST_HANDSHAKE, P_RX, P_TX)), bytes(16)))
            if p.payload[-1].type != P_LAST_HANDSHAKE:
                p.payload[-1].payload = u64(rng.getrandbits(64))
        if rng.random() < 0.1:
            rng.shuffle(p.payload)
        if rng.random() < 0.1:
            p.type = rng.choice((1, 2, 9, 10, 11, 200, 0x3FFF))
        return p

    def target(self):
        rng = self.rng
        how = rng.random()
        index = WG0 if how < 0.7 else WG1 if how < 0.93 else rng.choice((LO, DUMMY, 0, 999, 0xFFFFFFFF, 0x80000000))
        if rng.random() < 0.5:
            return device(index=index)
        return device(name=NAMES.get(index, rng.choice(('nope', '', 'wg', 'wg00', 'fifteen-letters', 'a/b'))))

    def set_attrs(self):
        rng = self.rng
        attrs = self.target()
        if rng.random() < 0.12:
            attrs.append(Attr(D_FLAGS, u32(rng.choice((0, 0, DF_REPLACE_PEERS)))))
        if rng.random() < 0.10:
            attrs.append(Attr(D_PRIVATE_KEY, rng.choice(PRIVATE)))
        if rng.random() < 0.10:
            attrs.append(Attr(D_LISTEN_PORT, u16(rng.choice((0, 0, 1000, 1000, 1001, 1002, BUSY4, BUSY6)))))
        if rng.random() < 0.10:
            attrs.append(Attr(D_FWMARK, u32(rng.choice((0, 1, 0x80000000, 0xFFFFFFFF)))))
        if rng.random() < 0.03:
            attrs.append(Attr(D_PUBLIC_KEY, rng.randbytes(32)))
        if rng.random() < 0.75:
            attrs.append(Attr(D_PEERS, [self.peer() for _ in range(rng.randint(0, self.max_peers))]))
        if rng.random() < 0.1:
            rng.shuffle(attrs)
        return attrs

    # ---------------------------------------------------------- malformed
    def damage(self, attrs):
        """Makes one thing about `attrs` wrong, or at least unusual."""
        rng = self.rng
        everything = [(a, attrs) for a in attrs]
        for a in attrs:
            everything += a.walk()
        if not everything:
            return
        a, among = rng.choice(everything)
        size = len(encode_attrs(a.payload) if isinstance(a.payload, list) else a.payload)
        how = rng.randrange(16)
        if how < 3:
            a.payload = rng.randbytes(rng.choice(BAD_LENGTHS))
        elif how == 3:
            a.length = max(0, 4 + size + rng.choice((-9, -4, -3, -1, 1, 2, 3, 4, 40)))
        elif how == 4:
            a.length = rng.choice((0, 1, 2, 3, 4, 5, 0xFFFF))
        elif how == 5:
            a.flags = 0 if isinstance(a.payload, list) else NLA_F_NESTED
        elif how == 6:
            a.flags = NLA_F_NET_BYTEORDER | (NLA_F_NESTED if isinstance(a.payload, list) else 0)
        elif how == 7:
            a.flags = rng.choice((0, NLA_F_NESTED, NLA_F_NESTED | NLA_F_NET_BYTEORDER))
        elif how == 8:
            a.type = rng.choice((0, 3, 4, 5, 8, 9, 10, 11, 12, 100, 0x3FFF))
        elif how == 9:  # the last of two counts
            among.insert(rng.randint(0, len(among)), Attr(a.type, a.payload, a.flags))
        elif how == 10:
            among.remove(a)
        elif how == 11:
            among.insert(rng.randint(0, len(among)),
                         Attr(rng.choice((0, 1, 2, 5, 7, 9, 11, 50)), rng.randbytes(rng.choice(BAD_LENGTHS))))
        elif how == 12 and isinstance(a.payload, bytes):  # flags outside the mask, odd numbers
            a.payload = struct.pack('<I', rng.choice((2, 3, 8, 16, 0x80000000, 0xFFFFFFFF)))
        elif how == 13 and isinstance(a.payload, list):
            a.payload = rng.randbytes(rng.randint(0, 40))
        elif how == 14 and isinstance(a.payload, list):
            a.payload = encode_attrs(a.payload) + rng.randbytes(rng.randint(1, 7))
        elif isinstance(a.payload, bytes):  # a name without its end, a key of zeros, …
            a.payload = rng.choice((a.payload[:-1], a.payload + b'\0', bytes(len(a.payload)), b'x' * len(a.payload),
                                    a.payload + b'wg0\0'))
        else:
            a.payload = []

    def request(self):
        """One message."""
        rng = self.rng
        get = rng.random() < 0.12
        attrs = self.set_attrs() if not get or rng.random() < 0.05 else self.target()
        kw = {'flags': NLM_F_REQUEST | (NLM_F_DUMP if get else NLM_F_ACK)}
        bad = rng.random() < self.malformed
        if bad:
            how = rng.random()
            if how < 0.80:
                for _ in range(rng.choice((1, 1, 1, 2, 4))):
                    self.damage(attrs)
            elif how < 0.88:
                attrs = rng.choice(([], attrs + self.target(), device('wg0', WG0), device('wg0', WG1)))
            elif how < 0.97:
                self.damage_header(kw, get)
        cmd = GET_DEVICE if get else SET_DEVICE
        cmd = kw.pop('cmd', cmd)
        m = genl(cmd, attrs, self.s.next_seq(), **kw)
        if bad and rng.random() < 0.2 and len(m) > 20:  # any bytes at all, but for the header
            m = bytearray(m)
            for _ in range(rng.choice((1, 1, 2, 8))):
                m[rng.randrange(20, len(m))] = rng.randrange(256)
            m = bytes(m)
        return m, bad

    def damage_header(self, kw, get):
        rng = self.rng
        how = rng.randrange(6)
        if how == 0:
            kw['cmd'] = rng.choice((0, 1, 2, 3, 255))
        elif how == 1:
            kw['flags'] = NLM_F_REQUEST | rng.choice((0x10, 0x100, 0x200, 0x400, 0x800, 0x20, 0x8000, NLM_F_ECHO, 2))
        elif how == 2:
            kw['version'] = rng.choice((0, 2, 255))
        elif how == 3:
            kw['reserved'] = rng.choice((1, 0xFFFF))
        elif how == 4:  # what isn't a request is acknowledged if it wants to be, and not looked at
            kw['flags'] = rng.choice((0, NLM_F_ACK))
        else:
            kw['flags'] = NLM_F_REQUEST | NLM_F_ACK | (0 if get else NLM_F_DUMP)

    # ------------------------------------------------------ around it
    def begin(self):
        s = self.s
        s.namespace(0)
        s.open(CONF, NETLINK_GENERIC)
        # Without CAP_ACK an error brings the request back, with keys wiped out of it or not.
        s.open(CONF_ECHO, NETLINK_GENERIC, options=S.EXT_ACK)
        s.open(CONF_PLAIN, NETLINK_GENERIC, options=S.STRICT)
        s.open(POOR, NETLINK_GENERIC, options=S.EXT_ACK | S.CAP_ACK | S.UNPRIVILEGED)
        s.open(ROUTE, NETLINK_ROUTE)
        for sock in SIZES:
            s.open(sock, NETLINK_GENERIC)
        for index, kind in ((WG0, 'wireguard'), (WG1, 'wireguard'), (DUMMY, 'dummy')):
            s.send(ROUTE, self.newlink(index, kind))

    def newlink(self, index, kind):
        return link(RTM_NEWLINK, self.s.next_seq(), [Attr(IFLA_IFNAME, cstr(NAMES[index])), linkinfo(kind)], index,
                    nlflags=NLM_F_CREATE | NLM_F_EXCL)

    def set_up(self, index, up):
        return link(RTM_SETLINK, self.s.next_seq(), index=index, flags=IFF_UP if up else 0, change=IFF_UP)

    def around(self):
        """Something that isn't generic netlink but changes what that does."""
        rng, s = self.rng, self.s
        how = rng.random()
        index = rng.choice((WG0, WG0, WG1))
        if how < 0.55:
            self.up[index] = not self.up[index]
            s.send(ROUTE, self.set_up(index, self.up[index]))
        elif how < 0.9:
            slot, family, port = rng.choice(((0, AF_INET, BUSY4), (1, AF_INET6, BUSY6)))
            if self.bound.pop(slot, None):
                s.unbind(slot)
            else:
                self.bound[slot] = True
                s.bind(slot, family, port)
        elif how < 0.97:
            new = rng.choice(('wg0', 'other'))
            s.send(ROUTE, link(RTM_SETLINK, s.next_seq(), [Attr(IFLA_IFNAME, cstr(new))], WG0))
        else:
            s.send(ROUTE, link(RTM_DELLINK, s.next_seq(), index=WG1))
            s.send(ROUTE, self.newlink(WG1, 'wireguard'))
            self.up[WG1] = False

    def dump(self, sock, index):
        self.s.send(sock, genl(GET_DEVICE, device(index=index), self.s.next_seq(), NLM_F_REQUEST | NLM_F_DUMP),
                    size=SIZES[sock])

    def run(self, messages):
        """Until that many messages were sent; after every batch the state is dumped."""
        rng, s = self.rng, self.s
        self.begin()
        while s.count < messages:
            size = rng.choice((1, 3, 10, 20, 40))
            batch = []
            for _ in range(size):
                m, bad = self.request()
                batch.append(m)
                if bad and struct.unpack_from('<I', m)[0] > len(m):
                    break  # the kernel drops the rest with it
            how = rng.random()
            if how < 0.02:
                s.send(POOR, *batch)
            elif how < 0.04:
                s.send(CONF, *batch, options=S.UNPRIVILEGED)
            else:
                # A dump in the middle of a batch may be under way when the next request comes.
                s.send(rng.choice((CONF, CONF, CONF_ECHO, CONF_PLAIN)), *batch, size=65536)
            self.dump(rng.choice(tuple(SIZES)), WG0)
            if rng.random() < 0.3:
                self.dump(rng.choice(tuple(SIZES)), WG1)
            if rng.random() < 0.25:
                self.around()
        for index in WG0, WG1:
            self.dump(LARGE, index)
            s.send(ROUTE, link(RTM_DELLINK, s.next_seq(), index=index))
        return s
