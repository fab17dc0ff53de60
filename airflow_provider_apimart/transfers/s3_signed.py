"""
HEAD and PUT at a fraction of what boto3's own calls cost.

boto3 says where a bucket is and with which credentials, botocore signs. Any request that does not simply succeed is
left to boto3's calls, which retry, follow a bucket to its region, and explain.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from airflow_provider_apimart.transfers.connections import response_deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from botocore.credentials import Credentials

    from airflow_provider_apimart.transfers.connections import HttpConnections

__all__ = ["S3Response", "SignedRequests"]

_log: Final = logging.getLogger(__name__)

_NOTHING: Final = hashlib.sha256().hexdigest()
#: Path segments that some stores resolve as a file system does, although they are parts of a key like any other.
_DOTS: Final = frozenset({".", ".."})
#: Failures in a row after which the requests are left to boto3, and the seconds until they are tried again.
_FAILURES: Final = 3
_PAUSE: Final = 60.0
#: Seconds for a response to arrive completely.
_PATIENCE: Final = 600.0


class S3Response(NamedTuple):
    """The store's response, with header names in lower case."""

    status: int
    headers: Mapping[str, str]


class SignedRequests:
    """
    Requests to one bucket, from any number of threads.

    :param address: URL of the bucket, below which its keys are.
    :param region: the region that the bucket is taken to be in.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        connections: HttpConnections,
        *,
        address: str,
        credentials: Credentials,
        region: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections = connections
        self._address = address
        self._credentials = credentials
        self._region = region
        self._clock = clock
        self._failures = 0
        self._paused_until = -math.inf

    def head(self, key: str) -> S3Response | None:
        """Return the response about an object, with status 200 or 404, or ``None`` to leave the request to boto3."""
        return self._send("HEAD", key, {}, sha256=_NOTHING, expected={200, 404})

    def put(self, key: str, body: IO[bytes], headers: Mapping[str, str], *, sha256: str) -> S3Response | None:
        """
        Write an object, and return the response, or ``None`` to leave the request to boto3.

        :param body: a file, from its position to its end.
        :param headers: with ``If-None-Match``, the status may be 412 instead of 200.
        :param sha256: of the body, in hexadecimal digits.
        """
        expected = {200, 412} if "If-None-Match" in headers else {200}
        return self._send("PUT", key, headers, sha256=sha256, expected=expected, body=body)

    def _send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        sha256: str,
        expected: Collection[int],
        body: Any = None,
    ) -> S3Response | None:
        if self._clock() < self._paused_until or not _DOTS.isdisjoint(key.split("/")):
            return None
        try:
            url = f"{self._address}/{quote(key, safe='/~')}"
            request = AWSRequest(method, url, headers=dict(headers))
            request.context["sha256"] = sha256
            _KnownDigestAuth(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
            with response_deadline(_PATIENCE):
                response = self._connections.request(method, url, headers=dict(request.headers), body=body)
        except Exception as error:  # noqa: BLE001 - boto3 sends the same request, and explains what is wrong
            _log.debug("A signed %s failed: %s", method, type(error).__name__)
        else:
            if response.status in expected:
                self._failures = 0
                return S3Response(response.status, {name.lower(): value for name, value in response.headers.items()})
            _log.debug("A signed %s was answered with HTTP %d", method, response.status)
        self._failures += 1
        if self._failures >= _FAILURES:
            # One failure is the store's; several in a row may mean that it does not take these requests at all.
            self._failures = 0
            self._paused_until = self._clock() + _PAUSE
        return None


class _KnownDigestAuth(S3SigV4Auth):
    """Signs a body whose digest is known already."""

    def payload(self, request: AWSRequest) -> str:
        digest: str = request.context["sha256"]
        return digest
