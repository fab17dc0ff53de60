"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["free_port"]

# Below the ephemeral range, from which any outgoing connection may take a port before the server binds it.
LOWEST, HIGHEST = 10_240, 22_767
_handed_out: set[int] = set()


def free_port(*, also: int = 0) -> int:
    """
    Return a port on which nothing listens, a different one for each call in any process of this user.

    :param also: offset of a second port that goes with it (SeaweedFS listens for gRPC at 10,000 above), or 0.
    """
    for port in random.sample(range(LOWEST, HIGHEST), k=1000):
        wanted = {port, port + also}
        if wanted.isdisjoint(_handed_out) and all(map(_is_free, wanted)) and all(map(_reserve, wanted)):
            _handed_out.update(wanted)
            return port
    raise RuntimeError(f"No free port between {LOWEST} and {HIGHEST} on 127.0.0.1.")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> bool:
    """Keep other processes from being handed a port for as long as this one lives."""
    try:
        # The lock of one byte, which the system releases when the process ends, however it ends.
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _reservations() -> int:
    """Return a file that all processes of this user lock. It stays open: closing it would release all locks."""
    return os.open(Path(tempfile.gettempdir()) / f"apimart-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)
