"""
The uploads of reference images, recorded so that their URLs serve every row, retry and run while they live.

``{prefix}/ledger/references/{time}-{uuid}.jsonl`` holds uploads that were made together; it is never written again.
Uploads are free of charge: an image whose upload cannot be read or recorded here is uploaded again.
"""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.gateway.reference_images import ReferenceImage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["UPLOADS_FOLDER", "UPLOAD_LIFETIME", "Upload", "UploadJournal", "encode_upload", "read_upload"]

#: Folder of the objects, whose names sort by time.
UPLOADS_FOLDER: Final = "references/"
#: Seconds for which the URL of an upload lives, by the vendor's page on uploads.
UPLOAD_LIFETIME: Final = 72 * 60 * 60
#: Seconds before its end in which the URL is no longer submitted: a gateway fetches a reference image not when it
#: accepts a request, but when it works on it.
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
        known = {name: values[name] for name in _TYPES}
        expires_at = datetime.fromisoformat(known["expires_at"])
        is_valid = all(type(known[name]) is kind for name, kind in _TYPES.items()) and expires_at.tzinfo is not None
        if values["schema_version"] != _VERSION or not is_valid:
            raise ValueError("of another version, or a value has the wrong type")  # noqa: TRY301 - one message for all
        image = values.get("image")
        if image is not None:
            size = image["size"] and (int(image["size"][0]), int(image["size"][1]))
            image = ReferenceImage(str(image["content_type"]), size, bool(image["has_alpha"]))
        return Upload(**{**known, "expires_at": expires_at.timestamp(), "image": image})
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"not an upload ({type(error).__name__}: {error})") from error


@dataclass
class UploadJournal:
    """
    The uploads that one worker knows. Uploads that others make after :meth:`read` are not seen.

    :param store: of the ledger; ``None`` if nothing is recorded.
    :param gateway: base URL of the gateway, which cannot use the URL of another gateway's upload.
    :param warn: called with a message when uploads cannot be read or written.
    :param clock: returns Unix seconds.
    """

    store: LedgerStore | None
    gateway: str
    warn: Callable[[str], None]
    clock: Callable[[], float]
    #: By address, and by the digest of the content.
    _known: dict[str, Upload] = field(default_factory=dict)

    def read(self) -> None:
        """Read the uploads of all workers within the lifetime of an upload."""
        store = self.store
        if store is None:
            return
        try:
            listed = store.list(UPLOADS_FOLDER, after=_object_name(self.clock() - UPLOAD_LIFETIME, ""))
        except RecordUnavailableError as error:
            self.warn(f"Could not list earlier uploads of reference images, so they may be uploaded again: {error}")
            return
        with ThreadPoolExecutor(_READERS) as pool:
            for uploads in pool.map(lambda listed: self._read_object(store, listed.name), listed):
                for upload in uploads:
                    self.remember(upload)

    def find(self, identity: str) -> Upload | None:
        """
        Return an upload whose URL a request may name.

        :param identity: address of the image, or the SHA-256 of its content in hexadecimal digits.
        """
        upload = self._known.get(identity)
        return upload if upload is not None and self.clock() < upload.expires_at - _MARGIN else None

    def remember(self, upload: Upload) -> None:
        """Take an upload into account, without recording it."""
        if upload.gateway == self.gateway:
            for identity in (upload.address, upload.sha256):
                # The first upload is kept while it is usable, so that a request that is submitted again is the same.
                if self.find(identity) is None:
                    self._known[identity] = upload

    def write(self, uploads: Sequence[Upload]) -> None:
        """Record uploads, as one object, for other workers and later runs."""
        if not uploads or self.store is None:
            return
        lines = b"".join(encode_upload(upload) + b"\n" for upload in uploads)
        try:
            self.store.put(_object_name(self.clock(), f"-{uuid.uuid4().hex}.jsonl"), lines)
        except RecordUnavailableError as error:
            self.warn(
                f"Could not record uploads of reference images ({len(uploads)}), so they may be repeated: {error}"
            )

    def _read_object(self, store: LedgerStore, name: str) -> list[Upload]:
        uploads, address = [], f"{store.address}{name}"
        try:
            for number, line in enumerate(store.lines(name), 1):
                try:
                    uploads.append(read_upload(line))
                except ValueError as error:
                    self.warn(f"Ignored line {number} of {address}: {error}. The image is uploaded again.")
        except (RecordUnavailableError, FileNotFoundError) as error:
            self.warn(f"Could not read {address}, so its images are uploaded again: {error}")
        return uploads


def _object_name(moment: float, suffix: str) -> str:
    return f"{UPLOADS_FOLDER}{datetime.fromtimestamp(moment, UTC):%Y%m%dT%H%M%S.%fZ}{suffix}"
