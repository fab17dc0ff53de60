"""A real S3 server: SeaweedFS."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.environment import clean_environment, executable
from services.ports import free_port
from services.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from mypy_boto3_s3 import S3Client

__all__ = ["SeaweedFS"]

GRPC_OFFSET = 10_000
REGION = "us-east-1"


class SeaweedFS:
    """
    An S3 server on 127.0.0.1 with one user. A context manager.

    :param directory: holds its data and its log; made if missing.
    :param buckets: made at start. Putting into a bucket that does not exist fails, as on AWS.
    """

    def __init__(self, directory: Path, *, buckets: Sequence[str] = ()) -> None:
        self.access_key = secrets.token_hex(10).upper()
        self.secret_key = secrets.token_urlsafe(30)
        self._directory = directory
        self._buckets = buckets
        self._ports = {name: free_port(also=GRPC_OFFSET) for name in ("s3", "master", "volume", "filer", "admin")}
        self.process = ChildProcess(
            "The S3 server",
            [executable("weed"), "-logtostderr", "mini", *self._options()],
            log=directory / "seaweedfs.log",
            environment=clean_environment(AWS_ACCESS_KEY_ID=self.access_key, AWS_SECRET_ACCESS_KEY=self.secret_key),
        )

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to this server: the JSON form of ``AIRFLOW_CONN_*``."""
        return {
            "conn_type": "aws",
            "login": self.access_key,
            "password": self.secret_key,
            "extra": {"endpoint_url": self.endpoint, "region_name": REGION},
        }

    def client(self) -> S3Client:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(signature_version="s3v4", proxies={}),
        )

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            self.process.start_until(self._answers)
        except BaseException:
            self._remove_sockets()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()
        self._remove_sockets()

    def _options(self) -> list[str]:
        return [
            f"-dir={self._directory}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{name}.port={port}" for name, port in self._ports.items()),
            f"-bucket={','.join(self._buckets)}",
            "-s3.autoCreateBucket=false",
            # By default it reports its use to its makers.
            "-master.telemetry=false",
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]

    def _answers(self) -> bool:
        try:
            anonymous = httpx.get(self.endpoint, trust_env=False)
        except httpx.TransportError:
            return False
        if anonymous.status_code != httpx.codes.FORBIDDEN:
            return False
        try:
            there = {bucket["Name"] for bucket in self.client().list_buckets()["Buckets"]}
        except (BotoCoreError, ClientError):
            return False
        return there.issuperset(self._buckets)

    def _remove_sockets(self) -> None:
        for port in self._ports.values():
            for number in (port, port + GRPC_OFFSET):
                for socket in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108 - that is where it puts them
                    socket.unlink(missing_ok=True)
