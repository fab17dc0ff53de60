"""What Airflow hands to an operator, without a scheduler."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Asset
    from operators.asset_events import AssetEvent

    from airflow_provider_apimart.operators.image import ApimartImageOperator
    from airflow_provider_apimart.triggers.apimart import ApimartTaskTrigger


class StateStore:
    """Keeps JSON, as the task state store does; can be told to fail."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.history: list[Any] = []
        self.fail_reads = False
        self.fail_writes = False
        self.failing_writes = 0
        self.calls = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.calls += 1
        if self.fail_reads:
            raise RuntimeError("the state store does not answer")
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:  # noqa: ARG002 - Airflow's own signature
        self.calls += 1
        if self.failing_writes > 0:
            self.failing_writes -= 1
            raise RuntimeError("the API server does not answer")
        if self.fail_writes:
            return  # Airflow 3.3.2 ignores the answer to a write, so a lost one looks like this.
        self.values[key] = json.dumps(value)
        self.history.append(value)


@dataclass
class TaskInstance:
    """
    One task instance over all its tries, and the DAG run that it is alone in.

    :param on_xcom: told of each XCom that is pushed.
    :param known_assets: that DAGs of this Airflow name.
    :param events: that its successes were, the oldest first.
    """

    dag_id: str = "a_dag"
    run_id: str = "a_run"
    task_id: str = "a_task"
    map_index: int = -1
    max_tries: int = 2
    try_number: int = 0
    fail_xcoms: bool = False
    store: StateStore | None = field(default_factory=StateStore)
    xcoms: dict[str, Any] = field(default_factory=dict)
    on_xcom: Callable[[str, Any], None] = lambda _key, _value: None
    start_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    deferrals: int = 0
    known_assets: list[Asset] = field(default_factory=list)
    events: list[AssetEvent] = field(default_factory=list)

    def xcom_push(self, key: str, value: Any) -> None:
        if self.fail_xcoms:
            raise RuntimeError("the API server does not answer")
        self.xcoms[key] = json.loads(json.dumps(value))
        self.on_xcom(key, value)

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcoms.get(key)

    @property
    def context(self) -> dict[str, Any]:
        """What one segment of a try is given; the next one runs in another process."""
        from airflow.sdk.execution_time.context import OutletEventAccessors

        context = {"ti": self, "dag_run": self, "outlet_events": OutletEventAccessors()}
        return context if self.store is None else {**context, "task_state_store": self.store}

    def begin_run(self, run_id: str) -> None:
        """Become the task instance of another DAG run, of which nothing is recorded yet."""
        self.run_id, self.start_date, self.try_number = run_id, datetime.now(UTC), 0
        self.store = None if self.store is None else StateStore()

    def clear(self) -> None:
        """What a person does: Airflow raises ``max_tries``, which a retry leaves alone."""
        self.max_tries += 3

    def run(self, make_operator: Callable[[], ApimartImageOperator]) -> Any:
        """Run one try to its end, with a new operator for each segment, as Airflow does."""
        return self.finish(make_operator, self.run_until_deferred(make_operator))

    def finish(self, make_operator: Callable[[], ApimartImageOperator], trigger: Any) -> Any:
        """Run a try on from its deferral to its end."""
        from airflow.sdk.exceptions import TaskDeferred

        while not isinstance(trigger, dict):
            self.deferrals += 1
            try:
                return self.resume(make_operator, self.event_of(trigger))
            except TaskDeferred as deferred:
                trigger = deferred.trigger
        return trigger

    def run_until_deferred(self, make_operator: Callable[[], ApimartImageOperator]) -> Any:
        """Run the first segment of a try, and return the trigger, or the result where it did not defer."""
        from airflow.sdk.exceptions import TaskDeferred

        self.try_number += 1
        self.xcoms.clear()  # As Airflow does at the start of each try.
        try:
            return self._segment(make_operator, lambda operator, context: operator.execute(context))
        except TaskDeferred as deferred:
            return deferred.trigger

    def resume(self, make_operator: Callable[[], ApimartImageOperator], event: dict[str, Any]) -> Any:
        return self._resume(make_operator, "execute_complete", {"event": event})

    def resume_after_failure(self, make_operator: Callable[[], ApimartImageOperator], reason: str) -> Any:
        """Run what Airflow runs when a trigger has crashed, or when its time is up."""
        return self._resume(make_operator, "__fail__", {"error": reason})

    def _resume(self, make_operator: Callable[[], ApimartImageOperator], method: str, kwargs: dict[str, Any]) -> Any:
        return self._segment(
            make_operator, lambda operator, context: operator.resume_execution(method, kwargs, context)
        )

    def _segment(self, make_operator: Callable[[], ApimartImageOperator], work: Callable[[Any, Any], Any]) -> Any:
        from operators.asset_events import events_of

        operator, context = make_operator(), self.context
        result = work(operator, context)
        self.events += events_of(operator, context["outlet_events"], self.known_assets)
        return result

    @staticmethod
    def event_of(trigger: ApimartTaskTrigger) -> dict[str, Any]:
        """Move a trigger to an event loop of its own, as a triggerer does, and return what it fires, at once."""
        _, kwargs = trigger.serialize()
        moved = type(trigger)(**json.loads(json.dumps({**kwargs, "not_before": 0.0})))

        async def first_event() -> dict[str, Any]:
            events = moved.run()
            event = await anext(events)
            await events.aclose()
            return json.loads(json.dumps(event.payload))

        return asyncio.run(first_event())
