"""Which rows may be bought, and what is said about the others."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from airflow_provider_apimart.dataset.checking import check_rows
from airflow_provider_apimart.dataset.reading import read_records
from airflow_provider_apimart.dataset.row import InvalidRow, Record, Row, Unreadable
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE, Gateway
from airflow_provider_apimart.gateway.request import REQUEST_FIELDS, ImageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

URL = "https://example.com/a.png"
FORMULAS = ["=HYPERLINK(1)", "+1", "-1 degrees outside", "@SUM(A1)", "\tindented", "\rreturned"]

prompts = st.sampled_from(["", " ", "a cat", "a dog", "=1+1", "\ud800"])
ids = st.sampled_from([None, "", "a", " a ", "b", "\n", 1, 1.0, True, "x" * 201])
records = st.lists(
    st.fixed_dictionaries({"prompt": prompts}, optional={"id": ids, "n": st.sampled_from(["1", "0", 2.0, None])})
)


def check(*rows: dict[str, Any], **options: Any) -> list[Row | InvalidRow]:
    numbered = [Record(number, fields) for number, fields in enumerate(rows, 1)]
    return list(check_rows(numbered, **{"defaults": {}, "gateway": Gateway.APIMART, **options}))


def request(fields: dict[str, Any], **options: Any) -> ImageRequest:
    (row,) = check({"prompt": "a cat", **fields}, **options)
    assert isinstance(row, Row)
    return row.request


def reasons(*rows: dict[str, Any], **options: Any) -> dict[int, str]:
    """Return what is wrong with each row that is."""
    return {row.number: "; ".join(row.reasons) for row in check(*rows, **options) if isinstance(row, InvalidRow)}


class TestFields:
    def test_columns_are_fields_of_the_request(self) -> None:
        fields = {"prompt": "a cat", "size": "16:9", "resolution": "2k", "n": 2, "image_urls": [URL]}

        assert request(fields) == ImageRequest(**{**fields, "image_urls": (URL,)})

    @pytest.mark.parametrize("empty", [None, "", "  ", float("nan")])
    def test_what_a_row_leaves_out_is_filled_in(self, empty: object) -> None:
        defaults = {"size": "16:9", "resolution": "2k", "n": "2", "mask_url": None, "model": "gpt-image-2"}

        filled = request({"size": empty, "resolution": "1k", "n": empty}, defaults=defaults)

        assert filled == ImageRequest(prompt="a cat", size="16:9", resolution="1k", n=2)

    @pytest.mark.parametrize(
        ("name", "cell", "value"),
        [
            ("n", "3", 3),
            ("n", "3.0", 3),
            ("size", " 16:9 ", "16:9"),
            ("official_fallback", "TRUE", True),
            ("image_urls", URL, (URL,)),
            ("image_urls", f"{URL} {URL}?2\n{URL}?3", (URL, f"{URL}?2", f"{URL}?3")),
            ("image_urls", f' ["{URL}"]', (URL,)),
            ("image_urls", "[]", None),
            ("extra_body", '{"seed": 5}', {"seed": 5}),
        ],
    )
    def test_a_cell_of_text_becomes_what_its_field_wants(self, name: str, cell: str, value: object) -> None:
        assert getattr(request({name: cell}), name) == value

    @pytest.mark.parametrize("prompt", [*FORMULAS, "  a cat  ", "None", "[1]", "{}", "a\0b", "x" * 100_000])
    def test_a_prompt_is_taken_as_it_is(self, prompt: str) -> None:
        assert request({"prompt": prompt}).prompt == prompt


class TestInvalidRows:
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"prompt": ""}, "prompt='': must be a text that is not empty"),
            ({"prompt": " \n"}, "prompt='': must be a text that is not empty"),
            ({"prompt": None}, "prompt='': must be a text that is not empty"),
            ({"prompt": ["a cat"]}, "prompt=['a cat']: must be a text that is not empty"),
            ({"prompt": "\ud800"}, "prompt='\\ud800': must be valid JSON"),
            ({"n": "three"}, "n='three': must be a whole number"),
            ({"n": 0}, "n=0: must be a whole number of at least 1"),
            ({"size": "17:9"}, "size='17:9': must be one of"),
            ({"official_fallback": "1"}, "official_fallback='1': must be true or false"),
            ({"image_urls": "[oops"}, "image_urls='[oops': must be a list of URLs"),
            ({"image_urls": "htps://a.png"}, "image_urls='htps://a.png': must be a public http or https URL"),
            ({"extra_body": "seed=5"}, "extra_body='seed=5': must be a mapping"),
            ({"extra_body": "[" * 100_000}, "extra_body='[["),
            ({"extra_body": {"when": b"now"}}, "extra_body=b'now': must be valid JSON"),
            ({"extra_body": {1: 2}}, "extra_body=1: must have names that are texts"),
            ({"extra_body": {"deep": {1: 2, "a": 3}}}, "extra_body={1: 2, 'a': 3}: must be valid JSON"),
            ({"extra_body": {"\ud800": 1}}, "extra_body=1: must be valid JSON"),
        ],
    )
    def test_a_row_says_what_is_wrong_with_it(self, fields: dict[str, Any], reason: str) -> None:
        assert reasons({"prompt": "a cat", **fields})[1].startswith(reason)

    def test_all_that_is_wrong_with_a_row_is_said_at_once(self) -> None:
        (row,) = check({"prompt": "", "n": 0, "id": "cat"})

        assert isinstance(row, InvalidRow)
        assert (row.id, len(row.reasons)) == ("cat", 2)

    def test_an_invalid_row_does_not_end_the_checking(self) -> None:
        found = check({"prompt": ""}, {"prompt": "a cat"})

        assert [type(row) for row in found] == [InvalidRow, Row]

    def test_what_could_not_be_read_is_an_invalid_row(self) -> None:
        found = list(check_rows([Unreadable(4, "is no JSON")], defaults={}, gateway=Gateway.APIMART))

        assert found == [InvalidRow(4, None, ("is no JSON",))]

    def test_the_gateway_decides(self) -> None:
        row = {"prompt": "a cat", "quality": "high"}

        assert reasons(row, gateway=Gateway.APIMART) == {}
        assert reasons(row, gateway=Gateway.APIMASTER)[1].startswith("quality='high'")

    def test_an_unknown_model_takes_anything(self) -> None:
        assert reasons({"prompt": "a cat", "model": "next-image-9", "size": "17:9"}) == {}


class TestReferences:
    def test_they_may_be_addresses_which_the_row_keeps_as_they_are(self) -> None:
        images = ("s3://bucket/a.png", URL, "/data/b.webp", "c/d.gif")

        found = request(
            {"model": "gpt-image-2-official", "image_urls": " ".join(images), "mask_url": "./mask"},
        )

        assert (found.image_urls, found.mask_url) == (images, "./mask")

    def test_defaults_may_be_addresses_too(self) -> None:
        assert request({}, defaults={"image_urls": ["s3://bucket/a.png"]}).image_urls == ("s3://bucket/a.png",)

    def test_they_are_checked_as_if_they_were_uploaded(self) -> None:
        found = reasons(
            {"prompt": "a cat", "image_urls": [f"s3://bucket/{number}.png" for number in range(17)]},
            {"prompt": "a dog", "image_urls": ["a.png"], "mask_url": "s3://bucket/mask.png"},
            {"prompt": "a bird", "model": "gpt-image-2-official", "mask_url": "s3://bucket/mask.png"},
        )

        assert found == {
            1: "image_urls='17 images': must be at most 16 images",
            2: "mask_url='s3://bucket/mask.png': must be left out: this model does not take it",
            3: "mask_url='s3://bucket/mask.png': needs image_urls: a mask applies to the first reference image",
        }

    def test_a_gateway_without_uploads_takes_them_where_the_model_takes_data_uris(self) -> None:
        row = {"prompt": "a cat", "image_urls": "s3://bucket/a.png"}

        assert reasons(row, gateway=Gateway.APIMASTER) == {}
        assert reasons({**row, "model": "next-image-9"}, gateway=Gateway.APIMASTER) == {
            1: "image_urls='s3://bucket/a.png': must be a public URL: apimaster takes no uploads, and next-image-9 is "
            "not known to take data URIs"
        }
        assert reasons({**row, "model": "next-image-9"}) == {}


class TestUnknownColumns:
    def test_they_are_one_error_for_the_whole_dataset(self) -> None:
        with pytest.raises(InvalidRequestError) as refusal:
            check({"prompt": "a cat"}, {"promt": "a dog", "Size": "1:1", "caption": "a bird"})

        assert str(refusal.value).startswith(
            "row 2 has columns that are no request fields: 'promt' (did you mean 'prompt'?), 'Size' (did you mean "
            "'size'?), 'caption'. Known are prompt, model, "
        )
        assert str(refusal.value).endswith("Nothing was sent.")

    def test_every_field_of_a_request_is_known_and_so_is_the_id(self) -> None:
        every = dict.fromkeys([*REQUEST_FIELDS, "extra_body", "sku"])

        assert reasons({**every, "prompt": "a cat"}, id_field="sku") == {}

    def test_another_column_of_ids_makes_the_usual_one_unknown(self) -> None:
        with pytest.raises(InvalidRequestError, match="no request fields: 'id'"):
            check({"prompt": "a cat", "id": "1"}, id_field="sku")


class TestIds:
    @pytest.mark.parametrize(
        ("value", "row_id"),
        [
            ("cat-1", "cat-1"),
            (" cat 1 ", "cat 1"),
            (7, "7"),
            (7.0, "7"),
            ("007", "007"),
            ("猫👩‍🚀", "猫👩‍🚀"),
            ("x" * 200, "x" * 200),
        ],
    )
    def test_the_id_of_the_dataset_names_the_picture(self, value: object, row_id: str) -> None:
        (row,) = check({"prompt": "a cat", "sku": value}, id_field="sku")

        assert (row.id, isinstance(row, Row)) == (row_id, True)

    @pytest.mark.parametrize("formula", FORMULAS[:4])
    def test_an_id_that_looks_like_a_formula_is_taken_as_it_is(self, formula: str) -> None:
        assert check({"prompt": "a cat", "id": formula})[0].id == formula

    @pytest.mark.parametrize("empty", [None, "", " ", float("nan")])
    def test_without_one_the_row_is_named_after_what_it_asks_for(self, empty: object) -> None:
        (row,) = check({"prompt": "a cat", "id": empty})

        assert isinstance(row, Row)
        assert row.id == row.fingerprint[:16]

    @pytest.mark.parametrize("value", ["a\nb", "a\0b", "a\u2028b", "\ud800", "x" * 201])
    def test_one_that_no_name_can_hold_is_wrong(self, value: str) -> None:
        (row,) = check({"prompt": "a cat", "id": value})

        assert isinstance(row, InvalidRow)
        assert (row.id, row.reasons[0].split(": ")[1]) == (
            None,
            "must be at most 200 characters, none of them a control character",
        )

    @pytest.mark.parametrize("value", [True, 1.5, ["a"], b"a", float("inf")])
    def test_one_that_is_no_text_and_no_whole_number_is_wrong(self, value: object) -> None:
        assert reasons({"prompt": "a cat", "id": value})[1].endswith(": must be a text or a whole number")


class TestDuplicates:
    def test_an_id_may_be_used_once(self) -> None:
        found = reasons(
            {"prompt": "a cat", "id": "a"}, {"prompt": "a dog", "id": " a"}, {"prompt": "a bird", "id": "a", "n": 0}
        )

        assert found[2] == "has the id 'a', as row 1 has"
        assert found[3].startswith("n=0: ")
        assert found[3].endswith("; has the id 'a', as row 1 has")
        assert list(found) == [2, 3]

    def test_two_rows_that_ask_for_the_same_need_ids(self) -> None:
        found = reasons({"prompt": "a cat"}, {"prompt": "a dog"}, {"prompt": "a cat", "n": "1"})

        assert found == {
            3: "asks for the same as row 1, whose picture serves both: to buy two, give each an id of its own"
        }

    def test_with_ids_of_their_own_they_are_two(self) -> None:
        one, other = check({"prompt": "a cat", "id": "a"}, {"prompt": "a cat", "id": "b"})

        assert isinstance(one, Row)
        assert isinstance(other, Row)
        assert one.fingerprint == other.fingerprint

    def test_an_invalid_row_keeps_its_id_to_itself(self) -> None:
        assert list(reasons({"prompt": "", "id": "a"}, {"prompt": "a cat", "id": "a"})) == [1, 2]

    def test_rows_without_a_name_are_nobodys_duplicates(self) -> None:
        found = reasons({"prompt": ""}, {"prompt": ""})

        assert found == dict.fromkeys([1, 2], "prompt='': must be a text that is not empty")


class TestNotices:
    def test_each_text_is_kept_once_with_the_number_of_its_rows(self) -> None:
        notices: Counter[str] = Counter()

        check(
            {"prompt": "a cat", "quality": "high"},
            {"prompt": "a dog", "quality": "high"},
            {"prompt": "a bird", "quality": "low"},
            {"prompt": "", "quality": "high"},
            notices=notices,
        )

        assert {text.split(":")[0]: count for text, count in notices.items()} == {
            "quality='high'": 2,
            "quality='low'": 1,
        }


class TestEveryDataset:
    @given(records)
    def test_each_record_becomes_one_row_and_no_two_would_buy_the_same(self, fields: list[dict[str, Any]]) -> None:
        found = check(*fields)
        rows = [row for row in found if isinstance(row, Row)]

        assert [row.number for row in found] == list(range(1, len(fields) + 1))
        assert len({row.id for row in rows}) == len({(row.fingerprint, row.id) for row in rows}) == len(rows)
        assert all(row.reasons for row in found if isinstance(row, InvalidRow))

    @given(records)
    def test_a_second_look_finds_the_same(self, fields: list[dict[str, Any]]) -> None:
        assert check(*fields) == check(*fields)

    def test_csv_and_json_lines_of_the_same_rows_are_the_same(self, tmp_path: Path) -> None:
        texts = [{"id": str(n), "prompt": prompt, "n": "2"} for n, prompt in enumerate(FORMULAS)]
        with (tmp_path / "prompts.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, texts[0])
            writer.writeheader()
            writer.writerows(texts)
        typed = ({**row, "n": 2} for row in texts)
        (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in typed))

        rows = [
            [(row.id, row.fingerprint, row.request.prompt) for row in rows_of(tmp_path / name)]
            for name in ("prompts.csv", "prompts.jsonl")
        ]

        assert rows[0] == rows[1]
        assert [prompt for *_, prompt in rows[0]] == FORMULAS


def write_json_lines(path: Path, prompts: Iterator[str]) -> None:
    with path.open("w") as file:
        file.writelines(f"{json.dumps(prompt)}\n" for prompt in prompts)


def write_csv(path: Path, prompts: Iterator[str]) -> None:
    with path.open("w") as file:
        file.write("prompt\n")
        file.writelines(f"{prompt}\n" for prompt in prompts)


def write_parquet(path: Path, prompts: Iterator[str]) -> None:
    parquet.write_table(pa.table({"prompt": list(prompts)}), path, compression="none", use_dictionary=False)


@pytest.mark.parametrize("write", [write_json_lines, write_csv, write_parquet])
def test_memory_is_a_digest_for_each_row_and_not_its_text(
    tmp_path: Path, write: Callable[[Path, Iterator[str]], None]
) -> None:
    path = tmp_path / f"prompts.{write.__name__.removeprefix('write_').replace('json_lines', 'jsonl')}"
    write(path, (f"{number} {'x' * 2048}" for number in range(20_000)))
    next(iter(rows_of(path)))  # What is imported on the way is not counted.

    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    rows = most_in_arrow = 0
    for _ in rows_of(path):
        rows += 1
        most_in_arrow = max(most_in_arrow, pa.total_allocated_bytes() - arrow)
    _, most_in_python = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert rows == 20_000
    assert path.stat().st_size > 39 * MEBIBYTE
    assert most_in_python < 5 * MEBIBYTE
    assert most_in_arrow < 8 * MEBIBYTE


def rows_of(path: Path) -> Iterator[Row]:
    for row in check_rows(read_records(path), defaults={}, gateway=Gateway.APIMART):
        assert isinstance(row, Row)
        yield row
