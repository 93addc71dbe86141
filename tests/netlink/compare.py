# SPDX-License-Identifier: GPL-2.0
"""Compares two transcripts of one script, and counts what one of them shows."""

import collections
import difflib
import random
import struct

import canon
import script as S
from wire import *  # noqa: F403

NLA_EXTACK_MSG = 1


class Difference:
    """One operation that two drivers answered differently."""

    def __init__(self, at, record, one, other, note):
        self.at, self.record, self.one, self.other, self.note = at, record, one, other, note

    def lines(self, names, limit=40):
        op, a, b, payload = self.record
        sides = []
        for text, datagrams, op2, route in self.one, self.other:
            sides.append(list(canon.answer_lines(op2, route, text, datagrams)))
        diff = list(difflib.unified_diff(*sides, *names, lineterm='', n=2))
        if not diff and self.one[1] != self.other[1]:
            # What the reader leaves out: show the bytes.
            diff = [f'-{d.hex()}' for d in self.one[1]] + [f'+{d.hex()}' for d in self.other[1]]
        seqs = self.sequence_numbers()
        yield f'operation {self.at}' + (f', {self.note}' if self.note else '')
        request = list(canon.request_lines(op, a, b, payload, seqs))
        for part, size in (request, limit), (diff, 2 * limit):
            for line in part[:size]:
                yield '  ' + (line if len(line) < 600 else line[:600] + '…')
            if len(part) > size:
                yield f'  … {len(part) - size} more lines'

    def sequence_numbers(self):
        """Which messages of the batch were answered differently."""
        found = [collections.Counter(), collections.Counter()]
        for counter, (_, datagrams, op, _) in zip(found, (self.one, self.other)):
            if op != S.EXEC:
                for d in datagrams:
                    for type_, flags, seq, _, body in messages(d):
                        counter[seq, type_, flags, body] += 1
        return {key[0] for key in (found[0] - found[1]) + (found[1] - found[0])}


def differences(script, one, other, families):
    """Each Difference between two transcripts (bytes) of `script` (bytes)."""
    maskers = [canon.Masker(f) for f in families]
    note = ''
    streams = [S.answers(one), S.answers(other)]
    for at, record in enumerate(S.records(script)):
        op, a, _, payload = record
        if op == S.NOTE:
            note = payload.decode()
        got = [next(s, None) for s in streams]
        if None in got:
            yield Difference(at, record, *(('the transcript ends here' if g is None else '', [], op, False)
                                           for g in got), note)
            return
        sides = [m.answer(op, a, payload, g) for m, g in zip(maskers, got)]
        if sides[0][:2] != sides[1][:2]:
            yield Difference(at, record, *sides, note)


class Census:
    """What a transcript shows, so that a conversation that shows little is noticed."""

    def __init__(self):
        self.errors = collections.Counter()
        self.extacks = collections.Counter()
        self.counts = collections.Counter()

    def take(self, transcript, family):
        for answer in S.answers(transcript):
            if answer.text:
                self.counts['text ' + answer.text] += 1
            for d in answer.datagrams:
                for type_, flags, _, _, body in messages(d):
                    if type_ == NLMSG_ERROR and len(body) >= 20:
                        self.error(flags, body)
                    elif type_ == family:
                        self.part(flags, body)

    def error(self, flags, body):
        self.errors[errname(struct.unpack_from('<i', body)[0])] += 1
        if flags & NLM_F_ACK_TLVS:
            at = 20 if flags & NLM_F_CAPPED else 4 + struct.unpack_from('<I', body, 4)[0] + 3 & ~3
            for kind, data in attrs(body[at:]):
                if kind == NLA_EXTACK_MSG:
                    self.extacks[data.rstrip(b'\0').decode(errors='replace')] += 1

    def part(self, flags, body):
        self.counts['dump parts'] += 1
        if flags & NLM_F_DUMP_INTR:
            self.counts['interrupted parts'] += 1
        for kind, data in attrs(body[4:]):
            if kind != 'garbage' and kind & 0x3FFF == D_PEERS:
                for _, p in attrs(data):
                    self.counts['peers dumped'] += 1
                    for kind2, ips in attrs(p):
                        if kind2 != 'garbage' and kind2 & 0x3FFF == P_ALLOWEDIPS:
                            self.counts['allowed IPs dumped'] += sum(1 for _ in attrs(ips))


def perturbed(transcript, rng):
    """Transcripts with one thing changed each, all of which the comparer must notice."""
    answers = list(S.answers(transcript))
    usable = [i for i, a in enumerate(answers) if a.datagrams and
              all(len(d) >= 36 and struct.unpack_from('<H', d, 4)[0] == NLMSG_ERROR for d in a.datagrams)]
    dumped = [i for i, a in enumerate(answers) if a.datagrams and len(a.datagrams[-1]) > 400 and
              struct.unpack_from('<H', a.datagrams[-1], 4)[0] > GENL_ID_CTRL]

    def changed(i, datagrams, text=''):
        return b''.join((S.Answer(text, datagrams) if n == i else a).encode() for n, a in enumerate(answers))
    if usable:
        i = rng.choice(usable)
        d = bytearray(answers[i].datagrams[-1])
        d[16] ^= 1
        yield 'another errno', changed(i, [*answers[i].datagrams[:-1], bytes(d)])
        yield 'a missing answer', changed(i, answers[i].datagrams[:-1])
        yield 'an answer too many', changed(i, [*answers[i].datagrams, answers[i].datagrams[-1]])
    if dumped:
        i = rng.choice(dumped)
        d = bytearray(answers[i].datagrams[-1])
        d[rng.randrange(len(d) - 200, len(d) - 24)] ^= 1 << rng.randrange(8)
        yield 'one bit of a dump', changed(i, [*answers[i].datagrams[:-1], bytes(d)])
        d = bytearray(answers[i].datagrams[-1])
        d[6] ^= NLM_F_DUMP_INTR
        yield 'the mark of an interrupted dump', changed(i, [*answers[i].datagrams[:-1], bytes(d)])
    yield 'an end too early', b''.join(a.encode() for a in answers[:-1])


def self_check(script, transcript, family, seed=0):
    """Names of the perturbations that went unnoticed; and how many there were."""
    missed, tried = [], 0
    if next(differences(script, transcript, transcript, (family, family)), None):
        missed.append('a transcript differs from itself')
    rng = random.Random(seed)
    for name, other in perturbed(transcript, rng):
        tried += 1
        if not next(differences(script, transcript, other, (family, family)), None):
            missed.append(name)
    return missed, tried
