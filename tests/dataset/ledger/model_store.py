"""An S3 server as a model: strongly consistent, with a clock of its own, and with faults where a test wants them."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.response import StreamingBody

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOW", "ModelClient", "ModelServer", "Stored"]

T = TypeVar("T")
#: Unix seconds.
NOW = 1_750_000_000.0


@dataclass
class Stored:
    body: bytes
    modified: float
    metadata: dict[str, str]

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


@dataclass
class ModelServer:
    """
    The objects of one bucket.

    :param conditions: what the server makes of conditional writes.
    :param requests: the methods and keys of all requests.
    """

    conditions: Literal["honours", "ignores", "refuses"] = "honours"
    now: float = NOW
    objects: dict[str, Stored] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def put(self, key: str, body: bytes, metadata: dict[str, str], if_none_match: Any, if_match: Any) -> Stored:
        held = self.objects.get(key)
        if (if_none_match or if_match) and self.conditions == "refuses":
            raise failure(501, "NotImplemented", self.now)
        if self.conditions == "honours":
            if if_none_match and held is not None:
                raise failure(412, "PreconditionFailed", self.now)
            if if_match and held is None:
                raise failure(404, "NoSuchKey", self.now)
            if if_match and held is not None and held.etag != if_match:
                raise failure(412, "PreconditionFailed", self.now)
        stored = self.objects[key] = Stored(body, self.now, metadata)
        return stored

    def get(self, key: str) -> Stored:
        if key not in self.objects:
            raise failure(404, "NoSuchKey", self.now)
        return self.objects[key]


def failure(status: int, code: str, now: float) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": date(now)}}
    return ClientError(response, "Model")


def date(now: float) -> dict[str, str]:
    return {"date": format_datetime(datetime.fromtimestamp(int(now), UTC), usegmt=True)}


@dataclass
class ModelClient:
    """
    What of a boto3 client a ledger uses.

    :param step: does what can be seen outside; it may wait for a turn, or not return.
    :param fate: of each write: ``"lost"``, its response is lost; ``"repeated"``, it is sent twice, as after a lost
        response; ``"late"``, it times out and is kept in :attr:`late` with the time; anything else is its usual course.
    """

    server: ModelServer
    step: Callable[[Callable[[], Any]], Any] = lambda effect: effect()
    fate: Callable[[str], str] = lambda _: ""
    late: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def put_object(self, *, Key: str, Body: Any, **arguments: Any) -> dict[str, Any]:  # noqa: N803
        body = Body.read()
        conditions = (arguments.get("IfNoneMatch"), arguments.get("IfMatch"))
        fate = self.fate(Key)

        # A request that its worker has signed long ago is refused. Those for the log are signed after the stop.
        expires_at = math.inf if "/log/" in Key else self.server.now + 900

        def write() -> Stored:
            if self.server.now > expires_at:
                raise failure(403, "RequestTimeTooSkewed", self.server.now)
            return self.server.put(Key, body, arguments.get("Metadata", {}), *conditions)

        if fate == "late":
            self.late.append((self.server.now, write))
            raise ReadTimeoutError(endpoint_url=Key)
        stored = self._do("PUT", Key, write)
        if fate == "repeated":
            stored = self._do("PUT", Key, write)
        if fate == "lost":
            raise ReadTimeoutError(endpoint_url=Key)
        return self._response(ETag=stored.etag)

    def get_object(self, *, Key: str, Range: str = "", **_: object) -> dict[str, Any]:  # noqa: N803
        stored = self._do("GET", Key, lambda: self.server.get(Key))
        body = stored.body
        if Range:
            start, _, end = Range.removeprefix("bytes=").partition("-")
            body = body[int(start) : int(end) + 1 if end else None]
        return self._described(stored, Body=StreamingBody(io.BytesIO(body), len(body)))

    def head_object(self, *, Key: str, **_: object) -> dict[str, Any]:  # noqa: N803
        return self._described(self._do("HEAD", Key, lambda: self.server.get(Key)))

    def delete_object(self, *, Key: str, **_: object) -> dict[str, Any]:  # noqa: N803
        self._do("DELETE", Key, lambda: self.server.objects.pop(Key, None))
        return self._response()

    def delete_objects(self, *, Delete: Any, **_: object) -> dict[str, Any]:  # noqa: N803
        keys = [item["Key"] for item in Delete["Objects"]]
        self._do("DELETE", keys[0], lambda: [self.server.objects.pop(key, None) for key in keys])
        return self._response()

    def get_paginator(self, _: str) -> ModelClient:
        return self

    def paginate(self, *, Prefix: str, StartAfter: str = "", **_: object) -> list[dict[str, Any]]:  # noqa: N803
        def listed() -> list[dict[str, Any]]:
            return [
                {
                    "Key": key,
                    "ETag": stored.etag,
                    "Size": len(stored.body),
                    "LastModified": datetime.fromtimestamp(stored.modified, UTC),
                }
                for key, stored in sorted(self.server.objects.items())
                if key.startswith(Prefix) and key > StartAfter
            ]

        return [self._response(Contents=self._do("LIST", Prefix, listed))]

    def _described(self, stored: Stored, **more: Any) -> dict[str, Any]:
        modified = datetime.fromtimestamp(stored.modified, UTC)
        return self._response(ETag=stored.etag, Metadata=dict(stored.metadata), LastModified=modified, **more)

    def _response(self, **values: Any) -> dict[str, Any]:
        return {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": date(self.server.now)}, **values}

    def _do(self, method: str, key: str, effect: Callable[[], T]) -> T:
        def recorded() -> T:
            self.server.requests.append((method, key))
            return effect()

        result: T = self.step(recorded)
        return result
