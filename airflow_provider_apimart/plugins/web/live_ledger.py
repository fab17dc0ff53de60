"""The ledger of a dataset that is being bought, read further as it grows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from threading import Condition, Lock
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache, cached

from airflow_provider_apimart.dataset.ledger.entry import rank_of
from airflow_provider_apimart.dataset.ledger.legacy import read_legacy
from airflow_provider_apimart.dataset.ledger.log import parse_entry
from airflow_provider_apimart.dataset.ledger.reading import read_lines
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.plugins.web.stores import client_of, explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_apimart.dataset.ledger.entry import Entry

__all__ = ["LiveLedger", "live_ledger"]

#: Bytes of all lines that are read, of some 300,000 entries of any run: two seconds of a processor.
_MAX_READ: Final = 256 * MEBIBYTE
#: Bytes of the newest lines of one run that are kept, of some 40,000 calls.
_MAX_KEPT: Final = 32 * MEBIBYTE
#: Beginnings of the names of the objects in a ledger of 0.1.
_LEGACY: Final = ("ledger.jsonl", "journal/")
#: Ledgers that are kept, and seconds after which one is read again, by the connection as it is then.
_KEPT: Final = 4
_KEPT_SECONDS: Final = 300


@dataclass
class LiveLedger:
    """
    The entries of one DAG run in a ledger, for all threads.

    :param run: ``dag_id/run_id``.
    :param max_read: bytes of the lines of all runs, of which no more are read.
    :param max_kept: bytes of the newest lines of this run, of which no more are kept.
    """

    store: LedgerStore
    run: str
    max_read: int = _MAX_READ
    max_kept: int = _MAX_KEPT
    _known: set[str] = field(init=False, default_factory=set)
    _newest: dict[bytes, tuple[Entry, int]] = field(init=False, default_factory=dict)
    _uris: set[str] = field(init=False, default_factory=set)
    _read: int = field(init=False, default=0)
    _kept: int = field(init=False, default=0)
    _lock: Lock = field(init=False, default_factory=Lock)

    def entries(self) -> list[Entry]:
        """
        Return the newest entry of each paid call of the run. Only what was written since the last time is read.

        :raises TransferError: when the ledger is larger than what is read.
        :raises RecordUnavailableError: when it cannot be read.
        """
        with self._lock:
            self._require_small()
            for entry, size in self._new_entries():
                self._add(entry, size)
                self._require_small()
            return [entry for entry, _ in self._newest.values()]

    def lists(self, uri: str) -> bool:
        """
        Return whether the run has bought a picture. S3 is read only for a picture that is not known yet.

        :param uri: ``s3://bucket/key``.
        :raises ApimartError: as :meth:`entries` does.
        """
        if uri not in self._uris:
            self.entries()
        return uri in self._uris

    def _new_entries(self) -> Iterator[tuple[Entry, int]]:
        """Yield entries of the run with the bytes of their lines."""
        # A text of the line itself: most lines may be of other runs, and are not parsed.
        marker = json.dumps(self.run, ensure_ascii=False).encode(errors="backslashreplace")
        for line in read_lines(self.store, known=self._known):
            self._read += len(line.content)
            self._require_small()
            if marker in line.content:
                yield parse_entry(self.store, line.name, line.number, line.content), len(line.content)
        if not self._known:
            # No worker of this release has continued the ledger yet: it is empty, or of 0.1.
            self._read = sum(found.size for name in _LEGACY for found in self.store.list(name))
            self._require_small()
            yield from ((entry, len(entry.to_line())) for entry in read_legacy(self.store))

    def _add(self, entry: Entry, size: int) -> None:
        if entry.run_id != self.run:
            return
        self._uris.update(held["uri"] for held in entry.objects if isinstance(held.get("uri"), str))
        known, known_size = self._newest.get(entry.key, (None, 0))
        if known is None or rank_of(known) <= rank_of(entry):
            self._newest[entry.key] = entry, size
            self._kept += size - known_size

    def _require_small(self) -> None:
        if self._read > self.max_read or self._kept > self.max_kept:
            raise TransferError(f"{self.store.address} is too large to be shown", charged="no")


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
        return LiveLedger(LedgerStore(client_of(aws_conn_id), bucket, prefix), run)
