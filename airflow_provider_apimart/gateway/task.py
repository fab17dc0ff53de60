"""
One gateway task as the gateway describes it, read from every shape that has been documented or seen.

What the gateway answered to a paid request.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from airflow_provider_apimart.exceptions import (
    ApimartError,
    NoImagesError,
    TaskCancelledError,
    TaskFailedError,
    TaskModeratedError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.response import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_apimart.gateway.response import Response

__all__ = ["ASSUMED_URL_LIFETIME", "Image", "Submission", "Task", "TaskState", "is_moderation", "task_error"]

#: Seconds that a picture's URL is taken to live where the answer does not say: the shortest figure of the vendors.
ASSUMED_URL_LIFETIME: Final = 24 * 60 * 60

#: Begins the id that stands for a picture which the gateway delivered at once, without a task of its own.
SYNCHRONOUS_PREFIX: Final = "sync_"


class TaskState(StrEnum):
    """What a status word means. A word that is not known means that the task still runs."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @classmethod
    def from_status(cls, status: str) -> TaskState:
        """Return the state that a gateway's status word stands for."""
        return _STATES.get(status.strip().lower(), cls.RUNNING)


_STATES: Final[Mapping[str, TaskState]] = {
    **dict.fromkeys(("completed", "complete", "success", "succeeded"), TaskState.COMPLETED),
    **dict.fromkeys(("failed", "failure", "fail", "error", "expired"), TaskState.FAILED),
    **dict.fromkeys(("cancelled", "canceled"), TaskState.CANCELLED),
}

#: Words by which the vendors and the model providers behind them say that the content was the reason.
_MODERATION_WORDS: Final = (
    "moderation",
    "content_policy",
    "content policy",
    "safety policy",
    "safety system",
    "sensitive content",
    "sensitivecontentdetected",
    "public_error_unsafe_generation",
    "安全策略",
    "内容安全",
    "敏感",
)

_URL_KEYS: Final = ("url", "urls", "uri", "image_url", "image_urls")


@dataclass(frozen=True, slots=True)
class Image:
    """One finished picture: its URL, and when the URL dies, in Unix seconds."""

    url: str
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    One gateway task.

    :param task_id: the gateway's id.
    :param status: the gateway's own word, in lower case.
    :param state: what the word means.
    :param images: finished pictures in the gateway's order.
    :param cost: US dollars charged; ``None`` where the gateway does not say. Unknown is never 0.
    :param credits_cost: the same in the gateway's credits.
    :param created: Unix seconds; likewise ``completed``.
    :param actual_time: seconds that the task took.
    :param estimated_time: seconds that the gateway expects it to take.
    :param progress: per cent.
    :param error_code: the gateway's code of a failure, as text.
    :param error_message: the gateway's reason of a failure.
    :param quote: excerpt of an answer that was not understood.
    """

    task_id: str
    status: str
    state: TaskState
    images: tuple[Image, ...] = ()
    cost: float | None = None
    credits_cost: float | None = None
    created: int | None = None
    completed: int | None = None
    actual_time: int | None = None
    estimated_time: int | None = None
    progress: int | None = None
    error_code: str = ""
    error_message: str = ""
    quote: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, task_id: str | None = None, base_url: str = "") -> Task:
        """
        Read one task object, without the envelope around it.

        :param task_id: the id that was asked for, where the object does not repeat it.
        :param base_url: what a relative picture URL is relative to.
        """
        status = str(data.get("status") or data.get("state") or "").strip().lower()
        code, message = _failure(data)
        created, completed = _integer(data.get("created")), _integer(data.get("completed"))
        state = TaskState.from_status(status)
        images = tuple(_images(data, base_url, completed)) if state is TaskState.COMPLETED else ()
        return cls(
            task_id=str(data.get("id") or data.get("task_id") or task_id or ""),
            status=status,
            state=state,
            images=images,
            cost=_number(data.get("cost")),
            credits_cost=_number(data.get("credits_cost")),
            created=created,
            completed=completed,
            actual_time=_integer(data.get("actual_time")),
            estimated_time=_integer(data.get("estimated_time")),
            progress=_integer(data.get("progress")),
            error_code=code,
            error_message=message,
        )

    @classmethod
    def delivered_at_once(cls, data: Mapping[str, Any], *, base_url: str = "") -> Task:
        """Read an answer that carries pictures instead of a task id; the id is derived from the first URL."""
        images = tuple(_images({"result": {"images": data.get("data")}}, base_url, _integer(data.get("created"))))
        digest = hashlib.sha256(images[0].url.encode(errors="backslashreplace")).hexdigest() if images else ""
        return cls(
            task_id=f"{SYNCHRONOUS_PREFIX}{digest[:26]}",
            status="completed",
            state=TaskState.COMPLETED,
            images=images,
            cost=_number(data.get("cost")),
            credits_cost=_number(data.get("credits_cost")),
            created=_integer(data.get("created")),
            completed=_integer(data.get("created")),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the task in the gateway's own shape, so that :meth:`from_json` gives an equal one back."""
        described: dict[str, Any] = {
            "id": self.task_id,
            "status": self.status,
            "progress": self.progress,
            "created": self.created,
            "completed": self.completed,
            "estimated_time": self.estimated_time,
            "actual_time": self.actual_time,
            "cost": self.cost,
            "credits_cost": self.credits_cost,
            "result": {"images": [{"url": [i.url], "expires_at": i.expires_at} for i in self.images]}
            if self.images
            else None,
            "error": {"code": self.error_code, "message": self.error_message}
            if self.error_code or self.error_message
            else None,
        }
        return {key: value for key, value in described.items() if value is not None}

    @property
    def is_finished(self) -> bool:
        """Whether the gateway will not change the task any more."""
        return self.state is not TaskState.RUNNING

    @property
    def is_free(self) -> bool:
        """Whether the task failed and the gateway names no cost: it was not charged, and may be bought again."""
        return self.state is TaskState.FAILED and not self.cost


def task_error(task: Task) -> ApimartError | None:
    """Return the error that a finished task stands for, or ``None`` when it delivered at least one picture."""
    paid = "It was charged" if task.cost else "It was not charged"
    if task.state is TaskState.FAILED:
        cls = TaskModeratedError if is_moderation(task.error_code, task.error_message) else TaskFailedError
        reason = task.error_message or "no reason given"
        return cls(
            f"Task {task.task_id} failed at the gateway: {reason}. {paid}, as far as the gateway says.",
            code=task.error_code or None,
            task_id=task.task_id,
            # Buying it again is sensible only while it cost nothing.
            retryable=cls.default_retryable and not task.cost,
            charged="yes" if task.cost else "no",
        )
    if task.state is TaskState.CANCELLED:
        return TaskCancelledError(
            f"Task {task.task_id} was cancelled at the gateway. Whether it was charged is not known: "
            "look at the gateway's console.",
            task_id=task.task_id,
        )
    if task.state is TaskState.COMPLETED and not task.images:
        return NoImagesError(
            f"Task {task.task_id} completed, but its answer holds no picture URL. It was probably charged "
            f"(cost: {task.cost}): ask the gateway's support with the task id.",
            task_id=task.task_id,
        )
    return None


def is_moderation(*texts: str) -> bool:
    """Whether a gateway's code or message says that the content was refused."""
    joined = " ".join(texts).lower()
    return any(word in joined for word in _MODERATION_WORDS)


def _images(data: Mapping[str, Any], base_url: str, completed: int | None) -> Iterator[Image]:
    """Yield the pictures of all shapes: a URL may be a text, a list, or several in one entry."""
    result = data.get("result")
    result = result if isinstance(result, dict) else {}
    entries = result.get("images") or result.get("image") or result or data.get("result_url") or ()
    seen = set()
    for entry in entries if isinstance(entries, list) else [entries]:
        expires_at = _integer(entry.get("expires_at")) if isinstance(entry, dict) else None
        if expires_at is None and completed is not None:
            expires_at = completed + ASSUMED_URL_LIFETIME
        for text in _urls(entry):
            url = _absolute(text, base_url)
            if url.startswith(("http://", "https://")) and url not in seen:
                seen.add(url)
                yield Image(url, expires_at)


def _absolute(url: str, base_url: str) -> str:
    try:
        return urljoin(f"{base_url}/", url) if url.startswith("/") else url
    except ValueError:
        return ""  # Two slashes and no host: nothing that could be downloaded.


def _urls(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, list):
        for item in value:
            yield from _urls(item)
    elif isinstance(value, dict):
        for key in _URL_KEYS:
            yield from _urls(value.get(key))


def _failure(data: Mapping[str, Any]) -> tuple[str, str]:
    """Return code and message of a failure; the gateways send objects, bare texts, JSON inside texts, and HTML."""
    error = data.get("error") or data.get("fail_reason") or data.get("failure_reason") or data.get("failReason")
    if not error:
        result = data.get("result")
        error = result.get("error") if isinstance(result, dict) else None
    if not error:
        return "", ""
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type") or ""), _plain(error.get("message") or "")
    return "", _plain(error)


def _plain(message: Any) -> str:
    """Return a failure's text: the innermost message of nested JSON, the first line of anything long."""
    text = str(message).strip()
    while text != (inner := first_line(_nested_message(text))):
        text = inner
    return text


def _nested_message(text: str) -> str:
    """Return the message inside a text that is a JSON object, or the text itself."""
    try:
        nested = json.loads(text) if text.startswith("{") else {}
    except (ValueError, RecursionError):
        return text
    inner = nested.get("error", nested)
    return str((inner.get("message") if isinstance(inner, dict) else inner) or text).strip()


def _number(value: Any) -> float | None:
    """Return a number or nothing; never 0 for what is missing, and no float noise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return round(number, 10) if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    """Return a whole number from ``40``, ``40.0`` or ``"40%"``."""
    if type(value) is int:  # The usual case, thousands of times a second; True is no number.
        return value
    number = _number(value.rstrip("% ") if isinstance(value, str) else value)
    return None if number is None else int(number)


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
    def from_answer(cls, answer: Response, *, base_url: str = "") -> Submission:
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
