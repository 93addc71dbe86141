# SPDX-License-Identifier: GPL-2.0
"""What the rows of the benchmarks share: drivers taken in turn, topologies, fast configuration.

A driver is `c` (the stock module), `ours`, or `go` (wireguard-go, a process per interface).
"""

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../sanitize'), os.path.join(HERE, '..')]

import nl  # noqa: E402
from netns import Inside  # noqa: E402

SCRATCH = '/tmp/bench'
LOAD = '/usr/local/bin/wgrs-load'
# Peers in one message.
CHUNK = 250
PERF = '/opt/perf/perf'
# A private key for each interface, any will do.
PRIVATE = {name: bytes([n + 1] * 32)
           for n, name in enumerate(('left', 'right', 'middle', 'third', 'hub', *(f'peer{n}' for n in range(1, 9))))}


class Failed(Exception):
    """A row could not be measured."""


def run(*command, timeout=300, check=True, text=None):
    """Runs a command; its standard output."""
    try:
        done = subprocess.run(command, timeout=timeout, check=False, input=text, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    except subprocess.TimeoutExpired:
        raise Failed(f'{" ".join(command)[:120]}: no end after {timeout} s') from None
    if check and done.returncode:
        raise Failed(f'{" ".join(command)[:120]}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}')
    return done.stdout


def wait_for(what, condition, seconds=60):
    """Until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f'{what}: not within {seconds} s')
        time.sleep(0.02)


def say(text):
    """Progress."""
    print(f'# {text}', flush=True)


def result(row, driver, value, unit, **more):
    """One measured value; what report.py collects."""
    print('=' + json.dumps({'row': row, 'driver': driver, 'value': value, 'unit': unit, **more}), flush=True)


def failed(row, driver, error):
    """A row without a value."""
    print('=' + json.dumps({'row': row, 'driver': driver, 'error': str(error)}), flush=True)


def mem_free():
    """Bytes nobody uses, once what waits for a grace period is gone."""
    time.sleep(1)
    for _ in range(2):
        run('sync')
        with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as f:
            f.write('3')
        time.sleep(0.5)
    with open('/proc/meminfo', encoding='ascii') as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith('MemFree:'))


def kernel_threads():
    """How many there are."""
    count = 0
    for pid in os.listdir('/proc'):
        if pid.isdigit():
            try:
                with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
                    # PF_KTHREAD among the flags
                    count += bool(int(f.read().rsplit(')', 1)[1].split()[6]) & 0x200000)
            except OSError:
                pass
    return count


# ------------------------------------------------------------- namespaces

class Ns(Inside):
    """A network namespace; `with ns:` is being in it."""

    def __init__(self, name):
        super().__init__(name)
        run('ip', 'netns', 'add', name)
        self.run('ip', 'link', 'set', 'lo', 'up')

    def run(self, *command, **how):
        """Runs a command in it."""
        with self:
            return run(*command, **how)

    def start(self, *command, **how):
        """Starts one."""
        with self:
            return subprocess.Popen(command, text=True, **how)


# A veth as it is hands aggregates over whole. These make it like a NIC that can't segment: one datagram at a time
# goes over the link, and GRO puts them together at its end.
NIC = ('gro', 'on', 'tso', 'off', 'tx-udp-segmentation', 'off')


def joined(one, other, net, nic=False):
    """A veth between two namespaces, with addresses net.1 and net.2."""
    one.run('ip', 'link', 'add', f'v{other.name}', 'type', 'veth', 'peer', 'name', f'v{one.name}', 'netns', other.name)
    for ns, to, n in ((one, other, 1), (other, one, 2)):
        ns.run('ip', 'addr', 'add', f'{net}.{n}/24', 'dev', f'v{to.name}')
        ns.run('ip', 'link', 'set', f'v{to.name}', 'up')
        if nic:
            ns.run('ethtool', '-K', f'v{to.name}', *NIC)
    with open('/proc/sys/net/core/rmem_max', 'w', encoding='ascii') as f:
        f.write('8388608')


# ------------------------------------------------------------------ drivers

class Driver:
    """One of the three, loaded; interfaces are made and configured through it."""

    def __init__(self, kind):
        self.kind, self.processes, self.spaces = kind, {}, {}

    def __enter__(self):
        if self.kind == 'c':
            run('modprobe', 'wireguard')
        elif self.kind == 'ours':
            for module in run('modinfo', '-F', 'depends', '/vm/wireguard_rs.ko').strip().split(','):
                run('modprobe', module)
            run('insmod', '/vm/wireguard_rs.ko')
        else:
            run('modprobe', 'tun')
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self.remove(name)
        for ns in self.spaces:
            run('ip', 'netns', 'del', ns, check=False)
        self.spaces = {}
        # What a namespace held goes a moment later.
        module = {'c': 'wireguard', 'ours': 'wireguard_rs'}.get(self.kind)
        if module:
            for _ in range(100):
                if subprocess.run(['rmmod', module], check=False, stderr=subprocess.DEVNULL).returncode == 0:
                    return
                time.sleep(0.2)
            raise Failed(f'{module} cannot be unloaded')

    def ns(self, name):
        """The namespace of that name, made when first asked for."""
        if name not in self.spaces:
            self.spaces[name] = Ns(name)
        return self.spaces[name]

    def interface(self, ns, name, key, port, address, mtu=1420):
        """An interface that is up, without peers."""
        if self.kind == 'go':
            process = ns.start('wireguard-go', '-f', name, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL,
                               env={**os.environ, 'WG_PROCESS_FOREGROUND': '1', 'LOG_LEVEL': 'error'})
            self.processes[name] = process
            wait_for(f'{name} of wireguard-go', lambda: os.path.exists(f'/run/wireguard/{name}.sock'))
        else:
            ns.run('ip', 'link', 'add', name, 'type', 'wireguard')
        ns.run('wg', 'set', name, 'private-key', '/dev/stdin', 'listen-port', str(port),
               text=base64.b64encode(key).decode())
        if address:
            ns.run('ip', 'addr', 'add', address, 'dev', name)
        ns.run('ip', 'link', 'set', name, 'mtu', str(mtu), 'up')

    def remove(self, name, ns=None):
        """Takes an interface away."""
        process = self.processes.pop(name, None)
        if process:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        elif ns:
            ns.run('ip', 'link', 'del', name, timeout=900)

    def pair(self, mtu=1420, nic=False):
        """Two namespaces, each with an interface whose only peer is the other's; the usual topology."""
        left, right = self.ns('left'), self.ns('right')
        joined(left, right, '10.0.0', nic)
        for ns, n, other in ((left, 1, 2), (right, 2, 1)):
            self.interface(ns, f'wg{n}', PRIVATE[ns.name], 51820, f'192.168.77.{n}/24', mtu)
        for ns, n, other in ((left, 1, 2), (right, 2, 1)):
            ns.run('wg', 'set', f'wg{n}', 'peer', public('right' if n == 1 else 'left'), 'endpoint',
                   f'10.0.0.{other}:51820', 'allowed-ips', f'192.168.77.{other}/32')
        left.run('ping', '-q', '-c', '3', '-i', '0.1', '-W', '10', '192.168.77.2')
        return left, right

    # ---- thousands of peers at once: messages are made first, then sent

    def peers_messages(self, name, keys, how):
        """Messages about the peers with these public keys; how: add, remove."""
        chunks = [range(at, min(at + CHUNK, len(keys))) for at in range(0, len(keys), CHUNK)]
        if self.kind == 'go':
            def text(n):
                peer = f'public_key={keys[n].hex()}\n'
                if how == 'remove':
                    return peer + 'remove=true\n'
                return peer + f'allowed_ip={socket.inet_ntoa(peer_address(n))}/32\n'
            return [('set=1\n' + ''.join(map(text, c)) + '\n').encode() for c in chunks]

        def attrs(n):
            parts = [nl.attr(nl.P_PUBLIC_KEY, keys[n])]
            if how == 'remove':
                return parts + [nl.u32(nl.P_FLAGS, nl.REMOVE_ME)]
            return parts + [nl.nest(nl.P_ALLOWEDIPS, nl.prefix(peer_address(n), 32))]
        return [nl.name(nl.IFNAME, name) + nl.nest(nl.PEERS, *(nl.nest(0, *attrs(n)) for n in c)) for c in chunks]

    def prefix_messages(self, name, key, prefixes):
        """Messages that give the peer these (4-byte address, length)."""
        if self.kind == 'go':
            lines = ''.join(f'allowed_ip={socket.inet_ntoa(a)}/{length}\n' for a, length in prefixes)
            return [f'set=1\npublic_key={key.hex()}\n{lines}\n'.encode()]
        head, tail = nl.prefix(b'\1\2\3\4', 99).split(b'\1\2\3\4')
        tails = {length: tail.replace(bytes([99]), bytes([length])) for length in range(33)}
        messages = []
        for at in range(0, len(prefixes), 1500):
            body = b''.join(head + a + tails[length] for a, length in prefixes[at:at + 1500])
            peer = nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, key), nl.attr(nl.P_ALLOWEDIPS | nl.NLA_F_NESTED, body))
            messages.append(nl.name(nl.IFNAME, name) + nl.nest(nl.PEERS, peer))
        return messages

    def send(self, ns, name, messages):
        """Sends them; the seconds it took."""
        with ns:
            if self.kind == 'go':
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(300)
                    s.connect(f'/run/wireguard/{name}.sock')
                    start = time.monotonic()
                    for message in messages:
                        s.sendall(message)
                        answer = s.recv(4096)
                        if b'errno=0' not in answer:
                            raise Failed(f'wireguard-go answered {answer[:80]}')
                    return time.monotonic() - start
            with nl.Netlink() as netlink:
                for s in netlink.sockets.values():
                    s.settimeout(600)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                if netlink.resolve():
                    raise Failed('no family "wireguard"')
                start = time.monotonic()
                for message in messages:
                    error, _ = netlink.genl(nl.SET_DEVICE, message, nl.NLM_F_ACK)
                    if error:
                        raise Failed(f'netlink answered {os.strerror(error)}')
                return time.monotonic() - start

    def dump(self, ns, name):
        """Reads the whole configuration; (bytes, seconds)."""
        with ns:
            if self.kind == 'go':
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(300)
                    s.connect(f'/run/wireguard/{name}.sock')
                    start, size, end = time.monotonic(), 0, b''
                    s.sendall(b'get=1\n\n')
                    while not end.endswith(b'\n\n'):
                        data = s.recv(1 << 18)
                        if not data:
                            break
                        size, end = size + len(data), (end + data)[-2:]
                    return size, time.monotonic() - start
            with nl.Netlink() as netlink:
                netlink.resolve()
                start = time.monotonic()
                error, parts = netlink.get(name)
                if error:
                    raise Failed(f'the dump ended with {os.strerror(error)}')
                return sum(map(len, parts)), time.monotonic() - start


def public(name):
    """The public key of an interface of this name's, in base64."""
    if name not in public.known:
        public.known[name] = run('wg', 'pubkey', text=base64.b64encode(PRIVATE[name]).decode()).strip()
    return public.known[name]


public.known = {}


def peer_address(n):
    """Of peer n inside; as in load/src/main.rs."""
    return struct.pack('>I', 0x0A010000 + n)
