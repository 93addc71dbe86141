# SPDX-License-Identifier: GPL-2.0
"""Mutates the protocol files of src/, one place at a time, and looks whether a test fails.

scripts/mutants runs this in the sandbox. cargo-mutants makes the mutants, builds and tests them;
here is what it has not: which files with which tests, a memory of outcomes that outlives a run and
an edit, and the list of mutants that behave like the original.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib

TOP = pathlib.Path(__file__).resolve().parents[2]
OUT = TOP / "build" / "mutants"
TREE = OUT / "tree"
STATE = OUT / "outcomes.json"
BATCH = OUT / "batch.json"
EQUIVALENT = TOP / "tests" / "mutants" / "equivalent.toml"

# In this order: first what keeps a tunnel alive and its keys short-lived, then what floods meet, then
# the handshake, routing and the rest. With each, the tests in tests/host that are about it: those in
# the files of src/ run for all.
FILES = {
    "src/timers.rs": ["timers_model"],
    "src/keypairs.rs": [],
    "src/replay.rs": ["replay_model"],
    "src/conduct.rs": ["conduct"],
    "src/failure.rs": [],
    "src/reasons.rs": [],
    "src/life.rs": [],
    "src/cookie.rs": [],
    "src/callers.rs": [],
    "src/ratelimiter.rs": ["ratelimiter_model"],
    "src/load.rs": [],
    "src/messages.rs": [],
    "src/noise.rs": ["noise_snow", "noise_hostile"],
    "src/allowedips.rs": ["allowedips_model"],
    "src/allowedips/trie.rs": ["allowedips_model"],
    "src/allowedips/prefix.rs": ["allowedips_model"],
    "src/allowedips/arena.rs": ["allowedips_model"],
    "src/peerlist.rs": [],
    "src/workers.rs": [],
    "src/finished.rs": [],
}
# What the host build is made of.
SOURCES = ["Cargo.toml", "Cargo.lock", "src", "tests/host", "tests/host-wgk", "rust/crypto/aead.rs", "rust/drop_reason.rs", "Documentation/statistics.md",
           "Documentation/netlink/specs/wireguard_rs.yaml"]
# What looks for broken invariants and is called by tests only.
SKIPPED = re.compile(r" in [\w:<>, ]*::audit\b|replace [\w:<>, ]*::audit\b")
# Where the tests begin in a file; they are no mutants' place.
TESTS = re.compile(r"^#\[cfg\((test\)|any\(test,)", re.MULTILINE)

KILLED = ("caught", "timeout")
OUTCOMES = KILLED + ("missed", "unviable")

# `name` says where, so it is different after each edit; `id` is not.
Mutant = collections.namedtuple("Mutant", "id file name")


def code(file):
    """A file up to its tests."""
    return TESTS.split((TOP / file).read_text(), maxsplit=1)[0]


def digest(*texts):
    h = hashlib.sha256()
    for text in texts:
        h.update(text.encode() + b"\0")
    return h.hexdigest()[:16]


def everything():
    """A digest of all that may decide whether a test fails."""
    files = []
    for part in SOURCES:
        files += sorted((TOP / part).rglob("*.rs")) if (TOP / part).is_dir() else [TOP / part]
    return digest(*(f.read_text() for f in files))


def cargo_mutants(*args, **kwargs):
    command = [os.environ["CARGO_TOOL"], "mutants", "--no-config", "--dir", str(TREE)]
    return subprocess.Popen(command + list(args), stdin=subprocess.DEVNULL, **kwargs)


def copy_tree():
    """The tree that is mutated: a copy at a place of its own, so that builds are incremental.

    By content, not time: what a killed run left mutated gets a new time with its old content, and
    cargo builds it anew.
    """
    TREE.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["rsync", "--recursive", "--links", "--perms", "--checksum", "--delete", "--relative"]
        + [*SOURCES, str(TREE)],
        cwd=TOP,
        check=True,
    )


def mutants():
    """All mutants, by file in the order of FILES. A name counts those before it that are equal."""
    args = [f"--file={f}" for f in FILES]
    listing = cargo_mutants("--list", "--colors=never", *args, stdout=subprocess.PIPE, text=True)
    found, _ = listing.communicate(timeout=120)
    if listing.returncode != 0:
        sys.exit("mutants: error: cargo-mutants lists no mutants")
    by_file = collections.defaultdict(list)
    first_test_line = {f: code(f).count("\n") + 1 for f in FILES}
    seen = collections.Counter()
    for name in found.splitlines():
        parts = re.fullmatch(r"([\w/]+\.rs):(\d+):\d+: (.*)", name)
        if not parts or parts[1] not in FILES:
            sys.exit(f"mutants: error: this cargo-mutants names mutants in another way: {name}")
        file, line, what = parts[1], int(parts[2]), parts[3]
        if line >= first_test_line[file] or SKIPPED.search(what):
            continue
        seen[file, what] += 1
        by_file[file].append(Mutant(f"{file}: {what} #{seen[file, what]}", file, name))
    for file in FILES:
        if not by_file[file]:
            sys.exit(f"mutants: error: there is nothing to mutate in {file}")
    return [m for file in FILES for m in by_file[file]]


def equivalents(all_mutants):
    """The list of equivalent mutants by id, and what is wrong with it."""
    listed, wrong = {}, []
    ids = {m.id for m in all_mutants}
    for entry in tomllib.loads(EQUIVALENT.read_text())["equivalent"]:
        name = f"{entry['file']}: {entry['mutation']} #{entry.get('nth', 1)}"
        if name in listed:
            wrong.append(f"listed twice: {name}")
        if name not in ids:
            wrong.append(f"listed, but there is no such mutant: {name}")
        if not entry["why"].strip():
            wrong.append(f"listed without a reason: {name}")
        listed[name] = entry["why"]
    return listed, wrong


def load(path, default):
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return default


def store(path, what):
    # Not half a file if we are killed.
    new = path.with_suffix(".new")
    new.write_text(json.dumps(what, indent=1, sort_keys=True))
    new.replace(path)


def harvest(state):
    """Takes over what the last batch found, also if that was killed."""
    batch = load(BATCH, None)
    if batch is None:
        return
    for outcome in OUTCOMES:
        names = OUT / "mutants.out" / f"{outcome}.txt"
        for name in names.read_text().splitlines() if names.exists() else ():
            if name in batch["ids"]:
                entry = {"outcome": outcome, "code": batch["code"], "all": batch["all"]}
                state[batch["ids"][name]] = entry
    store(STATE, state)
    BATCH.unlink()


def outcome(state, mutant, now):
    """What is known of a mutant, if that still holds.

    A test that killed it is there for good reasons and will do so again: until the file changes.
    Whoever survived, or took too long, gets another chance with any other source or test.
    """
    known = state.get(mutant.id)
    if not known or known["code"] != now["code"][mutant.file]:
        return None
    if known["outcome"] in ("missed", "timeout") and known["all"] != now["all"]:
        return None
    return known["outcome"]


def limits():
    # A mutant may allocate without end.
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    os.nice(10)


def run_batch(batch, now, seconds):
    """Tests mutants of one file for so long at most."""
    file = batch[0].file
    shutil.rmtree(OUT / "mutants.out", ignore_errors=True)
    store(BATCH, {"ids": {m.name: m.id for m in batch}, "code": now["code"][file], "all": now["all"]})
    args = ["--in-place", f"--output={OUT}", f"--file={file}", "--no-shuffle"]
    args += ["--minimum-test-timeout=60", "--build-timeout=300", "--colors=never", "--no-times"]
    args += [f"--re=^{re.escape(m.name)}$" for m in batch]
    cargo = ["--offline", "--locked", "--lib"] + [f"--test={t}" for t in FILES[file]]
    args += [f"--cargo-arg={a}" for a in cargo]
    # These run for seconds and look for races, which no mutant is about.
    args += ["--", "--", "--skip", "readers_beside"]
    env = os.environ | {
        "CARGO_TARGET_DIR": str(OUT / "target"),
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "PROPTEST_MAX_SHRINK_ITERS": "0",
        "RUSTFLAGS": "-Clinker=clang -Clink-arg=-fuse-ld=lld",
    }
    with open(OUT / "log", "a") as log:
        process = cargo_mutants(*args, env=env, stdout=log, stderr=log, preexec_fn=limits)
        try:
            status = process.wait(timeout=seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as why:
            # It ends its children, and puts the file in order.
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
            if isinstance(why, KeyboardInterrupt):
                raise
            return
    # 2: some were missed, 3: some timed out.
    if status not in (0, 2, 3):
        sys.exit(f"mutants: error: cargo-mutants failed with status {status}; see {OUT}/log")


def report(all_mutants, outcomes, listed, wrong):
    print(f"{'file':24}{'mutants':>8}{'tested':>8}{'caught':>8}{'timeout':>8}{'missed':>8}{'unviable':>9}{'score':>8}")
    rows = [(f, [m for m in all_mutants if m.file == f]) for f in FILES]
    for name, row in rows + [("all", all_mutants)]:
        n = collections.Counter(outcomes[m.id] for m in row)
        killed = sum(n[k] for k in KILLED)
        viable = killed + n["missed"]
        score = f"{100 * killed / viable:.1f} %" if viable else "-"
        print(
            f"{name:24}{len(row):8}{len(row) - n[None]:8}{n['caught']:8}{n['timeout']:8}"
            f"{n['missed']:8}{n['unviable']:9}{score:>8}"
        )
    missed = [m for m in all_mutants if outcomes[m.id] == "missed"]
    wrong = wrong + [f"listed as equivalent, but {outcomes[i]}: {i}" for i in listed if outcomes.get(i) in KILLED]
    wrong += [f"listed as equivalent, but it does not build: {i}" for i in listed if outcomes.get(i) == "unviable"]
    wrong += [f"missed: {m.name}" for m in missed if m.id not in listed]
    for line in wrong:
        print(f"not ok - {line}")
    known = sum(m.id in listed for m in missed)
    left = sum(outcomes[m.id] is None for m in all_mutants)
    print(f"{len(missed)} missed, {known} of them listed as equivalent; {left} mutants not tested yet")
    if left:
        print("run it again to go on")
    return not wrong


def main():
    parser = argparse.ArgumentParser(prog="scripts/mutants")
    parser.add_argument("--limit", type=int, default=3000)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    for file in options.files:
        if file not in FILES:
            sys.exit(f"mutants: error: {file} is not among {', '.join(FILES)}")
    deadline = time.monotonic() + options.limit

    OUT.mkdir(parents=True, exist_ok=True)
    state = load(STATE, {})
    harvest(state)
    if options.fresh:
        state.clear()
    copy_tree()
    now = {"code": {f: digest(code(f)) for f in FILES}, "all": everything()}
    all_mutants = mutants()
    if options.list:
        for m in all_mutants:
            print(m.id)
        return
    listed, wrong = equivalents(all_mutants)
    for file in options.files or FILES:
        todo = [m for m in all_mutants if m.file == file and outcome(state, m, now) is None]
        seconds = deadline - time.monotonic()
        if not todo or seconds <= 0:
            continue
        print(f"mutants: {file}: {len(todo)} to test", file=sys.stderr, flush=True)
        try:
            run_batch(todo, now, seconds)
        finally:
            harvest(state)
    outcomes = {m.id: outcome(state, m, now) for m in all_mutants}
    sys.exit(0 if report(all_mutants, outcomes, listed, wrong) else 1)


if __name__ == "__main__":
    main()
