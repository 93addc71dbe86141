#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The command `wgrs`, as it is used.

usage (in the guest): tests/smoke/wgrs.py [WORD]...

WORDs are functions below. The command is in the path (scripts/smoke puts it there). `drivers` unloads the
driver and loads the C one for a moment.
"""

import json
import os
import signal
import subprocess
import sys
from base64 import b64encode

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

from lab import command, report, run_parts, wait_for  # noqa: E402
from wgpeer import INITIATION  # noqa: E402

NOBODY = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all')
SECONDS = 60


class Monitor:
    """`wgrs monitor` (or another that goes on and on) in a namespace: each line that it has printed."""

    def __init__(self, ns, *options, what='monitor'):
        self.path = f'/tmp/monitor{id(self)}'
        with ns, open(self.path, 'wb') as out:
            self.process = subprocess.Popen(['wgrs', what, '--json', *options], stdout=out, stderr=subprocess.STDOUT)
        self.wait('listening')

    def lines(self):
        """As objects."""
        with open(self.path, encoding='utf-8') as file:
            return [json.loads(line) for line in file.read().splitlines(keepends=True) if line.endswith('\n')]

    def wait(self, name, many=1, key=None):
        """The last event of that name, and of a peer; None if there are not so many."""
        found = []

        def there():
            found[:] = [event for event in self.lines() if event['event'] == name and key in (None, event.get('public-key'))]
            return len(found) >= many
        return found[-1] if wait_for(there, SECONDS) else None

    def close(self):
        """Ends it; its exit status."""
        self.process.terminate()
        return self.process.wait(SECONDS)


def shown(lab):
    """What becomes of a peer, for people and for programs."""
    pair = lab.pair()
    peer, monitor = pair.peer, Monitor(pair.home)

    def line():
        """Of the peer, without its key."""
        done = pair.home.run('wgrs', 'show', 'wg0', must=True)
        return next(text.split(' ', 1)[1] for text in done.stdout.replace('  ', '').splitlines() if text.startswith(pair.peer_key))

    def first():
        return json.loads(pair.home.run('wgrs', 'show', '--json', must=True).stdout)[0]['peers'][0]
    report(line() == 'new: nothing sent yet, the first packet begins a handshake; endpoint 10.1.0.2:51900', 'a new peer', line())
    pair.say()
    report(wait_for(lambda: line().startswith('calling: 1 initiation sent, no answer so far')) and 'packet waits' in line(), 'it is called', line())
    report(wait_for(lambda: line().startswith('down: no-answer (it is down, or '), SECONDS), 'why there is no session', line())
    end = wait_for(lambda: any(peer.answer(m) or True for m in peer.messages(1, want=INITIATION, answer=False)) and first()['state'] == 'up', SECONDS)
    report(end and 'begun here; endpoint 10.1.0.2:51900' in line(), 'a session', line())
    said = monitor.wait('session-established')
    report(said and (said['ifname'], said['public-key'], said['side'], said['endpoint']) == ('wg0', pair.peer_key, 'initiator', '10.1.0.2:51900'),
           'of which the monitor tells', said)
    peer.initiate()
    peer.send(b'')
    report(monitor.wait('session-established', 2) and 'begun by the peer' in line(), 'one of the peer', line())
    peer.bind(51977)
    peer.send(b'')
    said = monitor.wait('endpoint-changed')
    report(said and (said['public-key'], said['endpoint']) == (pair.peer_key, '10.1.0.2:51977') and 'endpoint 10.1.0.2:51977' in line(), 'it roams', said)
    report(wait_for(lambda: not set(pair.show('transfer')) ^ {str(first()['rx-bytes']), str(first()['tx-bytes'])}), 'bytes as wg shows them', first())
    done = pair.home.run('wgrs', 'set', 'wg0', 'local-gso', 'on')
    report(done.returncode == 0 and 'local-gso on' in pair.home.run('wgrs', 'show').stdout and monitor.wait('device-changed'), 'a setting', done)
    pair.home.run('wgrs', 'set', 'wg0', 'local-gso', 'off', must=True)
    done = pair.home.run('wgrs', 'bind', 'wg0', 'dev', 'outer', 'addr', '10.1.0.1')
    head = pair.home.run('wgrs', 'show').stdout
    report(done.returncode == 0 and 'bound to dev outer addr 10.1.0.1\n' in head and pair.works() == 'works', 'a binding', (done, head))
    done = pair.home.run('wgrs', 'bind', 'wg0', 'none')
    report(done.returncode == 0 and 'bound to' not in pair.home.run('wgrs', 'show').stdout, 'none', done)
    done = pair.home.run('wgrs', 'mtu', 'wg0', 'peer', pair.peer_key, 'auto')
    said = monitor.wait('peer-changed')
    report(done.returncode == 0 and said and said['public-key'] == pair.peer_key and 'mtu auto' in line(), 'one of a peer', (done, line()))
    # Its path is known with the next message.
    pair.say(b'x')
    report(wait_for(lambda: 'mtu auto, 1440 bytes fit' in line()), 'what fits', line())
    pair.home.run('wgrs', 'mtu', 'wg0', 'peer', pair.peer_key, 'off', must=True)
    report(monitor.wait('peer-changed') and 'mtu' not in line(), 'off again', line())
    peer.raw(b'no message of WireGuard')
    dropped = 'dropped 1 rx-type: No WireGuard message, by type or length.'
    report(wait_for(lambda: dropped in pair.home.run('wgrs', 'show').stdout), 'what was dropped, and why', pair.home.run('wgrs', 'show'))
    metrics = pair.home.run('wgrs', 'metrics', must=True).stdout
    have = [f'wireguard_rs_peer_up{{interface="wg0",public_key="{pair.peer_key}"}} 1', 'wireguard_rs_peers{interface="wg0",state="up"} 1',
            'wireguard_rs_local_gso{interface="wg0"} 0', 'wireguard_rs_dropped_packets_total{interface="wg0",reason="rx-type"} 1', '# EOF']
    report(metrics.endswith('\n# EOF\n') and not set(have) - set(metrics.splitlines()), 'metrics', metrics)
    pair.set_peer('remove')
    said = monitor.wait('peer-removed')
    report(said and said['public-key'] == pair.peer_key and monitor.close() == -signal.SIGTERM, 'the peer is removed', said)


def overrun(lab):
    """Who can't keep up is told, and what was lost."""
    pair = lab.pair()
    monitor = Monitor(pair.home, '--initial', '--room', '64')
    other = Monitor(pair.home, 'wg7', '--initial')
    monitor.process.send_signal(signal.SIGSTOP)
    keys = [b64encode(n.to_bytes(4, 'big') + bytes(28)).decode() for n in range(1, 1500)]

    def change(what):
        with open('/tmp/changes', 'w', encoding='utf-8') as file:
            file.write(''.join(what))
        pair.home.run('wg', 'addconf', 'wg0', '/tmp/changes', must=True)
    change(f'[Peer]\nPublicKey = {key}\n' for key in keys)
    pair.home.ip('link', 'add', 'wg8', 'type', 'wireguard')
    for key in keys[:40]:
        pair.wg('peer', key, 'remove', must=True)
    pair.wg('peer', keys[0], must=True)
    monitor.process.send_signal(signal.SIGCONT)
    report(monitor.wait('overrun') and monitor.wait('recovered'), 'it says so', monitor.lines()[-1])
    pair.wg('peer', keys[50], 'remove', must=True)
    want = set(pair.home.run('wg', 'show', 'wg0', 'peers').stdout.split())

    def replayed():
        found, devices = set(), set()
        for event in monitor.lines():
            match event['event']:
                case 'peer-added':
                    found.add(event['public-key'])
                case 'peer-removed':
                    found.remove(event['public-key'])
                case 'device-added':
                    devices.add(event['ifname'])
        return found, devices
    report(wait_for(lambda: replayed() == (want, {'wg0', 'wg8'}), SECONDS), 'and what it tells is what there is', f'{len(replayed()[0])} of {len(want)}')
    marked = [event for event in monitor.lines() if event.get('recovered')]
    report(len(marked) > 100 and any(e['event'] == 'device-added' for e in marked), 'what was lost is marked', len(marked))
    report([e['event'] for e in other.lines()] == ['listening'], 'another interface is none of its business', other.lines()[:3])
    monitor.close()
    other.close()


def refused(lab):
    """A sentence and a status for what can't be done."""
    pair = lab.pair()
    for status, word, before, args in (
            (6, 'no interface wg7', (), ('show', 'wg7')), (6, 'lo is no WireGuard', (), ('show', 'lo')), (6, 'no interface wg7', (), ('set', 'wg7', 'local-gso', 'on')),
            (5, 'CAP_NET_ADMIN', NOBODY, ('show',)), (5, 'CAP_NET_ADMIN', NOBODY, ('monitor',)), (5, 'CAP_NET_ADMIN', NOBODY, ('metrics',)),
            (5, 'CAP_NET_ADMIN', NOBODY, ('set', 'wg0', 'local-gso', 'on')), (2, "not 'maybe'", (), ('set', 'wg0', 'local-gso', 'maybe')),
            (1, 'no such device where the sockets are', (), ('bind', 'wg0', 'dev', 'none')), (2, 'is no address', (), ('bind', 'wg0', 'addr', 'outer')),
            (2, 'is no key', (), ('mtu', 'wg0', 'peer', 'AAAA', 'auto')), (1, 'no such peer', (), ('mtu', 'wg0', 'peer', 'A' * 43 + '=', 'auto')),
            (5, 'CAP_NET_ADMIN', NOBODY, ('mtu', 'wg0', 'peer', 'A' * 43 + '=', 'auto'))):
        done = pair.home.run(*before, 'wgrs', *args)
        report(done.returncode == status and done.stdout == '' and word in done.stderr and done.stderr.startswith('wgrs: ') and done.stderr.count('\n') == 1,
               f'{" ".join(args)}{" as nobody" if before else ""}: status {status}', done)
    done = pair.home.run('sh', '-c', 'wgrs show nope nope; test $? = 2 && wgrs --help | grep -q monitor && wgrs show --json | true')
    report(done.returncode == 0 and 'panic' not in done.stderr, 'wrong arguments, help, a reader that does not read', done)
    done = command('bash', '-c', 'source <(wgrs completion bash) && complete -p wgrs && COMP_WORDS=(wgrs mo) COMP_CWORD=1 && _wgrs wgrs mo wgrs && echo "${COMPREPLY[*]}"')
    report(done.returncode == 0 and done.stdout.splitlines()[-1] == 'monitor', 'bash completes', done)


def drivers(lab):
    """Another driver, and none."""
    monitor = Monitor(lab.ns('a'))
    command('rmmod', 'wireguard_rs', must=True)
    none = command('wgrs', 'show')
    report(monitor.process.wait(SECONDS) == 4, 'a monitor ends with the module')
    command('modprobe', 'wireguard', must=True)
    other = command('wgrs', 'metrics')
    command('rmmod', 'wireguard', must=True)
    command('insmod', '/vm/wireguard_rs.ko', must=True)
    report(none.returncode == 4 and 'modprobe wireguard_rs' in none.stderr and none.stderr.count('\n') == 1, 'no driver', none)
    report(other.returncode == 3 and 'the C driver is loaded' in other.stderr and other.stderr.count('\n') == 1, 'the C driver', other)
    report(command('wgrs', 'show').returncode == 0, 'ours again')


def main():
    return run_parts('wgrs', (shown, overrun, refused, drivers))


if __name__ == '__main__':
    sys.exit(main())
