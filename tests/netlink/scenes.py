# SPDX-License-Identifier: GPL-2.0
"""Set scenes: what a random conversation would hit too rarely, each with its state dumped after it.

A scene is a generator function that gets a Scene and does things; those of one
file make one script, with a note before each so that a difference can be told.
"""

import random

import script as S
from wire import *  # noqa: F403

WG0, WG1, WG2, LO = 10, 11, 12, 1
CONF, ROUTE, SMALL, LARGE, OTHER = range(5)


def key(n):
    return random.Random(f'key {n}').randbytes(32)


class Scene(S.Script):
    """A script with shorthands."""

    def __init__(self, name):
        super().__init__(name)
        self.ns_made = 0

    def fresh(self, what, *links, sockets=((CONF, S.EXT_ACK | S.CAP_ACK), (SMALL, S.EXT_ACK | S.CAP_ACK),
                                           (LARGE, S.EXT_ACK | S.CAP_ACK), (OTHER, S.EXT_ACK | S.CAP_ACK))):
        """A new namespace with sockets and wireguard interfaces (index: name); what was open before is closed."""
        self.note(what)
        if self.ns_made:
            for sock in CONF, ROUTE, SMALL, LARGE, OTHER:
                self.close(sock)
        self.ns_made += 1
        self.namespace(0)
        for sock, options in sockets:
            self.open(sock, NETLINK_GENERIC, options=options)
        self.open(ROUTE, NETLINK_ROUTE)
        for index in links or (WG0,):
            self.add_link(index)

    def add_link(self, index, *more, kind='wireguard', sock=ROUTE, name=None):
        name = name or f'wg{index - WG0}'
        self.send(sock, link(RTM_NEWLINK, self.next_seq(), [Attr(IFLA_IFNAME, cstr(name)), linkinfo(kind), *more], index,
                             nlflags=NLM_F_CREATE | NLM_F_EXCL))

    def set(self, index=WG0, sock=CONF, options=0, extra=(), **kw):
        self.send(sock, self.set_message(index, extra, **kw), options=options, size=65536)

    def set_message(self, index=WG0, extra=(), **kw):
        return genl(SET_DEVICE, [*device(index=index, **kw), *extra], self.next_seq())

    def get_message(self, index=WG0, **kw):
        return genl(GET_DEVICE, device(index=index, **kw), self.next_seq(), NLM_F_REQUEST | NLM_F_DUMP)

    def dump(self, index=WG0, sock=LARGE, **kw):
        self.send(sock, self.get_message(index, **kw), size=4096 if sock == SMALL else 32768)

    def start(self, sock=SMALL, index=WG0):
        self.push(sock, self.get_message(index))

    def up(self, index=WG0, on=True, sock=ROUTE):
        self.send(sock, link(RTM_SETLINK, self.next_seq(), index=index, flags=IFF_UP if on else 0, change=IFF_UP))

    def setlink(self, index, *attrs, sock=ROUTE, type_=RTM_SETLINK, nlflags=0):
        self.send(sock, link(type_, self.next_seq(), attrs, index, nlflags=nlflags))

    def getlink(self, index, sock=ROUTE):
        self.send(sock, link(RTM_GETLINK, self.next_seq(), index=index))

    def dellink(self, index, sock=ROUTE):
        self.send(sock, link(RTM_DELLINK, self.next_seq(), index=index))

    def peers(self, numbers, ips=0, index=WG0, **kw):
        """Adds peers with so many allowed IPs each, in messages of a sensible size."""
        numbers = list(numbers)
        step = max(1, min(100, 1000 // (ips + 1)))
        for i in range(0, len(numbers), step):
            self.set(index, peers=[peer(key(n), list(prefixes(n, ips)) if ips else None, **kw)
                                   for n in numbers[i:i + step]])


def prefixes(n, count, start=0):
    """Allowed IPs of peer `n`, of both families."""
    for i in range(start, start + count):
        if i % 3:
            yield allowedip(f'10.{n % 256}.{i // 256}.{i % 256}', 32)
        else:
            yield allowedip(f'fd00:{n:x}::{i:x}', 128)


# ------------------------------------------------------------------ dumps

def changes(s):
    """What may happen between two parts of a dump; peers 0..59, read up to somewhere in the first half."""
    def shift(n, flags=None):
        return peer(key(n), [allowedip('10.1.0.1', 32)], flags)
    return (
        ('nothing', lambda: None),
        ('a request that changes nothing', lambda: s.set()),
        ('a new peer', lambda: s.set(peers=[peer(key(500))])),
        ('the first peer removed', lambda: s.set(peers=[peer(key(0), flags=PF_REMOVE_ME)])),
        ('the last peer removed', lambda: s.set(peers=[peer(key(59), flags=PF_REMOVE_ME)])),
        ('a third of the peers removed', lambda: s.set(peers=[peer(key(n), flags=PF_REMOVE_ME) for n in range(20)])),
        ('another third of the peers removed',
         lambda: s.set(peers=[peer(key(n), flags=PF_REMOVE_ME) for n in range(5, 45)])),
        ('all replaced', lambda: s.set(flags=DF_REPLACE_PEERS, peers=[peer(key(600))])),
        ('all removed and added again', lambda: s.set(flags=DF_REPLACE_PEERS, peers=[peer(key(n)) for n in range(60)])),
        ('an allowed IP moved', lambda: s.set(peers=[shift(50)])),
        ('an allowed IP moved to its own peer', lambda: s.set(peers=[shift(1)])),
        ('an allowed IP removed', lambda: s.set(peers=[peer(key(2), [allowedip('10.2.0.1', 32, AF_REMOVE_ME)])])),
        ('an allowed IP that is none removed',
         lambda: s.set(peers=[peer(key(2), [allowedip('10.77.0.1', 32, AF_REMOVE_ME)])])),
        ('allowed IPs replaced', lambda: s.set(peers=[peer(key(3), [], PF_REPLACE_ALLOWEDIPS)])),
        ('a request that fails late', lambda: s.set(peers=[peer(key(700), version=2)])),
        ('a request that the policy refuses', lambda: s.set(peers=[peer(key(700), flags=8)])),
        ('a request without permission', lambda: s.set(fwmark=1, options=S.UNPRIVILEGED)),
        ('another device changed', lambda: s.set(WG1, fwmark=5)),
        ('up', lambda: s.up()),
        ('another name', lambda: s.setlink(WG0, Attr(IFLA_IFNAME, cstr('renamed')))),
        ('another key', lambda: s.set(key=key(1000))),
    )


def torn_dumps(s):
    """A dump of which some parts were read, then a change, then the rest."""
    for ips, reads in ((0, 1), (0, 3), (3, 2), (100, 1), (100, 4)):
        count = 60 if ips < 100 else 8
        for n in range(len(changes(s))):
            what, change = changes(s)[n]
            s.fresh(f'{count} peers with {ips} allowed IPs; {reads} parts of a dump, then {what}', WG0, WG1)
            s.peers(range(count), ips)
            s.send(SMALL, genl(GET_DEVICE, device(index=WG1), s.next_seq(), NLM_F_REQUEST | NLM_F_DUMP), size=4096)
            s.start()
            for _ in range(reads):
                s.read(SMALL, 4096)
            change()
            s.drain(SMALL, 4096)
            s.dump()


def mid_peer(s):
    """One peer that takes many parts, as the first, a middle and the last; what is told again in each part."""
    for position in 0, 1, 4:
        for n, (what, ips) in enumerate((('added', [allowedip('10.200.0.0', 16)]),
                                         ('removed', [allowedip('10.7.0.1', 32, AF_REMOVE_ME)]),
                                         ('replaced', None))):
            s.fresh(f'a peer of 700 allowed IPs in place {position}, some {what} between parts')
            for p in range(5):
                s.peers([7 if p == position else 100 + p], 2)
            for at in range(0, 700, 350):
                s.set(peers=[peer(key(7), list(prefixes(7, 350, at)))])
            s.dump(sock=SMALL)
            s.dump()
            s.start()
            for _ in range(1 + n):
                s.read(SMALL, 4096)
            s.set(peers=[peer(key(7), ips, None if ips else PF_REPLACE_ALLOWEDIPS)])
            s.drain(SMALL, 4096)
            s.dump(sock=SMALL)


def boundaries(s):
    """A part's end at every possible place: allowed IPs are added one by one, with a dump after each."""
    for keepalive, sizes in ((None, (4096, 3900)), (25, (4096, 4060))):
        s.fresh(f'the end of a part at every place, read sizes {sizes}')
        s.peers([1, 2, 3, 4, 5, 6], 8, keepalive=keepalive, endpoint=sockaddr6('2001:db8::1', 5) if keepalive else None)
        for i in range(90):
            s.set(peers=[peer(key(3), list(prefixes(3, 1, 8 + i)))])
            # Each on a socket of its own: the largest read so far is what the kernel makes parts for.
            for sock, size in zip((SMALL, OTHER), sizes):
                s.send(sock, s.get_message(), size=size)


def several_dumps(s):
    s.fresh('two dumps at once, read in turn', WG0, WG1)
    s.peers(range(80), 2)
    s.peers(range(40, 90), 1, WG1)
    for first, second in ((WG0, WG0), (WG0, WG1)):
        s.start(SMALL, first)
        s.start(OTHER, second)
        for n in range(12):
            s.read(SMALL if n % 3 else OTHER, 4096)
            if n == 7:
                s.set(WG0, fwmark=7)
        s.drain(SMALL, 4096)
        s.drain(OTHER, 4096)
    s.note('a second dump, and changes, on a socket on which one is under way')
    s.start(SMALL)
    s.send(SMALL, s.get_message(), s.set_message(WG1, fwmark=9), s.get_message(WG1), size=4096)
    s.note('a dump that no one reads to its end')
    s.start(SMALL)
    s.close(SMALL)
    s.open(SMALL, NETLINK_GENERIC)
    s.dump(WG0, SMALL)
    s.start(SMALL)
    s.dellink(WG1)


def deleted_during_dump(s):
    """The deletion may have to wait for the dump, so another process asks for it."""
    for ips, reads in ((0, 1), (3, 2)):
        s.fresh(f'a device deleted between parts of a dump, {ips} allowed IPs')
        s.peers(range(60), ips)
        s.actor(0)
        s.ask(0, lambda o: o.open(20, NETLINK_ROUTE))
        s.start()
        for _ in range(reads):
            s.read(SMALL, 4096)
        s.set()
        s.tell(0, lambda o: o.send(20, link(RTM_DELLINK, o.next_seq(), index=WG0)))
        s.until(CONF, -19, s.set_message())
        # How much of it still comes is the driver's business, but must be the same.
        s.drain(SMALL, 4096)
        s.wait(0)
        s.dump(sock=SMALL)


def many(s):
    s.fresh('hundreds of peers, thousands of allowed IPs', WG0, WG1)
    s.peers(range(400), 3, keepalive=25)
    s.peers(range(400, 404), 900)
    s.dump(sock=SMALL)
    s.dump()
    s.note('all allowed IPs of some given to others')
    s.set(peers=[peer(key(403), list(prefixes(400, 900)))])
    s.set(peers=[peer(key(n), list(prefixes(n + 1, 3)), PF_REPLACE_ALLOWEDIPS) for n in range(0, 100, 2)])
    s.dump()
    s.note('a long message that fails in the middle keeps what it did before')
    bad = [peer(key(n), list(prefixes(n, 10)), psk=key(n + 7)) for n in range(390, 430)]
    bad[25].payload[-1].payload[5].payload[2].payload = u8(200)
    s.set(peers=bad)
    s.dump()
    s.set(flags=DF_REPLACE_PEERS, peers=[peer(key(n)) for n in range(3)])
    s.dump()


# --------------------------------------------------- requests, one by one

def echoes(s):
    """An error brings back the request, and in it keys that were wiped, or were not."""
    plain = ((CONF, S.EXT_ACK), (SMALL, 0), (LARGE, S.EXT_ACK | S.CAP_ACK), (OTHER, S.EXT_ACK | S.CAP_ACK))
    for sock in CONF, SMALL:
        s.fresh(f'what of a failed request comes back, socket {sock}', sockets=plain)
        secret, good = key(900), lambda n, **kw: peer(key(n), psk=key(800 + n), **kw)
        s.set(sock=sock, key=secret, peers=[good(1), good(2, version=7), good(3)])
        s.set(sock=sock, key=secret, peers=[good(1, flags=16), good(2)])
        s.set(sock=sock, key=secret, peers=[good(1), good(2, allowedips=[allowedip('10.0.0.0', 60)]), good(3)])
        s.set(999, sock=sock, key=secret, peers=[good(1)])
        s.set(LO, sock=sock, key=secret, peers=[good(1)])
        s.send(sock, genl(SET_DEVICE, device('wg0', WG0, key=secret, peers=[good(1)]), s.next_seq()), size=65536)
        s.set(sock=sock, key=secret, peers=[good(1), Attr(0, good(2).payload, flags=0), good(3)])
        s.set(sock=sock, key=secret, fwmark=1, peers=[good(1)], options=S.UNPRIVILEGED)
        s.set(sock=sock, key=secret, extra=[Attr(D_PRIVATE_KEY, key(901))], peers=[good(4, version=2)])
        twice = good(5, version=2)
        twice.payload.insert(1, Attr(P_PRESHARED_KEY, key(77)))
        s.set(sock=sock, peers=[twice])
        s.set(sock=sock, peers=[Attr(0, [Attr(P_PRESHARED_KEY, key(5)), Attr(P_FLAGS, u32(1))])])
        s.dump()


def every_length(s):
    """Every attribute in every length, with every combination of the two high bits."""
    data = bytes(range(1, 65))
    s.fresh('every attribute in every length')
    for level in range(3):
        for type_ in range((9, 11, 5)[level] + 2):
            for length in (*range(0, 37), 64):
                for flags in (0, NLA_F_NESTED) if length % 4 == 0 else (0,):
                    a = Attr(type_, data[:length], flags)
                    if level == 0:
                        attrs = [a] if type_ in (D_IFINDEX, D_IFNAME) else device(index=WG0) + [a]
                    elif level == 1:
                        attrs = device(index=WG0, peers=[Attr(0, [Attr(P_PUBLIC_KEY, key(1)), a])])
                    else:
                        fields = [Attr(A_FAMILY, u16(AF_INET)), Attr(A_IPADDR, bytes(4)), Attr(A_CIDR, u8(8))]
                        attrs = device(index=WG0, peers=[peer(key(1), [Attr(0, fields + [a])])])
                    cmds = (SET_DEVICE, GET_DEVICE) if level == 0 else (SET_DEVICE,)
                    for cmd in cmds:
                        s.send(CONF, genl(cmd, attrs, s.next_seq(), NLM_F_REQUEST |
                                          (NLM_F_ACK if cmd else NLM_F_DUMP)))
            s.dump()
    s.note('every flag')
    for bit in range(32):
        s.set(flags=1 << bit)
        s.set(peers=[peer(key(1), flags=1 << bit)])
        s.set(peers=[peer(key(1), [allowedip('10.0.0.1', 32, 1 << bit)])])
        s.set(peers=[peer(key(2), flags=bit)])
        s.dump()
    s.note('commands and flags of the header')
    for cmd in 0, 1, 2, 255:
        for bit in range(16):
            s.send(CONF, genl(cmd, device(index=WG0), s.next_seq(), NLM_F_REQUEST | NLM_F_ACK | 1 << bit))
        s.send(CONF, genl(cmd, device(index=WG0), s.next_seq(), NLM_F_REQUEST | NLM_F_DUMP | NLM_F_ACK))
        s.send(CONF, genl(cmd, b'', s.next_seq()))
        s.send(CONF, genl(cmd, b'\1', s.next_seq()))
        s.send(CONF, message(FAMILY, NLM_F_REQUEST | NLM_F_ACK, s.next_seq(), b'\0\1'))
    s.note('array elements that are short, empty or not marked as nested')
    for element in (b'', b'\0', b'abc', b'\4\0\1\0', b'\4\0\0\0', b'\5\0\1\0\1', b'\0\0\0\0'):
        for flags in 0, NLA_F_NESTED:
            s.set(extra=[Attr(D_PEERS, [Attr(0, element, flags)])])
            s.set(extra=[Attr(D_PEERS, element, flags)])
            s.set(peers=[Attr(0, [Attr(P_PUBLIC_KEY, key(1)), Attr(P_ALLOWEDIPS, [Attr(0, element, flags)])])])
            s.set(peers=[Attr(0, [Attr(P_PUBLIC_KEY, key(1)), Attr(P_ALLOWEDIPS, element, flags)])])
    s.set(extra=[Attr(D_PEERS, [peer(key(1))]), Attr(D_PEERS, [peer(key(5))])])
    s.dump()


def identities(s):
    """Own keys: set, cleared, clamped or not, those of peers."""
    from conversation import OWN, PRIVATE
    null, clamped_null = PRIVATE[4], PRIVATE[5]
    orders = ((null, clamped_null), (clamped_null, null, clamped_null), (PRIVATE[0], null, clamped_null, PRIVATE[1]),
              (PRIVATE[0], PRIVATE[3], PRIVATE[0]), (PRIVATE[0], null, null, clamped_null, PRIVATE[0]))
    for order in orders:
        for on in False, True:
            s.fresh(f'{len(order)} own keys one after the other, {"up" if on else "down"}')
            s.up(on=on)
            s.set(peers=[peer(k, [allowedip('10.0.0.0', 24)]) for k in OWN])
            for k in order:
                s.set(key=k)
                s.dump()
            s.set(peers=[peer(k) for k in OWN])
            s.dump()
    s.fresh('own key and peers in one message')
    s.set(key=PRIVATE[0], peers=[peer(OWN[0]), peer(OWN[1]), peer(OWN[0], flags=PF_UPDATE_ONLY, version=2)])
    s.dump()
    s.set(key=PRIVATE[1], peers=[peer(OWN[1], version=1), peer(OWN[0])])
    s.dump()
    s.set(key=PRIVATE[0], flags=DF_REPLACE_PEERS, port=0, fwmark=0, peers=[peer(bytes(32)), peer(b'\1' + bytes(31))])
    s.dump()
    s.note('a key removed and added again in one message, again and again')
    again = [peer(key(1), flags=PF_REMOVE_ME), peer(key(1), [allowedip('10.0.0.0', 8)], psk=key(2))] * 5
    s.set(peers=[peer(key(1), [allowedip('10.0.0.0', 8), allowedip('::', 0)], keepalive=5), peer(key(3)), *again])
    s.dump()


def order(s):
    """In which order peers and their allowed IPs are told."""
    s.fresh('order of allowed IPs')
    ips = ('10.0.0.0/8', '10.0.0.0/24', '10.0.0.1/32', '::/0', '0.0.0.0/0', 'fd00::/64', '10.0.0.129/25')

    def one(cidr, flags=None):
        addr, bits = cidr.split('/')
        return allowedip(addr, int(bits), flags)
    s.set(peers=[peer(key(1), [one(x) for x in ips]), peer(key(2), [one('10.3.0.0/16')])])
    s.dump()
    for x in ips[2], ips[0], ips[2]:
        s.set(peers=[peer(key(1), [one(x)])])
        s.dump()
        s.set(peers=[peer(key(2), [one(x), one(x)])])
        s.dump()
    for x in ips:
        s.set(peers=[peer(key(1), [one(x, AF_REMOVE_ME)])])
        s.set(peers=[peer(key(2), [one(x, AF_REMOVE_ME), one(x)])])
        s.dump()
    # Host bits count for nothing, but may be given.
    s.set(peers=[peer(key(1), [one('10.255.255.255/8'), one('ffff::ffff/3'), one('1.2.3.4/0'), one('1.2.3.4/31')])])
    s.dump()
    s.set(peers=[peer(key(1), [one('10.1.2.3/8', AF_REMOVE_ME), one('128.0.0.0/0', AF_REMOVE_ME)])])
    s.dump()
    s.note('order of peers')
    s.set(peers=[peer(key(n)) for n in range(6)])
    s.set(peers=[peer(key(3), flags=PF_REMOVE_ME), peer(key(3)), peer(key(0), keepalive=1)])
    s.dump()
    for flags in range(8):
        s.set(peers=[peer(key(0), [one('10.9.0.0/16')], flags, psk=key(1), endpoint=sockaddr4('1.2.3.4', 5))])
        s.set(peers=[peer(key(70 + flags), [one('10.10.0.0/16')], flags)])
        s.dump()


def sequence(name, *parts):
    s = Scene(name)
    for part in parts:
        part(s)
    return s


def all_scenes():
    import scenes_net
    return [sequence('scene-torn-dumps', torn_dumps), sequence('scene-mid-peer', mid_peer),
            sequence('scene-boundaries', boundaries), sequence('scene-several-dumps', several_dumps, many),
            sequence('scene-deleted-during-dump', deleted_during_dump),
            sequence('scene-requests', echoes, identities, order), sequence('scene-lengths', every_length),
            *scenes_net.all_scenes()]
