# SPDX-License-Identifier: GPL-2.0
"""Sockets belong to the namespace in which an interface was created; nothing keeps a namespace."""

import os
import select

from lab import attempt, command, row, said, wait_for

V4V6 = ['4:51820', '6:51820']


@row('the socket stays where the interface was created')
def moved(lab):
    pair = lab.pair(home='b')
    a, b = pair.a, pair.home
    lab.see('listening in the namespace of creation', a.listeners(), V4V6)
    lab.see('listening where the interface is', b.listeners(), [])
    lab.see('the tunnel', pair.works(), 'works')
    lab.see('over IPv6', pair.works(6), 'works')
    c = lab.ns('c')
    lab.see('moved once more, while up', b.try_ip('link', 'set', 'wg0', 'netns', 'c'), 'ok')
    lab.see('it is down then', 'UP' in c.ip('link', 'show', 'wg0').stdout.split('<')[1].split('>')[0].split(','), False)
    lab.see('and listens nowhere', [ns.listeners() for ns in (a, b, c)], [[], [], []])
    c.ip('link', 'set', 'wg0', 'up')
    lab.see('up again', [ns.listeners() for ns in (a, b, c)], [V4V6, [], []])
    lab.see('its port in wg show', c.run('wg', 'show', 'wg0', 'listen-port').stdout.strip(), '51820')
    lab.see('another port', said(c.run('wg', 'set', 'wg0', 'listen-port', '51821')), 'ok')
    lab.see('opened there too', [ns.listeners() for ns in (a, b, c)], [['4:51821', '6:51821'], [], []])


@row('created for another namespace')
def link_net(lab):
    a, b = lab.ns('a'), lab.ns('b')
    lab.see('ip link add wg0 netns b', a.try_ip('link', 'add', 'wg0', 'netns', 'b', 'type', 'wireguard'), 'ok')
    lab.see('ip link add wg1 link-netns a',
            said(b.run('ip', 'link', 'add', 'wg1', 'link-netns', 'a', 'type', 'wireguard')))
    for n, name in enumerate(('wg0', 'wg1')):
        lab.see(f'{name} set up', [said(b.run('wg', 'set', name, 'listen-port', str(700 + n))),
                                   b.try_ip('link', 'set', name, 'up')])
        lab.see(f'{name}: listening in a and b', [a.listeners(), b.listeners()])
        lab.see(f'{name} down', b.try_ip('link', 'set', name, 'down'))


@row('the same port in two namespaces')
def same_port(lab):
    spaces = [lab.ns(n) for n in ('a', 'b')]
    for ns in spaces:
        ns.ip('link', 'add', 'wg0', 'type', 'wireguard')
        ns.run('wg', 'set', 'wg0', 'listen-port', '700', must=True)
        lab.see(f'up in {ns.name}', ns.try_ip('link', 'set', 'wg0', 'up'), 'ok')
    lab.see('listening', [ns.listeners() for ns in spaces], [['4:700', '6:700']] * 2)
    spaces[0].ip('link', 'add', 'wg1', 'type', 'wireguard')
    spaces[0].run('wg', 'set', 'wg1', 'listen-port', '700', must=True)
    lab.see('a second one in a', spaces[0].try_ip('link', 'set', 'wg1', 'up'), 'RTNETLINK answers: Address already in use')
    spaces[0].ip('link', 'set', 'wg1', 'netns', 'b')
    lab.see('moved to b, its port still of a', spaces[1].try_ip('link', 'set', 'wg1', 'up'),
            'RTNETLINK answers: Address already in use')


@row('the namespace of creation goes away under traffic')
def creator_gone(lab):
    pair = lab.pair(home='b')
    home = pair.home
    lab.see('before', pair.works(), 'works')
    pair.a.delete()
    lab.see('freed although the interface lives', pair.a.freed(), True)
    def flags():
        return home.ip('-o', 'link', 'show', 'wg0').stdout.split('<')[1].split('>')[0].split(',')
    lab.see('no carrier', 'NO-CARRIER' in flags() and 'UP' in flags(), True)
    lab.see('state', home.sysfs('cat /sys/class/net/wg0/operstate /sys/class/net/wg0/carrier'))
    lab.see('sending', [pair.say() for _ in range(3)])
    lab.see('arrives', len(pair.peer.messages(1, 0.3)), 0)
    lab.see('wg set listen-port', said(pair.wg('listen-port', '700')),
            'Unable to modify interface: Operation not permitted')
    lab.see('wg set fwmark', said(pair.wg('fwmark', '7')), 'Unable to modify interface: Operation not permitted')
    lab.see('wg set persistent-keepalive', said(pair.set_peer('persistent-keepalive', '5', must=False)), 'ok')
    lab.see('wg show', home.run('wg', 'show', 'wg0', 'listen-port').stdout.strip())
    lab.see('link down', home.try_ip('link', 'set', 'wg0', 'down'), 'ok')
    lab.see('link up', home.try_ip('link', 'set', 'wg0', 'up'), 'RTNETLINK answers: Machine is not on the network')
    lab.see('listening', home.listeners(), [])
    lab.see('deleted', home.try_ip('link', 'del', 'wg0'), 'ok')


def crossed(lab):
    """wg0 created in a is in b, wg1 created in b is in a, and they are each other's peers."""
    a, b = lab.ns('a'), lab.ns('b')
    lab.cable(a, b)
    for name, of, to in ('wg0', a, b), ('wg1', b, a):
        of.ip('link', 'add', name, 'type', 'wireguard')
        of.ip('link', 'set', name, 'netns', to.name)
    keys = [command('wg', 'genkey').stdout for _ in 'ab']
    publics = [command('wg', 'pubkey', stdin=k).stdout.strip() for k in keys]
    for n, (name, ns) in enumerate((('wg0', b), ('wg1', a))):
        ns.run('wg', 'set', name, 'private-key', '/dev/stdin', 'listen-port', '700', 'peer', publics[1 - n],
               'allowed-ips', '0.0.0.0/0', 'endpoint', f'10.1.0.{2 - n}:700', stdin=keys[n], must=True)
        ns.ip('addr', 'add', f'192.168.7.{n + 1}/24', 'dev', name)
        ns.ip('link', 'set', name, 'up')
    one, two = lab.udp(b, '192.168.7.1', 5000), lab.udp(a, '192.168.7.2', 5000)
    one.sendto(b'x', ('192.168.7.2', 5000))
    there = bool(select.select([two], [], [], 20)[0])
    two.sendto(b'y', ('192.168.7.1', 5000))
    lab.see('traffic across', [there, bool(select.select([one], [], [], 20)[0])], [True, True])
    one.close()
    two.close()
    return a, b


@row('two that have each other\'s sockets, deleted in one order')
def cross_ab(lab):
    a, b = crossed(lab)
    a.delete()
    lab.see('the first is freed', a.freed(), True)
    lab.see('what is left in the second', [n for n in b.sysfs('ls /sys/class/net') if n.startswith('wg')], ['wg0'])
    b.delete()
    lab.see('the second is freed', b.freed(), True)


@row('two that have each other\'s sockets, deleted in the other order')
def cross_ba(lab):
    a, b = crossed(lab)
    b.delete()
    lab.see('the first is freed', b.freed(), True)
    lab.see('what is left in the second', [n for n in a.sysfs('ls /sys/class/net') if n.startswith('wg')], ['wg1'])
    a.delete()
    lab.see('the second is freed', a.freed(), True)


@row('two that have each other\'s sockets, deleted at once')
def cross_both(lab):
    a, b = crossed(lab)
    a.delete()
    b.delete()
    lab.see('freed', [a.freed(), b.freed()], [True, True])


@row('an interface in the namespace of its sockets, with a session and staged packets')
def plain(lab):
    pair = lab.pair()
    lab.see('traffic', pair.works(), 'works')
    pair.wg('peer', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=', 'allowed-ips', '192.168.5.7/32',
            'endpoint', '10.1.0.9:9', must=True)
    lab.see('staged', [attempt(pair.socket().sendto, b'x', ('192.168.5.7', 9)) for _ in range(5)])
    pair.socket().close()
    pair.a.delete()
    lab.see('freed', pair.a.freed(), True)


@row('a namespace without a name lives as long as somebody is in it')
def anonymous(lab):
    pair = lab.pair()
    sock = pair.socket()
    fd = os.open('/run/netns/a', os.O_RDONLY)
    pair.a.delete()
    sock.sendto(b'x', ('192.168.5.2', 7))
    lab.see('still sends', len(pair.peer.messages(1)), 1)
    os.close(fd)
    sock.close()
    lab.see('freed with the last user', pair.a.freed(), True)


@row('deleted with its namespace, not moved back')
def not_moved_back(lab):
    b = lab.ns('b')
    command('ip', 'link', 'add', 'wgback', 'type', 'wireguard', must=True)
    command('ip', 'link', 'set', 'wgback', 'netns', 'b', must=True)
    b.ip('link', 'set', 'wgback', 'up')
    b.delete()
    lab.see('freed', b.freed(), True)
    gone = wait_for(lambda: not command('ip', '-o', 'link', 'show', 'type', 'wireguard').stdout, 5)
    lab.see('nothing comes back', gone, True)


@row('without IPv6 in the namespace')
def no_ipv6(lab):
    pair = lab.pair(up=False)
    pair.a.sysctl('ipv6/conf/all/disable_ipv6', 1)
    pair.a.ip('link', 'set', 'wg0', 'up')
    lab.see('listening', pair.a.listeners(), V4V6)
    lab.see('the tunnel', pair.works(), 'works')
