"""Paid calls: written down before they go out, sent side by side, their answers written down as they come. I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.claiming import claim, objection_to
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.outcome import OWN_FAULT, submitted
from airflow_provider_apimart.dataset.plan import intended
from airflow_provider_apimart.exceptions import ApimartError, BusyError, SubmitOutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from threading import Event

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.part import Part
    from airflow_provider_apimart.dataset.plan import Rules
    from airflow_provider_apimart.dataset.queue import Queue
    from airflow_provider_apimart.dataset.recorder import Recorder
    from airflow_provider_apimart.dataset.references.resolver import ReferenceResolver
    from airflow_provider_apimart.gateway.cost import Price
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["Buyer"]

#: Calls that are written down, and then sent, at a time: as many may be left without an answer when a worker is killed.
_GROUP: Final = 32


@dataclass
class Buyer:
    """
    Buys for one worker.

    :param stopping: set when the worker is about to be killed: nothing more is sent then.
    :param clock: Unix seconds.
    :param trouble: why nothing more is bought by this worker: something that has nothing to do with the rows.
    """

    hook: ApimartHook
    recorder: Recorder
    queue: Queue
    rules: Rules
    references: ReferenceResolver
    stopping: Event
    clock: Callable[[], float] = time.time
    trouble: ApimartError | None = None
    _prices: dict[str, Price | None] = field(default_factory=dict)
    _sent_again: set[bytes] = field(default_factory=set)

    def objection(self, part: Part) -> str | None:
        """Return why the budget does not allow a call now, or ``None`` when it does."""
        return objection_to(part, self.recorder.ledger, self.rules, listed_price=self._listed_price)

    def buy(self, parts: Sequence[Part]) -> None:
        """
        Send what the budget allows and what nobody else has bought meanwhile.

        :raises RecordUnavailableError: when the ledger could not be written. Nothing is sent without it.
        """
        for start in range(0, len(parts), _GROUP):
            if self.trouble or self.stopping.is_set():
                break
            group = parts[start : start + _GROUP]
            requests = self._with_references(group)
            ready = [part for part in group if part.key in requests]
            intents = claim(
                ready,
                self.queue,
                self.recorder.ledger,
                self.rules,
                listed_price=self._listed_price,
                clock=self.clock,
            )
            self._send([(requests[part.key], entry) for part, entry in intents], again=False)
            if len(intents) < len(ready) and self.objection(ready[-1]):
                break

    def is_untried(self, entry: Entry) -> bool:
        """Whether this worker has not sent the call once more yet."""
        return entry.key not in self._sent_again

    def send_again(self, calls: Sequence[tuple[Part, Entry]]) -> None:
        """
        Send calls once more whose answers were lost, with their old keys.

        :raises RecordUnavailableError: when the ledger could not be written.
        """
        self._sent_again |= {entry.key for _, entry in calls}
        requests = self._with_references([part for part, _ in calls])
        ready = [(requests[part.key], entry) for part, entry in calls if part.key in requests]
        self._send(ready, again=True)

    def _send(self, calls: Sequence[tuple[ImageRequest, Entry]], *, again: bool) -> None:
        drawn = 0

        def purchases() -> Iterator[tuple[ImageRequest, str]]:
            nonlocal drawn
            for request, entry in calls:
                if self.stopping.is_set():
                    return
                drawn += 1
                yield request, entry.idempotency_key

        troubles: list[ApimartError] = []
        for place, answer in self.hook.submit_many(purchases()):
            entry = submitted(calls[place][1], answer, again=again, now=self.clock())
            self.recorder.note(entry)
            if isinstance(answer, ApimartError) and _is_trouble(entry, answer):
                troubles.append(answer)
        if not again:
            # What did not go out is taken back, so that nobody has to wonder whether it did.
            ended = BusyError("It was not sent: the task was ended first.")
            for _, intent in calls[drawn:]:
                self.recorder.note(submitted(intent, ended, again=False, now=self.clock()))
        self.recorder.flush()
        self._judge(troubles, of=len(calls))

    def _judge(self, troubles: Sequence[ApimartError], *, of: int) -> None:
        """Stop where buying on would only make more of the same."""
        lasting = [error for error in troubles if not error.retryable and error.charged == "no"]
        if lasting:
            self.trouble = lasting[0]
        elif 2 * len(troubles) > of:
            self.trouble = troubles[0]
        if isinstance(self.trouble, SubmitOutcomeUnknownError) and self.rules.on_unknown_submit == "resubmit":
            self.trouble.retryable = True

    def _with_references(self, parts: Sequence[Part]) -> dict[bytes, ImageRequest]:
        """Return the requests as they go out, and note the rows whose reference images cannot be had."""
        requests: dict[bytes, ImageRequest] = {}
        for part, request in zip(parts, self.references.resolve([part.request for part in parts]), strict=True):
            if not isinstance(request, ApimartError):
                requests[part.key] = request
                continue
            state = self.recorder.ledger.find(part.key)
            if state is None or state.status not in {Status.INTENDED, Status.UNKNOWN}:
                now = self.clock()
                unsent = intended(part, state, self.rules, reserved=None, now=now)
                self.recorder.note(submitted(unsent, request, again=False, now=now))
            if not isinstance(request, OWN_FAULT):
                self.trouble = request
        return requests

    def _listed_price(self, request: ImageRequest) -> float | None:
        if self.rules.max_cost is None:
            return None
        if request.model not in self._prices:
            try:
                self._prices[request.model] = self.hook.get_price(request.model)
            except ApimartError:  # APIMaster publishes none. What rows have cost so far counts instead.
                self._prices[request.model] = None
        price = self._prices[request.model]
        return None if price is None else price.estimate(request)


def _is_trouble(entry: Entry, answer: ApimartError) -> bool:
    """Whether the answer has nothing to do with what the row asks for."""
    if isinstance(answer, OWN_FAULT):
        return False
    return entry.status is Status.UNKNOWN or (entry.error is not None and entry.error.retryable)
