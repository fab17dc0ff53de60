"""The shapes in which gateways and those between have been seen to answer: each changes the body of a response."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Fetch = Callable[[str], bytes]
    View = dict[str, Any]

__all__ = ["INLINE", "PLACES", "SHAPES", "SUBMIT_SHAPES", "TIMES", "WORDS"]


def _json(body: bytes, change: Callable[[Any], Any]) -> bytes:
    """Return a JSON body after a change, and the same bytes where nothing has changed."""
    document = json.loads(body)
    before = json.dumps(document)
    after = json.dumps(change(document))
    return body if after == before else after.encode()


def _of_tasks(change: Callable[[View, Fetch], View]) -> Callable[[bytes, Fetch], bytes]:
    """Return a shape that changes each completed task of the answer to a status query."""

    def document_of(document: Any, fetch: Fetch) -> Any:
        data = document.get("data")
        if isinstance(data, list):
            return {**document, "data": [_completed(view, change, fetch) for view in data]}
        return {**document, "data": _completed(data, change, fetch)} if isinstance(data, dict) else document

    return lambda body, fetch: _json(body, partial(document_of, fetch=fetch))


def _completed(view: View, change: Callable[[View, Fetch], View], fetch: Fetch) -> View:
    return change(view, fetch) if view.get("status") == "completed" else view


def _of_submit(change: Callable[[View], View]) -> Callable[[bytes, Fetch], bytes]:
    """Return a shape that changes the answer to an accepted submit, whose task is an object in a list."""
    return lambda body, _fetch: _json(body, change)


def _urls(view: View) -> list[str]:
    return [url for image in _images(view) for url in _as_list(image["url"])]


def _images(view: View) -> list[View]:
    return view["result"]["images"]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _only(view: View, names: Iterable[str]) -> View:
    return {name: view[name] for name in names}


def _only_status(body: bytes, _fetch: Fetch) -> bytes:
    def change(document: Any) -> Any:
        data = document.get("data")
        if not isinstance(data, list):
            return document
        return {**document, "data": [_only(view, ("id", "status")) for view in data]}

    return _json(body, change)


def _word(word: str) -> Callable[[bytes, Fetch], bytes]:
    return _of_tasks(lambda view, _fetch: {**view, "status": word})


def _result(change: Callable[[View, Fetch], Any]) -> Callable[[bytes, Fetch], bytes]:
    return _of_tasks(lambda view, fetch: {**view, "result": change(view, fetch)})


def _elsewhere(name: str) -> Callable[[bytes, Fetch], bytes]:
    return _of_tasks(
        lambda view, _fetch: {**{key: view[key] for key in view if key != "result"}, name: _images(view)},
    )


def _expiring(value: Callable[[int], Any]) -> Callable[[bytes, Fetch], bytes]:
    def change(view: View, _fetch: Fetch) -> View:
        images = [{**image, "expires_at": value(image["expires_at"])} for image in _images(view)]
        return {**view, "result": {"images": images}}

    return _of_tasks(change)


def _without_expiry(view: View, _fetch: Fetch) -> View:
    return {**view, "result": {"images": [{"url": image["url"]} for image in _images(view)]}}


def _base64(fetch: Fetch, url: str) -> str:
    return base64.b64encode(fetch(url)).decode()


def _data_uri(view: View, fetch: Fetch) -> Any:
    return {"images": [{"url": f"data:image/png;base64,{_base64(fetch, url)}"} for url in _urls(view)]}


def _numbers_as_text(view: View, _fetch: Fetch) -> View:
    names = {"cost", "credits_cost", "created", "completed", "actual_time", "progress"}
    return {name: str(value) if name in names else value for name, value in view.items()}


#: An accepted submit is an id, whatever stands beside it.
SUBMIT_SHAPES: Final = {
    "empty error beside the id": _of_submit(lambda body: {**body, "error": {"code": "", "message": ""}}),
    "code 0": _of_submit(lambda body: {**body, "code": 0}),
    "code as text": _of_submit(lambda body: {**body, "code": "200"}),
    "taskId": _of_submit(lambda body: {**body, "data": [{"taskId": task["task_id"]} for task in body["data"]]}),
    "nested": _of_submit(lambda body: {**body, "data": {"data": body["data"]}}),
    "byte order mark": lambda body, _fetch: b"\xef\xbb\xbf" + body,
}

WORDS: Final = {f"status {word}": _word(word) for word in ("done", "finished", "Success", "COMPLETED", "succeeded")}

PLACES: Final = {
    "result as list": _result(lambda view, _fetch: _images(view)),
    "result as list of URLs": _result(lambda view, _fetch: _urls(view)),
    "result as JSON text": _result(lambda view, _fetch: json.dumps(view["result"])),
    "result with data": _result(lambda view, _fetch: {"data": _images(view)}),
    "output": _elsewhere("output"),
    "images at the top": _elsewhere("images"),
}

INLINE: Final = {
    "b64_json": _result(
        lambda view, fetch: {"images": [{"b64_json": _base64(fetch, url)} for url in _urls(view)]},
    ),
    "data URI": _result(_data_uri),
}

TIMES: Final = {
    "expires_at in milliseconds": _expiring(lambda seconds: seconds * 1000),
    "expires_at 0": _expiring(lambda _seconds: 0),
    "expires_at as text": _expiring(str),
    "expires_at in ISO 8601": _expiring(lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat()),
    "expires_at null": _expiring(lambda _seconds: None),
    "expires_at absent": _of_tasks(_without_expiry),
    "progress 100%": _of_tasks(lambda view, _fetch: {**view, "progress": "100%"}),
    "numbers as text": _of_tasks(_numbers_as_text),
}

#: Each takes the body of a response and a function that downloads a picture, and returns a body.
SHAPES: Final[dict[str, Callable[[bytes, Fetch], bytes]]] = {
    **SUBMIT_SHAPES,
    **WORDS,
    **PLACES,
    **INLINE,
    **TIMES,
    "no pictures yet": _result(lambda _view, _fetch: {"images": []}),
    "no result yet": _of_tasks(lambda view, _fetch: {name: view[name] for name in view if name != "result"}),
    "id and status only": _only_status,
    "expired": _expiring(lambda _seconds: 1_700_000_000),
}
