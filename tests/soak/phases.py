# SPDX-License-Identifier: GPL-2.0
"""What happens in a round. A phase does something for minutes, and raises `Wrong` if the tunnel does not do what
it should. What it returns says what is to be found afterwards, beyond what always is:

  drops      {end's name: {reason: how many}}, a tuple is (at least, at most); all others must be none
  gave_up    {end's name: {reason: how often}} `handshake-given-up`
  gap        (at least, at most) seconds between sessions that follow one another
  sessions   (at least, at most) of them
  removed    {end's name: how many peers that were not the other end came and went}
"""

import os
import time

from observe import nl
from world import INNER_PORT, NOBODY_PORT, now

# Seconds: a session is renewed, is not used any more, is asked for again; a keepalive is sent.
RENEWED, OLD, AGAIN, ANSWER = 120, 180, 5, 10
# What a timer may be late by: jitter of up to a third of a second, a tick, work.
LATE = 2
# Keys are wiped, if there were no others for three times as long as they are good for.
FORGOTTEN = 3 * OLD
# How long a night is, and after how many rounds, of half an hour, it comes: a day in all.
NIGHT, DAY = 14 * 3600, 20


class Wrong(Exception):
    """It does not do what it should."""


def want(good, what):
    """Raises if not."""
    if not good:
        raise Wrong(what)


def answered(world, end, what, count=1, size=100, seconds=30):
    """Each datagram gets through, there and back."""
    missing = world.exchange(end, count, size, seconds)
    want(not missing, f'{missing} of {count} datagrams of {end.name} got no answer: {what}')


def either(world, rng):
    """One of the ends."""
    return world.ends[rng.randrange(2)]


def fresh(world, end):
    """A session that this end has just begun. Taking it down makes it forget the one before."""
    # Handshake messages are five seconds apart.
    world.turn(AGAIN + 1)
    end.up(False)
    end.up(True)
    answered(world, end, 'after down and up')


def busy(world, rng):
    """Bursts of all sizes, both ways, without a rest of more than five seconds."""
    seconds, pause = rng.randint(250, 400), 5
    answered(world, either(world, rng), 'a new session at most')
    began = now()
    while now() < began + seconds:
        end, count = either(world, rng), rng.choice((1, 2, 8, 33, 90))
        answered(world, end, 'under load', count, rng.choice((32, 100, 500, 1300)))
        world.turn(rng.uniform(0, pause))
    # Either end may have begun the session; each sends at least answers.
    gap = (RENEWED - 1, RENEWED + pause + AGAIN + LATE)
    return {'gap': gap, 'sessions': (int(seconds // gap[1]), seconds // RENEWED + 2)}


def keepalive(world, rng, least=500, most=900):
    """Nothing but keepalives, of one end or both."""
    seconds, every = rng.randint(least, most), rng.choice((10, 25, 60))
    ends = rng.choice(((world.left,), (world.right,), world.ends))
    answered(world, either(world, rng), 'a new session at most')
    for end in ends:
        end.keepalive(every)
    world.turn(seconds)
    for end in ends:
        end.keepalive(0)
    # Whoever began the session renews it when it sends, or is sent something late in its life; else the other
    # one begins the next when that is over.
    gap = (RENEWED - 1, OLD + every * 9 / 8 + AGAIN + LATE)
    return {'gap': gap, 'sessions': (int(seconds // gap[1]), seconds // RENEWED + 2)}


def night(world, rng):
    """Hours of nothing but that."""
    return keepalive(world, rng, NIGHT, NIGHT)


def silent(world, rng):
    """Nothing at all: the session ends, is told to, and forgotten; and then there is the next packet."""
    answered(world, either(world, rng), 'a new session at most')
    world.turn(OLD + ANSWER + LATE)
    want(not world.left.session and not world.right.session, 'the end of the session is not told of')
    # Timers of the kernel's that are minutes away are exact to 16 seconds.
    world.turn(FORGOTTEN + 20 - OLD - ANSWER)
    for end in world.ends:
        want(end.device()['indices'] == 0, f'{end.name} has {end.device()["indices"]} indices, and nothing to use them for')
    # Whether it really was quiet: no session in between.
    names = [name for _, _, name, _ in world.events if name == 'session-established']
    want(len(names) <= 2, f'{len(names)} sessions while nobody says anything')
    answered(world, either(world, rng), 'the first packet after a long time')
    return {'sessions': (1, 2)}


def unreachable(world, rng):
    """Nothing arrives for some time; and there is a peer whom nobody is."""
    end, nobody = either(world, rng), rng.randbytes(32)
    fresh(world, end)
    world.turn(ANSWER + LATE)
    world.cut(True)
    end.set_peer(nobody, nl.endpoint(end.other.outer, NOBODY_PORT),
                 nl.nest(nl.P_ALLOWEDIPS, nl.prefix(bytes((192, 168, 77, 99)), 32)))
    end.socket.sendto(b'nobody', ('192.168.77.99', INNER_PORT))
    world.ask(end, 1, 100)

    # Nothing comes back for 15 seconds; then there are 20 attempts, five seconds apart.
    def given_up():
        return sum(name == 'handshake-given-up' and e is end for _, e, name, _ in world.events) == 2
    want(world.turn(150, given_up), 'handshakes without an answer are not given up')
    world.cut(False)
    world.unanswered = set()
    end.set_peer(nobody, flags=nl.REMOVE_ME)
    world.turn(AGAIN + 1)
    answered(world, end, 'once it is reachable again')
    return {'gave_up': {end.name: {'no-answer': 2}}, 'drops': {end.name: {'tx-purged': 1}}, 'sessions': (1, 3), 'removed': {end.name: 1}}


def roam(world, rng):
    """An end is somewhere else, some times; the other one learns of it, and finds it."""
    end = either(world, rng)
    fresh(world, end)
    times = rng.randint(2, 6)
    for _ in range(times):
        world.turn(rng.uniform(1.5, 4))
        outer = f'10.0.0.{rng.choice((end.number, end.number + 10, end.number + 20))}'
        world.roam(end, outer, 51820 + (end.port - 51820 + rng.randint(1, 99)) % 1000)
        answered(world, end, 'from another place')
        answered(world, end.other, 'to another place')
    changes = [1 for _, e, name, _ in world.events if name == 'endpoint-changed' and e is end.other]
    want(len(changes) == times, f'{len(changes)} of {times} changes of the endpoint are told')
    return {'sessions': (1, 2)}


def flap(world, rng):
    """An end goes down and comes up, some times; then the interface goes, and is made again."""
    for _ in range(rng.randint(1, 4)):
        end = either(world, rng)
        fresh(world, end)
    end = either(world, rng)
    world.turn(AGAIN + 1)
    end.remove()
    world.turn(rng.uniform(0, 3))
    world.listen(end)
    want(end.told is None, 'the end of the device is not told of')
    end.make()
    answered(world, end, 'from a new interface')
    answered(world, end.other, 'to a new interface')
    return {'sessions': (2, 7)}


def peers(world, rng):
    """Many peers come and go; then the other end does."""
    removed = {}
    for end in world.ends:
        keys = [rng.randbytes(32) for _ in range(rng.randint(50, 150))]
        for at, key in enumerate(keys):
            end.set_peer(key, nl.endpoint('10.0.0.99', 51820),
                         nl.nest(nl.P_ALLOWEDIPS, *(nl.prefix(bytes((10, n, at, 0)), 24) for n in range(3))))
        found = end.device()
        want((found['peers'], found['allowed-ips']) == (len(keys) + 1, 3 * len(keys) + 1), f'{end.name} has not all peers: {found}')
        for key in rng.sample(keys, len(keys)):
            end.set_peer(key, flags=nl.REMOVE_ME)
        removed[end.name] = len(keys)
        # The socket's queue has room for so many.
        world.listen(end)
    end = either(world, rng)
    answered(world, end, 'a new session at most')
    world.turn(AGAIN + 1)
    end.set_peer(end.other.key, flags=nl.REMOVE_ME)
    world.turn(1)
    end.add_other()
    answered(world, end, 'to a peer that was removed and added')
    answered(world, end.other, 'from a peer that was removed and added')
    return {'sessions': (1, 3), 'removed': removed}


def strangers(world, rng):
    """Somebody sends what means nothing."""
    kinds = {
        # No message; an initiation without MACs; a response without; data for an index that nobody has.
        'rx-type': lambda: b'\x09' + rng.randbytes(rng.randint(8, 300)),
        'handshake-mac': lambda: rng.choice((b'\1\0\0\0' + rng.randbytes(144), b'\2\0\0\0' + rng.randbytes(88))),
        'rx-index': lambda: b'\4\0\0\0' + rng.randbytes(28 + 16 * rng.randrange(9)),
    }
    drops = {end.name: dict.fromkeys(kinds, 0) for end in world.ends}
    for _ in range(rng.randint(100, 300)):
        end, reason = either(world, rng), rng.choice(list(kinds))
        world.inject(end, kinds[reason]())
        drops[end.name][reason] += 1
        # Not so many at once that they are a load.
        if rng.random() < 0.02:
            world.turn(1)
    answered(world, either(world, rng), 'beside strangers')
    return {'drops': drops, 'sessions': (0, 1)}


def step_clock(seconds):
    """The clock of the day is set so much forward, or back."""
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) + seconds)


def clock(world, rng):
    """The clock of the day is set, forward and back. A session does not mind. An initiation has the time of the day
    in it, and a responder takes none that is not later than the last one it took (so says the protocol, as recorded
    ones must lead to nothing): after a step back none of an end that has called before, until the clock is where it
    was, or the responder has forgotten the peer."""
    answered(world, either(world, rng), 'a new session at most')
    step_clock(rng.randint(600, 5 * 3600))
    answered(world, either(world, rng), 'after a step forward')
    # Now each end has heard from the other at this time.
    fresh(world, world.left)
    fresh(world, world.right)
    back = rng.randint(3600, 5 * 3600)
    step_clock(-back)
    answered(world, either(world, rng), 'after a step back, under the session that there is', 20)
    world.turn(OLD + ANSWER + LATE)
    want(not world.left.session and not world.right.session, 'the end of the session is not told of')
    end = either(world, rng)
    before = end.counted()['sent'], end.other.counted()['drops']['handshake-invalid']
    world.ask(end, 3, 100)
    world.turn(rng.randint(7, 40))
    want(len(world.unanswered) == 3, 'an initiation of the past was taken')
    # One may be under way.
    for _ in range(4):
        initiations = end.counted()['sent'] - before[0]
        refused = end.other.counted()['drops']['handshake-invalid'] - before[1]
        if initiations == refused:
            break
        world.turn(1)
    want(initiations == refused >= 2, f'{initiations} initiations were sent, {refused} refused')
    forgets = rng.random() < 0.5
    if not forgets:
        step_clock(back)
    else:
        end.other.set_peer(end.key, flags=nl.REMOVE_ME)
        end.other.add_other()
    want(world.turn(AGAIN + LATE, lambda: not world.unanswered), 'the next initiation is not answered')
    if forgets:
        step_clock(back)
    return {'drops': {end.other.name: {'handshake-invalid': refused}}, 'sessions': (3, 6)}


def sleep(world, rng):
    """The machine sleeps, or is about to; keys leave memory, and the next packet asks for new ones."""
    answered(world, either(world, rng), 'a new session at most')
    world.turn(AGAIN + 1)
    fall_asleep(world)
    world.turn(LATE)
    want(not world.left.session and not world.right.session, 'sleep does not end the session')
    for end in world.ends:
        want('session' not in end.shown()[end.other.key.hex()], f'{end.name} has keys after sleep')
    answered(world, either(world, rng), 'after sleep')
    return {'sessions': (1, 2)}


def fall_asleep(world):
    """As far as this kernel can: preparing for hibernation is what the driver is told in either case."""
    os.close(os.open('/dev/snapshot', os.O_RDONLY))
    world.slept += 1


PHASES = (busy, keepalive, silent, unreachable, roam, flap, peers, strangers, clock, sleep)
