"""Pictures in S3 behind a proxy that counts who asks, and at a gateway whose image host is a server of the test."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import Request
from plugins.drawings import drawn
from plugins.ledgers import LedgerWriter
from plugins.people import token_of
from plugins.reports import BOUGHT, STORED, images, purchase
from services.s3_proxy import S3Proxy, S3Rule
from transfers.http_server import Answer, HttpServer

from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.plugins.lazy_app import AIRFLOW
from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fastapi import FastAPI
    from plugins.database import Database
    from services.seaweedfs import SeaweedFS
    from transfers.http_server import Request as HttpRequest

    from airflow_provider_apimart.dataset.ledger.entry import Entry

#: What the transfer notes with a picture, as far as the pages look.
OURS = {"apimart-task-id": "task_1", "apimart-index": "0"}
UNLIMITED = 10**6


class Store:
    """
    A bucket, and the Airflow connection that leads to it.

    :param looks: counts the ``HeadObject`` requests of the pages, ``reads`` the ``GetObject`` requests.
    """

    def __init__(self, server: SeaweedFS, bucket: str, conn_id: str, proxy: S3Proxy, database: Database) -> None:
        self.bucket = bucket
        self.conn_id = conn_id
        self.proxy = proxy
        self._database = database
        self.looks = S3Rule("/", "HEAD", "pass", times=UNLIMITED)
        self.reads = S3Rule("/", "GET", "pass", times=UNLIMITED)
        proxy.add_rule(self.looks)
        proxy.add_rule(self.reads)
        self._client = server.client()

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, body: bytes, metadata: dict[str, str] | None = None, **options: Any) -> str:
        """Write an object, by default as the transfer does, and return its address."""
        written = OURS if metadata is None else metadata
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=written, **options)
        return self.uri(key)

    def reported(self, *keys: str, prefix: str = "pictures", **extra: Any) -> dict[str, Any]:
        """Return the extra of the event of a task that has stored pictures."""
        listed = [{"uri": self.uri(key), "task_id": "task_1", "index": 0} for key in keys]
        return images(listed, **{"prefix": self.uri(prefix), "aws_connection": self.conn_id, **extra})

    def store(self, key: str, body: bytes, metadata: dict[str, str] | None = None, **options: Any) -> str:
        """Write an object as the task ``copy`` of ``posters`` does, which reports it, and return its address."""
        self.report(key)
        return self.put(key, body, metadata, **options)

    def note(self, prefix: str, entry: Entry) -> None:
        """Record an entry in the ledger of a dataset."""
        LedgerWriter(LedgerStore(self._client, self.bucket, prefix)).append(entry)

    def report(self, *keys: str) -> None:
        """Have that task report objects."""
        self._database.add_event("posters", "copy", STORED, self.reported(*keys))


@pytest.fixture
def store(s3_server: SeaweedFS, bucket: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    conn_id = f"aws_{secrets.token_hex(4)}"
    with S3Proxy(s3_server.endpoint) as proxy:
        connection = s3_server.connection
        connection["extra"] |= {"endpoint_url": proxy.url}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        yield Store(s3_server, bucket, conn_id, proxy, database)


class ImageHost:
    """
    Where a gateway puts its pictures.

    :param answer: to every request.
    """

    def __init__(self) -> None:
        self.answer = Answer.holding(drawn())
        self.server = HttpServer(self._answer)

    @property
    def requests(self) -> list[HttpRequest]:
        return self.server.requests

    def url(self, path: str = "/1.png", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server.port}{path}"

    def _answer(self, _: HttpRequest) -> Answer:
        # The pages keep connections, for which closing the server would wait.
        return Answer(
            self.answer.body, self.answer.length, self.answer.status, {"Connection": "close", **self.answer.headers}
        )


@pytest.fixture
def image_host() -> Iterator[ImageHost]:
    host = ImageHost()
    with host.server:
        yield host


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make a connection to a gateway, and return its id."""

    def connect(host: str) -> str:
        conn_id = f"apimart_{secrets.token_hex(4)}"
        connection = {"conn_type": "apimart", "host": host, "password": f"sk-{secrets.token_hex(24)}"}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return conn_id

    return connect


@pytest.fixture
def posters(database: Database, store: Store) -> Store:
    """The DAG ``posters``, whose task ``copy`` has stored pictures below ``pictures``; and the DAG ``theirs``."""
    for dag_id in ("posters", "theirs"):
        database.add_run(dag_id)
    database.add_task("posters", "copy", operator="ApimartToS3Operator")
    return store


@pytest.fixture
def bought(database: Database, image_host: ImageHost, connect: Callable[[str], str]) -> Callable[..., None]:
    """Have the task ``generate`` of ``posters`` buy the picture ``task_1-0``, by default at a gateway on this host."""
    database.add_run("posters")

    def buy(url: str | None = None, *, gateway: str | None = None, **returned: Any) -> None:
        listed = [{"task_id": "task_1", "index": 0, "url": url or image_host.url(), "expires_at": None}]
        database.add_task("posters", "generate", return_value={"images": listed, **returned})
        database.add_event(
            "posters", "generate", BOUGHT, purchase([1], connection=connect(gateway or image_host.url("")))
        )

    return buy


@pytest.fixture
async def api(airflow_app: FastAPI) -> AsyncIterator[AirflowApi]:
    """Airflow's REST API, asked with the rights of an admin."""
    cookie = f"_token={token_of('admin')}".encode()
    async with AirflowApi(Request({"type": "http", "headers": [(b"cookie", cookie)], AIRFLOW: airflow_app})) as api:
        yield api
