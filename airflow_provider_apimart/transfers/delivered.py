"""Pictures as the gateways deliver them, for somebody who only looks at them, and waits for it."""

from __future__ import annotations

from functools import cache
from typing import IO, TYPE_CHECKING, Final

from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.transfers._download import Downloader, ExpiredError
from airflow_provider_apimart.transfers._http import Connections

if TYPE_CHECKING:
    from airflow_provider_apimart.transfers._download import Download

__all__ = ["MAX_BYTES", "ExpiredError", "fetch_delivered"]

#: The largest picture that is fetched; a 4K PNG of nothing but noise has 24 MiB.
MAX_BYTES: Final = 64 * MEBIBYTE
#: Pictures of one host at the same time, further attempts included.
_AT_ONCE: Final = 8
#: Seconds of silence, and tries: a task can wait for its picture, a browser asks again.
_TIMEOUT: Final = 10.0
_ATTEMPTS: Final = 2


def fetch_delivered(url: str, body: IO[bytes], *, allow_private: bool) -> Download:
    """
    Fetch one picture into a file, over what that held, under the same rules as the transfer: no private address, not
    by a redirect either, and nothing of ours goes to the host.

    :param url: as the gateway gave it.
    :param allow_private: whether the URL may lead to a private address, as that of a local gateway's picture does.
    :raises ExpiredError: when the host does not give it any more.
    :raises ImageRejectedError: when what came is no complete picture, or larger than :data:`MAX_BYTES`.
    :raises TransferError: when it did not come at all.
    """
    return _downloader(allow_private=allow_private).fetch(url, body)


@cache
def _downloader(*, allow_private: bool) -> Downloader:
    # Kept for as long as the process lives: pages full of pictures come from one host.
    connections = Connections(at_once=_AT_ONCE, timeout=_TIMEOUT)
    return Downloader(connections, max_bytes=MAX_BYTES, allow_private=allow_private, attempts=_ATTEMPTS)
