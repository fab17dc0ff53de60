"""Reference images on their way to a real simulator, out of files and a real S3 server. Uploads are counted."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from gateway.clock import Clock
from hooks.hook_without_pauses import HookWithoutPauses
from services.reference_files import image_file

from airflow_provider_apimart.dataset.references.resolver import ReferenceResolver
from airflow_provider_apimart.exceptions import (
    ApimartError,
    InvalidRequestError,
    ReferenceUnavailableError,
    RequestRejectedError,
)
from airflow_provider_apimart.gateway.reference_images import encode_data_uri
from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore
    from airflow_provider_apimart.simulator import Simulator

    Opened = Callable[..., ReferenceResolver]
    Placed = Callable[..., str]

#: Unix seconds.
NOW = 1_750_000_000.0
URL = "https://example.com/a.png"
HOUR = 3600
CAT, DOG, MASK = image_file("GIF", "P"), image_file("GIF", "P"), image_file("PNG", "RGBA")


def request(*images: str, mask: str | None = None, model: str = "gpt-image-2-official") -> ImageRequest:
    return ImageRequest(prompt="a cat", model=model, image_urls=images, mask_url=mask)


def contents(outcome: ImageRequest | ApimartError) -> list[bytes]:
    """Return what the gateway finds at the URLs of a request."""
    assert isinstance(outcome, ImageRequest)
    urls = [*(outcome.image_urls or ()), *([outcome.mask_url] if outcome.mask_url else [])]
    return [httpx.get(url, trust_env=False).raise_for_status().content for url in urls]


def reason(outcome: ImageRequest | ApimartError) -> str:
    assert isinstance(outcome, ApimartError)
    assert outcome.charged == "no"
    return str(outcome)


def uploads(simulator: Simulator) -> int:
    count: int = simulator.stats()["requests"]["upload"]
    return count


def noted(store: LedgerStore) -> list[dict[str, Any]]:
    return [json.loads(line) for found in store.list("") for line in store.lines(found.name)]


@pytest.fixture
def hook(apimart_connection: str) -> Iterator[HookWithoutPauses]:
    with HookWithoutPauses(apimart_connection) as hook:
        yield hook


@pytest.fixture
def opened(hook: HookWithoutPauses, store: LedgerStore, aws_connection: str) -> Opened:
    """Begin as another worker does, which knows what is in S3 and nothing else."""

    def open_it(*, at: float = NOW) -> ReferenceResolver:
        return ReferenceResolver(hook, store, aws_conn_id=aws_connection, clock=lambda: at, sleep=Clock().sleep)

    return open_it


@pytest.fixture
def in_s3(s3_server: SeaweedFS, bucket: str) -> Placed:
    """Put an object and return its address."""

    def put(key: str, content: bytes) -> str:
        s3_server.client().put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    return put


class TestUploads:
    def test_objects_and_files_become_urls_where_the_gateway_finds_them(
        self, opened: Opened, in_s3: Placed, written: Placed
    ) -> None:
        cat, mask = in_s3("cats/1", CAT), written("mask", MASK)

        first, second = opened().resolve([request(cat, mask=f"file://{mask}"), request(mask, URL)])

        assert contents(first) == [CAT, MASK]
        assert isinstance(second, ImageRequest)
        assert second.image_urls == (first.mask_url, URL)

    def test_each_address_is_uploaded_once_over_rows_workers_and_runs(
        self, opened: Opened, in_s3: Placed, simulator: Simulator
    ) -> None:
        cat, mask = in_s3("cat", CAT), in_s3("mask", MASK)
        references = opened()

        outcomes = [
            *references.resolve([request(cat), request(cat, cat)]),
            *references.resolve([request(cat), request(cat, mask=mask)]),
            *opened(at=NOW + 69 * HOUR).resolve([request(mask), request(cat, mask=mask)]),
        ]

        assert uploads(simulator) == 2
        assert [contents(outcome) for outcome in outcomes] == [
            *([CAT], [CAT, CAT], [CAT], [CAT, MASK], [MASK], [CAT, MASK])
        ]

    def test_after_70_hours_it_is_uploaded_again(self, opened: Opened, in_s3: Placed, simulator: Simulator) -> None:
        cat = in_s3("cat", CAT)
        (first,) = opened().resolve([request(cat)])

        (second,) = opened(at=NOW + 71 * HOUR).resolve([request(cat)])

        assert uploads(simulator) == 2
        assert first != second

    def test_the_same_content_under_many_addresses_is_uploaded_once(
        self, opened: Opened, in_s3: Placed, written: Placed, simulator: Simulator
    ) -> None:
        copies = [in_s3(f"cat-{number}", CAT) for number in range(10)]
        simulator.add_fault({"fault": "delay", "on": "upload", "seconds": 0.5})  # Meanwhile the others are read.

        found = opened().resolve([request(*copies)])
        later = opened().resolve([request(written("cat.gif", CAT))])

        assert uploads(simulator) == 1
        assert contents(found[0]) == [CAT] * 10
        assert contents(later[0]) == [CAT]

    def test_what_is_put_under_the_same_name_later_is_not_noticed(self, opened: Opened, in_s3: Placed) -> None:
        before = opened().resolve([request(in_s3("cat", CAT))])

        assert opened().resolve([request(in_s3("cat", DOG))]) == before

    def test_uploads_are_noted_with_all_that_is_known_in_one_object_for_each_call(
        self, opened: Opened, in_s3: Placed, store: LedgerStore, simulator: Simulator
    ) -> None:
        cat, dog = in_s3("cat", CAT), in_s3("dog", DOG)
        references = opened()
        (outcome,) = references.resolve([request(cat, dog)])
        references.resolve([request(cat, dog)])

        first, second = noted(store)

        assert len(store.list("")) == 1
        assert isinstance(outcome, ImageRequest)
        assert (first["url"], second["url"]) == outcome.image_urls
        assert {name: value for name, value in first.items() if name != "url"} == {
            "address": cat,
            "gateway": simulator.url,
            "sha256": sha256(CAT).hexdigest(),
            "bytes": len(CAT),
            "expires_at": "2025-06-18T15:06:40Z",
            "image": {"content_type": "image/gif", "size": [40, 30], "has_alpha": False},
            "schema_version": 1,
        }

    def test_rows_that_name_no_address_need_neither_ledger_nor_gateway(
        self, hook: HookWithoutPauses, store: LedgerStore, simulator: Simulator
    ) -> None:
        plain = [request(URL), ImageRequest(prompt="a cat")]

        assert ReferenceResolver(hook, store, aws_conn_id="nobody").resolve(plain) == plain
        assert store.list("") == []
        assert simulator.stats()["connections"] == 0


class TestFailures:
    def test_one_that_cannot_be_had_fails_only_the_rows_that_name_it(
        self, opened: Opened, in_s3: Placed, bucket: str, written: Placed, simulator: Simulator
    ) -> None:
        cat, missing, text = in_s3("cat", CAT), f"s3://{bucket}/missing", written("a.png", "a text")

        good, second, third, fourth = opened().resolve(
            [request(cat), request(cat, missing), request(cat, mask=missing), request(text, cat)]
        )

        assert contents(good) == [CAT]
        assert reason(second).startswith(f"image_urls='{missing}': The image could not be read: ")
        assert reason(third).startswith(f"mask_url='{missing}': The image could not be read: ")
        assert reason(fourth) == (
            f"image_urls='{text}': The image is not of a recognised format. Nothing was submitted and nothing was "
            "charged. Use a complete JPEG, PNG, WebP or GIF file of at most 20 MiB."
        )
        assert all(isinstance(outcome, InvalidRequestError) for outcome in (second, third, fourth))
        assert uploads(simulator) == 1

    @pytest.mark.parametrize("fault", ["refuse", "accept_then_error", "drop_answer", "html"])
    def test_an_upload_that_may_succeed_the_next_time_is_made_up_to_three_times(
        self, opened: Opened, in_s3: Placed, simulator: Simulator, fault: str
    ) -> None:
        simulator.add_fault({"fault": fault, "on": "upload", "times": 2})

        (outcome,) = opened().resolve([request(in_s3("cat", CAT))])

        assert contents(outcome) == [CAT]
        assert uploads(simulator) == 3

    @pytest.mark.parametrize("fault", ["refuse", "drop_answer"])
    def test_one_that_always_fails_is_not_noted_and_may_succeed_later(
        self, opened: Opened, in_s3: Placed, simulator: Simulator, store: LedgerStore, fault: str
    ) -> None:
        cat = in_s3("cat", CAT)
        simulator.add_fault({"fault": fault, "on": "upload"})

        (outcome,) = opened().resolve([request(cat)])

        assert reason(outcome).startswith(f"image_urls='{cat}': ")
        assert reason(outcome).endswith(" Nothing was bought.")
        assert isinstance(outcome, ApimartError)
        assert outcome.retryable
        assert uploads(simulator) == 3
        assert noted(store) == []

    def test_one_that_is_refused_is_not_tried_again(self, opened: Opened, in_s3: Placed, simulator: Simulator) -> None:
        simulator.add_fault({"fault": "refuse", "on": "upload", "status": 400})

        (outcome,) = opened().resolve([request(in_s3("cat", CAT))])

        assert isinstance(outcome, RequestRejectedError)
        assert not outcome.retryable
        assert uploads(simulator) == 1

    def test_where_one_may_come_and_another_never_the_row_is_told_of_the_latter(
        self, opened: Opened, bucket: str
    ) -> None:
        waiting, failed = opened().resolve(
            [request("/proc/self/mem"), request("/proc/self/mem", f"s3://{bucket}/missing")]
        )

        assert isinstance(waiting, ReferenceUnavailableError)
        assert isinstance(failed, InvalidRequestError)


class TestMasks:
    @pytest.mark.parametrize(
        ("mask", "problem"),
        [
            (image_file("PNG"), "The mask is of the type image/png and has no alpha channel"),
            (image_file("JPEG"), "The mask is of the type image/jpeg and has no alpha channel"),
            (image_file("WEBP"), "The mask is of the type image/webp and has no alpha channel"),
            (CAT, "The mask is of the type image/gif and has no alpha channel"),
            (image_file("PNG", "RGBA", (30, 40)), "The mask has 30x40 pixels, and the first reference image 40x30"),
            (image_file("WEBP", "RGBA", (80, 60)), "The mask has 80x60 pixels, and the first reference image 40x30"),
            (MASK[:300], "The image is not complete: the png file ends before the picture does (300 bytes)"),
        ],
        ids=["RGB", "JPEG", "WebP", "GIF", "turned", "larger", "truncated"],
    )
    @pytest.mark.parametrize("place", ["S3", "a file", "uploaded before as a reference image"])
    def test_that_do_not_fit_are_refused_and_not_uploaded(
        self,
        opened: Opened,
        in_s3: Placed,
        written: Placed,
        simulator: Simulator,
        mask: bytes,
        problem: str,
        place: str,
    ) -> None:
        address = written("mask.png", mask) if place == "a file" else in_s3("mask.png", mask)
        cat = in_s3("cat", CAT)
        if place.startswith("uploaded"):
            opened().resolve([request(address), request(cat)])
        before = uploads(simulator)

        good, bad = opened().resolve([request(cat), request(cat, URL, mask=address)])

        assert contents(good) == [CAT]
        assert reason(bad).startswith(
            f"mask_url='{address}': {problem}. Nothing was submitted and nothing was charged."
        )
        assert isinstance(bad, InvalidRequestError)
        assert (bad.field, bad.value) == ("mask_url", address)
        assert uploads(simulator) == max(before, 1)

    @pytest.mark.parametrize("first", [URL, "s3"])
    def test_that_fit_as_far_as_is_known_are_uploaded(
        self, opened: Opened, in_s3: Placed, simulator: Simulator, first: str
    ) -> None:
        others = [in_s3("cat", CAT)] if first == "s3" else [URL, in_s3("small", image_file("GIF", "P", (1, 1)))]

        (outcome,) = opened().resolve([request(*others, mask=in_s3("mask", MASK))])

        assert isinstance(outcome, ImageRequest)
        assert str(outcome.mask_url).startswith(simulator.url)
        assert uploads(simulator) == 2

    def test_are_compared_with_a_data_uri_too(self, opened: Opened, in_s3: Placed, simulator: Simulator) -> None:
        mask = in_s3("mask", MASK)
        small = encode_data_uri(image_file("PNG", size=(1, 1)))
        models = {"model": "next-image-9"}

        fits, does_not, cannot = opened().resolve(
            [
                request(encode_data_uri(CAT), mask=mask, **models),
                request(small, mask=mask, **models),
                request(URL, mask=small, **models),
            ]
        )

        assert isinstance(fits, ImageRequest)
        assert "has 40x30 pixels, and the first reference image 1x1" in reason(does_not)
        assert "has no alpha channel" in reason(cannot)
        assert uploads(simulator) == 1


class TestAGatewayWithoutUploads:
    @pytest.fixture
    def apimart_connection(self, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> str:
        extra = {"gateway": "apimaster"}
        connection = {"conn_type": "apimart", "host": simulator.apimaster_url, "password": "sk-1", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_APIMASTER", json.dumps(connection))
        return "apimaster"

    def test_gets_data_uris(
        self, opened: Opened, in_s3: Placed, written: Placed, store: LedgerStore, simulator: Simulator
    ) -> None:
        cat, dog = in_s3("cat", CAT), written("dog", DOG)

        (found,) = opened().resolve([request(cat, URL, dog, model="gpt-image-2")])

        assert isinstance(found, ImageRequest)
        assert found.image_urls == (encode_data_uri(CAT), URL, encode_data_uri(DOG))
        assert uploads(simulator) == 0
        assert noted(store) == []

    def test_gets_no_more_of_them_than_a_request_may_hold(self, opened: Opened, tmp_path: Path) -> None:
        large = tmp_path / "large.gif"
        large.write_bytes(CAT.ljust(20 * 1024 * 1024, b"\0"))

        fits, does_not = opened().resolve([request(*[str(large)] * number, model="gpt-image-2") for number in (1, 13)])

        assert isinstance(fits, ImageRequest)
        assert "must be at most 268435456 bytes in all" in reason(does_not)

    def test_fails_only_the_rows_whose_image_cannot_be_had(self, opened: Opened, in_s3: Placed) -> None:
        good, bad = opened().resolve(
            [request(in_s3("cat", CAT), model="gpt-image-2"), request(in_s3("text", b"text"), model="gpt-image-2")]
        )

        assert isinstance(good, ImageRequest)
        assert "is not of a recognised format" in reason(bad)
