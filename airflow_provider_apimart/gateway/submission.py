"""What the gateway answered to a paid request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import UnreadableAnswerError
from airflow_provider_apimart.gateway.task import Task

if TYPE_CHECKING:
    from airflow_provider_apimart.gateway.answer import Answer

__all__ = ["Submission"]

_SYNCHRONOUS_OBJECT: Final = "generation.result"


@dataclass(frozen=True, slots=True)
class Submission:
    """
    An accepted request.

    :param tasks: the tasks that it became, in practice one. A gateway that answers with pictures instead of an id
        gives a task that is finished already.
    :param replayed: whether the gateway recognised the ``Idempotency-Key`` and repeated its first answer.
    """

    tasks: tuple[Task, ...]
    replayed: bool = False

    @classmethod
    def from_answer(cls, answer: Answer, *, base_url: str = "") -> Submission:
        """
        Read a successful answer of any documented shape.

        :raises UnreadableAnswerError: when it holds neither an id nor a picture.
        """
        payload = answer.payload
        data = payload.get("data", payload) if isinstance(payload, dict) else payload
        items = [item for item in (data if isinstance(data, list) else [data]) if isinstance(item, dict)]
        tasks = tuple(task for item in items if (task := _task(item, base_url)))
        if not tasks:
            at_once = Task.delivered_at_once({**_mapping(payload), "data": items}, base_url=base_url)
            tasks = (at_once,) if at_once.images else ()
        if not tasks:
            raise UnreadableAnswerError(
                f"The gateway accepted the request in an unknown shape, without a task id: {answer.first_line}",
                status_code=answer.status_code,
                request_id=answer.request_id,
            )
        return cls(tasks, replayed=answer.headers.get("idempotency-replayed", "").lower() == "true")


def _task(item: dict[str, Any], base_url: str) -> Task | None:
    """Return the task that one item of the answer names, or ``None`` for an item without an id."""
    task_id = item.get("task_id") or item.get("id")
    if not task_id:
        return None
    if item.get("object") == _SYNCHRONOUS_OBJECT and not item.get("status"):
        item = {**item, "status": "completed"}
    return Task.from_json({"status": "submitted", **item, "id": str(task_id)}, base_url=base_url)


def _mapping(payload: Any) -> dict[str, Any]:
    return payload if isinstance(payload, dict) else {}
