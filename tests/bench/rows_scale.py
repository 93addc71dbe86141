# SPDX-License-Identifier: GPL-2.0
"""Rows about many peers and many prefixes."""

import random
import struct
import threading
import subprocess

import lab
import rows_traffic

KEYS = '/opt/bench/peers.keys'
SERVER = 'right'


def keys(count):
    """The public keys of the first peers."""
    with open(KEYS, 'rb') as f:
        data = f.read(96 * count)
    if len(data) < 96 * count:
        raise lab.Failed(f'{KEYS} has no {count} keys')
    return [data[at + 32:at + 64] for at in range(0, len(data), 96)]


def server(driver):
    """The interface with many peers, to be; who talks to it will do so from `left`."""
    left, right = driver.ns('left'), driver.ns('right')
    lab.joined(left, right, '10.0.0')
    driver.interface(right, 'wgr', lab.PRIVATE[SERVER], 51820, '192.168.0.1/16')
    right.run('ip', 'route', 'add', '10.1.0.0/16', 'dev', 'wgr')
    right.run('ip', 'route', 'add', '10.2.0.0/15', 'dev', 'wgr')
    return left, right


class Swarm:
    """wgrs-load swarm: peers in one process, with sessions."""

    def __init__(self, right, first, sessions, packets, rounds):
        public = lab.base64.b64decode(lab.public(SERVER)).hex()
        self.process = right.start(lab.LOAD, 'swarm', KEYS, str(first), str(sessions), public, '10.0.0.2', 'left',
                                   str(packets), str(rounds), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line.startswith('ready'):
            raise lab.Failed(f'wgrs-load: {self.process.communicate(timeout=60)[1].strip()}')
        self.setup = int(line.split()[1])

    def rounds(self):
        """Nanoseconds of each round."""
        try:
            out, err = self.process.communicate('\n', timeout=300)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise lab.Failed('wgrs-load did not end') from None
        if self.process.returncode:
            raise lab.Failed(err.strip())
        return [int(line.split()[1]) for line in out.splitlines()]


def receive(driver, plan, row):
    """Cost of a received packet, and memory, with more and more peers that have sessions."""
    before = 0
    _, right = server(driver)
    for count in plan.peers[driver.kind]:
        more = keys(count)
        messages = driver.peers_messages('wgr', more, 'add')[before // lab.CHUNK:]
        free = lab.mem_free()
        threads = lab.kernel_threads()
        driver.send(right, 'wgr', messages)
        added = count - before // lab.CHUNK * lab.CHUNK
        if count >= 1000:
            idle = (free - lab.mem_free()) / added
            row(f'memory of an idle peer, of {count:,}', 'B', lambda v=idle: v, 'memory')
            row(f'kernel threads for each of {count:,} peers', '', lambda v=(lab.kernel_threads() - threads) / added: v,
                'memory')
        free = lab.mem_free()
        # Those of the step before have theirs already. Sessions live three minutes, on this clock too: beyond
        # some thousands not every peer gets one.
        sessions = min(count - before, plan.sessions)
        swarm = Swarm(right, before, sessions, plan.packets, plan.rounds)
        for ns in swarm.rounds():
            row(f'receive, one of {count:,} peer{"s" * (count > 1)}', 'ns/packet', lambda v=ns / plan.packets: v)
        if count >= 10000:
            # The swarm has ended, and is no part of it; the sessions live on. Of a thousand, they would be less than
            # what MemFree varies by.
            used = free - lab.mem_free()
            row(f'memory of a peer with a session, of {count:,}', 'B', lambda v=idle + used / sessions: v, 'memory')
        before = count


def manage(driver, plan, row):
    """Thousands of peers added, dumped, removed, gone with their interface."""
    total, base, removed = plan.manage
    _, right = server(driver)
    all_keys = keys(total)
    messages = driver.peers_messages('wgr', all_keys, 'add')
    first = base // lab.CHUNK
    row(f'add {first * lab.CHUNK:,} peers', 's', lambda: driver.send(right, 'wgr', messages[:first]))
    remove = driver.peers_messages('wgr', all_keys[:removed], 'remove')
    row(f'remove {removed:,} of them', 's', lambda: driver.send(right, 'wgr', remove))
    # Back to the full number.
    driver.send(right, 'wgr', messages[first:])
    driver.send(right, 'wgr', messages[:removed // lab.CHUNK + 1])
    row(f'dump {total:,} peers', 's', lambda: whole_dump(driver, right, total))
    row(f'delete the interface with {total:,} peers', 's', lambda: deletion(driver, right))


def many_keys(count, real):
    """Public keys of so many peers. The first `real` ones are of wgrs-load's peers; nobody has the private keys of
    the others, which a driver does not ask for."""
    data = random.Random(count).randbytes(32 * (count - real))
    return (keys(real) if real else []) + [data[at:at + 32] for at in range(0, len(data), 32)]


def million(driver, plan, row):
    """As many peers as an interface takes, but for some: each step of their life, and what they weigh."""
    total, sessions = plan.million
    _, right = server(driver)
    all_keys = many_keys(total, sessions)
    messages = driver.peers_messages('wgr', all_keys, 'add')
    free = lab.mem_free()
    row(f'add {total:,} peers', 's', lambda: driver.send(right, 'wgr', messages))
    row(f'memory of an idle peer, of {total:,}', 'B', lambda: (free - lab.mem_free()) / total)
    del messages
    row(f'dump {total:,} peers', 's', lambda: whole_dump(driver, right, total))
    swarm = Swarm(right, 0, sessions, plan.packets, plan.rounds)
    row(f'{sessions:,} handshakes, of {total:,} peers', 's', lambda: swarm.setup / 1e9)
    for ns in swarm.rounds():
        row(f'receive, one of {total:,} peers', 'ns/packet', lambda v=ns / plan.packets: v)
    # One without a session, and one with.
    for n, what in ((total // 2, 'an idle one'), (sessions // 2, 'one with a session')):
        message = driver.peers_messages('wgr', all_keys[n:n + 1], 'remove')
        row(f'remove {what}, of {total:,} peers', 's', lambda m=message: driver.send(right, 'wgr', m))
    if plan.clock == 'icount':
        # Others would have the one CPU meanwhile, and their work be counted.
        row(f'delete the interface with {total:,} peers', 's', lambda: deletion(driver, right))
        return
    with RtnlUser(right) as other:
        row(f'delete the interface with {total:,} peers', 's', lambda: deletion(driver, right))
        row(f'wait of another for RTNL while {total:,} peers are deleted', 's', lambda: other.longest)


class RtnlUser:
    """Somebody else who configures an interface, again and again, and notes how long that took at most."""

    def __init__(self, ns):
        self.ns, self.longest, self.ended = ns, 0, threading.Event()
        self.thread = threading.Thread(target=self.use)

    def use(self):
        while not self.ended.wait(0.05):
            start = lab.time.monotonic()
            self.ns.run('ip', 'link', 'set', 'lo', 'mtu', '65535')
            self.ns.run('ip', 'link', 'set', 'lo', 'mtu', '65536')
            self.longest = max(self.longest, lab.time.monotonic() - start)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def whole_dump(driver, ns, peers):
    """Seconds that a dump takes; it has to have each peer's key, at least."""
    size, seconds = driver.dump(ns, 'wgr')
    if size < peers * 32:
        raise lab.Failed(f'the dump has only {size} bytes')
    return seconds


def deletion(driver, ns):
    """Seconds until the interface is gone."""
    start = lab.time.monotonic()
    driver.remove('wgr', ns)
    return lab.time.monotonic() - start


def prefixes(count):
    """Distinct prefixes in 32.0.0.0/3, and an address in each."""
    source = random.Random(count)
    found = {}
    while len(found) < count:
        length = source.choice((32, 32, 28, 24, 24, 20))
        address = 0x20000000 | source.getrandbits(29)
        found[address >> (32 - length) << (32 - length), length] = address
    return found


def added(driver, table):
    """Messages that give them to the far end of a pair."""
    names = [(struct.pack('>I', a), length) for a, length in table]
    return driver.prefix_messages('wg1', lab.base64.b64decode(lab.public('right')), names)


def lookup(driver, plan, row):
    """Cost of a packet sent when the allowed IPs of the peer are many."""
    left, right = driver.pair()
    # All of them are addresses of the far end, and no route is looked for in between.
    right.run('ip', 'route', 'add', 'local', '32.0.0.0/3', 'dev', 'lo')
    left.run('ip', 'route', 'add', '32.0.0.0/3', 'dev', 'wg1')
    targets = f'{lab.SCRATCH}/targets'
    for count in plan.prefixes[driver.kind]:
        table = prefixes(count)
        seconds = driver.send(left, 'wg1', added(driver, table))
        if count >= 1000:
            row(f'add {count:,} prefixes', 's', lambda v=seconds: v)
        pick = random.Random(1).choices(list(table.values()), k=plan.packets)
        with open(targets, 'wb') as f:
            f.write(b''.join(struct.pack('>I', a) for a in pick))
        for ns in rows_traffic.spray(left, targets, 64, 'right', plan.rounds + 1)[1:]:
            row(f'send, {count:,} prefixes', 'ns/packet', lambda v=ns / plan.packets: v)
