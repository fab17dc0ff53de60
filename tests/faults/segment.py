"""One segment of a try, as Airflow runs it: the start, the wait in the triggerer, the resumption, or the copy."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import TaskDeferred
from faults.dataset_clock import VARIABLE, install
from faults.injector import Injector
from faults.task_instance import StateStore, TaskInstance, write_json

from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["run_segment"]


def run_segment(order: Mapping[str, Any]) -> None:
    """
    Run a segment, and leave its outcome in a file, which is to say: report it to Airflow.

    :param order: a JSON object, see :meth:`faults.tries.Tries.start`.
    """
    os.environ.update(order["environment"])
    if clock := os.environ.get(VARIABLE):
        install(clock)
    directory = Path(order["directory"])
    injector = Injector(order["faults"], directory)
    injector.reach("start")
    outcome = {"trigger": _wait, "execute": _execute, "resume": _resume, "copy": _execute}[order["segment"]](
        order, injector
    )
    injector.end()
    write_json(directory / order["outcome"], outcome)


def _execute(order: Mapping[str, Any], injector: Injector) -> dict[str, Any]:
    return _work(order, injector, lambda operator, context: operator.execute(context))


def _resume(order: Mapping[str, Any], injector: Injector) -> dict[str, Any]:
    method, arguments = order["resume"]
    return _work(order, injector, lambda operator, context: operator.resume_execution(method, arguments, context))


def _work(order: Mapping[str, Any], injector: Injector, call: Callable[[Any, dict[str, Any]], Any]) -> dict[str, Any]:
    operator, context = _operator(order), _context(order, injector)
    try:
        return {"kind": "returned", "value": call(operator, context)}
    except TaskDeferred as deferred:
        injector.reach("deferral")
        path, arguments = deferred.trigger.serialize()
        return {
            "kind": "deferred",
            "trigger": path,
            "arguments": arguments,
            "method": deferred.method_name,
            "more": dict(deferred.kwargs or {}),
        }
    except Exception as error:  # noqa: BLE001 - Airflow takes any
        traceback.print_exc()
        return _raised(error, operator, context)


def _raised(error: Exception, operator: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    ti = context["ti"]
    decision = operator.retry_policy.evaluate(error, ti.try_number, ti.max_tries, context)
    return {
        "kind": "raised",
        "type": type(error).__name__,
        "message": str(error),
        "retry": str(decision.action.value) != "fail",
        "delay": decision.retry_delay.total_seconds() if decision.retry_delay else None,
        "charged": error.charged if isinstance(error, ApimartError) else None,
        "task_id": getattr(error, "task_id", None),
        "idempotency_key": getattr(error, "idempotency_key", None),
    }


def _wait(order: Mapping[str, Any], injector: Injector) -> dict[str, Any]:
    """Run a trigger in an event loop of its own, to its first event or to its cancellation."""
    module, _, name = order["trigger"].rpartition(".")
    # The hold of ten seconds protects from a race in Airflow's scheduler, which does not run here.
    trigger = getattr(importlib.import_module(module), name)(**{**order["arguments"], "not_before": 0.0})

    async def first_event() -> dict[str, Any]:
        events = trigger.run()
        event = await anext(events)
        await events.aclose()
        injector.reach("event")
        return {"kind": "event", "event": json.loads(json.dumps(event.payload))}

    async def cancelled() -> dict[str, Any]:
        task = asyncio.create_task(first_event())
        await asyncio.sleep(order["cancel_after"])
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await trigger.on_kill()
        return {"kind": "cancelled"}

    try:
        return asyncio.run(first_event() if order.get("cancel_after") is None else cancelled())
    except Exception:  # noqa: BLE001 - Airflow fails the task then
        traceback.print_exc()
        return {"kind": "failed"}


def _operator(order: Mapping[str, Any]) -> Any:
    module, _, name = order["operator"].rpartition(":")
    operator = getattr(importlib.import_module(module), name)(**order["parameters"])
    for field, value in order.get("rendered", {}).items():
        setattr(operator, field, value)  # As Airflow does, which does not ask the constructor again.
    if order["segment"] == "copy":
        operator._sleep = lambda _seconds: None  # A minute of pauses for each picture that is refused for good.
    return operator


def _context(order: Mapping[str, Any], injector: Injector) -> dict[str, Any]:
    directory = Path(order["directory"])
    ti = TaskInstance(**order["task_instance"], try_id=order["try_id"], directory=directory, injector=injector)
    instance = ti.task_id if ti.map_index < 0 else f"{ti.task_id}-{ti.map_index}"
    store = StateStore(
        directory / f"state-{instance}.json", order["try_id"], directory / f"current-{ti.task_id}", injector
    )
    dag_run = SimpleNamespace(start_date=datetime.fromtimestamp(order["run_began_at"], UTC))
    return {"ti": ti, "dag_run": dag_run, "task_state_store": store}
