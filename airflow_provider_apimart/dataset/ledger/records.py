"""
The packed record of a call: its newest entry in 62 bytes, and what is read from it. Does no I/O.

A ledger may hold a million records, in memory and as the columns of a checkpoint.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.entry import STATUSES, EntryStatus, Rank, rank
from airflow_provider_apimart.dataset.row import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.row import Kind
    from airflow_provider_apimart.exceptions import Charged

__all__ = [
    "Answer",
    "CallRecord",
    "CallState",
    "checksum_of",
    "is_record_copied",
    "pack_columns",
    "pack_record",
    "rank_of_record",
    "unpack_columns",
    "unpack_record",
]

#: Status, flags, generation, attempt, refusals, retries, pictures, origin, tasks, cost, credits, reserved, and the
#: milliseconds of intended_at and updated_at.
_RECORD: Final = struct.Struct("<BBHHIHHIIdddQQ")
_RANK: Final = struct.Struct("<BxHHI")
_CHARGED: Final[tuple[Charged, ...]] = ("no", "yes", "unknown")
_RETRYABLE: Final = 4
_COPIED: Final = STATUSES.index(EntryStatus.COPIED)
_SHORT: Final = 2**16 - 1
_LONG: Final = 2**32 - 2


class CallRecord(NamedTuple):
    """
    An unpacked record.

    :param pictures: number of objects in S3.
    :param origin: number of what many calls have in common, see :class:`~.index.Index`.
    :param tasks: checksum of the task ids, 0 for none.
    """

    status: EntryStatus
    charged: Charged
    retryable: bool
    generation: int
    attempt: int
    refusals: int
    retries: int
    pictures: int
    origin: int
    tasks: int
    cost: float | None
    credits_cost: float | None
    reserved: float | None
    intended_at: float
    updated_at: float


class Answer(NamedTuple):
    """The newest purchase of a call whose pictures are in S3, whatever was bought after it."""

    generation: int
    run_id: str
    buyer: str
    cost: float | None
    credits_cost: float | None
    n_objects: int
    intended_at: float


class CallState(NamedTuple):
    """
    The newest state of a call, as in :class:`~airflow_provider_apimart.dataset.ledger.entry.Entry`.

    :param retryable: whether the same request may succeed later, after a failure or a refusal.
    :param answer_by: 0 where the purchase is settled; ``accepted_at`` likewise.
    :param answer: the pictures of the row: a paid picture stays the answer until a newer one is paid.
    """

    status: EntryStatus
    charged: Charged
    retryable: bool
    generation: int
    attempt: int
    refusals: int
    retries: int
    cost: float | None
    credits_cost: float | None
    reserved: float | None
    kind: Kind
    n: int
    run_id: str
    buyer: str
    try_number: int
    max_tries: int
    intended_at: float
    answer_by: float
    accepted_at: float
    updated_at: float
    answer: Answer | None


def pack_record(entry: Entry, origin: int, tasks: int) -> bytes:
    """Return the record of an entry; see :class:`CallRecord` for the other values."""
    is_retryable = entry.error is not None and entry.error.retryable
    return _RECORD.pack(
        STATUSES.index(entry.status),
        _CHARGED.index(entry.charged) | (_RETRYABLE if is_retryable else 0),
        _limited(entry.generation, _SHORT),
        _limited(entry.attempt, _SHORT),
        _limited(entry.refusals, _LONG),
        _limited(entry.retries, _SHORT),
        _limited(len(entry.objects), _SHORT),
        origin,
        tasks,
        _packed_float(entry.cost),
        _packed_float(entry.credits_cost),
        _packed_float(entry.reserved),
        max(0, round(entry.intended_at * 1000)),
        max(0, round(entry.updated_at * 1000)),
    )


def unpack_record(packed: bytes) -> CallRecord:
    """Return the values of a record."""
    values: tuple[Any, ...] = _RECORD.unpack(packed)
    status, flags, *counts, cost, credits_cost, reserved, intended_at, updated_at = values
    money = (None if math.isnan(amount) else amount for amount in (cost, credits_cost, reserved))
    state = (STATUSES[status], _CHARGED[flags % _RETRYABLE], flags >= _RETRYABLE)
    return CallRecord._make((*state, *counts, *money, intended_at / 1000, updated_at / 1000))


def rank_of_record(packed: bytes) -> Rank:
    """Return the rank of the entry that was packed."""
    status, generation, attempt, refusals = _RANK.unpack_from(packed)
    return rank(generation, attempt, refusals, STATUSES[status])


def is_record_copied(packed: bytes) -> bool:
    """Return whether the pictures of the call are in S3."""
    return packed[0] == _COPIED


def pack_columns(records: Mapping[bytes, bytes]) -> bytes:
    """Return keys and records with bytes of equal meaning side by side, which halves their compressed size."""
    matrix = b"".join(records.values())
    return b"".join([*records, *(matrix[place :: _RECORD.size] for place in range(_RECORD.size))])


def unpack_columns(data: memoryview, offset: int, count: int) -> tuple[dict[bytes, bytes], int]:
    """Return keys and records that begin somewhere in a checkpoint, and where they end."""
    start = offset + count * KEY_BYTES
    end = start + count * _RECORD.size
    matrix = bytearray(count * _RECORD.size)
    for place in range(_RECORD.size if count else 0):
        matrix[place :: _RECORD.size] = data[start + place * count : start + (place + 1) * count]
    keys = struct.iter_unpack(f"{KEY_BYTES}s", data[offset:start])
    values = struct.iter_unpack(f"{_RECORD.size}s", matrix)
    return {key: value for (key,), (value,) in zip(keys, values, strict=True)}, end


def checksum_of(task_ids: Sequence[str]) -> int:
    """Return a number that tells the acceptances of one purchase apart; 0 for none."""
    return (zlib.crc32("\0".join(task_ids).encode(errors="backslashreplace")) or 1) if task_ids else 0


def _limited(count: int, most: int) -> int:
    return min(max(0, count), most)


def _packed_float(amount: float | None) -> float:
    return math.nan if amount is None else amount
