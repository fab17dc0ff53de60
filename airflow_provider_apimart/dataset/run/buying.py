"""Paid calls: intended in the ledger, submitted side by side, their outcomes recorded as they arrive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus
from airflow_provider_apimart.dataset.ledger.money import Budget, expected_cost
from airflow_provider_apimart.dataset.row import kind_of
from airflow_provider_apimart.dataset.run.outcome import ABOUT_THE_ROW, after_submit
from airflow_provider_apimart.dataset.run.plan import CallStep, decide_call, intent_of, resubmitted
from airflow_provider_apimart.exceptions import ApimartError, BusyError, SubmitOutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from threading import Event

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.index import Index
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.ledger.money import Objection
    from airflow_provider_apimart.dataset.references.resolver import ReferenceResolver
    from airflow_provider_apimart.dataset.row import Call
    from airflow_provider_apimart.dataset.run.plan import Rules
    from airflow_provider_apimart.gateway.cost import Price
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["Buyer"]

#: Calls that are intended, and then submitted, at a time: as many may be left without an outcome when a worker is
#: killed. No more than the connection's ``max_concurrency``, so that all of them are on the wire at once.
_GROUP: Final = 16
#: Seconds after an intent after which its call is no longer begun.
_BEGINS_WITHIN: Final = 30.0


@dataclass
class Buyer:
    """
    The paid calls of one worker.

    :param stopping: set when the worker is about to be killed: nothing more is submitted then.
    :param trouble: why this worker buys nothing more: something that has nothing to do with the rows.
    :param errors: why calls were not accepted, by their keys.
    """

    hook: ApimartHook
    ledger: Ledger
    rules: Rules
    max_cost: float | None
    references: ReferenceResolver
    stopping: Event
    trouble: ApimartError | None = None
    errors: dict[bytes, str] = field(default_factory=dict)
    _prices: dict[str, Price | None] = field(default_factory=dict)

    @property
    def group(self) -> int:
        """The number of calls that are submitted at a time."""
        return max(1, min(_GROUP, self.hook.settings.max_concurrency))

    def objection(self, call: Call) -> Objection | None:
        """Return why the budget does not allow a call, or ``None`` where it does."""
        if self.max_cost is None:
            return None
        index = self.ledger.index
        return self._budget(index).objection(self._expected(call.request, index))

    def buy(self, calls: Sequence[Call]) -> None:
        """
        Submit those of a group of calls that the budget allows and that nobody else has bought meanwhile.

        :raises RecordUnavailableError: when the intents could not be recorded. Nothing was submitted.
        """
        requests = self._with_references(calls)
        ready = [call for call in calls if call.key in requests]
        self._submit(self.ledger.claim(lambda index: self._intents(ready, index)), requests, is_repeated=False)

    def buy_again(self, calls: Sequence[tuple[Call, Entry]]) -> None:
        """
        Submit a group of calls again whose responses were lost, with their old keys.

        :raises RecordUnavailableError: when that could not be recorded. Nothing was submitted.
        """
        requests = self._with_references([call for call, _ in calls])

        def intents(index: Index) -> list[Entry]:
            now = self.ledger.store.now()
            return [
                resubmitted(entry, self.rules, now=now, answer_by=self._answer_by(now))
                for call, entry in calls
                if call.key in requests
                and decide_call(index.find(call.key), self.rules, now=now).step is CallStep.RESUBMIT
            ]

        self._submit(self.ledger.claim(intents), requests, is_repeated=True)

    def _intents(self, calls: Sequence[Call], index: Index) -> list[Entry]:
        """Return the entries of what the ledger still lacks, up to the first call that the budget does not allow."""
        now = self.ledger.store.now()
        budget = self._budget(index)
        intents: list[Entry] = []
        for call in calls:
            state = index.find(call.key)
            if decide_call(state, self.rules, now=now).step is not CallStep.BUY:
                continue
            expected = self._expected(call.request, index)
            if budget.objection(expected):
                break
            reserved = budget.reserve(expected)
            intents.append(
                intent_of(call, state, self.rules, reserved=reserved, now=now, answer_by=self._answer_by(now))
            )
        return intents

    def _submit(self, intents: Sequence[Entry], requests: dict[bytes, ImageRequest], *, is_repeated: bool) -> None:
        now = self.ledger.store.now
        # From the moment that the intents name: a worker may be stopped at any time after it, also within the claim.
        begins_by = min((entry.updated_at for entry in intents), default=0.0) + _BEGINS_WITHIN
        drawn = 0

        def purchases() -> Iterator[tuple[ImageRequest, str]]:
            nonlocal drawn
            for entry in intents:
                if self.stopping.is_set() or now() > begins_by:
                    return
                drawn += 1
                yield requests[entry.key], entry.idempotency_key

        troubles: list[ApimartError] = []
        for place, response in self.hook.submit_many(purchases()):
            entry = after_submit(intents[place], response, self.rules, is_repeated=is_repeated, now=now())
            self.ledger.record(entry)
            if isinstance(response, ApimartError):
                self.errors[entry.key] = str(response)
                troubles += [response] if _is_trouble(entry, response) else []
        unsent = BusyError("Not submitted: the task was ended, or stood still, before its turn.")
        for intent in intents[drawn:]:
            self.ledger.record(after_submit(intent, unsent, self.rules, is_repeated=is_repeated, now=now()))
        self._judge(troubles, of=len(intents))

    def _judge(self, troubles: Sequence[ApimartError], *, of: int) -> None:
        """Stop where buying on would only make more of the same."""
        lasting = [error for error in troubles if not error.retryable and error.charged == "no"]
        if lasting:
            self.trouble = lasting[0]
        elif 2 * len(troubles) > of:
            self.trouble = troubles[0]
        if isinstance(self.trouble, SubmitOutcomeUnknownError) and self.rules.on_unknown_submit == "resubmit":
            self.trouble.retryable = True

    def _with_references(self, calls: Sequence[Call]) -> dict[bytes, ImageRequest]:
        """Return the requests as they are submitted, and record the rows whose reference images cannot be had."""
        requests: dict[bytes, ImageRequest] = {}
        for call, request in zip(calls, self.references.resolve([call.request for call in calls]), strict=True):
            if not isinstance(request, ApimartError):
                requests[call.key] = request
                continue
            self.errors[call.key] = str(request)
            state = self.ledger.index.find(call.key)
            if state is None or state.status not in {EntryStatus.PRESUMED_LOST, EntryStatus.UNANSWERED}:
                now = self.ledger.store.now()
                refused = intent_of(call, state, self.rules, reserved=None, now=now, answer_by=now)
                self.ledger.record(after_submit(refused, request, self.rules, is_repeated=False, now=now))
            if not isinstance(request, ABOUT_THE_ROW):
                self.trouble = request
        return requests

    def _answer_by(self, now: float) -> float:
        return now + _BEGINS_WITHIN + self.hook.settings.submit_lifetime

    def _budget(self, index: Index) -> Budget:
        return Budget.of(index, run_id=self.rules.run_id, max_cost=self.max_cost)

    def _expected(self, request: ImageRequest, index: Index) -> float | None:
        return expected_cost(self._listed_price(request), index.recent_costs(kind_of(request)))

    def price(self, request: ImageRequest) -> float | None:
        """Return the US dollars that a request is expected to cost, or ``None`` where that is not known."""
        return expected_cost(self._table_price(request), self.ledger.index.recent_costs(kind_of(request)))

    def _listed_price(self, request: ImageRequest) -> float | None:
        return None if self.max_cost is None else self._table_price(request)

    def _table_price(self, request: ImageRequest) -> float | None:
        if request.model not in self._prices:
            try:
                self._prices[request.model] = self.hook.get_price(request.model)
            except ApimartError:  # APIMaster publishes none. What rows have cost so far counts instead.
                self._prices[request.model] = None
        price = self._prices[request.model]
        return None if price is None else price.estimate(request)


def _is_trouble(entry: Entry, response: ApimartError) -> bool:
    """Return whether a response has nothing to do with what the row requests."""
    if isinstance(response, ABOUT_THE_ROW):
        return False
    return entry.status is EntryStatus.UNANSWERED or (entry.error is not None and entry.error.retryable)
