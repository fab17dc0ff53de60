"""Which addresses a picture may come from, how it is fetched, and what is said when it is not."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import textwrap
import threading
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import urllib3
from transfers.http_server import Answer, HttpServer, closed_port
from transfers.picture_files import png

from airflow_provider_apimart.exceptions import ImageRejectedError, TransferError
from airflow_provider_apimart.transfers.address import ImageRefusedError, check_address, host_and_port
from airflow_provider_apimart.transfers.connections import HttpConnections
from airflow_provider_apimart.transfers.download import Downloader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO, Any

    from transfers.conftest import Certificates

    from airflow_provider_apimart.transfers.download import Download

    Fetch = Callable[[str], Download]

PRIVATE = [
    "http://127.0.0.1/latest/meta-data",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.7/a.png",
    "http://192.168.1.1/a.png",
    "http://[::1]/a.png",
    "http://[fe80::1]/a.png",
    "http://localhost/a.png",
    "http://0.0.0.0/a.png",
    "http://[::ffff:127.0.0.1]/a.png",
]
#: Public, written as numbers so that no test looks up a name.
PUBLIC = "http://93.184.215.14/a.png"
#: What no URL can be.
UNPARSABLE = [
    "http://[::1/a.png",
    "http://[nonsense]/a.png",
    "http://image-host.example:port/a.png",
    "http://image-host.example:99999/a.png",
    f"http://{'a' * 70}.example/a.png",
    "http://image..host/a.png",
]
MAX_BYTES = 100_000
PICTURE = png()


class Script:
    """Connections that lead nowhere: each request gets the next answer, or raises it."""

    allow_private = False

    def __init__(self, answers: Iterable[urllib3.HTTPResponse | Exception]) -> None:
        self.asked: list[str] = []
        self._answers = iter(answers)

    def request(self, _method: str, url: str, **_: Any) -> urllib3.HTTPResponse:
        self.asked.append(url)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def redirect(target: str) -> urllib3.HTTPResponse:
    return urllib3.HTTPResponse(status=302, headers={"Location": target}, preload_content=False)


def moved(target: str) -> Answer:
    """A redirect with a body that nobody reads."""
    return Answer.holding(b"It is over there. " * 1000, 302, Location=target)


def fetch_with(connections: Any, url: str) -> Download:
    downloader = Downloader(connections, max_bytes=MAX_BYTES, sleep=lambda _: None)
    with closing(downloader), downloader.temporary_file() as file:
        return downloader.fetch(url, file)


def fetch_to_a_full_disk(downloader: Downloader, url: str, files: list[IO[bytes]]) -> None:
    """Add the file that was lent to the files."""
    with Path("/dev/full").open("r+b", buffering=0) as full_disk, downloader.temporary_file() as file:
        files.append(file)
        os.dup2(full_disk.fileno(), file.fileno())
        downloader.fetch(url, file)


@pytest.fixture
def host() -> Iterator[HttpServer]:
    with HttpServer(lambda _: Answer.holding(PICTURE)) as host:
        yield host


@pytest.fixture
def connections(host: HttpServer) -> Iterator[HttpConnections]:  # noqa: ARG001 - closed before the host is
    """A single one to each host."""
    with closing(HttpConnections(at_once=1)) as connections:
        yield connections


@pytest.fixture
def downloader(connections: HttpConnections, pauses: list[float]) -> Iterator[Downloader]:
    downloader = Downloader(connections, max_bytes=MAX_BYTES, sleep=pauses.append)
    with closing(downloader):
        yield downloader


@pytest.fixture
def fetch(downloader: Downloader) -> Fetch:
    def fetch_into_a_temporary_file(url: str) -> Download:
        with downloader.temporary_file() as file:
            return downloader.fetch(url, file)

    return fetch_into_a_temporary_file


class TestAnAddress:
    @pytest.mark.parametrize("url", PRIVATE)
    def test_that_is_private_is_not_fetched(self, url: str) -> None:
        with pytest.raises(TransferError, match="private address"):
            check_address(url, allow_private=False)

    @pytest.mark.parametrize("url", PRIVATE)
    def test_that_is_private_is_fetched_when_the_gateway_itself_is_local(self, url: str) -> None:
        check_address(url, allow_private=True)

    @pytest.mark.parametrize("url", PRIVATE)
    def test_that_is_private_is_not_fetched_when_another_one_is_the_gateways(self, url: str) -> None:
        with pytest.raises(TransferError, match="private address"):
            check_address(url, allow_private="127.0.0.1:8080")

    @pytest.mark.parametrize(
        ("url", "gateway"),
        [
            ("http://127.0.0.1:8080/a.png", "127.0.0.1:8080"),
            ("http://LOCALHOST/a.png", "localhost:80"),
            ("https://[::1]/a.png", "::1:443"),
        ],
    )
    def test_that_is_the_gateways_own_is_fetched(self, url: str, gateway: str) -> None:
        assert host_and_port(url) == gateway
        check_address(url, allow_private=gateway)

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://93.184.215.14/a.png", "https:///a.png", "gopher://x"])
    def test_of_anything_but_http_is_not_fetched(self, url: str) -> None:
        with pytest.raises(TransferError, match="not an http or https URL"):
            check_address(url, allow_private=True)

    def test_that_is_public_is_fetched(self) -> None:
        check_address(PUBLIC, allow_private=False)

    def test_that_leads_nowhere_is_named(self) -> None:
        with pytest.raises(TransferError, match=r"no-such-host\.invalid has no address"):
            check_address("https://no-such-host.invalid/a.png", allow_private=False)

    @pytest.mark.parametrize("url", UNPARSABLE)
    @pytest.mark.parametrize("allow_private", [True, False])
    def test_that_cannot_be_read_is_the_error_of_this_picture(self, url: str, *, allow_private: bool) -> None:
        with (
            closing(HttpConnections(at_once=1, allow_private=allow_private)) as connections,
            pytest.raises(TransferError) as caught,
        ):
            fetch_with(connections, f"{url}?signature=secret")

        assert "secret" not in str(caught.value)


class TestARedirect:
    @pytest.mark.parametrize("target", PRIVATE)
    def test_to_a_private_address_is_not_followed(self, target: str) -> None:
        script = Script([redirect(target)])

        with pytest.raises(TransferError, match="private address"):
            fetch_with(script, PUBLIC)

        assert script.asked == [PUBLIC]

    def test_stays_at_the_only_private_host_and_port_that_is_allowed(self, host: HttpServer) -> None:
        host.answer = lambda request: moved("/2" if request.path == "/1" else "http://127.0.0.1:9/3")

        with (
            closing(HttpConnections(at_once=1, allow_private=f"127.0.0.1:{host.port}")) as connections,
            pytest.raises(TransferError, match="private address"),
        ):
            fetch_with(connections, host.url("/1"))

        assert [request.path for request in host.requests] == ["/1", "/2"]

    def test_has_an_end(self) -> None:
        script = Script(redirect(PUBLIC) for _ in repeat(None))

        with pytest.raises(TransferError, match="more than 5 times"):
            fetch_with(script, PUBLIC)

        assert len(script.asked) == 6

    def test_is_followed_whether_it_is_relative_or_not(self, host: HttpServer, fetch: Fetch) -> None:
        targets = {"/a/1": "2", "/a/2": "/b/3?width=4", "/b/3?width=4": host.url("/4"), "/4": "//127.0.0.1"}
        targets["/4"] = f"//127.0.0.1:{host.port}/5"
        host.answer = lambda request: (
            moved(targets[request.path]) if request.path in targets else Answer.holding(PICTURE)
        )

        assert fetch(host.url("/a/1")).size == len(PICTURE)
        assert [request.path for request in host.requests] == ["/a/1", "/a/2", "/b/3?width=4", "/4", "/5"]

    @pytest.mark.parametrize("target", UNPARSABLE)
    def test_that_cannot_be_read_is_not_tried_again(self, host: HttpServer, fetch: Fetch, target: str) -> None:
        host.answer = lambda _: moved(target)

        with pytest.raises(TransferError) as caught:
            fetch(host.url())

        assert caught.value.retryable, "a firewall may answer for the image host"
        assert 1 <= len(host.requests) <= 4

    def test_that_names_no_place_is_an_error(self, host: HttpServer, fetch: Fetch) -> None:
        host.answer = lambda _: Answer(status=302)

        with pytest.raises(TransferError, match="HTTP 302"):
            fetch(host.url())


class TestAPicture:
    def test_is_described_and_lies_at_the_beginning_of_the_file(self, host: HttpServer, downloader: Downloader) -> None:
        picture = png(size=5000, width=640, height=480)
        host.answer = lambda _: Answer.holding(picture)

        with downloader.temporary_file() as file:
            download = downloader.fetch(host.url(), file)

            assert download.body is file
            assert file.read() == picture
        assert download.sha256 == hashlib.sha256(picture).hexdigest()
        assert (download.size, download.width, download.height) == (5000, 640, 480)
        assert download.image_format.content_type == "image/png"

    def test_may_come_in_chunks(self, host: HttpServer, downloader: Downloader) -> None:
        host.answer = lambda _: Answer([PICTURE[:10], PICTURE[10:]], length=None)

        with downloader.temporary_file() as file:
            downloader.fetch(host.url(), file)

            assert file.read() == PICTURE

    def test_that_was_compressed_on_the_way_is_what_it_was_before(
        self, host: HttpServer, downloader: Downloader
    ) -> None:
        host.answer = lambda _: Answer.holding(gzip.compress(PICTURE), Content_Encoding="gzip")

        with downloader.temporary_file() as file:
            download = downloader.fetch(host.url(), file)

            assert file.read() == PICTURE
        assert download.sha256 == hashlib.sha256(PICTURE).hexdigest()

    def test_is_no_longer_than_announced(self, host: HttpServer, downloader: Downloader) -> None:
        host.answer = lambda _: Answer(
            [PICTURE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsomething"], len(PICTURE)
        )

        for _ in range(3):
            with downloader.temporary_file() as file:
                downloader.fetch(host.url(), file)

                assert file.read() == PICTURE

    def test_is_not_mixed_with_a_larger_one_that_was_in_the_file_before(
        self, host: HttpServer, downloader: Downloader
    ) -> None:
        pictures = [png(size=90_000, filling=b"x"), png(size=1000, filling=b"y"), png(size=40_000, filling=b"z")]
        answers = iter(pictures)
        host.answer = lambda _: Answer.holding(next(answers))
        held = []

        for _ in pictures:
            with downloader.temporary_file() as file:
                download = downloader.fetch(host.url(), file)
                held.append(file.read())
                assert download.size == len(held[-1])

        assert held == pictures

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer([b"\0" * (MAX_BYTES + 1)], MAX_BYTES + 1), id="announced"),
            pytest.param(Answer([b"\0" * (MAX_BYTES + 1)], length=None), id="in chunks"),
            pytest.param(Answer.holding(gzip.compress(b"\0" * 10**7), Content_Encoding="gzip"), id="compressed"),
        ],
    )
    def test_that_is_too_large_is_refused_and_not_tried_again(
        self, host: HttpServer, fetch: Fetch, answer: Answer
    ) -> None:
        host.answer = lambda _: answer

        with pytest.raises(ImageRejectedError, match=f"larger than max_bytes={MAX_BYTES}"):
            fetch(host.url())

        assert len(host.requests) == 1


class TestABrokenDownload:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer([PICTURE[:500]], len(PICTURE)), id="cut off"),
            pytest.param(Answer([PICTURE[:500]], 500), id="short"),
            pytest.param(Answer.holding(PICTURE, Content_Encoding="gzip"), id="not what it says"),
            pytest.param(Answer(status=500), id="failed"),
            pytest.param(Answer(status=429), id="refused for now"),
        ],
    )
    def test_is_tried_again(self, host: HttpServer, fetch: Fetch, pauses: list[float], answer: Answer) -> None:
        answers = chain([answer, answer], repeat(Answer.holding(PICTURE)))
        host.answer = lambda _: next(answers)

        assert fetch(host.url()).sha256 == hashlib.sha256(PICTURE).hexdigest()
        assert len(host.requests) == 3
        assert len(pauses) == 2
        assert 0 < pauses[0] <= 1.0 <= pauses[1] + 0.5

    def test_is_given_up_after_four_tries(self, host: HttpServer, fetch: Fetch) -> None:
        host.answer = lambda _: Answer([PICTURE[:500]], len(PICTURE))

        with pytest.raises(TransferError, match="the download broke") as caught:
            fetch(host.url())

        assert caught.value.retryable
        assert len(host.requests) == 4

    @pytest.mark.parametrize("status", [401, 403, 404, 410])
    def test_of_a_picture_that_is_gone_is_not_tried_again(self, host: HttpServer, fetch: Fetch, status: int) -> None:
        host.answer = lambda _: Answer.holding(b"It is gone.", status)

        with pytest.raises(ImageRefusedError, match=f"HTTP {status}"):
            fetch(host.url())

        assert len(host.requests) == 1

    @pytest.mark.parametrize("status", [304, 400, 451])
    def test_of_a_picture_that_is_refused_is_not_tried_again(self, host: HttpServer, fetch: Fetch, status: int) -> None:
        host.answer = lambda _: Answer(status=status)

        with pytest.raises(TransferError, match=f"HTTP {status}"):
            fetch(host.url())

        assert len(host.requests) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(moved("/moved"), id="redirect"),
            pytest.param(Answer([b"moved"] * 9, None, 302, {"Location": "/moved"}), id="redirect in chunks"),
            pytest.param(Answer.holding(b"It is gone. " * 1000, 403), id="gone"),
            pytest.param(Answer.holding(b"no picture"), id="no picture"),
            pytest.param(Answer([PICTURE[:500]], len(PICTURE)), id="cut off"),
            pytest.param(Answer([b"\0"], 10**9), id="too large"),
            pytest.param(Answer([b"\0" * 2 * MAX_BYTES], None), id="too large in chunks"),
        ],
    )
    def test_leaves_the_only_connection_to_the_next_one(self, host: HttpServer, fetch: Fetch, answer: Answer) -> None:
        host.answer = lambda request: Answer.holding(PICTURE) if request.path == "/whole" else answer

        with pytest.raises(TransferError):
            fetch(host.url())
        for _ in range(3):
            assert fetch(host.url("/whole")).size == len(PICTURE)

        assert host.open_connections() == 1
        assert len({request.connection for request in host.requests[-3:]}) == 1


class TestADataUri:
    @pytest.mark.parametrize(
        "uri",
        [
            "data:image/png;base64," + base64.b64encode(PICTURE).decode(),
            "data:;base64," + base64.b64encode(PICTURE).decode().rstrip("="),
            "data:image/png;base64," + base64.urlsafe_b64encode(PICTURE).decode(),
            "data:image/png;base64,\n" + "\n".join(textwrap.wrap(base64.b64encode(PICTURE).decode(), 76)),
            "data:image/png;base64," + quote(base64.b64encode(PICTURE).decode(), safe=""),
            "data:image/png," + quote(PICTURE),
        ],
        ids=["usual", "without padding", "URL-safe", "in lines", "escaped", "no base64"],
    )
    def test_is_decoded_without_a_request(self, fetch: Fetch, uri: str) -> None:
        download = fetch(uri)

        assert download.sha256 == hashlib.sha256(PICTURE).hexdigest()
        assert download.image_format.ext == "png"

    @pytest.mark.parametrize("uri", ["data:", "data:image/png;base64,%%%", "data:image/png;base64,a"])
    def test_that_cannot_be_decoded_is_an_error(self, fetch: Fetch, uri: str) -> None:
        with pytest.raises(TransferError) as caught:
            fetch(uri)

        assert caught.value.retryable

    def test_is_not_larger_than_allowed(self, fetch: Fetch) -> None:
        with pytest.raises(ImageRejectedError, match="larger than max_bytes"):
            fetch("data:image/png;base64," + base64.b64encode(png(size=MAX_BYTES + 1)).decode())


def test_a_picture_that_comes_drop_by_drop_is_bounded_in_the_transfer_too(connections: HttpConnections) -> None:
    left = threading.Event()

    def drops() -> Iterator[bytes]:
        while not left.wait(0.02):
            yield b"."

    with HttpServer(lambda _: Answer(drops(), 10**4)) as server:
        downloader = Downloader(connections, max_bytes=MAX_BYTES, attempts=1, patience=0.3)
        with closing(downloader), downloader.temporary_file() as file:
            with pytest.raises(TransferError, match=r"not complete in time|timed out"):
                downloader.fetch(server.url(), file)
            left.set()


@pytest.mark.parametrize(
    ("body", "ext"),
    [(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"), (b"\0\1\2\3unknown", "bin"), (b"\xff\x0a\0\0", "jxl")],
)
def test_a_picture_without_known_dimensions_is_not_lost(host: HttpServer, fetch: Fetch, body: bytes, ext: str) -> None:
    host.answer = lambda _: Answer.holding(body)

    download = fetch(host.url())

    assert (download.image_format.ext, download.width, download.height) == (ext, None, None)


class TestAnImageHost:
    def test_is_told_nothing_but_who_asks_for_what(
        self, host: HttpServer, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets = tmp_path / "netrc"
        secrets.write_text("machine 127.0.0.1 login user password secret\n")
        secrets.chmod(0o600)
        monkeypatch.setenv("NETRC", str(secrets))
        host.answer = lambda _: Answer.holding(PICTURE, Set_Cookie="session=secret; Path=/")

        for _ in range(2):
            fetch(host.url("/picture.png?signature=secret"))
        fetch(host.url().replace("//", "//user:secret@"))

        for request in host.requests:
            assert request.headers.keys() == {"host", "user-agent", "accept", "accept-encoding"}
            assert "secret" not in str(request.headers)
            assert request.headers["user-agent"].startswith("airflow-provider-apimart/")

    def test_is_not_told_where_the_picture_was_looked_for_before(self, host: HttpServer, fetch: Fetch) -> None:
        host.answer = lambda request: moved("/there") if request.path != "/there" else Answer.holding(PICTURE)

        fetch(host.url("/here?signature=secret"))

        assert "secret" not in str(host.requests[1].headers)


class TestAnError:
    """Says what happened, but not the query of a URL, which may be a signature."""

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (Answer(status=403), "HTTP 403"),
            (Answer(status=500), "HTTP 500"),
            (Answer.holding(b"no picture"), "no picture"),
            (Answer([PICTURE[:500]], len(PICTURE)), "IncompleteRead"),
            (Answer([b"\0"], 10**9), "larger than"),
            (Answer.holding(PICTURE, Content_Encoding="gzip"), "incorrect header check"),
            (moved("ftp://elsewhere.example/a.png?signature=secret"), "not an http or https URL"),
        ],
        ids=["gone", "failed", "no picture", "cut off", "too large", "not compressed", "moved"],
    )
    def test_about_an_answer(self, host: HttpServer, fetch: Fetch, answer: Answer, reason: str) -> None:
        host.answer = lambda _: answer

        with pytest.raises(TransferError, match=reason) as caught:
            fetch(host.url("/a b.png?signature=secret&x=\u00fc#secret"))

        assert "secret" not in str(caught.value)

    def test_about_a_connection_that_is_refused(self, connections: HttpConnections) -> None:
        with closed_port() as port, pytest.raises(TransferError, match="Connection refused") as caught:
            fetch_with(connections, f"http://127.0.0.1:{port}/a.png?signature=secret")

        assert "secret" not in str(caught.value)

    def test_about_a_connection_that_is_closed(self, host: HttpServer, fetch: Fetch) -> None:
        def answer(_: object) -> Answer:
            raise ConnectionAbortedError

        host.answer = answer

        with pytest.raises(TransferError, match="closed connection without response") as caught:
            fetch(host.url("/a.png?signature=secret"))

        assert "secret" not in str(caught.value)

    def test_about_a_certificate(self, connections: HttpConnections, certificates: Certificates) -> None:
        with (
            HttpServer(lambda _: Answer.holding(PICTURE), certificate=certificates.server) as host,
            pytest.raises(TransferError, match="certificate verify failed") as caught,
        ):
            fetch_with(connections, host.url("/a.png?signature=secret"))

        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("allow_private", [True, False])
    def test_about_a_host_without_an_address(self, *, allow_private: bool) -> None:
        with (
            closing(HttpConnections(at_once=1, allow_private=allow_private)) as connections,
            pytest.raises(TransferError, match=r"Name or service not known|name resolution") as caught,
        ):
            fetch_with(connections, "http://no-such-host.invalid/a.png?signature=secret")

        assert "secret" not in str(caught.value)

    def test_about_a_private_address(self) -> None:
        with pytest.raises(TransferError) as caught:
            check_address("http://127.0.0.1/a.png?signature=secret", allow_private=False)

        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("cause", [None, TimeoutError("timed out")], ids=["alone", "with its cause"])
    def test_about_silence(self, cause: Exception | None) -> None:
        pool = urllib3.HTTPConnectionPool("93.184.215.14")
        url = f"{PUBLIC}?signature=secret"
        errors: list[Exception] = [
            urllib3.exceptions.ReadTimeoutError(pool, url, "Read timed out. (read timeout=60)"),
            urllib3.exceptions.ConnectTimeoutError(pool, "Connection timed out."),
            urllib3.exceptions.MaxRetryError(pool, url),
            urllib3.exceptions.LocationParseError(url),
        ]
        for error in errors:
            error.__context__ = cause

            with pytest.raises(TransferError, match=r"the download broke|cannot be used") as caught:
                fetch_with(Script(repeat(error)), url)

            assert "secret" not in str(caught.value)
            assert ("timed out" in str(caught.value)) == (cause is not None)


class TestATemporaryFile:
    def test_is_used_again(self, downloader: Downloader) -> None:
        with downloader.temporary_file() as first:
            pass
        with downloader.temporary_file() as second:
            pass

        assert first is second

    def test_belongs_to_one_picture_at_a_time(self, downloader: Downloader) -> None:
        with downloader.temporary_file() as first, downloader.temporary_file() as second:
            assert first is not second

    def test_has_no_name_and_is_closed_at_the_end(self, downloader: Downloader) -> None:
        with downloader.temporary_file() as first, downloader.temporary_file() as second:
            assert [os.fstat(file.fileno()).st_nlink for file in (first, second)] == [0, 0]

        downloader.close()

        assert first.closed
        assert second.closed

    def test_is_closed_when_something_went_wrong(self, downloader: Downloader) -> None:
        with pytest.raises(TransferError), downloader.temporary_file() as file:
            raise TransferError

        assert file.closed
        with downloader.temporary_file() as another:
            assert not another.closed

    @pytest.mark.parametrize("size", [1000, 90_000])
    def test_on_a_full_disk_is_the_error_of_this_picture(
        self, host: HttpServer, downloader: Downloader, fetch: Fetch, size: int
    ) -> None:
        host.answer = lambda _: Answer.holding(png(size=size))
        files: list[IO[bytes]] = []

        with pytest.raises(TransferError, match="No space left on device") as caught:
            fetch_to_a_full_disk(downloader, host.url(), files)

        assert caught.value.retryable
        assert files[0].closed
        assert fetch(host.url()).size == size

    def test_that_cannot_be_made_is_the_error_of_this_picture(
        self, downloader: Downloader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))

        with (
            pytest.raises(TransferError, match=r"a temporary file could not be made .*No such file or directory"),
            downloader.temporary_file(),
        ):
            pass
