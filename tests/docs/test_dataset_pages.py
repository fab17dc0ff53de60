"""What the pages on datasets show is what the operator reads, says, returns and keeps."""

from __future__ import annotations

import csv
import gzip
import json
import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from docs.pages import DOCS, blocks, described
from operators.task_instance import TaskInstance
from PIL import Image

from airflow_provider_apimart.dataset.input import read_dataset
from airflow_provider_apimart.dataset.ledger.export import export_pictures
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.run.progress import Progress
from airflow_provider_apimart.dataset.run.report import plan_text
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.input import Input

PAGE = DOCS / "howto" / "datasets.md"
SHOWN = [json.loads(block) for block in blocks(DOCS / "results.md", "json")]
PREFIX = "catalogue"


def shown_with(key: str) -> dict[str, Any]:
    (found,) = (block for block in SHOWN if key in block)
    return found


def text_with(start: str) -> str:
    (found,) = (block for block in blocks(PAGE, "text") if block.startswith(start))
    return found


def read(dataset: Path, **changes: Any) -> Input:
    return read_dataset(
        str(dataset),
        defaults={"model": "gpt-image-2"},
        gateway=Gateway.APIMART,
        aws_conn_id=None,
        on_invalid="fail",
        **changes,
    )


@dataclass
class Bought:
    """What a task leaves that bought the rows on the page, one with a reference image, and one like a formula."""

    result: dict[str, Any]
    progress: dict[str, Any]
    objects: dict[str, bytes]

    @property
    def ledger(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in gzip.decompress(self.objects["ledger/ledger.jsonl.gz"]).splitlines()]


@pytest.fixture
def bought(
    apimart_connection: str, aws_connection: str, s3_server: SeaweedFS, bucket: str, tmp_path: Path
) -> Iterator[Bought]:
    reference = tmp_path / "reference.png"
    Image.new("RGB", (8, 8)).save(reference)
    rows = [json.loads(line) for line in text_with("{").splitlines()]
    rows.append({"prompt": "The same teapot on a table", "image_urls": [str(reference)]})
    rows.append({"prompt": "=SUM(A1:A9)"})
    task_instance = TaskInstance()
    result = task_instance.run(
        lambda: ApimartImageDatasetOperator(
            task_id="generate",
            prompts=rows,
            s3_bucket=bucket,
            s3_prefix=PREFIX,
            columns=["sku"],
            apimart_conn_id=apimart_connection,
            aws_conn_id=aws_connection,
            initial_delay=0,
            poll_interval=0.2,
        )
    )
    client = s3_server.client()
    keys = [found["Key"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]]
    yield Bought(
        result,
        task_instance.xcoms["progress"],
        {key.removeprefix(f"{PREFIX}/"): client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys},
    )
    for key in keys:
        client.delete_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize(("suffix", "start"), [(".jsonl", "{"), (".csv", "id,prompt")])
def test_the_rows_that_it_shows_can_be_bought(tmp_path: Path, suffix: str, start: str) -> None:
    dataset = tmp_path / f"products{suffix}"
    dataset.write_text(text_with(start), encoding="utf-8")

    with closing(read(dataset, columns=["sku"] if suffix == ".jsonl" else [])) as found:
        rows = [found.row(place) for place in range(len(found))]

    assert [row.id for row in rows] == ["teapot-red", "teapot-blue"]
    assert rows[0].request.size == "1:1"


def test_bad_rows_are_listed_as_it_shows(tmp_path: Path) -> None:
    dataset = tmp_path / "products.csv"
    good = [f"teapot-{number},A teapot" for number in range(3)]
    dataset.write_text("\n".join(["id,prompt", "teapot-red,A teapot", "teapot-green,", *good, "teapot-red,Another"]))

    with pytest.raises(InvalidRequestError) as caught:
        read(dataset)

    told = str(caught.value).replace(str(dataset), "s3://my-bucket/products.csv")
    assert text_with("InvalidRequestError").split() == f"InvalidRequestError: {told}".split()


def test_a_plan_is_logged_as_it_shows() -> None:
    kinds = [
        {"model": "gpt-image-2", "size": "1:1", "resolution": "1k", "calls": 9000, "price": 0.0085},
        {"model": "gpt-image-2", "size": "1:1", "resolution": "2k", "calls": 800, "price": 0.014},
    ]
    counts = {"to_buy": 9800, "total": 10_000, "done": 200, "in_flight": 0, "failed": 0, "invalid": 3, "left_out": 0}

    assert text_with("Plan:") == plan_text({**counts, "cost": 87.7, "by_kind": kinds}) + "\n"


def test_progress_is_logged_as_it_shows() -> None:
    shown = shown_with("seconds_left")

    progress = Progress(**{name: value for name, value in shown.items() if name not in {"schema_version", "currency"}})

    assert text_with("1,200 of") == f"{progress}\n"
    assert progress.to_json() == shown


def test_everything_is_where_it_says(bought: Bought) -> None:
    places = described(PAGE, "Object below `s3_prefix`")
    patterns = [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(place)) for place in places]
    found = {key: [pattern for pattern in patterns if re.fullmatch(pattern, key)] for key in bought.objects}

    assert all(len(matches) == 1 for matches in found.values()), found
    # The stored rows are deleted at the end, the end wrote the only checkpoint, and the store honours conditions.
    assert len({matches[0] for matches in found.values()}) == len(places) - 3


def test_the_results_page_shows_what_the_operator_returns_and_how_far_it_is(bought: Bought) -> None:
    result, progress = shown_with("manifest"), shown_with("seconds_left")

    assert list(bought.result) == list(result)
    assert list(bought.result["objects"][0]) == list(result["objects"][0])
    assert list(bought.progress) == list(progress)
    documented = set(described(DOCS / "results.md", "Key"))
    assert {*result, *progress} - {"schema_version", "currency"} <= documented


def test_the_ledgers_page_describes_every_column_and_no_other(bought: Bought) -> None:
    columns = set(described(DOCS / "howto" / "ledger.md", "Column"))

    assert len(bought.ledger) == 4
    assert all(set(line) == columns for line in bought.ledger)


def test_the_queries_on_the_ledgers_page_answer_and_leave_no_formula_in_a_csv_file(
    bought: Bought, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in bought.objects.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    queries = [block.replace(f"s3://my-bucket/{PREFIX}/", "") for block in blocks(DOCS / "howto" / "ledger.md", "sql")]

    by_status, without_picture, newest = (duckdb.sql(query).fetchall() for query in queries[:3])
    duckdb.sql(queries[3])

    assert by_status == [("copied", 4, pytest.approx(bought.result["cost"]))]
    assert without_picture == []
    assert newest == [("copied", 4)]
    with (tmp_path / "catalogue.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["uri"] == bought.result["objects"][0]["uri"]
    assert lines[3]["prompt"] == "'=SUM(A1:A9)"


def test_the_results_page_shows_what_a_plan_returns(
    apimart_connection: str, aws_connection: str, bucket: str, s3_server: SeaweedFS
) -> None:
    shown = shown_with("plan_only")
    rows = [json.loads(line) for line in text_with("{").splitlines()]

    plan = TaskInstance().run(
        lambda: ApimartImageDatasetOperator(
            task_id="generate",
            prompts=rows,
            s3_bucket=bucket,
            columns=["sku"],
            plan_only=True,
            apimart_conn_id=apimart_connection,
            aws_conn_id=aws_connection,
        )
    )

    assert list(plan) == list(shown)
    assert list(plan["by_kind"][0]) == list(shown["by_kind"][0])
    assert list(plan["rows"][0]) == list(shown["rows"][0])
    assert set(shown) - {"schema_version", "currency"} <= set(described(DOCS / "results.md", "Key"))
    assert s3_server.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_the_ledgers_page_shows_the_columns_of_an_export(bought: Bought, s3_server: SeaweedFS, tmp_path: Path) -> None:
    bucket = bought.result["images"].split("/")[2]
    shown = re.search(r"^\['image', .*\]$", (DOCS / "howto" / "ledger.md").read_text(encoding="utf-8"), re.MULTILINE)

    exported = export_pictures(LedgerStore(s3_server.client(), bucket, PREFIX), tmp_path)

    lines = [json.loads(line) for line in exported.metadata.read_text(encoding="utf-8").splitlines()]
    assert shown is not None
    assert ["image", *lines[0]] == ["image", "file_name", *json.loads(shown[0].replace("'", '"'))[1:]]
    assert len(lines) == 4
