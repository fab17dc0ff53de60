"""How a row becomes paid calls, and what the ledger knows them by."""

from __future__ import annotations

from airflow_provider_apimart.dataset.part import key_of, kind_of, parts_of
from airflow_provider_apimart.dataset.row import row_of
from airflow_provider_apimart.gateway.request import ImageRequest

REQUEST = ImageRequest(prompt="a cat", size="16:9", resolution="2k", quality="high", n=5)


def test_a_row_is_one_call_where_the_gateway_delivers_all_its_pictures_in_one() -> None:
    row = row_of(1, "sku-1", REQUEST)

    for images_per_task in (5, 10, None):
        (part,) = parts_of(row, images_per_task)
        assert part.request == REQUEST
        assert part.key == key_of(row.fingerprint, "sku-1", 0)


def test_a_row_with_more_pictures_is_several_calls_each_with_a_key_of_its_own() -> None:
    parts = parts_of(row_of(1, "sku-1", REQUEST), 2)

    assert [part.request.n for part in parts] == [2, 2, 1]
    assert [part.index for part in parts] == [0, 1, 2]
    assert len({part.key for part in parts}) == 3


def test_no_two_purchases_have_the_same_key() -> None:
    identities = [("ab", "1", 0), ("a", "b1", 0), ("ab", "", 10), ("ab", "1", 1), ("ab", "11", 0)]

    assert len({key_of(*identity) for identity in identities}) == len(identities)


def test_the_price_depends_on_model_size_resolution_quality_and_number() -> None:
    assert kind_of(REQUEST) == ("gpt-image-2", "16:9", "2k", "high", 5)
