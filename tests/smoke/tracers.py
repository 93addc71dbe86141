#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The tracepoints wireguard_rs:*, and what the kernel's skb:kfree_skb says of our drops, as `perf trace`, `perf stat`
and `bpftrace` of the distribution's packages show them: what each of them counts is what the driver's own counters
say, by reason, and each names the interface, the peer and what happened.

usage (in the guest): tests/smoke/tracers.py [WORD]...

Only ours: the C driver has no tracepoints. The tools are in /opt/tracers, where scripts/smoke puts them. SHOW=1 has
what they print printed. tests/smoke/trace.py brings about each event there is.
"""

import collections
import contextlib
import glob
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from drops import traced_as  # noqa: E402
from lab import attempt, report, run_parts, wait_for  # noqa: E402
from trace import peer_of  # noqa: E402

TOOLS = '/opt/tracers'
# Until a tool listens, or has said what it saw: emulated, on a busy machine.
PATIENCE = 120
# In the place of the command that a tool runs. (A script by itself is nothing that bpftrace would begin.)
COMMAND = 'COMMAND'
# What is dropped: so many for each reason.
LOST = {'rx-type': 3, 'handshake-mac': 2, 'rx-index': 4, 'rx-auth': 1, 'tx-no-peer': 5}
# How often a tool is asked again, of whose programs the kernel says that it left some out.
TRIES = 5
# Those of which it is known whose they were.
OF_PEER = {'rx-auth'}


class Tool:
    """A tracer that listens while a command of ours runs, which the tool begins once it listens, and which ends when
    it is told to: so that nothing has to be waited for."""

    def __init__(self, name, *words):
        self.name, self.words = name, words

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory()
        begun, self.end, script = (f'{self.dir.name}/{name}' for name in ('begun', 'end', 'command'))
        os.mkfifo(self.end)
        with open(script, 'w', encoding='ascii') as file:
            file.write(f': >{begun}\nread word <{self.end}\n')
        self.out = open(f'{self.dir.name}/out', 'w+', encoding='utf-8', errors='replace')
        words = [word.replace(COMMAND, f'/bin/sh {script}') for word in self.words]
        if words[-2] == '--':
            words[-1:] = words[-1].split()
        # A group, so that what it has begun ends with it.
        self.process = subprocess.Popen([f'{TOOLS}/{self.name}', *words], stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=subprocess.STDOUT, process_group=0)
        wait_for(lambda: os.path.exists(begun) or self.process.poll() is not None, PATIENCE)
        if not os.path.exists(begun):
            said = self.said()
            self.__exit__()
            raise RuntimeError(f'{self.name} {" ".join(self.words)} does not listen: {said}')
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        self.out.close()
        self.dir.cleanup()

    def said(self):
        """What it has printed so far."""
        self.out.seek(0)
        return self.out.read()

    def told(self):
        """Whether the command could be told to end: it is there, and reads."""
        try:
            end = os.open(self.end, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        os.write(end, b'\n')
        os.close(end)
        return True

    def left_out(self):
        """How often the kernel did not run a BPF program of the tool, as another one ran on that CPU at that time."""
        misses = 0
        for path in glob.glob(f'/proc/{self.process.pid}/fdinfo/*'):
            with contextlib.suppress(FileNotFoundError), open(path, encoding='ascii') as file:
                misses += sum(int(line.split()[1]) for line in file if line.startswith('recursion_misses:'))
        return misses

    def over(self):
        """Ends it; what it has printed."""
        wait_for(lambda: self.process.poll() is not None or self.told(), PATIENCE)
        status = self.process.wait(PATIENCE)
        text = self.said()
        if os.environ.get('SHOW'):
            print(text, flush=True)
        report(status == 0 and 'LOST' not in text and 'Lost' not in text, f'{self.name} has seen all, and ends well',
               f'status {status}: {text[-500:]}')
        return text


def drops(pair):
    """What the driver counts, by reason."""
    with pair.home:
        return collections.Counter(observe.drops('wg0'))


def provoke(pair):
    """Has the peer begin a session, and packets dropped, until the driver has counted them."""
    peer, before = pair.peer, drops(pair)
    report(peer.initiate(), 'a session of the peer')
    for _ in range(LOST['rx-type']):
        peer.raw(b'no message')
    for _ in range(LOST['handshake-mac']):
        peer.raw(b'\1\0\0\0' + bytes(144))
    for n in range(LOST['rx-index']):
        peer.raw(struct.pack('<IIQ', 4, n, 0) + bytes(16))
    for _ in range(LOST['rx-auth']):
        peer.raw(struct.pack('<IIQ', 4, peer.session.remote, 3) + bytes(16))
    for _ in range(LOST['tx-no-peer']):
        attempt(pair.socket().sendto, b'for nobody', ('192.168.5.9', 7))
    wait_for(lambda: drops(pair) - before == LOST, 30)
    counted = dict(drops(pair) - before)
    report(counted == LOST, 'the driver has counted what was dropped', f'{counted}, should be {LOST}')


def core():
    """What that is to the kernel."""
    sums = collections.Counter()
    for name, n in LOST.items():
        sums[traced_as()[name.replace('-', '_')]] += n
    return sums


def same(got, want, name):
    """A check whether two counts are the same."""
    report(got == want, name, f'{dict(got)}, should be {dict(want)}')


def text_of_module():
    """Where the module's functions are."""
    with open('/proc/modules', encoding='ascii') as file:
        words = next(line.split() for line in file if line.startswith('wireguard_rs '))
    start = int(words[5], 16)
    return range(start, start + int(words[1]))


def perf_trace(lab):
    """perf trace -e 'wireguard_rs:*' and -e skb:kfree_skb"""
    pair = lab.pair(home='h')
    common, module = peer_of(pair), text_of_module()
    with Tool('perf', 'trace', '-a', '-e', 'wireguard_rs:*,skb:kfree_skb', '--', COMMAND) as tool:
        provoke(pair)
        text = tool.over()
    found = [(m[1], dict(re.findall(r'(\w+): "?([^,"]*)"?', m[2]))) for m in re.finditer(r' (\w+:\w+)\((.*)\)$', text, re.M)]
    ours, kernels = collections.Counter(), collections.Counter()
    for event, fields in found:
        if event == 'wireguard_rs:packet_dropped':
            # What is 0 it leaves out.
            whose = common['peer'] if fields.get('reason') in OF_PEER else '0'
            right = (fields['ifname'], fields['ifindex'], fields.get('peer', '0')) == ('wg0', common['ifindex'], whose)
            ours[fields['reason'] if right else f'elsewhere: {fields}'] += int(fields['packets'])
        elif event == 'skb:kfree_skb' and int(fields['location'], 16) in module:
            kernels[fields['reason'].removeprefix('SKB_DROP_REASON_')] += 1
    same(ours, LOST, 'perf trace shows each drop, with its interface, peer and reason')
    same(kernels, core(), "perf trace shows the kernel's reason of each")
    for name, event, wanted in (
            ('the handshake', 'handshake_received', {'kind': 'initiation', 'outcome': 'accepted'}),
            ('the answer', 'handshake_sent', {'kind': 'response', 'outcome': 'sent'}),
            ('the session', 'session_begun', {'side': 'responder'})):
        seen = [fields for e, fields in found if e == f'wireguard_rs:{event}']
        report(any((wanted | common).items() <= fields.items() for fields in seen), f'perf trace shows {name}', seen)


def perf_stat(lab):
    """perf stat -e wireguard_rs:*"""
    pair = lab.pair(home='h')
    with Tool('perf', 'stat', '-a', '-x,', '-e', 'wireguard_rs:*', '--', COMMAND) as tool:
        provoke(pair)
        text = tool.over()
    counts = {m[2]: int(m[1]) for m in re.finditer(r'^(\d+),,wireguard_rs:(\w+),', text, re.M)}
    events = {name: counts.get(name) for name in ('packet_dropped', 'session_begun', 'queue_full')}
    same(events, {'packet_dropped': sum(LOST.values()), 'session_begun': 1, 'queue_full': 0}, 'perf stat counts as many')


def bpftrace(lab):
    """bpftrace, with one line"""
    pair = lab.pair(home='h')
    peer = peer_of(pair)['peer']
    # By CPU: what two of them count first for the same key at the same time, one of them has counted for nothing.
    for _ in range(TRIES):
        with Tool('bpftrace', '-e', '''
                tracepoint:wireguard_rs:packet_dropped { @ours[cpu, args.ifname, args.peer, args.reason] = sum(args.packets); }
                tracepoint:skb:kfree_skb { @core[cpu, ksym(args.location), args.reason] = count(); }
                ''', '-c', COMMAND) as tool:
            provoke(pair)
            left_out = tool.left_out()
            text = tool.over()
        if not left_out:
            break
        print(f'# the kernel left out {left_out} runs of the programs: once more', flush=True)
    ours, kernels = collections.Counter(), collections.Counter()
    for m in re.finditer(r'^@ours\[\d+, (.*)\]: (\d+)$', text, re.M):
        ours[tuple(m[1].split(', '))] += int(m[2])
    same(ours, {('wg0', peer if name in OF_PEER else '0', name): n for name, n in LOST.items()}, 'bpftrace counts by interface, peer and reason')
    with open('/proc/kallsyms', encoding='ascii') as file:
        module = {line.split()[2] for line in file if line.endswith('[wireguard_rs]\n')}
    for m in re.finditer(r'^@core\[\d+, (\S+), (?:SKB_DROP_REASON_)?(\w+)\]: (\d+)$', text, re.M):
        if m[1] in module:
            kernels[m[2]] += int(m[3])
    same(kernels, core(), "bpftrace counts by the kernel's reason")


if __name__ == '__main__':
    sys.exit(run_parts('tracers', (perf_trace, perf_stat, bpftrace)))
