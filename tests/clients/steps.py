# SPDX-License-Identifier: GPL-2.0
"""What lib.sh's step is to the shell scripts, for those in Python."""

import base64
import hashlib

# What a run decides.
VARYING = ('pid', 'header', 'event', 'IFLA_STATS', 'IFLA_STATS64', 'IFLA_AF_SPEC', 'WGDEVICE_A_IFINDEX')


def key(n):
    """32 bytes that are the same in every run."""
    return hashlib.sha256(b'key %d' % n).digest()


def key64(n):
    return base64.b64encode(key(n)).decode()


def plain(x):
    """A message as nested lists that print the same in every run."""
    if hasattr(x, 'get') and x.get('attrs') is not None:  # pyroute2's
        rest = {k: plain(v) for k, v in x.items() if k not in ('attrs', *VARYING)}
        return [sorted(rest.items()), [(a[0], plain(a[1])) for a in x['attrs'] if a[0] not in VARYING]]
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items() if k not in VARYING}
    if isinstance(x, set):
        return sorted(x)
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return x.hex() if isinstance(x, bytes) else x


def step(want, name, what):
    """Prints what `what` returns or raises. `want` is 0, or the errno that it must fail with, or None for any."""
    print(f'== {name}')
    status = 0
    try:
        result = what()
        for r in result if isinstance(result, (list, tuple)) else [result]:
            print(plain(r))
    except Exception as e:  # whatever it is, it has to be the same
        status = getattr(e, 'code', None) or abs(getattr(e, 'error', None) or getattr(e, 'errno', None) or 1000)
        print(f'{type(e).__name__}: {e}')
    print(f'-- status {status}' + ('' if want is None or status == want else f', wanted {want}'), flush=True)
