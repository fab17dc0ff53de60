"""Which texts are addresses of reference images, and which are mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from services.reference_files import DATA_URI

from airflow_provider_apimart.dataset.references.addresses import (
    S3Object,
    addresses_of,
    locate,
    problems_before_upload,
    replace_addresses,
)
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.validation import problems_at

URL = "https://example.com/a.png"


def request(*images: Any, mask: Any = None, model: str = "gpt-image-2-official") -> ImageRequest:
    return ImageRequest(prompt="a cat", model=model, image_urls=images or None, mask_url=mask)


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "place"),
        [
            ("s3://bucket/a.png", S3Object(None, "bucket", "a.png")),
            ("s3://bucket/2026/01 a#b?c=d@e//f", S3Object(None, "bucket", "2026/01 a#b?c=d@e//f")),
            ("s3a://bucket/猫.png", S3Object(None, "bucket", "猫.png")),
            ("s3://my_conn@bucket/a.png", S3Object("my_conn", "bucket", "a.png")),
            ("/data/a.png", Path("/data/a.png")),
            ("/data/a", Path("/data/a")),
            ("/data/a cat: 100%.png", Path("/data/a cat: 100%.png")),
            ("file:///data/a%20cat.png", Path("/data/a cat.png")),
            ("./a", Path("a")),
            ("../a", Path("../a")),
            ("../../data/a", Path("../../data/a")),
            ("./v1.2/a.png", Path("v1.2/a.png")),
            ("a.png", Path("a.png")),
            ("a.b.JPEG", Path("a.b.JPEG")),
            ("data/v1.2/a.webp", Path("data/v1.2/a.webp")),
        ],
    )
    def test_objects_and_files_have_addresses(self, address: str, place: object) -> None:
        assert locate(address) == place

    @pytest.mark.parametrize(
        "mistake",
        [
            *("", " ", "cat", "a cat", "n/a", "None", "data/a", "a.pdf", ".png", "data/.png"),
            *("htps://example.com/a.png", "https//example.com/a.png", "http:/a.png", "s3:/bucket/a.png"),
            *("example.com/a.png", "www.example.com/a.png", "//example.com/a.png", "a.png?width=100"),
            *("s3://", "s3://bucket", "s3://bucket/", "s3:///a.png", "s3://bucket/folder/", "s3://@bucket/a.png"),
            *("gs://bucket/a.png", "C:\\a.png", "C:/a.png", "file://a.png", "file://server/a.png", "file://./a.png"),
            *("/", ".", "..", "./", "/data/", "/data/..", " /data/a.png", "a.png ", "/data/a\0.png", "/a\ud800.png"),
            *("file:///a%00.png", "s3://bucket/a\n.png"),
        ],
    )
    def test_what_may_be_a_mistake_has_none(self, mistake: str) -> None:
        assert locate(mistake) is None

    @given(st.text())
    def test_any_text_either_is_an_address_or_not(self, text: str) -> None:
        assert locate(text) is None or isinstance(locate(text), S3Object | Path)


class TestRequests:
    def test_a_request_names_each_address_once(self) -> None:
        named = addresses_of(request("s3://b/a.png", URL, "/a.png", DATA_URI, "s3://b/a.png", mask="/a.png"))

        assert named == {"s3://b/a.png": S3Object(None, "b", "a.png"), "/a.png": Path("/a.png")}

    def test_urls_take_the_places_of_the_addresses(self) -> None:
        found = replace_addresses(
            request("s3://b/a.png", URL, "/a.png", mask="/a.png"), {"s3://b/a.png": f"{URL}?1", "/a.png": f"{URL}?2"}
        )

        assert found == request(f"{URL}?1", URL, f"{URL}?2", mask=f"{URL}?2")

    @pytest.mark.parametrize("plain", [request(), request(URL, DATA_URI, mask=URL)])
    def test_a_request_without_addresses_stays_as_it_is(self, plain: ImageRequest) -> None:
        assert addresses_of(plain) == {}
        assert replace_addresses(plain, {}) == plain


class TestProblems:
    @pytest.mark.parametrize(
        ("valid", "gateway"),
        [
            (request("s3://b/a.png", URL, "./b", mask="/mask.png"), Gateway.APIMART),
            (request("a.png", DATA_URI, model="gpt-image-2"), Gateway.APIMART),
            (request("a.png", DATA_URI, URL, model="gpt-image-2"), Gateway.APIMASTER),
            (request("a.png", mask="/mask.png", model="next-image-9"), Gateway.APIMART),
        ],
    )
    def test_a_gateway_that_gets_the_images_has_none(self, valid: ImageRequest, gateway: Gateway) -> None:
        assert problems_before_upload(valid, gateway) == []

    @pytest.mark.parametrize(
        ("invalid", "gateway", "problem"),
        [
            (request("htps://a.png"), Gateway.APIMART, "image_urls='htps://a.png': must be a public http or https URL"),
            (request(URL, mask="mask"), Gateway.APIMART, "mask_url='mask': must be a public http or https URL"),
            (request("n/a", model="next-image-9"), Gateway.APIMART, "image_urls='n/a': must be a public http or"),
            (
                request("a.png", mask="b.png", model="gpt-image-2"),
                Gateway.APIMASTER,
                "mask_url='b.png': must be left out: this model does not take it",
            ),
            (
                request(URL, mask="b.png", model="next-image-9"),
                Gateway.APIMASTER,
                "mask_url='b.png': must be a public URL: apimaster takes no uploads, and masks cannot be data URIs",
            ),
            (
                request("a.png", model="next-image-9"),
                Gateway.APIMASTER,
                "image_urls='a.png': must be a public URL: apimaster takes no uploads, and next-image-9 is not known",
            ),
            (request("a.png", {"url": URL}), Gateway.APIMART, "image_urls=('a.png', {'url': 'https://example"),
        ],
    )
    def test_each_is_named_once(self, invalid: ImageRequest, gateway: Gateway, problem: str) -> None:
        (found,) = problems_before_upload(invalid, gateway)

        assert str(found).startswith(problem)

    @pytest.mark.parametrize("images", [(URL,), (DATA_URI,), ("http://[",), ("data:text/plain;base64,AA==",), (5,)])
    def test_public_urls_and_data_uris_are_checked_as_in_any_request(self, images: tuple[Any, ...]) -> None:
        plain = request(*images)

        assert problems_before_upload(plain, Gateway.APIMART) == problems_at(
            plain, Gateway.APIMART, local_references=True
        )
