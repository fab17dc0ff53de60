"""A checked picture into S3, and the proof that it arrived."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.transfers._keys import Existing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.transfers._download import Download

__all__ = ["Bucket"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """
    One bucket of an S3 server, usable from many threads.

    :param extra_args: further arguments of every ``PutObject``, such as ``ServerSideEncryption`` or ``StorageClass``.
    """

    client: S3Client
    name: str
    extra_args: Mapping[str, Any]

    def look(self, key: str) -> Existing | None:
        """
        Return what the key holds, or ``None`` when it holds nothing.

        :raises TransferError: when the store does not say.
        """
        try:
            head = self.client.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:  # noqa: PLR2004
                return None
            raise self._failed("look at", key, error) from error
        except BotoCoreError as error:
            raise self._failed("look at", key, error) from error
        return Existing(head["ContentLength"], head.get("ContentType", ""), head.get("Metadata", {}))

    def put(self, key: str, download: Download, metadata: Mapping[str, str]) -> None:
        """
        Write one object, whole or not at all, and make sure that the store has it.

        :raises TransferError: when it was refused, or is not what was sent.
        """
        extra = dict(self.extra_args)
        checksum = base64.b64encode(bytes.fromhex(download.sha256)).decode()
        try:
            answer = self.client.put_object(
                Bucket=self.name,
                Key=key,
                Body=download.body,
                ContentLength=download.size,
                ContentType=download.image_format.content_type,
                Metadata={**extra.pop("Metadata", {}), **metadata},
                # Sent as a header, which stores that do not know it pass over; never as a trailer, which they refuse.
                ChecksumSHA256=checksum,
                **extra,
            )
        except (ClientError, BotoCoreError) as error:
            raise self._failed("write", key, error) from error
        stored = self.look(key)
        if stored is None or stored.size != download.size or answer.get("ChecksumSHA256", checksum) != checksum:
            held = "nothing" if stored is None else f"{stored.size} bytes"
            raise TransferError(f"s3://{self.name}/{key} holds {held} after {download.size} bytes were written")

    def _failed(self, verb: str, key: str, error: Exception) -> TransferError:
        return TransferError(f"could not {verb} s3://{self.name}/{key}: {error}")
