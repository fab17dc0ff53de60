"""Pictures as the gateways deliver them, for somebody who only looks at them, and waits for it."""

from __future__ import annotations

from functools import cache
from typing import IO, TYPE_CHECKING, Final

from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.transfers._address import host_and_port
from airflow_provider_apimart.transfers._deadline import deadline
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
#: Seconds for all that hosts have to say about one picture. The largest comes in that at 1.1 MiB a second.
_PATIENCE: Final = 60.0


def fetch_delivered(url: str, body: IO[bytes], *, local_gateway: str | None, patience: float = _PATIENCE) -> Download:
    """
    Fetch one picture into a file, over what that held, under the same rules as the transfer: no private address, not
    by a redirect either, and nothing of ours goes to the host.

    :param url: as the gateway gave it.
    :param local_gateway: base URL of the gateway where that is itself at a private address: URLs, and redirects, may
        then lead to its very host and port. ``None`` for no private address at all.
    :param patience: seconds after which no answer is awaited any more, however steadily it comes.
    :raises ExpiredError: when the host does not give it any more.
    :raises ImageRejectedError: when what came is no complete picture, or larger than :data:`MAX_BYTES`.
    :raises TransferError: when it did not come at all.
    """
    downloader = _downloader(allow_private=host_and_port(local_gateway) if local_gateway else False)
    with deadline(patience):
        return downloader.fetch(url, body)


@cache
def _downloader(*, allow_private: bool | str) -> Downloader:
    # Kept for as long as the process lives: pages full of pictures come from one host.
    connections = Connections(at_once=_AT_ONCE, timeout=_TIMEOUT, allow_private=allow_private)
    return Downloader(connections, max_bytes=MAX_BYTES, attempts=_ATTEMPTS)
