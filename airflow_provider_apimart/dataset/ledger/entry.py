"""
An entry of the ledger: the state of one paid call at the time of writing, as a value and as a line of JSON.

====================  ============================================  ================================================
Status                Meaning                                       Next step
====================  ============================================  ================================================
``intended``          its sender is about to submit the call, or    wait until ``answer_by``; then it counts as
                      waits for the response                        ``presumed_lost``
``presumed_lost``     another worker found no outcome of it after   submit the same key again, if the DAG author
                      ``answer_by``                                 allows it; else a person decides
``refused``           nothing was bought, nothing was charged       submit again, if the reason was temporary
``released``          a person decided that it is bought again      buy
``unanswered``        its sender received no usable response        as for ``presumed_lost``
``accepted``          the gateway returned task ids: it is paid     poll, then copy
``failed``            it ended without a picture                    buy, if it was not charged
``written_off``       a person accepted the loss                    nothing
``copied``            the pictures are in S3                        nothing
====================  ============================================  ================================================

Of two entries about the same paid call, the one whose status is further down in this table counts, in whichever order
they were written: the outcome that the sender records outranks the presumption of another worker (:func:`rank_of`). To
submit a key again, a worker therefore writes an ``intended`` entry whose ``refusals`` is higher by one.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from airflow_provider_apimart.dataset.row import call_key
from airflow_provider_apimart.exceptions import Charged
from airflow_provider_apimart.gateway.request import idempotency_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.dataset.row import Kind

__all__ = [
    "ABANDONED_AFTER",
    "STATUSES",
    "UNSETTLED",
    "CallState",
    "Entry",
    "EntryStatus",
    "Failure",
    "Rank",
    "purchase_key",
    "rank",
    "rank_of",
    "read_entry",
]

_VERSION: Final = 2
#: Generation, attempt, refusals and place of the status: of two entries of one call the greater one is the newer.
Rank = tuple[int, int, int, int]
#: The refusals of an accepted call in its rank: more than any other call has.
_ACCEPTED: Final = 2**32 - 1


class EntryStatus(StrEnum):
    """The state of a paid call; see the table of the module."""

    INTENDED = "intended"
    PRESUMED_LOST = "presumed_lost"
    REFUSED = "refused"
    RELEASED = "released"
    UNANSWERED = "unanswered"
    ACCEPTED = "accepted"
    FAILED = "failed"
    WRITTEN_OFF = "written_off"
    COPIED = "copied"


#: All states, in the order in which they outrank each other.
STATUSES: Final = tuple(EntryStatus)
_PLACES: Final[Mapping[str, int]] = {status.value: place for place, status in enumerate(STATUSES)}

#: Seconds after which an accepted call that its buyer has not collected may be collected by any task of its shard.
ABANDONED_AFTER: Final = 60 * 60.0
#: The states in which the outcome of a paid call is not known yet.
UNSETTLED: Final = frozenset(
    {EntryStatus.INTENDED, EntryStatus.PRESUMED_LOST, EntryStatus.UNANSWERED, EntryStatus.ACCEPTED}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """
    The reason why a call has no picture.

    :param code: the gateway's error code, where it gave one.
    :param retryable: whether the same request may succeed later without a change.
    """

    code: str | None
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    The state of one paid call of one row.

    :param row: number by which a person finds the row in the dataset.
    :param id: name of the row's picture.
    :param first: the call's first picture among those of the row, from 0.
    :param n: number of pictures of the call.
    :param charged: whether the gateway has charged the call.
    :param cost: US dollars; ``None`` where not known, which is never 0. ``credits_cost`` is in the gateway's credits.
    :param reserved: US dollars that are reserved for the call while its cost is not known.
    :param prompt: its first 4,000 characters.
    :param objects: the pictures in S3: ``uri``, ``bytes``, ``sha256``, ``content_type``, ``width``, ``height``.
    :param gateway: host of the gateway that was called; empty in a ledger of 0.1.
    :param task_ids: ids of the gateway tasks.
    :param delivered: finished gateway tasks that the response to the submit contained, in the gateway's format.
    :param generation: number of times that the row was bought before and paid for.
    :param attempt: number of earlier purchases of the same generation that failed without being charged.
    :param refusals: number of times that the gateway refused this call; it was then submitted with the same key.
    :param retries: number of those attempts that this run has made since its last clear.
    :param fingerprint: digest of the request of the whole row.
    :param writer: the task instance that wrote the entry, see
        :func:`~airflow_provider_apimart.transfers.stored_objects.writer_id`; empty in a ledger of 0.1.
    :param buyer: the task instance that made the call, which collects it.
    :param try_number: of the buyer.
    :param run_id: of the DAG run that made the call, as ``dag_id/run_id``.
    :param max_tries: of its task instance; Airflow raises it when the task is cleared.
    :param intended_at: Unix seconds, when the key was about to be submitted for the first time, by the store's clock.
    :param answer_by: Unix seconds after which the sender no longer waits for a response, by the store's clock.
    :param accepted_at: Unix seconds; 0 for a call that was not accepted.
    :param updated_at: Unix seconds.
    :param columns: further columns of the row that the DAG author named.
    """

    row: int
    id: str
    first: int = 0
    n: int = 1
    status: EntryStatus
    charged: Charged
    cost: float | None = None
    credits_cost: float | None = None
    reserved: float | None = None
    prompt: str
    model: str
    size: str | None = None
    resolution: str | None = None
    quality: str | None = None
    objects: tuple[dict[str, Any], ...] = ()
    error: Failure | None = None
    gateway: str = ""
    task_ids: tuple[str, ...] = ()
    delivered: tuple[dict[str, Any], ...] = ()
    generation: int = 0
    attempt: int = 0
    refusals: int = 0
    retries: int = 0
    idempotency_key: str
    fingerprint: str
    writer: str = ""
    buyer: str = ""
    try_number: int = 0
    run_id: str
    max_tries: int = 0
    intended_at: float
    answer_by: float = 0.0
    accepted_at: float = 0.0
    updated_at: float
    columns: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # With the precision of a line, so that an entry that was read equals the one that was written.
        for name in _TIMES:
            object.__setattr__(self, name, round(getattr(self, name), 3))

    @property
    def key(self) -> bytes:
        """The key of the call in the ledger."""
        return call_key(self.fingerprint, self.id, self.first)

    @property
    def kind(self) -> Kind:
        """The properties that determine the price."""
        return (self.model, self.size, self.resolution, self.quality, self.n)

    def to_line(self) -> bytes:
        """Return the entry as a line of JSON, without its end."""
        values = {name: getattr(self, name) for name in _COLUMNS}
        values |= {name: _iso(values[name]) for name in _TIMES}
        values |= {"error": self.error and asdict(self.error), "currency": "USD", "schema_version": _VERSION}
        # UTF-8 cannot encode a lone surrogate; JSON can escape it.
        return json.dumps(values, ensure_ascii=False).encode(errors="backslashreplace")


class CallState(NamedTuple):
    """
    The newest state of a call as the index keeps it, with the values of its :class:`Entry`.

    :param retryable: whether the same request may succeed later, after a failure or a refusal.
    :param n_objects: number of pictures in S3.
    :param tasks: checksum of the task ids, 0 for none.
    :param answer_by: 0 for a settled purchase, as is ``accepted_at``.
    :param answer: the newest state of the call with pictures in S3. A paid picture stays the answer while a newer
        purchase has none.
    """

    status: EntryStatus
    charged: Charged
    retryable: bool
    generation: int
    attempt: int
    refusals: int
    retries: int
    n_objects: int
    tasks: int
    cost: float | None
    credits_cost: float | None
    reserved: float | None
    intended_at: float
    updated_at: float
    run_id: str
    buyer: str
    try_number: int
    max_tries: int
    kind: Kind
    answer_by: float = 0.0
    accepted_at: float = 0.0
    answer: CallState | None = None

    @property
    def n(self) -> int:
        """Number of pictures of the call."""
        return self.kind[-1]


def rank(generation: int, attempt: int, refusals: int, status: str) -> Rank:
    """
    Return the rank of an entry among those of the same call.

    A call that was accepted by any request with its key outranks the refusal of every other request.
    """
    place = _PLACES[status]
    return (generation, attempt, _ACCEPTED if place >= _PLACES["accepted"] else min(refusals, _ACCEPTED - 1), place)


def rank_of(entry: Entry | CallState) -> Rank:
    """Return the rank among the entries of the same call; of two equal ones the later in the log is the newer."""
    return rank(entry.generation, entry.attempt, entry.refusals, entry.status)


_COLUMNS: Final = tuple(field.name for field in fields(Entry))
_REQUIRED: Final = frozenset(field.name for field in fields(Entry) if field.default is MISSING)
_TIMES: Final = ("intended_at", "answer_by", "accepted_at", "updated_at")
_NUMBERS: Final = ("row", "first", "n", "generation", "attempt", "refusals", "retries", "try_number", "max_tries")
_TEXT: Final[tuple[type, ...]] = (str,)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(_COLUMNS, _TEXT),
    **dict.fromkeys(_NUMBERS, (int,)),
    **dict.fromkeys(("size", "resolution", "quality"), (str, NoneType)),
    **dict.fromkeys(("cost", "credits_cost", "reserved"), (int, float, NoneType)),
    **dict.fromkeys(("objects", "delivered", "task_ids"), (list,)),
    "error": (dict, NoneType),
    "columns": (dict, NoneType),
}


def read_entry(line: bytes) -> Entry:
    """
    Read a line of the ledger. Unknown columns are ignored, and missing ones have their default.

    :raises ValueError: when a required column is missing, or a value has another type. That does not prove that
        nothing was bought.
    """
    try:
        values = json.loads(line)
        if values["schema_version"] != _VERSION:
            raise ValueError(f"schema_version is {values['schema_version']!r}")  # noqa: TRY301 - one message for all
        return _entry({name: _checked(name, values[name]) for name in _COLUMNS if name in values})
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a ledger entry that this release can read ({type(error).__name__}: {error})") from error


def _entry(values: dict[str, Any]) -> Entry:
    if missing := sorted(_REQUIRED - values.keys()):
        raise KeyError(", ".join(missing))
    objects, delivered, task_ids = (tuple(values.get(name, ())) for name in ("objects", "delivered", "task_ids"))
    if not all(isinstance(item, dict) for item in (*objects, *delivered)):
        raise TypeError("objects and delivered must hold objects")
    if not all(isinstance(task_id, str) for task_id in task_ids):
        raise TypeError("task_ids must hold texts")
    if values["charged"] not in get_args(Charged):
        raise ValueError(f"charged is {values['charged']!r}")
    error = values.get("error")
    converted: dict[str, Any] = {name: _seconds(values[name]) for name in _TIMES if name in values}
    converted |= {"status": EntryStatus(values["status"]), "error": None if error is None else Failure(**error)}
    converted |= {"objects": objects, "delivered": delivered, "task_ids": task_ids}
    return Entry(**values | converted)


def _checked(name: str, value: Any) -> Any:
    # The exact type: True is not a number.
    if type(value) not in _TYPES[name] or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError(f"{name} is {value!r:.80}")
    return value


def purchase_key(ledger: str, fingerprint: str, row_id: str, first: int, *, generation: int, attempt: int) -> str:
    """
    Return the idempotency key of a purchase.

    :param ledger: its address: the same row in another ledger is another picture.
    """
    return idempotency_key("dataset", ledger, fingerprint, row_id, first, generation, attempt)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
