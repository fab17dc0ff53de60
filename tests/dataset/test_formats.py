"""Records out of files of JSON lines, CSV and Parquet, however they were written."""

from __future__ import annotations

import codecs
import csv
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from airflow_provider_apimart.dataset.formats import READERS
from airflow_provider_apimart.dataset.row import Record, Unreadable
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

JSON_VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10)
OBJECTS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4)
CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def read(suffix: str, content: str | bytes) -> list[Record | Unreadable]:
    data = content.encode() if isinstance(content, str) else content
    return list(READERS[suffix](io.BytesIO(data), f"prompts{suffix}"))


def reasons(found: list[Record | Unreadable]) -> dict[int, str]:
    return {item.number: item.reason for item in found if isinstance(item, Unreadable)}


def fields(found: list[Record | Unreadable]) -> dict[int, Any]:
    return {item.number: item.fields for item in found if isinstance(item, Record)}


class TestJsonLines:
    def test_each_line_is_a_record_and_a_bare_text_is_a_prompt(self) -> None:
        found = read(".jsonl", '{"prompt": "a cat", "n": 2}\n"a dog"\n')

        assert found == [Record(1, {"prompt": "a cat", "n": 2}), Record(2, {"prompt": "a dog"})]

    def test_empty_lines_are_passed_over_and_counted(self) -> None:
        assert fields(read(".jsonl", '\n"a cat"\r\n  \n"a dog"')) == {2: {"prompt": "a cat"}, 4: {"prompt": "a dog"}}

    def test_what_python_takes_for_the_end_of_a_line_may_stand_in_a_prompt(self) -> None:
        assert fields(read(".jsonl", '"one\u2028prompt\x85"\n')) == {1: {"prompt": "one\u2028prompt\x85"}}

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("{'prompt': 'a cat'}", "is no JSON: Expecting property name enclosed in double quotes at character 2"),
            ('{"prompt": "a cat"', "is no JSON: Expecting ',' delimiter at character 19"),
            ('{"n": NaN}', "is no JSON: it has no NaN"),
            ("[" * 100_000, "is no JSON: maximum recursion depth exceeded"),
            ("9" * 5000, "is no JSON: Exceeds the limit"),
            ('["a cat", "a dog"]', "is ['a cat', 'a dog']: must be a prompt, or an object with the columns' names"),
            ("5", "is 5: must be a prompt"),
            ("null", "is None: must be a prompt"),
        ],
        ids=["single quotes", "cut off", "NaN", "deep", "long number", "list", "number", "null"],
    )
    def test_a_line_that_is_no_record_does_not_end_the_reading(self, line: str, reason: str) -> None:
        found = read(".jsonl", f'"a cat"\n{line}\n"a dog"\n')

        assert fields(found) == {1: {"prompt": "a cat"}, 3: {"prompt": "a dog"}}
        assert reasons(found)[2].startswith(reason)

    @given(st.lists(OBJECTS))
    def test_what_was_written_is_what_is_read(self, objects: list[dict[str, Any]]) -> None:
        content = "".join(json.dumps(item) + "\n" for item in objects)

        assert read(".jsonl", content) == [Record(number, item) for number, item in enumerate(objects, 1)]


class TestCsv:
    def test_the_first_line_names_the_columns(self) -> None:
        assert read(".csv", "prompt, size\r\na cat,16:9\r\na dog,\r\n") == [
            Record(2, {"prompt": "a cat", "size": "16:9"}),
            Record(3, {"prompt": "a dog", "size": ""}),
        ]

    def test_a_record_is_found_at_the_line_on_which_it_begins(self) -> None:
        found = read(".csv", 'prompt,size\n"a cat\non a\nsill",1:1\n\na dog,1:1\n')

        assert {number: row["prompt"] for number, row in fields(found).items()} == {2: "a cat\non a\nsill", 6: "a dog"}

    def test_quotes_and_commas_stand_within_quotes(self) -> None:
        assert fields(read(".csv", 'prompt\n"a ""big"" cat, asleep"\n'))[2] == {"prompt": 'a "big" cat, asleep'}

    def test_a_row_with_too_many_or_too_few_cells_does_not_end_the_reading(self) -> None:
        found = read(".csv", "prompt,size\na cat, asleep,1:1\na dog\na bird,1:1\n")

        assert fields(found) == {4: {"prompt": "a bird", "size": "1:1"}}
        assert reasons(found) == {
            2: "has 3 cells for 2 columns; a comma within a text needs quotes around the text",
            3: "has 1 cells for 2 columns",
        }

    def test_a_quote_that_is_not_closed_does_not_make_one_prompt_of_all_rows_after_it(self) -> None:
        found = read(".csv", 'prompt,size\na dog,1:1\n"a cat,1:1\na bird,1:1\n')

        assert fields(found) == {2: {"prompt": "a dog", "size": "1:1"}}
        assert reasons(found)[3].startswith("is no CSV: unexpected end of data; a quote within a text is written twice")

    def test_a_quote_in_the_wrong_place_costs_its_row_only(self) -> None:
        found = read(".csv", 'prompt\n"a "big" cat"\na dog\n')

        assert list(reasons(found)) == [2]
        assert fields(found) == {3: {"prompt": "a dog"}}

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            (",prompt", "has no name for its column 1 (pandas writes such without index=False)"),
            ("prompt,size,prompt", "has several columns called 'prompt'"),
            ('"a "big" cat"', "is no CSV: ',' expected after"),
        ],
    )
    def test_columns_that_cannot_be_told_apart_are_refused(self, header: str, reason: str) -> None:
        with pytest.raises(InvalidRequestError) as refusal:
            read(".csv", f"{header}\n1,2\n")

        assert str(refusal.value).startswith(f"prompts='prompts.csv' {reason}")

    def test_an_empty_file_has_no_records(self) -> None:
        assert read(".csv", "") == read(".csv", "prompt\n") == read(".jsonl", "") == []

    @pytest.mark.parametrize("prompt", ["=HYPERLINK(1)", "+1", "-1 degrees", "@SUM(A1)", "\tindented", "a\0b", "  a  "])
    def test_a_cell_that_a_spreadsheet_would_take_for_something_else_is_kept_as_it_is(self, prompt: str) -> None:
        assert fields(read(".csv", f"prompt,size\n{prompt},\n"))[2]["prompt"] == prompt

    @given(st.lists(st.tuples(CELLS, CELLS)))
    def test_what_was_written_is_what_is_read(self, rows: list[tuple[str, str]]) -> None:
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerows([("prompt", "size"), *rows])

        found = read(".csv", file.getvalue())

        assert [(*item.fields.values(),) for item in found if isinstance(item, Record)] == rows
        assert reasons(found) == {}


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
    def test_unicode_is_read_as_its_byte_order_mark_says(self, suffix: str, mark: bytes, encoding: str) -> None:
        texts = {".jsonl": '{"prompt": "猫 🐈"}\n', ".csv": "prompt\n猫 🐈\n"}

        (found,) = read(suffix, mark + texts[suffix].encode(encoding))

        assert isinstance(found, Record)
        assert found.fields == {"prompt": "猫 🐈"}

    @pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
    @pytest.mark.parametrize("before", [0, 1, 8190, 8191, 8192, 100_000])
    @pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["no mark", "mark"])
    def test_another_encoding_is_refused_with_the_position_of_the_byte(
        self, suffix: str, before: int, mark: bytes
    ) -> None:
        content = mark + b"\n" * before + "café\n".encode("latin-1")

        with pytest.raises(InvalidRequestError, match=rf"prompts='prompts{suffix}' is not UTF-8") as refusal:
            read(suffix, content)

        assert f"0xe9 at byte {content.index(0xE9)} " in str(refusal.value)
        assert "Convert it to UTF-8. Nothing was sent." in str(refusal.value)

    def test_utf_16_that_ends_within_a_character_is_refused(self) -> None:
        with pytest.raises(InvalidRequestError, match="is not UTF-16: 0x0a at byte 8"):
            read(".csv", "abc\n".encode("utf-16-le").join([codecs.BOM_UTF16_LE, b""])[:-1])


class TestParquet:
    @staticmethod
    def written(table: pa.Table, **options: Any) -> bytes:
        file = io.BytesIO()
        parquet.write_table(table, file, **options)
        return file.getvalue()

    def test_columns_keep_their_types(self) -> None:
        table = pa.table(
            {
                "prompt": ["a cat", "a dog"],
                "n": [2, None],
                "official_fallback": [True, None],
                "image_urls": [["https://example.com/a.png"], None],
                "extra_body": [{"seed": 1}, None],
            }
        )

        found = read(".parquet", self.written(table))

        assert found[0] == Record(
            1,
            {
                "prompt": "a cat",
                "n": 2,
                "official_fallback": True,
                "image_urls": ["https://example.com/a.png"],
                "extra_body": {"seed": 1},
            },
        )
        assert found[1] == Record(2, {"prompt": "a dog", **dict.fromkeys(table.column_names[1:])})

    def test_records_are_counted_across_row_groups(self) -> None:
        table = pa.table({"prompt": [f"cat {number}" for number in range(1, 1001)]})

        found = read(".parquet", self.written(table, row_group_size=300))

        assert found == [Record(number, {"prompt": f"cat {number}"}) for number in range(1, 1001)]

    def test_columns_of_the_same_name_are_refused(self) -> None:
        table = pa.Table.from_arrays([pa.array(["a cat"]), pa.array(["a dog"])], names=["prompt", "prompt"])

        with pytest.raises(InvalidRequestError, match="has several columns called 'prompt'"):
            read(".parquet", self.written(table))

    def test_a_file_of_another_kind_is_refused(self) -> None:
        with pytest.raises(InvalidRequestError, match=r"prompts='prompts\.parquet' is no Parquet file"):
            read(".parquet", "prompt\na cat\n")

    def test_without_pyarrow_the_error_says_how_to_install_it(self, written: Callable[[str, bytes], str]) -> None:
        path = written("prompts.parquet", b"")
        program = (
            "import sys; sys.modules['pyarrow'] = None\n"
            "from airflow_provider_apimart.dataset.formats import READERS\n"
            f"with open({path!r}, 'rb') as file: list(READERS['.parquet'](file, 'prompts.parquet'))"
        )

        process = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)

        assert process.stderr.splitlines()[-1].endswith(
            "prompts='prompts.parquet' needs pyarrow to be read: pip install 'airflow-provider-apimart[parquet]'. "
            "Nothing was sent."
        )
