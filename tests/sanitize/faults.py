#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Every allocation fails once.

usage (in the guest): tests/sanitize/faults.py [--full]

In process context by fail-nth: for n = 1, 2, ... the n-th allocation of an
operation fails (newlink, set, dump, open, moving to another namespace, load of
the module, all that the second family does, with somebody who listens), until the operation needs fewer than n. Each time it must succeed
or give one of the errors listed, and without the fault succeed right after.

In softirq and in workers, which fail-nth does not reach, by failslab: of the
allocations with our module on the stack one in ten fails while two peers make
handshakes and traffic; afterwards the tunnel must work. Before that, all of
them fail for two seconds: what a peer wanted meanwhile happens afterwards.
faults_second.py has what is of the family `wireguard_rs`.
"""

import argparse
import concurrent.futures
import ctypes
import errno
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults_second  # noqa: E402
import nl  # noqa: E402

DEBUG = "/sys/kernel/debug"
# ENFILE: the file of the socket that asks could not be made.
NOMEM = {0, errno.ENOMEM, errno.ENOBUFS, errno.ENFILE}
LIBC = ctypes.CDLL(None, use_errno=True)
RESULTS = {True: 0, False: 0}


def result(good, text, why=""):
    """Prints one check."""
    RESULTS[good] += 1
    print(("ok - " if good else "not ok - ") + text + ("" if good else f": {why}"), flush=True)


def spell(number):
    """An errno by its name."""
    return errno.errorcode.get(number, str(number)) if number else "success"


def write(path, text):
    """echo TEXT >PATH"""
    with open(path, "w", encoding="ascii") as file:
        file.write(str(text))


def sh(*command, **more):
    """Runs a command, which must succeed; returns its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, **more).stdout


class FailNth:
    """The n-th allocation of this thread, from now on, fails."""

    def __init__(self):
        self.fd = os.open("/proc/thread-self/fail-nth", os.O_RDWR)

    def during(self, number, operation):
        """Runs `operation`; returns (its errno, whether an allocation failed)."""
        os.pwrite(self.fd, str(number).encode(), 0)
        try:
            error = operation()
        except TimeoutError:
            error = errno.ETIMEDOUT
        except OSError as exception:
            error = exception.errno
        left = os.pread(self.fd, 32, 0)
        os.pwrite(self.fd, b"0", 0)
        return error, int(left) == 0


def every(nth, what, operation, undo, allowed, limit):
    """Runs `operation` with each of its allocations failing once."""
    bad, number = [], 0
    errors = {}
    for number in range(1, limit + 1):
        error, failed = nth.during(number, operation)
        errors[error] = errors.get(error, 0) + 1
        if error not in allowed:
            bad.append(f"allocation {number}: {spell(error)}")
        if error:
            try:
                again = operation()
            except OSError as exception:
                again = exception.errno
            if again:
                bad.append(f"once more after allocation {number} failed: {spell(again)}")
        undo()
        if not failed:
            break
    else:
        number += 1
        print(f"# {what}: {limit} allocations tried, there are more")
    if number == 1:
        bad.append("no allocation failed: this checks nothing")
    summary = ", ".join(f"{count} x {spell(error)}" for error, count in errors.items())
    result(not bad, f"{what}: each of {number - 1} allocations failed once ({summary})", "; ".join(bad[:8]))


class Calls:
    """A netlink socket that is opened anew after each call: its state may be part of the damage."""

    def __init__(self):
        self.family = None

    def __call__(self, function):
        with nl.Netlink() as net:
            for sock in net.sockets.values():
                sock.settimeout(15)
            net.family = self.family
            return function(net)


def peers(number):
    """A few peers with everything set."""
    result_ = []
    for i in range(number):
        result_.append(
            nl.nest(
                0,
                nl.attr(nl.P_PUBLIC_KEY, bytes([i + 1]) * 32),
                nl.attr(nl.P_PSK, bytes([i + 100]) * 32),
                nl.endpoint("127.0.0.1", 7000 + i),
                nl.u16(nl.P_KEEPALIVE, 25),
                nl.nest(
                    nl.P_ALLOWEDIPS,
                    nl.prefix(bytes([10, 50, i, 0]), 24),
                    nl.prefix(bytes([10, 50, i, 128]), 25),
                    nl.prefix(b"\xfd\x50" + bytes(13) + bytes([i]), 128),
                ),
            )
        )
    return nl.nest(nl.PEERS, *result_)


def operations(nth, limit):
    """What netlink can ask for."""
    calls = Calls()
    with nl.Netlink() as net:
        net.resolve()
        calls.family = net.family
    key = nl.attr(nl.PRIVATE_KEY, b"\x42" * 32)

    def add():
        return calls(lambda net: net.add_link("wgf"))

    def delete():
        return calls(lambda net: net.del_link("wgf"))

    def configure():
        return calls(lambda net: net.set("wgf", key, nl.u16(nl.LISTEN_PORT, 7654), peers(3)))

    def clear():
        return calls(lambda net: net.set("wgf", nl.u32(nl.FLAGS, nl.REPLACE_PEERS), nl.attr(nl.PRIVATE_KEY, bytes(32))))

    def up():
        return calls(lambda net: net.set_link("wgf", True))

    def down():
        return calls(lambda net: net.set_link("wgf", False))

    def nothing():
        return 0

    # An interface whose creation was answered with an error may be there all the same if it was
    # the answer that could not be made.
    def add_or_there():
        error = add()
        return 0 if error == errno.EEXIST else error

    # EINVAL: netdev_register_kobject() does not look whether the name could be set, and device_add()
    # refuses a device without one.
    every(nth, "ip link add", add_or_there, delete, NOMEM | {errno.EINVAL}, limit)
    add()
    every(nth, "set key, port and peers", configure, clear, NOMEM, limit)
    configure()
    every(nth, "dump", lambda: calls(lambda net: net.get("wgf")[0]), nothing, NOMEM | {errno.EMSGSIZE}, limit)
    every(nth, "ip link set up", up, down, NOMEM, limit)
    up()
    every(
        nth,
        "another port while up",
        lambda: calls(lambda net: net.set("wgf", nl.u16(nl.LISTEN_PORT, 7655))),
        lambda: calls(lambda net: net.set("wgf", nl.u16(nl.LISTEN_PORT, 7656))),
        NOMEM,
        limit,
    )
    every(
        nth,
        "replace peers while up",
        lambda: calls(lambda net: net.set("wgf", nl.u32(nl.FLAGS, nl.REPLACE_PEERS), peers(2))),
        nothing,
        NOMEM,
        limit,
    )

    def packet():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, 25, b"wgf")
            sock.sendto(bytes(3000), ("10.50.1.7", 9))
        return 0

    calls(lambda net: net.add_addr("wgf", bytes([10, 50, 99, 1]), 16))
    every(nth, "send a packet", packet, nothing, NOMEM, limit)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = nl.new_netns()

    def move():
        return calls(lambda net: net.move("wgf", other))

    def back():
        nl.setns(other)
        with nl.Netlink() as net:
            net.move("wgf", home)
        nl.setns(home)
        up()
        return 0

    def move_or_there():
        error = move()
        return 0 if error == errno.ENODEV else error

    every(nth, "move to another namespace", move_or_there, back, NOMEM, min(limit, 60))
    os.close(other)
    os.close(home)
    result(delete() == 0, "ip link del afterwards")


def kernel_function(name):
    """Where a function of the kernel is: its first address, and that of what comes behind it."""
    with open("/proc/kallsyms", encoding="ascii") as symbols:
        table = [line.split() for line in symbols]
    start = next((int(words[0], 16) for words in table if words[2] == name and len(words) == 3), 0)
    if not start:
        raise LookupError(f"{name} is not in /proc/kallsyms: its callers would be failed as well, and warn")
    return start, min(at for words in table if (at := int(words[0], 16)) > start)


def spare(start, end):
    """No allocation fails that is made, at whatever depth, by code between these addresses."""
    for which in ("failslab", "fail_page_alloc"):
        write(f"{DEBUG}/{which}/stacktrace-depth", 32)
        write(f"{DEBUG}/{which}/reject-start", hex(start))
        write(f"{DEBUG}/{which}/reject-end", hex(end))


def loading(nth, limit):
    """Loading the module itself."""
    # The kernel warns, of itself, if it finds no memory for a field of a module's tracepoint.
    spare(*kernel_function("event_define_fields"))
    fd = os.open("/vm/wireguard_rs.ko", os.O_RDONLY)

    def load():
        if LIBC.syscall(313, fd, b"", 0):  # finit_module
            error = ctypes.get_errno()
            return 0 if error == errno.EEXIST else error
        return 0

    def unload():
        LIBC.syscall(176, b"wireguard_rs", os.O_NONBLOCK)  # delete_module

    unload()
    every(nth, "load the module", load, unload, NOMEM, limit)
    load()
    os.close(fd)
    spare(0, 0)


def text_of(module):
    """Where the module's code is: its first and its last address."""
    with open("/proc/modules", encoding="ascii") as modules:
        for line in modules:
            words = line.split()
            if words[0] == module:
                start = int(words[5], 16)
                return start, start + int(words[1])
    return None


def first_tries_fail(ping):
    """What finds no memory once is tried again, though nobody asks for it once more.

    `ping` pings through the tunnel, with faults prepared. Leaves them at one in ten.
    """

    def probability(percent):
        for which in ("failslab", "fail_page_alloc"):
            write(f"{DEBUG}/{which}/probability", percent)

    def forget_session():
        for ns in ("fl", "fr"):
            sh("ip", "-n", ns, "link", "set", "wgf", "down")
            sh("ip", "-n", ns, "link", "set", "wgf", "up")

    def handshakes():
        """When the last one was, in seconds; 0: there was none."""
        return sum(int(line.split()[1]) for line in wg("show", "wgf", "latest-handshakes").splitlines())

    def wg(*words):
        return sh("ip", "netns", "exec", "fl", "wg", *words)

    # One packet, whose handshake the worker can't begin.
    forget_session()
    probability(100)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # With -W and not -w: one packet, and no other that could begin the handshake.
        answer = pool.submit(ping, "-c", "1", "-W", "60")
        time.sleep(2)
        early = answer.done()
        probability(0)
        good = answer.result().returncode == 0
    result(
        good and not early,
        "a handshake that found no memory begins later",
        "no allocation failed" if early else "no answer",
    )

    # An idle peer whose first keepalive finds none.
    forget_session()
    before = handshakes()
    peer = wg("show", "wgf", "peers").strip()
    probability(100)
    wg("set", "wgf", "peer", peer, "persistent-keepalive", "60")
    time.sleep(2)
    # Asking for it now would find no memory either; but it is known to the second.
    lifted = int(time.time())
    probability(0)
    end = time.time() + 50
    while handshakes() == before and time.time() < end:
        time.sleep(0.2)
    early = before < handshakes() < lifted
    result(
        handshakes() != before and not early,
        "a keepalive that found no memory is sent later",
        "no allocation failed" if early else "no handshake",
    )
    wg("set", "wgf", "peer", peer, "persistent-keepalive", "0")
    probability(10)


def under_traffic(seconds):
    """Allocations below our code fail at random in any context."""
    place = text_of("wireguard_rs")
    if place is None or place[0] == 0:
        print("skip - failing allocations under traffic (the module's address is not known)")
        return
    for ns in ("fl", "fr"):
        sh("ip", "netns", "add", ns)
        sh("ip", "-n", ns, "link", "set", "lo", "up")
    sh("ip", "-n", "fl", "link", "add", "outer", "type", "veth", "peer", "name", "outer", "netns", "fr")
    keys = {}
    for ns in ("fl", "fr"):
        private = sh("wg", "genkey")
        keys[ns] = private, sh("wg", "pubkey", input=private).strip()
    for ns, other, number in (("fl", "fr", 1), ("fr", "fl", 2)):
        sh("ip", "-n", ns, "addr", "add", f"10.0.0.{number}/24", "dev", "outer")
        sh("ip", "-n", ns, "link", "set", "outer", "up")
        sh("ip", "-n", ns, "link", "add", "wgf", "type", "wireguard")
        sh(
            *("ip", "netns", "exec", ns, "wg", "set", "wgf", "private-key", "/dev/stdin"),
            *("listen-port", "7777", "peer", keys[other][1], "endpoint", f"10.0.0.{3 - number}:7777"),
            *("allowed-ips", "0.0.0.0/0"),
            input=keys[ns][0],
        )
        sh("ip", "-n", ns, "addr", "add", f"192.168.5.{number}/24", "dev", "wgf")
        sh("ip", "-n", ns, "link", "set", "wgf", "up")

    def ping(*more):
        return subprocess.run(
            ["ip", "netns", "exec", "fl", "ping", "-q", *more, "192.168.5.2"],
            capture_output=True,
            text=True,
            timeout=seconds * 4 + 120,
            check=False,
        )

    good = ping("-c", "1", "-W", "20").returncode == 0
    result(good, "a tunnel before the faults", "no answer")
    callers = faults_second.Callers(sh, keys["fl"][1])
    for which in ("failslab", "fail_page_alloc"):
        fault = f"{DEBUG}/{which}"
        write(f"{fault}/require-start", hex(place[0]))
        write(f"{fault}/require-end", hex(place[1]))
        write(f"{fault}/stacktrace-depth", 32)
        write(f"{fault}/interval", 1)
        write(f"{fault}/times", -1)
    first_tries_fail(ping)
    floods = []
    start = time.time()
    while time.time() < start + seconds:
        callers.call(callers.NAMES)
        flood = ping("-f", "-w", "3", "-s", "2000")
        floods.append(flood.stdout)
        callers.take()
        # Handshakes anew, too; that may fail of the faults.
        for ns in ("fl", "fr"):
            subprocess.run(["ip", "-n", ns, "link", "set", "wgf", "down"], capture_output=True, timeout=60, check=False)
            subprocess.run(["ip", "-n", ns, "link", "set", "wgf", "up"], capture_output=True, timeout=60, check=False)
    for which in ("failslab", "fail_page_alloc"):
        write(f"{DEBUG}/{which}/probability", 0)
    for ns in ("fl", "fr"):
        sh("ip", "-n", ns, "link", "set", "wgf", "up")
    for line in floods[0].splitlines():
        if "transmitted" in line:
            print(f"# while allocations fail: {line}")
    good = ping("-c", "3", "-i", "0.5", "-w", "40").returncode == 0
    result(good, "the tunnel works after the faults", "no answer")
    callers.verdict(result)
    for ns in ("fl", "fr"):
        sh("ip", "netns", "del", ns)


def main():
    """All operations."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    if not os.path.exists("/proc/self/fail-nth"):
        print("not ok - this kernel has no fault injection (CONFIG_FAULT_INJECTION)")
        return 1
    for which in ("failslab", "fail_page_alloc"):
        # Also those that may sleep, and without a word each time.
        write(f"{DEBUG}/{which}/ignore-gfp-wait", "N")
        write(f"{DEBUG}/{which}/verbose", 0)
    write(f"{DEBUG}/fail_page_alloc/min-order", 0)
    nth = FailNth()
    limit = 2000 if args.full else 400
    operations(nth, limit)
    faults_second.operations(
        lambda what, operation, undo, more: every(nth, what, operation, undo, NOMEM | set(more), limit), result, Calls(), peers(3), args.full
    )
    loading(nth, 2000 if args.full else 150)
    under_traffic(60 if args.full else 15)
    return 1 if RESULTS[False] or not RESULTS[True] else 0


if __name__ == "__main__":
    sys.exit(main())
