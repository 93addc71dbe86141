#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random operations on many interfaces at once, with an honest tunnel alongside.

usage (in the guest): tests/sanitize/churn.py --seed N --ops N --seconds N
                      [--workers N] [--reloads N] [--driver ours|c]

Each worker draws its operations from a random generator seeded with --seed
and its number: interfaces are created, configured, moved between namespaces,
renamed, taken up and down, fed with packets, dumped and destroyed, with our
driver also by its second family, to whose events some listen; all of them are
shared by all workers, so that they also meet on one interface; and namespaces
end with interfaces in them. It is over after --ops operations or --seconds,
whichever comes first. An operation may fail with the errors listed for it (the
interface may be gone, the port taken) and with no other.

Meanwhile the honest tunnel between the namespaces left and right must answer,
without a longer gap and without more handshakes than its age explains.

Then, --reloads times: the module is unloaded while the workers go on, loaded
again, and the honest tunnel must work anew.
"""

import argparse
import errno
import multiprocessing
import os
import random
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import churn_second  # noqa: E402
import nl  # noqa: E402

POOL = 8  # interface names that the workers fight for
SHARED = 2  # namespaces that they share
GAP = 20  # seconds without an answer that the honest tunnel is forgiven on a slow machine
REKEY = 120

# Always possible, as another worker may have been there first.
GONE = {0, errno.ENODEV}
# What has sockets may be bound to an address that is not there, by churn_second.py.
NO_SOCKETS = {errno.EADDRINUSE, errno.EADDRNOTAVAIL}
# While the module is being unloaded.
UNLOADED = {errno.EPROTONOSUPPORT, errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL}


class Worker:
    """One process of random operations."""

    def __init__(self, number, args, shared, keys, stop, reloading):
        self.rng = random.Random(args.seed * 1000 + number)
        self.spaces = shared
        self.keys = keys
        self.stop = stop
        self.reloading = reloading
        self.open = {}
        self.counts = {}
        self.bad = []
        self.udp = []
        self.space = None
        self.operations = self.OPERATIONS
        self.second = churn_second.Second()
        if args.driver == "ours":
            self.operations += churn_second.OPERATIONS

    def sockets(self, fd):
        """The netlink sockets for a namespace, which becomes this process's."""
        nl.setns(fd)
        self.space = fd
        if fd not in self.open:
            self.open[fd] = nl.Netlink()
        return self.open[fd]

    def name(self):
        """Some interface; most of the time one of few, so that workers meet."""
        return f"w{self.rng.randrange(POOL)}"

    def peer(self, *attrs, key=None):
        """One peer, by default a random one."""
        return nl.nest(0, nl.attr(nl.P_PUBLIC_KEY, key or self.rng.randbytes(32)), *attrs)

    def endpoint(self):
        """Somewhere on this machine: another interface's port, or nobody's."""
        if self.rng.random() < 0.3:
            return nl.endpoint("::1", 20000 + self.rng.randrange(POOL))
        return nl.endpoint("127.0.0.1", 20000 + self.rng.randrange(POOL + 5))

    def prefixes(self, number):
        """Some allowed IPs: dense, so that they collide and nest."""
        result = []
        for _ in range(number):
            flags = nl.REMOVE_ME if self.rng.random() < 0.2 else 0
            if self.rng.random() < 0.7:
                result.append(
                    nl.prefix(bytes([10, self.rng.choice((98, 99)), *self.rng.randbytes(2)]), self.rng.randint(8, 32), flags)
                )
            else:
                result.append(
                    nl.prefix(b"\xfd\x99" + bytes(12) + self.rng.randbytes(2), self.rng.randint(16, 128), flags)
                )
        return nl.nest(nl.P_ALLOWEDIPS, *result)

    # ---- operations; each returns (errno, the errnos it may give)

    def create(self, net):
        """A configured interface."""
        number = self.rng.randrange(POOL)
        name = f"w{number}"
        error = net.add_link(name)
        if error:
            return error, {errno.EEXIST}
        private, _ = self.keys[number]
        others = [
            self.peer(
                nl.endpoint("127.0.0.1", 20000 + other),
                nl.u16(nl.P_KEEPALIVE, self.rng.choice((0, 1, 25))),
                nl.nest(nl.P_ALLOWEDIPS, nl.prefix(bytes([10, 99, other, 0]), 24)),
                key=public,
            )
            for other, (_, public) in enumerate(self.keys)
            if other != number
        ]
        error = net.set(
            name,
            nl.attr(nl.PRIVATE_KEY, private),
            nl.u16(nl.LISTEN_PORT, 20000 + number),
            nl.nest(nl.PEERS, *others),
        )
        if error:
            return error, GONE | NO_SOCKETS
        net.add_addr(name, bytes([10, 99, number, 1]), 16)
        net.set_link(name, True)
        return 0, GONE

    def destroy(self, net):
        """ip link del"""
        return net.del_link(self.name()), GONE

    def rename(self, net):
        """To another name of the pool, or one outside of it and back."""
        return net.rename(self.name(), self.name()), GONE | {errno.EEXIST, errno.EBUSY}

    def move(self, net):
        """To another namespace."""
        return net.move(self.name(), self.rng.choice(self.spaces)), GONE | {errno.EEXIST, errno.EINVAL}

    def up(self, net):
        """ip link set up"""
        return net.set_link(self.name(), True), GONE | NO_SOCKETS | {errno.EINVAL, errno.ENONET}

    def down(self, net):
        """ip link set down"""
        return net.set_link(self.name(), False), GONE

    def mtu(self, net):
        """Any MTU, possible or not."""
        return net.set_mtu(self.name(), self.rng.choice((576, 1280, 1420, 9000, 65535))), GONE

    def key(self, net):
        """The interface's key: its own, another's, random, or none."""
        key = self.rng.choice((self.rng.choice(self.keys)[0], self.rng.randbytes(32), bytes(32)))
        return net.set(self.name(), nl.attr(nl.PRIVATE_KEY, key)), GONE

    def port(self, net):
        """Another port, or any."""
        port = self.rng.choice((0, 20000 + self.rng.randrange(POOL)))
        return net.set(self.name(), nl.u16(nl.LISTEN_PORT, port)), GONE | NO_SOCKETS | {errno.EPERM}

    def fwmark(self, net):
        """Another mark."""
        return net.set(self.name(), nl.u32(nl.FWMARK, self.rng.randrange(3))), GONE | {errno.EPERM}

    def add_peers(self, net):
        """Up to a hundred random peers in one message."""
        peers = [
            self.peer(self.endpoint(), self.prefixes(self.rng.randrange(4)))
            for _ in range(self.rng.randint(1, 100))
        ]
        return net.set(self.name(), nl.nest(nl.PEERS, *peers)), GONE

    def replace_peers(self, net):
        """All peers replaced by a few, known and random."""
        peers = [self.peer(self.endpoint(), self.prefixes(3)) for _ in range(self.rng.randint(0, 20))]
        peers += [
            self.peer(self.endpoint(), self.prefixes(2), key=public)
            for _, public in self.rng.sample(self.keys, 3)
        ]
        return net.set(self.name(), nl.u32(nl.FLAGS, nl.REPLACE_PEERS), nl.nest(nl.PEERS, *peers)), GONE

    def remove_peers(self, net):
        """Known peers removed, some of them added again in the same message."""
        peers = []
        for _, public in self.rng.sample(self.keys, 4):
            peers.append(self.peer(nl.u32(nl.P_FLAGS, nl.REMOVE_ME), key=public))
            if self.rng.random() < 0.5:
                peers.append(self.peer(self.endpoint(), self.prefixes(2), key=public))
        return net.set(self.name(), nl.nest(nl.PEERS, *peers)), GONE

    def change_peers(self, net):
        """Endpoint, pre-shared key, keepalive, allowed IPs of known peers."""
        peers = []
        for _, public in self.rng.sample(self.keys, 3):
            attrs = [nl.u32(nl.P_FLAGS, self.rng.choice((0, nl.REPLACE_ALLOWEDIPS, nl.UPDATE_ONLY)))]
            attrs += self.rng.sample(
                [
                    self.endpoint(),
                    nl.attr(nl.P_PSK, self.rng.choice((bytes(32), b"\x55" * 32))),
                    nl.u16(nl.P_KEEPALIVE, self.rng.choice((0, 1, 25))),
                    self.prefixes(5),
                ],
                2,
            )
            peers.append(self.peer(*attrs, key=public))
        return net.set(self.name(), nl.nest(nl.PEERS, *peers)), GONE

    def dump(self, net):
        """wg show; what comes back is bounded."""
        error, parts = net.get(self.name())
        if len(parts) > 10000:
            return errno.ELOOP, GONE
        return error, GONE

    def traffic(self, net):
        """A burst of packets into an interface, some as one buffer to be segmented."""
        del net
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, 25, self.name().encode())  # SO_BINDTODEVICE
            if self.rng.random() < 0.3:
                sock.setsockopt(17, 103, 1200)  # UDP_SEGMENT
            sock.setblocking(False)
            for _ in range(self.rng.randint(1, 30)):
                size = self.rng.choice((1, 100, 1200, 3000, 12000))
                target = f"10.99.{self.rng.randrange(POOL)}.1"
                try:
                    sock.sendto(bytes(size), (target, 9))
                except OSError:
                    pass
        except OSError as error:
            return error.errno, GONE
        finally:
            sock.close()
        return 0, GONE

    def namespace(self, net):
        """A namespace of its own ends with interfaces in it: made there, moved there, and made there
        and moved away."""
        home = self.rng.choice(self.spaces)
        fd = nl.new_netns()
        nl.setns(fd)
        with nl.Netlink() as own:
            names = [f"n{self.rng.randrange(1000)}" for _ in range(3)]
            for name in names:
                own.add_link(name)
                own.set(
                    name,
                    nl.attr(nl.PRIVATE_KEY, self.keys[0][0]),
                    nl.nest(nl.PEERS, self.peer(self.endpoint(), nl.u16(nl.P_KEEPALIVE, 1), self.prefixes(2))),
                )
                own.set_link(name, True)
            moved = f"w{self.rng.randrange(POOL)}"
            own.move(names[0], home, moved)
        nl.setns(home)
        # By now another process may have it, or it may have gone already.
        net = self.sockets(home)
        net.move(self.name(), fd)
        os.close(fd)
        return 0, GONE

    OPERATIONS = (
        (create, 16),
        (destroy, 3),
        (rename, 4),
        (move, 5),
        (up, 8),
        (down, 5),
        (mtu, 2),
        (key, 4),
        (port, 5),
        (fwmark, 4),
        (add_peers, 8),
        (replace_peers, 5),
        (remove_peers, 6),
        (change_peers, 8),
        (dump, 7),
        (traffic, 20),
        (namespace, 3),
    )

    def run(self, count):
        """Draws and does `count` operations, or as many as there is time for."""
        functions = [f for f, _ in self.operations]
        weights = [w for _, w in self.operations]
        done = 0
        while done < count and not self.stop.is_set():
            operation = self.rng.choices(functions, weights)[0]
            net = self.sockets(self.rng.choice(self.spaces))
            maybe_unloaded = self.reloading.is_set()
            error, allowed = operation(self, net)
            maybe_unloaded |= self.reloading.is_set()
            done += 1
            what = operation.__name__
            good, failed = self.counts.get(what, (0, 0))
            self.counts[what] = (good + (error == 0), failed + (error != 0))
            if error not in allowed and error != 0 and not (maybe_unloaded and error in UNLOADED):
                self.bad.append(f"{what} number {done}: {errno.errorcode.get(error, error)}")
        self.counts["events, overruns"] = (self.second.heard, self.second.overrun)
        return done


def work(number, args, shared, keys, stop, reloading, count, results):
    """A worker's process."""
    worker = Worker(number, args, shared, keys, stop, reloading)
    done = 0
    try:
        done = worker.run(count)
    except Exception as error:  # pylint: disable=broad-except
        worker.bad.append(f"worker {number}: {error!r}")
    results.put((done, worker.counts, worker.bad))


def sh(*command, **more):
    """Runs a command, which must succeed; returns its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, **more).stdout


def remove(module, deadline):
    """rmmod; a dump under way holds the module for a moment."""
    while True:
        try:
            sh("rmmod", module)
            return
        except subprocess.CalledProcessError as error:
            if "in use" not in error.stderr or time.time() > deadline:
                raise
        time.sleep(0.05)


class Honest:
    """The tunnel that has nothing to do with all this, but for the module."""

    ends = (("left", "10.0.0.1", "192.168.77.1", 51820), ("right", "10.0.0.2", "192.168.77.2", 51821))

    def __init__(self, keys):
        self.keys = keys
        self.ping = None
        self.log = None
        self.handshakes = set()

    def namespaces(self):
        """left and right, joined by a veth."""
        for ns, _, _, _ in self.ends:
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        sh("ip", "-n", "left", "link", "add", "outer", "type", "veth", "peer", "name", "outer", "netns", "right")
        for ns, outer, _, _ in self.ends:
            sh("ip", "-n", ns, "addr", "add", f"{outer}/24", "dev", "outer")
            sh("ip", "-n", ns, "link", "set", "outer", "up")

    def up(self):
        """The interfaces, and the ping that watches them."""
        for (ns, _, inner, port), (_, outer, other, other_port), mine, its in (
            (self.ends[0], self.ends[1], self.keys[0], self.keys[1]),
            (self.ends[1], self.ends[0], self.keys[1], self.keys[0]),
        ):
            sh("ip", "-n", ns, "link", "add", "honest", "type", "wireguard")
            sh(
                *("ip", "netns", "exec", ns, "wg", "set", "honest", "private-key", "/dev/stdin"),
                *("listen-port", str(port), "peer", its[1], "endpoint", f"{outer}:{other_port}"),
                *("allowed-ips", f"{other}/32"),
                input=mine[0],
            )
            sh("ip", "-n", ns, "addr", "add", f"{inner}/24", "dev", "honest")
            sh("ip", "-n", ns, "link", "set", "honest", "up")
        sh("ip", "netns", "exec", "left", "ping", "-c", "1", "-W", "30", "192.168.77.2")

    def watch(self):
        """Starts to ask twice a second, with a time stamp on every answer."""
        self.log = open("/tmp/honest", "w+", encoding="ascii")  # pylint: disable=consider-using-with
        self.handshakes = set()
        self.ping = subprocess.Popen(  # pylint: disable=consider-using-with
            ["ip", "netns", "exec", "left", "ping", "-D", "-n", "-i", "0.5", "-s", "1000", "192.168.77.2"],
            stdout=self.log,
            stderr=subprocess.DEVNULL,
        )

    def look(self):
        """Notes the time of the last handshake."""
        out = sh("ip", "netns", "exec", "left", "wg", "show", "honest", "latest-handshakes")
        self.handshakes.add(int(out.split()[-1]))

    def verdict(self, start):
        """Stops asking; returns what was wrong, and a summary."""
        end = time.time()
        self.look()
        self.ping.terminate()
        self.ping.wait(timeout=60)
        self.log.seek(0)
        times = [start]
        for line in self.log:
            if line.startswith("[") and "bytes from" in line:
                times.append(float(line[1 : line.index("]")]))
        answers = len(times) - 1
        times.append(end)
        gap = max(b - a for a, b in zip(times, times[1:]))
        allowed = int((end - start) / REKEY) + 2
        wrong = []
        if not answers or gap > GAP:
            wrong.append(f"no answer for {gap:.1f} s")
        if len(self.handshakes) > allowed:
            wrong.append(f"{len(self.handshakes)} handshakes in {end - start:.0f} s")
        return wrong, f"{answers} answers, longest gap {gap:.1f} s, {len(self.handshakes)} handshakes"


RESULTS = {True: 0, False: 0}


def result(good, text, why=""):
    """Prints one check."""
    RESULTS[good] += 1
    print(("ok - " if good else "not ok - ") + text + ("" if good else f": {why}"), flush=True)


def phase(args, shared, keys, ops, seconds, during):
    """Runs the workers with `during` alongside; reports on them."""
    stop, reloading = multiprocessing.Event(), multiprocessing.Event()
    results = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(
            target=work, args=(n, args, shared, keys, stop, reloading, ops // args.workers, results)
        )
        for n in range(args.workers)
    ]
    start = time.time()
    for worker in workers:
        worker.start()
    wrong = during(workers, start + seconds, reloading)
    stop.set()
    done, counts, bad = 0, {}, list(wrong)
    for _ in workers:
        try:
            more, theirs, problems = results.get(timeout=300)
        except Exception:  # pylint: disable=broad-except
            bad.append("a worker hangs")
            continue
        done += more
        bad += problems
        for what, (good, failed) in theirs.items():
            before = counts.get(what, (0, 0))
            counts[what] = (before[0] + good, before[1] + failed)
    for worker in workers:
        worker.join(timeout=30)
        if worker.is_alive():
            worker.kill()
    took = time.time() - start
    print(f"# {done} operations in {took:.0f} s: " + ", ".join(f"{k} {a}+{b}" for k, (a, b) in sorted(counts.items())))
    if args.driver == "ours" and not counts.get("events, overruns", (0, 0))[0]:
        bad.append("nobody has heard of an event")
    return done, bad


def main():
    """Both phases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ops", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--reloads", type=int, default=3)
    parser.add_argument("--driver", default="ours")
    args = parser.parse_args()
    multiprocessing.set_start_method("fork")
    print(f"# seed {args.seed}", flush=True)

    import base64  # pylint: disable=import-outside-toplevel

    def pair():
        private = sh("wg", "genkey").strip()
        return private, sh("wg", "pubkey", input=private).strip()

    texts = [pair() for _ in range(POOL)]
    keys = [(base64.b64decode(a), base64.b64decode(b)) for a, b in texts]
    honest = Honest([pair(), pair()])
    honest.namespaces()
    honest.up()
    shared = [nl.new_netns() for _ in range(SHARED)]

    def alongside(workers, deadline, _):
        start = time.time()
        honest.watch()
        while any(w.is_alive() for w in workers) and time.time() < deadline:
            time.sleep(5)
            honest.look()
            if not any(w.is_alive() for w in workers):
                break
        wrong, summary = honest.verdict(start)
        result(not wrong, f"the honest tunnel keeps its session ({summary})", "; ".join(wrong))
        return []

    done, bad = phase(args, shared, keys, args.ops, args.seconds, alongside)
    result(not bad, f"{done} operations end as they may, seed {args.seed}", "; ".join(bad[:10]))
    print(f"# in use afterwards: {open('/proc/loadavg', encoding='ascii').read().strip()}")

    def reload(_, deadline, reloading):
        wrong = []
        for number in range(args.reloads):
            if time.time() > deadline:
                wrong.append(f"only {number} reloads in time")
                break
            time.sleep(1.5)
            reloading.set()
            try:
                module = "wireguard_rs" if args.driver == "ours" else "wireguard"
                remove(module, deadline)
                if os.path.exists(f"/sys/module/{module}"):
                    wrong.append("the module is still there")
                sh(*(("insmod", "/vm/wireguard_rs.ko") if args.driver == "ours" else ("modprobe", module)))
                time.sleep(0.5)
                reloading.clear()
                honest.up()
            except subprocess.CalledProcessError as error:
                wrong.append(f"reload {number}: {error.cmd}: {error.stderr.strip()}")
                break
            except subprocess.TimeoutExpired as error:
                wrong.append(f"reload {number}: {error.cmd} hangs")
                break
        return wrong

    if args.reloads:
        done, bad = phase(args, shared, keys, 1 << 30, max(60, args.seconds), reload)
        result(not bad, f"unloaded and loaded {args.reloads} times under {done} operations", "; ".join(bad[:10]))
    for fd in shared:
        os.close(fd)
    return 1 if RESULTS[False] or not RESULTS[True] else 0


if __name__ == "__main__":
    sys.exit(main())
