"""
The newest state of every paid call in some hundred bytes each, and the money of every task instance. Does no I/O.

An index is what a worker needs of a ledger to decide: it holds no texts, except the whole entries of purchases that
are not settled. It is made by applying all entries of the log in their order, or read from a checkpoint.

A *purchase* is a call in one generation and attempt, with one idempotency key. Each submission of that key is tracked
by itself (:func:`_submission_of`): a gateway that does not recognise keys may accept two of them, which are then both
collected and paid for. An entry may be applied twice, as after an append whose response was lost; and the intents of an
append that does not count may be met, and are then refused by their own writer.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.account import Account
from airflow_provider_apimart.dataset.ledger.entry import (
    STATUSES,
    UNSETTLED,
    Entry,
    EntryStatus,
    rank_of,
    read_entry,
)
from airflow_provider_apimart.dataset.ledger.records import (
    Answer,
    CallRecord,
    CallState,
    checksum_of,
    is_record_copied,
    pack_columns,
    pack_record,
    rank_of_record,
    unpack_columns,
    unpack_record,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_apimart.dataset.row import Kind

__all__ = ["Index"]

_HEADER: Final = struct.Struct("<4sI")
_MAGIC: Final = b"idx2"
_ACCEPTED: Final = STATUSES.index(EntryStatus.ACCEPTED)
_RECENT: Final = 20
_COMPRESSION: Final = 4

#: Number (``refusals``), buyer, try number and intended_at.
_Submission = tuple[int, str, int, float]
#: Run, buyer, try number, max_tries, and the kind.
_Origin = tuple[str, str, int, int, str, str | None, str | None, str | None, int]


@dataclass
class Index:
    """The state of every call of a ledger, by its key."""

    _records: dict[bytes, bytes] = field(default_factory=dict)
    _answers: dict[bytes, bytes] = field(default_factory=dict)
    _open: dict[str, dict[_Submission, Entry]] = field(default_factory=dict)
    #: Keys of the purchase and of the submission, where the newest entry of a call is not settled.
    _newest: dict[bytes, tuple[str, _Submission]] = field(default_factory=dict)
    #: Keys of purchases that were accepted more than once, each with the tasks of every acceptance that was applied.
    _accepted_twice: set[tuple[str, int]] = field(default_factory=set)
    _origins: list[_Origin] = field(default_factory=list)
    _numbers: dict[_Origin, int] = field(default_factory=dict)
    _accounts: dict[tuple[str, str, str], Account] = field(default_factory=dict)
    _recent: dict[Kind, deque[float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._records)

    def apply(self, entry: Entry) -> None:  # noqa: C901 - one table of cases, which parts would hide
        """
        Take an entry into account. Entries of one rank count in the order in which they are applied.

        An older generation, or another submission of the same key, still opens and settles by itself.
        """
        key, tasks = entry.key, checksum_of(entry.task_ids)
        known, packed = self._records.get(key), self._pack(entry, tasks)
        before, new = self._same_purchase(key, entry), rank_of_record(packed)
        submission = _submission_of(entry)
        is_newest = known is None or new >= rank_of_record(known) or self._is_other_refused(before, entry)
        accepted = self._accepted_as(entry.idempotency_key, tasks)
        if accepted is not None and accepted != submission:
            # The gateway has recognised the key: both submissions are one.
            self._close(entry.idempotency_key, submission)
            submission = accepted
            if entry.status in UNSETTLED:
                return
        if accepted is None and self._is_second_acceptance(before, entry, tasks):
            self._open.setdefault(entry.idempotency_key, {})[submission] = entry
            return
        held = self._open.get(entry.idempotency_key, {}).get(submission)
        was_open = held is not None and new >= rank_of(held)
        # What is known of the purchase is no other acceptance, whose money would count besides.
        continues = before is None or before.tasks in {0, tasks}
        if not was_open and not (is_newest and continues):
            return
        if was_open:
            self._close(entry.idempotency_key, submission)
        if entry.status is EntryStatus.REFUSED and is_newest and self._keep_other(key, entry.idempotency_key):
            return
        replaces = is_newest and continues and before is not None and before.status not in UNSETTLED
        if replaces and known is not None:
            self._account(known, -1)
        if entry.status in UNSETTLED:
            self._open.setdefault(entry.idempotency_key, {})[submission] = entry
        else:
            self._settle(entry, packed, is_first=not replaces)
        if is_newest:
            self._close_older(entry, submission)
            self._replace(key, packed, entry, submission)
        elif entry.status is EntryStatus.COPIED:
            self._answer_late(key, packed)

    def find(self, key: bytes) -> CallState | None:
        """Return the newest state of a call, or ``None`` when it was never about to be made."""
        packed = self._records.get(key)
        if packed is None:
            return None
        record, entry = unpack_record(packed), self.open_entry(key)
        run_id, buyer, try_number, max_tries, *kind = self._origins[record.origin]
        answered = packed if record.status is EntryStatus.COPIED else self._answers.get(key)
        return CallState(
            status=record.status,
            charged=record.charged,
            retryable=record.retryable,
            generation=record.generation,
            attempt=record.attempt,
            refusals=record.refusals,
            retries=record.retries,
            cost=record.cost,
            credits_cost=record.credits_cost,
            reserved=record.reserved,
            kind=tuple(kind),  # type: ignore[arg-type]
            n=kind[-1],  # type: ignore[arg-type]
            run_id=run_id,
            buyer=buyer,
            try_number=try_number,
            max_tries=max_tries,
            intended_at=record.intended_at,
            answer_by=0.0 if entry is None else entry.answer_by,
            accepted_at=0.0 if entry is None else entry.accepted_at,
            updated_at=record.updated_at,
            answer=None if answered is None else self._answer(answered),
        )

    def bought(self, key: bytes) -> int | None:
        """Return the number of pictures that a call buys, or ``None`` when it was never about to be made."""
        packed = self._records.get(key)
        return None if packed is None else self._origins[unpack_record(packed).origin][-1]

    def is_newest(self, entry: Entry) -> bool:
        """Return whether an entry, which was read once more, is the newest of its call."""
        packed = self._records.get(entry.key)
        return packed is None or rank_of(entry) == rank_of_record(packed)

    def is_copied(self, key: bytes) -> bool:
        """Return whether the pictures of the newest purchase of a call are in S3; fast, for many calls."""
        packed = self._records.get(key)
        return packed is not None and is_record_copied(packed)

    def open_entries(self) -> Sequence[Entry]:
        """Return the entries of all purchases that are not settled, those of superseded generations among them."""
        return tuple(entry for submissions in tuple(self._open.values()) for entry in tuple(submissions.values()))

    def open_entry(self, key: bytes) -> Entry | None:
        """Return the entry of the newest purchase of a call while it is not settled."""
        place = self._newest.get(key)
        return None if place is None else self._open.get(place[0], {}).get(place[1])

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
        """Return the index as the content of a checkpoint."""
        header = {
            "origins": self._origins,
            "accounts": [account.to_json() for account in self._accounts.values()],
            "recent": [(kind, list(costs)) for kind, costs in self._recent.items()],
            "open": [entry.to_line().decode() for entry in self.open_entries()],
            "accepted_twice": sorted(self._accepted_twice),
            "newest": [(key.hex(), *place) for key, place in self._newest.items()],
            "records": len(self._records),
            "answers": len(self._answers),
        }
        head = json.dumps(header).encode()
        parts = [_HEADER.pack(_MAGIC, len(head)), head]
        parts += [pack_columns(self._records), pack_columns(self._answers)]
        return gzip.compress(b"".join(parts), _COMPRESSION, mtime=0)

    @classmethod
    def from_bytes(cls, content: bytes) -> Index:
        """
        Return the index of a checkpoint.

        :raises ValueError: when it is not one of this release.
        """
        try:
            return cls._from_bytes(memoryview(gzip.decompress(content)))
        except (EOFError, OSError, zlib.error, struct.error, KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"not a checkpoint of this release ({type(error).__name__}: {error})") from error

    @classmethod
    def _from_bytes(cls, data: memoryview) -> Index:
        magic, length = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError(f"it begins with {magic!r}")
        offset = _HEADER.size + length
        header = json.loads(bytes(data[_HEADER.size : offset]))
        index = cls(_origins=[tuple(origin) for origin in header["origins"]])
        index._numbers = {origin: number for number, origin in enumerate(index._origins)}
        for account in map(Account.from_json, header["accounts"]):
            index._accounts[account.run_id, account.buyer, account.model] = account
        index._recent = {tuple(kind): deque(costs, _RECENT) for kind, costs in header["recent"]}
        index._accepted_twice = {(key, tasks) for key, tasks in header.get("accepted_twice", ())}
        index._records, offset = unpack_columns(data, offset, header["records"])
        index._answers, offset = unpack_columns(data, offset, header["answers"])
        if offset != len(data):
            raise ValueError(f"it has {len(data) - offset} bytes too many")
        for line in header["open"]:
            entry = read_entry(line.encode(errors="backslashreplace"))
            index._open.setdefault(entry.idempotency_key, {})[_submission_of(entry)] = entry
        index._newest = {bytes.fromhex(key): (name, tuple(place)) for key, name, place in header["newest"]}
        return index

    def _same_purchase(self, key: bytes, entry: Entry) -> CallRecord | None:
        """Return the record of a call where it is about the purchase of an entry."""
        packed = self._records.get(key)
        record = None if packed is None else unpack_record(packed)
        is_same = record is not None and (record.generation, record.attempt) == (entry.generation, entry.attempt)
        return record if is_same else None

    def _is_other_refused(self, before: CallRecord | None, entry: Entry) -> bool:
        """Return whether another sender was refused what an entry is about to submit, which says nothing about it."""
        if before is None or before.status is not EntryStatus.REFUSED or entry.status is not EntryStatus.INTENDED:
            return False
        _, buyer, try_number, *_ = self._origins[before.origin]
        refused = (before.refusals, buyer, try_number, before.intended_at)
        return before.refusals == entry.refusals and refused != _submission_of(entry)

    def _accepted_as(self, idempotency_key: str, tasks: int) -> _Submission | None:
        """Return the open submission that the gateway has accepted with some tasks."""
        held = self._open.get(idempotency_key, {}).items() if tasks else ()
        return next((submission for submission, entry in held if checksum_of(entry.task_ids) == tasks), None)

    def _is_second_acceptance(self, before: CallRecord | None, entry: Entry, tasks: int) -> bool:
        """Return whether a gateway that ignores keys has accepted a purchase once more; senders may write that late."""
        if entry.status is not EntryStatus.ACCEPTED or before is None or before.tasks in {0, tasks}:
            return False
        is_new = (entry.idempotency_key, tasks) not in self._accepted_twice
        self._accepted_twice |= {(entry.idempotency_key, each) for each in (before.tasks, tasks)}
        return is_new

    def _close(self, idempotency_key: str, submission: _Submission) -> None:
        submissions = self._open.get(idempotency_key, {})
        submissions.pop(submission, None)
        if not submissions:
            self._open.pop(idempotency_key, None)

    def _close_older(self, entry: Entry, submission: _Submission) -> None:
        """Forget earlier submissions of a key: the purchase is made with a later one, as far as anybody knows."""
        is_accepted = STATUSES.index(entry.status) >= _ACCEPTED
        for other, held in tuple(self._open.get(entry.idempotency_key, {}).items()):
            is_older = other[0] < submission[0] + is_accepted and other != submission
            if is_older and held.status is not EntryStatus.ACCEPTED:
                self._close(entry.idempotency_key, other)

    def _keep_other(self, key: bytes, idempotency_key: str) -> bool:
        """Return whether another submission is open, and make it the newest: only its own sender can refuse it."""
        submissions = self._open.get(idempotency_key)
        if not submissions:
            return False
        other = max(submissions, key=lambda each: rank_of(submissions[each]))
        entry = submissions[other]
        self._replace(key, self._pack(entry, checksum_of(entry.task_ids)), entry, other)
        return True

    def _settle(self, entry: Entry, packed: bytes, *, is_first: bool) -> None:
        self._account(packed, 1)
        if is_first and entry.cost is not None and entry.charged == "yes":
            self._recent.setdefault(entry.kind, deque(maxlen=_RECENT)).append(entry.cost)

    def _replace(self, key: bytes, packed: bytes, entry: Entry, submission: _Submission) -> None:
        known = self._records.get(key)
        if known is not None and is_record_copied(known) and self._same_purchase(key, entry) is None:
            self._answers[key] = known
        if is_record_copied(packed):
            self._answers.pop(key, None)
        self._records[key] = packed
        if entry.status in UNSETTLED:
            self._newest[key] = (entry.idempotency_key, submission)
        else:
            self._newest.pop(key, None)

    def _answer_late(self, key: bytes, packed: bytes) -> None:
        """Keep the pictures of an older purchase, where no newer one has any."""
        answered = self._answers.get(key)
        if not is_record_copied(self._records[key]) and (
            answered is None or rank_of_record(answered) < rank_of_record(packed)
        ):
            self._answers[key] = packed

    def _account(self, packed: bytes, sign: int) -> None:
        record = unpack_record(packed)
        run_id, buyer, _, _, model, *_ = self._origins[record.origin]
        name = (run_id, buyer, model)
        account = self._accounts.get(name)
        if account is None:
            if record.charged == "no":
                return
            account = self._accounts[name] = Account(*name)
        account.add(record, sign)

    def _answer(self, packed: bytes) -> Answer:
        record = unpack_record(packed)
        run_id, buyer, *_ = self._origins[record.origin]
        costs = (record.cost, record.credits_cost)
        return Answer(record.generation, run_id, buyer, *costs, record.pictures, record.intended_at)

    def _pack(self, entry: Entry, tasks: int) -> bytes:
        origin: _Origin = (entry.run_id, entry.buyer, entry.try_number, entry.max_tries, *entry.kind)
        number = self._numbers.get(origin)
        if number is None:
            number = self._numbers[origin] = len(self._origins)
            self._origins.append(origin)
        return pack_record(entry, number, tasks)


def _submission_of(entry: Entry) -> _Submission:
    return (entry.refusals, entry.buyer, entry.try_number, entry.intended_at)
