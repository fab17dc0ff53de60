"""Many pictures at once, and one whose URL has to be asked for again."""

from __future__ import annotations

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.credentials import Credentials
from transfers.http_server import Answer, HttpServer, closed_port
from transfers.picture_files import png, png_in_pieces

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.transfers._download import Downloader
from airflow_provider_apimart.transfers._http import Connections
from airflow_provider_apimart.transfers._signed import SignedRequests
from airflow_provider_apimart.transfers._upload import Bucket
from airflow_provider_apimart.transfers.copier import Copier
from airflow_provider_apimart.transfers.source import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transfers.http_server import Request

MEBIBYTE = 1024 * 1024
SIZE = 24 * MEBIBYTE
AT_ONCE = 16


class Sink:
    """Serves pictures, and takes them as an S3 server does, without keeping them."""

    def __init__(self, picture: Callable[[str], Answer]) -> None:
        self.received: dict[str, str] = {}
        self._picture = picture

    def answer(self, request: Request) -> Answer:
        if request.method == "GET":
            return self._picture(request.path)
        if request.method == "HEAD":
            return Answer(status=404)
        self.received[request.path] = request.sha256
        return Answer(headers={"x-amz-checksum-sha256": request.headers["x-amz-checksum-sha256"]})


def a_picture(server: HttpServer, number: int, path: str = "/picture.png") -> Picture:
    return Picture(task_id=f"task-{number}", index=0, url=server.url(path))


@contextmanager
def copier_to(server: HttpServer, get_task: Callable[[str], Any] = lambda _: None) -> Iterator[Copier]:
    with (
        closing(Connections(at_once=AT_ONCE)) as connections,
        closing(Downloader(connections, max_bytes=2 * SIZE, sleep=lambda _: None)) as downloader,
    ):
        signed = SignedRequests(
            connections,
            address=server.url("/a-bucket"),
            credentials=Credentials("access-key", "s3cr3t"),
            region="us-east-1",
        )
        yield Copier(
            downloader=downloader,
            bucket=Bucket(None, "a-bucket", {}, signed),  # No client: all that is asked for is signed here.
            key_template="{task_id}-{index}.{ext}",
            on_existing="skip",
            writer="a-writer",
            get_task=get_task,
        )


def nameless_files() -> int:
    """Return how many files without a name, which temporary files are, this process holds open."""
    gc.collect()  # Of what others have left, nothing is closed between one count and the next.
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # That of the looking itself, for one.
            targets.append(str(descriptor.readlink()))
    return sum(target.endswith("(deleted)") for target in targets)


def test_many_large_pictures_take_less_memory_than_one_of_them_and_leave_nothing_open() -> None:
    sink = Sink(lambda _: Answer(png_in_pieces(SIZE), SIZE))
    files_before = nameless_files()
    with HttpServer(sink.answer) as server:
        pictures = [a_picture(server, number) for number in range(20)]
        with copier_to(server) as copier, ThreadPoolExecutor(AT_ONCE) as threads:
            tracemalloc.start()
            try:
                copies = list(threads.map(copier.copy, pictures))
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert 1 <= nameless_files() - files_before <= AT_ONCE
            assert 1 <= server.open_connections() <= AT_ONCE

        assert server.open_connections() == 0
        assert nameless_files() == files_before
    assert [copy["bytes"] for copy in copies] == [SIZE] * 20
    assert list(sink.received.values()) == [copies[0]["sha256"]] * 20
    assert peak < SIZE, f"{peak / MEBIBYTE:.1f} MiB"


def test_a_picture_that_is_gone_is_fetched_from_the_url_that_the_gateway_gives_now() -> None:
    sink = Sink(lambda path: Answer(status=404) if path == "/old.png" else Answer.holding(png()))
    with HttpServer(sink.answer) as server:
        fresh = SimpleNamespace(images=[SimpleNamespace(url=server.url("/fresh.png"))])
        with copier_to(server, get_task=lambda _: fresh) as copier:
            copy = copier.copy(a_picture(server, 1, "/old.png"))

    assert copy["outcome"] == "copied"
    assert sink.received == {"/a-bucket/task-1-0.png": copy["sha256"]}


def test_what_is_wrong_with_the_url_that_the_gateway_gives_now_is_said() -> None:
    sink = Sink(lambda _: Answer(status=404))
    with closed_port() as port, HttpServer(sink.answer) as server:
        fresh = SimpleNamespace(images=[SimpleNamespace(url=f"http://127.0.0.1:{port}/fresh.png")])
        with (
            copier_to(server, get_task=lambda _: fresh) as copier,
            pytest.raises(TransferError, match="Connection refused"),
        ):
            copier.copy(a_picture(server, 1))
