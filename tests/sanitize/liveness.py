#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""No packet is left lying anywhere: many peers, small bursts, and what workers run on in motion.

usage (in the guest): tests/sanitize/liveness.py --seed N --seconds N [--clients N] [--driver ours|c]

A hub has many clients. Each sends the other small bursts, waits for all the
answers, pauses, and so on: the traffic in which workers go to sleep and are
woken all the time. Meanwhile CPUs go offline and come back, and `threaded` is
switched. The module is best one with delays (scripts/module --delays).

Again and again comes a quiet moment: nobody sends anything new, until all that
was sent is answered. A packet that nobody sees to has nobody to wake it then.
What does not come is either counted as dropped, by somebody, or it is stuck:
that is the fault looked for. It is told from a slow machine by the senders,
who go on looking for answers all the while, so many times and for so long.

In the end each peer answers, the interfaces go, and so do all their peers.
"""

import argparse
import multiprocessing
import os
import random
import re
import select
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from netns import Inside  # noqa: E402

WORKERS = 4
BURSTS = (1, 1, 1, 2, 3, 9, 10, 12, 20)
# Less than the ten seconds after which a keepalive would wake what is asleep.
STUCK_SECONDS, STUCK_LOOKS = 6, 300

failed = 0


def result(good, text, why=""):
    """Prints one check."""
    global failed
    failed += not good
    print(f"ok - {text}" if good else f"not ok - {text}: {why}", flush=True)
    return good


def run(*command, **kwargs):
    """Runs a command that must succeed; what it printed."""
    return subprocess.run(command, check=True, text=True, capture_output=True, timeout=120, **kwargs).stdout


def space(client):
    """The namespace of a client."""
    return f"c{client}"


def address(client):
    """The address of a client in the tunnel."""
    return f"10.77.1.{client + 1}"


HUB = "10.77.0.1"


def set_up(clients):
    """The hub and its clients, all with their sockets in this namespace."""
    keys = []
    for _ in range(clients + 1):
        private = run("wg", "genkey").strip()
        keys.append((private, run("wg", "pubkey", input=private).strip()))
    run("ip", "link", "set", "lo", "up")
    hub = [f"[Interface]\nPrivateKey={keys[clients][0]}\nListenPort=30000\n"]
    for client in range(clients):
        hub.append(f"[Peer]\nPublicKey={keys[client][1]}\nAllowedIPs={address(client)}/32\nEndpoint=127.0.0.1:{30001 + client}\n")
    make("hub", HUB, "".join(hub))
    for client in range(clients):
        make(
            space(client),
            address(client),
            f"[Interface]\nPrivateKey={keys[client][0]}\nListenPort={30001 + client}\n"
            f"[Peer]\nPublicKey={keys[clients][1]}\nAllowedIPs=10.77.0.0/16\nEndpoint=127.0.0.1:30000\n",
        )


def make(name, inner, config):
    """A namespace with a tunnel interface in it."""
    run("ip", "netns", "add", name)
    run("ip", "link", "add", f"w{name}", "type", "wireguard")
    run("wg", "setconf", f"w{name}", "/dev/stdin", input=config)
    batch = f"link set w{name} netns {name}\n"
    run("ip", "-batch", "-", input=batch)
    run("ip", "-n", name, "-batch", "-", input=f"link set lo up\nlink set w{name} name wg0\naddr add {inner}/16 dev wg0\nlink set wg0 up\n")


def dropped(spaces):
    """What anybody there counts as dropped."""
    total = 0
    for name in spaces:
        with Inside(name):
            done = subprocess.run(["ethtool", "-S", "wg0"], text=True, capture_output=True, check=False, timeout=60)
            with open("/proc/thread-self/net/dev", encoding="ascii") as file:
                for line in file:
                    if line.strip().startswith("wg0:"):
                        numbers = line.split(":")[1].split()
                        total += sum(map(int, numbers[2:4] + numbers[10:12]))
            with open("/proc/thread-self/net/snmp", encoding="ascii") as file:
                udp = [line.split() for line in file if line.startswith("Udp:")]
            counts = dict(zip(udp[0][1:], map(int, udp[1][1:])))
            total += counts["InErrors"]
        # All of these are reasons why something was dropped.
        total += sum(int(n) for n in re.findall(r": (\d+)$", done.stdout, re.M))
    # On the outside.
    with open("/proc/net/snmp", encoding="ascii") as file:
        udp = [line.split() for line in file if line.startswith("Udp:")]
    return total + int(dict(zip(udp[0][1:], udp[1][1:]))["InErrors"])


class Way:
    """One direction of one client: who asks, and what was not answered yet."""

    def __init__(self, client, sock, to):
        self.client, self.sock, self.to = client, sock, to
        self.missing, self.next, self.seq = set(), 0, 0

    def burst(self, rng):
        """Asks for some answers."""
        for _ in range(rng.choice(BURSTS)):
            self.seq += 1
            try:
                self.sock.sendto(b"Q" + struct.pack("=I", self.seq) + bytes(rng.randrange(120)), self.to)
                self.missing.add(self.seq)
            except BlockingIOError:
                pass


class Shared:
    """What the controller and the senders tell each other."""

    def __init__(self):
        self.pause = multiprocessing.Value("i", 0)
        self.stop = multiprocessing.Event()
        # Each sender's: the last pause it has heard of, what is missing, how often it looked, rounds.
        self.heard = multiprocessing.Array("i", WORKERS)
        self.missing = multiprocessing.Array("i", WORKERS)
        self.looks = multiprocessing.Array("q", WORKERS)
        self.rounds = multiprocessing.Array("q", WORKERS)
        # What the controller has found lost: forget it.
        self.forget = multiprocessing.Value("i", 0)
        self.stuck = multiprocessing.Queue()


def bound(name, where):
    """A socket in a namespace."""
    with Inside(name):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(where)
    return sock


def sender(number, args, shared):
    """One process of bursts."""
    rng = random.Random(args.seed * 100 + number)
    ways, of = [], {}
    poller = select.epoll()
    for client in range(number, args.clients, WORKERS):
        ends = ("hub", (HUB, 7000 + client)), (space(client), (address(client), 7000))
        socks = [bound(*end) for end in ends]
        for this, other in ((0, 1), (1, 0)):
            way = Way(client, socks[this], ends[other][1])
            ways.append(way)
            of[socks[this].fileno()] = way
            poller.register(socks[this].fileno(), select.EPOLLIN)
    forgot = 0
    while not shared.stop.is_set():
        pause, now = shared.pause.value, time.monotonic()
        if forgot != shared.forget.value:
            forgot = shared.forget.value
            shared.stuck.put([(way.client, "hub" if way.to[0] != HUB else "client", len(way.missing)) for way in ways if way.missing])
            for way in ways:
                way.missing.clear()
        if pause % 2 == 0:
            for way in ways:
                if not way.missing and now >= way.next:
                    way.burst(rng)
        for fd, _ in poller.poll(0.001):
            way = of[fd]
            for _ in range(64):
                try:
                    data, source = way.sock.recvfrom(256)
                except BlockingIOError:
                    break
                if data[:1] == b"Q":
                    try:
                        way.sock.sendto(b"A" + data[1:], source)
                    except BlockingIOError:
                        pass
                    continue
                way.missing.discard(struct.unpack("=I", data[1:5])[0])
                if not way.missing:
                    shared.rounds[number] += 1
                    way.next = now + rng.choice((0, 0, 0.001, 0.005, 0.02))
        shared.missing[number] = sum(len(way.missing) for way in ways)
        shared.heard[number] = pause
        shared.looks[number] += 1


def quiet(shared, processes):
    """Has nobody send anything new, and waits for all answers; how many did not come."""
    shared.pause.value += 1
    begin = time.monotonic()
    looked = None
    while True:
        time.sleep(0.01)
        if not all(process.is_alive() for process in processes):
            sys.exit("not ok - a sender died")
        if any(heard != shared.pause.value for heard in shared.heard):
            begin = time.monotonic()
            continue
        if looked is None:
            looked = list(shared.looks)
        missing = sum(shared.missing)
        if not missing:
            return 0
        least = min(now - before for now, before in zip(shared.looks, looked))
        if time.monotonic() - begin > STUCK_SECONDS and least > STUCK_LOOKS:
            return missing


class Motion:
    """CPUs that go and come, and `threaded` switched."""

    def __init__(self, rng, spaces):
        self.rng, self.spaces = rng, spaces
        self.cpus = [n for n in range(1, os.cpu_count()) if os.path.exists(f"/sys/devices/system/cpu/cpu{n}/online")]
        self.off, self.changes = set(), [0, 0]

    def cpu(self, cpu, on):
        """Switches a CPU."""
        with open(f"/sys/devices/system/cpu/cpu{cpu}/online", "w", encoding="ascii") as file:
            file.write(str(int(on)))
        (self.off.discard if on else self.off.add)(cpu)
        self.changes[0] += 1

    def step(self):
        """Something changes."""
        if self.cpus and self.rng.random() < 0.6:
            cpu = self.rng.choice(self.cpus)
            self.cpu(cpu, cpu in self.off)
            return
        name = self.rng.choice(["hub", self.rng.choice(self.spaces)])
        run("ip", "netns", "exec", name, "sh", "-c", f"echo {self.rng.randrange(2)} >/sys/class/net/wg0/threaded")
        self.changes[1] += 1

    def end(self):
        """All CPUs are back."""
        for cpu in list(self.off):
            self.cpu(cpu, True)


def answers(name, to):
    """Whether there is an answer to a ping, within a time that a working tunnel never needs."""
    return subprocess.run(
        ["ip", "netns", "exec", name, "ping", "-q", "-c", "1", "-W", "10", to], capture_output=True, timeout=60, check=False
    ).returncode == 0


def peers_gone():
    """Numbers of peers that were created and not destroyed, by the kernel log."""
    log = subprocess.run(["dmesg"], text=True, capture_output=True, check=False, timeout=60).stdout
    created = set(re.findall(r"Peer (\d+) created", log))
    return created - set(re.findall(r"Peer (\d+) \([^)]*\) destroyed", log)), len(created)


def traffic(args, shared, spaces):
    """Bursts and quiet moments, for as long as is wanted."""
    motion = Motion(random.Random(args.seed), spaces[1:])
    processes = [multiprocessing.Process(target=sender, args=(n, args, shared), daemon=True) for n in range(WORKERS)]
    before = dropped(spaces)
    for process in processes:
        process.start()
    end = time.monotonic() + args.seconds
    moments = lost = 0
    stuck = []
    rng = random.Random(args.seed + 1)
    while time.monotonic() < end and not stuck:
        until = time.monotonic() + rng.uniform(0.1, 0.5)
        while time.monotonic() < until:
            if rng.random() < 0.3:
                motion.step()
            time.sleep(0.02)
        missing = quiet(shared, processes)
        moments += 1
        if missing:
            counted = dropped(spaces)
            shared.forget.value += 1
            found = [item for _ in processes for item in shared.stuck.get(timeout=60)]
            if counted - before < missing:
                stuck = found
                print(f"# {missing} answers missing, {counted - before} packets counted as dropped; "
                      "(client, who asked, missing):", found)
            lost += missing
            before = dropped(spaces)
        shared.pause.value += 1
    motion.end()
    rounds = sum(shared.rounds)
    print(f"# {rounds} bursts answered, {moments} quiet moments, {lost} packets lost and counted, CPUs switched "
          f"{motion.changes[0]} times, threaded {motion.changes[1]} times")
    result(not stuck, "nothing is stuck in any quiet moment", f"in number {moments}, after {rounds} bursts")
    result(rounds > 10 * args.clients, "bursts enough to mean anything", f"{rounds} in {args.seconds} s")
    shared.stop.set()
    for process in processes:
        process.join(30)
        result(process.exitcode == 0, "a sender ended", f"exit code {process.exitcode}")


def main():
    """Everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--driver", default="ours")
    args = parser.parse_args()
    print(f"# seed {args.seed}, {args.clients} clients, {os.cpu_count()} CPUs")
    spaces = ["hub", *(space(client) for client in range(args.clients))]
    set_up(args.clients)
    mute = [name for name in spaces[1:] if not answers(name, HUB)]
    if not result(not mute, "each client reaches the hub", f"not {mute}"):
        return 1

    traffic(args, Shared(), spaces)

    mute = [n for n in range(args.clients) if not (answers("hub", address(n)) and answers(space(n), HUB))]
    result(not mute, "afterwards each peer answers, both ways", f"not {mute}")

    begin = time.monotonic()
    for name in spaces:
        run("ip", "-n", name, "link", "del", "wg0")
    print(f"# {len(spaces)} interfaces deleted in {time.monotonic() - begin:.1f} s")
    if args.driver == "ours":
        # After a grace period.
        for _ in range(100):
            left, created = peers_gone()
            if not left:
                break
            time.sleep(0.2)
        result(created >= 2 * args.clients, "peers are logged", f"{created} created")
        result(not left, "no peer outlives its interface", f"{len(left)} of {created}")
    for name in spaces:
        run("ip", "netns", "del", name)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
