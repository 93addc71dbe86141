# SPDX-License-Identifier: GPL-2.0
"""The interface as the rest of the network stack and its tools see it."""

import json
import subprocess
import time

from lab import attempt, command, row, said, wait_for


def fresh(lab, *options):
    a = lab.ns('a')
    a.ip('link', 'add', 'wg0', *options, 'type', 'wireguard')
    return a


@row('ip -d link')
def details(lab):
    a = fresh(lab)
    link = json.loads(a.ip('-j', '-d', 'link', 'show', 'wg0').stdout)[0]
    link.pop('ifindex')
    for key in sorted(link):
        lab.see(key, link[key])
    lab.see('kind', link['linkinfo'], {'info_kind': 'wireguard'})
    lab.see('MTU', [link['mtu'], link['min_mtu'], link['max_mtu']], [1420, 0, 2147483552])
    lab.see('flags', link['flags'], ['POINTOPOINT', 'NOARP'])
    a.ip('link', 'set', 'wg0', 'up')
    link = json.loads(a.ip('-j', '-d', 'link', 'show', 'wg0').stdout)[0]
    lab.see('up', [link['flags'], link['operstate'], link.get('qdisc')])
    lab.see('its addresses', a.ip('-j', 'addr', 'show', 'wg0').stdout.count('fe80'), 0)
    lab.see('multicast groups', [line.strip() for line in a.ip('maddr', 'show', 'wg0').stdout.splitlines()[1:]])
    lab.see('routes', [line.strip() for line in a.ip('-6', 'route', 'show', 'dev', 'wg0', 'table', 'all').stdout.splitlines()])
    lab.see('xstats', said(a.run('ip', 'link', 'xstats', 'type', 'wireguard')))


@row('ip link add with options')
def options(lab):
    a = lab.ns('a')
    for n, words in enumerate(('mtu 1300', 'index 777', 'txqueuelen 5', 'numtxqueues 4 numrxqueues 2', 'address 02:00:00:00:00:01',
                               'mtu 2147483552', 'mtu 2147483553', 'group 7', 'up', 'alias something')):
        lab.see(f'ip link add {words}', a.try_ip('link', 'add', f'wg{n}', *words.split(), 'type', 'wireguard'))
        shown = a.ip('-j', '-d', 'link', 'show', f'wg{n}', must=False).stdout
        link = json.loads(shown)[0] if shown.strip() else {}
        lab.see('then', {k: link.get(k) for k in ('mtu', 'txqlen', 'num_tx_queues', 'num_rx_queues', 'group', 'flags', 'ifalias')})
    lab.see('with a word it does not know', a.try_ip('link', 'add', 'wg99', 'type', 'wireguard', 'port', '5'))
    lab.see('with link to another', a.try_ip('link', 'add', 'link', 'lo', 'name', 'wg98', 'type', 'wireguard'))
    lab.see('then', a.ip('-j', 'link', 'show', 'wg98', must=False).stdout.count('"link"'))
    lab.see('ip link change', a.try_ip('link', 'change', 'wg0', 'type', 'wireguard'))


@row('ethtool')
def ethtool(lab):
    a = fresh(lab)
    for line in a.run('ethtool', '-k', 'wg0').stdout.splitlines()[1:]:
        name, _, value = line.strip().partition(': ')
        lab.see(name, value)
    for line in a.run('ethtool', '-i', 'wg0').stdout.splitlines():
        name, _, value = line.partition(': ')
        if name == 'driver':
            lab.see('driver', value)
    # Not -S: ours has statistics, C has none.
    for option in ('-c', '-g', '-l', '-T', '-n', '--show-fec', '-m', '-x', ''):
        done = a.run('ethtool', *([option] if option else []), 'wg0')
        lab.see(f'ethtool {option}', [done.returncode, [line.strip() for line in (done.stdout + done.stderr).splitlines()]])
    for words in ('tso off', 'gso off', 'gro off', 'rx off', 'tx off', 'sg off', 'tx on', 'sg on', 'tso on', 'gso on', 'gro on', 'lro on',
                  'rx-gro-list on', 'rx-udp-gro-forwarding on', 'highdma off', 'ntuple on', 'tx-nocache-copy on', 'rx on',
                  'tx-gso-list on', 'hsr-fwd-offload on'):
        done = a.run('ethtool', '-K', 'wg0', *words.split())
        lab.see(f'ethtool -K {words}', [done.returncode, (done.stdout + done.stderr).split('\n')[0]])
    before = sorted(a.run('ethtool', '-k', 'wg0').stdout.splitlines())
    lab.see('features after that', [line.strip() for line in before if ': on' in line])


@row('sysfs')
def sysfs(lab):
    a = fresh(lab)
    script = '''cd /sys/class/net/wg0
for f in addr_assign_type addr_len address broadcast carrier carrier_changes dev_port dormant duplex flags gro_flush_timeout
	iflink link_mode mtu name_assign_type napi_defer_hard_irqs operstate proto_down speed testing tx_queue_len type
do case $f in iflink) ;; *) printf "%s=%s\\n" $f "$(cat $f 2>&1)";; esac; done
grep -v IFINDEX uevent
ls queues'''.replace('\n\tiflink', ' iflink')
    for line in a.sysfs(script):
        name, _, value = line.partition('=')
        lab.see(name, value)
    lab.see('threaded', a.sysfs('cat /sys/class/net/wg0/threaded'), ['1'])
    # With a peer: before that C has no NAPI instance and refuses to change this, ours has some and does.
    a.run('wg', 'set', 'wg0', 'peer', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=', must=True)
    for value in '0', '1', '2', 'x', '0':
        lab.see(f'threaded set to {value}', a.sysfs(f'(echo {value} > /sys/class/net/wg0/threaded) 2>&1; cat /sys/class/net/wg0/threaded'))
    lab.see('device class', a.sysfs('readlink -f /sys/class/net/wg0 | sed s,.*/devices/,,'), ['virtual/net/wg0'])


@row('with NAPI in softirq, traffic goes on')
def not_threaded(lab):
    pair = lab.pair()
    for value in '0', '1', '0':
        lab.see(f'threaded set to {value}', pair.a.sysfs(f'echo {value} > /sys/class/net/wg0/threaded; cat /sys/class/net/wg0/threaded'),
                [value])
        lab.see('the tunnel', [pair.works(), pair.works(6)], ['works', 'works'])


@row('MTU')
def mtu(lab):
    pair = lab.pair()
    a = pair.a
    lab.see('the tunnel', pair.works(), 'works')
    for value in (0, 1, 15, 67, 68, 576, 1279, 1280, 1500, 9000, 65535, 65536, 2147483551, 2147483552, 2147483553, 2147483647, 4294967295, 1420):
        a.ip('addr', 'replace', '192.168.5.1/24', 'dev', 'wg0', must=False)
        a.ip('addr', 'replace', 'fd05::1/64', 'dev', 'wg0', 'nodad', must=False)
        done = a.try_ip('link', 'set', 'wg0', 'mtu', str(value))
        link = json.loads(a.ip('-j', '-4', 'addr', 'show', 'wg0').stdout or '[]')
        v4 = bool(link and link[0].get('addr_info'))
        lab.see(f'MTU {value}', [done, 'IPv4' if v4 else 'no IPv4',
                                 'IPv6' if 'fd05' in a.ip('-6', 'addr', 'show', 'wg0').stdout else 'no IPv6'])
    a.ip('addr', 'replace', '192.168.5.1/24', 'dev', 'wg0')
    lab.see('the tunnel', pair.works(), 'works')


@row('a new name, also while up')
def rename(lab):
    pair = lab.pair()
    a = pair.a
    lab.see('before', pair.works(), 'works')
    lab.see('renamed while up', a.try_ip('link', 'set', 'wg0', 'name', 'tunnel'), 'ok')
    lab.see('wg show interfaces', a.run('wg', 'show', 'interfaces').stdout.split(), ['tunnel'])
    lab.see('set', said(a.run('wg', 'set', 'tunnel', 'fwmark', '3')), 'ok')
    lab.see('by its old name', said(a.run('wg', 'set', 'wg0', 'fwmark', '3')), 'Unable to modify interface: No such device')
    lab.see('the tunnel', pair.works(), 'works')
    lab.see('another of the old name', a.try_ip('link', 'add', 'wg0', 'type', 'wireguard'), 'ok')
    lab.see('a name that is taken', a.try_ip('link', 'set', 'tunnel', 'name', 'wg0'), 'RTNETLINK answers: File exists')
    lab.see('an alternative name', [a.try_ip('link', 'property', 'add', 'dev', 'tunnel', 'altname', 'a-very-long-alternative-name'),
                                    said(a.run('wg', 'show', 'a-very-long-alternative-name'))])
    lab.see('alias', a.try_ip('link', 'set', 'tunnel', 'alias', 'office'), 'ok')
    lab.see('deleted', a.try_ip('link', 'del', 'tunnel'), 'ok')


@row('settings that a tunnel has or has not')
def settings(lab):
    a = fresh(lab)
    a.ip('link', 'set', 'wg0', 'up')
    for words in ('address 02:00:00:00:00:01', 'broadcast ff:ff:ff:ff:ff:ff', 'promisc on', 'allmulticast on', 'multicast on', 'arp on',
                  'dynamic on', 'trailers on', 'txqueuelen 17', 'carrier off', 'protodown on', 'addrgenmode eui64', 'addrgenmode none',
                  'xdpgeneric off', 'gso_max_size 1000', 'gso_max_segs 10', 'gro_max_size 2000', 'gso_max_size 600000',
                  'vf 0 mac 02:00:00:00:00:01', 'type wireguard', 'netns nosuch'):
        lab.see(f'ip link set {words}', a.try_ip('link', 'set', 'dev', 'wg0', *words.split()))
    link = json.loads(a.ip('-j', '-d', 'link', 'show', 'wg0').stdout)[0]
    link.pop('ifindex')
    lab.see('the link after that', link)
    for words in ('root tbf rate 1mbit burst 10k latency 10ms', 'root fq', 'root netem delay 1ms', 'clsact', 'ingress'):
        lab.see(f'tc qdisc replace {words}', said(a.run('tc', 'qdisc', 'replace', 'dev', 'wg0', *words.split())))
    for words in ('192.168.5.2 lladdr 02:00:00:00:00:01', 'fd05::2 lladdr 02:00:00:00:00:01'):
        lab.see(f'ip neigh add {words}', a.try_ip('neigh', 'add', *words.split(), 'dev', 'wg0'))


@row('what can be put on top of it')
def stacking(lab):
    pair = lab.pair()
    a = pair.a
    pair.set_peer('allowed-ips', '192.168.0.0/16,fd05::/64')
    lab.see('the tunnel', pair.works(), 'works')
    for n, words in enumerate(('vlan id 5', 'vlan proto 802.1ad id 6', 'macvlan mode bridge', 'macvtap', 'ipvlan mode l2', 'ipvlan mode l3',
                               'ipvlan mode l3s', 'vxlan id 7 remote 192.168.5.2 dstport 4789')):
        name, net = f'top{n}', f'192.168.{60 + n}'
        command_line = ['link', 'add']
        command_line += ['name', name, 'type', *words.split(), 'dev', 'wg0'] if 'vxlan' in words else \
            ['link', 'wg0', 'name', name, 'type', *words.split()]
        lab.see(words, a.try_ip(*command_line))
        if not a.ip('link', 'show', name, must=False).stdout:
            continue
        link = json.loads(a.ip('-j', 'link', 'show', name).stdout)[0]
        lab.see('MTU, type, flags', [link['mtu'], link['link_type'], sorted(link['flags'])])
        lab.see('address, up', [a.try_ip('addr', 'add', f'{net}.1/24', 'dev', name), a.try_ip('link', 'set', name, 'up')])
        sock = lab.udp(a, f'{net}.1', 5000)
        before = pair.stats()
        lab.see('sending', attempt(sock.sendto, b'on top', (f'{net}.2', 7)))
        got = pair.peer.messages(1, 1.5 if 'vxlan' in words else 0.3)
        lab.see('arrives', [len(m.inner) for m in got])
        lab.see('counters', {k: v for k, v in pair.change(before).items() if 'error' in k})
        a.ip('link', 'del', name)
    for kind in 'bridge', 'bond', 'team':
        lab.see(kind, a.try_ip('link', 'add', f'm{kind}', 'type', kind), 'ok')
        lab.see('under it while up', a.try_ip('link', 'set', 'wg0', 'master', f'm{kind}'))
        a.ip('link', 'set', 'wg0', 'nomaster', 'down')
        lab.see('under it while down', a.try_ip('link', 'set', 'wg0', 'master', f'm{kind}'))
        lab.see('taken away', a.try_ip('link', 'del', f'm{kind}'), 'ok')
        a.ip('link', 'set', 'wg0', 'mtu', '1420', 'up')
        lab.see('the tunnel', pair.works(), 'works')


@row('in a VRF')
def vrf(lab):
    pair = lab.pair()
    a = pair.a
    a.ip('link', 'add', 'red', 'type', 'vrf', 'table', '9')
    a.ip('link', 'set', 'red', 'up')
    lab.see('wg0 in it', a.try_ip('link', 'set', 'wg0', 'master', 'red'), 'ok')
    sock = lab.udp(a, '0.0.0.0', 5000)
    sock.setsockopt(1, 25, b'red\0')        # SO_BINDTODEVICE
    sock.sendto(b'x', ('192.168.5.2', 7))
    lab.see('arrives', len(pair.peer.messages(1)), 1)
    sock.close()
    a.ip('link', 'set', 'wg0', 'nomaster')
    lab.see('taken out', pair.works(), 'works')
    # The socket is bound to no VRF, so the peer cannot be reached any more.
    a.ip('link', 'set', 'outer', 'master', 'red')
    lab.see('the outer link in it', pair.say())
    lab.see('arrives', len(pair.peer.messages(1, 1)), 0)


@row('sysctls that it sets when it comes up')
def sysctls(lab):
    a = fresh(lab)
    names = ('ipv4/conf/wg0/send_redirects', 'ipv4/conf/all/send_redirects', 'ipv4/conf/default/send_redirects',
             'ipv6/conf/wg0/addr_gen_mode', 'ipv6/conf/all/addr_gen_mode', 'ipv4/conf/wg0/rp_filter', 'ipv4/conf/wg0/forwarding',
             'ipv4/conf/all/src_valid_mark', 'ipv6/conf/wg0/accept_ra')
    lab.see('before', {n: a.sysctl(n) for n in names})
    a.ip('link', 'set', 'wg0', 'up')
    lab.see('after', {n: a.sysctl(n) for n in names})
    lab.see('redirects', [a.sysctl(n) for n in names[:2]], ['0', '0'])
    lab.see('link-local addresses', a.sysctl(names[3]), '1')


@row('its workers have its name')
def workers(lab):
    a = lab.ns('a')
    a.ip('link', 'add', 'wgnamed0', 'type', 'wireguard')

    def threads():
        found = set()
        for line in command('ps', '-eo', 'comm').stdout.splitlines():
            if line.startswith('kworker/R-') and 'wgnamed0' in line:
                found.add(line.strip())
        return sorted(found)
    lab.see('rescuers', threads(), ['kworker/R-wg-crypt-wgnamed0'])
    a.ip('link', 'del', 'wgnamed0')
    lab.see('gone with it', wait_for(lambda: not threads(), 5), True)


@row('the interface is reported and removed as others are')
def monitor(lab):
    a = lab.ns('a')
    with a:
        watch = subprocess.Popen(['ip', '-o', 'monitor', 'link'], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    steps = (('link', 'add', 'wg0', 'type', 'wireguard'), ('link', 'set', 'wg0', 'up'), ('link', 'set', 'wg0', 'mtu', '1300'),
             ('link', 'set', 'wg0', 'down'), ('link', 'del', 'wg0'))
    for step in steps:
        a.ip(*step)
    time.sleep(1)
    watch.terminate()
    seen = []
    for line in watch.communicate()[0].splitlines():
        deleted = line.startswith('Deleted')
        flags, rest = line.split('<')[1].split('>')
        seen.append(['deleted' if deleted else 'link', sorted(flags.split(',')), rest.split('mtu ')[1].split()[0]])
    lab.see('messages', seen)
