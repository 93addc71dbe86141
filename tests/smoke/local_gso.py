#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The switch `local-gso`: datagrams that come as one packet over a veth, which puts nothing together itself, are
taken whole, and dealt with as if each had come alone; nobody else notices.

usage (in the guest): tests/smoke/local_gso.py [WORD...]

A burst is one `sendmsg()` with UDP_SEGMENT, or what the driver makes of one that goes into the tunnel. How it came
to the UDP layer is seen in the count of that.
"""

import contextlib
import os
import socket
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import aggregates  # noqa: E402
import observe  # noqa: E402
import together  # noqa: E402
from aggregates import LARGE, End, Message, bad_messages, mib  # noqa: E402
from lab import SO_RCVBUFFORCE, UDP_SEGMENT, report, wait_for  # noqa: E402

NOBODY = 'setpriv', '--reuid', '65534', '--clear-groups'
# Of one packet.
MOST = 60


def runs(messages):
    """Messages in a row that can be one packet: of one size, but that the last may be shorter."""
    found = []
    for message in messages:
        last = found[-1] if found else None
        if not last or len(last) >= MOST or len(message.data) > len(last[0].data) or len(last[-1].data) < len(last[0].data):
            found.append([message])
        else:
            last.append(message)
    return found


def send_whole(sock, datagrams, to):
    """They leave as one packet."""
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(datagrams[0]) if len(datagrams) > 1 else 0)
    sock.sendto(b''.join(datagrams), to)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)


class Near(End):
    """The driver's end of a veth that is as it was made."""

    def __init__(self, lab, outer=4, on=True, **how):
        super().__init__(lab, outer, hold=False, **how)
        if on:
            self.switch(True)

    def switch(self, on):
        with self.home, observe.Family() as family:
            error = family.local_gso('wg0', on)
            shown = family.device('wg0')[1]['local-gso']
        report((error, shown) == (0, on), f'it is switched {"on" if on else "off"}', f'{error}, {shown}')

    def whole(self, name, messages, merge=True, **how):
        """They come as few packets, or one by one."""
        sender, first = self.peer.sockets[self.version == 6], {}
        for run in runs(messages):
            first[id(run[0])] = run

        def each(message):
            if id(message) in first:
                send_whole(sender, [m.data for m in first[id(message)]], self.peer.address)
        came = mib(self.a, 'Udp', 'InDatagrams')
        self.burst(name, messages, merge=False, each=each, **how)
        # What was sent behind them came alone. What came out of the tunnel may be counted in the same place.
        inner = sum(m.text is not None for m in messages) + 1
        came = mib(self.a, 'Udp', 'InDatagrams') - came - 1 - (inner if self.home is self.a else 0)
        want = len(runs(messages)) if merge else len(messages)
        report(came == want, f'{name}: {"whole" if merge else "one by one"}', f'{len(messages)} came as {came} packets, should be {want}')


def switched(lab, outer):
    """On and off, and what it outlives."""
    end = Near(lab, outer, on=False)
    with end.home, observe.Family() as family:
        report(family.device('wg0')[1]['local-gso'] == 0, 'it is off to begin with')
        answers = [family.call('device-set', observe.nl.name(2, 'wg0') + more)[0] for more in (
            observe.nl.attr(6, b'\2'), observe.nl.attr(6, b''), observe.nl.attr(3, b''), observe.nl.attr(7, b'\1'), b'')]
        nowhere = family.local_gso('lo', True), family.local_gso('none', True)
    # ERANGE, ERANGE or EINVAL, EINVAL, EINVAL; and nothing to set is no error.
    report(answers[0] == 34 and all(answers[1:4]) and answers[4] == 0 and nowhere == (95, 19), 'wrong wishes are refused', f'{answers}, {nowhere}')
    asked = end.home.run(*NOBODY, 'python3', os.path.join(HERE, '../observe.py'), 'wg0', 'local-gso=1')
    report(asked.returncode and 'not permitted' in asked.stderr, 'nobody may not switch it', asked)
    end.whole('off', [end.message() for _ in range(40)], merge=False)
    end.switch(True)
    end.switch(True)
    end.whole('on', [end.message() for _ in range(40)])
    end.switch(False)
    end.whole('off again', [end.message() for _ in range(40)], merge=False)
    end.switch(True)
    end.home.ip('link', 'set', 'wg0', 'down')
    end.home.ip('link', 'set', 'wg0', 'up')
    end.peer.address = end.peer.address[0], 51899
    end.wg('listen-port', '51899', must=True)
    end.fresh()
    end.whole('after down and up, on another port', [end.message() for _ in range(40)])
    # As many as want it, and the last one counts.
    for name in 'one', 'other':
        aggregates.interface(end.a, name, 0)
        with end.a, observe.Family() as family:
            family.local_gso(name, True)
    end.a.ip('link', 'del', 'one')
    end.switch(False)
    end.whole('another interface has it on', [end.message() for _ in range(40)])
    end.a.ip('link', 'del', 'other')
    end.fresh()
    end.whole('that one is gone', [end.message() for _ in range(40)], merge=False)


def elsewhere(lab, outer):
    """An interface that was moved: it acts where the sockets are."""
    end = Near(lab, outer, home='h')
    end.whole('moved', [end.message() for _ in range(40)])
    # Who may configure the interface alone may not: as with its port.
    asked = end.home.run('unshare', '--user', '--map-root-user', 'python3', os.path.join(HERE, '../observe.py'), 'wg0', 'local-gso=0')
    report(asked.returncode and 'not permitted' in asked.stderr, 'root of another user namespace may not switch it', asked)
    aggregates.interface(end.a, 'stays', 0)
    with end.a, observe.Family() as family:
        family.local_gso('stays', True)
    end.home.ip('link', 'del', 'wg0')
    for session in list(end.sockets.values()):
        session.close()


def messages(lab, outer):
    """Each is dealt with as if it had come alone."""
    end = Near(lab, outer)
    end.whole('small', [end.message() for _ in range(60)])
    end.whole('large', [end.message(LARGE) for _ in range(50)])
    end.fresh()
    end.whole('with IPv6 inside, the last shorter', [end.message(version=6) for _ in range(40)] + [end.message(85, version=6)])
    end.whole('empty ones', [Message(end.peer.message(b''), counted=True) for _ in range(40)])
    end.fresh()
    end.whole('forged ones among them', [end.forged() if i % 7 == 3 else end.message() for i in range(50)])
    end.whole('all are forged', [end.forged() for _ in range(40)])
    early = [end.message() for _ in range(5)]
    end.whole('five', early)
    end.whole('replays among them', [end.message() for _ in range(9)] + bad_messages('rx-replay', *(m.data for m in early)) + [end.message() for _ in range(9)])
    end.whole('no type of message among them', [bad_messages('rx-type', bytes([i]) + bytes(95))[0] if i in (5, 6, 7, 30) else end.message() for i in range(40)])
    end.whole('counters backwards', [end.message(counter=end.peer.counter + n) for n in range(40, 0, -1)])


def watched(lab, outer):
    """Somebody watches, and gets to see what came."""
    end = Near(lab, outer)
    capture = lab.keep_capture(end.a, 'outer')
    sent = [end.message() for _ in range(40)]
    # What is shared with the watcher is left alone.
    end.whole('watched', sent, merge=False)
    head = 14 + {4: 28, 6: 48}[outer]
    seen = [frame[head:] for frame, out in capture.frames() if not out and len(frame) > head + 96]
    # The last came alone.
    report(seen[:-1] == [b''.join(m.data for m in sent)], 'the watcher sees what was sent', f'{[len(s) for s in seen]}')


def others(lab, outer):
    """Sockets that are not the driver's, and what is for nobody."""
    end = Near(lab, outer)
    address, sender = end.peer.address[0], end.peer.sockets[outer == 6]
    with end.a:
        sink = socket.socket(socket.AF_INET6 if outer == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    with sink:
        sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        sink.bind((address, 51777))
        sink.settimeout(20)
        sent = [bytes([n]) * 96 for n in range(40)]
        send_whole(sender, sent, (address, 51777))
        got = []
        with contextlib.suppress(TimeoutError):
            while len(got) < len(sent):
                got.append(sink.recv(65536))
        report(got == sent, 'a socket of somebody else gets single datagrams', f'{len(got)} of {len(sent)}')
    before = mib(end.a, 'Udp', 'NoPorts')
    send_whole(sender, sent, (address, 51778))
    wait_for(lambda: mib(end.a, 'Udp', 'NoPorts') > before)
    report(mib(end.a, 'Udp', 'NoPorts') > before, 'what is for nobody finds nobody')
    end.whole('and messages are taken whole', [end.message() for _ in range(40)])


def tunnel(lab, outer):
    """What the driver sends as one packet, the driver takes as one."""
    left, right = together.setup(lab)
    together.endpoint(left, right, int(outer == 6))
    data = [bytes([i]) * 200 for i in range(30)]
    for on in False, True, False:
        with right, observe.Family() as family:
            family.local_gso('wg0', on)
        before, packets = mib(right, 'Udp', 'InDatagrams'), together.counts(right, 'rx')['packets']
        got = together.deliver(left, right, data)
        report(got == data, f'switched {"on" if on else "off"}: each datagram arrives as it was sent, in order', f'{len(got)} of {len(data)}')
        wait_for(lambda: together.counts(right, 'rx')['packets'] - packets >= len(data))
        # Those inside are counted, too.
        came = mib(right, 'Udp', 'InDatagrams') - before - len(data)
        report(came == 1 if on else came >= len(data), f'switched {"on" if on else "off"}: {"whole" if on else "one by one"}', f'{len(data)} came as {came}')


def main():
    return aggregates.run((switched, elsewhere, messages, watched, others, tunnel), sys.argv[1:])


if __name__ == '__main__':
    sys.exit(main())
