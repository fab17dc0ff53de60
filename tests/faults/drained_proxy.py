"""A proxy through which nothing comes any more once its clients have ended."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.s3_proxy import S3Proxy

if TYPE_CHECKING:
    from faults.dataset_clock import DatasetClock
    from services.s3_proxy import S3Rule

__all__ = ["DrainedProxy"]

#: Seconds that the server may take for a request.
PATIENCE = 600


@dataclass
class DrainedProxy(S3Proxy):
    """
    A proxy that can be waited for: what a killed process has sent would arrive while the next one looks for it.

    :param clock: whose time its responses have.
    """

    clock: DatasetClock | None = None
    _connections: set[threading.Thread] = field(default_factory=set)

    def draw(self, method: str, path: str) -> S3Rule | None:
        """Return the first rule that happens to a request, after noting which thread serves its connection."""
        self._connections.add(threading.current_thread())
        return super().draw(method, path)

    def changed_header(self, name: str, value: str) -> tuple[str, str]:
        """Return a header with its date as the campaign's clock has it."""
        return name, self.clock.date(name, value) if self.clock else value

    def changed_content(self, method: str, path: str, content: bytes) -> bytes:
        """Return a listing with its dates as the campaign's clock has them."""
        return self.clock.listing(content) if self.clock and method == "GET" and "list-type=2" in path else content

    def drain(self) -> None:
        """Wait until all requests of clients that have ended are at the server."""
        while self._connections:
            self._connections.pop().join(PATIENCE)
