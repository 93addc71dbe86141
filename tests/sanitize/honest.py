# SPDX-License-Identifier: GPL-2.0
"""What the tests with hostile input have in common: results, and a tunnel that must not suffer."""

import argparse
import base64
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import churn  # noqa: E402
from churn import RESULTS, REKEY, result, sh  # noqa: E402,F401  pylint: disable=unused-import

HELPER = "/hostile"
# A handshake may be made twice in a row: the answer was on its way when the question was repeated.
TWICE = 12


def keys():
    """A private and a public key, in base64."""
    private = sh("wg", "genkey").strip()
    return private, sh("wg", "pubkey", input=private).strip()


def options(**more):
    """What every test with hostile input is told, and numbers of its own by name; prints the seed."""
    parser = argparse.ArgumentParser()
    for name, default in {"seed": 1, "count": 10**9, "seconds": 60, "least": 10000, **more}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    print(f"# seed {args.seed}", flush=True)
    return args


def hexed(text):
    """A key in base64, in hexadecimal."""
    return base64.b64decode(text).hex()


def early(times):
    """Handshakes that age does not explain: sooner after one another than sessions are renewed."""
    found, start = [], None
    for when in sorted(times):
        if start is not None and when - start < REKEY - 5:
            if when - start > TWICE:
                found.append(f"a new session after {when - start} s")
        else:
            start = when
    return found


class Watched(churn.Honest):
    """The honest tunnel, whose session must only be renewed for its age."""

    def look(self):
        out = sh("ip", "netns", "exec", "left", "wg", "show", "honest", "latest-handshakes")
        self.handshakes |= {int(line.split()[1]) for line in out.splitlines() if line.split()[0] == self.keys[1][1]}

    def verdict(self, start):
        wrong, summary = super().verdict(start)
        # In place of the number of handshakes: the times between them.
        wrong = [w for w in wrong if "handshakes" not in w] + early(self.handshakes - {0})
        return wrong, summary


def stats(ns, dev="honest"):
    """The interface's counters."""
    out = json.loads(sh("ip", "-n", ns, "-s", "-s", "-j", "link", "show", dev))[0]["stats64"]
    return {f"{way}_{k}": v for way in ("rx", "tx") for k, v in out[way].items()}


def udp_counters(ns):
    """What the namespace's UDP has counted, both versions together."""
    total = {}
    text = sh("ip", "netns", "exec", ns, "cat", "/proc/net/snmp", "/proc/net/snmp6")
    names = None
    for line in text.splitlines():
        words = line.split()
        if words[0] == "Udp:":
            if names is None:
                names = words[1:]
            else:
                for name, value in zip(names, words[1:]):
                    total[name] = total.get(name, 0) + int(value)
        elif words[0].startswith("Udp6"):
            total[words[0][4:]] = total.get(words[0][4:], 0) + int(words[1])
    return total


def available():
    """Memory that could be used, in KiB, once caches are empty."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")
    with open("/proc/meminfo", encoding="ascii") as file:
        values = {line.split(":")[0]: int(line.split()[1]) for line in file}
    return values["MemAvailable"]


def memory_returns(before, slack):
    """A check that all but `slack` KiB of what was available `before` is so again."""
    deadline = time.time() + 40
    while True:
        missing = before - available()
        if missing <= slack or time.time() > deadline:
            break
        time.sleep(2)
    result(missing <= slack, f"memory returns to what it was, within {slack} KiB ({missing} KiB less)", f"{missing} KiB are missing")


def slack():
    """How much may be missing: KASAN keeps what was freed for a while."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    with open("/proc/kallsyms", encoding="ascii") as file:
        kasan = any(line.rstrip().endswith(" kasan_save_stack") for line in file)
    return 48 * 1024 + (total // 24 if kasan else 0)


def helper(ns, *words, before=(), **more):
    """Starts the hostile program in a namespace."""
    return subprocess.Popen(  # pylint: disable=consider-using-with
        ["ip", "netns", "exec", ns, *before, HELPER, *(str(w) for w in words)], stdout=subprocess.PIPE, text=True, **more
    )


def outcome(process, timeout):
    """The line that it prints in the end, or None."""
    try:
        out, _ = process.communicate(timeout=timeout)
        return json.loads(out.splitlines()[-1]) if process.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        process.kill()
        return None
