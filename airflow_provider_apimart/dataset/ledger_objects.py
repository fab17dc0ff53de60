"""The objects of a ledger in S3: listed, read, written, deleted. I/O, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_s3 import S3Client

__all__ = ["LedgerObject", "LedgerObjects"]

_CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class LedgerObject:
    """
    One object.

    :param name: within the ledger.
    :param etag: changes with the content.
    :param size: bytes.
    :param modified: Unix seconds, by the store's clock; 0 where it was not asked.
    """

    name: str
    etag: str
    size: int
    modified: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class LedgerObjects:
    """
    The objects below ``{prefix}/ledger/`` of a bucket, usable from many threads.

    :param prefix: without a slash at the end; may be empty.
    :param extra_args: further arguments of every ``PutObject``, such as ``ServerSideEncryption``.
    """

    client: S3Client
    bucket: str
    prefix: str
    extra_args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the ledger is, as a person would write it."""
        return f"s3://{self.bucket}/{self._key('')}"

    def listing(self) -> list[LedgerObject]:
        """
        Return what there is, in the order of the names.

        :raises RecordUnavailableError: when the store does not say, which is no proof that there is nothing.
        """
        start = self._key("")
        with self._reporting("listed", self.address):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            return [
                LedgerObject(
                    entry["Key"].removeprefix(start), entry["ETag"], entry["Size"], entry["LastModified"].timestamp()
                )
                for page in pages
                for entry in page.get("Contents", ())
            ]

    def lines(self, name: str) -> Iterator[bytes]:
        """
        Yield the lines of an object, without their ends.

        :raises FileNotFoundError: when there is no such object, before the first line.
        :raises RecordUnavailableError: when it cannot be read, or not to its end.
        """
        with self._reporting("read", f"{self.address}{name}"):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name))
            except self.client.exceptions.NoSuchKey as error:
                raise FileNotFoundError(f"{self.address}{name}") from error
            with closing(answer["Body"]) as body:
                yield from body.iter_lines(chunk_size=_CHUNK)

    def put(self, name: str, content: IO[bytes]) -> LedgerObject:
        """
        Write one object, whole or not at all.

        :raises RecordUnavailableError: when it is not certain that the store has it.
        """
        digest, size = _measured(content)
        with self._reporting("written", f"{self.address}{name}"):
            written = self.client.put_object(
                Bucket=self.bucket,
                Key=self._key(name),
                Body=content,
                ContentLength=size,
                # As a header, which stores that do not know it pass over; never as a trailer, which they refuse.
                ChecksumSHA256=base64.b64encode(digest).decode(),
                **self.extra_args,
            )
        return LedgerObject(name, written["ETag"], size)

    def delete(self, name: str) -> None:
        """
        Delete one object; one that is not there is as good as deleted.

        :raises RecordUnavailableError: when the store refuses.
        """
        with self._reporting("deleted", f"{self.address}{name}"):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/ledger/{name}" if self.prefix else f"ledger/{name}"

    @contextmanager
    def _reporting(self, participle: str, address: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise RecordUnavailableError(
                f"The ledger could not be {participle}: {address}: {error}. Nothing was sent after that; a retry "
                "goes on with what the ledger says."
            ) from error


def _measured(content: IO[bytes]) -> tuple[bytes, int]:
    """Return the SHA-256 and the size of a file, and rewind it."""
    digest = hashlib.sha256()
    content.seek(0)
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    size = content.tell()
    content.seek(0)
    return digest.digest(), size
