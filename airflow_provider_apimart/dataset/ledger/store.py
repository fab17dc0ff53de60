"""The objects of a ledger in S3: list, read, write on condition, delete; and the time by the store's clock."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import IO, TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.transfers.keys import check_extra_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

__all__ = ["LedgerObject", "LedgerStore"]

_CHUNK: Final = 64 * 1024
#: Bytes of objects that a session has written and keeps in memory: those of some ten thousand rows.
_MOST_KEPT: Final = 8 * 1024 * 1024
_MANY: Final = 1000
_AT_ONCE: Final = 16
_NOT_FOUND: Final = 404
#: Seconds by which a worker's clock may differ from the store's before it is corrected.
_EXACT: Final = 2.0
#: Seconds after which a response is too late to tell the store's present time.
_SLOW: Final = 5.0
#: The object exists, or another worker is writing it at this moment.
_CONDITION_FAILED: Final = frozenset({409, 412})
#: Statuses and error codes by which stores refuse a conditional write that they do not support.
_UNKNOWN_CONDITION: Final = frozenset({400, 405, 501})
_UNKNOWN_CODES: Final = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "MethodNotAllowed"})
#: Arguments of ``PutObject`` that other requests for the same bucket need too.
_BUCKET_ARGS: Final = ("ExpectedBucketOwner", "RequestPayer")
#: Arguments without which an object that was encrypted with a customer's key cannot be read.
_READ_ARGS: Final = (*_BUCKET_ARGS, "SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5")


@dataclass(frozen=True, slots=True)
class LedgerObject:
    """
    An object of the ledger, as a listing or a response describes it.

    :param name: within the ledger.
    :param size: bytes of the body, or of the requested part.
    :param modified: Unix seconds, by the store's clock.
    :param metadata: as it was written, with names in lower case; empty in a listing.
    :param body: only of an object that was read.
    """

    name: str
    etag: str
    size: int
    modified: float
    metadata: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class LedgerStore:
    """
    The objects below ``{prefix}/ledger/`` of a bucket, usable from many threads.

    :param prefix: of the dataset, without a slash at the end; may be empty.
    :param extra_args: further arguments of every ``PutObject``, such as ``ServerSideEncryption``.
    :param clock: the worker's own Unix seconds, which may be wrong.
    :raises InvalidRequestError: for an argument that would change which object is written. Nothing was submitted.
    """

    client: S3Client
    bucket: str
    prefix: str
    extra_args: Mapping[str, Any] = field(default_factory=dict, repr=False)  # It may hold a customer's key.
    clock: Callable[[], float] = time.time
    _offset: float = field(default=0.0, init=False)
    _kept: dict[str, bytes] = field(default_factory=dict, init=False, repr=False)
    _room: int = field(default=_MOST_KEPT, init=False)

    def __post_init__(self) -> None:
        self.extra_args = check_extra_args(self.extra_args)
        self._bucket_args = self._arguments(_BUCKET_ARGS)
        #: Further arguments of every ``GetObject`` and ``HeadObject``.
        self.read_args = self._arguments(_READ_ARGS)

    @property
    def address(self) -> str:
        """The address of the ledger, with a slash at its end."""
        return f"s3://{self.bucket}/{self._key('')}"

    def now(self) -> float:
        """Return Unix seconds by the store's clock, to a second, as of its last response."""
        return self.clock() + self._offset

    def list(self, folder: str, *, after: str = "") -> list[LedgerObject]:
        """
        Return the objects whose names begin with a text, in the order of their names.

        :param after: return only names that are greater than this one.
        :raises RecordUnavailableError: when the store does not list them, which does not prove that there are none.
        """
        start = self._key("")
        begin: dict[str, Any] = {"StartAfter": self._key(after)} if after else {}
        found = []
        with self._reporting("listed", folder):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._key(folder), **begin, **self._bucket_args
            )
            began_at = self.clock()
            for page in pages:
                self._learn(page, began_at)
                found += [
                    LedgerObject(
                        item["Key"].removeprefix(start), item["ETag"], item["Size"], item["LastModified"].timestamp()
                    )
                    for item in page.get("Contents", ())
                ]
                began_at = self.clock()
        return found

    def get(self, name: str, *, start: int | None = None, end: int | None = None) -> LedgerObject:
        """
        Return an object, or some of its bytes.

        :param start: first byte; ``None`` for the whole object.
        :param end: byte before which to stop; ``None`` for the end of the object.
        :raises FileNotFoundError: when the object does not exist.
        :raises RecordUnavailableError: when it cannot be read.
        """
        part = {} if start is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        with self._reporting("read", name):
            response = self._read(self.client.get_object, name, **part)
            with closing(response["Body"]) as body:
                return _described(name, response, body.read())

    def keep(self, name: str, content: bytes) -> None:
        """Keep the content of an object that was written and never changes, while there is room."""
        if len(content) <= self._room:
            self._kept[name] = content
            self._room -= len(content)

    def kept(self, name: str) -> bytes | None:
        """Return the content of an object that was kept; ``None`` for any other."""
        return self._kept.get(name)

    def head(self, name: str) -> LedgerObject | None:
        """
        Return an object without its content, or ``None`` when it does not exist.

        :raises RecordUnavailableError: when the store does not say.
        """
        with self._reporting("read", name):
            try:
                return _described(name, self._read(self.client.head_object, name))
            except FileNotFoundError:
                return None

    def lines(self, name: str) -> Iterator[bytes]:
        """
        Yield the lines of an object without their ends, decompressed if the name ends with ``.gz``.

        :raises FileNotFoundError: when the object does not exist, before the first line.
        :raises RecordUnavailableError: when it cannot be read, or not to its end.
        """
        with self._reporting("read", name):
            response = self._read(self.client.get_object, name)
            with closing(response["Body"]) as body:
                if name.endswith(".gz"):
                    file = io.BufferedReader(gzip.GzipFile(fileobj=body), _CHUNK)
                    yield from (line.rstrip(b"\r\n") for line in file)
                else:
                    yield from body.iter_lines(chunk_size=_CHUNK)

    def put(
        self,
        name: str,
        content: bytes | IO[bytes],
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_new: bool = False,
        only_if_etag: str | None = None,
    ) -> bool:
        """
        Write one object, whole or not at all.

        :param only_if_new: write only if no object has that name.
        :param only_if_etag: write only over the object with this ETag.
        :return: whether it was written; ``False`` when the condition does not hold, which may be because a request was
            repeated after a lost response and found its own object.
        :raises NotImplementedError: when the store refuses conditions. Nothing was written.
        :raises RecordUnavailableError: when it is not certain whether the store has it.
        """
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        checksum, size = _measured(file)
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if only_if_new else {}
        condition |= {} if only_if_etag is None else {"IfMatch": only_if_etag}
        given = {**self.extra_args.get("Metadata", {}), **(metadata or {})}
        arguments = {**self.extra_args, **({"Metadata": given} if given else {}), **condition}
        with self._reporting("written", name):
            # As a header, which stores that do not know it ignore; they refuse a checksum in a trailer.
            put = {"Body": file, "ContentLength": size, "ChecksumSHA256": checksum, **arguments}
            return self._attempt(name, put, is_conditional=bool(condition))

    def delete(self, names: Sequence[str]) -> None:
        """
        Delete objects; one that does not exist counts as deleted.

        :raises RecordUnavailableError: when the store refuses.
        """
        from botocore.exceptions import ClientError

        with self._reporting("deleted", names[0] if names else ""):
            for start in range(0, len(names), _MANY):
                keys = [self._key(name) for name in names[start : start + _MANY]]
                if len(keys) > 1:
                    try:
                        objects: Any = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
                        response = self.client.delete_objects(Bucket=self.bucket, Delete=objects, **self._bucket_args)
                        keys = [error["Key"] for error in response.get("Errors", ())]
                    except ClientError:
                        pass  # Some stores require a checksum here that others refuse: delete one by one.
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    list(pool.map(self._delete, keys))

    def _arguments(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: self.extra_args[name] for name in names if name in self.extra_args}

    def _delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key, **self._bucket_args)

    def _attempt(self, name: str, arguments: Mapping[str, Any], *, is_conditional: bool) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._request(self.client.put_object, name, **arguments)
        except ClientError as error:
            status = _status(error)
            if is_conditional and status in _CONDITION_FAILED:
                return False
            code = str(error.response.get("Error", {}).get("Code", ""))
            if is_conditional and status in _UNKNOWN_CONDITION and (code in _UNKNOWN_CODES or code.isdecimal()):
                raise NotImplementedError(f"{self.address} takes no conditional writes: {error}") from error
            if is_conditional and status == _NOT_FOUND and "IfMatch" in arguments:
                return False
            raise
        return True

    def _read(self, method: Callable[..., Any], name: str, **arguments: Any) -> Any:
        from botocore.exceptions import ClientError

        try:
            return self._request(method, name, **arguments, **self.read_args)
        except ClientError as error:
            is_bucket_missing = error.response.get("Error", {}).get("Code") == "NoSuchBucket"
            if _status(error) == _NOT_FOUND and not is_bucket_missing:
                raise FileNotFoundError(f"{self.address}{name}") from error
            raise

    def _request(self, method: Callable[..., Any], name: str, **arguments: Any) -> Any:
        from botocore.exceptions import ClientError

        began_at = self.clock()
        try:
            response = method(Bucket=self.bucket, Key=self._key(name), **arguments)
        except ClientError as error:
            self._learn(error.response, began_at)
            raise
        self._learn(response, began_at)
        return response

    def _key(self, name: str) -> str:
        return f"{self.prefix}/ledger/{name}" if self.prefix else f"ledger/{name}"

    def _learn(self, response: Any, began_at: float) -> None:
        """Learn the store's time from the response to a request that began at a time by the worker's clock."""
        date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        ended_at = self.clock()
        try:
            # A header names the beginning of its second.
            stored_at = parsedate_to_datetime(date).timestamp() + 0.5
        except (TypeError, ValueError):
            return
        if began_at - _EXACT <= stored_at <= ended_at + _EXACT:
            self._offset = 0.0  # The worker's clock agrees, and is more exact.
        elif ended_at - began_at <= _SLOW:  # A slow response does not say when it was sent.
            self._offset = stored_at - ended_at

    @contextmanager
    def _reporting(self, participle: str, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except FileNotFoundError:
            raise
        except (BotoCoreError, ClientError, EOFError, OSError, zlib.error) as error:
            raise RecordUnavailableError(
                f"The ledger could not be {participle}: {self.address}{name}: {error}. Nothing was submitted after "
                "that; a retry continues from the ledger."
            ) from error


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _described(name: str, response: Any, body: bytes = b"") -> LedgerObject:
    metadata = {name.lower(): value for name, value in response.get("Metadata", {}).items()}
    modified = response["LastModified"].timestamp()
    return LedgerObject(name, response.get("ETag", ""), response.get("ContentLength", 0), modified, metadata, body)


def _measured(content: IO[bytes]) -> tuple[str, int]:
    """Return the SHA-256 of a file in Base64 and its size, and rewind the file."""
    digest = hashlib.sha256()
    content.seek(0)
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    size = content.tell()
    content.seek(0)
    return base64.b64encode(digest.digest()).decode(), size
