"""Paid calls: intended in the ledger, submitted side by side, their outcomes recorded as they arrive."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus
from airflow_provider_apimart.dataset.ledger.money import Budget, expected_cost
from airflow_provider_apimart.dataset.row import kind_of
from airflow_provider_apimart.dataset.run.outcome import ABOUT_THE_ROW, after_submit
from airflow_provider_apimart.dataset.run.plan import CallStep, decide_call, intent_of, is_unknown_key, resubmitted
from airflow_provider_apimart.exceptions import ApimartError, BusyError, SubmitOutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from threading import Event

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.index import Index
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.ledger.money import Objection
    from airflow_provider_apimart.dataset.references.resolver import ReferenceResolver
    from airflow_provider_apimart.dataset.row import Call
    from airflow_provider_apimart.dataset.run.settings import Rules
    from airflow_provider_apimart.gateway.cost import Price
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.task import Submission
    from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["JUDGED_CALLS", "Buyer"]

#: Calls that are intended, and then submitted, at a time: as many may be left without an outcome when a worker is
#: killed. No more than the connection's ``max_concurrency``, so that all of them are on the wire at once.
_GROUP: Final = 16
#: Paid calls among which lost responses are counted, and the fewest losses that end the buying.
JUDGED_CALLS, _FEWEST_LOSSES = 16, 3
#: Seconds after the intent was recorded until which its call may still be begun.
_BEGINS_WITHIN: Final = 30.0


@dataclass
class Buyer:
    """
    The paid calls of one worker.

    :param stopping: set when the worker is about to be killed: nothing more is submitted then.
    :param trouble: why this worker buys nothing more: something that has nothing to do with the rows.
    :param errors: why calls were not accepted, by their keys.
    :param recent_losses: of the last paid calls, whether each got no usable response; a session continues with those
        of the one before.
    """

    hook: ApimartHook
    ledger: Ledger
    rules: Rules
    references: ReferenceResolver
    stopping: Event
    trouble: ApimartError | None = None
    errors: dict[bytes, str] = field(default_factory=dict)
    recent_losses: deque[bool] = field(default_factory=lambda: deque(maxlen=JUDGED_CALLS))
    _prices: dict[str, Price | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._judge_losses()

    @property
    def group(self) -> int:
        """The number of calls that are submitted at a time."""
        return max(1, min(_GROUP, self.hook.settings.max_concurrency))

    def objection(self, call: Call) -> Objection | None:
        """Return why the budget does not allow a call, or ``None`` where it does."""
        if self.rules.max_cost is None:
            return None
        return self.budget().objection(self._expected(call.request))

    def budget(self) -> Budget:
        """Return the money of the DAG run at this moment."""
        rules = self.rules
        return Budget.of(self.ledger.index, run_id=rules.run_id, max_cost=rules.max_cost, now=self.ledger.store.now())

    def buy(self, calls: Sequence[Call]) -> None:
        """
        Submit a group of calls, except calls that exceed the budget or that another task has bought meanwhile.

        :raises RecordUnavailableError: when the intents could not be recorded. Nothing was submitted.
        """
        requests = self._with_references(calls)
        ready = [call for call in calls if call.key in requests]
        repeated: set[bytes] = set()
        self._submit(self.ledger.claim(lambda index: self._intents(ready, index, repeated)), requests, repeated)

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

        self._submit(self.ledger.claim(intents), requests, requests.keys())

    def _intents(self, calls: Sequence[Call], index: Index, repeated: set[bytes]) -> list[Entry]:
        """
        Return an intent for each call that is still to be bought, up to the first one that exceeds the budget.

        :param repeated: takes the calls whose key was submitted before, with an outcome that is not known.
        """
        repeated.clear()
        now = self.ledger.store.now()
        budget = self.budget()
        intents: list[Entry] = []
        for call in calls:
            state = index.find(call.key)
            if decide_call(state, self.rules, now=now).step is not CallStep.BUY:
                continue
            expected = self._expected(call.request)
            if budget.objection(expected):
                break
            reserved = budget.reserve(expected)
            intent = intent_of(call, state, self.rules, reserved=reserved, now=now, answer_by=self._answer_by(now))
            intents.append(intent)
            if is_unknown_key(state, intent):
                repeated.add(call.key)
        return intents

    def _submit(
        self, intents: Sequence[Entry], requests: dict[bytes, ImageRequest], repeated: Collection[bytes]
    ) -> None:
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

        def record(place: int, response: Submission | ApimartError) -> None:
            intent = intents[place]
            entry = after_submit(intent, response, is_repeated=intent.key in repeated, now=now())
            self.ledger.record(entry)
            self.recent_losses.append(entry.status is EntryStatus.UNANSWERED)
            if isinstance(response, ApimartError):
                self.errors[entry.key] = str(response)
                troubles.extend([response] if _is_trouble(entry, response) else [])

        unsent = BusyError("Not submitted: the worker was ended, or was suspended for too long. Nothing was charged.")
        try:
            # A signal, such as that of execution_timeout, may end the wait for a response: it is paid for all the same.
            with closing(self.hook.submit_many(purchases(), on_unread=record)) as responses:
                for place, response in responses:
                    record(place, response)
        finally:
            for intent in intents[drawn:]:
                self.ledger.record(after_submit(intent, unsent, is_repeated=intent.key in repeated, now=now()))
        self._judge(troubles, of=len(intents))

    def _judge(self, troubles: Sequence[ApimartError], *, of: int) -> None:
        """Stop buying where the next calls would most likely end in the same way."""
        refused = [error for error in troubles if error.charged == "no"]
        lasting = [error for error in refused if not error.retryable]
        if lasting or 2 * len(refused) > of:
            self.trouble = (lasting or refused)[0]
        else:
            self._judge_losses()

    def _judge_losses(self) -> None:
        lost, of = sum(self.recent_losses), len(self.recent_losses)
        if lost >= _FEWEST_LOSSES and 2 * lost > of:
            self.trouble = SubmitOutcomeUnknownError(
                f"{lost} of the last {of} paid calls got no usable response. Their pictures may exist and be billed; "
                "the ledger names each. No more rows were bought. Before the next run, find out what lies between this "
                "worker and the gateway.",
                retryable=self.rules.on_unknown_submit == "resubmit",
            )

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
                self.ledger.record(after_submit(refused, request, is_repeated=False, now=now))
            if not isinstance(request, ABOUT_THE_ROW):
                self.trouble = request
        return requests

    def _answer_by(self, now: float) -> float:
        return now + _BEGINS_WITHIN + self.hook.settings.submit_lifetime

    def price(self, request: ImageRequest) -> float | None:
        """Return the US dollars that a request is expected to cost, or ``None`` where that is not known."""
        return expected_cost(self._listed_price(request), self._recent_costs(request))

    def _expected(self, request: ImageRequest) -> float | None:
        """Return the same, but ask for no price list where no budget needs it."""
        listed = None if self.rules.max_cost is None else self._listed_price(request)
        return expected_cost(listed, self._recent_costs(request))

    def _recent_costs(self, request: ImageRequest) -> Sequence[float]:
        return self.ledger.index.recent_costs(kind_of(request))

    def _listed_price(self, request: ImageRequest) -> float | None:
        if request.model not in self._prices:
            try:
                self._prices[request.model] = self.hook.get_price(request.model)
            except ApimartError:  # APIMaster publishes none. What rows have cost so far counts instead.
                self._prices[request.model] = None
        price = self._prices[request.model]
        return None if price is None else price.estimate(request)


def _is_trouble(entry: Entry, response: ApimartError) -> bool:
    """Return whether an error has a cause other than the row itself, such as an empty balance or a lost response."""
    if isinstance(response, ABOUT_THE_ROW):
        return False
    return entry.status is EntryStatus.UNANSWERED or (entry.error is not None and entry.error.retryable)
