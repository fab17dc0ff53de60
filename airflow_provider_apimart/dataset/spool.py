"""Checked rows in a temporary file: memory holds the key and the place of each paid call, not its texts. I/O."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, field, replace
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.part import Part
from airflow_provider_apimart.dataset.row import Row
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, build_request

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Spool"]

_KEY_BYTES: Final = 16


@dataclass
class Spool:
    """
    The paid calls of a dataset, in its order, as they were when it was read.

    Close it, or use it in a ``with`` statement of ``contextlib.closing``.
    """

    _file: IO[bytes] = field(default_factory=TemporaryFile)
    _keys: bytearray = field(default_factory=bytearray)
    _offsets: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, place: int) -> Part:
        """Return one paid call."""
        self._file.seek(self._offsets[place])
        number, row_id, fingerprint, values, index, n = json.loads(self._file.readline())
        row = Row(number, row_id, fingerprint, build_request(values))
        return Part(row, index, replace(row.request, n=n))

    def keys(self) -> Iterator[bytes]:
        """Yield what the ledger knows each call by."""
        for start in range(0, len(self._keys), _KEY_BYTES):
            yield bytes(self._keys[start : start + _KEY_BYTES])

    def add(self, part: Part) -> None:
        """Take one more paid call, which no other one has the key of."""
        row = part.row
        values = {name: getattr(row.request, name) for name in REQUEST_PARAMETERS}
        line = json.dumps([row.number, row.id, row.fingerprint, values, part.index, part.request.n])
        # A row is read now and then while others are still to come.
        self._offsets.append(self._file.seek(0, 2))
        self._file.write(line.encode() + b"\n")
        self._keys += part.key

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
