"""A dataset is read and checked as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.dataset.input import Input

    Read = Callable[..., Input]

PROMPTS = [f"picture {number}" for number in range(50)]


def test_rows_know_their_number_of_pictures_and_what_one_task_delivers(read: Read) -> None:
    rows = read(
        [{"prompt": "a", "n": 3}, {"prompt": "b", "n": 3, "model": "gpt-image-2-official"}, "c"], defaults={"n": 2}
    )

    assert [(rows.n(place), rows.images_per_task(place)) for place in range(3)] == [(3, 1), (3, 4), (2, 1)]


def test_the_shards_of_a_dataset_are_the_whole_and_no_row_is_in_two(read: Read) -> None:
    whole = read(PROMPTS)
    shards = [read(PROMPTS, shard=(index, 3)) for index in range(3)]

    assert sorted(key for shard in shards for key in shard.row_keys()) == sorted(whole.row_keys())
    assert all(len(shard) for shard in shards)


@pytest.mark.parametrize("limit", [1, 20, 50, 51])
def test_a_limit_keeps_the_first_rows_and_counts_the_others(read: Read, limit: int) -> None:
    rows = read(PROMPTS, limit=limit)

    kept = min(limit, 50)
    assert [rows.row(place).request.prompt for place in range(len(rows))] == PROMPTS[:kept]
    assert rows.left_out == 50 - kept


def test_a_limit_is_that_of_the_shard(read: Read) -> None:
    whole, sample = read(PROMPTS, shard=(1, 3)), read(PROMPTS, shard=(1, 3), limit=5)

    assert list(sample.row_keys()) == list(whole.row_keys())[:5]
    assert sample.left_out == len(whole) - 5


def test_the_first_bad_rows_are_named_and_all_are_counted(read: Read) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read(["fine", *[""] * 70])

    message = str(refusal.value)
    assert message.startswith("Cannot buy some rows of prompts: 70 of 71 cannot be bought: row 2: prompt")
    assert "row 51" in message
    assert "row 52" not in message
    assert "; and 20 more. Nothing was submitted or charged." in message


def test_bad_rows_are_left_out_on_request(read: Read) -> None:
    rows = read(["fine", ""], on_invalid="skip")

    assert (len(rows), rows.invalid, str(rows.listed[0]).partition(":")[0]) == (1, 1, "row 2")


def test_a_generator_that_fails_leaves_nothing(read: Read) -> None:
    def rows() -> object:
        yield "a cat"
        raise KeyError("sku")

    with pytest.raises(KeyError, match="sku"):
        read(rows())
