"""One row of a prompt dataset, as a value, and what makes it the same row in the next run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.request import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["InvalidRow", "Record", "Row", "Unreadable", "fingerprint", "row_of", "shard_of"]

#: 128 bits: two of a billion rows share a fingerprint once in 10^20 datasets.
_FINGERPRINT_DIGITS: Final = 32
_ID_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Record:
    """
    One record of a dataset, as it stands there.

    :param number: where a person finds it: the line in a JSON lines or CSV file on which it begins, the header
        counted; elsewhere the record, counted from 1.
    :param fields: values by the names of their columns.
    """

    number: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One place in a dataset that is no record. Those after it may be."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """
    One row that may be bought.

    :param number: where a person finds it: the line in a JSONL or CSV file on which it begins, the header counted;
        elsewhere the record, counted from 1.
    :param id: what its picture is called: the dataset's own id, or else the beginning of the fingerprint.
    :param fingerprint: of what is asked for. A row that asks for something else is another row, whatever its id.
    :param request: with the addresses of its reference images as the dataset has them.
    """

    number: int
    id: str
    fingerprint: str
    request: ImageRequest

    @property
    def has_own_id(self) -> bool:
        """Whether the dataset gives the row an id, and not what it asks for."""
        return self.id != self.fingerprint[:_ID_DIGITS]


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """
    One row that cannot be bought, and why.

    :param id: the dataset's own id, or ``None`` where it has none that can be read.
    """

    number: int
    id: str | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        name = "" if self.id is None else f" ({self.id})"
        return f"row {self.number}{name}: {'; '.join(self.reasons)}"


def fingerprint(request: ImageRequest) -> str:
    """
    Return a digest of what is asked for, the same for every connection, so that it survives a change of account.

    A reference image counts by its address: another image that is put there later leaves the row the same.

    :raises UnicodeEncodeError: for half a character, which no request can carry.
    :raises TypeError: for a value in ``extra_body`` that JSON has no form for.
    """
    return digest(request.body())[:_FINGERPRINT_DIGITS]


def row_of(number: int, own_id: str | None, request: ImageRequest) -> Row:
    """
    Return the row that asks for this request.

    :param own_id: the dataset's own id, or ``None`` where it gives none.
    """
    identity = fingerprint(request)
    return Row(number, identity[:_ID_DIGITS] if own_id is None else own_id, identity, request)


def shard_of(row: Row | Entry, count: int) -> int:
    """
    Return the one shard, from 0 to below ``count``, that a row belongs to, wherever in the dataset it stands.

    :param row: or what the ledger says of it.
    :param count: number of shards, at least 1.
    """
    identity = hashlib.sha256(f"{row.fingerprint}\0{row.id}".encode()).digest()
    return int.from_bytes(identity[:8]) % count
