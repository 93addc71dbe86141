# SPDX-License-Identifier: GPL-2.0
"""Network namespaces, for the tests in the guest."""

import os


class Inside:
    """`with` it, this thread is in the network namespace of that name; may be nested."""

    def __init__(self, name):
        self.name, self.saved = name, []

    def __enter__(self):
        self.saved.append(os.open('/proc/thread-self/ns/net', os.O_RDONLY | os.O_CLOEXEC))
        fd = os.open(f'/run/netns/{self.name}', os.O_RDONLY | os.O_CLOEXEC)
        os.setns(fd, os.CLONE_NEWNET)
        os.close(fd)
        return self

    def __exit__(self, *_):
        fd = self.saved.pop()
        os.setns(fd, os.CLONE_NEWNET)
        os.close(fd)
