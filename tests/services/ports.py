"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

# Below the ephemeral range, from which any outgoing connection may take a port before the server binds it.
LOWEST, HIGHEST = 10_240, 22_767
_handed_out: set[int] = set()


def free_port(*, also: int = 0) -> int:
    """
    Return a port on which nothing listens, a different one for each call.

    :param also: offset of a second port that goes with it (SeaweedFS listens for gRPC at 10,000 above), or 0.
    """
    for port in random.sample(range(LOWEST, HIGHEST), k=1000):
        wanted = {port, port + also}
        if wanted.isdisjoint(_handed_out) and all(map(_is_free, wanted)):
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
