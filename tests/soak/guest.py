#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A tunnel that lives for days, on the instruction clock; see scripts/soak.

usage (in the guest): tests/soak/guest.py --hours N [--seed N] [--only PHASE,...]

Rounds: all phases (phases.py) once, in an order that the seed chooses; after a day of them a night. After each phase
what both ends say must agree; after each round what the kernel says of memory is noted, and in the end must not have grown.
"""

import argparse
import json
import os
import random
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from phases import DAY, PHASES, Wrong, night, step_clock, want  # noqa: E402
from world import RECEIVED, World, now  # noqa: E402

# Bytes per round that each figure may grow by, but for what chance explains; see grown().
BOUNDS = {'unreclaimable': 16384, 'used': 32768, 'percpu': 4096, 'vmalloc': 4096}
CACHE = 256
# Rounds from which on that means something, and how many standard errors are chance.
LEAST, CHANCE = 12, 5


# ------------------------------------------------------------ after a phase

def quiet(world):
    """Waits until nothing is under way."""
    def idle():
        for end in world.ends:
            device = end.device()
            if device['handshakes'] or device['encrypting'] or device['decrypting']:
                return False
            for peer in end.shown().values():
                if peer['staged'] or peer['tx-queued'] or peer['rx-queued'] or 'initiations' in peer:
                    return False
        return True
    for _ in range(60):
        world.turn(1)
        if idle():
            return
    raise Wrong('queues are not empty after a minute')


def unaccounted(sender, receiver):
    """Messages that one end has sent, and the other has neither received nor counted as dropped."""
    sent, there = sender.counted()['sent'], receiver.counted()
    return sent + receiver.injected - receiver.cut - receiver.no_port() - there['received'] - sum(there['drops'][r] for r in RECEIVED)


def balanced(world):
    """What is sent is received, or counted. Between two looks there may be a message."""
    for _ in range(10):
        missing = [unaccounted(end, end.other) for end in world.ends]
        if missing == [0, 0]:
            return
        world.turn(1)
    raise Wrong(f'messages that are not accounted for, of left and of right: {missing}')


def replayed(world):
    """Events, replayed, give what there is."""
    def same():
        for end in world.ends:
            world.listen(end)
            device, peers = end.device(), end.shown()
            if device['ifindex'] != end.told or {k: (p['id'], p.get('endpoint')) for k, p in peers.items()} != end.told_peers:
                return f'{end.name}: told {end.told_peers}, shown {peers}'
            session = peers[end.other.key.hex()].get('session', {})
            if end.session != ('usable' in session):
                return f'{end.name}: told that there is {"a" if end.session else "no"} session, shown {session}'
        return None
    # The end of a session may be told a second later.
    for _ in range(4):
        difference = same()
        if difference is None:
            break
        world.turn(1)
    else:
        raise Wrong(f'events are not what there is: {difference}')
    for end in world.ends:
        want(end.missed_events() == 0, f'{end.name}: a listener missed {end.missed_events()} events')


def within(value, bounds):
    """Whether a number is that number, or from one to the other."""
    low, high = bounds if isinstance(bounds, tuple) else (bounds, bounds)
    return low <= value <= high


def judge(world, before, expected):
    """What a phase should have left; the sessions that there were."""
    events = world.take()
    established = {end.name: [(when, c['side']) for when, e, name, c in events if e is end and name == 'session-established'] for end in world.ends}
    for end in world.ends:
        after = end.counted()['drops']
        drops = {r: n - before[end.name][r] for r, n in after.items() if n != before[end.name][r]}
        allowed = expected.get('drops', {}).get(end.name, {})
        for reason in set(drops) | set(allowed):
            want(within(drops.get(reason, 0), allowed.get(reason, 0)),
                 f'{end.name} has dropped {drops.get(reason, 0)} for {reason}, should be {allowed.get(reason, 0)}')
        gave_up = {}
        for _, e, name, contents in events:
            if e is end and name == 'handshake-given-up':
                gave_up[contents['reason']] = gave_up.get(contents['reason'], 0) + 1
        want(gave_up == expected.get('gave_up', {}).get(end.name, {}), f'{end.name} gave up: {gave_up}')
        removed = sum(e is end and name == 'peer-removed' and c['public-key'] != end.other.key.hex() for _, e, name, c in events)
        want(removed == expected.get('removed', {}).get(end.name, 0), f'{end.name}: {removed} peers that were removed are told of')
        # Who began a session, and who took it.
        mine = sum(side == 'initiator' for _, side in established[end.name])
        its = sum(side == 'responder' for _, side in established[end.other.name])
        want(mine == its, f'{end.name} tells of {mine} sessions that it began, the other end of {its} that it took')
        if 'gap' in expected:
            times = [when for when, _ in established[end.name]]
            for one, other in zip(times, times[1:]):
                want(within(other - one, expected['gap']), f'{end.name}: {other - one:.1f} s from session to session, should be {expected["gap"]}')
    sessions = len(established['left'])
    want(within(sessions, expected['sessions']), f'{sessions} sessions, should be {expected["sessions"]}')
    return sessions


def phase(world, rng, function, number):
    """One phase and what it leaves; whether all was well."""
    world.take()
    before = {end.name: end.counted()['drops'] for end in world.ends}
    began, datagrams = now(), world.datagrams
    day = time.time() - began
    try:
        expected = function(world, rng)
        quiet(world)
        sessions = judge(world, before, expected)
        replayed(world)
        balanced(world)
    except Wrong as error:
        print(f'not ok - round {number}, {function.__name__}: {error}', flush=True)
        # One fault is not to look like many: else what was sent by a clock in the past is refused from here on.
        step_clock(max(0, day + now() - time.time()))
        return None
    print(f'ok - round {number}, {function.__name__}: {now() - began:.0f} s, {sessions} sessions, '
          f'{world.datagrams - datagrams} datagrams and their answers', flush=True)
    return sessions


# ------------------------------------------------------------ after a round

def meminfo():
    """Bytes, by name."""
    with open('/proc/meminfo', encoding='ascii') as file:
        return {line.split(':')[0]: int(line.split()[1]) * 1024 for line in file}


def write(path, text):
    """Into a file of the kernel's."""
    with open(path, 'w', encoding='ascii') as file:
        file.write(text)


def threads():
    """Kernel threads but the pools' workers, which the kernel makes and ends as it likes."""
    count = 0
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as file:
                name, rest = file.read().split('(', 1)[1].rsplit(')', 1)
        except OSError:
            continue
        count += bool(int(rest.split()[6]) & 0x200000) and (not name.startswith('kworker/') or name.startswith('kworker/R'))
    return count


def memory(world):
    """What is in use. Caches of objects are emptied first, so that what is left are objects."""
    # What waits for a grace period, or for a work.
    world.turn(3)
    write('/proc/sys/vm/drop_caches', '3')
    caches = {name: f'/sys/kernel/slab/{name}' for name in os.listdir('/sys/kernel/slab')
              if name.startswith(('kmalloc-', 'wireguard_rs', 'skbuff_'))}
    for path in caches.values():
        write(f'{path}/shrink', '1')
    sizes, peers = {}, 0
    with open('/proc/slabinfo', encoding='ascii') as file:
        for line in list(file)[2:]:
            name, active, _, size = line.split()[:4]
            if name in caches:
                sizes[name] = int(active) * int(size)
            if name == 'wireguard_rs_peer':
                peers = int(active)
    found = meminfo()
    with open('/proc/self/statm', encoding='ascii') as file:
        own = int(file.read().split()[1]) * 4096
    return {'caches': {n: size for n, size in sizes.items() if size}, 'peers': peers, 'unreclaimable': found['SUnreclaim'], 'percpu': found['Percpu'], 'vmalloc': found['VmallocUsed'],
            'used': found['MemTotal'] - found['MemFree'] - own, 'threads': threads(),
            'indices': sum(end.device()['indices'] for end in world.ends)}


def slope(values):
    """Of the line that fits best, and its standard error."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((at - middle) ** 2 for at in range(len(values)))
    found = sum((at - middle) * (value - mean) for at, value in enumerate(values)) / over
    rest = sum((value - mean - found * (at - middle)) ** 2 for at, value in enumerate(values))
    return found, (rest / (len(values) - 2) / over) ** 0.5


def flat(name, values, bound):
    """Whether a figure has not grown."""
    per_round, error = slope(values)
    well = per_round <= bound + CHANCE * error
    print(f'{"ok" if well else "not ok"} - {name}: {values[0]} bytes, then {values[-1]} after {len(values) - 1} rounds, from {min(values)} '
          f'to {max(values)}; {per_round:+.0f} in a round (standard error {error:.0f}), {bound} are allowed', flush=True)
    return well


def grown(rounds):
    """Whether nothing has. What is allocated once, at first use, is in the first two rounds, which are left out.

    A round has some twenty sessions, each at two ends, and two hundred peers that come and go: of the smallest object
    there is, 8 bytes, one lost with each session is 320 bytes in a round, of one cache. What the rest of the kernel has in these
    caches goes up and down, so the line through n rounds has an error, which shrinks as n to the power of 3/2:
    hours find large leaks, days small ones."""
    if len(rounds) < LEAST:
        print(f'skip - whether memory grows (it takes {LEAST} rounds to tell, there were {len(rounds)})', flush=True)
        return True
    rounds = rounds[2:]
    good = [flat(name, [one[name] for one in rounds], bound) for name, bound in BOUNDS.items()]
    good += [flat(name, [one['caches'].get(name, 0) for one in rounds], CACHE) for name in sorted(set().union(*(one['caches'] for one in rounds)))]
    for name, most in ('peers', 2), ('indices', 8):
        values = [one[name] for one in rounds]
        good.append(max(values) <= most)
        print(f'{"ok" if good[-1] else "not ok"} - {name}: {max(values)} at most after a round, {most} are allowed', flush=True)
    values = {one['threads'] for one in rounds}
    good.append(len(values) == 1)
    print(f'{"ok" if good[-1] else "not ok"} - kernel threads after each round: {sorted(values)}', flush=True)
    return all(good)


def main():
    """Rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--hours', type=float, required=True)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--only', default='')
    args = parser.parse_args()
    print(f'# seed {args.seed}', flush=True)
    chosen = [p for p in PHASES if not args.only or p.__name__ in args.only.split(',')]
    rng, world = random.Random(args.seed), World()
    began, rounds, sessions, failed = now(), [], 0, 0
    while now() < began + args.hours * 3600:
        nights = [night] if not args.only and rounds and len(rounds) % DAY == 0 else []
        for function in nights + rng.sample(chosen, len(chosen)):
            found = phase(world, rng, function, len(rounds) + 1)
            failed += found is None
            sessions += found or 0
            # One fault may have many consequences.
            if failed >= 10:
                print('not ok - ten phases have failed', flush=True)
                return 1
        rounds.append(memory(world))
        print('=' + json.dumps({'round': len(rounds), 'hours': round((now() - began) / 3600, 2), 'sessions': sessions,
                                'datagrams': world.datagrams, 'sleeps': world.slept, **rounds[-1]}), flush=True)
    good = grown(rounds)
    print(f'# {(now() - began) / 3600:.1f} hours, {len(rounds)} rounds, {sessions} sessions, {world.datagrams} datagrams and their answers, '
          f'{failed} phases failed', flush=True)
    return int(failed > 0 or not good)


if __name__ == '__main__':
    sys.exit(main())
