"""What the pages show is true: their code runs, and what they list is what there is."""

from __future__ import annotations

import asyncio
import inspect
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import set_current_context
from docs.pages import DOCS, PAGES, blocks, described, run_page
from PIL import Image

from airflow_provider_apimart import exceptions
from airflow_provider_apimart.assets import images_extra
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.task import Task
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.operators.record import PurchasePart, PurchasePhase, PurchaseRecord, describe_request
from airflow_provider_apimart.operators.result import TaskOutcomes, build_image_result, describe_purchase
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator
from airflow_provider_apimart.transfers.keys import stable_prefix
from airflow_provider_apimart.transfers.source import read_source
from airflow_provider_apimart.transfers.stored_objects import object_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_apimart.simulator import Simulator

PYTHON_PAGES = [pytest.param(page, id=page.name) for page in PAGES if blocks(page, "python")]
JSON_BLOCKS = [pytest.param(block, id=page.name) for page in PAGES for block in blocks(page, "json")]

pytestmark = pytest.mark.usefixtures("apimart_connection")


@pytest.fixture(autouse=True)
def _reference_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "reference.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_the_python_on_a_page_runs(page: Path) -> None:
    assert run_page(page)


@pytest.mark.parametrize("block", JSON_BLOCKS)
def test_the_json_on_a_page_is_json(block: str) -> None:
    assert json.loads(block)


def test_the_tasks_on_the_hooks_page_do_what_it_says(simulator: Simulator) -> None:
    page = run_page(DOCS / "howto" / "hook.md")

    seen = page["look_around"].function()
    with set_current_context({"run_id": "manual__1"}):  # type: ignore[typeddict-item]
        bought, again = page["buy"].function("A red kite"), page["buy"].function("A red kite")

    assert seen["estimate"] == pytest.approx(4 * 0.014)
    assert seen["reference"].startswith(simulator.url)
    assert bought == again
    assert simulator.stats()["submits"] == {"received": 2, "accepted": 1, "replayed": 1, "refused": 0, "dropped": 0}
    assert set(page["query"].function(bought)) == set(bought)
    assert len(asyncio.run(page["states"](bought))) == 1


def test_the_hooks_page_names_every_method_of_the_hook() -> None:
    text = (DOCS / "howto" / "hook.md").read_text(encoding="utf-8")
    inherited = {"close", "aclose"}
    forms = {"get_connection_form_widgets", "get_ui_field_behaviour"}
    methods = {name for name in vars(ApimartHook) if not name.startswith("_") and callable(getattr(ApimartHook, name))}

    assert {name for name in methods - inherited - forms if f"`{name}" not in text} == set()


@pytest.mark.parametrize(
    ("operator", "page"),
    [
        (ApimartImageOperator, "image.md"),
        (ApimartImageDatasetOperator, "datasets.md"),
        (ApimartToS3Operator, "transfer.md"),
    ],
)
def test_the_page_of_an_operator_describes_every_parameter_and_no_other(operator: type, page: str) -> None:
    parameters = {
        name
        for cls in operator.__mro__
        if cls.__module__.startswith("airflow_provider_apimart.")
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }

    assert set(described(DOCS / "howto" / page, "Parameter")) == parameters


def concrete_errors() -> Iterator[type[exceptions.ApimartError]]:
    bases = {"ApimartError", "GatewayError", "TaskError"}
    for name in exceptions.__all__:
        value = getattr(exceptions, name)
        if isinstance(value, type) and name not in bases:
            yield value


def test_the_errors_page_tells_of_every_error_whether_it_is_charged_and_retried() -> None:
    told = {name: row[1:3] for name, row in described(DOCS / "errors.md", "Error").items()}

    assert told == {
        error.__name__: [error.default_charged, "yes" if error.default_retryable else "no"]
        for error in concrete_errors()
    }


def test_the_results_page_shows_what_the_operator_returns() -> None:
    shown = json.loads(blocks(DOCS / "results.md", "json")[0])
    task = Task.from_json(
        {
            "id": shown["task_ids"][0],
            "status": "completed",
            "cost": 0.0085,
            "credits_cost": 0.085,
            "created": 1776748674,
            "completed": 1776748726,
            "actual_time": 52,
            "result": {"images": [{"url": [shown["images"][0]["url"]], "expires_at": 1776835126}]},
        }
    )

    request = ImageRequest(prompt=shown["prompt"], model="gpt-image-2", size="3:2")

    record = PurchaseRecord(
        generation=0,
        fingerprint="",
        parts=(PurchasePart(PurchasePhase.ACCEPTED, n=request.n, task_ids=(task.task_id,)),),
        request=describe_request(request),
        gateway=str(Gateway.APIMART),
    )

    result, _ = build_image_result(record, TaskOutcomes({task.task_id: task}), waited=0, now=0)

    assert shown == result


def test_the_assets_page_shows_what_the_events_of_these_results_say() -> None:
    result, transferred = map(json.loads, blocks(DOCS / "results.md", "json")[:2])
    purchase, images = map(json.loads, blocks(DOCS / "howto" / "assets.md", "json"))
    (held,) = transferred["objects"]

    assert purchase == describe_purchase(result, connection="apimart_default", now=0)
    assert images == images_extra(
        prefix="s3://apimart-pictures/products",
        connection="apimart_default",
        aws_connection="aws_default",
        count=1,
        task_ids=transferred["task_ids"],
        models=[held["model"]],
        cost=transferred["cost"],
        credits_cost=transferred["credits_cost"],
        images=[held],
    )


def test_money_that_is_added_up_as_the_assets_page_says_counts_each_purchase_once() -> None:
    page = run_page(DOCS / "howto" / "assets.md")
    (shown, _) = map(json.loads, blocks(DOCS / "howto" / "assets.md", "json"))
    unknown = [{"model": "gpt-image-2", "delivered": 1, "cost": 0.0, "unknown": 1}]
    told = [shown, {**shown, "purchase": "another", "models": unknown}, shown]

    summed = page["add_up"].function(inlet_events={page["PURCHASES"]: [SimpleNamespace(extra=it) for it in told]})

    assert summed == {"delivered": 2, "cost": 0.0085, "calls_of_unknown_cost": 1}


def test_the_results_page_shows_what_an_object_repeats_of_its_result() -> None:
    result, transferred = map(json.loads, blocks(DOCS / "results.md", "json")[:2])
    (picture,) = read_source(result).pictures

    assert dict(picture.known).items() <= transferred["objects"][0].items()


def test_the_assets_page_describes_every_key_of_an_event() -> None:
    purchase, images = map(json.loads, blocks(DOCS / "howto" / "assets.md", "json"))
    named = {part for row in described(DOCS / "howto" / "assets.md", "Key") for part in row.split(".")[-1:]}
    obvious = {"schema_version", "kind", "currency", "models", "images"}

    assert {*purchase, *images} - obvious <= named


@pytest.mark.parametrize(
    ("s3_key", "address"), [(key, row[0]) for key, row in described(DOCS / "howto" / "assets.md", "`s3_key`").items()]
)
def test_the_assets_page_says_which_folder_a_transfer_fills(s3_key: str, address: str) -> None:
    with DAG("my_dag", schedule=None) as dag:
        prefix = stable_prefix(s3_key)

    rendered = dag.get_template_env().from_string(prefix).render(dag=dag)
    assert f"s3://bucket/{rendered}".rstrip("/") == address.strip("`")


def test_the_results_page_names_the_metadata_of_an_object() -> None:
    shown = json.loads(blocks(DOCS / "results.md", "json")[0])
    (picture,) = read_source(shown).pictures

    metadata = object_metadata(picture, size=1, sha256="", width=1, height=1, writer="")

    assert set(metadata) <= set(described(DOCS / "results.md", "Key"))


def test_the_simulator_accepts_the_fault_rules_on_its_page(simulator: Simulator) -> None:
    shown = [json.loads(block) for block in blocks(DOCS / "simulator.md", "json") if '"fault"' in block]

    simulator.add_fault(*(rule for block in shown for rule in (block if isinstance(block, list) else [block])))

    assert [rule["fault"] for rule in simulator.faults()] == [
        "drop_answer",
        "refuse",
        "task_moderated",
        "image_truncated",
        "batch_missing",
    ]


def test_the_simulators_page_shows_its_statistics(simulator: Simulator) -> None:
    (shown,) = (json.loads(block) for block in blocks(DOCS / "simulator.md", "json") if '"submits"' in block)
    counted = simulator.stats()

    assert set(shown) == set(counted)
    assert [set(shown[name]) for name in ("requests", "submits")] == [
        set(counted[name]) for name in ("requests", "submits")
    ]
