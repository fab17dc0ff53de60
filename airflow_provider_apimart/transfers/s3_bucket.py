"""One bucket: look up what a key holds, and write a checked picture with the proof that it arrived."""

from __future__ import annotations

import base64
import logging
import os
import re
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse, HTTPHeaders
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from airflow_provider_apimart.exceptions import ConfigurationError, TransferError
from airflow_provider_apimart.transfers.address import loggable
from airflow_provider_apimart.transfers.connections import HttpConnections
from airflow_provider_apimart.transfers.keys import check_extra_args
from airflow_provider_apimart.transfers.s3_signed import S3Response, SignedRequests
from airflow_provider_apimart.transfers.stored_objects import ExistingObject, is_metadata_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.transfers.download import Download

__all__ = ["S3Bucket", "open_bucket"]

_log: Final = logging.getLogger(__name__)

_NOT_FOUND: Final = 404
_EXISTS: Final = frozenset({409, 412})
#: Statuses and error codes by which stores refuse a conditional write that they do not know.
_UNKNOWN_CONDITION: Final = frozenset({400, 405, 501})
_UNKNOWN_CODES: Final = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "MethodNotAllowed"})
_METADATA: Final = "x-amz-meta-"
#: Arguments of ``PutObject`` without which ``HeadObject`` cannot look up the same object.
_HEAD_ARGS: Final = (
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "SSECustomerKeyMD5",
    "ExpectedBucketOwner",
    "RequestPayer",
)
#: ``Server`` headers of the stores that are known to honour ``If-None-Match``. Others write over the object silently.
_CONDITIONAL: Final = re.compile(r"AmazonS3|SeaweedFS|MinIO|Ceph", re.IGNORECASE)


@contextmanager
def open_bucket(
    name: str, *, aws_conn_id: str | None, extra_args: Mapping[str, Any], at_once: int
) -> Iterator[S3Bucket]:
    """
    Connect to a bucket.

    :param aws_conn_id: connection of type ``aws``.
    :param extra_args: further arguments of every ``PutObject``.
    :param at_once: simultaneous requests.
    :raises ConfigurationError: when the connection gives no credentials. Nothing was copied, and nothing is lost.
    """
    arguments = check_extra_args(extra_args)
    client, credentials, verify = _client(aws_conn_id, at_once=at_once)
    with closing(client), closing(HttpConnections(verify=verify, at_once=at_once)) as connections:
        signed = _signed_requests(client, credentials, name, connections)
        is_aws = urlsplit(client.meta.endpoint_url).netloc.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        yield S3Bucket(client, name, arguments, signed, honours_conditions=is_aws)


def _client(aws_conn_id: str | None, *, at_once: int) -> tuple[S3Client, Credentials | None, bool | str]:
    """Return a client, the credentials that it uses, and which certificates to trust."""
    from airflow.exceptions import AirflowException  # type: ignore[attr-defined]  # noqa: PLC0415
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook  # noqa: PLC0415 - loaded by the task that copies

    hook = AwsBaseHook(aws_conn_id=aws_conn_id, client_type="s3")
    try:
        session = hook.get_session(region_name=hook.region_name)
        config = hook.config or Config()
        connections = max(at_once, getattr(config, "max_pool_connections", 0) or 0)
        # Like the hook's own get_conn(), which spends as much time as twenty pictures on looking up its caller.
        client = session.client(
            "s3",
            endpoint_url=hook.conn_config.get_service_endpoint_url("s3"),
            config=config.merge(Config(max_pool_connections=connections)),
            verify=hook.verify,
        )
        credentials = session.get_credentials()
    except (AirflowException, BotoCoreError, ClientError, ValueError) as error:
        raise _unusable_connection(aws_conn_id, error) from error
    signature: Any = client.meta.config
    if credentials is None and signature.signature_version is not UNSIGNED:
        client.close()
        raise _unusable_connection(aws_conn_id, "it gives no credentials, and neither does the environment")
    verify = hook.verify if hook.verify is not None else os.environ.get("AWS_CA_BUNDLE")
    return client, credentials, True if verify is None else verify


def _unusable_connection(aws_conn_id: str | None, reason: object) -> ConfigurationError:
    return ConfigurationError(
        f"The AWS connection {aws_conn_id!r} cannot be used: {loggable(reason)}. Nothing was copied, nothing was "
        "charged and no picture was lost. Create or correct the connection, then clear this task: it copies at no "
        "cost.",
        # Credentials of a role or of an instance may be there in a minute.
        retryable=True,
    )


def _signed_requests(
    client: S3Client, credentials: Credentials | None, bucket: str, connections: HttpConnections
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
    """Return the request by which boto3 would look up a key; it is not sent, not even signed."""
    example: dict[str, Any] = {}

    def respond(params: Mapping[str, Any], **_: object) -> tuple[AWSResponse, dict[str, Any]]:
        example.update(params)
        return AWSResponse(params["url"], 200, HTTPHeaders(), None), {}

    events: Any = client.meta.events
    events.register("before-call.s3.HeadObject", respond)
    # A wrong name of the bucket is reported for each picture.
    with suppress(BotoCoreError):
        client.head_object(Bucket=bucket, Key="key")
    events.unregister("before-call.s3.HeadObject", respond)
    return example


@dataclass(slots=True)
class S3Bucket:
    """
    One bucket of an S3 server, usable from many threads.

    :param extra_args: further arguments of every ``PutObject``, such as ``ServerSideEncryption`` or ``StorageClass``.
    :param signed: a faster way for requests without further arguments; boto3's own calls do what it leaves undone.
    :param honours_conditions: whether the store is known to decide itself about a conditional write.
    :param refuses_conditions: whether it is known to take none.
    """

    client: S3Client
    name: str
    extra_args: Mapping[str, Any]
    signed: SignedRequests | None = None
    honours_conditions: bool = False
    refuses_conditions: bool = False

    def look_up(self, key: str) -> ExistingObject | None:
        """
        Return the object that the key holds, or ``None`` when it holds nothing.

        :raises TransferError: when the store does not say.
        """
        extra = {name: self.extra_args[name] for name in _HEAD_ARGS if name in self.extra_args}
        if self.signed and not extra and (response := self.signed.head(key)):
            self._learn(response.headers)
            return None if response.status == _NOT_FOUND else _existing(response.headers)
        try:
            head = self.client.head_object(Bucket=self.name, Key=key, **extra)
        except (ClientError, BotoCoreError) as error:
            if _status(error) != _NOT_FOUND:
                raise self._failed("look up", key, error) from error
            self._learn(_metadata(error).get("HTTPHeaders", {}))
            return None
        self._learn(head.get("ResponseMetadata", {}).get("HTTPHeaders", {}))
        return ExistingObject(head["ContentLength"], head.get("ContentType", ""), head.get("Metadata", {}))

    def put(self, key: str, download: Download, metadata: Mapping[str, str], *, if_absent: bool = False) -> bool:
        """
        Write one object, whole or not at all, and make sure that the store has it.

        :param if_absent: write only where the key holds nothing. Most stores decide that themselves; others are looked
            up just before and after.
        :return: whether it was written; not when the key holds an object already.
        :raises TransferError: when the store refused it, or holds something else afterwards.
        """
        is_guarded = if_absent and not self.honours_conditions
        if is_guarded and self.look_up(key) is not None:
            return False
        sent = base64.b64encode(bytes.fromhex(download.sha256)).decode()
        params = self._params(key, download, metadata, sent)
        response = self._write_if_absent(key, download, params) if if_absent else self._write(key, download, params)
        if response.status in _EXISTS:
            self.honours_conditions = True
            return False
        received = response.headers.get("x-amz-checksum-sha256")
        is_proven = received == sent  # S3 repeats a checksum that it has compared.
        if is_proven and not is_guarded:
            return True
        stored = self.look_up(key)
        if stored is None or (not is_proven and (received is not None or stored.size != download.size)):
            held = "nothing" if stored is None else f"{stored.size} bytes"
            raise TransferError(f"s3://{self.name}/{key} holds {held} after {download.size} bytes were written")
        if is_guarded and not is_metadata_of(metadata, stored):
            raise TransferError(
                f"s3://{self.name}/{key} holds another object than the one just written: another task writes to the "
                "same key at the same time, and this store does not prevent that. Give each task keys of its own",
                retryable=False,
            )
        return True

    def _params(self, key: str, download: Download, metadata: Mapping[str, str], checksum: str) -> dict[str, Any]:
        extra = dict(self.extra_args)
        return {
            "Bucket": self.name,
            "Key": key,
            "ContentType": download.image_format.content_type,
            "Metadata": {**extra.pop("Metadata", {}), **metadata},
            # Sent as a header, which stores that do not know it ignore; never as a trailer, which they refuse.
            "ChecksumSHA256": checksum,
            **extra,
        }

    def _write_if_absent(self, key: str, download: Download, params: dict[str, Any]) -> S3Response:
        if self.refuses_conditions:
            return self._write(key, download, params)
        conditional = self._write(key, download, {**params, "IfNoneMatch": "*"})
        if conditional.status not in _UNKNOWN_CONDITION:
            return conditional
        written = self._write(key, download, params)
        self.refuses_conditions = True
        _log.warning(
            "The store of s3://%s refuses conditional writes (HTTP %d). Each key is looked up before and after it is "
            "written instead, which cannot exclude that two tasks write to the same key at the same moment.",
            self.name,
            conditional.status,
        )
        return written

    def _write(self, key: str, download: Download, params: Mapping[str, Any]) -> S3Response:
        """
        Return the response to a ``PutObject``.

        :raises TransferError: when it was refused for another reason than its condition.
        """
        download.body.seek(0)
        if self.signed and not self.extra_args:
            response = self.signed.put(key, download.body, _headers(params, download.size), sha256=download.sha256)
            if response:
                return response
            download.body.seek(0)
        try:
            written: Any = self.client.put_object(Body=download.body, ContentLength=download.size, **params)
        except (ClientError, BotoCoreError) as error:
            if "IfNoneMatch" in params and (_status(error) in _EXISTS or self._is_condition_refused(error)):
                return S3Response(_status(error), {})
            raise self._failed("write", key, error) from error
        checksum = written.get("ChecksumSHA256")
        return S3Response(200, {"x-amz-checksum-sha256": checksum} if checksum else {})

    def _is_condition_refused(self, error: Exception) -> bool:
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        is_refusal = _status(error) in _UNKNOWN_CONDITION and (code in _UNKNOWN_CODES or code.isdecimal())
        return is_refusal and not self.honours_conditions

    def _learn(self, headers: Mapping[str, str]) -> None:
        """Take from a response whether the store is one that honours conditions."""
        self.honours_conditions |= _CONDITIONAL.search(headers.get("server", "")) is not None

    def _failed(self, verb: str, key: str, error: Exception) -> TransferError:
        return TransferError(f"could not {verb} s3://{self.name}/{loggable(key)}: {loggable(error)}")


def _status(error: Exception) -> int:
    return int(_metadata(error).get("HTTPStatusCode", 0))


def _metadata(error: Exception) -> Mapping[str, Any]:
    return error.response.get("ResponseMetadata", {}) if isinstance(error, ClientError) else {}


def _headers(params: Mapping[str, Any], size: int) -> dict[str, str]:
    """Return the HTTP headers of ``PutObject``."""
    condition = {"If-None-Match": params["IfNoneMatch"]} if "IfNoneMatch" in params else {}
    metadata = {f"{_METADATA}{name}": value for name, value in params["Metadata"].items()}
    return {
        "Content-Length": str(size),
        "Content-Type": params["ContentType"],
        "x-amz-checksum-sha256": params["ChecksumSHA256"],
        **condition,
        **metadata,
    }


def _existing(headers: Mapping[str, str]) -> ExistingObject:
    metadata = {name.removeprefix(_METADATA): value for name, value in headers.items() if name.startswith(_METADATA)}
    return ExistingObject(int(headers.get("content-length", 0)), headers.get("content-type", ""), metadata)
