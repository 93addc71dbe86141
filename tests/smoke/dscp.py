#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The switch `copy-dscp`: what outer headers tell of the DSCP of the packet inside.

usage (in the guest): tests/smoke/dscp.py [PART...]
"""

import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from lab import UDP_SEGMENT, report, run_parts, wait_for  # noqa: E402

# Nothing, one that has a bit of each half of the byte, all.
CODE_POINTS = 0, 0x28, 0xb8, 0xfc
SIZE = 1000
IPPROTO_UDP = 17
DATA = 4
HEADERS = {4: 28, 6: 48}
# What a message adds to an inner packet, padding of this size included.
MESSAGE = {4: 16 + 1040 + 16, 6: 16 + 1056 + 16}


def switch(pair, **settings):
    """Sets what is named; errno."""
    with pair.home, observe.Family() as family:
        return family.switch('wg0', **settings)


def is_on(pair):
    """As device-get shows it."""
    with pair.home:
        return observe.device('wg0')['copy-dscp']


def outside(tos, on):
    """The DS field of an outer header: congestion experienced inside is not told, but that it can be."""
    mark = {3: 2}.get(tos & 3, tos & 3)
    return (tos & 0xfc if on else 0) | mark


def arrives(pair, capture, send, bytes_):
    """The DS fields, each once, of the packets that so many bytes leave in."""
    list(capture.packets())
    send()
    seen = []

    def all_there():
        seen.extend(p for p in capture.sent(DATA) if p.length != HEADERS[p.version] + 32)
        return sum(p.length - HEADERS[p.version] for p in seen) >= bytes_
    report(wait_for(all_there), f'{bytes_} bytes leave', seen)
    return {p.tos for p in seen}


def copied(lab, outer):
    pair = lab.pair(outer=outer)
    report(pair.works() == 'works' and is_on(pair) == 0, f'outside IPv{outer}: it is off to begin with')
    capture = lab.keep_capture(pair.a, 'outer')
    port = 5100
    for on in False, True, False:
        report(switch(pair, copy_dscp=on) == 0 and is_on(pair) == on, f'switched {"on" if on else "off"}')
        for version in 4, 6:
            for tos in (code | mark for code in CODE_POINTS for mark in range(4)):
                port += 1
                found = arrives(pair, capture, lambda v=version, p=port, t=tos: pair.say(b'x', v, port=p, tos=t), 1)
                report(found == {outside(tos, on)}, f'inside IPv{version}, DS field {tos:#04x}', f'{found}')


def bursts(lab, outer):
    pair = lab.pair(outer=outer)
    report(pair.works() == 'works' and switch(pair, copy_dscp=1) == 0, f'outside IPv{outer}')
    capture = lab.keep_capture(pair.a, 'outer')
    for version in 4, 6:
        burst = pair.socket(version, 5600 + version, tos=0xb8)
        burst.setsockopt(IPPROTO_UDP, UDP_SEGMENT, SIZE)
        to = pair.inner[version][1], 7
        found = arrives(pair, capture, lambda s=burst, t=to: s.sendto(bytes(20 * SIZE), t), 20 * MESSAGE[version])
        report(found == {0xb8}, f'inside IPv{version}: a burst', f'{found}')
        # One by one, in turn: those of one kind alone may leave together.
        burst.setsockopt(IPPROTO_UDP, UDP_SEGMENT, 0)
        other = pair.socket(version, 5700 + version, tos=0x28)

        def both(a=burst, b=other, to=to):
            for sender in (a, a, a, a, a, b, b, b, b, b) * 4:
                sender.sendto(bytes(SIZE), to)
        found = arrives(pair, capture, both, 40 * MESSAGE[version])
        report(found == {0xb8, 0x28}, f'inside IPv{version}: two kinds', f'{found}')


def copied4(lab):
    """one by one, outside IPv4"""
    copied(lab, 4)


def copied6(lab):
    """one by one, outside IPv6"""
    copied(lab, 6)


def bursts4(lab):
    """bursts, outside IPv4"""
    bursts(lab, 4)


def bursts6(lab):
    """bursts, outside IPv6"""
    bursts(lab, 6)


def asked(lab):
    """who may, and what"""
    pair = lab.pair()
    report([switch(pair, copy_dscp=2), is_on(pair)] == [34, 0], 'it is on or off')
    report(switch(pair, copy_dscp=1, local_gso=1) == 0 and is_on(pair) == 1, 'with another')
    # One that is refused, and nothing is done.
    report(switch(pair, copy_dscp=0, local_gso=7) == 34 and is_on(pair) == 1, 'all or nothing')
    pair.home.ip('link', 'set', 'wg0', 'down')
    pair.home.ip('link', 'set', 'wg0', 'up')
    report(is_on(pair) == 1, 'it outlives down and up')
    # An empty message has nothing inside.
    capture = lab.keep_capture(pair.a, 'outer')
    report(pair.works() == 'works', 'the tunnel works')
    list(capture.packets())
    pair.set_peer('persistent-keepalive', '1')
    seen = []

    def empty():
        seen.extend(p for p in capture.sent(DATA) if p.length == HEADERS[4] + 32)
        return seen
    report(wait_for(empty) and {p.tos for p in seen} == {0}, 'an empty message', f'{seen}')


if __name__ == '__main__':
    sys.exit(run_parts('copy-dscp', (copied4, copied6, bursts4, bursts6, asked)))
