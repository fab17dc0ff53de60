"""The content of reference images, out of S3 and out of files of this machine. I/O."""

from __future__ import annotations

import errno
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, cast

from airflow_provider_apimart.exceptions import InvalidRequestError, ReferenceUnavailableError
from airflow_provider_apimart.gateway.images import check_size, read_reference

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.dataset.references.addresses import S3Object

__all__ = ["ReferenceFiles"]

#: What another try would find the same.
_LASTING: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
)
_SERVER_ERROR: Final = 500


@dataclass
class ReferenceFiles:
    """
    Reads reference images, from any number of threads. A context manager.

    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    """

    aws_conn_id: str | None
    _clients: dict[str | None, S3Client] = field(default_factory=dict)
    _connecting: Lock = field(default_factory=Lock)
    _open: ExitStack = field(default_factory=ExitStack)

    def read(self, place: S3Object | Path) -> bytes:
        """
        Return an image, unless it is larger than a gateway takes: then nothing of it is read.

        :raises InvalidRequestError: when there is nothing that can be read, or it is too large.
        :raises ReferenceUnavailableError: when it could not be read now.
        """
        return self._read_file(place) if isinstance(place, Path) else self._read_object(place)

    def _read_file(self, path: Path) -> bytes:
        try:
            return read_reference(path)
        except OSError as error:
            raise _failure(f"{error.strerror} ({path.absolute()})", lasting=error.errno in _LASTING) from error

    def _read_object(self, place: S3Object) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

        try:
            answer = self._client(place.conn_id or self.aws_conn_id).get_object(Bucket=place.bucket, Key=place.key)
            with closing(answer["Body"]) as body:
                check_size(answer["ContentLength"])
                return body.read()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
            raise _failure(str(error), lasting=status < _SERVER_ERROR) from error
        except BotoCoreError as error:
            raise _failure(str(error), lasting=not isinstance(error, HTTPClientError | IncompleteReadError)) from error

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


def _failure(reason: str, *, lasting: bool) -> InvalidRequestError | ReferenceUnavailableError:
    message = f"The image could not be read: {' '.join(reason.split()).rstrip('.')}. Nothing was sent."
    return InvalidRequestError(message) if lasting else ReferenceUnavailableError(message)
