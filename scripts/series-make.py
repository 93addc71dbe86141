#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Writes the driver as a patch series against a kernel's source.

usage: series-make.py KERNEL-SOURCE NAME OUT

NAME is what the cover letter calls that source. Everything in the series is a
file of the working tree, at the place that PLACES gives it, byte for byte; but
for the three files of the kernel's that HOOKS changes, and the messages.
Whoever runs it is author and signs off. Dates are those of HEAD, so that the
same tree gives the same series.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEXTS = os.path.join(TOP, "scripts", "series.d")
DRIVER = "drivers/net/wireguard_rs/"

# Where in the kernel a file of ours is: the first pattern that fits; None is
# for what the kernel has no use for. What nothing fits is not in the series.
PLACES = (
    ("src/lib.rs", None),
    ("src/*", DRIVER),
    ("rust/*", DRIVER),
    ("Kbuild", DRIVER + "Makefile"),
    ("scripts/series.d/Kconfig", DRIVER + "Kconfig"),
    ("Documentation/netlink/specs/wireguard_rs.yaml", ""),
)
# Of the documents those that the sources name.
NAMED = re.compile(r"\bDocumentation/[a-z]+\.md\b")

# What is changed of the kernel's own: behind which line which one comes, or
# before which one the text of scripts/series.d.
HOOKS = {
    "drivers/net/Kconfig": (
        "before",
        "config OVPN\n",
        'source "drivers/net/wireguard_rs/Kconfig"\n\n',
    ),
    "drivers/net/Makefile": (
        "after",
        "obj-$(CONFIG_WIREGUARD) += wireguard/\n",
        "obj-$(CONFIG_WIREGUARD_RS) += wireguard_rs/\n",
    ),
    "MAINTAINERS": ("before", "WISTRON LAPTOP BUTTON DRIVER\n", "@MAINTAINERS"),
}


def die(why):
    """Ends with one sentence."""
    sys.exit(f"series: error: {why}")


def git(*args, cwd=TOP, env=None, stdin=None):
    """What git says."""
    done = subprocess.run(
        # The checkout may be somebody else's than who runs this.
        ["git", "-c", f"safe.directory={TOP}", *args],
        cwd=cwd,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        die(f"git {args[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def identity():
    """Name and address of who runs it, who must have said so."""
    found = []
    for key in ("user.name", "user.email"):
        done = subprocess.run(
            ["git", "config", key], cwd=TOP, capture_output=True, text=True, timeout=10, check=False
        )
        if not done.stdout.strip():
            die(
                f"who signs the patches off? git config {key} is not set: "
                f"set it, git config --global {key} <yours>"
            )
        found.append(done.stdout.strip())
    return found


def sources():
    """Files of the working tree by where they are in the kernel."""
    # What a file belongs to is what is there: new ones count, removed ones do not.
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    names = sorted({n for n in names if n and os.path.isfile(os.path.join(TOP, n))})
    found = {}
    for name in names:
        for pattern, place in PLACES:
            if not fnmatch.fnmatchcase(name, pattern):
                continue
            if place is not None:
                whole = pattern == name and place
                found[name] = place if whole else place + name
            break
    if not found:
        die("no file of the driver was found: run it in a checkout")
    named = set()
    for name in found:
        with open(os.path.join(TOP, name), encoding="utf-8") as file:
            named.update(NAMED.findall(file.read()))
    for name in sorted(named):
        if name not in names:
            die(f"the sources refer to {name}, which is not there")
        found[name] = DRIVER + name
    return found


def protocol():
    """The files that also build on the host: the modules of src/lib.rs."""
    with open(os.path.join(TOP, "src", "lib.rs"), encoding="utf-8") as file:
        modules = re.findall(r"^pub mod ([a-z_]+);", file.read(), re.MULTILINE)
    return [p for m in modules for p in (f"src/{m}.rs", f"src/{m}/*")]


def read_message(name):
    """Subject and body, and the patterns of the files that are in the patch."""
    with open(os.path.join(TEXTS, "messages", name), encoding="utf-8") as file:
        text, _, patterns = file.read().partition("\n---\n")
    words = []
    for pattern in patterns.split():
        words += protocol() if pattern == "@protocol" else [pattern]
    return text.strip() + "\n", words


def divide(names, patches):
    """Which files are in which patch: the most particular pattern decides."""
    parts = [[] for _ in patches]
    for name in names:
        fits = [
            (p.startswith("*/"), len(p), number)
            for number, (_, patterns) in enumerate(patches)
            for p in patterns
            if fnmatch.fnmatchcase(name, p)
        ]
        if not fits:
            die(f"no patch takes {name}: see scripts/series.d/messages")
        parts[max(fits)[2]].append(name)
    for (message, _), part in zip(patches, parts):
        if not part:
            die(f"nothing is left for the patch '{message.splitlines()[0]}'")
    return parts


def hook(name, text, person):
    """The kernel's file `name` with what is put into it."""
    where, line, new = HOOKS[name]
    if new.startswith("@"):
        with open(os.path.join(TEXTS, new[1:]), encoding="utf-8") as file:
            new = file.read().replace("@ME@", "{} <{}>".format(*person))
    if text.count("\n" + line) != 1:
        die(f"{name} of this kernel has no single line '{line.strip()}': see HOOKS")
    return text.replace("\n" + line, "\n" + (new + line if where == "before" else line + new))


def write(path, data):
    """A file, and the directories that it is in."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def environment(person):
    """For git: nothing of the machine's, and the date of HEAD."""
    date = git("log", "-1", "--format=%cI").strip()
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
    for who in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{who}_NAME"], env[f"GIT_{who}_EMAIL"] = person
        env[f"GIT_{who}_DATE"] = date
    return env


def commit(repo, env, message):
    """All that is there as a commit."""
    git("add", "--all", "--force", cwd=repo, env=env)
    git("commit", "--quiet", "--no-verify", "--file=-", cwd=repo, env=env, stdin=message)


def make(kernel, called, out, repo):
    """Commits the patches in `repo`, one by one, and writes them to `out`."""
    person = identity()
    env = environment(person)
    places = sources()
    names = sorted(os.listdir(os.path.join(TEXTS, "messages")))
    patches = [read_message(n) for n in names[1:]]
    parts = divide([*places, *HOOKS], patches)

    git("init", "--quiet", "--initial-branch=series", repo, env=env)
    for name in HOOKS:
        try:
            with open(os.path.join(kernel, name), "rb") as file:
                write(os.path.join(repo, name), file.read())
        except FileNotFoundError:
            die(f"{kernel} is no kernel's source: it has no {name}")
    commit(repo, env, "the kernel's")
    for (message, _), part in zip(patches, parts):
        for name in part:
            if name in HOOKS:
                path = os.path.join(repo, name)
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                write(path, hook(name, text, person).encode())
                continue
            with open(os.path.join(TOP, name), "rb") as file:
                write(os.path.join(repo, places[name]), file.read())
        commit(repo, env, message + "\nSigned-off-by: {} <{}>\n".format(*person))

    cover = read_message(names[0])[0].replace("@KERNEL@", called)
    git("config", "branch.series.description", cover, cwd=repo, env=env)
    git(
        "format-patch", "--quiet", "--cover-letter", "--cover-from-description=subject",
        "--zero-commit", "--no-signature", "--no-renames", "--output-directory", out,
        f"HEAD~{len(patches)}", cwd=repo, env=env,
    )  # fmt: skip
    # git takes now for the date of the cover letter.
    date = git("log", "-1", "--format=%cD", cwd=repo, env=env).strip()
    path = os.path.join(out, "0000-cover-letter.patch")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    write(path, re.sub(r"(?m)^Date: .*$", f"Date: {date}", text, count=1).encode())
    # What is to be where, for who compares.
    write(
        os.path.join(out, "files"),
        "".join(f"{place}\t{name}\n" for name, place in sorted(places.items())).encode(),
    )


def main():
    """Makes the series beside `out`, and puts it there when it is whole."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    kernel, called, out = sys.argv[1:]
    out = os.path.abspath(out)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    if os.path.isdir(out) and os.listdir(out) and not os.path.exists(os.path.join(out, "files")):
        die(f"{out} is there and no series: name another directory with --out")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out), prefix=".series.") as work:
        new = os.path.join(work, "patches")
        make(os.path.abspath(kernel), called, new, os.path.join(work, "repo"))
        shutil.rmtree(out, ignore_errors=True)
        os.rename(new, out)


main()
