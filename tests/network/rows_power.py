# SPDX-License-Identifier: GPL-2.0
"""Sleep: keys leave memory before it."""

import base64
import os
import signal
import subprocess
import time

from lab import Skip, row, wait_for
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


@row('preparing to hibernate while peers come and go')
def churn(lab):
    # What a peer had is wiped after a grace period, and preparing waits for that: for those that are gone
    # by then. These loops see to it that there always are some, and end after a while.
    if not os.path.exists('/dev/snapshot'):
        raise Skip('the kernel has no /dev/snapshot')
    pair = lab.pair()
    loops = []
    for number in range(2):
        key = base64.b64encode(bytes([number + 1] * 32)).decode()
        peers = f'peer {key} peer {key} remove ' * 40
        with pair.a:
            loops.append(subprocess.Popen(['timeout', '30', 'sh', '-c', f'while :; do wg set wg0 {peers}; echo; done'],
                                          stdout=subprocess.PIPE, start_new_session=True))
    try:
        for loop in loops:
            loop.stdout.readline()
        try:
            os.close(os.open('/dev/snapshot', os.O_RDONLY))
        except OSError as e:
            raise Skip(f'/dev/snapshot: {e}') from e
        lab.see('ready while they still do', [loop.poll() for loop in loops], [None, None])
    finally:
        for loop in loops:
            if loop.poll() is None:
                os.killpg(loop.pid, signal.SIGKILL)
            loop.wait()
    lab.see('the tunnel', wait_for(lambda: pair.works() == 'works'), True)


@row('a cloned virtual machine')
def fork(lab):
    raise Skip('nothing in a guest can raise the notification; it takes a vmgenid device and the monitor of QEMU')
