"""
Which reference images were uploaded, so that their URLs serve every row, retry and run while they live. I/O.

``{prefix}/ledger/references/{time}-{uuid}.jsonl`` holds what was uploaded at one time; it is never written again. An
upload is free: what cannot be read or written here is uploaded once more, and nothing fails over it.
"""

from __future__ import annotations

import io
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.references.upload import LIFETIME, read_line, to_line
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
    from airflow_provider_apimart.dataset.references.upload import Upload

__all__ = ["FOLDER", "UploadJournal"]

#: Holds the objects, whose names are in the order of their writing.
FOLDER: Final = "references/"
_AT_ONCE: Final = 16


@dataclass
class UploadJournal:
    """
    One worker's access to what was uploaded. What others upload after :meth:`read` is not seen.

    :param gateway: base URL of the gateway: the URL of another one's upload is of no use.
    :param warn: told what could not be read or written.
    :param clock: Unix seconds.
    """

    objects: LedgerObjects
    gateway: str
    warn: Callable[[str], None]
    clock: Callable[[], float] = time.time
    _by_address: dict[str, Upload] = field(default_factory=dict)
    _by_content: dict[str, Upload] = field(default_factory=dict)

    def read(self) -> None:
        """Learn what this worker and others have uploaded within the life of an upload."""
        try:
            first = _name(self.clock() - LIFETIME, "")
            names = [found.name for found in self.objects.listing() if found.name.startswith(FOLDER)]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for uploads in pool.map(self._uploads_of, [name for name in names if name >= first]):
                    self.remember(uploads)
        except RecordUnavailableError as error:
            self.warn(f"What was uploaded before is not known, so that it is uploaded once more: {error}")

    def find(self, address: str) -> Upload | None:
        """Return the upload of an address whose URL can be used."""
        return self._usable(self._by_address.get(address))

    def find_content(self, sha256: str) -> Upload | None:
        """Return the upload of a content, under whatever address, whose URL can be used."""
        return self._usable(self._by_content.get(sha256))

    def remember(self, uploads: Iterable[Upload]) -> None:
        """Take uploads into account, without writing them down."""
        for upload in uploads:
            if upload.gateway != self.gateway or self._usable(upload) is None:
                continue
            # Of several the first is kept while it can be used, so that a request that goes out again is the same.
            if self.find(upload.address) is None:
                self._by_address[upload.address] = upload
            if self.find_content(upload.sha256) is None:
                self._by_content[upload.sha256] = upload

    def write(self, uploads: Sequence[Upload]) -> None:
        """Write uploads down, as one object, for other workers and later runs."""
        if not uploads:
            return
        lines = b"".join(to_line(upload) + b"\n" for upload in uploads)
        try:
            self.objects.put(_name(self.clock(), f"-{uuid.uuid4().hex}.jsonl"), io.BytesIO(lines))
        except RecordUnavailableError as error:
            self.warn(f"{len(uploads)} upload(s) could not be noted, and will be made once more: {error}")

    def _uploads_of(self, name: str) -> list[Upload]:
        uploads = []
        try:
            for number, line in enumerate(self.objects.lines(name), 1):
                try:
                    uploads.append(read_line(line))
                except ValueError as error:
                    self.warn(f"Line {number} of {self.objects.address}{name} is passed over: it is {error}.")
        except (RecordUnavailableError, FileNotFoundError) as error:
            self.warn(f"What {self.objects.address}{name} says was uploaded is uploaded once more: {error}")
        return uploads

    def _usable(self, upload: Upload | None) -> Upload | None:
        return upload if upload is not None and upload.is_usable(self.clock()) else None


def _name(moment: float, suffix: str) -> str:
    return f"{FOLDER}{datetime.fromtimestamp(moment, UTC):%Y%m%dT%H%M%S.%fZ}{suffix}"
