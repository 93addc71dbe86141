#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The family `wireguard_rs`: peers as they are shown, and events as they come.

usage (in the guest): tests/smoke/events.py [WORD]...

WORDs are functions below. The kernel's YNL client, with which one of them drives all of the family, is in
/ynl (scripts/smoke puts it there). FULL=1: 10,000 operations of churn instead of some hundred (SEED chooses
them), and what takes minutes.
"""

import errno
import functools
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from base64 import b64encode

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from lab import Lab, Ns, report, run_parts, wait_for  # noqa: E402
from observe import nl  # noqa: E402
from wgpeer import INITIATION, Peer, private, public  # noqa: E402

YNL = '/ynl'
NOBODY = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all')
STRANGER = ('unshare', '--user', '--map-root-user')
SECONDS = 60
FULL = os.environ.get('FULL') == '1'


def peer_of(pair, key=None):
    """What the family says about the pair's peer."""
    with pair.home, observe.Family() as family:
        error, found = family.call('peer-get', nl.name(2, 'wg0') + nl.attr(3, key or pair.peer.public))
    if error:
        raise OSError(error, os.strerror(error))
    return found[0]


class Ears:
    """Listens in a namespace, and keeps what was heard."""

    def __init__(self, ns, room=1 << 23):
        with ns:
            self.family = observe.Family()
            self.sock = self.family.listen(room)
        self.heard = []

    def take(self):
        """What has come since."""
        return self.family.received(self.sock)

    def wait(self, name, many=1):
        """Contents of the next events of that name; others are dropped."""
        found, end = [], time.monotonic() + SECONDS
        while len(found) < many and time.monotonic() < end:
            found += [contents for what, contents in self.family.received(self.sock, 1) if what == name]
        return found

    def close(self):
        self.sock.close()
        self.family.netlink.close()


def asleep(flags=os.O_RDONLY):
    """Has the kernel prepare for hibernation, or for resuming from it (O_WRONLY), and not do it; whether it can."""
    try:
        os.close(os.open('/dev/snapshot', flags))
    except OSError:
        return False
    return True


# ---- the kernel's client

def ynl_client():
    """The class, from the kernel's source."""
    sys.path.insert(0, YNL)
    from pyynl.lib import YnlFamily
    return YnlFamily(observe.SPEC, schema='')


def driven(lab):
    """The kernel's YNL client drives all of it."""
    pair = lab.pair()
    with pair.home:
        ynl, ears = ynl_client(), ynl_client()
        ears.ntf_subscribe('events')
        index = socket.if_nametoindex('wg0')
    key = pair.peer.public
    one = ynl.do('peer-get', {'ifname': 'wg0', 'public-key': key.hex()})
    report(ynl.do('peer-get', {'ifindex': index, 'public-key': key.hex()}) == one and ynl.dump('peer-get', {'ifindex': index}) == [one]
           and (one['public-key'], one['ifname'], one['ifindex']) == (key, 'wg0', index), 'a peer, by key and in a dump', one)
    device = ynl.do('device-get', {'ifname': 'wg0'})
    report(ynl.dump('device-get', {}) == [device] and device['generation'] == one['generation'], 'a device, by name and in a dump', device)

    def refused(call, attrs):
        try:
            call('peer-get', attrs)
        except Exception as e:  # pylint: disable=broad-except
            extack = e.nl_msg.extack or {}
            return -e.nl_msg.error, extack.get('bad-attr') or extack.get('miss-type'), bool(extack.get('msg'))
        return None
    other = bytes(31) + b'\7'
    got = [refused(ynl.do, a) for a in (
        {'ifname': 'wg0', 'public-key': other.hex()}, {'ifname': 'wg0'}, {'ifname': 'lo', 'public-key': key.hex()},
        {'ifname': 'nope', 'public-key': key.hex()}, {'ifname': 'wg0', 'ifindex': index, 'public-key': key.hex()},
        {'public-key': key.hex()})] + [refused(ynl.dump, {'ifname': 'wg0', 'public-key': key.hex()})]
    want = [(errno.ENOENT, '.public-key', True), (errno.EINVAL, 'public-key', True), (errno.EOPNOTSUPP, '.ifname', True),
            (errno.ENODEV, '.ifname', True), (errno.EBADR, '.ifname', True), (errno.EBADR, 'ifname', True), (errno.EINVAL, '.public-key', True)]
    report(got == want, 'a refusal names the attribute', got)
    pair.set_peer('persistent-keepalive', '0')
    pair.wg('fwmark', '7', must=True)
    pair.wg('peer', b64encode(other).decode(), must=True)
    pair.wg('peer', b64encode(other).decode(), 'remove', must=True)
    pair.peer.initiate()
    pair.peer.send(b'')
    wait_for(lambda: 'session' in peer_of(pair), SECONDS)
    pair.peer.bind(51977)
    pair.peer.send(b'')
    wait_for(lambda: peer_of(pair)['roamed'] == 1, SECONDS)
    slept = asleep()
    stranger = lab.keep(Peer(pair.p, 'stranger', port=51901))
    stranger.address = pair.peer.address
    stranger.initiate(timeout=0)
    pair.home.ip('link', 'add', 'wg1', 'type', 'wireguard')
    pair.home.run('ip', 'link', 'set', 'wg1', 'up', must=True)
    pair.home.run('wg', 'set', 'wg1', 'peer', pair.peer_key, 'endpoint', '10.1.0.2:9', 'persistent-keepalive', '1', must=True)
    names = []
    for event in ears.poll_ntf(duration=SECONDS):
        names.append(event['name'])
        if event['name'] == 'handshake-given-up':
            break
    last = event['msg']
    pair.home.ip('link', 'del', 'wg1')
    for event in ears.poll_ntf(duration=SECONDS):
        names.append(event['name'])
        if event['name'] == 'device-removed':
            break
    wanted = {o['name'] for o in observe.specification()['operations']['list'] if 'event' in o} - {'load-begins', 'load-ends'} - ({'session-expired'} if not slept else set())
    report(set(names) == wanted, 'each event, subscribed to, but for those of load', names)
    report((last['reason'], last['ifname'], last['public-key']) == ('no-key', 'wg1', key), 'without a private key, no handshake', last)
    done = pair.home.run('python3', f'{YNL}/pyynl/cli.py', '--spec', observe.SPEC, '--no-schema', '--output-json', '--dump', 'peer-get',
                         '--json', '{"ifname": "wg0"}')
    report(done.returncode == 0 and json.loads(done.stdout)[0]['public-key'].replace(' ', '') == key.hex(), 'and the command line client', done)
    ynl.close()
    ears.close()


# ---- who may

def errors_of_all():
    """What each operation says, and joining the group. (In a process of its own.)"""
    with observe.Family() as family:
        found = {}
        for name, operation in family.operations.items():
            attrs = nl.name(2, 'wg0') + (nl.attr(3, bytes(32)) if name in ('peer-get', 'peer-set') else b'')
            if 'do' in operation:
                found[f'{name}, do'] = family.call(name, attrs)[0]
            if 'dump' in operation:
                found[f'{name}, dump'] = family.call(name, b'' if name == 'device-get' else nl.name(2, 'wg0'), dump=True)[0]
        try:
            family.listen(None).close()
            found['join'] = 0
        except OSError as e:
            found['join'] = e.errno
    print(json.dumps(found))


def powerless(lab):
    """Who may not configure may not see."""
    pair = lab.pair()
    script = ('python3', os.path.join(HERE, 'events.py'), '--errors')
    wanted = sum(mode in o for o in observe.specification()['operations']['list'] for mode in ('do', 'dump')) + 1
    for who, before in (('nobody', NOBODY), ('root of another user namespace', STRANGER)):
        done = pair.home.run(*before, *script)
        found = json.loads(done.stdout) if done.returncode == 0 else {}
        report(len(found) == wanted and set(found.values()) == {errno.EPERM}, f'{who}: EPERM for every operation, and the group', f'{found} {done}')
    done = pair.home.run(*script, must=True)
    found = json.loads(done.stdout)
    report(found == {n: errno.ENOENT if n in ('peer-get, do', 'peer-set, do') else 0 for n in found} and len(found) == wanted, 'root: no such thing', found)


# ---- peers

def shown(lab):
    """What is shown of a peer is what happened to it."""
    pair = lab.pair()
    peer, ears = pair.peer, Ears(pair.home)
    got = peer_of(pair)
    absent = {'session', 'unconfirmed', 'initiations', 'failure', 'last-handshake'} & set(got)
    report(not absent and (got['tx-bytes'], got['rx-bytes'], got['staged'], got['roamed']) == (0, 0, 0, 0), 'a new peer: nothing yet', got)
    report(socket.inet_ntoa(bytes.fromhex(got['endpoint'])[4:8]) == pair.outer[4][1], 'its endpoint', got)
    for _ in range(3):
        pair.say()
    first = peer.messages(1, want=INITIATION, answer=False)
    got = peer_of(pair)
    report(first and got.get('initiations', 0) >= 1 and got['staged'] == 3 and 'session' not in got, 'an initiation is under way, packets wait', got)
    report(wait_for(lambda: peer_of(pair).get('initiations', 0) >= 2, SECONDS), 'and another one')
    got = peer_of(pair)
    report(got['failure']['reason'] == 'no-answer' and 'gave-up' not in got['failure'], 'as there was no answer to the first', got)
    report(0 <= time.time_ns() - got['failure']['time'] < SECONDS * 10**9, 'and when that was', got)

    def answered(done):
        """Initiations are answered until that has come true: each may be too old when it is."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for message in peer.messages(1, want=INITIATION, answer=False):
                peer.answer(message)
            if wait_for(done, 3):
                return True
        return False
    peer.psk = b'\1' * 32
    report(answered(lambda: peer_of(pair)['failure']['reason'] == 'bad-answer'), 'the preshared keys differ', peer_of(pair))
    peer.psk = bytes(32)
    report(answered(lambda: 'session' in peer_of(pair)), 'the right answer', peer_of(pair))
    said = ears.wait('session-established')
    got = peer_of(pair)
    report(said and said[0]['side'] == 'initiator' and said[0]['public-key'] == peer.public.hex() and said[0]['endpoint'] == got['endpoint'],
           'a session, initiated', said)
    session = got.get('session', {})
    report(session.get('side') == 'initiator' and session.get('usable') and session['age'] < 60 and 'initiations' not in got, 'is shown', got)
    report(wait_for(lambda: peer_of(pair)['staged'] == 0) and abs(time.time_ns() - got['last-handshake']) < 60 * 10**9, 'what waited is sent', got)
    report(peer.initiate(), 'the peer initiates')
    got = peer_of(pair)
    report(got.get('unconfirmed') and got['session']['side'] == 'initiator' and not ears.take(), 'not confirmed, so not told', got)
    peer.send(b'')
    said = ears.wait('session-established')
    got = peer_of(pair)
    report(said and said[0]['side'] == got['session']['side'] == 'responder' and 'unconfirmed' not in got, 'confirmed by the first message', f'{said} {got}')

    def bytes_alike():
        """Unless something is sent just between the two looks."""
        theirs, ours = pair.show('transfer'), peer_of(pair)
        return theirs == [str(ours['rx-bytes']), str(ours['tx-bytes'])] and ours['rx-bytes'] > 0
    report(wait_for(bytes_alike), 'bytes as wg shows them', f'{pair.show("transfer")} {peer_of(pair)}')
    peer.bind(51977)
    peer.send(b'')
    report(wait_for(lambda: peer_of(pair)['roamed'] == 1), 'it roams', peer_of(pair))
    pair.set_peer('endpoint', '10.1.0.2:51977')
    pair.set_peer('endpoint', '10.1.0.2:51900')
    report(peer_of(pair)['roamed'] == 1, 'being configured is no roaming', peer_of(pair))
    pair.a.ip('route', 'add', 'unreachable', '10.9.0.2/32')
    pair.set_peer('remove')
    pair.set_peer('allowed-ips', '192.168.5.2/32', 'endpoint', '10.9.0.2:1')
    pair.say()
    report(wait_for(lambda: peer_of(pair).get('failure', {}).get('reason') == 'no-route'), 'no route', peer_of(pair))
    ears.close()


class Lonely:
    """An interface whose peer is never heard from: what it is sent goes into a cable, and nobody answers."""

    def __init__(self):
        self.ns = Ns('lonely')
        self.ns.run('sh', '-euc', f"""
            ip link add far type veth peer name near
            ip addr add 192.0.2.1/24 dev far; ip link set far up; ip link set near up
            ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev far
            ip link add wg0 type wireguard; ip link set wg0 up
            echo {b64encode(private('lonely')).decode()} | wg set wg0 private-key /dev/stdin""", must=True)
        self.key = public(private('nobody'))
        self.ears = Ears(self.ns)
        self.ns.run('wg', 'set', 'wg0', 'peer', b64encode(self.key).decode(), 'endpoint', '192.0.2.2:9', 'persistent-keepalive', '10000', must=True)

    def close(self):
        self.ears.close()
        self.ns.delete()


def given_up(lonely):
    """Nobody answers, for as long as it takes to give up."""
    end, said = time.monotonic() + 400, []
    while not said and time.monotonic() < end:
        said = [c for n, c in lonely.ears.family.received(lonely.ears.sock, 5) if n == 'handshake-given-up']
    report(said and said[0]['reason'] == 'no-answer' and said[0]['public-key'] == lonely.key.hex(), 'after 20 initiations it is told', said)
    with lonely.ns, observe.Family() as family:
        got = family.peers('wg0')[1][0]
    report(got['failure'].get('gave-up') and got['failure']['reason'] == 'no-answer' and (got['staged'], 'initiations' in got) == (0, False),
           'and shown', got)


# ---- the end of sessions

class Sessions:
    """What is told of the sessions of a pair's peer, which begins them."""

    def __init__(self, pair):
        self.peer, self.ears, self.said, self.at = pair.peer, Ears(pair.home), [], 0

    def told(self, many, seconds=SECONDS):
        """All that was told so far, once it is so much."""
        end = time.monotonic() + seconds
        while len(self.said) < many and time.monotonic() < end:
            heard = [n for n, e in self.ears.family.received(self.ears.sock, 1)
                     if n.startswith('session-') and e['public-key'] == self.peer.public.hex()]
            self.said += [n.removeprefix('session-') for n in heard]
            self.at = time.monotonic() if heard else self.at
        return self.said

    def begin(self):
        """Another one."""
        if not self.peer.initiate():
            raise OSError(errno.ETIMEDOUT, 'no answer')
        self.peer.send(b'')
        return self.told(len(self.said) + 1)


def ends(lab):
    """The end of a session is told once, and not if it went with something else."""
    pair = lab.pair()
    sessions = Sessions(pair)
    told, begin = sessions.told, sessions.begin
    begin()
    if not asleep(os.O_WRONLY):
        print('skip - the end of sessions (this kernel has no hibernation)')
        return sessions.ears.close()
    # What is still to be told would be in a moment, as it is looked for now.
    report(told(2, 1) == ['established'] and 'session' in peer_of(pair), 'a machine that has not slept keeps its session', told(0))
    pair.home.ip('link', 'set', 'wg0', 'down')
    pair.home.ip('link', 'set', 'wg0', 'up')
    report(asleep() and told(2, 1) == ['established'] and 'session' not in peer_of(pair), 'one that went with the interface', told(0))
    begin()
    pair.set_peer('remove')
    pair.set_peer('allowed-ips', '192.168.5.2/32', 'endpoint', pair.endpoint())
    report(asleep() and told(3, 1) == ['established'] * 2, 'one that went with the peer', told(0))
    begin()
    report(asleep() and told(4) == ['established'] * 3 + ['expired'] and 'session' not in peer_of(pair), 'one that was forgotten before the machine sleeps', told(0))
    report(asleep() and told(5, 1) == ['established'] * 3 + ['expired'], 'is told once', told(0))
    begin()
    pair.set_key('another')
    report(told(6, 1)[3:] == ['expired', 'established'] and 'session' in peer_of(pair), 'another key of ours ends none', told(0))
    report(asleep() and told(6)[4:] == ['established', 'expired'], 'before its time', told(0))
    sessions.ears.close()


def too_old(lab):
    """A session ends when it is too old and no other has followed. This takes more than three minutes."""
    pair = lab.pair()
    sessions = Sessions(pair)
    sessions.begin()
    began = time.monotonic()
    time.sleep(10)
    sessions.begin()
    took = -time.monotonic()
    report(sessions.told(3, 400) == ['established'] * 2 + ['expired'], 'the end of the second one is told', sessions.said)
    took += sessions.at
    report(179 < took < 190 and sessions.at - began > 189, f'{took:.1f} s after it began', sessions.at - began)
    report('usable' not in peer_of(pair)['session'], 'it is of no use any more', peer_of(pair))
    sessions.ears.close()


# ---- load

def loaded(lab):
    """Load begins and ends, and is told and shown."""
    pair = lab.pair()
    peer, ears = pair.peer, Ears(pair.home)

    def device():
        with pair.home:
            return observe.device('wg0')
    # Who is late may miss what comes and goes within a second.
    sizes = {k: v for k, v in device().items() if k in ('under-load', 'handshakes', 'encrypting', 'decrypting', 'peers', 'allowed-ips', 'indices')}
    report(sizes == {'handshakes': 0, 'encrypting': 0, 'decrypting': 0, 'peers': 1, 'allowed-ips': 2, 'indices': 0}, 'a quiet interface, and what it has', sizes)
    peer.initiate()
    peer.send(b'')
    report(wait_for(lambda: device()['indices'] == 1, SECONDS) and bool(ears.wait('session-established')), 'a session has an index', device())
    plain = peer.macs(struct.pack('<II', INITIATION, 5) + bytes(108))
    end, said, shown = time.monotonic() + SECONDS, [], False
    while time.monotonic() < end and not said:
        peer.raw_many(plain, 12000)
        shown = 'under-load' in device()
        said += ears.family.received(ears.sock)
    report([n for n, _ in said[:1]] == ['load-begins'] and said[0][1]['ifname'] == 'wg0', 'load begins', said)
    # Nothing is sent any more.
    while time.monotonic() < end and [n for n, _ in said[-1:]] != ['load-ends']:
        said += ears.family.received(ears.sock, 1)
    names = [n for n, _ in said]
    report(names == ['load-begins', 'load-ends'] * (len(names) // 2) and len(names) >= 2, 'and ends, though nothing comes', said)
    report(shown and 'under-load' not in device(), 'and was shown meanwhile', device())
    ears.close()


# ---- places

def roams(lab):
    """Where a peer is heard from is told, not too often, and the last place always."""
    pair = lab.pair(endpoint=False)
    peer, ears = pair.peer, Ears(pair.home)
    # Names of 40 places, which are addresses.
    places = [f'10.1.0.{n}' for n in range(100, 140)]
    for place in places:
        pair.p.ip('addr', 'add', f'{place}/24', 'dev', 'outer')

    def told(seconds=0.0):
        """Places that were told since the last call, and other events."""
        said = ears.family.received(ears.sock, seconds)
        return [socket.inet_ntoa(bytes.fromhex(e['endpoint'])[4:8]) for n, e in said if n == 'endpoint-changed'], said

    def heard_from(place):
        peer.raw(peer.message(b''), local=place)

    def settled(place):
        """Waits until that place is told, and for two quiet seconds; all that were told."""
        found, end = [], time.monotonic() + SECONDS
        while place not in found[-1:] and time.monotonic() < end:
            found += told(1)[0]
        return found + told(2)[0]
    report(peer.initiate(), 'a peer calls that has no endpoint yet')
    peer.send(b'')
    names, end = [], time.monotonic() + SECONDS
    while 'session-established' not in names and time.monotonic() < end:
        names += [n for n, _ in told(1)[1]]
    report(names == ['endpoint-changed', 'session-established'], 'where it is is told, and then its session', names)
    # A second after that, the next one is told at once.
    told(1.5)
    before, began = peer_of(pair)['roamed'], time.monotonic()
    for place in places:
        heard_from(place)
    found = settled(places[-1])
    took = time.monotonic() - began - 2
    times = peer_of(pair)['roamed'] - before
    report(times == len(places) and found[:1] == places[:1] and found[-1:] == places[-1:],
           f'of {times} places the first is told, and the last', found)
    report(2 <= len(found) <= took + 2, f'and {len(found)} in {took:.1f} s', found)
    # One that is told later, though the interface goes down meanwhile.
    for place in places[:2]:
        heard_from(place)
    wait_for(lambda: peer_of(pair)['roamed'] == before + times + 2, SECONDS)
    pair.home.ip('link', 'set', 'wg0', 'down')
    found = settled(places[1])
    report(found == places[:2], 'the last one also if the interface goes down', found)
    pair.home.ip('link', 'set', 'wg0', 'up')
    report(peer.initiate(), 'it calls from where it was at first')
    peer.send(b'')
    settled('10.1.0.2')
    # Somebody who listens no more, and one who has come since.
    ears.close()
    for place in places[:2]:
        heard_from(place)
    before += times + 5
    # What looks for listeners comes after what is counted.
    usual, peer.local = peer.local, places[1]
    report(pair.barrier() and peer_of(pair)['roamed'] == before, 'it roams while nobody listens', f'{before} {peer_of(pair)}')
    peer.local = usual
    ears = Ears(pair.home)
    found = told(2)[0]
    if found:
        # For who listens in another namespace, one that is under way is told: the last.
        found += told(2)[0]
    report(found in ([], [places[1]]), 'of which at most the last is told later', found)
    # A peer that is removed has nothing more to tell.
    for place in places[2:4]:
        heard_from(place)
    wait_for(lambda: peer_of(pair)['roamed'] == before + 2, SECONDS)
    pair.set_peer('remove')
    names = [n for n, _ in told(2)[1]]
    report(names[:1] == ['endpoint-changed'] and names[-1:] == ['peer-removed'], 'a peer that is removed tells no more', names)
    ears.close()


# ---- dumps

def torn(lab):
    """A dump in parts, and what happens meanwhile."""
    pair = lab.pair()
    with pair.home:
        net = nl.Netlink()
        family = observe.Family()
    keys = [struct.pack('=I', n) + bytes(28) for n in range(1, 400)]

    def put(*peers):
        return net.set('wg0', nl.nest(nl.PEERS, *peers))
    report(put(*(nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, k)) for k in keys)) == 0, 'many peers')
    error, found = family.peers('wg0')
    report(error == 0 and [p['public-key'] for p in found] == [k.hex() for k in [pair.peer.public, *keys]]
           and sorted(p['id'] for p in found) == [p['id'] for p in found], 'all of them, in the order in which they were added', len(found))

    def parts(meanwhile):
        """Keys and flags of the messages of a dump, with something done after the first part."""
        with pair.home:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        sock.settimeout(SECONDS)
        body = struct.pack('=BBH', 2, 1, 0) + nl.name(2, 'wg0')
        sock.send(struct.pack('=IHHII', 16 + len(body), family.number, 0x301, 1, 0) + body)
        seen, flags, end = [], 0, None
        while end is None:
            data = sock.recv(1 << 17)
            while data:
                length, kind, flag = struct.unpack('=IHH', data[:8])
                flags |= flag
                if kind == nl.NLMSG_DONE:
                    end = -struct.unpack('=i', data[16:20])[0]
                else:
                    seen.append(bytes.fromhex(family.decode(data[20:length], 'peer')['public-key']))
                data = data[(length + 3) & ~3:]
            if meanwhile:
                meanwhile = meanwhile()
        sock.close()
        return seen, bool(flags & observe.NLM_F_DUMP_INTR), end
    seen, intr, end = parts(None)
    report((len(seen), intr, end) == (400, False, 0), 'in peace it is of one moment', f'{len(seen)} {intr} {end}')
    gone = [nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, k), nl.u32(nl.P_FLAGS, nl.REMOVE_ME)) for k in keys]
    seen, intr, end = parts(lambda: put(*gone[:100]) and None)
    report(intr and end == 0 and set(keys[100:]) <= set(seen) and len(set(seen)) == len(seen), 'one that was changed under is marked as torn', f'{len(seen)} {intr} {end}')
    seen, intr, end = parts(lambda: net.set('wg0', nl.u32(nl.FLAGS, nl.REPLACE_PEERS)) and None)
    report(intr and end == 0, 'also if nothing is left', f'{len(seen)} {intr} {end}')
    put(*(nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, k)) for k in keys))
    seen, intr, end = parts(lambda: net.del_link('wg0') and None)
    report(end == errno.ENODEV and len(seen) < 400, 'the interface goes meanwhile', f'{len(seen)} {end}')
    net.close()
    family.netlink.close()


# ---- events

class Replay:
    """What events say there is."""

    def __init__(self):
        self.devices, self.peers, self.seen, self.generations = {}, {}, 0, {}

    def take(self, events):
        for name, e in events:
            self.seen += 1
            index = e['ifindex']
            last = self.generations.get(index, 0)
            if e['generation'] < last:
                raise AssertionError(f'{name} is of generation {e["generation"]}, after {last}')
            self.generations[index] = e['generation']
            if name == 'device-added':
                if index in self.devices:
                    raise AssertionError(f'{e} is added twice')
                self.devices[index] = e['ifname']
                continue
            if self.devices.get(index) != e['ifname']:
                raise AssertionError(f'{name} of no device: {e}')
            if name == 'device-removed':
                del self.devices[index], self.generations[index]
                self.peers = {k: v for k, v in self.peers.items() if k[0] != index}
            elif name.startswith('peer-'):
                key = index, e['public-key']
                if (key in self.peers) != (name != 'peer-added'):
                    raise AssertionError(f'{name}: {e}')
                if name == 'peer-removed':
                    del self.peers[key]
                else:
                    self.peers[key] = (e['id'], e.get('endpoint'))

    def state(self):
        return self.devices, self.peers


def dumped(family):
    """The state by dumps."""
    devices, peers = {}, {}
    error, found = family.devices()
    for device in found:
        devices[device['ifindex']] = device['ifname']
        error, more = family.peers(device['ifname'])
        if error:
            raise OSError(error, 'dump')
        peers |= {(p['ifindex'], p['public-key']): (p['id'], p.get('endpoint')) for p in more}
    return devices, peers


class Churn:
    """Changes, chosen by a seed."""

    links = [f'c{n}' for n in range(4)]
    # Some of the peers have keys that an interface may have as its own.
    identities = [(private(f'churn{n}'), public(private(f'churn{n}'))) for n in range(4)]
    keys = [pub for _, pub in identities] + [bytes([n]) * 32 for n in range(1, 17)]

    def __init__(self, seed, tag):
        self.random, self.net, self.tag = random.Random(f'{seed} {tag}'), nl.Netlink(), tag
        self.errors = {}

    def peer(self, key):
        choose = self.random
        attrs = [nl.attr(nl.P_PUBLIC_KEY, key)]
        match choose.randrange(8):
            case 0:
                attrs.append(nl.u32(nl.P_FLAGS, nl.REMOVE_ME))
            case 1:
                attrs.append(nl.u32(nl.P_FLAGS, nl.UPDATE_ONLY))
            case 2 | 3:
                attrs.append(nl.endpoint(choose.choice(('192.0.2.%d' % choose.randrange(9), '2001:db8::%d' % choose.randrange(9))), 9))
            case 4:
                # Refused, after the peer was made.
                attrs.append(nl.nest(nl.P_ALLOWEDIPS, nl.prefix(b'\12\0\0\0', 77)))
            case 5:
                attrs.append(nl.nest(nl.P_ALLOWEDIPS, nl.prefix(bytes([10, choose.randrange(4), 0, 0]), 16)))
        return nl.nest(0, *attrs)

    def step(self):
        choose = self.random
        link = choose.choice(self.links)
        match choose.randrange(20):
            case 0:
                error = self.net.del_link(link)
            case 1 | 2:
                error = self.net.add_link(link)
            case 3:
                error = self.net.set(link, nl.attr(nl.PRIVATE_KEY, choose.choice(self.identities)[0]))
            case 4:
                error = self.net.set(link, nl.u32(nl.FWMARK, choose.randrange(3)))
            case 5:
                error = self.net.set(link, nl.u32(nl.FLAGS, nl.REPLACE_PEERS),
                                     nl.nest(nl.PEERS, *(self.peer(k) for k in choose.sample(self.keys, 3))))
            case 6:
                error = self.net.set_link(link, choose.random() < 0.5)
            case _:
                error = self.net.set(link, nl.nest(nl.PEERS, *(self.peer(choose.choice(self.keys)) for _ in range(choose.randrange(1, 4)))))
        self.errors[error] = self.errors.get(error, 0) + 1


def churn(lab):
    """Events, replayed, give what a dump gives."""
    seed, count = int(os.environ.get('SEED', time.time_ns() % 10**6)), 10_000 if FULL else 600
    ns = lab.ns('churn')
    ears, replay = Ears(ns, 1 << 26), Replay()
    with ns:
        family = observe.Family()
        churns = [Churn(seed, tag) for tag in 'ab']
    rounds, wrong = 0, None
    try:
        while sum(sum(c.errors.values()) for c in churns) < count and not wrong:
            rounds += 1
            threads = [threading.Thread(target=lambda c=c: [c.step() for _ in range(25)]) for c in churns]
            [t.start() for t in threads]
            [t.join() for t in threads]
            # Told before the requests were answered.
            replay.take(ears.take())
            told, there = replay.state(), dumped(family)
            if told != there:
                wrong = f'round {rounds}: {set(told[1].items()) ^ set(there[1].items())} {told[0]} {there[0]}'
    except (AssertionError, OSError) as e:
        wrong = repr(e)
    errors = functools.reduce(lambda a, b: {k: a.get(k, 0) + b.get(k, 0) for k in a | b}, (c.errors for c in churns))
    total = sum(errors.values())
    report(not wrong and total >= count, f'{total} operations, seed {seed}: {replay.seen} events give what {rounds} dumps gave', f'seed {seed}: {wrong}')
    known = {0, errno.EEXIST, errno.ENODEV, errno.EINVAL}
    report(set(errors) <= known and errors[0] * 8 > total and replay.seen > total / 8, 'enough of them did something', errors)
    # Somebody whose queue is full.
    small = Ears(ns, None)
    small.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with ns:
        net = nl.Netlink()
    net.add_link('c0')
    net.set('c0', nl.u32(nl.FLAGS, nl.REPLACE_PEERS), nl.nest(nl.PEERS, *(nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, bytes([n]) * 32)) for n in range(1, 250))))
    try:
        small.take()
        lost = 0
    except OSError as e:
        lost = e.errno
    # Nothing more comes before all that is there was read.
    small.take()
    generation = next(d['generation'] for d in family.devices()[1] if d['ifname'] == 'c0')
    state = Replay()
    state.devices, state.peers = dumped(family)
    net.set('c0', nl.nest(nl.PEERS, nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, bytes([3]) * 32), nl.u32(nl.P_FLAGS, nl.REMOVE_ME))))
    later = [(n, e) for n, e in small.take() if e['ifname'] == 'c0' and e['generation'] > generation]
    state.take(later)
    report(lost == errno.ENOBUFS and len(later) == 1 and state.state() == dumped(family), 'who lost some is told, and goes on from a dump', f'{lost} {later}')
    # Which is not to be left out, although it does not grow with that.
    generation = next(d['generation'] for d in family.devices()[1] if d['ifname'] == 'c0')
    net.del_link('c0')
    gone = small.take()
    report([(n, e['generation'] > generation) for n, e in gone] == [('device-removed', False)], 'the end of a device is of no generation of its own', gone)
    for thing in (small, ears):
        thing.close()
    for link in Churn.links:
        net.del_link(link)
    net.close()


def places(lab):
    """Events go to the namespace that the interface is in; what a namespace's end does is told."""
    a, b = lab.ns('first'), lab.ns('second')
    first, second = Ears(a), Ears(b)
    a.ip('link', 'add', 'wg0', 'type', 'wireguard')
    a.ip('link', 'set', 'wg0', 'netns', 'second')
    b.run('wg', 'set', 'wg0', 'peer', b64encode(bytes([9] * 32)).decode(), must=True)
    here, there = first.take(), second.take()
    report([n for n, _ in here] == ['device-added'] and [n for n, _ in there] == ['peer-added'], 'where it is, and only there', f'{here} {there}')
    # A socket keeps its namespace.
    first.close()
    a.delete()
    said = second.wait('device-changed')
    report(said and said[0]['cause'] == 'namespace' and said[0]['ifname'] == 'wg0', 'the namespace of the sockets goes', said)
    b.ip('link', 'del', 'wg0')
    said = second.wait('device-removed')
    report(said and said[0]['cause'] == 'interface', 'the interface goes', said)
    second.close()


def main():
    if sys.argv[1:] == ['--errors']:
        return errors_of_all()
    parts = [part for part in (driven, powerless, shown, ends, too_old, loaded, roams, torn, churn, places, given_up)
             if part.__name__ in sys.argv[1:] or not sys.argv[1:] and (FULL or part is not too_old)]
    # It takes 100 seconds, most of which the others need as well.
    lonely = Lonely() if given_up in parts else None
    return run_parts('events', parts, lambda part: Lab() if part is not given_up else lonely)


if __name__ == '__main__':
    sys.exit(main())
