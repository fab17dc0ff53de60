"""Rows that a function returns, with the values that Python, numpy and pandas have for them."""

from __future__ import annotations

from collections import UserDict
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.dataset.input import Input

    Read = Callable[..., Input]


class Colour(StrEnum):
    RED = "red"


class Level(Enum):
    HIGH = 3


class Scalar:
    """Like a scalar or an array of numpy, which need not be installed."""

    dtype = "any"

    def __init__(self, value: Any) -> None:
        self.value = value

    def tolist(self) -> Any:
        return self.value


class Text(str):
    """Like a text of numpy."""

    __slots__ = ()


class Float(float):
    """Like a double of numpy."""


class NAType:
    """Like the one of pandas: it cannot be compared."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (Scalar(7), 7),
        (Float(0.5), 0.5),
        (Scalar(True), True),  # noqa: FBT003
        (Text("x"), "x"),
        (Scalar([1, 2]), [1, 2]),
        (Scalar(datetime(2026, 1, 2, 3, 4, 5)), "2026-01-02T03:04:05"),  # noqa: DTZ001
        (Scalar(None), None),
        (Float("nan"), None),
        (NAType(), None),
        (Decimal(2), 2),
        (Decimal("2.50"), 2.5),
        (Decimal("NaN"), None),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
        (time(3, 4), "03:04:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ({"a": (1, Decimal(2))}, {"a": [1, 2]}),
        ({"b", "a"}, ["a", "b"]),
        (2**70, 2**70),
    ],
)
def test_a_column_takes_what_has_an_obvious_form_in_json(read: Read, value: object, form: object) -> None:
    row = read([{"prompt": "a heron", "sku": value}], columns=("sku",)).row(0)

    assert row.columns == {"sku": form}
    assert type(row.columns["sku"]) is type(form)


@pytest.mark.parametrize("value", [b"x", object(), float("inf"), Decimal("-Infinity"), Scalar(1j), {1: 2}, [b"x"]])
def test_a_column_that_has_none_is_named(read: Read, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"row 2: sku=.*: must be a text, a number, a boolean, a date, or"):
        read([{"prompt": "a heron", "sku": 1}, {"prompt": "a crane", "sku": value}], columns=("sku",))


def test_a_column_that_holds_itself_is_named(read: Read) -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(InvalidRequestError, match=r"row 1: sku="):
        read([{"prompt": "a heron", "sku": loop}], columns=("sku",))


def test_request_fields_take_them_too(read: Read) -> None:
    row = read(
        [
            {
                "id": Scalar(7),
                "prompt": Text("a heron"),
                "n": Scalar(2),
                "official_fallback": Scalar(False),  # noqa: FBT003
                "extra_body": {"seed": Scalar(5), "day": date(2026, 1, 2)},
                "image_urls": Scalar(["https://a.test/1.png"]),
            }
        ]
    ).row(0)

    assert (row.id, row.request.prompt, row.request.n, row.request.official_fallback) == ("7", "a heron", 2, False)
    assert row.request.extra_body == {"seed": 5, "day": "2026-01-02"}
    assert row.request.image_urls == ("https://a.test/1.png",)


@pytest.mark.parametrize("value", [UUID(int=1), Decimal(7), Colour.RED, Scalar(7)])
def test_an_id_may_be_any_of_them_that_is_a_text_or_a_whole_number(read: Read, value: object) -> None:
    assert read([{"id": value, "prompt": "a heron"}]).row(0).has_own_id


def test_any_mapping_is_a_row(read: Read) -> None:
    assert read([UserDict(prompt="a heron")]).row(0).request.prompt == "a heron"


def test_a_name_of_a_column_that_is_not_a_text_is_unknown(read: Read) -> None:
    with pytest.raises(InvalidRequestError, match=r"unknown columns: \"\('a', 'b'\)\""):
        read([{("a", "b"): "a heron"}])


def test_half_a_character_in_a_column_is_kept(read: Read) -> None:
    assert read([{"prompt": "a heron", "sku": "\ud83d"}], columns=("sku",)).row(0).columns == {"sku": "\ud83d"}
