"""Pictures for somebody who waits: the rules of the transfer, and less patience. The rest: ``test_download.py``."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest
from transfers.http_server import Answer, HttpServer
from transfers.picture_files import png

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.transfers.address import ImageRefusedError
from airflow_provider_apimart.transfers.download import fetch_delivered

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURE = png()


def closing(answer: Answer) -> Answer:
    """Close the connection after an answer: the client would keep it, for as long as the process lives."""
    return Answer(answer.body, answer.length, answer.status, {**answer.headers, "Connection": "close"})


def test_a_picture_is_fetched_into_a_file() -> None:
    file = io.BytesIO()
    with HttpServer(lambda _: closing(Answer.holding(PICTURE))) as server:
        download = fetch_delivered(server.url(), file, local_gateway=server.url())

    assert file.getvalue() == PICTURE
    assert download.image_format.ext == "png"


def test_a_private_address_is_not_asked() -> None:
    with (
        HttpServer(lambda _: closing(Answer.holding(PICTURE))) as server,
        pytest.raises(TransferError, match="which was not fetched"),
    ):
        fetch_delivered(server.url(), io.BytesIO(), local_gateway=None)

    assert server.requests == []


def test_another_port_of_the_gateways_host_is_not_asked() -> None:
    with (
        HttpServer(lambda _: closing(Answer.holding(PICTURE))) as server,
        pytest.raises(TransferError, match="which was not fetched"),
    ):
        fetch_delivered(server.url(), io.BytesIO(), local_gateway="http://127.0.0.1:9")

    assert server.requests == []


def test_a_picture_that_comes_drop_by_drop_is_given_up() -> None:
    left, sent = threading.Event(), []

    def drops() -> Iterator[bytes]:
        while len(sent) < 1000 and not left.wait(0.05):
            sent.append(1)
            yield b"."

    with HttpServer(lambda _: closing(Answer(drops(), 10**6))) as server:
        with pytest.raises(TransferError, match="was not complete in time"):
            fetch_delivered(server.url(), io.BytesIO(), local_gateway=server.url(), patience=0.5)
        left.set()

    assert len(sent) < 1000


def test_a_failure_is_tried_once_more() -> None:
    with HttpServer(lambda _: closing(Answer(status=503))) as server, pytest.raises(TransferError, match="HTTP 503"):
        fetch_delivered(server.url(), io.BytesIO(), local_gateway=server.url())

    assert len(server.requests) == 2


def test_a_picture_that_has_expired_is_asked_for_once() -> None:
    with HttpServer(lambda _: closing(Answer(status=410))) as server, pytest.raises(ImageRefusedError):
        fetch_delivered(server.url(), io.BytesIO(), local_gateway=server.url())

    assert len(server.requests) == 1


def test_the_pictures_of_one_host_come_over_one_connection() -> None:
    held = Answer.holding(PICTURE)
    answers = iter([held, held, closing(held)])

    with HttpServer(lambda _: next(answers)) as server:
        for _ in range(3):
            fetch_delivered(server.url(), io.BytesIO(), local_gateway=server.url())

    assert server.connections() == 1
