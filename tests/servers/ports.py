"""TCP ports that a test gives to a program."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import suppress

PORTS = range(20_000, 30_000)
"""Below those that Linux gives to connections and to servers without a wish (from 32768): it takes none of them meanwhile."""
_candidates = itertools.cycle(PORTS)
_claims: list[socket.socket] = []  # held until this process ends


def free_port() -> int:
    """A port that nobody listens on, and that no other test process on this machine is given while this one lives."""
    if not _claims:
        for _ in range(os.getpid() * 37 % len(PORTS)):  # processes seldom try the same ones
            next(_candidates)
    for port in itertools.islice(_candidates, len(PORTS)):
        claim = socket.socket(socket.AF_UNIX)
        with suppress(OSError), socket.socket() as probe:
            claim.bind(f"\0port-of-a-test-{port}")
            probe.bind(("", port))
            _claims.append(claim)
            return port
        claim.close()
    raise OSError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")
