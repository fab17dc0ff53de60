"""Which buttons a task has, what it finds out for them, and how often Airflow is given them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from operators.task_instance import TaskInstance

from airflow_provider_apimart.decorators.images import images_task
from airflow_provider_apimart.exceptions import InvalidRequestError, RecordUnavailableError
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.provider_info import get_provider_info
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator
    from services.gateway_clock import GatewayClock

    from airflow_provider_apimart.simulator import Simulator

IMAGE = ["Pictures", "Vendor's console"]
DATASET = ["Pictures", "S3 folder", "Vendor's console"]
TRANSFER = ["Pictures", "S3 folder"]


def rows(day: str) -> list[str]:
    return [f"The harbour on {day}"]


@pytest.fixture
def public_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that nobody must ask: its address leads nowhere."""
    connection = {"conn_type": "apimart", "host": "https://gateway.invalid", "password": "sk-a-key"}
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))


@pytest.fixture
def aws_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS itself, behind a proxy that does not answer."""
    config = {"proxies": {"https": "http://127.0.0.1:9"}, "retries": {"total_max_attempts": 1}}
    connection = {
        "conn_type": "aws",
        "login": "access",
        "password": "secret",
        "extra": {"region_name": "eu-central-1", "config_kwargs": config},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))


def links_of(operator: BaseOperator) -> dict[str, str]:
    """Return what Airflow keeps when a worker is done with an operator."""
    ti_key: Any = TaskInstance()
    return {link.name: link.get_link(operator, ti_key=ti_key) for link in operator.operator_extra_links}


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: ApimartImageOperator(task_id="a", prompt="A red kite"), IMAGE),
        (lambda: ApimartImageOperator.partial(task_id="a").expand(prompt=["A red kite"]), IMAGE),
        (lambda: ApimartImageDatasetOperator(task_id="a", prompts=[], s3_bucket="b"), DATASET),
        (lambda: ApimartToS3Operator(task_id="a", source="task_1", s3_bucket="b"), TRANSFER),
        (lambda: images_task(rows, task_id="a", s3_bucket="b")("2025-11-03"), DATASET),
        (lambda: images_task(rows, task_id="a", s3_bucket="b").expand(day=["2025-11-03"]), DATASET),
    ],
    ids=["image", "mapped image", "dataset", "transfer", "function", "mapped function"],
)
def test_airflow_knows_the_buttons_of_every_task(make: Callable[[], Any], names: list[str]) -> None:
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("a_dag", schedule=None) as dag:
        make()

    (task,) = DagSerialization.from_dict(DagSerialization.to_dict(dag)).tasks
    assert sorted(task.extra_links) == names


def test_the_provider_names_the_class_of_every_button() -> None:
    operators = (ApimartImageOperator, ApimartImageDatasetOperator, ApimartToS3Operator)
    classes = {type(link) for operator in operators for link in operator.operator_extra_links}

    assert get_provider_info()["extra-links"] == sorted(f"{each.__module__}.{each.__name__}" for each in classes)


@pytest.mark.parametrize(
    ("operator", "parameters"),
    [
        (ApimartImageOperator, {"prompt": "A red kite"}),
        (ApimartImageDatasetOperator, {"prompts": [], "s3_bucket": "b"}),
        (ApimartToS3Operator, {"source": "task_1", "s3_bucket": "b"}),
    ],
)
def test_a_task_that_has_found_out_nothing_leads_to_its_pictures_only(
    operator: type[BaseOperator], parameters: dict[str, Any]
) -> None:
    found = links_of(operator(task_id="a", **parameters))

    assert found.pop("Pictures")
    assert set(found.values()) == {""}


@pytest.mark.usefixtures("public_gateway")
def test_a_purchase_that_is_refused_before_it_is_sent_leads_to_the_console() -> None:
    operator = ApimartImageOperator(task_id="a", prompt="A red kite", size="{{ ratio }}")
    operator.size = "17:1"

    with pytest.raises(InvalidRequestError):
        operator.execute(TaskInstance().context)

    assert links_of(operator)["Vendor's console"] == "https://apimart.ai"


@pytest.mark.usefixtures("public_gateway", "aws_out_of_reach")
def test_a_dataset_leads_to_its_folder_and_to_the_console_before_anything_is_bought() -> None:
    operator = ApimartImageDatasetOperator(
        task_id="a", prompts=["A red kite"], s3_bucket="pictures", s3_prefix="/kites/"
    )

    with pytest.raises(RecordUnavailableError):
        operator.execute(TaskInstance().context)

    assert links_of(operator) == {
        "Pictures": "/dags/a_dag/runs/a_run/tasks/a_task/plugin/apimart-images",
        "S3 folder": "https://console.aws.amazon.com/s3/buckets/pictures?region=eu-central-1&prefix=kites/",
        "Vendor's console": "https://apimart.ai",
    }


@pytest.mark.usefixtures("public_gateway", "aws_out_of_reach")
def test_a_transfer_leads_to_the_folder_of_its_keys() -> None:
    operator = ApimartToS3Operator(
        task_id="a", source={"images": []}, s3_bucket="pictures", s3_key="shots/{task_id}/{index}.{ext}"
    )

    operator.execute(TaskInstance().context)

    folder = "https://console.aws.amazon.com/s3/buckets/pictures?region=eu-central-1&prefix=shots/"
    assert links_of(operator)["S3 folder"] == folder


def run_with_a_deferral(make: Callable[[], Any], gateway_clock: GatewayClock) -> None:
    """Run a try whose pictures are finished between two workers."""
    task_instance = TaskInstance()
    trigger = task_instance.run_until_deferred(make)
    gateway_clock.finish_everything()
    task_instance.resume(make, task_instance.event_of(trigger))


class TestWhatTheFirstWorkerOfATryHasLinked:
    """Airflow keeps it through a deferral, and gets nothing in its place from the workers that go on."""

    @pytest.fixture
    def simulator(self, unhurried_simulator: Simulator) -> Simulator:
        return unhurried_simulator

    def test_stays_after_a_purchase(self, apimart_connection: str, gateway_clock: GatewayClock) -> None:
        made: list[ApimartImageOperator] = []

        def make() -> ApimartImageOperator:
            brisk: dict[str, Any] = {"initial_delay": 0, "poll_interval": 0.2, "apimart_conn_id": apimart_connection}
            made.append(ApimartImageOperator(task_id="a", prompt="A red kite", **brisk))
            return made[-1]

        run_with_a_deferral(make, gateway_clock)

        assert [len(operator.operator_extra_links) for operator in made] == [2, 0]

    @pytest.mark.usefixtures("apimart_connection", "aws_connection")
    def test_stays_after_a_dataset(self, bucket: str, gateway_clock: GatewayClock) -> None:
        made: list[ApimartImageDatasetOperator] = []

        def make() -> ApimartImageDatasetOperator:
            brisk: dict[str, Any] = {"initial_delay": 0, "poll_interval": 0.2, "s3_prefix": "kites"}
            made.append(ApimartImageDatasetOperator(task_id="a", prompts=["A red kite"], s3_bucket=bucket, **brisk))
            return made[-1]

        run_with_a_deferral(make, gateway_clock)

        assert [len(operator.operator_extra_links) for operator in made] == [3, 0]

    @pytest.mark.parametrize(
        ("operator", "parameters"),
        [
            (ApimartImageOperator, {"prompt": "A red kite"}),
            (ApimartImageDatasetOperator, {"prompts": ["A red kite"], "s3_bucket": "b"}),
        ],
    )
    @pytest.mark.usefixtures("public_gateway", "aws_out_of_reach")
    def test_stays_after_a_crash_of_the_trigger(self, operator: type[BaseOperator], parameters: dict[str, Any]) -> None:
        from airflow.sdk.exceptions import TaskDeferralError

        fresh = operator(task_id="a", **parameters)
        links = type(fresh).operator_extra_links

        with pytest.raises(TaskDeferralError):
            fresh.resume_execution("__fail__", {"error": "Trigger failure"}, TaskInstance().context)

        assert list(fresh.operator_extra_links) == []
        assert list(operator.operator_extra_links) == list(links) != []
