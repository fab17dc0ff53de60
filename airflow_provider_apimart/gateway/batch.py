"""
The answer to a question after many tasks.

``POST /v1/tasks/batch`` is named on the vendors' pages, and its answer is documented nowhere. A list, a map by id,
either of them below ``tasks``, items in envelopes of their own, errors per item and left-out ids are all understood;
items are told apart by their ids, never by their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.exceptions import GatewayError, UnreadableAnswerError
from airflow_provider_apimart.gateway.errors import error_of, task_lookup_error
from airflow_provider_apimart.gateway.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_apimart.gateway.answer import Answer

__all__ = ["read_batch"]


def read_batch(answer: Answer, task_ids: Sequence[str], *, base_url: str = "") -> dict[str, Task | GatewayError]:
    """
    Return what the answer says of each id that was asked for; ids that it leaves out are missing.

    :raises UnreadableAnswerError: when it is not a description of tasks at all.
    """
    wanted = set(task_ids)
    found: dict[str, Task | GatewayError] = {}
    for key, item in _items(answer):
        task_id, outcome = _outcome(key, item, answer, base_url)
        if task_id in wanted:
            found[task_id] = outcome
    return found


def _items(answer: Answer) -> Iterator[tuple[str, Any]]:
    """Yield each item with the key that it stands under in a map, or an empty one in a list."""
    data = answer.payload
    if isinstance(data, dict):
        data = data.get("data", data)
    if isinstance(data, dict) and isinstance(data.get("tasks"), list | dict):
        data = data["tasks"]
    if isinstance(data, list):
        yield from (("", item) for item in data)
    elif isinstance(data, dict) and all(isinstance(item, dict) for item in data.values()):
        yield from ((str(key), item) for key, item in data.items())
    else:
        raise UnreadableAnswerError(f"The gateway described many tasks in an unknown shape: {answer.first_line}")


def _outcome(key: str, item: Any, answer: Answer, base_url: str) -> tuple[str, Task | GatewayError]:
    outer: dict[str, Any] = item if isinstance(item, dict) else {}
    data = outer.get("data")
    inner: dict[str, Any] = data if isinstance(data, dict) else outer
    task_id = str(inner.get("id") or inner.get("task_id") or outer.get("id") or outer.get("task_id") or key)
    if inner.get("status") or inner.get("state"):
        return task_id, Task.from_json(inner, task_id=task_id, base_url=base_url)
    return task_id, task_lookup_error(error_of(200, outer, answer), task_id)
