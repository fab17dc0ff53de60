"""Where the bytes of a picture come from. Blocking I/O."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from threading import Condition
from typing import IO, TYPE_CHECKING, Final

from airflow.exceptions import AirflowException  # type: ignore[attr-defined] # Airflow 3.1 has it only here.
from cachetools import TTLCache, cached

from airflow_provider_apimart.exceptions import ConfigurationError, ImageRejectedError, TransferError
from airflow_provider_apimart.gateway.images import recognise
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.plugins.web.stores import look, read_into
from airflow_provider_apimart.transfers.download import MAX_SHOWN_BYTES, fetch_delivered

if TYPE_CHECKING:
    from airflow_provider_apimart.gateway.images import ImageFormat
    from airflow_provider_apimart.gateway.settings import GatewaySettings
    from airflow_provider_apimart.plugins.web.stores import StoredObject

__all__ = ["DeliveredPicture", "Origin", "StoredPicture"]

_log: Final = logging.getLogger(__name__)

#: What the transfer notes with each object, and nobody else does.
_OURS: Final = "apimart-task-id"
#: Seconds after which a connection that somebody has edited counts.
_SETTINGS_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """
    A picture in S3.

    :param uri: ``s3://bucket/key``.
    :param aws_conn_id: connection of type ``aws``.
    """

    uri: str
    aws_conn_id: str | None

    @property
    def name(self) -> str:
        """Its file name."""
        return self.uri.rpartition("/")[2]

    def version(self) -> str:
        """
        Return what stands for its content.

        :raises TransferError: when there is none, or one that the transfer did not write; its subclass
            ``ImageRejectedError`` when it is too large.
        """
        found = look(self.uri, aws_conn_id=self.aws_conn_id)
        self._require_ours(found)
        if found.size > MAX_SHOWN_BYTES:
            raise ImageRejectedError(
                f"{self.uri} is larger than {MAX_SHOWN_BYTES} bytes, and is not shown", retryable=False
            )
        return found.etag

    def fetch(self, body: IO[bytes]) -> ImageFormat:
        """
        Write it into an empty file, and return what it turned out to be.

        :raises TransferError: when it cannot be had; its subclass ``ImageRejectedError`` when it is no whole picture.
        """
        # Once more: somebody may have replaced it since.
        self._require_ours(read_into(body, self.uri, aws_conn_id=self.aws_conn_id, max_bytes=MAX_SHOWN_BYTES))
        return recognise(body)

    def _require_ours(self, found: StoredObject) -> None:
        if _OURS not in found.metadata:
            raise TransferError(
                f"{self.uri} is not shown: its metadata do not say that it is a picture of this provider",
                status_code=404,
                charged="no",
                retryable=False,
            )


@dataclass(frozen=True, slots=True)
class DeliveredPicture:
    """
    A picture that is only where the gateway has put it.

    :param url: as the task has it in its XCom.
    :param apimart_conn_id: connection by which it was bought.
    :param name: task id and place.
    """

    url: str
    apimart_conn_id: str
    name: str

    def version(self) -> str:
        """Return what stands for its content, which never changes: it has a URL of its own."""
        return hashlib.sha256(self.url.encode()).hexdigest()

    def fetch(self, body: IO[bytes]) -> ImageFormat:
        """
        Write it into an empty file, and return what it turned out to be.

        :raises ImageRefusedError: when the image host does not deliver it.
        :raises TransferError: when it cannot be had; its subclass ``ImageRejectedError`` when it is no whole picture.
        """
        settings = _settings(self.apimart_conn_id)
        # Narrower than for the transfer: an XCom can be edited, and must not open the API server's network.
        local_gateway = settings.base_url if settings.is_local else None
        return fetch_delivered(self.url, body, local_gateway=local_gateway).image_format


Origin = StoredPicture | DeliveredPicture


@cached(TTLCache(maxsize=32, ttl=_SETTINGS_SECONDS), condition=Condition())
def _settings(apimart_conn_id: str) -> GatewaySettings:
    try:
        return ApimartHook(apimart_conn_id).settings
    except (AirflowException, ConfigurationError) as error:
        # What is wrong with a connection is not for everybody who may look at pictures.
        _log.warning("Connection %r cannot be used: %s", apimart_conn_id, error)
        raise TransferError(f"connection {apimart_conn_id!r} cannot be used ({type(error).__name__})") from error
