"""
HEAD and PUT at a fraction of what boto3's own calls cost.

boto3 says where a bucket is and who asks, botocore signs. Whatever does not simply succeed is left to boto3's calls,
which know how to try again, follow a bucket to its region, and explain.
"""

from __future__ import annotations

import hashlib
import logging
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from botocore.credentials import Credentials
    from urllib3 import BaseHTTPResponse

    from airflow_provider_apimart.transfers._http import Connections

__all__ = ["SignedRequests"]

_log: Final = logging.getLogger(__name__)

_NOTHING: Final = hashlib.sha256().hexdigest()
#: Parts of a path that urllib3 resolves as in a file system, although they are parts of a key like any other.
_DOTS: Final = frozenset({".", ".."})


class SignedRequests:
    """
    Requests to one bucket, from any number of threads, until one of them fails.

    :param connections: what carries them.
    :param address: URL of the bucket, below which its keys are.
    :param credentials: of the one who asks.
    :param region: where the bucket is taken to be.
    """

    def __init__(self, connections: Connections, *, address: str, credentials: Credentials, region: str) -> None:
        self._connections = connections
        self._address = address
        self._credentials = credentials
        self._region = region
        self._is_usable = True

    def head(self, key: str) -> tuple[int, Mapping[str, str]] | None:
        """Return status, 200 or 404, and headers of an object, or ``None`` to have boto3 ask."""
        return self._send("HEAD", key, {}, sha256=_NOTHING, expected={200, 404})

    def put(
        self, key: str, body: IO[bytes], headers: Mapping[str, str], *, sha256: str
    ) -> tuple[int, Mapping[str, str]] | None:
        """
        Write an object, and return the answer's status, 200, and headers, or ``None`` to have boto3 write it.

        :param body: a file, from its position to its end.
        :param sha256: of the body, in hexadecimal digits.
        """
        return self._send("PUT", key, headers, sha256=sha256, expected={200}, body=body)

    def _send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        sha256: str,
        expected: Collection[int],
        body: Any = None,
    ) -> tuple[int, Mapping[str, str]] | None:
        if not self._is_usable or not _DOTS.isdisjoint(key.split("/")):
            return None
        try:
            response = self._request(method, key, headers, sha256=sha256, body=body)
        except Exception as error:  # noqa: BLE001 - boto3 does the same, and says what went wrong
            _log.debug("A signed %s failed: %s", method, type(error).__name__)
        else:
            if response.status in expected:
                return response.status, {name.lower(): value for name, value in response.headers.items()}
            _log.debug("A signed %s was answered with HTTP %d", method, response.status)
        self._is_usable = False
        return None

    def _request(
        self, method: str, key: str, headers: Mapping[str, str], *, sha256: str, body: Any
    ) -> BaseHTTPResponse:
        url = f"{self._address}/{quote(key, safe='/~')}"
        request = AWSRequest(method, url, headers=dict(headers))
        request.context["sha256"] = sha256
        _Signature(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        return self._connections.request(method, url, headers=dict(request.headers), body=body)


class _Signature(S3SigV4Auth):
    """Signs a body whose digest is known already."""

    def payload(self, request: AWSRequest) -> str:
        digest: str = request.context["sha256"]
        return digest
