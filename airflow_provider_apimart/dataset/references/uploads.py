"""
The uploads of reference images, recorded so that their URLs serve every row, retry and run while they live.

``{prefix}/ledger/references/{time}-{uuid}.jsonl`` holds the uploads of one moment; it is never written again. An upload
is free of charge: an image whose upload cannot be read or recorded here is uploaded again, and nothing fails over it.
"""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.gateway.reference_images import ReferenceImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["UPLOADS_FOLDER", "UPLOAD_LIFETIME", "Upload", "UploadJournal", "encode_upload", "read_upload"]

#: Folder of the objects, whose names are in the order of their writing.
UPLOADS_FOLDER: Final = "references/"
#: Seconds for which the URL of an upload lives, by the vendor's page on uploads.
UPLOAD_LIFETIME: Final = 72 * 60 * 60
#: Seconds before the end of that in which the URL is no longer submitted: a gateway fetches a reference image not when
#: it accepts a request, but when it works on it.
_MARGIN: Final = 2 * 60 * 60
_VERSION: Final = 1
_TYPES: Final = {"address": str, "gateway": str, "url": str, "sha256": str, "bytes": int, "expires_at": str}
_READERS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """
    A reference image that a gateway holds.

    :param address: of the image, as a row names it.
    :param gateway: base URL of the gateway that it was uploaded to.
    :param url: by which the gateway fetches it.
    :param sha256: of its content, in hexadecimal digits.
    :param bytes: size of its content.
    :param expires_at: Unix seconds.
    :param image: its properties, which decide whether a mask fits; ``None`` in a record of 0.1.
    """

    address: str
    gateway: str
    url: str
    sha256: str
    bytes: int
    expires_at: float
    image: ReferenceImage | None = None

    def is_usable(self, now: float) -> bool:
        """
        Return whether a request may name the URL.

        :param now: Unix seconds at which the request is submitted.
        """
        return now < self.expires_at - _MARGIN


def encode_upload(upload: Upload) -> bytes:
    """Return an upload as a line of JSON, without its end; the time in ISO 8601 (UTC)."""
    expires_at = datetime.fromtimestamp(upload.expires_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps({**asdict(upload), "expires_at": expires_at, "schema_version": _VERSION}).encode()


def read_upload(line: bytes) -> Upload:
    """
    Read a line that :func:`encode_upload` returned.

    :raises ValueError: for any other line.
    """
    try:
        values: dict[str, Any] = json.loads(line)
        if values["schema_version"] != _VERSION:
            raise ValueError(f"schema_version is {values['schema_version']!r}")  # noqa: TRY301 - one message for all
        if wrong := [name for name, kind in _TYPES.items() if type(values[name]) is not kind]:
            raise TypeError(f"{wrong[0]} is {values[wrong[0]]!r:.80}")  # noqa: TRY301
        expires_at = datetime.fromisoformat(values["expires_at"])
        if expires_at.tzinfo is None:
            raise ValueError("expires_at has no time zone")  # noqa: TRY301
        known = {name: values[name] for name in _TYPES}
        return Upload(**{**known, "expires_at": expires_at.timestamp(), "image": _image(values.get("image"))})
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"not an upload ({type(error).__name__}: {error})") from error


def _image(value: Any) -> ReferenceImage | None:
    if value is None:
        return None
    content_type, size, has_alpha = (value[name] for name in ("content_type", "size", "has_alpha"))
    return ReferenceImage(str(content_type), None if size is None else (int(size[0]), int(size[1])), bool(has_alpha))


@dataclass
class UploadJournal:
    """
    The uploads that one worker knows. Uploads that others make after :meth:`read` are not seen.

    :param store: of the ledger; ``None`` where nothing is recorded.
    :param gateway: base URL of the gateway. A URL of another gateway's upload cannot be used.
    :param warn: called with a message about what could not be read or written.
    :param clock: returns Unix seconds.
    """

    store: LedgerStore | None
    gateway: str
    warn: Callable[[str], None]
    clock: Callable[[], float] = time.time
    _by_address: dict[str, Upload] = field(default_factory=dict)
    _by_content: dict[str, Upload] = field(default_factory=dict)

    def read(self) -> None:
        """Read the uploads of all workers within the lifetime of an upload."""
        store = self.store
        if store is None:
            return
        try:
            listed = store.list(UPLOADS_FOLDER, after=_object_name(self.clock() - UPLOAD_LIFETIME, ""))
        except RecordUnavailableError as error:
            self.warn(f"Could not list earlier uploads of reference images, which are uploaded again: {error}")
            return
        with ThreadPoolExecutor(_READERS) as pool:
            for uploads in pool.map(lambda found: self._read_object(store, found.name), listed):
                self.remember(uploads)

    def find(self, address: str) -> Upload | None:
        """Return the usable upload of an address."""
        return self._usable(self._by_address.get(address))

    def find_content(self, sha256: str) -> Upload | None:
        """Return the usable upload of a content, under any address."""
        return self._usable(self._by_content.get(sha256))

    def remember(self, uploads: Iterable[Upload]) -> None:
        """Take uploads into account, without recording them."""
        for upload in uploads:
            if upload.gateway != self.gateway or self._usable(upload) is None:
                continue
            # Of several the first is kept while it is usable, so that a request that is submitted again is the same.
            if self.find(upload.address) is None:
                self._by_address[upload.address] = upload
            if self.find_content(upload.sha256) is None:
                self._by_content[upload.sha256] = upload

    def write(self, uploads: Sequence[Upload]) -> None:
        """Record uploads, as one object, for other workers and later runs."""
        if not uploads or self.store is None:
            return
        lines = b"".join(encode_upload(upload) + b"\n" for upload in uploads)
        try:
            self.store.put(_object_name(self.clock(), f"-{uuid.uuid4().hex}.jsonl"), lines)
        except RecordUnavailableError as error:
            self.warn(f"Could not record uploads of reference images ({len(uploads)}), which may be repeated: {error}")

    def _read_object(self, store: LedgerStore, name: str) -> list[Upload]:
        uploads, address = [], f"{store.address}{name}"
        try:
            for number, line in enumerate(store.lines(name), 1):
                try:
                    uploads.append(read_upload(line))
                except ValueError as error:
                    self.warn(f"Ignored line {number} of {address}: {error}. The image is uploaded again.")
        except (RecordUnavailableError, FileNotFoundError) as error:
            self.warn(f"Could not read {address}, whose images are uploaded again: {error}")
        return uploads

    def _usable(self, upload: Upload | None) -> Upload | None:
        return upload if upload is not None and upload.is_usable(self.clock()) else None


def _object_name(moment: float, suffix: str) -> str:
    return f"{UPLOADS_FOLDER}{datetime.fromtimestamp(moment, UTC):%Y%m%dT%H%M%S.%fZ}{suffix}"
