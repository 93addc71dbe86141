# SPDX-License-Identifier: GPL-2.0
"""Sleep: keys leave memory before it."""

import os
import time

from lab import Skip, row
from wgpeer import DATA, INITIATION


def forgotten(lab, pair):
    """After what should have taken the keys away."""
    stats = pair.stats()
    pair.reply(b'under the old session')
    lab.see('messages of the old session', [pair.hear(timeout=0.5), pair.change(stats)], [None, {}])
    lab.see('still up', pair.a.listeners(), ['4:51820', '6:51820'])
    pair.say(b'0001')
    got = pair.peer.messages(1, 10, want=INITIATION)
    lab.see('the next packet begins a handshake', len(got), 1)
    lab.see('answered', pair.peer.answer(got[0]), True)
    lab.see('and arrives', len(pair.peer.messages(1)), 1)
    lab.see('the tunnel', pair.works(), 'works')


def age(pair):
    """Handshake messages are five seconds apart; sleep does not change that."""
    assert pair.works() == 'works'
    time.sleep(5.5)


@row('preparing to hibernate')
def hibernate(lab):
    # Opening this is the first step of user-space hibernation; its notifiers run.
    if not os.path.exists('/dev/snapshot'):
        raise Skip('the kernel has no /dev/snapshot')
    pair = lab.pair()
    age(pair)
    try:
        os.close(os.open('/dev/snapshot', os.O_RDONLY))
    except OSError as e:
        raise Skip(f'/dev/snapshot: {e}') from e
    forgotten(lab, pair)


@row('preparing to resume from hibernation')
def restore(lab):
    if not os.path.exists('/dev/snapshot'):
        raise Skip('the kernel has no /dev/snapshot')
    pair = lab.pair()
    lab.see('before', pair.works(), 'works')
    try:
        os.close(os.open('/dev/snapshot', os.O_WRONLY))
    except OSError as e:
        raise Skip(f'/dev/snapshot: {e}') from e
    pair.say(b'0001')
    lab.see('the session goes on', [m.kind for m in pair.peer.messages(1, 5, answer=False)], [DATA])


@row('a cloned virtual machine')
def fork(lab):
    raise Skip('nothing in a guest can raise the notification; it takes a vmgenid device and the monitor of QEMU')
