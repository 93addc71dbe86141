# SPDX-License-Identifier: GPL-2.0
"""The wire format of netlink, generic netlink and WireGuard's attributes.

Own codec, on purpose: a library would refuse to write the malformed messages
that this test is about, and would tidy up what it reads. Everything here is
native byte order, little endian in the guest and on the host.
"""

import errno as _errno
import ipaddress
import struct

NETLINK_ROUTE, NETLINK_GENERIC = 0, 16

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP_INTR = 1, 2, 4, 8, 16
NLM_F_ROOT, NLM_F_MATCH, NLM_F_DUMP = 0x100, 0x200, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLA_F_NESTED, NLA_F_NET_BYTEORDER = 0x8000, 0x4000

GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY, CTRL_CMD_GETPOLICY = 3, 10
CTRL_A_FAMILY_ID, CTRL_A_FAMILY_NAME = 1, 2

# In a script the family's number, which is given out at run time, is this; the
# guest puts in the right one, and the comparer puts this one back.
FAMILY = 0x7FFF

GET_DEVICE, SET_DEVICE = 0, 1
(D_UNSPEC, D_IFINDEX, D_IFNAME, D_PRIVATE_KEY, D_PUBLIC_KEY, D_FLAGS, D_LISTEN_PORT, D_FWMARK,
 D_PEERS) = range(9)
(P_UNSPEC, P_PUBLIC_KEY, P_PRESHARED_KEY, P_FLAGS, P_ENDPOINT, P_KEEPALIVE, P_LAST_HANDSHAKE, P_RX, P_TX,
 P_ALLOWEDIPS, P_VERSION) = range(11)
A_UNSPEC, A_FAMILY, A_IPADDR, A_CIDR, A_FLAGS = range(5)
DF_REPLACE_PEERS = 1
PF_REMOVE_ME, PF_REPLACE_ALLOWEDIPS, PF_UPDATE_ONLY = 1, 2, 4
AF_REMOVE_ME = 1
AF_INET, AF_INET6 = 2, 10

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWLINKPROP = 16, 17, 18, 19, 108
(IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_STATS, IFLA_MASTER, IFLA_TXQLEN, IFLA_LINKINFO,
 IFLA_NET_NS_PID, IFLA_STATS64, IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES,
 IFLA_PROP_LIST, IFLA_ALT_IFNAME) = (1, 3, 4, 5, 7, 10, 13, 18, 19, 23, 26, 27, 28, 31, 32, 52, 53)
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFF_UP = 1


def pad(data):
    return data + bytes(-len(data) % 4)


class Attr:
    """One attribute to send: its payload is bytes or a list of attributes.

    `length` overrides what the header says, `flags` the two high bits of the
    type (by default NLA_F_NESTED if the payload is a list).
    """
    __slots__ = ('type', 'payload', 'flags', 'length')

    def __init__(self, type_, payload, flags=None, length=None):
        self.type, self.payload, self.flags, self.length = type_, payload, flags, length

    def encode(self):
        nested = isinstance(self.payload, list)
        body = encode_attrs(self.payload) if nested else self.payload
        flags = self.flags if self.flags is not None else NLA_F_NESTED if nested else 0
        # A list that grew beyond what 16 bits can say wraps, like a careless sender's.
        length = self.length if self.length is not None else 4 + len(body)
        return pad(struct.pack('<HH', length & 0xFFFF, self.type & 0x3FFF | flags) + body)

    def walk(self):
        """This attribute and all in it, with the list each one is in."""
        if isinstance(self.payload, list):
            for a in self.payload:
                yield a, self.payload
                yield from a.walk()


def encode_attrs(attrs):
    return b''.join(a.encode() for a in attrs)


def u8(v):
    return struct.pack('<B', v & 0xFF)


def u16(v):
    return struct.pack('<H', v & 0xFFFF)


def u32(v):
    return struct.pack('<I', v & 0xFFFFFFFF)


def u64(v):
    return struct.pack('<Q', v & (1 << 64) - 1)


def cstr(s):
    return s.encode() + b'\0'


def message(type_, flags, seq, body, length=None):
    return pad(struct.pack('<IHHII', 16 + len(body) if length is None else length, type_, flags, seq, 0) + body)


def genl(cmd, attrs, seq, flags=NLM_F_REQUEST | NLM_F_ACK, version=1, reserved=0, type_=FAMILY, length=None):
    """A generic netlink message; `attrs` is a list of attributes, or bytes."""
    body = attrs if isinstance(attrs, bytes) else encode_attrs(attrs)
    return message(type_, flags, seq, struct.pack('<BBH', cmd, version, reserved) + body, length)


def link(type_, seq, attrs=(), index=0, flags=0, change=0, nlflags=0):
    body = struct.pack('<BBHiII', 0, 0, 0, index, flags, change) + encode_attrs(attrs)
    return message(type_, NLM_F_REQUEST | NLM_F_ACK | nlflags, seq, body)


def linkinfo(kind, *more):
    return Attr(IFLA_LINKINFO, [Attr(IFLA_INFO_KIND, cstr(kind)), *more])


def sockaddr4(addr, port, zero=bytes(8), family=AF_INET):
    return struct.pack('<H', family) + struct.pack('>H', port) + ipaddress.IPv4Address(addr).packed + zero


def sockaddr6(addr, port, flowinfo=0, scope=0, family=AF_INET6):
    return (struct.pack('<H', family) + struct.pack('>HI', port, flowinfo) + ipaddress.IPv6Address(addr).packed +
            struct.pack('<I', scope))


def allowedip(addr, cidr, flags=None, family=None):
    addr = ipaddress.ip_address(addr)
    fields = [Attr(A_FAMILY, u16(family if family is not None else AF_INET if addr.version == 4 else AF_INET6)),
              Attr(A_IPADDR, addr.packed), Attr(A_CIDR, u8(cidr))]
    if flags is not None:
        fields.append(Attr(A_FLAGS, u32(flags)))
    return Attr(0, fields)


def peer(key, allowedips=None, flags=None, psk=None, endpoint=None, keepalive=None, version=None):
    fields = [Attr(P_PUBLIC_KEY, key)]
    for type_, value, how in ((P_FLAGS, flags, u32), (P_PRESHARED_KEY, psk, bytes), (P_ENDPOINT, endpoint, bytes),
                              (P_KEEPALIVE, keepalive, u16), (P_VERSION, version, u32)):
        if value is not None:
            fields.append(Attr(type_, how(value)))
    if allowedips is not None:
        fields.append(Attr(P_ALLOWEDIPS, list(allowedips)))
    return Attr(0, fields)


def device(name=None, index=None, peers=None, flags=None, port=None, fwmark=None, key=None):
    """The attributes of a request about one device."""
    attrs = []
    for type_, value, how in ((D_IFNAME, name, cstr), (D_IFINDEX, index, u32), (D_FLAGS, flags, u32),
                              (D_PRIVATE_KEY, key, bytes), (D_LISTEN_PORT, port, u16), (D_FWMARK, fwmark, u32)):
        if value is not None:
            attrs.append(Attr(type_, how(value)))
    if peers is not None:
        attrs.append(Attr(D_PEERS, list(peers)))
    return attrs


# ---------------------------------------------------------------- X25519

def public_key(private):
    """The public key of a private one (RFC 7748), for messages about own keys."""
    prime = 2**255 - 19
    k = int.from_bytes(private, 'little') & (1 << 254) - 8 | 1 << 254
    x1, x2, z2, x3, z3, swap = 9, 1, 0, 9, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % prime, b * b % prime, d * a % prime, c * b % prime
        e = aa - bb
        x3, z3 = (da + cb)**2 % prime, x1 * (da - cb)**2 % prime
        x2, z2 = aa * bb % prime, e * (aa + 121665 * e) % prime
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, prime - 2, prime) % prime).to_bytes(32, 'little')


# ------------------------------------------------------------- reading

def messages(datagram):
    """The messages of a datagram: (type, flags, seq, portid, body)."""
    at = 0
    while at + 16 <= len(datagram):
        length, type_, flags, seq, portid = struct.unpack_from('<IHHII', datagram, at)
        if length < 16 or at + length > len(datagram):
            break
        yield type_, flags, seq, portid, datagram[at + 16:at + length]
        at += length + 3 & ~3


def attrs(data):
    """The attributes in `data`: (type with its flags, payload)."""
    at = 0
    while at + 4 <= len(data):
        length, type_ = struct.unpack_from('<HH', data, at)
        if length < 4 or at + length > len(data):
            yield 'garbage', data[at:]
            return
        yield type_, data[at + 4:at + length]
        at += length + 3 & ~3


def errname(code):
    # 95 has two names, and this is the kernel's.
    return 'ok' if code == 0 else 'EOPNOTSUPP' if code == -95 else _errno.errorcode.get(-code, str(code))
