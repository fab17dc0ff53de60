"""A dataset is read and checked as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.dataset.intake import Intake, Shard, read_dataset
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import Gateway


def read(prompts: Any, *, shard: Shard | None = None, skip_invalid: bool = False, **defaults: Any) -> Intake:
    return read_dataset(
        prompts,
        defaults=defaults,
        gateway=Gateway.APIMART,
        id_column="id",
        shard=shard,
        aws_conn_id=None,
        skip_invalid=skip_invalid,
    )


def test_each_row_becomes_as_many_paid_calls_as_its_model_takes() -> None:
    intake = read([{"prompt": "a", "n": 3}, {"prompt": "b", "n": 3, "model": "gpt-image-2-official"}], n=2)

    parts = [intake.spool[place] for place in range(len(intake.spool))]
    assert [(part.row.number, part.index, part.request.n) for part in parts] == [
        (1, 0, 1),
        (1, 1, 1),
        (1, 2, 1),
        (2, 0, 3),
    ]
    intake.close()


def test_the_shards_of_a_dataset_are_the_whole_and_no_row_is_in_two() -> None:
    whole = read([f"picture {number}" for number in range(50)])
    shards = [read([f"picture {number}" for number in range(50)], shard=(index, 3)) for index in range(3)]

    assert sorted(key for shard in shards for key in shard.spool.keys()) == sorted(whole.spool.keys())  # noqa: SIM118 - no mapping
    for intake in (whole, *shards):
        intake.close()


def test_the_first_bad_rows_are_named_and_all_are_counted() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(["fine", *[""] * 70])

    message = str(caught.value)
    assert message.startswith("70 row(s) cannot be bought: row 2: prompt")
    assert "row 51" in message
    assert "row 52" not in message
    assert "and 20 more. Nothing was sent." in message


def test_bad_rows_are_left_out_on_request() -> None:
    intake = read(["fine", ""], skip_invalid=True)

    assert (len(intake.spool), intake.invalid) == (1, 1)
    assert str(intake).startswith("1 row(s) cannot be bought: row 2")
    intake.close()


def test_what_the_vendors_make_of_a_field_is_told_once_with_the_number_of_rows() -> None:
    intake = read(["a", "b"], quality="low")

    ((notice, rows),) = intake.notices.items()
    assert "quality" in notice
    assert rows == 2
    intake.close()
