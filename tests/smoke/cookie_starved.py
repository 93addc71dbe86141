#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Under load, who has only seen an initiation of ours does not keep the answer to it, a cookie, from us.

usage (in the guest): tests/smoke/cookie_starved.py

The flooder keeps the interface under load with messages that need no key. The listener sees our initiation go by, and sends
junk for its index. The peer, which is under load itself, answers with a cookie. Our next initiation should have a MAC2.
"""

import hashlib
import os
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '../network'), os.path.join(HERE, '..')]

import observe  # noqa: E402
from lab import report, run_parts, wait_for  # noqa: E402
from wgpeer import COOKIE, INITIATION, Peer, blake, chacha20, seal  # noqa: E402

JUNK = 8


def reply_to(initiation, receiver):
    """A cookie reply as the peer with the public key `receiver` makes it."""
    nonce, key = os.urandom(24), blake(b'cookie--', receiver)
    first = struct.unpack('<4I', nonce[:16])
    words = struct.unpack('<16I', chacha20(key, first[0], nonce[4:16], bytes(64)))
    start = struct.unpack('<4I', b'expand 32-byte k')
    subkey = struct.pack('<8I', *[(w - s) % 2**32 for w, s in zip(words[:4] + words[12:], start + first)])
    sealed = seal(subkey, struct.unpack('<Q', nonce[16:])[0], os.urandom(16), initiation[116:132])
    return struct.pack('<II', COOKIE, struct.unpack('<I', initiation[4:8])[0]) + nonce + sealed


def starved(lab):
    """Junk for the index of an initiation, or none, before the true answer"""
    pair = lab.pair(home='h')
    peer = pair.peer
    flooder, listener = (lab.keep(Peer(pair.p, name, port=port)) for name, port in (('flooder', 51998), ('listener', 51999)))
    flooder.address = listener.address = peer.address
    plain = flooder.macs(struct.pack('<II', INITIATION, 5) + bytes(108))
    over = threading.Event()

    def flood():
        while not over.is_set():
            flooder.raw_many(plain, 6000)
            time.sleep(0.3)

    def loaded():
        with pair.home:
            return 'under-load' in observe.device('wg0')
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        report(wait_for(loaded, 60), 'under load')
        for junk in 0, JUNK, 0, JUNK:
            peer.quiet(0.1)
            pair.set_peer('remove')
            pair.set_peer('allowed-ips', '192.168.5.2/32', 'endpoint', pair.endpoint())
            with pair.home:
                before = observe.drops('wg0')
            pair.say()
            got = peer.messages(1, want=INITIATION, answer=False)
            if not got:
                report(False, 'an initiation')
                continue
            was = loaded()
            for _ in range(junk):
                listener.raw(struct.pack('<I', COOKIE) + got[0].data[4:8] + os.urandom(56))
            peer.raw(reply_to(got[0].data, peer.public))
            again = peer.messages(1, want=INITIATION, answer=False, timeout=12)
            with pair.home:
                rate = observe.drops('wg0')['handshake-rate'] - before['handshake-rate']
            proof = bool(again) and again[0].data[132:148] != bytes(16)
            report(proof and was and loaded(), f'{junk} messages of junk: our next initiation has a MAC2', f'loaded {was}, again {len(again)}, MAC2 {proof}, handshake-rate {rate}')
    finally:
        over.set()
        thread.join()


if __name__ == '__main__':
    sys.exit(run_parts('cookie starved', (starved,)))
