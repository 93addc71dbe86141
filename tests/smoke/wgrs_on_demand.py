#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""`wgrs on-demand`: who calls is looked up in a file, or by a command, added and answered.

usage (in the guest): tests/smoke/wgrs_on_demand.py [WORD]...

WORDs are functions below. 2,000 are known, of which some call; 10,000 with FULL=1. `ends` unloads the driver.
"""

import os
import signal
import statistics
import sys
import time
from base64 import b64decode, b64encode
from datetime import datetime

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from events import Ears  # noqa: E402
from lab import command, report, run_parts, wait_for  # noqa: E402
from observe import nl  # noqa: E402
from on_demand import PORT, Desk, add, clients_of  # noqa: E402
from wgpeer import private, public, struct  # noqa: E402
from wgrs import NOBODY, SECONDS, Monitor  # noqa: E402

FILE, COMMAND, ASKED = '/tmp/peers', '/tmp/book', '/tmp/asked'
# A call is kept for two seconds: on a machine that is busy for longer, a client calls again. How many may.
AGAIN = 1 / 4


def word(key):
    """As `wg` writes it."""
    return b64encode(key).decode()


def section(key, network, *more):
    """Of a file for `wg setconf`."""
    return '\n'.join(('[Peer]', f'PublicKey = {word(key)}', f'AllowedIPs = {network}', *more, ''))


def write(path, text):
    """Whole, or not at all."""
    with open(path + '.new', 'w', encoding='utf-8') as file:
        file.write(text)
    os.chmod(path + '.new', 0o700)
    os.rename(path + '.new', path)


class Reception(Desk):
    """An interface, and what looks after it."""

    def __init__(self, lab, *options, addresses=1):
        super().__init__(lab, addresses)
        self.again, self.called = [], 0
        self.service = lab.keep(Monitor(self.a, 'wg0', *options, what='on-demand'))

    def said(self, what, caller, many=1):
        """The line about a caller."""
        return self.service.wait(what, many, word(caller.public))

    def call(self, caller, name):
        """A caller that is known is added, and has a session."""
        start = time.time()
        there = caller.initiate(timeout=4)
        said = self.said('added', caller)
        took = datetime.fromisoformat(said['time']).timestamp() - start if said else SECONDS
        self.called += 1
        if not there:
            self.again.append((name, took))
            there = caller.initiate()
        if there:
            caller.send(b'')
        good = there and said and (said['ifname'], said['endpoint']) == ('wg0', f'10.1.0.2:{caller.port}')
        good = good and wait_for(lambda: 'session' in self.peers().get(caller.public.hex(), {}), SECONDS)
        report(good, f'{name} is added ({took * 1000:.0f} ms after it began to call) and has a session', said)

    def ring(self, caller):
        """A call that is not waited for, but worked on when this is over."""
        before = self.invalid()
        caller.initiate(timeout=0)
        wait_for(lambda: self.invalid() > before, SECONDS)

    def networks(self, caller):
        """What it may send from."""
        lines = self.a.run('wg', 'show', 'wg0', 'allowed-ips', must=True).stdout.splitlines()
        return next((line.split('\t')[1] for line in lines if line.startswith(word(caller.public))), None)


def file(lab):
    """Of many in a file, those are added who call."""
    known = 10_000 if os.environ.get('FULL') == '1' else 2_000
    head = '[Interface]\nPrivateKey = none of its business\n\n'
    others = ''.join(section(os.urandom(32), f'10.{128 | n >> 16}.{n >> 8 & 255}.{n & 255}') for n in range(known))
    write(FILE, head + others)
    desk = Reception(lab, '--config', FILE)
    said = desk.service.wait('file-read')
    report(said and said['meaning'] == f'{known} peers are known', 'it has read the file', said)
    clients = [desk.caller(f'c{n}', 51900 + n) for n in range(7)]
    clients[1].psk = os.urandom(32)
    extra = {1: [f'PresharedKey = {word(clients[1].psk)}'], 2: ['Endpoint = 10.1.0.77:7', 'PersistentKeepalive = 25', 'AllowedIPs = fd77::/64']}
    mine = ''.join(section(c.public, f'192.168.9.{n}', *extra.get(n, [])) for n, c in enumerate(clients[:6]))
    write(FILE, head + others + mine)
    said = desk.service.wait('file-read', 2)
    report(said and said['meaning'] == f'{known + 6} peers are known', 'and reads it anew', said)

    for n in 0, 1, 2:
        desk.call(clients[n], ('a client', 'one with a preshared key', 'one with more in its section')[n])
    report([desk.networks(c) for c in clients[:3]] == ['192.168.9.0/32', '192.168.9.1/32', '192.168.9.2/32 fd77::/64'], 'they have their networks')
    shown = desk.a.run('wg', 'show', 'wg0', 'dump').stdout
    report(f'10.1.0.2:{clients[2].port}\t' in shown and '\t25\n' in shown, 'and what else is there', shown)
    stranger = clients[6]
    desk.ring(stranger)
    said = desk.said('refused', stranger)
    report(said and said['why'] == 'it is not in the file', 'a stranger is refused', said)

    write(FILE, head + others + mine + 'junk\n')
    said = desk.service.wait('file-refused')
    report(said and 'is no NAME = VALUE' in said['why'], 'a file that became wrong is told of', said)
    desk.call(clients[3], 'a client meanwhile')
    report(sum(line['event'] == 'file-refused' for line in desk.service.lines()) == 1, 'once')
    os.unlink(FILE)
    said = desk.service.wait('file-refused', 2)
    report(said and 'No such file' in said['why'], 'so is one that has gone', said)
    write(FILE, mine + section(stranger.public, '192.168.9.6'))
    desk.service.wait('file-read', 3)
    desk.call(stranger, 'the stranger, who is in it now,')

    # Somebody else is faster.
    desk.service.process.send_signal(signal.SIGSTOP)
    desk.ring(clients[4])
    add(desk.net, clients[4].public, nl.nest(nl.P_ALLOWEDIPS, nl.prefix(struct.pack('!I', 0x0a090909), 32)))
    desk.service.process.send_signal(signal.SIGCONT)
    said = desk.said('left', clients[4])
    report(said and desk.networks(clients[4]) == '10.9.9.9/32', 'who was added by somebody else is left as he is', (said, desk.networks(clients[4])))
    want = {c.public.hex() for c in clients if c is not clients[5]}
    report(set(desk.peers()) == want, 'of all that are known there are those who called', len(desk.peers()))
    report(len(desk.again) <= AGAIN * desk.called, 'each at its first message', desk.again)
    report(desk.service.close() == 0, 'and it stops when it is told to')


def book(lab):
    """A command is asked, which has its bounds."""
    desk = Reception(lab, '--exec', COMMAND, '--first')
    good, none, fails, slow, liar = (desk.caller(name, 51900 + n) for n, name in enumerate(('good', 'none', 'fails', 'slow', 'liar')))

    def printed(key, network):
        return section(key, network).replace('\n', '\\n')
    write(COMMAND, f'''#!/bin/sh
echo "$#|$1|$2|$3|$WGRS_PUBLIC_KEY|$WGRS_ENDPOINT|$WGRS_INTERFACE" >>{ASKED}
case $2 in
{word(good.public)}) printf '{printed(good.public, '192.168.9.1')}' ;;
{word(liar.public)}) printf '{printed(none.public, '192.168.9.2')}' ;;
{word(fails.public)}) exit 3 ;;
{word(slow.public)}) sleep 617 ;;
esac
''')

    def sleeping():
        found = 0
        for pid in filter(str.isdecimal, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as line:
                    found += line.read() == b'sleep\0' b'617\0'
            except OSError:
                pass
        return found
    desk.ring(slow)
    desk.call(good, 'who the command knows')
    with open(ASKED, encoding='utf-8') as lines:
        asked = [line.strip() for line in lines if word(good.public) in line]
    where, key = f'10.1.0.2:{good.port}', word(good.public)
    report(asked[:1] == [f'3|--first|{key}|{where}|{key}|{where}|wg0'], 'who it was asked about', asked)
    report(desk.networks(good) == '192.168.9.1/32', 'it has its network', desk.networks(good))
    for who, why in (none, 'the command does not know it'), (fails, 'ended with exit status: 3'), (liar, 'the section of another key'):
        desk.ring(who)
        said = desk.said('refused', who)
        report(said and why in said['why'], f'refused: {why}', said)
    report(wait_for(lambda: sleeping() == 1), 'one takes its time meanwhile', sleeping())
    said = desk.said('refused', slow)
    report(said and 'took longer than 10s' in said['why'] and wait_for(lambda: not sleeping()), 'not for ever', (said, sleeping()))
    report(set(desk.peers()) == {good.public.hex()}, 'nobody else was added', len(desk.peers()))
    desk.ring(slow)
    wait_for(lambda: sleeping() == 1, SECONDS)
    report(sleeping() == 1 and desk.service.close() == 0 and not sleeping(), 'when it stops it leaves nothing behind', sleeping())


def many(lab):
    """A crowd calls at a time."""
    known, callers, addresses = (10_000, 200, 16) if os.environ.get('FULL') == '1' else (2_000, 40, 8)
    write(FILE, '')
    desk = Reception(lab, '--config', FILE, addresses=addresses)
    with desk.p:
        net, family = nl.Netlink(), observe.Family()
    for thing in net, family.netlink:
        lab.keep(thing)
    clients, ears = clients_of(net, callers), lab.keep(Ears(desk.a))
    write(FILE, ''.join(section(key, f'10.128.{n >> 8}.{n & 255}') for n, key in enumerate([*clients, *(os.urandom(32) for _ in range(known - callers))])))
    desk.service.wait('file-read', 2)
    server, begun, done, left = public(private('driver')), {}, {}, list(clients)
    end = time.monotonic() + 4 * SECONDS
    while len(done) < callers and time.monotonic() < end:
        # Some at a time: this machine reckons for all of them.
        while left and len(begun) - len(done) < 8:
            key, n = left.pop(), len(begun) % addresses
            begun[key] = time.time()
            add(net, server, nl.endpoint(f'10.2.{n}.1' if n else '10.1.0.1', PORT), nl.u16(nl.P_KEEPALIVE, 25), name=clients[key])
        for name, event in ears.family.received(ears.sock, 0.1):
            if name == 'session-established':
                done.setdefault(bytes.fromhex(event['public-key']), time.time())
    report(set(done) == set(clients), f'{callers} of {known} that are known call, and all have a session', len(done))
    took = {b64decode(line['public-key']): datetime.fromisoformat(line['time']).timestamp() for line in desk.service.lines() if line['event'] == 'added'}
    took = {key: at - begun[key] for key, at in took.items()}
    # A client whose first message was not answered says so 5 seconds later.
    again = {key: family.peers(name)[1][0].get('failure') for key, name in clients.items()}
    again = {key: (failure['reason'], round(took[key], 2), round(done.get(key, 0) - begun[key], 2)) for key, failure in again.items() if failure}
    figures = f'half within {statistics.median(took.values()) * 1000:.0f} ms, the slowest after {max(took.values()) * 1000:.0f} ms'
    report(set(took) == set(clients) and len(again) <= AGAIN * callers, f'each was added in time, but for {len(again)} that called again: {figures}', list(again.values()))
    report(set(desk.peers()) == {key.hex() for key in clients}, 'these are the peers, and nobody else', len(desk.peers()))
    with open(f'/proc/{desk.service.process.pid}/status', encoding='ascii') as status:
        memory = next(int(line.split()[1]) for line in status if line.startswith('VmHWM:'))
    report(memory < 32 << 10, f'it took {memory} KiB of memory', memory)


def overrun(lab):
    """Calls that were lost come again."""
    write(FILE, '')
    desk = Reception(lab, '--room', '64', '--config', FILE)
    caller = desk.caller()
    write(FILE, section(caller.public, '192.168.9.1'))
    desk.service.wait('file-read', 2)
    desk.service.process.send_signal(signal.SIGSTOP)
    changes = '/tmp/changes'
    write(changes, ''.join(f'[Peer]\nPublicKey = {word(n.to_bytes(4, "big") + bytes(28))}\n' for n in range(1, 500)))
    desk.a.run('wg', 'addconf', 'wg0', changes, must=True)
    desk.ring(caller)
    desk.service.process.send_signal(signal.SIGCONT)
    said = desk.service.wait('overrun')
    report(said and 'calls again' in said['meaning'] and caller.public.hex() not in desk.peers(), 'it says that it has lost some', said)
    desk.call(caller, 'who calls again')
    desk.service.close()


def ends(lab):
    """Why it ends, or does not begin."""
    write(FILE, '')
    desk, away = Reception(lab, '--config', FILE), lab.ns('away')
    write(FILE + '-wrong', '[Peer]\nPublicKey = none\n')
    for status, said, before, args in (
            (5, 'CAP_NET_ADMIN', NOBODY, ('wg0', '--config', FILE)), (6, 'no interface wg7', (), ('wg7', '--config', FILE)), (6, 'lo is no WireGuard', (), ('lo', '--exec', 'true')),
            (2, 'line 2 is no key', (), ('wg0', '--config', FILE + '-wrong')), (2, 'No such file', (), ('wg0', '--config', FILE + '-none')),
            (2, 'is no file', (), ('wg0', '--config', '/dev/null'))):
        done = desk.a.run(*before, 'wgrs', 'on-demand', *args)
        report(done.returncode == status and done.stdout == '' and said in done.stderr and done.stderr.startswith('wgrs: ') and done.stderr.count('\n') == 1,
               f'{" ".join(args)}{" as nobody" if before else ""}: status {status}', done)
    done = desk.a.run('wgrs', 'on-demand', 'wg0')
    report(done.returncode == 2 and '--config' in done.stderr, 'without file and command', done)
    desk.a.ip('link', 'set', 'wg0', 'name', 'wg1')
    caller = desk.caller()
    caller.initiate(timeout=0)
    said = desk.said('refused', caller)
    report(said and said['ifname'] == 'wg1', 'an interface with another name is still the one', said)
    desk.a.ip('link', 'set', 'wg1', 'netns', away.name)
    report(desk.service.process.wait(SECONDS) == 6, 'its interface moves to another namespace: status 6')
    for gone, status in (('ip', 'link', 'del', 'wg1'), 6), (('rmmod', 'wireguard_rs'), 4):
        if status == 4:
            away.ip('link', 'add', 'wg1', 'type', 'wireguard')
        service = lab.keep(Monitor(away, 'wg1', '--exec', 'true', what='on-demand'))
        away.run(*gone, must=True)
        report(service.process.wait(SECONDS) == status, f'{" ".join(gone)}: status {status}')
    command('insmod', '/vm/wireguard_rs.ko', must=True)


def main():
    return run_parts('wgrs on-demand', (file, book, many, overrun, ends))


if __name__ == '__main__':
    sys.exit(main())
