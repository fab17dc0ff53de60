"""The ledger of a dataset that is being worked on, read on as it grows. I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Condition, Lock
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache, cached

from airflow_provider_apimart.dataset.journal import FOLDER, TABLE, Journal
from airflow_provider_apimart.dataset.ledger import rank_of
from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.plugins.web.stores import client_of, explaining

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObject

__all__ = ["LiveLedger", "live_ledger"]

#: The largest that is read: sixteen thousand rows with two lines each, which take 1.4 s of a processor and 40 MiB.
_MAX_LEDGER: Final = 32 * MEBIBYTE
#: Ledgers that are kept, and seconds after which one is read anew, by the connection as it is then.
_KEPT: Final = 4
_KEPT_SECONDS: Final = 300


@dataclass
class LiveLedger:
    """
    What a DAG run has noted in a ledger, for all threads.

    :param run: ``dag_id/run_id``.
    :param max_bytes: the largest ledger that is read.
    """

    objects: LedgerObjects
    run: str
    max_bytes: int = _MAX_LEDGER
    _journal: Journal = field(init=False)
    _known: set[LedgerObject] = field(init=False)
    _newest: dict[bytes, Entry] = field(init=False)
    _lock: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self._forget()

    def entries(self) -> list[Entry]:
        """
        Return the newest entry of each paid call of the run. Only what was written since the last time is read.

        :raises TransferError: when there is more than is read.
        :raises RecordUnavailableError: when it cannot be read.
        """
        with self._lock:
            listed = [it for it in self.objects.listing() if it.name == TABLE or it.name.startswith(FOLDER)]
            self._require_small(listed)
            if not self._known.issubset(listed):
                # What is gone was merged into another object, or taken back.
                self._forget()
            self._add(self._journal.read(listed))
            self._known = set(listed)
            return list(self._newest.values())

    def lists(self, uri: str) -> bool:
        """
        Whether a picture is among them. S3 is asked only after one that is not known yet.

        :param uri: ``s3://bucket/key``.
        :raises ApimartError: as :meth:`entries` does.
        """
        return _has(list(self._newest.values()), uri) or _has(self.entries(), uri)

    def _forget(self) -> None:
        self._journal, self._known, self._newest = Journal(self.objects), set(), {}

    def _require_small(self, listed: Iterable[LedgerObject]) -> None:
        # The table is most often a copy of a segment.
        size = sum(size for _, size in {(it.etag, it.size) for it in listed})
        if size > self.max_bytes:
            raise TransferError(
                f"{self.objects.address} is larger than {self.max_bytes} bytes, and is not shown", charged="no"
            )

    def _add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.run_id == self.run:
                known = self._newest.get(entry.key)
                if known is None or rank_of(known) < rank_of(entry):
                    self._newest[entry.key] = entry


def _has(entries: list[Entry], uri: str) -> bool:
    return any(held.get("uri") == uri for entry in entries for held in entry.objects)


@cached(TTLCache(maxsize=_KEPT, ttl=_KEPT_SECONDS), condition=Condition())
def live_ledger(bucket: str, prefix: str, aws_conn_id: str | None, run: str) -> LiveLedger:
    """
    Return the ledger below a prefix as one of its DAG runs sees it, the same for some minutes.

    :param prefix: without a slash at its end; may be empty.
    :param aws_conn_id: connection of type ``aws``.
    :param run: ``dag_id/run_id``.
    :raises TransferError: when the connection cannot be used.
    """
    with explaining(f"s3://{bucket}/{prefix}"):
        return LiveLedger(LedgerObjects(client_of(aws_conn_id), bucket, prefix, {}), run)
