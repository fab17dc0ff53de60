"""The content of reference images in S3 and in files of the worker."""

from __future__ import annotations

import errno
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, cast

from airflow_provider_apimart.exceptions import InvalidRequestError, ReferenceUnavailableError
from airflow_provider_apimart.gateway.reference_images import check_reference_bytes, read_reference

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.dataset.references.addresses import S3Object

__all__ = ["ReferenceFiles"]

#: Errors that another try would meet again.
_PERMANENT: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
)
#: Statuses and error codes of a store that have nothing to do with the object: a retry may be answered.
_SERVER_ERROR: Final = 500
_TRANSIENT: Final = frozenset({408, 429, "ExpiredToken", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown"})


@dataclass
class ReferenceFiles:
    """
    A reader of reference images, shared by threads. A context manager, which closes its S3 clients.

    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    """

    aws_conn_id: str | None
    _clients: dict[str | None, S3Client] = field(default_factory=dict)
    _connecting: Lock = field(default_factory=Lock)
    _open: ExitStack = field(default_factory=ExitStack)

    def read(self, place: S3Object | Path) -> bytes:
        """
        Return the content of an image, unless it is larger than the gateways accept: then nothing of it is read.

        :raises InvalidRequestError: when there is nothing to read, access is denied, or it is too large.
        :raises ReferenceUnavailableError: when it could not be read now; a retry may succeed.
        """
        return self._read_file(place) if isinstance(place, Path) else self._read_object(place)

    def _read_file(self, path: Path) -> bytes:
        try:
            return read_reference(path)
        except OSError as error:
            raise _failure(f"{error.strerror} ({path.absolute()})", is_permanent=error.errno in _PERMANENT) from error

    def _read_object(self, place: S3Object) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

        try:
            response = self._client(place.conn_id or self.aws_conn_id).get_object(Bucket=place.bucket, Key=place.key)
            with closing(response["Body"]) as body:
                check_reference_bytes(response["ContentLength"])
                return body.read()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
            is_transient = bool({status, error.response.get("Error", {}).get("Code")} & _TRANSIENT)
            raise _failure(str(error), is_permanent=status < _SERVER_ERROR and not is_transient) from error
        except BotoCoreError as error:
            raise _failure(
                str(error), is_permanent=not isinstance(error, HTTPClientError | IncompleteReadError)
            ) from error

    def _client(self, conn_id: str | None) -> S3Client:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        with self._connecting:
            if conn_id not in self._clients:
                client = cast("S3Client", S3Hook(aws_conn_id=conn_id).get_conn())
                self._clients[conn_id] = self._open.enter_context(closing(client))
            return self._clients[conn_id]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()


def _failure(reason: str, *, is_permanent: bool) -> InvalidRequestError | ReferenceUnavailableError:
    advice = "Correct the address, or the access to it" if is_permanent else "A retry reads it again"
    reason = " ".join(reason.split()).rstrip(".")
    message = f"The image could not be read: {reason}. Nothing was submitted and nothing was charged. {advice}."
    return InvalidRequestError(message) if is_permanent else ReferenceUnavailableError(message)
