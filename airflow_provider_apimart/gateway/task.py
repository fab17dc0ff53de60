"""One gateway task as the gateway describes it, and the response to a submit. Does no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import (
    ApimartError,
    NoImagesError,
    TaskCancelledError,
    TaskFailedError,
    TaskModeratedError,
)
from airflow_provider_apimart.gateway.parsing import (
    find_failure,
    find_image_urls,
    find_named_id,
    find_task_objects,
    read_amount,
    read_integer,
    read_timestamp,
)
from airflow_provider_apimart.gateway.response import excerpt, first_line, quoted, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_apimart.gateway.response import Response

__all__ = ["ASSUMED_URL_LIFETIME", "Image", "Submission", "Task", "TaskState", "is_moderation", "task_error"]

#: Seconds that a picture's URL is taken to live where the gateway does not say: the shortest figure of the vendors.
ASSUMED_URL_LIFETIME: Final = 24 * 60 * 60

#: Begins the id of a picture that came with the response to its submit, without a task of its own.
SYNCHRONOUS_PREFIX: Final = "sync_"
_SYNCHRONOUS_OBJECT: Final = "generation.result"


class TaskState(StrEnum):
    """The meaning of a status word. An unknown word means that the task still runs."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @classmethod
    def from_status(cls, status: str) -> TaskState:
        """Return the state that a gateway's status word stands for."""
        return _STATES.get(status.strip().lower(), cls.RUNNING)


#: Fields that the gateway names as :class:`Task` does, each with its reader.
_FIGURES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "progress": read_integer,
    "created": read_timestamp,
    "completed": read_timestamp,
    "estimated_time": read_integer,
    "actual_time": read_integer,
    "cost": read_amount,
    "credits_cost": read_amount,
}
_EXPIRED: Final = "expired"
_COSTS: Final = ("cost", "credits_cost")
#: Stands for a cost that was not understood, in the JSON of a task.
_UNREAD: Final = "not understood"
#: Fields that say which task an object is, and nothing about it.
_IDENTITY: Final = frozenset({"id", "task_id", "status"})
_STATES: Final[Mapping[str, TaskState]] = {
    **dict.fromkeys(
        ("submitted", "pending", "queued", "processing", "in_progress", "running", "not_start", "modal", ""),
        TaskState.RUNNING,
    ),
    **dict.fromkeys(
        ("completed", "complete", "success", "succeeded", "succeed", "successful", "done", "finished"),
        TaskState.COMPLETED,
    ),
    **dict.fromkeys(("failed", "failure", "fail", "error", _EXPIRED), TaskState.FAILED),
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


@dataclass(frozen=True, slots=True)
class Image:
    """
    One finished picture.

    :param url: byte for byte as the gateway gave it: an http(s) URL, or a ``data:`` URI that holds the picture.
    :param expires_at: Unix seconds at which the URL dies; ``None`` where the gateway gives no hint.
    """

    url: str
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    One gateway task.

    :param status: the gateway's own word, in lower case.
    :param images: finished pictures in the gateway's order.
    :param cost: US dollars charged; ``None`` where the gateway does not say. Unknown is never 0.
    :param credits_cost: the same in the gateway's credits.
    :param has_unread_cost: whether the gateway names a cost in a form that was not understood.
    :param created: Unix seconds at which the gateway accepted it.
    :param completed: Unix seconds at which it was finished.
    :param actual_time: seconds that the task took.
    :param estimated_time: seconds that the gateway expects it to take.
    :param progress: per cent.
    :param error_code: the gateway's code of a failure, as text.
    :param error_message: the gateway's reason of a failure.
    :param quote: an excerpt of the gateway's own description where it was not understood: no status word, an unknown
        one, or a completed task without a picture. Empty otherwise.
    """

    task_id: str
    status: str
    state: TaskState
    images: tuple[Image, ...] = ()
    cost: float | None = None
    credits_cost: float | None = None
    has_unread_cost: bool = False
    created: int | None = None
    completed: int | None = None
    actual_time: int | None = None
    estimated_time: int | None = None
    progress: int | None = None
    error_code: str = ""
    error_message: str = ""
    quote: str = ""

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], *, task_id: str | None = None, base_url: str = "", api_key: str = ""
    ) -> Task:
        """
        Read one task object, without the envelope around it.

        :param task_id: the id that was queried, under which the task stays known; the object's own unless given.
        :param base_url: the address that a relative picture URL is relative to.
        :param api_key: never part of the texts that are shown, even if the gateway repeats it.
        """
        status = str(data.get("status") or data.get("state") or data.get("task_status") or "").strip().lower()
        if not status and any(find_image_urls(data, base_url=base_url)):
            status = "completed"
        state = TaskState.from_status(status)
        images = tuple(_images(data, base_url)) if state is TaskState.COMPLETED else ()
        code, message = find_failure(data)
        is_odd = status not in _STATES or (state is TaskState.COMPLETED and not images)
        is_odd = is_odd or (not status and not data.keys() <= _IDENTITY)
        return cls(
            task_id=str(task_id or data.get("id") or data.get("task_id") or ""),
            status=excerpt(status),
            state=state,
            images=images,
            error_code=excerpt(redact(code, api_key)),
            error_message=redact(message, api_key),
            quote=(first_line(redact(str(data.get("quote") or ""), api_key)) or quoted(data, api_key))
            if is_odd
            else "",
            has_unread_cost=any(data.get(name) and read_amount(data[name]) is None for name in _COSTS),
            **{name: read(data.get(name)) for name, read in _FIGURES.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the task in the gateway's own shape, so that :meth:`from_json` gives an equal one back."""
        described: dict[str, Any] = {"id": self.task_id, "status": self.status}
        described |= {name: figure for name in _FIGURES if (figure := getattr(self, name)) is not None}
        if self.has_unread_cost:
            described.setdefault("cost", _UNREAD)
        if self.images:
            described["result"] = {"images": [{"url": [i.url], "expires_at": i.expires_at} for i in self.images]}
        if self.error_code or self.error_message:
            described["error"] = {"code": self.error_code, "message": self.error_message}
        if self.quote:
            described["quote"] = self.quote
        return described

    @property
    def is_finished(self) -> bool:
        """Return whether the gateway will not change the task any more."""
        return self.state is not TaskState.RUNNING

    @property
    def has_failed(self) -> bool:
        """Return whether the task ended without its pictures: it failed or was cancelled."""
        return self.state in {TaskState.FAILED, TaskState.CANCELLED}

    @property
    def is_charged(self) -> bool:
        """Return whether the gateway names a cost."""
        return bool(self.cost or self.credits_cost)

    @property
    def is_free(self) -> bool:
        """Return whether the task failed without a charge, so that it may be bought again."""
        is_priced = self.is_charged or self.has_unread_cost
        return self.state is TaskState.FAILED and not is_priced and self.status != _EXPIRED

    @property
    def can_be_queried(self) -> bool:
        """Return whether the gateway knows the task; it does not know a picture that came with its submit."""
        return not self.task_id.startswith(SYNCHRONOUS_PREFIX)


@dataclass(frozen=True, slots=True)
class Submission:
    """
    An accepted request.

    :param tasks: the tasks that it became, usually one. A gateway that responds with pictures instead of an id gives a
        task that is finished already.
    :param replayed: whether the gateway recognised the ``Idempotency-Key`` and repeated its first response.
    """

    tasks: tuple[Task, ...]
    replayed: bool = False

    @classmethod
    def from_response(cls, response: Response, *, base_url: str = "", api_key: str = "") -> Submission:
        """
        Read the tasks or pictures that a response to a submit names, in any documented shape.

        :param base_url: the address that a relative picture URL is relative to.
        :param api_key: never part of the texts that are shown.
        :raises UnreadableAnswerError: when it names neither; quotes the response.
        """
        named: dict[str, dict[str, Any]] = {}
        for item in find_task_objects(response.payload):
            if _is_task(item, response):
                named.setdefault(item["id"], item)  # Some responses repeat an id: it is one task all the same.
        tasks = [_accepted(item, base_url, api_key) for item in named.values()]
        if not tasks and isinstance(response.payload, dict) and response.is_success:
            tasks = _delivered_at_once(response.payload, base_url)
        if not tasks:
            raise response.unreadable("The gateway answered the submit without a task id", api_key)
        return cls(tuple(tasks), replayed=response.headers.get("idempotency-replayed", "").lower() == "true")


def _is_task(item: dict[str, Any], response: Response) -> bool:
    """Return whether an object with an id is a task: a proxy's own error may have an "id" and a "status" too."""
    if not response.is_success:
        return bool(item["id"].startswith("task"))
    return find_named_id(item) is not None or not Task.from_json(item).has_failed


def _accepted(item: dict[str, Any], base_url: str, api_key: str) -> Task:
    if item.get("object") == _SYNCHRONOUS_OBJECT and not item.get("status"):
        item = {**item, "status": "completed"}
    item = item if item.get("status") or item.get("state") else {**item, "status": "submitted"}
    task = Task.from_json(item, base_url=base_url, api_key=api_key)
    if task.state is TaskState.COMPLETED and not task.images:
        # "success" without a picture is the outcome of the submit, not that of the task.
        return replace(task, status="submitted", state=TaskState.RUNNING, quote="")
    return task


def _delivered_at_once(payload: Mapping[str, Any], base_url: str) -> list[Task]:
    """Return the one task for pictures that came instead of a task id; its id is derived from the first of them."""
    names = ("images", "output", "outputs", "urls", "expires_at", "created", "cost", "credits_cost")
    described = {name: payload.get(name) for name in names}
    described |= {"status": "completed", "result": payload.get("data"), "completed": payload.get("created")}
    task = Task.from_json(described, base_url=base_url)
    if not task.images:
        return []
    digest = hashlib.sha256(task.images[0].url.encode(errors="backslashreplace")).hexdigest()
    return [replace(task, task_id=f"{SYNCHRONOUS_PREFIX}{digest[:26]}")]


def _images(data: Mapping[str, Any], base_url: str) -> Iterator[Image]:
    completed = read_timestamp(data.get("completed"))
    expiry = read_timestamp(data.get("expires_at"))
    if completed is not None and (expiry is None or expiry <= completed):
        expiry = completed + ASSUMED_URL_LIFETIME
    for url, expires_at in find_image_urls(data, base_url=base_url):
        if url.startswith("data:"):  # It holds the picture, and cannot die.
            yield Image(url, None)
            continue
        # A URL that died before its picture was finished is a duration, or a mistake.
        is_sensible = expires_at is not None and (completed is None or expires_at > completed)
        yield Image(url, expires_at if is_sensible else expiry)


def task_error(task: Task) -> ApimartError | None:
    """Return the error that a finished task stands for, or ``None`` when it delivered at least one picture."""
    if task.images:
        return None
    if task.state is TaskState.FAILED:
        is_moderated = is_moderation(task.error_code, task.error_message)
        cls = TaskModeratedError if is_moderated else TaskFailedError
        reason = task.error_message or task.quote or f"no reason given, status {task.status!r}"
        charged = "It was charged." if task.is_charged else "It was not charged, as far as the gateway says."
        if not task.is_charged and not task.is_free:
            charged = "Whether it was charged is not known: look at the gateway's console."
        return cls(
            f"Task {task.task_id} failed at the gateway: {reason}{'' if reason.endswith('.') else '.'} {charged}",
            code=task.error_code or None,
            task_id=task.task_id,
            # Buying it again is sensible only while it cost nothing.
            retryable=cls.default_retryable and task.is_free,
            charged="no" if task.is_free else "yes" if task.is_charged else "unknown",
        )
    if task.state is TaskState.CANCELLED:
        return TaskCancelledError(
            f"Task {task.task_id} was cancelled at the gateway. Whether it was charged is not known: "
            "look at the gateway's console.",
            task_id=task.task_id,
        )
    if task.state is TaskState.COMPLETED:
        return NoImagesError(
            f"Task {task.task_id} completed, but its description holds no picture that could be downloaded: "
            f"{task.quote or 'nothing'}. It was probably charged (cost: {task.cost}). A retry queries it again, at no "
            "cost; otherwise ask the gateway's support with the task id.",
            task_id=task.task_id,
        )
    return None


def is_moderation(*texts: str) -> bool:
    """Return whether a gateway's code or message says that the content was refused."""
    joined = " ".join(texts).lower()
    return any(word in joined for word in _MODERATION_WORDS)
