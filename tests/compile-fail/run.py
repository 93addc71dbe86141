#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compiles each case twice: with `--cfg misuse`, which must fail as its `//~` lines say, and without.

usage (in the sandbox, by scripts/compile-fail): run.py BUILD-DIRECTORY [CASE]...

A `//~ E0000` line is an error's code: those, and no others, must come. Any other `//~` line is a text that
must be in what the compiler says. Where lines end with `//^ E0000`, each of them must have an error of that code,
and no other line may have one: so one case can make many attempts, none of which may pass.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def flags(build):
    """How kbuild compiles the driver, but for what comes in and goes out."""
    with open(os.path.join(build, 'src/.main.o.cmd'), encoding='utf-8') as f:
        command = f.readline().split(':=', 1)[1]
    words = iter(shlex.split(command))
    env, args = dict(os.environ, RUSTC_BOOTSTRAP='1'), []
    for word in words:
        if not args and re.match(r'[A-Z_]+=', word):
            name, _, value = word.partition('=')
            env[name] = value
        elif word in ('--out-dir', '--crate-type'):
            next(words)
        elif not (word.startswith(('--emit=', '-Wclippy::', '-Aclippy::')) or word.endswith('.rs')):
            args.append(word)
    return env, args


def main():
    build, only = sys.argv[1], sys.argv[2:]
    env, args = flags(build)
    failed = count = 0
    for file in sorted(os.listdir(HERE)):
        name = file.removesuffix('.rs')
        if name == file or only and name not in only:
            continue
        count += 1
        path = os.path.join(HERE, file)
        with open(path, encoding='utf-8') as f:
            lines = f.read().splitlines()
        wanted = [line[4:].strip() for line in lines if line.startswith('//~ ')]
        places = {(m[1], str(i)) for i, line in enumerate(lines, 1) if (m := re.search(r'//\^ (E\d{4})$', line))}
        codes = {w for w in wanted if re.fullmatch(r'E\d{4}', w)}
        texts = [w for w in wanted if w not in codes]
        said = {}
        with tempfile.TemporaryDirectory() as out:
            for misuse in False, True:
                more = ['--cfg', 'misuse'] if misuse else []
                done = subprocess.run([*args, *more, '--cap-lints', 'allow', '--crate-type', 'rlib', '--crate-name', name,
                                       f'--emit=metadata={out}/{name}.rmeta', path],
                                      cwd=build, env=env, capture_output=True, text=True, timeout=300, check=False)
                said[misuse] = done.returncode, done.stderr
        why = None
        if not wanted:
            why = 'the case does not say how it fails'
        elif said[False][0]:
            why = 'the legal use does not compile:\n' + said[False][1]
        elif not said[True][0]:
            why = 'the misuse compiles'
        elif set(re.findall(r'^error\[(E\d{4})\]', said[True][1], re.M)) != codes or not all(t in said[True][1] for t in texts):
            why = f'the misuse fails otherwise than by {", ".join(wanted)}:\n' + said[True][1]
        elif places:
            got = set(re.findall(r'^error\[(E\d{4})\].*\n *--> .*/' + re.escape(file) + r':(\d+):', said[True][1], re.M))
            if got != places:
                odd = sorted(f'line {n}: {c} {"expected" if (c, n) in places else "not expected"}' for c, n in got ^ places)
                why = '; '.join(odd)
        failed += why is not None
        print(f'ok - {name}' if why is None else f'not ok - {name}: {why}', flush=True)
    if not count:
        print('not ok - there is no such case')
    return failed != 0 or not count


if __name__ == '__main__':
    sys.exit(main())
