"""
The newest state of every paid call in some hundred bytes each, and the money of every task instance. Does no I/O.

A worker decides by its index, which is built by applying all entries of the log in their order, or read from a
checkpoint. It keeps whole entries only of purchases that are not settled. Of every call it keeps a *record*: the values
of its :class:`~.entry.CallState` as JSON.

A *purchase* is a call in one generation and attempt, with one idempotency key. Each *submission* of that key is tracked
separately: a gateway that does not recognise keys may accept two of them, and then both are collected and paid for. An
entry may be applied twice, as after an append whose response was lost. The index may also get intents of an append that
does not count; their own writer refuses them later.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import deque
from dataclasses import astuple, dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.entry import (
    STATUSES,
    UNSETTLED,
    CallState,
    Entry,
    EntryStatus,
    rank_of,
    read_entry,
)
from airflow_provider_apimart.dataset.ledger.money import Account
from airflow_provider_apimart.dataset.row import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_apimart.dataset.row import Kind

__all__ = ["Index"]

_FORMAT: Final = "apimart-index-3"
_ACCEPTED: Final = STATUSES.index(EntryStatus.ACCEPTED)
_RECENT: Final = 20
_COMPRESSION: Final = 4
#: The beginning of the record of a call whose pictures are in S3.
_COPIED: Final = b'["copied"'
#: The number of values of a record that are the first values of a :class:`CallState`; its origin follows them.
_OWN_VALUES: Final = CallState._fields.index("run_id")
#: The values that an entry has under the same names; those with a default belong to open entries.
_COMMON: Final = tuple(
    name
    for name in CallState._fields
    if name not in {"retryable", "n_objects", "tasks"} and name not in CallState._field_defaults
)
_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode

#: Run, buyer, try number, max_tries, and the kind. Many calls have the same; their records hold its number.
_Origin = tuple[str, str, int, int, "Kind"]


class _Submission(NamedTuple):
    """One submission of an idempotency key of a call."""

    generation: int
    attempt: int
    refusals: int
    buyer: str
    try_number: int
    intended_at: float


@dataclass
class Index:
    """The state of every call of a ledger, by its key."""

    _records: dict[bytes, bytes] = field(default_factory=dict)
    #: Records of the newest purchase with pictures, of calls whose newest purchase has none.
    _answers: dict[bytes, bytes] = field(default_factory=dict)
    _open: dict[bytes, dict[_Submission, Entry]] = field(default_factory=dict)
    #: Idempotency keys that were accepted more than once, each with the tasks of every acceptance that was applied.
    _accepted_twice: set[tuple[str, int]] = field(default_factory=set)
    _origins: list[_Origin] = field(default_factory=list)
    _numbers: dict[_Origin, int] = field(default_factory=dict)
    _accounts: dict[tuple[str, str, str], Account] = field(default_factory=dict)
    _recent: dict[Kind, deque[float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._records)

    def apply(self, entry: Entry) -> None:
        """
        Take an entry into account. Of two entries with one rank, the one that is applied later is the newer.

        ==========================================================  ==================================================
        Entry                                                       Effect
        ==========================================================  ==================================================
        has the task ids of another open submission of its key      the gateway has recognised the key: the entry is
                                                                    about that submission, and its own one is closed
        accepts its key a second time, with other task ids          is opened in addition; the newest state stays
        older than the newest state, its submission is not open     none
        refused, another submission of its key is open              closes its own; the other is the newest state
        any other, not settled                                      opens its submission, and is the newest state
        any other, settled                                          closes its submission, counts its money, and is the
                                                                    newest state unless that is of a newer purchase
        ==========================================================  ==================================================
        """
        key, state, newest = entry.key, _state_of(entry), self._newest(entry.key)
        before = newest if newest is not None and _purchase(newest) == _purchase(state) else None
        submission = self._tracked(entry, state, before)
        if submission is None:
            return
        held = self._open.get(key, {}).get(submission)
        was_open = held is not None and rank_of(state) >= rank_of(held)
        is_newest = newest is None or rank_of(state) >= rank_of(newest) or _is_other_refused(before, state)
        # The money of another acceptance of the key counts in addition.
        is_same_sale = before is None or before.tasks in {0, state.tasks}
        if not was_open and not (is_newest and is_same_sale):
            return
        if was_open:
            self._close(key, submission)
        others = self._open_of(key, state).values()
        if others and is_newest and state.status is EntryStatus.REFUSED:
            # Only its own sender can refuse a submission.
            self._replace(key, newest, _state_of(max(others, key=rank_of)))
            return
        is_counted = is_newest and is_same_sale and before is not None and before.status not in UNSETTLED
        self._count(state, replaced=before if is_counted else None)
        if state.status in UNSETTLED:
            self._open.setdefault(key, {})[submission] = entry
        if is_newest:
            self._close_older(key, state, submission)
            self._replace(key, newest, state)
        elif newest is not None and state.status is EntryStatus.COPIED:
            self._answer_late(key, newest, state)

    def find(self, key: bytes) -> CallState | None:
        """Return the newest state of a call, or ``None`` when it was never about to be made."""
        state = self._newest(key)
        if state is None:
            return None
        entry = self._open_entry(key, state)
        answer = state if state.status is EntryStatus.COPIED else self._answer(key)
        return state._replace(
            answer_by=0.0 if entry is None else entry.answer_by,
            accepted_at=0.0 if entry is None else entry.accepted_at,
            answer=answer,
        )

    def bought(self, key: bytes) -> int | None:
        """Return the number of pictures that a call buys, or ``None`` when it was never about to be made."""
        state = self._newest(key)
        return None if state is None else state.n

    def is_newest(self, entry: Entry) -> bool:
        """Return whether no newer entry of the same call was applied."""
        state = self._newest(entry.key)
        return state is None or rank_of(entry) == rank_of(state)

    def is_copied(self, key: bytes) -> bool:
        """Return whether the pictures of the newest purchase of a call are in S3; fast, for many calls."""
        return self._records.get(key, b"").startswith(_COPIED)

    def open_entries(self) -> Sequence[Entry]:
        """Return the entries of all purchases that are not settled, including those of superseded generations."""
        return tuple(entry for submissions in tuple(self._open.values()) for entry in tuple(submissions.values()))

    def open_entry(self, key: bytes) -> Entry | None:
        """Return the entry of the newest purchase of a call while it is not settled."""
        state = self._newest(key)
        return None if state is None else self._open_entry(key, state)

    def accounts(
        self, *, run_id: str | None = None, buyer: str | None = None, with_open: bool = False
    ) -> list[Account]:
        """
        Return the settled money, a copy.

        :param run_id: only that of this DAG run.
        :param buyer: only that of this task instance.
        :param with_open: count the calls that are not settled too, as calls whose cost is not known.
        """
        accounts = {name: replace(account) for name, account in self._accounts.items()}
        for entry in self.open_entries() if with_open else ():
            name = (entry.run_id, entry.buyer, entry.model)
            accounts.setdefault(name, Account(*name)).add_open(entry.intended_at)
        return [
            account
            for account in accounts.values()
            if run_id in {None, account.run_id} and buyer in {None, account.buyer}
        ]

    def recent_costs(self, kind: Kind) -> Sequence[float]:
        """Return US dollars of the last 20 settled calls of a kind, the oldest first."""
        return tuple(self._recent.get(kind, ()))

    def to_bytes(self) -> bytes:
        """Return the content of a checkpoint: a header as a line of JSON, all keys, and a line for each record."""
        header = {
            "format": _FORMAT,
            "origins": self._origins,
            "accounts": [astuple(account) for account in self._accounts.values()],
            "recent": [(kind, list(costs)) for kind, costs in self._recent.items()],
            "open": [entry.to_line().decode() for entry in self.open_entries()],
            "accepted_twice": sorted(self._accepted_twice),
            "records": len(self._records),
            "answers": len(self._answers),
        }
        lines = b"\n".join([*self._records.values(), *self._answers.values()])
        content = b"".join([_encode(header).encode(), b"\n", *self._records, *self._answers, lines])
        return gzip.compress(content, _COMPRESSION, mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> Index:
        """
        Return the index of a checkpoint.

        :raises ValueError: when this release has not written it.
        """
        try:
            return cls._from_bytes(gzip.decompress(content))
        except (EOFError, OSError, zlib.error, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a checkpoint of this release ({type(error).__name__}: {error})") from error

    @classmethod
    def _from_bytes(cls, content: bytes) -> Index:
        head, _, body = content.partition(b"\n")
        header = json.loads(head)
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']}")
        origins = [(*values, tuple(kind)) for *values, kind in header["origins"]]
        index = cls(_origins=origins, _numbers={origin: number for number, origin in enumerate(origins)})
        for account in map(Account.from_json, header["accounts"]):
            index._accounts[account.run_id, account.buyer, account.model] = account
        index._recent = {tuple(kind): deque(costs, _RECENT) for kind, costs in header["recent"]}
        index._accepted_twice = {(key, tasks) for key, tasks in header["accepted_twice"]}
        for line in header["open"]:
            entry = read_entry(line.encode(errors="backslashreplace"))
            index._open.setdefault(entry.key, {})[_submission(entry)] = entry
        end = KEY_BYTES * (header["records"] + header["answers"])
        keys = (body[start : start + KEY_BYTES] for start in range(0, end, KEY_BYTES))
        records = zip(keys, body[end:].split(b"\n") if end else (), strict=True)
        index._records = dict(islice(records, header["records"]))
        index._answers = dict(records)
        return index

    def _newest(self, key: bytes) -> CallState | None:
        packed = self._records.get(key)
        return None if packed is None else self._unpack(packed)

    def _answer(self, key: bytes) -> CallState | None:
        record = self._answers.get(key)
        return None if record is None else self._unpack(record)

    def _open_entry(self, key: bytes, state: CallState) -> Entry | None:
        return self._open.get(key, {}).get(_submission(state)) if state.status in UNSETTLED else None

    def _open_of(self, key: bytes, state: CallState) -> dict[_Submission, Entry]:
        """Return the open submissions of the same purchase."""
        return {each: held for each, held in self._open.get(key, {}).items() if each[:2] == _purchase(state)}

    def _tracked(self, entry: Entry, state: CallState, before: CallState | None) -> _Submission | None:
        """Return the submission that an entry is about, or ``None`` when nothing else is to be done about it."""
        key, own = entry.key, _submission(state)
        for other, held in self._open_of(key, state).items():
            if state.tasks and state.tasks == _checksum(held.task_ids):
                if other == own:
                    return own
                # The gateway has recognised the key: both submissions are one purchase.
                self._close(key, own)
                return None if state.status in UNSETTLED else other
        if state.status is EntryStatus.ACCEPTED and before is not None and before.tasks not in {0, state.tasks}:
            acceptances = {(entry.idempotency_key, tasks) for tasks in (before.tasks, state.tasks)}
            if (entry.idempotency_key, state.tasks) not in self._accepted_twice:
                self._accepted_twice |= acceptances
                self._open.setdefault(key, {})[own] = entry
                return None
            self._accepted_twice |= acceptances
        return own

    def _close(self, key: bytes, submission: _Submission) -> None:
        submissions = self._open.get(key, {})
        submissions.pop(submission, None)
        if not submissions:
            self._open.pop(key, None)

    def _close_older(self, key: bytes, state: CallState, submission: _Submission) -> None:
        """Close earlier submissions of a purchase that are not accepted: a later one has taken their place."""
        below = submission.refusals + (STATUSES.index(state.status) >= _ACCEPTED)
        for other, held in self._open_of(key, state).items():
            if other.refusals < below and other != submission and held.status is not EntryStatus.ACCEPTED:
                self._close(key, other)

    def _count(self, state: CallState, replaced: CallState | None) -> None:
        """
        Count the money of a purchase that is settled.

        :param replaced: the state of the same purchase that counted before.
        """
        if replaced is not None:
            self._account(replaced).add(replaced, -1)
        if state.status not in UNSETTLED:
            self._account(state).add(state, 1)
            if replaced is None and state.cost is not None and state.charged == "yes":
                self._recent.setdefault(state.kind, deque(maxlen=_RECENT)).append(state.cost)

    def _account(self, state: CallState) -> Account:
        name = (state.run_id, state.buyer, state.kind[0])
        # A call that was not charged does not open an account.
        return self._accounts.setdefault(name, Account(*name)) if state.charged != "no" else Account(*name)

    def _replace(self, key: bytes, newest: CallState | None, state: CallState) -> None:
        if newest is not None and newest.status is EntryStatus.COPIED and _purchase(newest) != _purchase(state):
            self._answers[key] = self._records[key]
        if state.status is EntryStatus.COPIED:
            self._answers.pop(key, None)
        self._records[key] = self._pack(state)

    def _answer_late(self, key: bytes, newest: CallState, state: CallState) -> None:
        """Keep the pictures of an older purchase, unless a newer one has pictures."""
        answer = self._answer(key)
        if newest.status is not EntryStatus.COPIED and (answer is None or rank_of(answer) < rank_of(state)):
            self._answers[key] = self._pack(state)

    def _pack(self, state: CallState) -> bytes:
        origin: _Origin = state[_OWN_VALUES : _OWN_VALUES + 5]  # type: ignore[assignment]
        number = self._numbers.get(origin)
        if number is None:
            number = self._numbers[origin] = len(self._origins)
            self._origins.append(origin)
        return _encode([*state[:_OWN_VALUES], number]).encode()

    def _unpack(self, record: bytes) -> CallState:
        status, *values, number = json.loads(record)
        return CallState(EntryStatus(status), *values, *self._origins[number])


def _state_of(entry: Entry) -> CallState:
    values: dict[str, Any] = {name: getattr(entry, name) for name in _COMMON}
    is_retryable = entry.error is not None and entry.error.retryable
    return CallState(retryable=is_retryable, n_objects=len(entry.objects), tasks=_checksum(entry.task_ids), **values)


def _checksum(task_ids: Sequence[str]) -> int:
    """Return a number that distinguishes the acceptances of one purchase; 0 for none."""
    return (zlib.crc32("\0".join(task_ids).encode(errors="backslashreplace")) or 1) if task_ids else 0


def _purchase(state: CallState) -> tuple[int, int]:
    return (state.generation, state.attempt)


def _submission(state: CallState | Entry) -> _Submission:
    return _Submission(
        state.generation, state.attempt, state.refusals, state.buyer, state.try_number, state.intended_at
    )


def _is_other_refused(before: CallState | None, state: CallState) -> bool:
    """Return whether the refusal before is that of another submission, which does not affect the new one."""
    return (
        before is not None
        and (before.status, state.status) == (EntryStatus.REFUSED, EntryStatus.INTENDED)
        and before.refusals == state.refusals
        and _submission(before) != _submission(state)
    )
