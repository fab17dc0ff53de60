"""A checked picture into S3, and the proof that it arrived."""

from __future__ import annotations

import base64
import os
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.awsrequest import AWSResponse, HTTPHeaders
from botocore.exceptions import BotoCoreError, ClientError

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.transfers._http import Connections
from airflow_provider_apimart.transfers._keys import Existing
from airflow_provider_apimart.transfers._signed import SignedRequests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.transfers._download import Download

__all__ = ["Bucket", "open_bucket"]

_NOT_FOUND: Final = 404
_METADATA: Final = "x-amz-meta-"


@contextmanager
def open_bucket(name: str, *, aws_conn_id: str | None, extra_args: Mapping[str, Any], at_once: int) -> Iterator[Bucket]:
    """
    Connect to a bucket.

    :param aws_conn_id: connection of type ``aws``.
    :param extra_args: further arguments of every ``PutObject``.
    :param at_once: simultaneous requests.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook  # noqa: PLC0415 - loaded by the task that copies

    hook = AwsBaseHook(aws_conn_id=aws_conn_id, client_type="s3")
    session = hook.get_session(region_name=hook.region_name)
    # As the hook's own get_conn(), which takes as long as twenty pictures to find out who calls it.
    client = session.client(
        "s3",
        endpoint_url=hook.conn_config.get_service_endpoint_url("s3"),
        config=hook.config,
        verify=hook.verify,
    )
    verify = hook.verify if hook.verify is not None else os.environ.get("AWS_CA_BUNDLE")
    with (
        closing(client),
        closing(Connections(verify=True if verify is None else verify, at_once=at_once)) as connections,
    ):
        yield Bucket(client, name, extra_args, _signed_requests(client, session.get_credentials(), name, connections))


def _signed_requests(
    client: S3Client, credentials: Credentials | None, bucket: str, connections: Connections
) -> SignedRequests | None:
    """Return the faster way into a bucket, or ``None`` where the connection asks for something that only boto3 does."""
    config: Any = client.meta.config
    if credentials is None or config.proxies is not None or config.client_cert or ":" in bucket:
        return None
    example = _example_request(client, bucket)
    signing = example.get("context", {}).get("signing", {})
    if signing.get("signing_name") != "s3":  # As for another version of the signature, or for none.
        return None
    return SignedRequests(
        connections, address=example["url"].removesuffix("/key"), credentials=credentials, region=signing["region"]
    )


def _example_request(client: S3Client, bucket: str) -> dict[str, Any]:
    """Return the request by which boto3 would look at a key; it is not sent, not even signed."""
    example: dict[str, Any] = {}

    def answer(params: Mapping[str, Any], **_: object) -> tuple[AWSResponse, dict[str, Any]]:
        example.update(params)
        return AWSResponse(params["url"], 200, HTTPHeaders(), None), {}

    events: Any = client.meta.events
    events.register("before-call.s3.HeadObject", answer)
    # What is wrong with the bucket's name is for each picture to say.
    with suppress(BotoCoreError):
        client.head_object(Bucket=bucket, Key="key")
    events.unregister("before-call.s3.HeadObject", answer)
    return example


@dataclass(frozen=True, slots=True)
class Bucket:
    """
    One bucket of an S3 server, usable from many threads.

    :param extra_args: further arguments of every ``PutObject``, such as ``ServerSideEncryption`` or ``StorageClass``.
    :param signed: a faster way to do what needs no further arguments; boto3's own calls do what it leaves undone.
    """

    client: S3Client
    name: str
    extra_args: Mapping[str, Any]
    signed: SignedRequests | None = None

    def look(self, key: str) -> Existing | None:
        """
        Return what the key holds, or ``None`` when it holds nothing.

        :raises TransferError: when the store does not say.
        """
        if self.signed and (answer := self.signed.head(key)):
            status, headers = answer
            return None if status == _NOT_FOUND else _existing(headers)
        try:
            head = self.client.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == _NOT_FOUND:
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
        sent = base64.b64encode(bytes.fromhex(download.sha256)).decode()
        received = self._write(key, download, metadata, sent)
        if received == sent:
            return  # S3 repeats a checksum that it has compared.
        stored = self.look(key)
        if received is not None or stored is None or stored.size != download.size:
            held = "nothing" if stored is None else f"{stored.size} bytes"
            raise TransferError(f"s3://{self.name}/{key} holds {held} after {download.size} bytes were written")

    def _write(self, key: str, download: Download, metadata: Mapping[str, str], checksum: str) -> str | None:
        """Return the checksum that the store answers with, or ``None`` from one that does not know it."""
        extra = dict(self.extra_args)
        params: dict[str, Any] = {
            "Bucket": self.name,
            "Key": key,
            "ContentType": download.image_format.content_type,
            "Metadata": {**extra.pop("Metadata", {}), **metadata},
            # Sent as a header, which stores that do not know it pass over; never as a trailer, which they refuse.
            "ChecksumSHA256": checksum,
            **extra,
        }
        if self.signed and not self.extra_args:
            answer = self.signed.put(key, download.body, _headers(params, download.size), sha256=download.sha256)
            if answer:
                _, headers = answer
                return headers.get("x-amz-checksum-sha256")
        download.body.seek(0)
        try:
            written = self.client.put_object(Body=download.body, ContentLength=download.size, **params)
        except (ClientError, BotoCoreError) as error:
            raise self._failed("write", key, error) from error
        return written.get("ChecksumSHA256")

    def _failed(self, verb: str, key: str, error: Exception) -> TransferError:
        return TransferError(f"could not {verb} s3://{self.name}/{key}: {error}")


def _headers(params: Mapping[str, Any], size: int) -> dict[str, str]:
    """Return the HTTP headers of ``PutObject``."""
    metadata = {f"{_METADATA}{name}": value for name, value in params["Metadata"].items()}
    return {
        "Content-Length": str(size),
        "Content-Type": params["ContentType"],
        "x-amz-checksum-sha256": params["ChecksumSHA256"],
        **metadata,
    }


def _existing(headers: Mapping[str, str]) -> Existing:
    metadata = {name.removeprefix(_METADATA): value for name, value in headers.items() if name.startswith(_METADATA)}
    return Existing(int(headers.get("content-length", 0)), headers.get("content-type", ""), metadata)
