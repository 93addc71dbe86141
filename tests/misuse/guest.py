#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Has each attempt of wgk_misuse.ko made, and looks what became of the kernel.

usage (in the guest): tests/misuse/guest.py [--only NAME]... [--skip NAME]... [--survive]

Each attempt is one life of the module, with what its scene does in between. It is "ok" if the module
said what it saw, nothing it saw was "broken", and the kernel's log shows nothing that scripts/splat
takes for trouble. An attempt that kills the kernel ends the guest; its name is the log's last
"misuse: begin". --survive has the kernel go on after an oops, to see them all.
"""

import argparse
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../sanitize"))
import faults  # noqa: E402
import nl  # noqa: E402

SPLAT = os.path.join(HERE, "../../scripts/splat")
MODULE = "/vm/wgk_misuse.ko"
RESULTS = {True: 0, False: 0}
UDP_SEGMENT = 103
SURVIVE = False


def result(good, text, why=""):
    """Prints one check."""
    RESULTS[good] += 1
    print(("ok - " if good else "not ok - ") + text + ("" if good else f": {why}"), flush=True)


def sh(command, check=True):
    """Runs a command line; returns whether it succeeded."""
    try:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command}: does not end") from error
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")
    return done.returncode == 0


class Log:
    """The kernel log from now on."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)
        self.lines = []

    def read(self):
        """All lines since the last mark."""
        while True:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return self.lines
            except BrokenPipeError:
                self.lines.append("misuse: lines were lost")
                continue
            self.lines.append(record.split(";", 1)[-1].split("\n", 1)[0])

    def mark(self, text):
        """Begins anew."""
        self.read()
        self.lines = []
        os.write(self.fd, f"misuse: {text}\n".encode())

    def wait(self, pattern, seconds=20):
        """Waits for a line; returns whether it came."""
        end = time.monotonic() + seconds
        while not any(re.search(pattern, line) for line in self.read()):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


def in_namespace(name, function):
    """Runs `function` in a process of its own, in a namespace."""
    child = os.fork()
    if not child:
        status = 1
        try:
            with open(f"/run/netns/{name}", encoding="ascii") as file:
                os.setns(file.fileno(), os.CLONE_NEWNET)
            function()
            status = 0
        except Exception as error:  # pylint: disable=broad-except
            print(f"# {function.__name__}: {error!r}", flush=True)
        finally:
            os._exit(status)
    os.waitpid(child, 0)


def udp(family, to, data, **options):
    """Sends a datagram."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        if options.get("segment"):
            sock.setsockopt(socket.SOL_UDP, UDP_SEGMENT, options["segment"])
        if options.get("broadcast"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"mis0")
            sock.bind(("", to[1]))
        sock.sendto(data, to)
        if options.get("broadcast"):
            return sock.recv(65536)
        return None


def ipv4(payload=b"x" * 64):
    """An IPv4/UDP packet, checksums and all."""
    total = 28 + len(payload)
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, 1, 0, 64, 17, 0,
                         socket.inet_aton("10.9.0.2"), socket.inet_aton("10.9.0.1"))
    words = sum(struct.unpack(">10H", header))
    words = (words & 0xffff) + (words >> 16)
    header = header[:10] + struct.pack(">H", ~words & 0xffff) + header[12:]
    return header + struct.pack(">HHHH", 9, 9, 8 + len(payload), 0) + payload


def traffic(there4="10.9.0.2", there6="fd09::2"):
    """A few packets of each kind through a device; none arrives anywhere."""
    for sends in (
        lambda: udp(socket.AF_INET, (there4, 9), b"x"),
        lambda: udp(socket.AF_INET6, (there6, 9), b"x"),
        lambda: udp(socket.AF_INET6, (there6, 9), ipv4()),
        lambda: udp(socket.AF_INET, (there4, 9), b"x" * 20000, segment=1000),
        lambda: udp(socket.AF_INET6, (there6, 9), b"x" * 20000, segment=1000),
    ):
        try:
            sends()
        except OSError:
            # What the attempt made of it.
            pass


KIND = nl.nest(18, nl.attr(1, b"misuse\0"))


def without_a_name():
    """Asks for a device whose name is refused when it is registered, by the netlink that ip would not speak."""
    with nl.Netlink() as net:
        net.link(16, "no name", KIND, more=0x600)


def without_memory():
    """Asks for a device again and again, each time with another allocation failing."""
    nth = faults.FailNth()
    with nl.Netlink() as net:
        for number in range(1, 400):
            error, failed = nth.during(number, lambda: net.link(16, "mis0", KIND, more=0x600))
            if not error:
                net.link(17, "mis0")
            if not failed:
                break


def namespace(name="mis"):
    """A new one, with its loopback up."""
    sh(f"ip netns add {name} && ip -n {name} link set lo up")
    for setting in "ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1":
        sh(f"ip netns exec {name} sysctl -qw net.{setting}")


def device():
    """mis0 in namespace mis, up; false if there is none."""
    namespace()
    return (sh("ip -n mis link add mis0 type misuse", False)
            and sh("ip -n mis addr add 10.9.0.1/24 dev mis0", False)
            and sh("ip -n mis addr add fd09::1/64 dev mis0 nodad", False)
            and sh("ip -n mis link set mis0 up", False))


def poke():
    """Calls the hook."""
    sh("ip link add poke type misuse", False)


def attributes(data):
    """Those in some bytes: (type, payload)."""
    while data:
        length, kind = struct.unpack("=HH", data[:4])
        yield kind & 0x3fff, data[4:length]
        data = data[(length + 3) & ~3:]


# Sockets that listen until the next ones do.
EARS = []


class Scenes:
    """What the guest does while the module is loaded, by name."""

    def __init__(self, log):
        self.log = log

    def gone(self, name="mis"):
        """Deletes a namespace and waits until it is gone: the module sees its end, the rest follows at once."""
        sh(f"ip netns del {name}")
        self.log.wait("misuse: namespace ends")
        time.sleep(1)

    def load(self):
        """Nothing: all that is done is done by the module."""

    def events(self):
        """Somebody listens to events, to the end; a device comes and goes with its namespace."""
        net = nl.Netlink()
        # Until the module has gone.
        EARS[:] = [net]
        error, bodies = net.call(16, 16, struct.pack("=BBxx", 3, 1) + nl.attr(2, b"misuse\0"))
        if error:
            raise RuntimeError("there is no family")
        groups = dict(attributes(bodies[0][4:])).get(7, b"")
        for _, group in attributes(groups):
            number = struct.unpack("=I", dict(attributes(group))[2])[0]
            # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
            net.sockets[16].setsockopt(270, 1, number)
            if device():
                in_namespace("mis", traffic)
            self.gone()
            # The one in the first of them: of a packet of another namespace.
            net.sockets[16].settimeout(20)
            if net.sockets[16].recv(65536)[16] != 4:
                raise RuntimeError("another event came first")
            return
        raise RuntimeError("the family has no group")

    def genl(self):
        """Requests of the family "misuse", whole and in pieces, and dumps, one of them left halfway."""
        with nl.Netlink() as net:
            error, bodies = net.call(16, 16, struct.pack("=BBxx", 3, 1) + nl.attr(2, b"misuse\0"))
            if error:
                raise RuntimeError("there is no family")
            family = next(struct.unpack("=H", body[at + 4:at + 6])[0] for body in bodies
                          for at in range(4, len(body) - 5, 4) if body[at:at + 4] == struct.pack("=HH", 6, 1))
            inner = nl.attr(1, nl.attr(1, b"abcd") + nl.attr(0x3fff, b"") + b"\x09\0\x01\0x")
            for payload in b"", nl.attr(1, b""), nl.attr(1, inner), nl.attr(0x8001, inner), nl.attr(1, inner[:-3]), \
                    nl.attr(1, b"\xff" * 299), nl.attr(0x8001, b"\xff" * 4), nl.attr(1, b"x" * 60000), nl.attr(9, b""):
                net.call(16, family, struct.pack("=BBxx", 1, 1) + payload)
            net.call(16, family, struct.pack("=BBxx", 2, 1), 0x300)
            net.sockets[16].send(struct.pack("=IHHIIBBxx", 20, family, 0x301, 99, 0, 2, 1))

    def stays(self):
        """A device and its namespace, for its sockets; what the attempt leaves behind keeps the module for good."""
        device()
        self.gone()
        poke()
        subprocess.Popen(["rmmod", "wgk_misuse"], stdin=subprocess.DEVNULL)
        if not self.log.wait("module cannot go"):
            raise RuntimeError("the module went, or says nothing")
        # What is still armed and queued comes now.
        time.sleep(3)

    def two_devices(self):
        """One in each of two namespaces."""
        device()
        namespace("other")
        sh("ip -n other link add mis1 type misuse && ip -n other link set mis1 up", False)
        sh("ip -n other link del mis1", False)
        sh("ip -n mis link del mis0", False)
        self.gone("other")
        self.gone()

    def link(self):
        """A device comes, carries some packets, and goes."""
        if device():
            in_namespace("mis", traffic)
        sh("ip -n mis link del mis0", False)
        self.gone()

    def kept(self):
        """The same, but that the namespace stays when it is deleted."""
        device()
        sh("ip -n mis link del mis0", False)
        sh("ip netns del mis")

    def netns(self):
        """As "link", but it goes with its namespace, and then a hook is called."""
        if device():
            in_namespace("mis", traffic)
        self.gone()
        poke()

    def moved(self):
        """It goes on in another namespace than it was made in, which goes."""
        device()
        namespace("other")
        sh("ip -n mis link set mis0 netns other", False)
        sh("ip -n other link set mis0 up", False)
        self.gone()
        poke()
        sh("ip netns del other")

    def failed(self):
        """It cannot be registered: its name is none, or in sysfs already, or memory is short."""
        namespace()
        in_namespace("mis", without_a_name)
        # sysfs says so, with a trace: not where a trace is taken for trouble.
        if SURVIVE and sh("modprobe -q bonding", False):
            sh("ip -n mis link add bonding_masters netns 1 type misuse", False)
        if os.path.exists("/proc/thread-self/fail-nth"):
            in_namespace("mis", without_memory)
        self.gone()
        poke()

    def failed_netns(self):
        """It is not even tried, and then the namespace goes."""
        namespace()
        sh("ip -n mis link add mis0 type misuse", False)
        self.gone()
        poke()

    def tcp(self):
        """Somebody tries to connect through it."""
        def connect():
            for family, address in (socket.AF_INET, "10.9.0.2"), (socket.AF_INET6, "fd09::2"):
                with socket.socket(family, socket.SOCK_STREAM) as sock:
                    sock.settimeout(0.3)
                    try:
                        sock.connect((address, 9))
                    except OSError:
                        pass
        if device():
            in_namespace("mis", traffic)
            in_namespace("mis", connect)
        self.gone()

    def broadcast(self):
        """A broadcast, which the sender gets as well."""
        def loops():
            data = b"misuse" * 20
            got = udp(socket.AF_INET, ("255.255.255.255", 7), data, broadcast=True)
            os.write(self.log.fd, b"misuse: the sender got " + (b"what it sent" if got == data else b"something else") + b"\n")
        if device():
            in_namespace("mis", loops)
        self.gone()


def without_duplicates(lines):
    """The log without what sysfs says about a name that is there already, which is asked for here."""
    asked = False
    for line in lines:
        asked = asked and "</TASK>" not in line or "cannot create duplicate filename" in line
        if not asked:
            yield line


def try_one(log, number, name, scene):
    """One attempt."""
    log.mark(f"begin {name}")
    why = []
    loaded = sh(f"insmod {MODULE} attempt={number}", False)
    if loaded != (scene != "not-loaded"):
        why.append("insmod succeeded" if loaded else "insmod failed")
    if not loaded:
        time.sleep(0.5)
    else:
        try:
            getattr(Scenes(log), scene.replace("-", "_"))()
            if scene != "stays" and not sh("rmmod wgk_misuse", False):
                why.append("rmmod failed")
        except RuntimeError as error:
            why.append(str(error))
        sh("ip -all netns del", False)
        time.sleep(0.2)
    lines = log.read()
    said = [line.split(f"misuse: {name}: ", 1)[1] for line in lines if f"misuse: {name}: " in line]
    if not said:
        why.append("it was not made")
    why += [line for line in said if line.startswith("broken")]
    why += [line for line in lines if "the sender got something else" in line]
    with tempfile.NamedTemporaryFile("w", suffix=".log") as file:
        file.write("\n".join(without_duplicates(lines)) + "\n")
        file.flush()
        done = subprocess.run([SPLAT, file.name], capture_output=True, text=True, check=False)
        if done.returncode:
            bad = [line for line in done.stdout.splitlines() if re.search("BUG|KASAN|WARNING|RIP|Oops|fault|corrupt", line)]
            why.append("the kernel says: " + " | ".join(bad[:3]))
    own = [line for line in lines if line.startswith("wireguard:")]
    result(not why, f"{name} ({scene}): " + ("; ".join(sorted(set(said))[:4] + sorted(set(own))[:2]) or "nothing said"), "; ".join(why))
    return scene == "stays" or not os.path.exists("/sys/module/wgk_misuse")


def depends():
    """Loads what the module needs."""
    modules = subprocess.run(["modinfo", "-F", "depends", MODULE], capture_output=True, text=True, check=True).stdout
    for module in modules.strip().split(","):
        sh(f"modprobe {module}", False)


def attempts(log):
    """Number, name and scene of each."""
    log.mark("list")
    sh(f"insmod {MODULE} && rmmod wgk_misuse")
    return [line.split()[-3:] for line in log.read() if "misuse: attempt " in line]


def main():
    """Lists the attempts, and makes them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append")
    parser.add_argument("--skip", action="append", default=[])
    parser.add_argument("--survive", action="store_true")
    args = parser.parse_args()
    if args.survive:
        global SURVIVE
        SURVIVE = True
        with open("/proc/sys/kernel/panic_on_oops", "w", encoding="ascii") as file:
            file.write("0")
    depends()
    log = Log()
    tried = 0
    # After the one that stays nothing can be loaded.
    for number, name, scene in sorted(attempts(log), key=lambda attempt: attempt[2] == "stays"):
        if scene == "fuzz" or args.only and name not in args.only or name in args.skip:
            continue
        tried += 1
        if not try_one(log, number, name, scene):
            print("# the module stays, so nothing else can be tried")
            break
    if not tried:
        result(False, "attempts", "there are none of that name")
    return RESULTS[False] != 0


if __name__ == "__main__":
    sys.exit(main())
