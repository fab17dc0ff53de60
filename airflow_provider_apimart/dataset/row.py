"""A row of a prompt dataset and its paid calls, as values, with the keys that identify them in the next run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_apimart.gateway.request import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = [
    "KEY_BYTES",
    "Call",
    "Kind",
    "Row",
    "call_key",
    "calls_of",
    "kind_of",
    "row_fingerprint",
    "row_of",
    "shard_of",
]

#: The properties that decide the price: model, size, resolution, quality and number of pictures.
Kind = tuple[str, str | None, str | None, str | None, int]

#: Bytes of a call's key in the ledger. Two of a million calls have the same with a probability of 10^-17.
KEY_BYTES: Final = 12
#: 128 bits: two of a billion rows have the same fingerprint once in 10^20 datasets.
FINGERPRINT_DIGITS: Final = 32
ID_DIGITS: Final = 16


class Identified(Protocol):
    """A row, or an entry of the ledger about it."""

    @property
    def id(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row that may be bought.

    :param number: where a person finds it: the line of a JSONL or CSV file on which it begins, with the header counted;
        elsewhere the record, counted from 1.
    :param id: name of its picture: the dataset's own id, or else the beginning of the fingerprint.
    :param fingerprint: of the request. A row that requests something else is another row, whatever its id.
    :param request: with the addresses of its reference images as the dataset has them.
    :param columns: further columns that go into the ledger and the manifest.
    """

    number: int
    id: str
    fingerprint: str
    request: ImageRequest
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_own_id(self) -> bool:
        """Return whether the dataset gives the row an id."""
        return self.id != self.fingerprint[:ID_DIGITS]


@dataclass(frozen=True, slots=True)
class Call:
    """
    One paid call of a row: most rows are one, and a row with many pictures may be several.

    :param first: its first picture among those of the row, from 0.
    :param request: with the number of pictures that this call buys.
    """

    row: Row
    first: int
    request: ImageRequest

    @property
    def key(self) -> bytes:
        """The key of the call in the ledger."""
        return call_key(self.row.fingerprint, self.row.id, self.first)


def row_fingerprint(request: ImageRequest) -> str:
    """
    Return a digest of a request, the same for every connection, so that it survives a change of account.

    A reference image counts by its address: another image that is put there later leaves the row the same.

    :raises UnicodeEncodeError: for a lone surrogate, which no request can carry.
    :raises TypeError: for a value in ``extra_body`` that has no form in JSON.
    """
    return digest(request.body())[:FINGERPRINT_DIGITS]


def row_of(number: int, own_id: str | None, request: ImageRequest, columns: Mapping[str, Any] | None = None) -> Row:
    """
    Return the row of a request.

    :param own_id: the dataset's own id, or ``None`` where it gives none.
    """
    fingerprint = row_fingerprint(request)
    return Row(number, fingerprint[:ID_DIGITS] if own_id is None else own_id, fingerprint, request, columns or {})


def calls_of(row: Row, bought: Callable[[bytes], int | None], images_per_task: int | None) -> list[Call]:
    """
    Return the paid calls that make up a row, in the order of its pictures.

    :param bought: returns the number of pictures of a call that the ledger knows by its key, or ``None``. The ledger's
        calls come first: they stay what they were when another number of pictures per task is delivered.
    :param images_per_task: number of pictures that the gateway delivers in one task; ``None`` where not known.
    """
    calls: list[Call] = []
    first, n = 0, row.request.n
    known = {i: count for i in range(n) if (count := bought(call_key(row.fingerprint, row.id, i)))} if n > 1 else {}
    while first < n:
        following = min((i for i in known if i > first), default=n)
        count = known.get(first) or min(images_per_task or n, following - first)
        calls.append(Call(row, first, replace(row.request, n=count)))
        first += count
    return calls


def call_key(fingerprint: str, row_id: str, first: int) -> bytes:
    """Return the key of a call in the ledger: a digest, because a ledger may hold a million of them."""
    identity = f"{fingerprint}\0{row_id}\0{first}".encode(errors="backslashreplace")
    return hashlib.sha256(identity).digest()[:KEY_BYTES]


def kind_of(request: ImageRequest) -> Kind:
    """Return the properties of a request that decide its price."""
    return (request.model, request.size, request.resolution, request.quality, request.n)


def shard_of(row: Identified, count: int) -> int:
    """
    Return the one shard, from 0 to below ``count``, that a row belongs to, wherever in the dataset it stands.

    :param row: or an entry of the ledger about it.
    :param count: number of shards, at least 1.
    """
    identity = hashlib.sha256(f"{row.fingerprint}\0{row.id}".encode(errors="backslashreplace")).digest()
    return int.from_bytes(identity[:8]) % count
