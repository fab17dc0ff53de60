"""DAGs as Airflow's users write them, run by Airflow."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from services.plain_gateway import picture_bytes

from airflow_provider_apimart.exceptions import ApimartError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.airflow_task import AirflowTask
    from services.plain_gateway import PlainGateway
    from services.seaweedfs import SeaweedFS

    Copy = Callable[..., dict[str, Any]]
    Describe = Callable[..., Callable[[], Any]]
    Stored = Callable[[], dict[str, bytes]]

DAGS = Path(__file__).parent / "dags"
BUNDLE = "dags-folder"


@pytest.fixture
def run_dag(
    airflow_database: None,  # noqa: ARG001 - it must be there
    direct: str,  # noqa: ARG001 - and so must the connections
    aws_connection: str,  # noqa: ARG001
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], dict[str, Any]]:
    """Run a DAG to its end, and return its task instances by task and map index."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    monkeypatch.setenv("AIRFLOW_VAR_APIMART_BUCKET", bucket)

    def run(dag_id: str) -> dict[str, Any]:
        DagBundlesManager().sync_bundles_to_db()
        bag = BundleDagBag(dag_folder=DAGS / f"{dag_id}.py", bundle_path=DAGS, bundle_name=BUNDLE)
        assert bag.import_errors == {}
        sync_bag_to_db(bag, BUNDLE, None)
        finished = bag.dags[dag_id].test()
        return {f"{ti.task_id}[{ti.map_index}]": ti for ti in finished.get_task_instances()}

    return run


def keys_below(stored: Stored, folder: str) -> list[str]:
    return [key for key in stored() if key.startswith(folder)]


def test_sources_of_all_forms_are_copied(
    run_dag: Callable[[str], dict[str, Any]], gateway: PlainGateway, stored: Stored
) -> None:
    states = {name: ti.state for name, ti in run_dag("sources").items()}

    assert set(states.values()) == {"success"}
    assert {name: len(keys_below(stored, f"sources/{name}/")) for name in ("a_list", "a_tuple", "nested")} == {
        "a_list": 3,
        "a_tuple": 3,
        "nested": 3,
    }
    assert len(keys_below(stored, "sources/ids/")) == 2
    assert len(keys_below(stored, "sources/ids_and_results/")) == 3
    assert len(gateway.purchases) == 3


def test_sources_of_mapped_tasks_are_copied_zipped_or_not(
    run_dag: Callable[[str], dict[str, Any]], gateway: PlainGateway, stored: Stored
) -> None:
    states = {name: ti.state for name, ti in run_dag("zips").items()}

    assert set(states.values()) == {"success"}
    assert len(keys_below(stored, "zips/zipped/")) == 4
    assert len(keys_below(stored, "zips/mapped/")) == 2
    assert len(gateway.purchases) == 4


def test_keys_come_from_tasks_and_from_the_arguments_of_mapped_groups(
    run_dag: Callable[[str], dict[str, Any]], stored: Stored
) -> None:
    states = {name: ti.state for name, ti in run_dag("keys").items()}

    assert set(states.values()) == {"success"}
    assert sorted(key.partition("/")[0] for key in stored()) == ["chosen", "group-1", "group-2"]


def test_values_are_rendered_natively_and_as_text(
    run_dag: Callable[[str], dict[str, Any]], gateway: PlainGateway
) -> None:
    states = {name: ti.state for name, ti in run_dag("native").items()}

    assert set(states.values()) == {"success"}
    bodies = {purchase.prompt: purchase.call.body for purchase in gateway.purchases}
    assert bodies["1984"]["seed"] == 7
    assert bodies["a collage"]["image_urls"] == ["https://pictures.example/1.png", "https://pictures.example/2.png"]


def test_mistakes_fail_at_the_first_try_and_buy_nothing(
    run_dag: Callable[[str], dict[str, Any]], gateway: PlainGateway
) -> None:
    instances = {name: ti for name, ti in run_dag("mistakes").items() if not name.startswith("nothing")}

    assert {name: (ti.state, ti.try_number) for name, ti in instances.items()} == dict.fromkeys(
        ("mapped_size[0]", "mapped_number[0]", "mapped_prompt[0]", "no_prompt[-1]", "no_number[-1]"), ("failed", 1)
    )
    assert gateway.calls == []


class TestAParameter:
    @pytest.mark.parametrize("name", ["timeout", "poll_interval", "initial_delay"])
    @pytest.mark.parametrize("value", [timedelta(seconds=5), "5", " 5.0 ", 5])
    def test_that_is_a_time_takes_every_usual_form(
        self, direct: str, airflow_task: AirflowTask, image_operator: Describe, name: str, value: Any
    ) -> None:
        trigger = airflow_task.run_until_deferred(
            image_operator(lambda: {name: value}, apimart_conn_id=direct, prompt="a kite")
        )

        assert trigger.poll_interval == (5 if name == "poll_interval" else 0.1)

    @pytest.mark.parametrize(
        ("field", "value", "sent"),
        [
            ("prompt", 1984, "1984"),
            ("prompt", 19.84, "19.84"),
            ("extra_body", '{"seed": 7}', 7),
            ("image_urls", '["https://pictures.example/a.png"]', ["https://pictures.example/a.png"]),
            ("image_urls", "https://pictures.example/a.png", ["https://pictures.example/a.png"]),
            ("image_urls", ("https://pictures.example/a.png",), ["https://pictures.example/a.png"]),
            ("n", "1", 1),
            ("n", 1.0, 1),
        ],
    )
    def test_of_a_request_takes_what_templates_render_to(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        field: str,
        value: Any,
        sent: Any,
    ) -> None:
        airflow_task.run_until_deferred(image_operator(lambda: {field: value}, apimart_conn_id=direct))

        assert gateway.calls[0].body.get("seed" if field == "extra_body" else field) == sent

    @pytest.mark.parametrize("value", [None, [], {"text": "a kite"}, True])
    def test_that_cannot_be_a_prompt_is_one_clear_error(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, value: Any
    ) -> None:
        with pytest.raises(InvalidRequestError, match="prompt") as caught:
            airflow_task.run(image_operator(lambda: {"prompt": value}, apimart_conn_id=direct))

        assert not caught.value.retryable
        assert gateway.calls == []


class TestAKeyTemplate:
    @pytest.mark.parametrize("make", ["literal", "path", "task"])
    def test_that_is_no_text_is_no_mistake_when_the_dag_is_parsed(self, make: str) -> None:
        from airflow.sdk import DAG, literal, task

        from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

        with DAG("a_dag", schedule=None):
            key = {
                "literal": lambda: literal("{task_id}-{index}.{ext}"),
                "path": lambda: PurePosixPath("folder") / "{task_id}-{index}.{ext}",
                "task": task(lambda: "{task_id}-{index}.{ext}", task_id="key"),
            }[make]()

            ApimartToS3Operator(task_id="copy", source=["task_1"], s3_bucket="a-bucket", s3_key=key)

    @pytest.mark.parametrize(
        "given",
        [
            {"s3_key": "{index:{ext}}"},
            {"s3_key": "{index!r}-{task_id}.{ext}"},
            {"s3_key": "{task_id.__class__}-{index}.{ext}"},
            {"s3_key": "s3://another-bucket/{task_id}-{index}.{ext}"},
            {"s3_bucket": "s3://"},
        ],
        ids=json.dumps,
    )
    def test_that_is_a_mistake_is_refused_when_the_dag_is_parsed(self, given: dict[str, str]) -> None:
        from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

        with pytest.raises(InvalidRequestError, match=next(iter(given))):
            ApimartToS3Operator(task_id="copy", source=["task_1"], **{"s3_bucket": "a-bucket", **given})


class TestTheConnection:
    @pytest.mark.parametrize(
        ("misspelt", "meant"),
        [("max_concurency", "max_concurrency"), ("submitpath", "submit_path"), ("batch_poling", "batch_polling")],
    )
    def test_that_has_a_misspelt_field_is_warned_of(  # fixtures
        self,
        gateway: PlainGateway,
        connect: Callable[..., str],
        airflow_task: AirflowTask,
        image_operator: Describe,
        capsys: pytest.CaptureFixture[str],
        misspelt: str,
        meant: str,
    ) -> None:
        connect(gateway.url, **{misspelt: "3"})

        airflow_task.run(image_operator())

        told = capsys.readouterr().out
        assert misspelt in told
        assert meant in told

    @pytest.mark.parametrize(
        ("uri", "base_url"),
        [
            ("apimart://:k@[::1]:8080", "http://[::1]:8080"),
            ("apimart://:k@[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("apimart://:k@api.apimart.ai", "https://api.apimart.ai"),
            ("apimart://:k@api.apimart.ai:8443", "https://api.apimart.ai:8443"),
        ],
    )
    def test_may_be_a_uri(self, monkeypatch: pytest.MonkeyPatch, uri: str, base_url: str) -> None:
        from airflow_provider_apimart.hooks.apimart import ApimartHook

        monkeypatch.setenv("AIRFLOW_CONN_BY_URI", uri)

        with ApimartHook("by_uri") as hook:
            assert hook.settings.base_url.partition("//")[2] == base_url.partition("//")[2]
            assert hook.settings.api_key == "k"


@pytest.mark.usefixtures("aws_connection")
class TestAReferenceImage:
    @pytest.fixture(params=["path", "text", "s3"])
    def reference(self, request: pytest.FixtureRequest, tmp_path: Path, s3_server: SeaweedFS, bucket: str) -> Any:
        file = tmp_path / "reference.png"
        file.write_bytes(picture_bytes())
        if request.param == "s3":
            s3_server.client().put_object(Bucket=bucket, Key="reference.png", Body=picture_bytes())
        return {
            "path": file,
            "text": str(file),
            "s3": f"s3://{bucket}/reference.png",
        }[request.param]

    def test_is_uploaded_once_as_the_dataset_operator_does(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, reference: Any
    ) -> None:
        uploads = itertools.count()
        gateway.reshape("upload", lambda body: {**body, "number": next(uploads)}, times=9)
        make = image_operator(apimart_conn_id=direct, image_urls=[reference, "https://pictures.example/a.png"])
        airflow_task.run_until_deferred(make)
        airflow_task.begin_retry()
        airflow_task.run(make)

        (purchase,) = gateway.purchases
        uploaded, other = purchase.call.body["image_urls"]
        assert uploaded.startswith(f"{gateway.url}/uploads/")
        assert other == "https://pictures.example/a.png"
        assert next(uploads) == 1

    @pytest.mark.parametrize(
        "reference", ["/nowhere/reference.png", "s3://no-such-bucket/reference.png"], indirect=False
    )
    def test_that_cannot_be_read_buys_nothing(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        reference: str,
    ) -> None:
        with pytest.raises(ApimartError) as caught:
            airflow_task.run(image_operator(apimart_conn_id=direct, image_urls=[reference]))

        assert caught.value.charged == "no"
        assert gateway.calls == []


def test_a_retry_policy_of_the_user_wins() -> None:
    pytest.importorskip("airflow.sdk.definitions.retry_policy")
    from airflow.sdk import DAG
    from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy

    from airflow_provider_apimart.operators.image import ApimartImageOperator
    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    own = ExceptionRetryPolicy(rules=[])
    with DAG("a_dag", schedule=None, default_args={"retry_policy": own}):
        image = ApimartImageOperator(task_id="image", prompt="a kite")
        copy = ApimartToS3Operator(task_id="copy", source=["task_1"], s3_bucket="a-bucket")
        mapped = ApimartImageOperator.partial(task_id="mapped").expand(prompt=["a kite"])

    assert image.retry_policy is own
    assert copy.retry_policy is own
    assert mapped.partial_kwargs["retry_policy"] is own
