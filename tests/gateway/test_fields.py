"""From values as templates and tables give them to a request."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.gateway.request import ImageRequest, build_request, typed


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n", "3", 3),
        ("n", " 3 ", 3),
        ("n", "-3", -3),
        ("n", 3, 3),
        ("n", 3.0, 3),
        ("n", "3.0", 3),
        ("n", 2.5, 2.5),
        ("n", "2.5", "2.5"),
        ("n", "--3", "--3"),
        ("n", "9" * 5000, "9" * 5000),
        ("n", "three", "three"),
        ("n", True, True),
        ("output_compression", "80", 80),
        ("official_fallback", "True", True),
        ("official_fallback", " false ", False),
        ("official_fallback", "perhaps", "perhaps"),
        ("official_fallback", True, True),
        ("prompt", "3", "3"),
        ("size", "true", "true"),
    ],
)
def test_a_value_becomes_what_its_field_wants_where_it_stands_for_that(
    name: str, value: object, expected: object
) -> None:
    assert (typed(name, value), type(typed(name, value))) == (expected, type(expected))


def test_what_is_none_is_left_out_of_the_request() -> None:
    assert build_request({"prompt": "a cat", "model": None, "n": None, "size": None}) == ImageRequest(prompt="a cat")


@pytest.mark.parametrize("references", [[], ()])
def test_an_empty_list_of_references_is_left_out(references: object) -> None:
    assert build_request({"prompt": "a cat", "image_urls": references}).image_urls is None


def test_references_may_be_a_list() -> None:
    request = build_request({"prompt": "a cat", "image_urls": ["https://example.com/a.png"]})

    assert request.image_urls == ("https://example.com/a.png",)
