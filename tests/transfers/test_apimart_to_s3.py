"""The transfer against the simulator and a real S3 server."""

from __future__ import annotations

import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_apimart.exceptions import ConfigurationError, InvalidRequestError, TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.task_instance import TaskInstance
    from transfers.conftest import Store

    from airflow_provider_apimart.simulator import Simulator

    Generate = Callable[..., dict[str, Any]]
    Copy = Callable[..., dict[str, Any]]


class TestACopy:
    @pytest.mark.parametrize(
        ("output_format", "ext", "content_type"),
        [("png", "png", "image/png"), ("jpeg", "jpg", "image/jpeg"), ("webp", "webp", "image/webp")],
    )
    def test_is_described_as_documented_and_holds_the_picture(  # fixtures
        self,
        generate: Generate,
        copy: Copy,
        store: Store,
        output_format: str,
        ext: str,
        content_type: str,
    ) -> None:
        source = generate(model="gpt-image-2-official", size="3:2", quality="low", output_format=output_format)

        result = copy(source)

        (task_id,) = source["task_ids"]
        key = f"pictures/{task_id}-0.{ext}"
        body = store.body(key)
        assert result == {
            "schema_version": 1,
            "task_ids": [task_id],
            "cost": source["cost"],
            "credits_cost": source["credits_cost"],
            "bytes": len(body),
            "objects": [
                {
                    "task_id": task_id,
                    "index": 0,
                    "uri": f"s3://{store.name}/{key}",
                    "bytes": len(body),
                    "sha256": hashlib.sha256(body).hexdigest(),
                    "content_type": content_type,
                    "width": 1536,
                    "height": 1024,
                    "outcome": "copied",
                    "prompt": "a lighthouse at dawn",
                    "model": "gpt-image-2-official",
                    "size": "3:2",
                    "quality": "low",
                    "cost": source["cost"],
                    "seconds": source["tasks"][0]["actual_time"],
                }
            ],
        }
        assert Image.open(io.BytesIO(body)).size == (1536, 1024)

    def test_carries_content_type_checksum_and_the_facts_of_its_making(
        self, generate: Generate, copy: Copy, store: Store
    ) -> None:
        source = generate()

        copy(source, extra_args={"Metadata": {"campaign": "spring"}, "CacheControl": "max-age=60"})

        (key,) = store.keys()
        head = store.client.head_object(Bucket=store.name, Key=key, ChecksumMode="ENABLED")
        metadata = head["Metadata"]
        digest = hashlib.sha256(store.body(key)).digest()
        assert head["ContentType"] == "image/png"
        assert head["CacheControl"] == "max-age=60"
        assert head["ChecksumSHA256"] == base64.b64encode(digest).decode()
        assert metadata["sha256"] == digest.hex()
        assert metadata["apimart-task-id"] == source["task_ids"][0]
        assert metadata["apimart-model"] == "gpt-image-2"
        assert metadata["apimart-cost"] == "0.0085"
        assert metadata["campaign"] == "spring"

    def test_never_shows_the_api_key_to_the_image_host(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        copy(generate())

        assert simulator.stats()["images_served"] == 1
        assert simulator.stats()["image_requests_with_authorization"] == 0

    def test_takes_the_results_of_a_mapped_task_and_counts_each_cost_once(
        self, generate: Generate, copy: Copy, store: Store
    ) -> None:
        sources = [generate(n=2), None, generate()]

        result = copy(sources)

        assert len(store.keys()) == len(result["objects"]) == 3
        assert result["cost"] == 0.0255
        assert result["bytes"] == sum(held["bytes"] for held in result["objects"])

    def test_takes_plain_task_ids(self, generate: Generate, copy: Copy, store: Store) -> None:
        source = generate(n=2)

        result = copy(source["task_ids"])

        assert result["task_ids"] == source["task_ids"]
        assert result["cost"] == source["cost"]
        assert len(store.keys()) == 2

    def test_has_no_cost_where_one_of_them_is_not_known(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        known = generate()
        simulator.add_fault({"fault": "missing_cost"})

        assert copy([known, generate()])["cost"] is None

    def test_of_nothing_is_nothing(self, copy: Copy) -> None:
        assert copy([])["objects"] == []


class TestASecondCopy:
    def test_leaves_the_same_picture_alone_and_downloads_nothing(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        source = generate(n=2)
        first = copy(source)

        second = copy(source)

        assert [held["outcome"] for held in second["objects"]] == ["skipped", "skipped"]
        assert [held | {"outcome": "copied"} for held in second["objects"]] == first["objects"]
        assert simulator.stats()["images_served"] == 2

    def test_copies_only_what_is_missing(
        self, generate: Generate, copy: Copy, store: Store, simulator: Simulator
    ) -> None:
        source = generate(n=3)
        copy(source)
        store.client.delete_object(Bucket=store.name, Key=store.keys()[1])

        outcomes = [held["outcome"] for held in copy(source)["objects"]]

        assert sorted(outcomes) == ["copied", "skipped", "skipped"]
        assert simulator.stats()["images_served"] == 4

    def test_finds_the_picture_although_its_url_has_expired_and_its_type_was_not_in_the_url(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        source = generate(model="gpt-image-2-official", quality="low", output_format="webp")
        copy(source)
        for image in source["images"]:
            image["url"] = image["url"].replace(".webp", ".png")
        simulator.add_fault({"fault": "image_expired"})

        assert copy(source)["objects"][0]["outcome"] == "skipped"
        assert simulator.stats()["images_served"] == 1

    def test_finds_the_picture_whose_type_shows_only_in_its_bytes(
        self, generate: Generate, copy: Copy, store: Store
    ) -> None:
        source = generate(model="gpt-image-2-official", quality="low", output_format="webp")
        copy(source)
        for image in source["images"]:
            image["url"] = image["url"].replace(".webp", ".png")

        assert copy(source)["objects"][0]["outcome"] == "skipped"
        assert len(store.keys()) == 1

    def test_by_another_task_is_an_error_where_that_is_wanted(
        self, generate: Generate, copy: Copy, task_instance: TaskInstance
    ) -> None:
        source = generate()
        copy(source, on_existing="fail")
        copy(source, on_existing="fail")  # A retry finds its own.
        task_instance.run_id = "another run"

        with pytest.raises(TransferError, match="written by another task"):
            copy(source, on_existing="fail")

    def test_by_another_task_overwrites_where_that_is_wanted(
        self, generate: Generate, copy: Copy, task_instance: TaskInstance
    ) -> None:
        source = generate()
        copy(source)
        task_instance.run_id = "another run"

        assert copy(source, on_existing="overwrite")["objects"][0]["outcome"] == "copied"

    @pytest.mark.parametrize("on_existing", ["skip", "fail"])
    def test_never_replaces_another_object_unasked(
        self, generate: Generate, copy: Copy, store: Store, on_existing: str
    ) -> None:
        source = generate()
        store.put("fixed-key", b"somebody's only copy")

        with pytest.raises(TransferError, match="another object"):
            copy(source, s3_key="fixed-key", on_existing=on_existing)

        assert store.body("fixed-key") == b"somebody's only copy"


class TestAPictureThatCannotBeCopied:
    def test_does_not_keep_the_others_from_it_and_is_named_with_expiry_and_cost(
        self, generate: Generate, copy: Copy, store: Store, simulator: Simulator
    ) -> None:
        source = generate(n=3)
        lost = source["task_ids"][1]
        simulator.add_fault({"fault": "image_expired", "match": {"task_id": lost}})

        with pytest.raises(TransferError) as caught:
            copy(source)

        message = str(caught.value)
        assert len(store.keys()) == 2
        assert f"picture 0 of task {lost} (URL expires: 20" in message
        assert "cost of the task: 0.0085 USD" in message
        assert "HTTP 403" in message
        assert caught.value.charged == "yes"

    def test_is_requested_again_after_a_look_at_the_gateway(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        source = generate()
        asked_before = simulator.stats()["requests"]["task"]
        simulator.add_fault({"fault": "image_expired", "on": "image", "times": 1})

        assert copy(source)["objects"][0]["outcome"] == "copied"
        assert simulator.stats()["requests"]["task"] == asked_before + 1

    def test_is_not_asked_for_again_when_it_came_without_a_task(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        simulator.add_fault({"fault": "submit_shape", "shape": "synchronous"})
        source = generate()
        asked_before = simulator.stats()["requests"]["task"]
        simulator.add_fault({"fault": "image_expired"})

        with pytest.raises(TransferError, match="HTTP 403"):
            copy(source)

        assert simulator.stats()["requests"]["task"] == asked_before

    def test_is_named_when_the_gateway_does_not_list_it_any_more(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        source = generate()
        source["images"][0]["index"] = 7
        simulator.add_fault({"fault": "image_expired"})

        with pytest.raises(TransferError, match="picture 7 of task"):
            copy(source)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            pytest.param({"fault": "image_not_an_image", "body": "html"}, "not a recognised image format", id="HTML"),
            pytest.param({"fault": "image_not_an_image", "body": "json"}, "not a recognised image format", id="JSON"),
            pytest.param({"fault": "image_truncated", "cut": False}, "ends before the picture does", id="short file"),
            pytest.param({"fault": "image_truncated", "cut": True}, "download broke", id="broken connection"),
            pytest.param({"fault": "refuse", "on": "image", "status": 500}, "HTTP 500", id="server error"),
        ],
    )
    def test_leaves_nothing_under_its_key(
        self,
        generate: Generate,
        copy: Copy,
        store: Store,
        simulator: Simulator,
        fault: dict[str, Any],
        reason: str,
    ) -> None:
        source = generate()
        simulator.add_fault(fault)

        with pytest.raises(TransferError, match=reason):
            copy(source)

        assert store.keys() == []

    @pytest.mark.parametrize(
        "fault",
        [{"fault": "image_truncated", "cut": False}, {"fault": "image_truncated", "cut": True}],
        ids=["short file", "broken connection"],
    )
    def test_is_tried_again_at_once_when_it_broke_on_the_way(
        self, generate: Generate, copy: Copy, simulator: Simulator, fault: dict[str, Any]
    ) -> None:
        source = generate()
        simulator.add_fault({**fault, "times": 1})

        assert copy(source)["objects"][0]["outcome"] == "copied"

    def test_is_refused_when_it_is_larger_than_allowed(self, generate: Generate, copy: Copy, store: Store) -> None:
        with pytest.raises(TransferError, match="max_bytes=1000"):
            copy(generate(), max_bytes=1000)

        assert store.keys() == []

    def test_is_named_when_its_task_failed_still_runs_or_is_not_known(
        self, generate: Generate, copy: Copy, simulator: Simulator, store: Store
    ) -> None:
        done = generate()["task_ids"][0]
        simulator.add_fault({"fault": "task_failed", "times": 1})
        with pytest.raises(Exception, match="failed"):
            generate()
        simulator.add_fault({"fault": "never_finishes", "times": 1})
        with pytest.raises(Exception, match="still running"):
            generate(timeout=0.3)
        failed, running = (task["id"] for task in simulator.tasks() if task["id"] != done)

        with pytest.raises(TransferError) as caught:
            copy([done, failed, running, "task_nobody_knows"])

        assert all(name in str(caught.value) for name in (failed, running, "task_nobody_knows"))
        assert len(store.keys()) == 1

    def test_by_its_id_does_not_keep_those_with_a_url_from_it_when_the_gateway_cannot_be_asked(
        self, generate: Generate, copy: Copy, simulator: Simulator, store: Store
    ) -> None:
        by_url, by_id = generate(), generate()
        simulator.add_fault({"fault": "refuse", "on": "task", "status": 401})

        with pytest.raises(TransferError, match=by_id["task_ids"][0]):
            copy([by_url, *by_id["task_ids"]])

        assert store.keys() == [f"pictures/{by_url['task_ids'][0]}-0.png"]

    def test_is_not_called_paid_for_when_its_task_failed_at_no_cost(
        self, generate: Generate, copy: Copy, simulator: Simulator
    ) -> None:
        simulator.add_fault({"fault": "task_failed", "times": 1})
        with pytest.raises(Exception, match="failed"):
            generate()

        with pytest.raises(TransferError) as caught:
            copy(simulator.tasks()[0]["id"])

        assert caught.value.charged == "no"


class TestTheSource:
    @pytest.mark.parametrize(
        "source", [17, {"no": "images"}, "{'a': 'rendered dict'}", "a kite", {"objects": []}, [[[object()]]], b"task_1"]
    )
    def test_is_refused_when_it_cannot_be_read(self, copy: Copy, source: object) -> None:
        with pytest.raises(InvalidRequestError, match="source"):
            copy(source)


class TestTheKey:
    @pytest.mark.parametrize(
        ("template", "reason"),
        [
            ("{task_id}/{name}", "unknown placeholder {name}"),
            ("{task_id", "expected"),
        ],
    )
    def test_template_is_checked_when_the_dag_is_parsed(self, copy: Copy, template: str, reason: str) -> None:
        with pytest.raises(InvalidRequestError, match=reason):
            copy([], s3_key=template)

    def test_may_hold_jinja(self) -> None:
        from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

        key = "{{ run_id }}/{% if params.x %}x{% endif %}/{task_id}.{ext}"

        assert ApimartToS3Operator(task_id="t", source=[], s3_bucket="b", s3_key=key).s3_key == key

    def test_must_tell_the_pictures_of_one_task_apart(self, generate: Generate, copy: Copy, store: Store) -> None:
        source = generate(model="gpt-image-2-official", n=2, quality="low")

        with pytest.raises(InvalidRequestError, match="get the same key"):
            copy(source, s3_key="{task_id}.{ext}")

        assert store.keys() == []

    def test_does_not_depend_on_a_logical_date_by_default(self) -> None:
        from airflow_provider_apimart.transfers.apimart_to_s3 import DEFAULT_KEY

        assert not {"ds", "ts", "logical_date"} & set(DEFAULT_KEY.replace("{", " ").replace("}", " ").split())


class TestAParameterThatIsKnownLater:
    """Passes when the DAG is parsed, and is checked when the task starts."""

    @pytest.fixture(params=["an XCom", "a literal", "an argument of a mapped group"])
    def later(self, request: pytest.FixtureRequest) -> Any:
        from airflow.sdk import DAG, literal, task, task_group

        if request.param == "a literal":
            return literal("{{ kept }}/{task_id}")
        arguments = []
        with DAG("a_dag", schedule=None):

            @task
            def key() -> str:
                return "a/{task_id}"

            @task_group
            def group(argument: Any) -> None:
                arguments.append(argument)
                key.override(task_id="in_group")()

            group.expand(argument=["a"])
            return key() if request.param == "an XCom" else arguments[0]

    def test_may_be_the_key(self, later: Any) -> None:
        from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

        operator = ApimartToS3Operator(task_id="t", source=[], s3_bucket="b", s3_key=later)

        assert operator.s3_key is later

    def test_may_be_the_bucket_or_the_metadata(self, later: Any) -> None:
        from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

        ApimartToS3Operator(task_id="t", source=[], s3_bucket=later, extra_args={"Metadata": {"n": later}})
        ApimartToS3Operator(task_id="u", source=[], s3_bucket="b", extra_args=later)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"s3_key": 17}, "s3_key"),
        ({"s3_key": None}, "s3_key"),
        ({"s3_key": "s3://another/{task_id}"}, "s3_key"),
        ({"s3_key": "{index:{ext}}"}, "s3_key"),
        ({"s3_bucket": "s3://shots/2026"}, "s3_bucket"),
        ({"extra_args": {"Key": "x"}}, "extra_args"),
        ({"extra_args": {"Metadata": {"n": None}}}, "extra_args"),
    ],
)
def test_a_place_that_cannot_be_is_refused_when_the_dag_is_parsed(parameters: dict[str, Any], field: str) -> None:
    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    with pytest.raises(InvalidRequestError) as caught:
        ApimartToS3Operator(task_id="t", source=[], **{"s3_bucket": "shots", **parameters})

    assert caught.value.field == field


def test_a_path_is_a_key_and_an_address_a_bucket(generate: Generate, copy: Copy, store: Store) -> None:
    copy(generate(), s3_bucket=f"s3://{store.name}/", s3_key=PurePosixPath("shots") / "{task_id}.{ext}")

    assert store.keys()[0].startswith("shots/task_")


def test_two_instances_with_the_same_key_lose_no_picture(generate: Generate, copy: Copy, store: Store) -> None:
    first, second = generate(), generate()

    def transfer(source: dict[str, Any]) -> str:
        try:
            return str(copy(source, s3_key="same.{ext}")["objects"][0]["outcome"])
        except TransferError as error:
            return f"retryable: {error.retryable}; {error}"

    with ThreadPoolExecutor(2) as threads:
        outcomes = sorted(threads.map(transfer, [first, second]))

    assert outcomes[0] == "copied"
    assert outcomes[1].startswith("retryable: False; Copied 0 of 1 pictures. Not copied: picture 0 of task ")
    assert "already holds another object, picture 0 of task " in outcomes[1]
    winner = store.head("same.png")["Metadata"]["apimart-task-id"]
    assert [name["task_ids"][0] in outcomes[1] for name in (first, second)].count(True) == 2
    assert winner in {first["task_ids"][0], second["task_ids"][0]}


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_an_id_that_the_gateway_cannot_be_asked_about_now_is_retried(
    generate: Generate, copy: Copy, simulator: Simulator, status: int
) -> None:
    source = generate()
    simulator.add_fault({"fault": "refuse", "on": "task", "status": status})

    with pytest.raises(TransferError, match=r"Copied 0 of 1 pictures\. .* buys nothing\.$") as caught:
        copy(source["task_ids"])

    assert caught.value.retryable


def test_credentials_that_are_missing_are_named_and_nothing_is_called_lost(
    generate: Generate, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_EMPTY", '{"conn_type": "aws"}')

    with pytest.raises(ConfigurationError, match=r"'aws_empty'.*no picture was lost") as caught:
        copy(generate(), aws_conn_id="aws_empty")

    assert "bought" not in str(caught.value)


@pytest.mark.parametrize("parameter", ["max_concurrency", "max_bytes"])
def test_a_limit_below_one_is_refused(copy: Copy, parameter: str) -> None:
    with pytest.raises(InvalidRequestError, match=parameter):
        copy([], **{parameter: 0})


def test_an_unknown_policy_for_existing_keys_is_refused(copy: Copy) -> None:
    with pytest.raises(InvalidRequestError, match="on_existing"):
        copy([], on_existing="merge")


def test_a_bucket_that_does_not_exist_is_named(generate: Generate, copy: Copy) -> None:
    with pytest.raises(TransferError, match="no-such-bucket"):
        copy(generate(), s3_bucket="no-such-bucket")
