"""Which rows may be bought, and what is said about the others."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from airflow_provider_apimart.dataset.row import row_fingerprint
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_apimart.dataset.input import Input
    from airflow_provider_apimart.dataset.row import Row

    Read = Callable[..., Input]
    Written = Callable[[str, str | bytes], str]

URL = "https://example.com/a.png"
#: An image of one pixel.
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
FORMULAS = ["=HYPERLINK(1)", "+1", "-1 degrees outside", "@SUM(A1)", "\tindented", "\rreturned"]

prompts = st.sampled_from(["", " ", "a cat", "a dog", "=1+1", "\ud800"])
ids = st.sampled_from([None, "", "a", " a ", "b", "\n", 1, 1.0, True, "x" * 201])
records = st.lists(
    st.fixed_dictionaries(
        {"prompt": prompts},
        optional={
            "id": ids,
            "n": st.sampled_from(["1", "0", 2.0, None, True]),
            "extra_body": st.sampled_from([None, {"a": 1, "z": None}, '{"seed": 5, "prompts": 2}']),
        },
    )
)


def rows_of(found: Input) -> list[Row]:
    return [found.row(place) for place in range(len(found))]


@pytest.fixture
def request_of(read: Read) -> Callable[..., ImageRequest]:
    """Return the request of one record."""

    def request(fields: dict[str, Any], **options: Any) -> ImageRequest:
        return read([{"prompt": "a cat", **fields}], **options).row(0).request

    return request


@pytest.fixture
def reasons(read: Read) -> Callable[..., dict[int, str]]:
    """Return what is wrong with each record of a dataset, by its number."""

    def wrong(*fields: Any, **options: Any) -> dict[int, str]:
        found = read([*fields, "a row that can be bought"], on_invalid="skip", **options)
        return {int(row.where.removeprefix("row ")): "; ".join(row.reasons) for row in found.listed}

    return wrong


class TestFields:
    def test_columns_are_fields_of_the_request(self, request_of: Callable[..., ImageRequest]) -> None:
        fields = {"prompt": "a cat", "size": "16:9", "resolution": "2k", "n": 2, "image_urls": [URL]}

        assert request_of(fields) == ImageRequest(**{**fields, "image_urls": (URL,)})

    @pytest.mark.parametrize("empty", [None, "", "  ", float("nan")])
    def test_what_a_row_leaves_out_is_filled_in(self, request_of: Callable[..., ImageRequest], empty: object) -> None:
        defaults = {"size": "16:9", "resolution": "2k", "n": "2", "mask_url": None, "model": "gpt-image-2"}

        filled = request_of({"size": empty, "resolution": "1k", "n": empty}, defaults=defaults)

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
            ("image_urls", f"['{URL}', '{URL}?2']", (URL, f"{URL}?2")),
            ("image_urls", f"{URL},{URL}?2", (URL, f"{URL}?2")),
            ("image_urls", f"{URL}, {URL}?2", (URL, f"{URL}?2")),
            ("image_urls", f"{URL};s3://bucket/a.png | file:///a.png", (URL, "s3://bucket/a.png", "file:///a.png")),
            ("image_urls", f"{URL}?size=1,2", (f"{URL}?size=1,2",)),
            ("image_urls", PIXEL, (PIXEL,)),
            ("image_urls", f"{PIXEL},{URL}", (PIXEL, URL)),
            ("image_urls", "[]", None),
            ("extra_body", '{"seed": 5}', {"seed": 5}),
            ("extra_body", "{'seed': 5, 'deep': {'none': None}}", {"seed": 5, "deep": {}}),
            ("extra_body", {"seed": None, "deep": [{"a": None, "b": 1}]}, {"deep": [{"b": 1}]}),
        ],
    )
    def test_a_cell_becomes_what_its_field_takes(
        self, request_of: Callable[..., ImageRequest], name: str, cell: object, value: object
    ) -> None:
        assert getattr(request_of({name: cell}), name) == value

    @pytest.mark.parametrize("prompt", [*FORMULAS, "  a cat  ", "[1]", "a\0b", "x" * 100_000])
    def test_a_prompt_is_taken_as_it_is(self, request_of: Callable[..., ImageRequest], prompt: str) -> None:
        assert request_of({"prompt": prompt}).prompt == prompt


class TestInvalidRows:
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"prompt": ""}, "prompt='': must be a text that is not empty"),
            ({"prompt": " \n"}, "prompt=' \\n': must be a text that is not empty"),
            ({"prompt": None}, "prompt='': must be a text that is not empty"),
            ({"prompt": ["a cat"]}, "prompt=['a cat']: must be a text that is not empty"),
            ({"prompt": "\ud800"}, "prompt='\\ud800': must be valid JSON"),
            ({"n": "three"}, "n='three': must be a whole number"),
            ({"n": 0}, "n=0: must be a whole number of at least 1"),
            ({"n": True}, "n=True: must be a whole number of at least 1"),
            ({"size": "17:9"}, "size='17:9': must be one of"),
            ({"official_fallback": "1"}, "official_fallback='1': must be true or false"),
            ({"image_urls": "[oops"}, "image_urls='[oops': must be a list of URLs"),
            ({"image_urls": "htps://a.png"}, "image_urls='htps://a.png': must be a public http or https URL"),
            ({"image_urls": [URL, None]}, "image_urls="),
            ({"extra_body": "seed=5"}, "extra_body='seed=5': must be a mapping"),
            ({"extra_body": "[" * 100_000}, "extra_body='[["),
            ({"extra_body": {"when": b"now"}}, "extra_body=b'now': must be valid JSON"),
            ({"extra_body": {1: 2}}, "extra_body=1: must have names that are texts"),
            ({"extra_body": {"deep": {1: 2, "a": 3}}}, "extra_body={1: 2, 'a': 3}: must be valid JSON"),
            ({"extra_body": {"\ud800": 1}}, "extra_body=1: must be valid JSON"),
        ],
    )
    def test_a_row_says_what_is_wrong_with_it(
        self, reasons: Callable[..., dict[int, str]], fields: dict[str, Any], reason: str
    ) -> None:
        assert reasons({"prompt": "a cat", **fields})[1].startswith(reason)

    def test_everything_that_is_wrong_with_a_row_is_said_at_once(self, read: Read) -> None:
        found = read([{"prompt": "", "n": 0, "id": "cat"}, "a dog"], on_invalid="skip")

        assert (found.listed[0].id, len(found.listed[0].reasons)) == ("cat", 2)

    def test_a_text_file_names_file_line_id_field_and_what_is_allowed(self, written: Written, read: Read) -> None:
        path = written("a.csv", "id,prompt,n\ncat,a cat,\ndog,a dog,0\n")

        with pytest.raises(InvalidRequestError) as refusal:
            read(path)

        assert str(refusal.value) == (
            f"Cannot buy some rows of {path}: 1 of 2 cannot be bought: line 3 (dog): n=0: must be a whole number of at "
            "least 1. Nothing was submitted or charged. Correct them, or skip them with on_invalid='skip'."
        )

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", "prompt,size\na cat,17:9\na dog,17:9\n"),
            ("a.jsonl", "prompt,size\na cat,1:1\n"),
            ("a.csv", "prompt\na cat, a dog\n"),
        ],
    )
    def test_a_dataset_of_which_all_rows_are_invalid_always_fails(
        self, written: Written, read: Read, name: str, content: str
    ) -> None:
        with pytest.raises(InvalidRequestError, match="Cannot buy all rows of"):
            read(written(name, content), on_invalid="skip")

    def test_the_gateway_decides(self, reasons: Callable[..., dict[int, str]]) -> None:
        row = {"prompt": "a cat", "quality": "high"}

        assert reasons(row, gateway=Gateway.APIMART) == {}
        assert reasons(row, gateway=Gateway.APIMASTER)[1].startswith("quality='high'")

    def test_an_unknown_model_takes_anything(self, reasons: Callable[..., dict[int, str]]) -> None:
        assert reasons({"prompt": "a cat", "model": "next-image-9", "size": "17:9"}) == {}


class TestIds:
    @pytest.mark.parametrize(
        ("value", "row_id"),
        [
            ("cat-1", "cat-1"),
            (" cat 1 ", "cat 1"),
            (7, "7"),
            (7.0, "7"),
            ("7.0", "7"),
            ("10.00", "10"),
            ("1.50", "1.50"),
            ("v1.0", "v1.0"),
            ("007", "007"),
            ("007.0", "007.0"),
            ("1.0.0", "1.0.0"),
            ("猫👩‍🚀", "猫👩‍🚀"),
            ("猫" * 80, "猫" * 80),
            ("x" * 200, "x" * 200),
            ("=1+1", "=1+1"),
        ],
    )
    def test_the_id_of_the_dataset_names_the_picture(self, read: Read, value: object, row_id: str) -> None:
        assert read([{"prompt": "a cat", "sku": value}], id_column="sku").row(0).id == row_id

    @pytest.mark.parametrize("text", [False, True], ids=["parquet", "csv"])
    def test_whole_numbers_with_and_without_a_point_are_the_same_rows(
        self, tmp_path: Path, read: Read, *, text: bool
    ) -> None:
        (tmp_path / "a.csv").write_text("id,prompt\n1,a cat\n2,a dog\n")
        if text:
            path = tmp_path / "b.csv"
            path.write_text("id,prompt\n1.0,a cat\n2.0,a dog\n")
        else:
            path = tmp_path / "b.parquet"
            parquet.write_table(pa.table({"id": [1.0, 2.0], "prompt": ["a cat", "a dog"]}), path)

        assert list(read(path).row_keys()) == list(read(tmp_path / "a.csv").row_keys())

    @pytest.mark.parametrize("empty", [None, "", " ", float("nan")])
    def test_without_one_the_row_is_named_after_its_request(self, read: Read, empty: object) -> None:
        row = read([{"prompt": "a cat", "id": empty}]).row(0)

        assert row.id == row.fingerprint[:16]

    @pytest.mark.parametrize("value", ["a\nb", "a\0b", "a\u2028b", "\ud800", "x" * 201, True, 1.5, ["a"], b"a"])
    def test_one_that_cannot_be_a_name_is_wrong(self, reasons: Callable[..., dict[int, str]], value: object) -> None:
        assert reasons({"prompt": "a cat", "id": value})[1].endswith(
            ": must be a whole number, or a text of at most 200 characters, none of them a control character"
        )

    def test_a_column_of_ids_that_no_row_has_is_refused(self, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match="id_column names 'sku', a column that no row has"):
            read(["a cat"], id_column="sku")


class TestDuplicates:
    @pytest.mark.parametrize(
        ("name", "content", "places"),
        [
            ("a.csv", "prompt\na cat\na dog\na cat\n", "line 4"),
            ("a.jsonl", '"a cat"\n{"prompt": "a cat", "n": 1}\n"a cat"\n"a dog"\n', "lines 2, 3"),
            ("a.csv", "id,prompt\n1,a cat\n2,a dog\n1.0,a cat\n", "line 4"),
        ],
        ids=["without ids", "json", "with ids"],
    )
    def test_the_same_row_twice_is_bought_once_and_reported(
        self, written: Written, read: Read, name: str, content: str, places: str
    ) -> None:
        found = read(written(name, content))

        assert [row.request.prompt for row in rows_of(found)] == ["a cat", "a dog"]
        (notice,) = found.notices
        assert "request the same as an earlier row" in notice
        assert f"bought once: {places}." in notice

    def test_an_id_may_be_used_for_one_request(self, reasons: Callable[..., dict[int, str]]) -> None:
        found = reasons(
            {"prompt": "a cat", "id": "a"}, {"prompt": "a dog", "id": " a"}, {"prompt": "a bird", "id": "a", "n": 0}
        )

        taken = "id='a': is also the id of row 1, which requests something else; must be an id of its own"
        assert found[2] == taken
        assert found[3].startswith("n=0: ")
        assert found[3].endswith(taken)
        assert list(found) == [2, 3]

    def test_with_ids_of_their_own_they_are_two(self, read: Read) -> None:
        one, other = rows_of(read([{"prompt": "a cat", "id": "a"}, {"prompt": "a cat", "id": "b"}]))

        assert one.fingerprint == other.fingerprint

    def test_an_invalid_row_keeps_its_id_to_itself(self, reasons: Callable[..., dict[int, str]]) -> None:
        assert list(reasons({"prompt": "", "id": "a"}, {"prompt": "a cat", "id": "a"})) == [1, 2]

    def test_rows_without_a_name_are_nobodys_duplicates(self, reasons: Callable[..., dict[int, str]]) -> None:
        found = reasons({"prompt": ""}, {"prompt": ""})

        assert found == dict.fromkeys([1, 2], "prompt='': must be a text that is not empty")

    def test_many_rows_are_told_apart(self, read: Read) -> None:
        found = read([{"prompt": f"a cat {number % 3000}", "id": number % 3000} for number in range(6000)])

        assert (len(found), found.notices[0].split()[0]) == (3000, "3000")


class TestSuspiciousPrompts:
    ODD = (
        "nan", "None", "#REF!", "NULL", "#N/A", "undefined", " n/a ", "#DIV/0!", "<NA>", "[object Object]", "-", "...",
        "{{ row.prompt }}", "{name}", "s3://bucket/prompts.csv",
    )  # fmt: skip
    FINE = ("none of them", "a null island", "N", "1984", "🐈", "#cats", "Nan, my grandmother", "- a cat", "(a cat)")

    @pytest.mark.parametrize("prompt", ODD)
    def test_is_bought_with_a_warning_that_names_the_row(self, written: Written, read: Read, prompt: str) -> None:
        found = read(written("a.jsonl", f'"a cat"\n{json.dumps(prompt)}\n'))

        assert len(found) == 2
        assert "looks like a missing value, an error or a placeholder: line 2." in found.notices[0]

    @pytest.mark.parametrize("prompt", FINE)
    def test_other_prompts_are_not(self, read: Read, prompt: str) -> None:
        assert read([prompt]).notices == []

    def test_may_fail_the_task(self, written: Written, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match=r"2 row\(s\) of .* a placeholder: lines 2, 4\. Nothing was"):
            read(written("a.csv", "prompt,size\nnan,\na cat,\n#REF!,\n"), on_suspicious="fail", on_invalid="skip")

    def test_may_be_skipped(self, read: Read) -> None:
        found = read(["nan", "a cat", "NULL"], on_suspicious="skip")

        assert [row.request.prompt for row in rows_of(found)] == ["a cat"]
        assert found.notices[0].startswith("2 row(s) of prompts have a prompt that looks like")

    def test_are_never_skipped_all(self, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match=r"2 row\(s\) of prompts have a prompt that looks like"):
            read(["nan", "NULL"], on_suspicious="skip")


class TestColumns:
    def test_those_that_are_named_go_with_the_row(self, tmp_path: Path, read: Read) -> None:
        (tmp_path / "a.csv").write_text("sku,prompt,size,note\n7,a cat,1:1,\n")

        (row,) = rows_of(read(tmp_path / "a.csv", columns=("sku", "note", "size")))

        assert dict(row.columns) == {"sku": "7", "note": "", "size": "1:1"}

    @pytest.mark.parametrize("name", ["colour", "Prompt", "image_url"])
    def test_others_are_refused_with_the_nearest_names(self, read: Read, name: str) -> None:
        with pytest.raises(InvalidRequestError, match=rf"row 1 has unknown columns: '{name}'") as refusal:
            read([{"prompt": "a cat", name: "x"}])

        assert ("did you mean" in str(refusal.value)) == (name != "colour")
        assert "columns=" in str(refusal.value)

    def test_one_that_no_row_has_is_refused(self, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match=r"columns names 'skuu', .* \(did you mean 'sku'\?\)"):
            read([{"prompt": "a cat", "sku": 1}], columns=("sku", "skuu"))

    @pytest.mark.parametrize("value", [b"x", float("inf"), object(), {1: 2}])
    def test_a_value_without_a_form_in_json_makes_the_row_invalid(
        self, reasons: Callable[..., dict[int, str]], value: object
    ) -> None:
        found = reasons({"prompt": "a cat", "sku": value}, columns=("sku",))

        assert found[1].startswith("sku=")
        assert "must be a text, a number, a boolean, a date" in found[1]


class TestPromptTemplate:
    TEMPLATE = "{name} on white, {colour} light {{1}}"

    def test_makes_the_prompt_of_columns(self, written: Written, read: Read) -> None:
        path = written("a.csv", "sku,name,colour\n1,teapot,red\n2,A {lamp},blue\n")

        found = read(path, prompt_template=self.TEMPLATE, columns=("sku",))

        assert [row.request.prompt for row in rows_of(found)] == [
            "teapot on white, red light {1}",
            "A {lamp} on white, blue light {1}",
        ]
        assert dict(found.row(1).columns) == {"sku": "2"}

    def test_texts_are_prompts_within_it(self, read: Read) -> None:
        assert read(["a cat"], prompt_template="{prompt} at night").row(0).request.prompt == "a cat at night"

    @pytest.mark.parametrize("value", [None, "", " ", float("nan"), ...])
    def test_a_missing_column_makes_the_row_invalid(self, read: Read, value: object) -> None:
        row = {"name": "teapot", **({} if value is ... else {"colour": value})}

        with pytest.raises(InvalidRequestError, match="row 2: colour is missing or empty: prompt_template needs it"):
            read([{"name": "a", "colour": "b"}, row], prompt_template=self.TEMPLATE)

    def test_numbers_are_text_in_it(self, read: Read) -> None:
        found = read([{"name": 3.0, "colour": 2.5}], prompt_template=self.TEMPLATE)

        assert found.row(0).request.prompt == "3 on white, 2.5 light {1}"

    def test_a_suspicious_value_is_a_suspicious_row(self, read: Read) -> None:
        found = read([{"name": "nan", "colour": "red"}], prompt_template=self.TEMPLATE)

        assert "looks like a missing value" in found.notices[0]

    def test_a_prompt_that_it_does_not_use_is_refused(self, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match="prompt='a cat': must be left out"):
            read([{"name": "a", "colour": "b", "prompt": "a cat"}], prompt_template=self.TEMPLATE)

    @pytest.mark.parametrize(
        "template", ["{name.__class__}", "{name[0]}", "{name!r}", "{name:>9}", "{}", "{name", "name}", "no column"]
    )
    def test_reaches_nothing_but_columns(self, read: Read, template: str) -> None:
        with pytest.raises(InvalidRequestError, match="prompt_template="):
            read([{"name": "teapot"}], prompt_template=template)


class TestNotices:
    def test_each_text_is_there_once_with_the_number_of_its_rows(self, read: Read) -> None:
        found = read(
            [
                {"prompt": "a cat", "quality": "high"},
                {"prompt": "a dog", "quality": "high"},
                {"prompt": "a bird", "quality": "low"},
                {"prompt": "", "quality": "high"},
            ],
            on_invalid="skip",
        )

        assert [notice.split(": ")[:2] for notice in found.notices] == [
            ["2 row(s)", "quality='high'"],
            ["1 row(s)", "quality='low'"],
        ]


class TestEveryDataset:
    @given(records)
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_each_row_has_the_fingerprint_of_its_request_and_no_two_would_buy_the_same(
        self, read: Read, fields: list[dict[str, Any]]
    ) -> None:
        found = read([*fields, {"prompt": "a bird"}], on_invalid="skip")
        rows = rows_of(found)

        assert all(row.fingerprint == row_fingerprint(row.request) for row in rows)
        assert len({row.id for row in rows}) == len(set(found.row_keys())) == len(rows)
        assert len(rows) + found.invalid <= len(fields) + 1

    def test_csv_and_json_lines_of_the_same_rows_are_the_same(self, tmp_path: Path, read: Read) -> None:
        texts = [{"id": str(n), "prompt": prompt, "n": "2"} for n, prompt in enumerate(FORMULAS)]
        with (tmp_path / "prompts.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, texts[0])
            writer.writeheader()
            writer.writerows(texts)
        typed = ({**row, "n": 2} for row in texts)
        (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in typed))

        one, other = (read(tmp_path / name) for name in ("prompts.csv", "prompts.jsonl"))

        assert list(one.row_keys()) == list(other.row_keys())
        assert [row.request.prompt for row in rows_of(one)] == FORMULAS
