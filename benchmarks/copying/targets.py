"""Where the pictures go, and what has arrived there."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.child import SERVER_CORE, Server, pinned_to
from benchmarks.counting import counted_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from benchmarks.certificates import Certificates

__all__ = ["TARGETS", "Target"]

_BUCKET: Final = "pictures"


@dataclass(frozen=True, slots=True)
class Target:
    """
    A running S3 server with a bucket.

    :param arrived: returns the number of objects in the bucket, and the sum of their bytes.
    """

    endpoint: str
    access_key: str
    secret_key: str
    arrived: Callable[[], tuple[int, int]]
    bucket: str = _BUCKET
    region: str = "us-east-1"

    def client_environment(self) -> dict[str, str]:
        """Return the variables by which boto3 finds it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def sink(certificates: Certificates) -> Iterator[Target]:
    """Run the server that only counts."""
    with Server("benchmarks.copying.sink", str(certificates.server)) as server:
        url = server.announced["url"]

        def arrived() -> tuple[int, int]:
            counted = counted_by(url, certificates)
            return counted["objects"], counted["bytes"]

        yield Target(url, "key", "secret", arrived)


@contextmanager
def seaweedfs(certificates: Certificates) -> Iterator[Target]:  # noqa: ARG001 - it speaks plain HTTP
    """Run SeaweedFS, a real S3 server, on the servers' core."""
    from services.seaweedfs import SeaweedFS  # needs tests/ on the path

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = SeaweedFS(Path(folder), buckets=[_BUCKET])
        with pinned_to(SERVER_CORE):
            stack.enter_context(server)
        client = server.client()

        def arrived() -> tuple[int, int]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET)
            sizes = [entry["Size"] for page in pages for entry in page.get("Contents", ())]
            return len(sizes), sum(sizes)

        yield Target(server.endpoint, server.access_key, server.secret_key, arrived)


TARGETS: Final[Mapping[str, Callable[[Certificates], AbstractContextManager[Target]]]] = {
    "sink": sink,
    "SeaweedFS": seaweedfs,
}
