"""
The gateways' endpoints, each as a value that says what to send and how to read the answer.

Both clients send the same calls, so that nothing about an endpoint is written twice.

The answer to a question after many tasks.

``POST /v1/tasks/batch`` is named on the vendors' pages, and its answer is documented nowhere. A list, a map by id,
either of them below ``tasks``, items in envelopes of their own, errors per item and left-out ids are all understood;
items are told apart by their ids, never by their place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_apimart.exceptions import GatewayError, InvalidRequestError, UnreadableAnswerError
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.errors import answer_error, error_of, submit_error, task_lookup_error
from airflow_provider_apimart.gateway.images import reference_format
from airflow_provider_apimart.gateway.task import Submission, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_apimart.exceptions import ApimartError
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.response import Response
    from airflow_provider_apimart.gateway.settings import GatewaySettings


__all__ = [
    "Balance",
    "Endpoint",
    "get_balance",
    "get_price",
    "get_task",
    "get_tasks",
    "list_models",
    "read_batch",
    "submit",
    "upload_image",
]

T = TypeVar("T")

_KEY: Final = re.compile(r"[!-~]{1,191}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[T]):
    """
    One request and the reading of its answer.

    :param read: turns a successful answer into the result.
    :param interpret: what an error of this call means; a lost answer means something else to a paid request.
    :param idempotent: whether the request may be sent twice.
    :param paid: whether it buys something, and so counts against the limit on submits.
    :param authenticated: whether the API key goes with it.
    """

    method: str
    path: str
    read: Callable[[Response], T]
    interpret: Callable[[ApimartError], ApimartError] = lambda error: error
    idempotent: bool = True
    paid: bool = False
    authenticated: bool = True
    json: Any = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes, str]] | None = None

    def result(self, answer: Response) -> T:
        """Return what the answer holds, or raise what it means."""
        error = answer_error(answer)
        if error is None:
            try:
                return self.read(answer)
            except GatewayError as unreadable:
                error = unreadable
        raise self.interpret(error)


@dataclass(frozen=True, slots=True)
class Balance:
    """
    What is left to spend, in the unit that the account's display setting chooses (usually US dollars).

    :param remaining: ``None`` for a key without a limit.
    """

    remaining: float | None
    used: float | None


def submit(
    settings: GatewaySettings, request: ImageRequest, *, idempotency_key: str | None = None
) -> Endpoint[Submission]:
    """
    Return the paid call that asks for one task.

    :param idempotency_key: 1 to 191 visible ASCII characters. APIMart documents that within 24 hours the same key
        with the same body buys once; that gpt-image-2 honours it is not documented.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise InvalidRequestError(
            f"idempotency_key={idempotency_key!r}: must be 1 to 191 visible ASCII characters. Nothing was sent.",
            field="idempotency_key",
            value=idempotency_key,
            allowed="1 to 191 visible ASCII characters",
        )
    return Endpoint(
        method="POST",
        path=settings.submit_path,
        json=request.body(),
        headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
        read=lambda answer: Submission.from_answer(answer, base_url=settings.base_url),
        interpret=lambda error: submit_error(error, idempotency_key),
        idempotent=False,
        paid=True,
    )


def get_task(settings: GatewaySettings, task_id: str) -> Endpoint[Task]:
    """Return the call that asks after one task."""

    def read(answer: Response) -> Task:
        payload = answer.payload
        data = payload.get("data", payload) if isinstance(payload, dict) else payload
        if isinstance(data, list) and len(data) == 1:
            data = data[0]
        if data is None:
            data = {}  # Seen right after a submit: the task is there, its description is not yet.
        if not isinstance(data, dict):
            raise UnreadableAnswerError(
                f"The gateway described task {task_id} in an unknown shape: {answer.first_line}", task_id=task_id
            )
        return Task.from_json(data, task_id=task_id, base_url=settings.base_url)

    return Endpoint(
        method="GET",
        path=f"/v1/tasks/{quote(task_id, safe='')}",
        # APIMaster's notes pass the model too; English is asked for because the messages end up in task logs.
        params={"language": "en"},
        read=read,
        interpret=lambda error: task_lookup_error(error, task_id) if isinstance(error, GatewayError) else error,
    )


def get_tasks(settings: GatewaySettings, task_ids: Sequence[str]) -> Endpoint[dict[str, Task | GatewayError]]:
    """Return the call that asks after many tasks at once. Ids that the answer leaves out are not in the result."""
    return Endpoint(
        method="POST",
        path="/v1/tasks/batch",
        json={"task_ids": list(task_ids)},
        read=lambda answer: read_batch(answer, task_ids, base_url=settings.base_url),
    )


def get_balance() -> Endpoint[Balance]:
    """Return the free call that asks what is left to spend; it fails for a wrong key."""

    def read(answer: Response) -> Balance:
        payload = answer.payload
        data = payload.get("data", payload) if isinstance(payload, dict) else {}
        if not isinstance(data, dict) or not {"remain_balance", "unlimited_quota"} & data.keys():
            raise UnreadableAnswerError(f"The gateway told the balance in an unknown shape: {answer.first_line}")
        return Balance(
            remaining=None if data.get("unlimited_quota") else data.get("remain_balance"),
            used=data.get("used_balance"),
        )

    return Endpoint(method="GET", path="/v1/balance", read=read)


def list_models() -> Endpoint[list[str]]:
    """Return the call that lists the models that the key may use."""

    def read(answer: Response) -> list[str]:
        payload = answer.payload
        entries = payload.get("data") if isinstance(payload, dict) else payload
        if not isinstance(entries, list):
            raise UnreadableAnswerError(f"The gateway listed its models in an unknown shape: {answer.first_line}")
        return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]

    return Endpoint(method="GET", path="/v1/models", read=read)


def get_price(model: str) -> Endpoint[Price]:
    """Return the public call that asks for a model's price table. The API key does not go with it."""
    return Endpoint(
        method="GET",
        path="/api/pricing/model",
        params={"model": model},
        read=lambda answer: Price.from_response(answer, model),
        authenticated=False,
    )


def upload_image(content: bytes) -> Endpoint[str]:
    """
    Return the call that uploads a reference image and answers its URL, valid for 72 hours. It is free.

    :param content: of a JPEG, PNG, WebP or GIF file of at most 20 MiB.
    :raises InvalidRequestError: for anything else. Nothing was sent.
    """
    image_format = reference_format(content)

    def read(answer: Response) -> str:
        payload = answer.payload
        candidates = (payload, payload.get("data")) if isinstance(payload, dict) else ()
        for candidate in candidates:
            if isinstance(candidate, dict) and isinstance(candidate.get("url"), str):
                return str(candidate["url"])
        raise UnreadableAnswerError(f"The gateway's answer to the upload holds no URL: {answer.first_line}")

    return Endpoint(
        method="POST",
        path="/v1/uploads/images",
        files={"file": (f"reference.{image_format.ext}", content, image_format.content_type)},
        read=read,
        idempotent=False,
    )


def read_batch(answer: Response, task_ids: Sequence[str], *, base_url: str = "") -> dict[str, Task | GatewayError]:
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


def _items(answer: Response) -> Iterator[tuple[str, Any]]:
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


def _outcome(key: str, item: Any, answer: Response, base_url: str) -> tuple[str, Task | GatewayError]:
    outer: dict[str, Any] = item if isinstance(item, dict) else {}
    data = outer.get("data")
    inner: dict[str, Any] = data if isinstance(data, dict) else outer
    task_id = str(inner.get("id") or inner.get("task_id") or outer.get("id") or outer.get("task_id") or key)
    if inner.get("status") or inner.get("state"):
        return task_id, Task.from_json(inner, task_id=task_id, base_url=base_url)
    return task_id, task_lookup_error(error_of(200, outer, answer), task_id)
