"""A ledger that release 0.1 has written is continued: nothing is bought twice, and nothing paid for is lost."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from laws.datasets.dataset_task import PREFIX, DatasetTask

from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.datasets.dataset_task import Dataset

    RunOf = Callable[..., DatasetTask]

#: As 0.1 has left it: sku-0 bought twice, sku-2 with three pictures, sku-3 failed, sku-4 of unknown outcome, sku-5 in
#: flight.
FILES = Path(__file__).parent / "ledger_of_0_1"
ROWS: list[dict[str, Any]] = [{"id": f"sku-{number}", "prompt": f"picture {number}"} for number in range(6)]
ROWS[2]["n"] = 3
#: What the gateway has accepted, in this order.
BOUGHT = [0, 1, 2, 2, 2, 0, 3, 4, 5]
UNKNOWN_KEY = "airflow-88c6937ca089c14acd8dc36ba585abfa3973841742865ead"
SIX = "picture 0", "picture 1", "picture 2", "picture 3", "picture 4", "picture 5"

pytestmark = pytest.mark.usefixtures("leaves_soon")


@pytest.fixture(params=[timedelta(minutes=20), timedelta(hours=5)], ids=str)
def old(request: pytest.FixtureRequest, dataset: Dataset) -> dict[str, bytes]:
    """Put the ledger into the bucket as it was some time after its last line, and the tasks into the gateway."""
    text = "".join(path.read_text() for path in FILES.rglob("*.jsonl"))
    newest = max(map(datetime.fromisoformat, re.findall(r'"(20\d\d-[^"]+Z)"', text)))
    shift = datetime.now(UTC) - request.param - newest

    def shifted(found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[1]) + shift
        return f'"{moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")}"'

    for path in FILES.rglob("*.jsonl"):
        content = re.sub(r'"(20\d\d-[^"]+Z)"', shifted, path.read_text()).replace("the-bucket", dataset.bucket)
        dataset.put(f"{PREFIX}/ledger/{path.relative_to(FILES)}", content)
    for number in BOUGHT:
        body = {"model": "gpt-image-2", "prompt": f"picture {number}", "n": 1}
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": UNKNOWN_KEY} if number == 4 else {})}
        request_ = Request(f"{dataset.gateway.url}/v1/images/generations", json.dumps(body).encode(), headers)  # noqa: S310
        urlopen(request_).close()  # noqa: S310
    return {key: dataset.body(key) for key in dataset.keys()}  # noqa: SIM118 - not a mapping


def test_is_continued(dataset: Dataset, run_of: RunOf, old: dict[str, bytes]) -> None:
    with pytest.raises(ApimartError, match="sku-4"):
        run_of("friday").run(dataset.operator(ROWS))

    assert [dataset.bought[prompt] for prompt in SIX] == [2, 1, 3, 2, 1, 1]
    assert {line["id"]: line["status"] for line in dataset.table() if line["generation"] == 0} == {
        "sku-0": "copied",
        "sku-1": "copied",
        "sku-2": "copied",
        "sku-3": "copied",
        "sku-4": "unanswered",
        "sku-5": "copied",
    }
    assert {key: dataset.body(key) for key in old} == old


@pytest.mark.usefixtures("old")
def test_buys_a_lost_row_again_with_its_old_key(dataset: Dataset, run_of: RunOf) -> None:
    result = run_of("friday").run(dataset.operator(ROWS, on_unknown_submit="resubmit"))

    assert (result["total"], result["done"]) == (8, 8)
    assert UNKNOWN_KEY in dataset.gateway.keys[len(BOUGHT) :]
    assert [dataset.bought[prompt] for prompt in SIX] == [2, 1, 3, 2, 1, 1]


@pytest.mark.usefixtures("old")
def test_has_its_newest_pictures_as_answers(dataset: Dataset, run_of: RunOf) -> None:
    result = run_of("friday").run(dataset.operator(ROWS[:3]))

    assert (result["total"], result["done"], result["bought"]) == (5, 5, 0)
    assert [held["uri"].rpartition("-task_")[2] for held in result["objects"]] == [
        f"{number:026d}-0.png" for number in (6, 2, 3, 4, 5)
    ]


@pytest.mark.usefixtures("old")
def test_is_read_once(dataset: Dataset, run_of: RunOf) -> None:
    run_of("friday").run(dataset.operator(ROWS[:3]))
    dataset.put(f"{PREFIX}/ledger/ledger.jsonl", b"what a worker of 0.1 might write later\n")

    result = run_of("saturday").run(dataset.operator(ROWS[:3]))

    assert (result["done"], result["bought"]) == (5, 0)


@pytest.mark.parametrize("broken", [b"{}\n", b"\xff\xfe\n", b'{"schema_version": 1, "id": "sku-1"}\n'])
def test_that_cannot_be_read_buys_nothing(dataset: Dataset, run_of: RunOf, broken: bytes) -> None:
    dataset.put(f"{PREFIX}/ledger/ledger.jsonl", broken)

    with pytest.raises(ApimartError, match="line 1"):
        run_of("friday").run(dataset.operator(ROWS))

    assert dataset.gateway.calls == []
