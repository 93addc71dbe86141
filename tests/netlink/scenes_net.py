# SPDX-License-Identifier: GPL-2.0
"""Set scenes about what surrounds a device: links, ports, permissions, network namespaces."""

import script as S
from scenes import CONF, LARGE, LO, OTHER, ROUTE, WG0, WG1, WG2, key, sequence
from wire import *  # noqa: F403


# --------------------------------------------------------------- ports

def ports(s):
    s.fresh('ports while down and up', WG0, WG1)
    s.peers(range(3), 1)
    for port in 1000, 0, 65535, 1:
        s.set(port=port)
        s.dump()
    s.up()
    for port in 1, 1000, 1000, 0, 0, 1001, 65535:
        s.set(port=port)
        s.dump()
    s.note('a random port stays when it goes down and up')
    s.set(port=0)
    s.up(on=False)
    s.dump()
    s.up()
    s.dump()
    s.set(port=0)
    s.up(on=False)
    s.set(port=0)
    s.dump()
    s.up()
    s.note('the port of another interface')
    s.set(WG1, port=1500)
    s.up(WG1)
    s.set(port=1500)
    s.dump()
    s.up(on=False)
    s.set(port=1500)
    s.dump()
    s.up()
    s.dump()
    s.up(WG1, False)
    s.up()
    s.dump()
    for family in AF_INET, AF_INET6:
        for start in 'up', 'down':
            s.fresh(f'a port that is in use for family {family}, interface {start}')
            s.peers(range(2), 2)
            s.set(port=1000, fwmark=3)
            s.bind(0, family, 1234)
            if start == 'up':
                s.up()
            # What comes before the port in the message's order of effects stays, what comes after doesn't happen.
            s.set(port=1234, fwmark=5, key=key(44), flags=DF_REPLACE_PEERS, peers=[peer(key(9))])
            s.dump()
            s.up()
            s.getlink(WG0)
            s.dump()
            s.unbind(0)
            s.set(port=1234)
            s.dump()
            s.up()
            s.dump()
            s.sh('ss -Hulpn | awk \'{print $4}\' | sort')
    s.fresh('what is bound, and when')
    for step in (lambda: s.set(port=4321), s.up, lambda: s.set(port=4322), lambda: s.up(on=False), s.up,
                 lambda: s.dellink(WG0)):
        step()
        s.sh('ss -Huan | awk \'{print $4}\' | sort')


# --------------------------------------------------------- permissions

def permissions(s):
    s.fresh('capabilities when a socket was opened and when it is used')
    s.peers(range(2), 1)
    s.open(10, NETLINK_GENERIC, options=S.EXT_ACK | S.CAP_ACK | S.UNPRIVILEGED)
    s.open(11, NETLINK_ROUTE, options=S.EXT_ACK | S.CAP_ACK | S.UNPRIVILEGED)
    for sock in CONF, 10:
        for options in 0, S.UNPRIVILEGED:
            s.send(sock, s.get_message(), options=options)
            s.set(sock=sock, options=options, peers=[peer(key(5))])
            s.set(sock=sock, options=options, index=999)
            s.set(sock=sock, options=options, peers=[peer(key(5), flags=64)])
            s.send(sock, genl(7, b'', s.next_seq()), options=options)
    s.send(11, link(RTM_NEWLINK, s.next_seq(), [Attr(IFLA_IFNAME, cstr('wg9')), linkinfo('wireguard')],
                    nlflags=NLM_F_CREATE), options=S.UNPRIVILEGED)
    s.getlink(WG0, 11)
    s.close(10)
    s.close(11)
    s.dump()


def user_namespaces(s):
    """Root of another user namespace has its own devices, and of a moved one all but its sockets."""
    s.fresh('a namespace of its own user')
    s.actor(1, userns=5)
    for sock, proto in ((20, NETLINK_GENERIC), (21, NETLINK_ROUTE)):
        s.ask(1, lambda o, sock=sock, proto=proto: o.open(sock, proto, ns=5))
    new = link(RTM_NEWLINK, s.next_seq(), [Attr(IFLA_IFNAME, cstr('wg1')), linkinfo('wireguard')], WG1,
               nlflags=NLM_F_CREATE | NLM_F_EXCL)
    s.ask(1, lambda o: o.send(21, new))
    for attrs in ({'fwmark': 1, 'port': 77}, {'peers': [peer(key(1))]}, {'key': key(3)}):
        s.ask(1, lambda o, attrs=attrs: o.send(20, genl(SET_DEVICE, device('wg1', **attrs), o.next_seq())))
    s.ask(1, lambda o: o.send(20, s.get_message(WG1)))
    s.note('a device moved into it keeps its sockets: port and mark are not its root\'s to set')
    s.set(port=1111, fwmark=2, peers=[peer(key(1), [allowedip('10.0.0.0', 8)])])
    s.setlink(WG0, Attr(IFLA_NET_NS_FD, u32(S.NS_FD + 5)))
    for attrs in ({'fwmark': 2}, {'port': 1111}, {'fwmark': 3, 'peers': [peer(key(2))]}, {'port': 0, 'flags': 1},
                  {'flags': 2, 'port': 5}, {'peers': [peer(key(3))]}, {'key': key(8)},
                  {'flags': 1, 'peers': [peer(key(4), [allowedip('10.0.0.0', 8)])]}):
        s.ask(1, lambda o, attrs=attrs: o.send(20, genl(SET_DEVICE, device('wg0', **attrs), o.next_seq())))
        s.ask(1, lambda o: o.send(20, s.get_message(WG0)))
    s.ask(1, lambda o: o.send(21, link(RTM_SETLINK, o.next_seq(), index=WG0, flags=IFF_UP, change=IFF_UP)))
    s.ask(1, lambda o: o.send(20, s.get_message(WG0)))
    s.note('seen from outside')
    s.open(10, NETLINK_GENERIC, ns=5)
    s.set(sock=10, port=1112, fwmark=9)
    s.send(10, s.get_message(WG0))
    s.close(10)
    s.sh('ss -Huan | awk \'{print $4}\' | sort')


# ---------------------------------------------------------- namespaces

def namespaces(s):
    s.fresh('moved to another namespace, with its sockets in the first', WG0, WG1)
    s.namespace(1)
    s.open(10, NETLINK_GENERIC, ns=1)
    s.open(11, NETLINK_ROUTE, ns=1)
    s.peers(range(3), 2)
    s.set(port=2000)
    s.up()
    s.setlink(WG0, Attr(IFLA_NET_NS_FD, u32(S.NS_FD + 1)))
    s.dump()
    s.send(10, s.get_message())
    s.set(sock=10, port=2000)
    s.up(sock=11)
    s.set(sock=10, port=2001, fwmark=4)
    s.send(10, s.get_message())
    for ns in 0, 1:
        s.sh('ss -Huan | awk \'{print $4}\' | sort', ns=ns)
    s.note('ports are in use per namespace')
    s.bind(0, AF_INET, 2002, ns=1)
    s.set(sock=10, port=2002)
    s.unbind(0)
    s.bind(0, AF_INET, 2003, ns=0)
    s.set(sock=10, port=2003)
    s.unbind(0)
    s.getlink(WG0, 11)
    s.note('back, and gone there')
    s.setlink(WG0, Attr(IFLA_NET_NS_FD, u32(S.NS_FD)), sock=11)
    s.dump()
    s.send(10, s.get_message())
    s.note('made here for there')
    s.add_link(WG2, Attr(IFLA_NET_NS_FD, u32(S.NS_FD + 1)))
    s.send(10, s.get_message(WG2))
    s.up(WG2, sock=11)
    s.set(WG2, sock=10, port=2100)
    for ns in 0, 1:
        s.sh('ss -Huan | awk \'{print $4}\' | sort', ns=ns)
    s.note('the namespace that made a device ends: no ports any more')
    s.namespace(2)
    s.open(12, NETLINK_ROUTE, ns=2)
    s.add_link(WG0 + 20, sock=12, name='wgx')
    s.send(12, link(RTM_SETLINK, s.next_seq(), [Attr(IFLA_NET_NS_FD, u32(S.NS_FD + 1))], WG0 + 20))
    s.close(12)
    s.set(WG0 + 20, sock=10, port=2200, peers=[peer(key(1))])
    s.up(WG0 + 20, sock=11)
    s.send(10, s.get_message(WG0 + 20))
    s.exec(['true'], ns=1)  # so that no one is in it
    s.nsclose(2)
    # The same mark that it has, as no one knows how often this succeeds before.
    s.until(10, -1, s.set_message(WG0 + 20, fwmark=0))
    s.set(WG0 + 20, sock=10, port=2200)
    s.set(WG0 + 20, sock=10, peers=[peer(key(2))], key=key(3))
    s.send(10, s.get_message(WG0 + 20))
    s.sh('ip -d link show wgx | sed "s/ link-netnsid.*//"', ns=1)
    s.up(WG0 + 20, False, sock=11)
    s.up(WG0 + 20, sock=11)
    s.set(WG0 + 20, sock=10, port=2201)
    s.send(10, s.get_message(WG0 + 20))
    s.dellink(WG0 + 20, sock=11)
    for sock in 10, 11:
        s.close(sock)


# --------------------------------------------------------------- links

def links(s):
    s.fresh('what a new link is like')
    s.getlink(WG0)
    s.setlink(WG0, Attr(IFLA_IFNAME, cstr('wg-other')))
    s.getlink(WG0)
    s.send(CONF, genl(SET_DEVICE, device('wg0', fwmark=1), s.next_seq()))
    s.send(CONF, genl(SET_DEVICE, device('wg-other', fwmark=1), s.next_seq()))
    s.note('another name beside it')
    s.setlink(WG0, Attr(IFLA_PROP_LIST, [Attr(IFLA_ALT_IFNAME, cstr('altname')),
                                         Attr(IFLA_ALT_IFNAME, cstr('a-name-that-is-too-long-for-this'))]),
              type_=RTM_NEWLINKPROP, nlflags=NLM_F_CREATE | NLM_F_EXCL)
    s.send(CONF, genl(SET_DEVICE, device('altname', fwmark=2), s.next_seq()))
    s.send(LARGE, genl(GET_DEVICE, device('altname'), s.next_seq(), NLM_F_REQUEST | NLM_F_DUMP))
    s.send(LARGE, genl(GET_DEVICE, device('a-name-that-is-too-long-for-this'), s.next_seq(),
                       NLM_F_REQUEST | NLM_F_DUMP))
    s.note('odd wishes for a new link')
    data = lambda b: Attr(IFLA_LINKINFO, [Attr(IFLA_INFO_KIND, cstr('wireguard')), Attr(IFLA_INFO_DATA, b)])  # noqa
    wishes = ([data(b'')], [data([])], [data([Attr(1, u32(5))])], [data(b'\1\2\3')], [Attr(IFLA_MTU, u32(9000))],
              [Attr(IFLA_MTU, u32(0))], [Attr(IFLA_MTU, u32(67))], [Attr(IFLA_MTU, u32(0x7FFFFFB0))],
              [Attr(IFLA_MTU, u32(0x7FFFFFA1))], [Attr(IFLA_MTU, u32(0xFFFFFFFF))], [Attr(IFLA_MTU, u32(1279))],
              [Attr(IFLA_TXQLEN, u32(5))], [Attr(IFLA_ADDRESS, bytes(6))], [Attr(IFLA_ADDRESS, b'')],
              [Attr(IFLA_GROUP, u32(7))], [Attr(IFLA_NUM_TX_QUEUES, u32(4)), Attr(IFLA_NUM_RX_QUEUES, u32(3))],
              [Attr(IFLA_NUM_TX_QUEUES, u32(0))], [Attr(IFLA_NUM_TX_QUEUES, u32(5000))], [Attr(IFLA_LINK, u32(LO))],
              [Attr(IFLA_LINK, u32(99))], [Attr(IFLA_MASTER, u32(LO))])
    for n, wish in enumerate(wishes):
        index = 40 + n
        if wish[0].type == IFLA_LINKINFO:
            s.send(ROUTE, link(RTM_NEWLINK, s.next_seq(), [Attr(IFLA_IFNAME, cstr(f'wg{index}')), *wish], index,
                               nlflags=NLM_F_CREATE | NLM_F_EXCL))
        else:
            s.add_link(index, *wish, name=f'wg{index}')
        s.getlink(index)
        s.dellink(index)
    for name in ('', '.', '..', 'a/b', 'a b', 'x' * 15, 'x' * 16, 'wg%d', 'wg%s', 'lo', 'wg-other', 'a:b', '%d'):
        s.send(ROUTE, link(RTM_NEWLINK, s.next_seq(), [Attr(IFLA_IFNAME, cstr(name)), linkinfo('wireguard')],
                           nlflags=NLM_F_CREATE | NLM_F_EXCL))
    s.sh("ip -o link | cut -d' ' -f1,2")
    s.note('changes of a link that is there')
    for change in ([Attr(IFLA_MTU, u32(m))] for m in (0, 1, 67, 68, 1279, 1280, 1420, 65535, 65536, 0x7FFFFFA0,
                                                     0x7FFFFFA1, 0x7FFFFFB0, 0x80000000)):
        s.setlink(WG0, *change)
        s.getlink(WG0)
    for change in ([Attr(IFLA_ADDRESS, bytes(6))], [Attr(IFLA_ADDRESS, b'')], [Attr(IFLA_MASTER, u32(LO))],
                   [Attr(IFLA_TXQLEN, u32(12))], [Attr(IFLA_GROUP, u32(3))], [linkinfo('wireguard')],
                   [linkinfo('wireguard', Attr(IFLA_INFO_DATA, []))], [linkinfo('dummy')]):
        s.setlink(WG0, *change, type_=RTM_NEWLINK)
        s.setlink(WG0, *change, type_=RTM_NEWLINK, nlflags=NLM_F_CREATE | NLM_F_REPLACE)
        s.setlink(WG0, *change)
        s.getlink(WG0)
    for bit in range(17):
        s.send(ROUTE, link(RTM_SETLINK, s.next_seq(), index=WG0, flags=1 << bit, change=1 << bit))
        s.getlink(WG0)


TOOLS = (
    'ip -d link show wg0', 'ip -s -s link show wg0', 'ip -d -j link show wg0', 'ip link add wg0 type wireguard',
    'ip link add type wireguard', 'ip link add wg7 type wireguard help', 'ip link add wg7 type wireguard foo bar',
    'ip link add wg7 mtu 100 txqueuelen 7 type wireguard; ip -d link show wg7',
    'ip link add wg8 numtxqueues 3 numrxqueues 2 type wireguard; ip -d link show wg8; ls /sys/class/net/wg8/queues',
    'ip link set wg0 mtu 67', 'ip link set wg0 mtu 68', 'ip link set wg0 mtu 2147483552', 'ip link set wg0 mtu 2147483553',
    'ip link set wg0 mtu 1420', 'ip link set wg0 address 02:00:00:00:00:01', 'ip link set wg0 type wireguard',
    'ip link set wg0 name other && ip link set other name wg0', 'ip link set wg0 alias "a tunnel"; ip link show wg0',
    'ip link set wg0 arp on; ip link set wg0 multicast on; ip link show wg0',
    'ip link set wg0 promisc on; ip link show wg0; ip link set wg0 promisc off',
    'ip addr add 10.0.0.1/24 dev wg0; ip addr add fd00::1/64 dev wg0 nodad; ip link set wg0 up; ip addr show wg0',
    'ip -4 route; ip -6 route show dev wg0', 'ip link show type wireguard',
    'sysctl net.ipv4.conf.wg0.send_redirects net.ipv4.conf.all.send_redirects net.ipv6.conf.wg0.addr_gen_mode',
    'ip link set wg0 down; ip link set wg0 up; sysctl net.ipv6.conf.wg0.addr_gen_mode',
    'ethtool -i wg0 | grep -v -e ^version -e ^supports-stat', 'ethtool -k wg0', 'ethtool wg0', 'ethtool -l wg0',
    'cd /sys/class/net/wg0 && for f in *; do [ -f $f ] && echo "$f: $(cat $f 2>&1)"; done',
    'cat /sys/class/net/wg0/uevent', 'ls /sys/class/net/wg0/queues/*',
    'mount -t sysfs sysfs /tmp 2>&1; grep -h . /tmp/class/net/wg0/uevent; umount /tmp',
    'ip link add br0 type bridge; ip link set wg0 master br0', 'ip link add link wg0 name wg0.5 type vlan id 5',
    'ip link add link wg0 mac0 type macvlan', 'tc qdisc show dev wg0', 'ip link set wg0 xdp off',
    'ip link show wg0; ip link del wg0; ip link show wg0', 'ip link del wg0',
)


def tools(s):
    """What ip and ethtool make of it, in words; sysfs is the one of the namespace."""
    s.fresh('what the tools show')
    for command in TOOLS:
        # A mount namespace of its own each time, for /sys to be this network namespace's.
        s.exec(['unshare', '-m', 'sh', '-c', 'mount -t sysfs sysfs /sys; ' + command])


def family(s):
    """The family as the controller tells it: commands, versions, policies."""
    s.fresh('the generic netlink family')
    name = Attr(CTRL_A_FAMILY_NAME, cstr('wireguard'))
    for cmd, more in ((CTRL_CMD_GETFAMILY, []), (CTRL_CMD_GETPOLICY, []), (CTRL_CMD_GETPOLICY, [Attr(10, u32(0))]),
                      (CTRL_CMD_GETPOLICY, [Attr(10, u32(1))]), (CTRL_CMD_GETPOLICY, [Attr(10, u32(2))])):
        for flags in NLM_F_ACK, NLM_F_DUMP:
            if cmd == CTRL_CMD_GETFAMILY and flags == NLM_F_DUMP:
                continue  # all families there are
            s.send(OTHER, genl(cmd, [name, *more], s.next_seq(), NLM_F_REQUEST | flags, version=2,
                               type_=GENL_ID_CTRL))


def all_scenes():
    return [sequence('scene-ports', ports), sequence('scene-permissions', permissions),
            sequence('scene-user-namespaces', user_namespaces), sequence('scene-namespaces', namespaces),
            sequence('scene-links', links, family), sequence('scene-tools', tools)]
