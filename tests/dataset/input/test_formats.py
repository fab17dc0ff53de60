"""Rows out of files of JSON lines, CSV, TSV and Parquet, however they were written."""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_apimart.dataset.input import Input

    Read = Callable[..., Input]
    Written = Callable[[str, str | bytes], str]

PROMPTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10).filter(lambda text: text.strip())


def numbered(rows: Input) -> dict[int, str]:
    """Return the prompts by the numbers of their rows."""
    found = [rows.row(place) for place in range(len(rows))]
    return {row.number: row.request.prompt for row in found}


def columns(rows: Input) -> list[dict[str, Any]]:
    return [dict(rows.row(place).columns) for place in range(len(rows))]


def reasons(rows: Input) -> dict[str, str]:
    return {row.where: "; ".join(row.reasons) for row in rows.listed}


class TestJsonLines:
    def test_each_line_is_a_record_and_a_bare_text_is_a_prompt(self, written: Written, read: Read) -> None:
        rows = read(written("a.jsonl", '{"prompt": "a cat", "n": 2}\n"a dog"\n'))

        assert (numbered(rows), rows.n(0), rows.n(1)) == ({1: "a cat", 2: "a dog"}, 2, 1)

    def test_empty_lines_are_passed_over_and_counted(self, written: Written, read: Read) -> None:
        assert numbered(read(written("a.jsonl", '\n"a cat"\r\n  \n"a dog"'))) == {2: "a cat", 4: "a dog"}

    def test_what_python_takes_for_the_end_of_a_line_may_stand_in_a_prompt(self, written: Written, read: Read) -> None:
        assert numbered(read(written("a.jsonl", '"one\u2028prompt\x85"\n'))) == {1: "one\u2028prompt\x85"}

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("{'prompt': 'a cat'}", "is not JSON: Expecting property name enclosed in double quotes at character 2"),
            ('{"prompt": "a cat"', "is not JSON: Expecting ',' delimiter at character 19"),
            ('{"n": NaN}', "is not JSON: it has NaN; write null for a missing value"),
            ("[" * 100_000, "is not JSON: maximum recursion depth exceeded"),
            ("9" * 5000, "is not JSON: Exceeds the limit"),
            ('["a cat", "a dog"]', "is ['a cat', 'a dog']: must be a prompt, or an object with the columns' names"),
            ("5", "is 5: must be a prompt"),
            ("null", "is None: must be a prompt"),
        ],
        ids=["single quotes", "cut off", "NaN", "deep", "long number", "list", "number", "null"],
    )
    def test_a_line_that_is_not_a_record_does_not_end_the_reading(
        self, written: Written, read: Read, line: str, reason: str
    ) -> None:
        rows = read(written("a.jsonl", f'"a cat"\n{line}\n"a dog"\n'), on_invalid="skip")

        assert numbered(rows) == {1: "a cat", 3: "a dog"}
        assert reasons(rows)["line 2"].startswith(reason)

    @given(st.lists(PROMPTS, unique=True))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_what_was_written_is_what_is_read(self, tmp_path: Path, read: Read, prompts: list[str]) -> None:
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))

        assert list(numbered(read(tmp_path / "a.jsonl")).values()) == prompts


class TestSeparatedText:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", 'prompt,size,sku\r\n"a cat, asleep",16:9,1\r\na dog;b,,2\r\n'),
            ("a.csv", 'prompt;size;sku\r\na cat, asleep;16:9;1\r\n"a dog;b";;2\r\n'),
            ("a.csv", "prompt\tsize\tsku\na cat, asleep\t16:9\t1\na dog;b\t\t2\n"),
            ("a.tsv", "prompt\tsize\tsku\na cat, asleep\t16:9\t1\na dog;b\t\t2\n"),
            ("a.tsv", 'prompt,size,sku\n"a cat, asleep",16:9,1\na dog;b,,2\n'),
            ("a.csv", '\n\nsep=;\nprompt;size;sku\na cat, asleep;16:9;1\n"a dog;b";;2\n'),
            ("a.csv", '\ufeffprompt;size;sku\na cat, asleep;16:9;1\n"a dog;b";;2\n'),
        ],
        ids=["comma", "semicolon", "tab", "tsv", "tsv with commas", "sep=", "byte order mark"],
    )
    def test_the_separator_is_recognised(self, written: Written, read: Read, name: str, content: str) -> None:
        rows = read(written(name, content), columns=("sku",))

        assert list(numbered(rows).values()) == ["a cat, asleep", "a dog;b"]
        assert [rows.row(place).request.size for place in (0, 1)] == ["16:9", None]
        assert columns(rows) == [{"sku": "1"}, {"sku": "2"}]

    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_a_single_column_has_no_separator(self, written: Written, read: Read, name: str) -> None:
        assert numbered(read(written(name, "prompt\na cat; a dog\n"))) == {2: "a cat; a dog"}

    def test_known_columns_tell_which_separator_it_is(self, written: Written, read: Read) -> None:
        assert columns(read(written("a.csv", "prompt;price,eur\na cat;5\n"), columns=("price,eur",))) == [
            {"price,eur": "5"}
        ]

    def test_two_possible_separators_are_refused(self, written: Written, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match="may have a comma or a semicolon between its columns"):
            read(written("a.csv", "text,de;text,en\na cat,b;c,d\n"))

    def test_a_record_is_found_at_the_line_on_which_it_begins(self, written: Written, read: Read) -> None:
        rows = read(written("a.csv", 'prompt,size\n"a cat\non a\nsill",1:1\n\na dog,1:1\n'))

        assert numbered(rows) == {2: "a cat\non a\nsill", 6: "a dog"}

    def test_quotes_and_commas_stand_within_quotes(self, written: Written, read: Read) -> None:
        assert numbered(read(written("a.csv", 'prompt\n"a ""big"" cat, asleep"\n'))) == {2: 'a "big" cat, asleep'}

    def test_empty_rows_and_cells_at_the_end_of_rows_are_passed_over(self, written: Written, read: Read) -> None:
        assert numbered(read(written("a.csv", "prompt,size\n,\na cat,1:1,,\n,,,\n"))) == {3: "a cat"}

    def test_a_row_with_too_many_or_too_few_cells_does_not_end_the_reading(self, written: Written, read: Read) -> None:
        rows = read(written("a.csv", "prompt,size\na cat, asleep,1:1\na dog\na bird,1:1\n"), on_invalid="skip")

        assert numbered(rows) == {4: "a bird"}
        assert reasons(rows) == {
            "line 2": "has 3 cell(s) for 2 column(s); a comma within a text needs quotes around the text",
            "line 3": "has 1 cell(s) for 2 column(s)",
        }

    @pytest.mark.parametrize("ending", ["", "\n", "\na bird,1:1\n"])
    def test_a_quote_that_is_never_closed_is_not_one_bad_row(self, written: Written, read: Read, ending: str) -> None:
        path = written("a.csv", f'prompt,size\na dog,1:1\n"a cat,1:1{ending}')

        with pytest.raises(InvalidRequestError, match="a cell that begins on line 3 with a quote and does not end"):
            read(path, on_invalid="skip")

    def test_a_quote_in_the_wrong_place_costs_its_row_only(self, written: Written, read: Read) -> None:
        rows = read(written("a.csv", 'prompt\n"a "big" cat"\na dog\n'), on_invalid="skip")

        assert list(reasons(rows)) == ["line 2"]
        assert numbered(rows) == {3: "a dog"}

    @pytest.mark.parametrize("length", [131_073, 1_000_000])
    def test_a_cell_may_be_long(self, written: Written, read: Read, length: int) -> None:
        assert numbered(read(written("a.csv", f"prompt,size\n{'x' * length},1:1\n"))) == {2: "x" * length}

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            (",prompt", r"has no name for its column 1\. .*pandas writes such a column unless index=False"),
            ("prompt,size,prompt", "has several columns called 'prompt'"),
            ('"a "big" cat"', "is not CSV: ',' expected after"),
        ],
    )
    def test_columns_that_cannot_be_told_apart_are_refused(
        self, written: Written, read: Read, header: str, reason: str
    ) -> None:
        with pytest.raises(InvalidRequestError, match=rf"Cannot read the dataset .*a\.csv: it {reason}"):
            read(written("a.csv", f"{header}\n1,2\n"))

    @pytest.mark.parametrize("content", ["", "prompt\n", "\n\n"])
    def test_an_empty_file_has_no_records(self, written: Written, read: Read, content: str) -> None:
        assert len(read(written("a.csv", content))) == 0

    @pytest.mark.parametrize("prompt", ["=HYPERLINK(1)", "+1", "-1 degrees", "@SUM(A1)", "\tindented", "a\0b", "  a  "])
    def test_a_cell_that_a_spreadsheet_would_take_for_something_else_is_kept_as_it_is(
        self, written: Written, read: Read, prompt: str
    ) -> None:
        assert numbered(read(written("a.csv", f"prompt,size\n{prompt},\n"))) == {2: prompt}

    @given(st.lists(PROMPTS, unique=True))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_what_was_written_is_what_is_read(self, tmp_path: Path, read: Read, prompts: list[str]) -> None:
        file = io.StringIO(newline="")
        csv.writer(file).writerows([("prompt", "size"), *((prompt, "1:1") for prompt in prompts)])
        (tmp_path / "a.csv").write_bytes(file.getvalue().encode())

        assert list(numbered(read(tmp_path / "a.csv")).values()) == prompts


class TestEncodings:
    @pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
    @pytest.mark.parametrize(
        ("mark", "encoding"),
        [
            (b"", "utf-8"),
            (codecs.BOM_UTF8, "utf-8"),
            (codecs.BOM_UTF16_LE, "utf-16-le"),
            (codecs.BOM_UTF16_BE, "utf-16-be"),
            (codecs.BOM_UTF32_LE, "utf-32-le"),
        ],
        ids=["utf-8", "utf-8 with mark", "utf-16-le", "utf-16-be", "utf-32-le"],
    )
    def test_unicode_is_read_as_its_byte_order_mark_says(
        self, written: Written, read: Read, suffix: str, mark: bytes, encoding: str
    ) -> None:
        texts = {".jsonl": '{"prompt": "猫 🐈"}\n', ".csv": "prompt\n猫 🐈\n"}

        rows = read(written(f"a{suffix}", mark + texts[suffix].encode(encoding)))

        assert list(numbered(rows).values()) == ["猫 🐈"]

    @pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
    @pytest.mark.parametrize("before", [0, 1, 8190, 8191, 8192, 100_000])
    @pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["no mark", "mark"])
    def test_another_encoding_is_refused_with_line_and_byte(
        self, written: Written, read: Read, suffix: str, before: int, mark: bytes
    ) -> None:
        content = mark + b"\n" * before + "café\n".encode("latin-1")

        with pytest.raises(InvalidRequestError) as refusal:
            read(written(f"a{suffix}", content), on_invalid="skip")

        position = content.index(0xE9)
        assert f"it is not UTF-8, on line {before + 1} (byte {position}: 0xe9, " in str(refusal.value)
        assert "iconv -f WINDOWS-1252 -t UTF-8" in str(refusal.value)

    def test_utf_16_that_ends_within_a_character_is_refused(self, written: Written, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match=r"is not UTF-16, on line 1 \(byte 8: 0x0a"):
            read(written("a.csv", "abc\n".encode("utf-16-le").join([codecs.BOM_UTF16_LE, b""])[:-1]))


class TestParquet:
    @staticmethod
    def file(path: Path, table: pa.Table, **options: Any) -> Path:
        parquet.write_table(table, path / "a.parquet", **options)
        return path / "a.parquet"

    def test_columns_keep_their_types(self, tmp_path: Path, read: Read) -> None:
        table = pa.table(
            {
                "prompt": ["a cat", "a dog"],
                "n": [2, None],
                "official_fallback": [True, None],
                "image_urls": [["https://example.com/a.png"], None],
                "extra_body": [{"seed": 1}, None],
            }
        )

        rows = read(self.file(tmp_path, table))

        request = rows.row(0).request
        assert (request.n, request.official_fallback) == (2, True)
        assert (request.image_urls, request.extra_body) == (("https://example.com/a.png",), {"seed": 1})
        assert rows.row(1).request.body() == {"prompt": "a dog", "model": "gpt-image-2", "n": 1}

    def test_records_are_counted_across_row_groups(self, tmp_path: Path, read: Read) -> None:
        table = pa.table({"prompt": [f"cat {number}" for number in range(1, 1001)]})

        rows = read(self.file(tmp_path, table, row_group_size=300))

        assert numbered(rows) == {number: f"cat {number}" for number in range(1, 1001)}

    @pytest.mark.parametrize(
        "more",
        [
            {"prompt": "a dog", "extra_body": {"seed": 5, "style": "vivid"}},
            {"prompt": "a dog", "extra_body": {"seed": 5, "nested": {"a": 1}}},
            {"prompt": "a dog", "extra_body": {"seed": None, "list": [{"x": 1, "y": 2}]}},
        ],
        ids=["field", "struct", "list of structs"],
    )
    def test_a_field_that_another_row_brings_does_not_change_a_row(
        self, tmp_path: Path, read: Read, more: dict[str, Any]
    ) -> None:
        first = {"prompt": "a cat", "extra_body": {"seed": 1, "list": [{"x": 1}]}}

        alone = read(self.file(tmp_path, pa.Table.from_pylist([first])))
        together = read(self.file(tmp_path, pa.Table.from_pylist([first, more])))

        assert next(together.row_keys()) == next(alone.row_keys())
        assert together.row(0).request.body()["list"] == [{"x": 1}]
        assert "style" not in together.row(0).request.body()

    def test_a_map_is_a_mapping(self, tmp_path: Path, read: Read) -> None:
        bodies = pa.array([[("seed", "5")], None], pa.map_(pa.string(), pa.string()))

        rows = read(self.file(tmp_path, pa.table({"prompt": ["a cat", "a dog"], "extra_body": bodies})))

        assert [rows.row(place).request.extra_body for place in (0, 1)] == [{"seed": "5"}, {}]

    def test_an_index_of_pandas_is_ignored(self, tmp_path: Path, read: Read) -> None:
        table = pa.table({"prompt": ["a cat"], "__index_level_0__": [7]})

        assert numbered(read(self.file(tmp_path, table))) == {1: "a cat"}

    def test_times_numbers_and_categories_become_json(self, tmp_path: Path, read: Read) -> None:
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        table = pa.table(
            {
                "prompt": ["a cat"],
                "day": [date(2026, 1, 2)],
                "exact": pa.array([1_767_323_045_000_000_001], pa.timestamp("ns")),
                "coarse": pa.array([moment], pa.timestamp("ns", "UTC")),
                "clock": pa.array([time(3, 4)], pa.time64("ns")),
                "price": [Decimal("19.90")],
                "category": pa.array(["x"]).dictionary_encode(),
            }
        )
        names = tuple(table.column_names[1:])

        rows = read(self.file(tmp_path, table), columns=names)

        assert columns(rows) == [
            {
                "day": "2026-01-02",
                "exact": "2026-01-02 03:04:05.000000001",
                "coarse": "2026-01-02T03:04:05+00:00",
                "clock": "03:04:00",
                "price": 19.9,
                "category": "x",
            }
        ]

    def test_a_text_that_is_not_utf_8_is_an_invalid_row(self, tmp_path: Path, read: Read) -> None:
        wrong = pa.Array.from_buffers(
            pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\5\0\0\0\x09\0\0\0"), pa.py_buffer(b"a catcaf\xe9")]
        )
        path = self.file(tmp_path, pa.table({"prompt": wrong}))

        rows = read(path, on_invalid="skip")

        assert numbered(rows) == {1: "a cat"}
        assert reasons(rows)["row 2"].startswith("prompt is not UTF-8 (")

    def test_a_timestamp_that_python_cannot_hold_is_an_invalid_row(self, tmp_path: Path, read: Read) -> None:
        table = pa.table({"prompt": ["a cat", "a dog"], "at": pa.array([0, 2**62], pa.timestamp("ms"))})

        with pytest.raises(InvalidRequestError, match=r"row 2: at has no value: .*; must be timestamp"):
            read(self.file(tmp_path, table), columns=("at",))

    def test_columns_of_the_same_name_are_refused(self, tmp_path: Path, read: Read) -> None:
        table = pa.Table.from_arrays([pa.array(["a cat"]), pa.array(["a dog"])], names=["prompt", "prompt"])

        with pytest.raises(InvalidRequestError, match="has several columns called 'prompt'"):
            read(self.file(tmp_path, table))

    @pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
    def test_a_damaged_page_is_named_and_nothing_is_bought(self, tmp_path: Path, read: Read, compression: str) -> None:
        table = pa.table({"prompt": [f"cat number {number}" for number in range(2000)]})
        path = self.file(tmp_path, table, compression=compression, use_dictionary=False, write_page_checksum=True)
        content = bytearray(path.read_bytes())
        content[2000:2100] = b"\xff" * 100
        path.write_bytes(content)

        with pytest.raises(InvalidRequestError, match=r"is not a complete Parquet file.* Write it again"):
            read(path, on_invalid="skip")

    @pytest.mark.parametrize("end", [100, -4, -1])
    def test_a_file_that_was_cut_off_is_named(self, tmp_path: Path, read: Read, end: int) -> None:
        path = self.file(tmp_path, pa.table({"prompt": ["a cat"]}))
        path.write_bytes(path.read_bytes()[:end])

        with pytest.raises(InvalidRequestError, match="is not a complete Parquet file"):
            read(path)

    def test_without_pyarrow_the_error_says_how_to_install_it(
        self, written: Written, read: Read, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)

        with pytest.raises(
            InvalidRequestError, match=r"it needs pyarrow to be read\. .* pip install 'airflow-provider"
        ):
            read(written("prompts.parquet", b"PAR1"))
