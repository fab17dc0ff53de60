"""Many pictures at once, and one whose URL has to be asked for again."""

from __future__ import annotations

import gc
import itertools
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from transfers.http_server import Answer, HttpServer
from transfers.picture_files import png, png_in_pieces

from airflow_provider_apimart.exceptions import (
    AuthenticationError,
    InsufficientBalanceError,
    TaskNotFoundError,
    TransferError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.transfers.connections import HttpConnections
from airflow_provider_apimart.transfers.copier import Copier, ImageExpiredError
from airflow_provider_apimart.transfers.download import Downloader
from airflow_provider_apimart.transfers.s3_bucket import S3Bucket
from airflow_provider_apimart.transfers.s3_signed import SignedRequests
from airflow_provider_apimart.transfers.source import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from transfers.http_server import Request

MEBIBYTE = 1024 * 1024
SIZE = 24 * MEBIBYTE
AT_ONCE = 16
NOW = 1_800_000_000


class Sink:
    """Serves pictures, and takes them as an S3 server does, without keeping them."""

    def __init__(self, picture: Callable[[str], Answer]) -> None:
        self.received: dict[str, str] = {}
        self._picture = picture

    def answer(self, request: Request) -> Answer:
        if request.method == "GET":
            return self._picture(request.path)
        if request.method == "HEAD":
            return Answer(status=404, headers={"Server": "AmazonS3"})
        self.received[request.path] = request.sha256
        return Answer(headers={"x-amz-checksum-sha256": request.headers["x-amz-checksum-sha256"]})


def a_picture(server: HttpServer, number: int, path: str = "/picture.png", expires_at: int | None = None) -> Picture:
    return Picture(task_id=f"task-{number}", index=0, url=server.url(path), expires_at=expires_at)


@contextmanager
def copier_to(
    server: HttpServer,
    get_task: Callable[[str], Any] = lambda _: None,
    *,
    pauses: list[float] | None = None,
    on_existing: Any = "skip",
    writer: str = "a-writer",
    key_template: str = "{task_id}-{index}.{ext}",
    private: bool | str = True,
) -> Iterator[Copier]:
    with (
        closing(s3_client(server)) as client,
        closing(HttpConnections(at_once=AT_ONCE, allow_private=private)) as connections,
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
            bucket=S3Bucket(client, "a-bucket", {}, signed),
            key_template=key_template,
            on_existing=on_existing,
            writer=writer,
            get_task=get_task,
            clock=lambda: NOW,
            sleep=[].append if pauses is None else pauses.append,
        )


def s3_client(server: HttpServer) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.url(""),
        region_name="us-east-1",
        aws_access_key_id="access-key",
        aws_secret_access_key="s3cr3t",
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, proxies={}),
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


class TestARefusalOfTheImageHost:
    """Is final only when the URL has expired, by the gateway's own word."""

    @pytest.mark.parametrize("expires_at", [NOW + 3600, None], ids=["not expired", "expiry unknown"])
    @pytest.mark.parametrize("status", [401, 403, 404, 410, 400])
    def test_is_waited_for_while_the_url_lives(self, status: int, expires_at: int | None) -> None:
        answers = iter([Answer.holding(b"<html>", status)] * 3)
        sink = Sink(lambda _: next(answers, Answer.holding(png())))
        pauses: list[float] = []
        with HttpServer(sink.answer) as server, copier_to(server, unknown_task, pauses=pauses) as copier:
            copy = copier.copy(a_picture(server, 1, expires_at=expires_at))

        assert copy["outcome"] == "copied"
        assert pauses == [0.5, 1.0, 2.0]

    @pytest.mark.parametrize(
        "answer",
        [
            Answer.holding(b"", 302, Location="http://10.0.0.1/blocked"),
            Answer.holding(b"", 302, Location="ftp://elsewhere.example/"),
            Answer.holding(b"denied", 403),
        ],
        ids=["page of a firewall", "another scheme", "403"],
    )
    def test_ends_a_try_after_a_minute_of_pauses_and_is_retried(self, answer: Answer) -> None:
        pauses: list[float] = []
        sink = Sink(lambda _: answer)
        with (
            HttpServer(sink.answer) as server,
            copier_to(server, unknown_task, pauses=pauses, private=f"127.0.0.1:{server.port}") as copier,
            pytest.raises(TransferError) as caught,
        ):
            copier.copy(a_picture(server, 1, expires_at=NOW + 3600))

        assert caught.value.retryable
        assert 30 <= sum(pauses) <= 90
        assert sink.received == {}

    @pytest.mark.parametrize(
        "trouble",
        [
            AuthenticationError("wrong key"),
            InsufficientBalanceError("empty"),
            TaskNotFoundError("unknown"),
            UnreadableAnswerError("<html>"),
        ],
        ids=lambda trouble: type(trouble).__name__,
    )
    def test_is_not_final_while_the_gateway_does_not_say_that_the_url_has_expired(self, trouble: Exception) -> None:
        def get_task(_: str) -> Any:
            raise trouble

        sink = Sink(lambda _: Answer(status=403))
        with (
            HttpServer(sink.answer) as server,
            copier_to(server, get_task) as copier,
            pytest.raises(TransferError, match="HTTP 403") as caught,
        ):
            copier.copy(a_picture(server, 1, expires_at=NOW - 3600))

        assert caught.value.retryable
        assert not isinstance(caught.value, ImageExpiredError)

    def test_is_final_once_the_url_has_expired_by_a_fresh_look_too(self) -> None:
        pauses: list[float] = []
        sink = Sink(lambda _: Answer(status=403))
        with HttpServer(sink.answer) as server:
            get_task = a_task(server.url(), expires_at=NOW - 1)
            with (
                copier_to(server, get_task, pauses=pauses) as copier,
                pytest.raises(ImageExpiredError, match="can only be bought again") as caught,
            ):
                copier.copy(a_picture(server, 1, expires_at=NOW - 3600))

        assert not caught.value.retryable
        assert pauses == []

    def test_leads_to_the_url_that_the_gateway_gives_now(self) -> None:
        pauses: list[float] = []
        sink = Sink(lambda path: Answer(status=404) if path == "/old.png" else Answer.holding(png()))
        with HttpServer(sink.answer) as server:
            get_task = a_task(server.url("/fresh.png"), expires_at=NOW + 3600)
            with copier_to(server, get_task, pauses=pauses) as copier:
                copy = copier.copy(a_picture(server, 1, "/old.png", expires_at=NOW - 3600))

        assert copy["outcome"] == "copied"
        assert sink.received == {"/a-bucket/task-1-0.png": copy["sha256"]}
        assert pauses == []

    def test_of_urls_that_are_signed_at_each_query_is_bounded(self) -> None:
        numbers = itertools.count()
        pauses: list[float] = []
        sink = Sink(lambda _: Answer(status=403))
        with HttpServer(sink.answer) as server:

            def get_task(_: str) -> Any:
                return a_task(server.url(f"/{next(numbers)}.png"), expires_at=NOW + 3600)("")

            with copier_to(server, get_task, pauses=pauses) as copier, pytest.raises(TransferError):
                copier.copy(a_picture(server, 1))
            requests = sum(request.method == "GET" for request in server.requests)

        assert 8 <= requests <= 10
        assert len(pauses) == 7


class Bucket:
    """
    A scripted store with one bucket.

    :param conditions: ``honoured``, ``ignored`` or the status by which they are refused.
    :param before_put: called once before a PUT takes effect, as another writer would act.
    """

    def __init__(self, conditions: str | int, server_header: str = "a store") -> None:
        self.objects: dict[str, tuple[Mapping[str, str], int]] = {}
        self.before_put: Callable[[], None] = lambda: None
        self.methods: list[str] = []
        self._conditions = conditions
        self._server = {"Server": server_header}

    def answer(self, request: Request) -> Answer:
        if request.method == "GET":
            return Answer.holding(png())
        self.methods.append(request.method)
        if request.method == "HEAD":
            held = self.objects.get(request.path)
            if held is None:
                return Answer(status=404, headers=self._server)
            return Answer(length=held[1], headers={**self._server, **held[0]})
        act, self.before_put = self.before_put, lambda: None
        act()
        if "if-none-match" in request.headers:
            if isinstance(self._conditions, int):
                code = {400: "InvalidArgument", 501: "NotImplemented"}[self._conditions]
                return Answer.holding(f"<Error><Code>{code}</Code></Error>".encode(), self._conditions)
            if self._conditions == "honoured" and request.path in self.objects:
                return Answer.holding(b"<Error><Code>PreconditionFailed</Code></Error>", 412)
        self.hold(request.path, request.headers)
        return Answer(headers=self._server)

    def hold(self, path: str, headers: Mapping[str, str]) -> None:
        kept = {name: value for name, value in headers.items() if name.startswith(("x-amz-meta-", "content-type"))}
        self.objects[path] = (kept, int(headers["content-length"]))


THEIRS = {"x-amz-meta-apimart-task-id": "task-2", "x-amz-meta-apimart-index": "0", "content-length": "9"}


class TestAKeyThatAnotherTaskWritesToAtTheSameTime:
    @pytest.mark.parametrize("on_existing", ["skip", "fail"])
    @pytest.mark.parametrize("server_header", ["AmazonS3", "a store"])
    def test_keeps_the_others_picture_where_the_store_honours_conditions(
        self, on_existing: str, server_header: str
    ) -> None:
        store = Bucket("honoured", server_header)
        store.before_put = lambda: store.hold("/a-bucket/same.png", THEIRS)
        with (
            HttpServer(store.answer) as server,
            copier_to(server, on_existing=on_existing, key_template="same.png") as copier,
            pytest.raises(TransferError, match="picture 0 of task task-2") as caught,
        ):
            copier.copy(a_picture(server, 1))

        assert not caught.value.retryable
        assert store.objects["/a-bucket/same.png"][0]["x-amz-meta-apimart-task-id"] == "task-2"

    @pytest.mark.parametrize("conditions", ["ignored", 501, 400])
    def test_is_noticed_before_it_is_written_where_the_store_does_not(self, conditions: str | int) -> None:
        store = Bucket(conditions)
        fetched = threading.Event()

        def answer(request: Request) -> Answer:
            if request.method == "GET":
                store.hold("/a-bucket/same.png", THEIRS)  # While the picture is on its way.
                fetched.set()
            return store.answer(request)

        with (
            HttpServer(answer) as server,
            copier_to(server, key_template="same.png") as copier,
            pytest.raises(TransferError, match="picture 0 of task task-2"),
        ):
            copier.copy(a_picture(server, 1))

        assert fetched.is_set()
        assert store.objects["/a-bucket/same.png"][0]["x-amz-meta-apimart-task-id"] == "task-2"

    def test_is_noticed_afterwards_where_the_store_ignores_conditions(self) -> None:
        store = Bucket("ignored")

        def answer(request: Request) -> Answer:
            answered = store.answer(request)
            if request.method == "PUT":
                store.hold("/a-bucket/same.png", {**THEIRS, "content-length": request.headers["content-length"]})
            return answered

        with (
            HttpServer(answer) as server,
            copier_to(server, key_template="same.png") as copier,
            pytest.raises(TransferError, match="another task writes to the same key") as caught,
        ):
            copier.copy(a_picture(server, 1))

        assert not caught.value.retryable

    @pytest.mark.parametrize("conditions", [501, 400])
    def test_is_logged_once_where_the_store_refuses_conditions(
        self, conditions: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = Bucket(conditions)
        with HttpServer(store.answer) as server, copier_to(server) as copier:
            outcomes = [copier.copy(a_picture(server, number))["outcome"] for number in range(3)]

        assert outcomes == ["copied"] * 3
        assert caplog.text.count("refuses conditional writes") == 1

    def test_costs_no_further_request_where_the_store_is_known_to_honour_conditions(self) -> None:
        store = Bucket("honoured", "AmazonS3")
        answer = store.answer

        def repeating(request: Request) -> Answer:
            answered = answer(request)
            checksum = request.headers.get("x-amz-checksum-sha256")
            return Answer(headers={"x-amz-checksum-sha256": checksum}) if checksum else answered

        with HttpServer(repeating) as server, copier_to(server) as copier:
            for number in range(3):
                copier.copy(a_picture(server, number))

        assert store.methods == ["HEAD", "PUT"] * 3

    def test_is_written_over_only_where_that_is_wanted(self) -> None:
        store = Bucket("honoured", "AmazonS3")
        store.before_put = lambda: store.hold("/a-bucket/same.png", THEIRS)
        with (
            HttpServer(store.answer) as server,
            copier_to(server, on_existing="overwrite", key_template="same.png") as copier,
        ):
            assert copier.copy(a_picture(server, 1))["outcome"] == "copied"

    def test_is_ours_when_the_response_to_our_own_write_was_lost(self) -> None:
        store = Bucket("honoured", "AmazonS3")
        with HttpServer(store.answer) as server, copier_to(server) as copier:
            first = copier.copy(a_picture(server, 1))
            held = store.objects["/a-bucket/task-1-0.png"]
            store.objects.clear()
            store.before_put = lambda: store.objects.update({"/a-bucket/task-1-0.png": held})

            assert copier.copy(a_picture(server, 1)) == first


def unknown_task(_: str) -> Any:
    raise TaskNotFoundError("not known now")


def a_task(url: str, *, expires_at: int | None) -> Callable[[str], Any]:
    return lambda _: SimpleNamespace(images=[SimpleNamespace(url=url, expires_at=expires_at)])
