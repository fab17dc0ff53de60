"""Objects in S3, read for the pages with the connections of the tasks that wrote them."""

from __future__ import annotations

import logging
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import IO, TYPE_CHECKING, Final

from airflow.exceptions import AirflowException  # type: ignore[attr-defined] # Airflow 3.1 has it only here.
from anyio import CapacityLimiter
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cachetools import TTLCache, cached

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

__all__ = [
    "READING",
    "StoredObject",
    "client_of",
    "explaining",
    "look",
    "place_of",
    "read_into",
]

_log: Final = logging.getLogger(__name__)

_ADDRESS: Final = re.compile(r"s3://(?P<bucket>arn:.*?[:/]accesspoint[:/][^/]+|[^/]+)/(?P<key>.+)", re.DOTALL)
#: Lists that are read at the same time, in threads of their own: Airflow's API needs its own threads.
READING: Final = CapacityLimiter(4)
#: Seconds after which a connection that somebody has edited counts.
_CLIENT_SECONDS: Final = 300
#: A browser waits for the answer, and asks again: seconds of silence, and tries.
_IMPATIENT: Final = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2})
#: Bytes in one piece.
_CHUNK: Final = MEBIBYTE // 4


@dataclass(frozen=True, slots=True)
class StoredObject:
    """
    An object without its content.

    :param metadata: as its writer set it.
    """

    size: int
    etag: str
    metadata: dict[str, str]


def look(uri: str, *, aws_conn_id: str | None) -> StoredObject:
    """
    Return an object without its content.

    :param uri: ``s3://bucket/key``.
    :param aws_conn_id: connection of type ``aws``.
    :raises TransferError: when it cannot be read; with ``status_code=404`` when there is no such object.
    """
    with explaining(uri):
        bucket, key = place_of(uri)
        return _described(client_of(aws_conn_id).head_object(Bucket=bucket, Key=key))


def read_into(body: IO[bytes], uri: str, *, aws_conn_id: str | None, max_bytes: int) -> StoredObject:
    """
    Write an object's content into a file.

    :param body: an empty file.
    :param uri: ``s3://bucket/key``.
    :param aws_conn_id: connection of type ``aws``.
    :param max_bytes: the largest that is read.
    :raises TransferError: when it cannot be read, or is larger; with ``status_code=404`` when there is no such object.
    """
    with explaining(uri):
        bucket, key = place_of(uri)
        answer = client_of(aws_conn_id).get_object(Bucket=bucket, Key=key)
        found = _described(answer)
        with answer["Body"] as content:
            if found.size > max_bytes:
                raise TransferError(f"{uri} is larger than {max_bytes} bytes, and is not shown", retryable=False)
            shutil.copyfileobj(content, body, _CHUNK)
    return found


def place_of(uri: str) -> tuple[str, str]:
    """
    Return bucket and key.

    :param uri: ``s3://bucket/key``, where the bucket may also be the ARN of an access point.
    :raises ValueError: for any other address.
    """
    # No URL parser: a key may hold "?" and "#".
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise ValueError(f"{uri!r} is not the address of an object")
    return found["bucket"], found["key"]


@cached(TTLCache(maxsize=32, ttl=_CLIENT_SECONDS), condition=Condition())
def client_of(aws_conn_id: str | None) -> S3Client:
    """
    Return a client, which is made once in a while, for all threads.

    :param aws_conn_id: connection of type ``aws``; ``None`` for what the environment of the API server has.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook  # noqa: PLC0415 - loaded by the first picture

    hook = S3Hook(aws_conn_id=aws_conn_id)
    client: S3Client = hook.get_client_type(region_name=hook.region_name, config=hook.config.merge(_IMPATIENT))
    return client


@contextmanager
def explaining(uri: str) -> Iterator[None]:
    """Turn the errors of boto3, and of Airflow where it does not know the connection, into errors of this package."""
    try:
        yield
    except ClientError as error:
        answer = error.response
        raise _unreadable(
            uri,
            error,
            answer.get("Error", {}).get("Code", ""),
            answer.get("ResponseMetadata", {}).get("HTTPStatusCode"),
        ) from error
    except (AirflowException, BotoCoreError, ValueError) as error:
        raise _unreadable(uri, error, type(error).__name__) from error


def _unreadable(uri: str, error: Exception, reason: str, status_code: int | None = None) -> TransferError:
    # The whole message may name endpoints and roles, which not everybody may see who may see pictures.
    _log.warning("%s could not be read: %s", uri, error)
    return TransferError(f"{uri} could not be read ({reason})", status_code=status_code, charged="no")


def _described(answer: HeadObjectOutputTypeDef | GetObjectOutputTypeDef) -> StoredObject:
    return StoredObject(answer["ContentLength"], answer["ETag"], answer.get("Metadata", {}))
