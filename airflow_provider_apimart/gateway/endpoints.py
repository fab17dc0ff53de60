"""The gateways' endpoints, each as a value that says what to send and how to read the response. Does no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_apimart.exceptions import ApimartError, GatewayError, UnreadableAnswerError
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.errors import (
    error_of,
    is_refusal,
    reading_error,
    refusal_error,
    response_error,
    submit_error,
)
from airflow_provider_apimart.gateway.parsing import read_json_text, read_number
from airflow_provider_apimart.gateway.reference_images import inspect_reference
from airflow_provider_apimart.gateway.task import Submission, Task
from airflow_provider_apimart.gateway.validation import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

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
    "submit",
    "upload_image",
]

T = TypeVar("T")

_KEY: Final = re.compile(r"[!-~]{1,191}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[T]):
    """
    One request and the reading of its response.

    :param read: turns any response into the result, or raises a :class:`GatewayError`.
    :param interpret: the meaning of an error for this request; its response is ``None`` where none was received.
    :param timeout: seconds in total, from the first byte sent to the last byte received.
    :param idempotent: whether the request may be sent twice.
    :param paid: whether it buys something, and so counts against the limit on submits.
    :param authenticated: whether the API key goes with it.
    """

    method: str
    path: str
    read: Callable[[Response], T]
    interpret: Callable[[ApimartError, Response | None], ApimartError] = refusal_error
    timeout: float
    idempotent: bool = True
    paid: bool = False
    authenticated: bool = True
    json: Any = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes, str]] | None = None

    def result(self, response: Response) -> T:
        """Return what the response holds, or raise what it means."""
        try:
            return self.read(response)
        except GatewayError as error:
            raise self.interpret(error, response) from None


@dataclass(frozen=True, slots=True)
class Balance:
    """
    The money that is left to spend, in the unit that the account's display setting chooses (usually US dollars).

    :param remaining: ``None`` for a key without a limit.
    :param used: spent so far; ``None`` where the gateway does not say.
    """

    remaining: float | None
    used: float | None


def submit(
    settings: GatewaySettings, request: ImageRequest, *, idempotency_key: str | None = None
) -> Endpoint[Submission]:
    """
    Return the paid request for one gateway task.

    :param idempotency_key: 1 to 191 visible ASCII characters. APIMart documents that within 24 hours the same key
        with the same body buys once; whether gpt-image-2 honours it is not documented.
    """
    is_key = idempotency_key is None or _KEY.fullmatch(idempotency_key) is not None
    require("idempotency_key", idempotency_key, is_key, "1 to 191 visible ASCII characters")

    def read(response: Response) -> Submission:
        error = response_error(response)
        if error is not None and not response.is_success and is_refusal(error, response):
            raise error
        try:
            # An id is an acceptance whatever stands beside it: gateways also send an empty error with a success.
            return Submission.from_response(response, base_url=settings.base_url, api_key=settings.api_key)
        except UnreadableAnswerError as unreadable:
            raise error or unreadable from None

    return Endpoint(
        method="POST",
        path=settings.submit_path,
        json=request.body(),
        headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
        read=read,
        interpret=lambda error, response: submit_error(error, response, idempotency_key),
        timeout=settings.submit_timeout,
        idempotent=False,
        paid=True,
    )


def get_task(settings: GatewaySettings, task_id: str) -> Endpoint[Task]:
    """Return the status query of one task."""

    def read(response: Response) -> Task:
        payload = response.payload
        data = _described(payload)
        if isinstance(payload, dict) and _is_named(payload, task_id) and not _has_status(data):
            data = payload  # A task without an envelope, whose "data" holds its pictures.
        if isinstance(data, list):
            data = next((item for item in data if _is_named(item, task_id)), data[0] if len(data) == 1 else data)
        error = response_error(response)
        if error is not None and not (response.is_success and _has_status(data)):
            raise error
        if data is None:
            data = {}  # Seen right after a submit: the task exists, its description does not yet.
        if not isinstance(data, dict):
            raise response.unreadable(f"The gateway described task {task_id} in an unknown form", settings.api_key)
        names = _ids(data)
        if any(name.startswith("task") for name in names) and task_id not in names:
            raise response.unreadable(f"The gateway described another task than {task_id}", settings.api_key)
        task = Task.from_json(data, task_id=task_id, base_url=settings.base_url, api_key=settings.api_key)
        has_envelope = isinstance(payload, dict) and "data" in payload and error is None
        if task.has_failed and task_id not in names and (names or not has_envelope):
            # {"status": "error"}, or the same with the id of a request, comes from something in between.
            raise error or response.unreadable(f"The gateway's response is not about task {task_id}", settings.api_key)
        return task

    return Endpoint(
        method="GET",
        path=f"/v1/tasks/{quote(task_id, safe='')}",
        # APIMaster's notes pass the model too; English is asked for because the messages end up in task logs.
        params={"language": "en"},
        read=read,
        interpret=lambda error, response: reading_error(error, response, task_id),
        timeout=settings.timeout,
    )


def get_tasks(settings: GatewaySettings, task_ids: Sequence[str]) -> Endpoint[dict[str, Task | GatewayError]]:
    """
    Return the status query of many tasks at once. Ids that the response leaves out are missing in the result.

    ``POST /v1/tasks/batch`` is named on the vendors' pages, and its response is documented nowhere. A list, a map by
    id, either of them below ``tasks``, items in envelopes of their own and errors per item are all understood; items
    are recognised by their ids, never by their place.
    """
    wanted = set(task_ids)

    def read(response: Response) -> dict[str, Task | GatewayError]:
        items = _items(_successful(response), response)
        outcomes = (_outcome(key, item, response, settings, wanted) for key, item in items)
        return {task_id: outcome for task_id, outcome in outcomes if task_id in wanted}

    return Endpoint(
        method="POST",
        path="/v1/tasks/batch",
        json={"task_ids": list(task_ids)},
        read=read,
        interpret=reading_error,
        timeout=settings.timeout,
    )


def _items(payload: Any, response: Response) -> Iterator[tuple[str, Any]]:
    """Yield each item with the key that it has in a map, or an empty one in a list."""
    data = _described(payload)
    if isinstance(data, dict) and isinstance(data.get("tasks"), list | dict):
        data = data["tasks"]
    if isinstance(data, list):
        yield from (("", item) for item in data)
    elif isinstance(data, dict) and all(isinstance(item, dict) for item in data.values()):
        yield from ((str(key), item) for key, item in data.items())
    else:
        raise response.unreadable("The gateway described many tasks in an unknown form")


def _outcome(
    key: str, item: Any, response: Response, settings: GatewaySettings, wanted: AbstractSet[str]
) -> tuple[str, Task | GatewayError]:
    outer: dict[str, Any] = item if isinstance(item, dict) else {}
    data = outer.get("data")
    inner: dict[str, Any] = data if isinstance(data, dict) else outer
    task_id = next((name for name in (*_ids(inner), *_ids(outer), key) if name in wanted), "")
    if _has_status(inner):
        task = Task.from_json(inner, task_id=task_id, base_url=settings.base_url, api_key=settings.api_key)
        return task_id, task
    error = reading_error(error_of(200, outer, response), None, task_id)
    return task_id, error if isinstance(error, GatewayError) else UnreadableAnswerError(str(error))


def get_balance(settings: GatewaySettings) -> Endpoint[Balance]:
    """Return the free query of what is left to spend; it fails for a wrong key."""

    def read(response: Response) -> Balance:
        payload = _successful(response)
        data = payload.get("data", payload) if isinstance(payload, dict) else {}
        if not isinstance(data, dict) or not {"remain_balance", "unlimited_quota"} & data.keys():
            raise response.unreadable("The gateway reported the balance in an unknown form", settings.api_key)
        is_unlimited = data.get("unlimited_quota") in (True, "true")
        remaining = None if is_unlimited else read_number(data.get("remain_balance"))
        return Balance(remaining, used=read_number(data.get("used_balance")))

    return Endpoint(method="GET", path="/v1/balance", read=read, timeout=settings.timeout)


def list_models(settings: GatewaySettings) -> Endpoint[list[str]]:
    """Return the query of the models that the key may use."""

    def read(response: Response) -> list[str]:
        payload = _successful(response)
        entries = payload.get("data") if isinstance(payload, dict) else payload
        if not isinstance(entries, list):
            raise response.unreadable("The gateway listed its models in an unknown form", settings.api_key)
        return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]

    return Endpoint(method="GET", path="/v1/models", read=read, timeout=settings.timeout)


def get_price(settings: GatewaySettings, model: str) -> Endpoint[Price]:
    """Return the public query of a model's price table. The API key does not go with it."""

    def read(response: Response) -> Price:
        _successful(response)
        return Price.from_response(response, model)

    return Endpoint(
        method="GET",
        path="/api/pricing/model",
        params={"model": model},
        read=read,
        timeout=settings.timeout,
        authenticated=False,
    )


def upload_image(settings: GatewaySettings, content: bytes) -> Endpoint[str]:
    """
    Return the upload of a reference image, whose result is its URL, valid for 72 hours. It is free of charge.

    :param content: a complete JPEG, PNG, WebP or GIF file of at most 20 MiB.
    :raises InvalidRequestError: for anything else. Nothing was submitted.
    """
    content_type = inspect_reference(content).content_type
    name = f"reference.{content_type.removeprefix('image/').replace('jpeg', 'jpg')}"

    def read(response: Response) -> str:
        payload = _successful(response)
        candidates = (payload, payload.get("data")) if isinstance(payload, dict) else ()
        for candidate in candidates:
            if isinstance(candidate, dict) and isinstance(candidate.get("url"), str):
                return str(candidate["url"])
        raise response.unreadable("The gateway's response to the upload holds no URL", settings.api_key)

    return Endpoint(
        method="POST",
        path="/v1/uploads/images",
        files={"file": (name, content, content_type)},
        read=read,
        timeout=settings.timeout,
        idempotent=False,
    )


def _described(payload: Any) -> Any:
    """Return what the envelope of a response holds, or what came without an envelope."""
    return read_json_text(payload.get("data", payload)) if isinstance(payload, dict) else payload


def _successful(response: Response) -> Any:
    """Return the JSON of a success, or raise what the response stands for."""
    if error := response_error(response):
        raise error
    return response.payload


def _ids(data: Mapping[str, Any]) -> list[str]:
    return [str(data[name]) for name in ("id", "task_id") if data.get(name)]


def _is_named(data: Any, task_id: str) -> bool:
    return isinstance(data, dict) and task_id in _ids(data)


def _has_status(data: Any) -> bool:
    return isinstance(data, dict) and bool(data.get("status") or data.get("state"))
