"""Somebody who keeps looking into the bucket: what can be seen there must be a whole picture, at every look."""

from __future__ import annotations

import hashlib
import threading
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mypy_boto3_s3 import S3Client

__all__ = ["Observer"]

PAUSE = 0.3


class Observer:
    """
    Looks into a bucket for the length of a ``with`` statement, of which there may be several.

    ``looks`` counts the listings; ``broken`` names each object that was not a whole picture.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self.looks = 0
        self.broken: list[str] = []
        self._client = client
        self._bucket = bucket
        self._known: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def look(self) -> dict[str, str]:
        """List the bucket once, read what is new, and return the SHA-256 of each object by its key."""
        with self._lock:
            self.looks += 1
            seen = {}
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket):
                for entry in page.get("Contents", ()):
                    name = entry["Key"], entry["ETag"]
                    if name not in self._known:
                        self._known[name] = self._read(entry["Key"])
                    seen[entry["Key"]] = self._known[name]
            return seen

    def _read(self, key: str) -> str:
        content = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        try:
            with Image.open(BytesIO(content)) as picture:
                picture.load()
        except OSError as error:
            self.broken.append(f"{key} ({len(content)} bytes): {error}")
        return hashlib.sha256(content).hexdigest()

    def _watch(self) -> None:
        while not self._stop.wait(PAUSE):
            self.look()

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer")
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
