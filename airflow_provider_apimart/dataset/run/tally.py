"""The calls of a dataset by their next step, kept up to date as the ledger grows."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.entry import ABANDONED_AFTER, EntryStatus
from airflow_provider_apimart.dataset.row import calls_of
from airflow_provider_apimart.dataset.run.plan import CallStep, decide_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_apimart.dataset.input import Input
    from airflow_provider_apimart.dataset.ledger.entry import CallState, Entry
    from airflow_provider_apimart.dataset.ledger.index import Index
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.row import Call
    from airflow_provider_apimart.dataset.run.plan import CallNeed
    from airflow_provider_apimart.dataset.run.settings import Rules

__all__ = ["NO_ROW", "TalliedCall", "Tally"]

#: The row of a call that the dataset no longer has.
NO_ROW: Final = -1
#: Rows whose reasons an error names.
_LISTED: Final = 50


class TalliedCall(NamedTuple):
    """
    An open call: one that is neither to be bought nor done.

    :param row: the place of its row in the input, or :data:`NO_ROW`.
    :param need: its next step when that was last decided.
    """

    row: int
    need: CallNeed


class Tally:
    """
    The calls of a dataset by their next step. A row that takes several paid calls counts as several.

    ``total``, ``done``, ``written_off`` and ``left`` are numbers of calls: all of them, those with a picture in S3,
    those whose loss a person has accepted, and those to be bought.

    :param rows: the checked rows.
    :param ledger: holds the state of each call.
    :param rules: of this task.
    :param is_own_shard: returns whether an entry without a row belongs to this task's shard.
    """

    def __init__(self, rows: Input, ledger: Ledger, rules: Rules, *, is_own_shard: Callable[[Entry], bool]) -> None:
        self.rows = rows
        self.ledger = ledger
        self.rules = rules
        self._is_own_shard = is_own_shard
        self.total = self.done = self.written_off = self.left = 0
        self._queue: deque[tuple[int, bytes]] = deque()
        self._open: dict[bytes, TalliedCall] = {}
        self._steps: Counter[CallStep] = Counter()

    @property
    def index(self) -> Index:
        """The present index of the ledger, which may replace it when it reads the log."""
        return self.ledger.index

    def scan(self, *, now: float) -> None:
        """Decide about every call, in the order of the dataset."""
        may_skip = self.rules.on_existing == "reuse"
        unmet = {entry.key for entry in self.index.open_entries()}
        for row, key in enumerate(self.rows.row_keys()):
            if may_skip and key not in unmet and self.index.is_copied(key) and self.rows.n(row) == 1:
                self.total += 1
                self.done += 1
                continue
            for call_key in [key] if self.rows.n(row) == 1 else [call.key for call in self._calls(row)]:
                unmet.discard(call_key)
                self.total += 1
                self._decide(call_key, row, now)
        for key in unmet:
            self._decide_orphan(key, now)

    def take(self, most: int, *, now: float) -> list[tuple[int, Call]]:
        """Remove up to ``most`` calls that are to be bought, and return them with the places of their rows."""
        taken: list[tuple[int, Call]] = []
        while self._queue and len(taken) < most:
            row, key = self._queue.popleft()
            self.left -= 1
            if decide_call(self.index.find(key), self.rules, now=now).step is CallStep.BUY:
                taken += [(row, call)] if (call := self.call_of(key, row)) else []
            else:  # Somebody else has bought it since.
                self._decide(key, row, now)
        return taken

    def update(self, key: bytes, *, now: float, row: int = NO_ROW, is_next: bool = False) -> CallNeed:
        """
        Decide about a call that was taken or is open, after the ledger has changed.

        :param row: the place of its row, where it was taken.
        :param is_next: put it first where it is to be bought.
        """
        if (known := self._open.pop(key, None)) is not None:
            self._steps[known.need.step] -= known.row != NO_ROW
            row = known.row
        return self._decide(key, row, now, is_next=is_next)

    def update_waiting(self, *, now: float) -> None:
        """Decide again about the calls of other task instances that are due for it."""
        for key in [key for key, call in self.calls_with(CallStep.WAIT) if call.need.until <= now]:
            self.update(key, now=now)

    def calls_with(self, *steps: CallStep) -> Iterator[tuple[bytes, TalliedCall]]:
        """Yield the open calls whose next step is one of some."""
        return ((key, call) for key, call in self._open.items() if call.need.step in steps)

    def overtaken(self, *, now: float) -> list[Entry]:
        """Return the accepted purchases that a newer one of their call has overtaken, and that are collected here."""
        return [
            entry
            for entry in self.index.open_entries()
            if self._is_collected_here(entry, now) and self.index.open_entry(entry.key) is not entry
        ]

    def count(self, *steps: CallStep) -> int:
        """Return the number of open calls of the dataset's rows whose next step is one of some."""
        return sum(self._steps[step] for step in steps)

    @property
    def failed(self) -> int:
        """The number of given-up and late calls."""
        return self.count(CallStep.GIVE_UP, CallStep.LATE)

    @property
    def waits_until(self) -> float:
        """Unix seconds when the ledger is to be read again for the calls of others; infinite where there are none."""
        return min((call.need.until for _, call in self.calls_with(CallStep.WAIT)), default=math.inf)

    def reasons(self, errors: Mapping[bytes, str]) -> list[str]:
        """
        Return the first rows that failed, and why.

        :param errors: error messages of this session's calls, by their keys.
        """
        failed = [
            (call.row, f"{call.need.reason} ({errors[key]})" if key in errors else call.need.reason)
            for key, call in self.calls_with(CallStep.GIVE_UP, CallStep.LATE)
            if call.row != NO_ROW
        ]
        rows = [(self.rows.row(row), reason) for row, reason in sorted(failed)[:_LISTED]]
        return [f"row {row.number} ({row.id}): {reason}" for row, reason in rows]

    def states(self) -> Iterator[CallState]:
        """Yield the state of each call of the dataset that is in the ledger, in the order of the dataset."""
        return (state for key in self.call_keys() if (state := self.index.find(key)) is not None)

    def call_keys(self) -> Iterator[bytes]:
        """Yield the keys of all calls, in the order of the dataset."""
        for row, key in enumerate(self.rows.row_keys()):
            if self.rows.n(row) == 1:
                yield key
            else:
                yield from (call.key for call in self._calls(row))

    def peek(self) -> Call | None:
        """Return the next call to buy, without deciding about it again."""
        if not self._queue:
            return None
        row, key = self._queue[0]
        return self.call_of(key, row)

    def call_of(self, key: bytes, row: int) -> Call | None:
        """Return a call of a row by its key; ``None`` where the dataset no longer has it."""
        return None if row == NO_ROW else next((call for call in self._calls(row) if call.key == key), None)

    def _calls(self, row: int) -> list[Call]:
        return calls_of(self.rows.row(row), self.index.bought, self.rows.images_per_task(row))

    def _decide(self, key: bytes, row: int, now: float, *, is_next: bool = False) -> CallNeed:
        need = decide_call(self.index.find(key), self.rules, now=now)
        match need.step:
            case CallStep.BUY if row != NO_ROW:
                self.left += 1
                (self._queue.appendleft if is_next else self._queue.append)((row, key))
            case CallStep.DONE if row != NO_ROW:
                self.done += 1
            case CallStep.WRITTEN_OFF if row != NO_ROW:
                self.written_off += 1
            case CallStep.BUY | CallStep.DONE | CallStep.WRITTEN_OFF:
                pass  # A row that the dataset no longer has is neither bought nor counted.
            case _:
                self._open[key] = TalliedCall(row, need)
                self._steps[need.step] += row != NO_ROW
        return need

    def _decide_orphan(self, key: bytes, now: float) -> None:
        """Keep an accepted call whose row is gone: an own one, or one whose buyer seems to be gone."""
        entry = self.index.open_entry(key)
        if entry is not None and self._is_collected_here(entry, now):
            self._decide(key, NO_ROW, now)

    def _is_collected_here(self, entry: Entry, now: float) -> bool:
        if entry.status is not EntryStatus.ACCEPTED:
            return False
        is_abandoned = now >= entry.accepted_at + ABANDONED_AFTER and self._is_own_shard(entry)
        return entry.buyer == self.rules.writer or is_abandoned
