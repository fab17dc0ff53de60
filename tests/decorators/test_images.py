"""``@task.apimart_images``: what the function gives, when it is called, and what becomes of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath, task
from airflow.sdk.definitions.mappedoperator import MappedOperator
from operators.task_instance import TaskInstance

from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import BaseOperator
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.row import Row
    from airflow_provider_apimart.simulator import Simulator

    Decorated = Callable[..., Callable[[], BaseOperator]]
    Finish = Callable[[Callable[[], BaseOperator], Any], dict[str, Any]]
    StoredRows = Callable[[], dict[str, list[Row]]]


def objects_in(s3_server: SeaweedFS, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3_server.client().list_objects_v2(Bucket=bucket).get("Contents", ())]


def prompts_at(simulator: Simulator) -> list[str]:
    return sorted(bought["prompt"] for bought in simulator.tasks())


class Counting:
    """A function that gives other rows with each call."""

    __name__ = "rows"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> list[str]:
        self.calls += 1
        return [f"call {self.calls}, row {number}" for number in range(3)]


def test_the_function_is_called_once_though_the_task_deferred(
    decorated: Decorated, task_instance: TaskInstance, finish: Finish, simulator: Simulator
) -> None:
    rows = Counting()
    operator = decorated(rows)

    result = finish(operator, task_instance.run_until_deferred(operator))

    assert rows.calls == 1
    assert result["done"] == result["bought"] == 3
    assert prompts_at(simulator) == ["call 1, row 0", "call 1, row 1", "call 1, row 2"]


def test_a_trigger_that_failed_does_not_call_the_function_again(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator
) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    rows = Counting()
    operator = decorated(rows)
    task_instance.run_until_deferred(operator)

    with pytest.raises(TaskDeferred):
        task_instance.resume_after_failure(operator, "Trigger failure")

    assert rows.calls == 1
    assert simulator.stats()["submits"]["received"] == 3


def test_a_retry_uses_the_rows_of_the_first_try(
    decorated: Decorated, task_instance: TaskInstance, finish: Finish, simulator: Simulator
) -> None:
    rows = Counting()
    operator = decorated(rows)
    task_instance.run_until_deferred(operator)
    result = finish(operator, task_instance.run_until_deferred(operator))

    assert rows.calls == 1
    assert (result["done"], result["bought"]) == (3, 3)
    assert len(prompts_at(simulator)) == 3


def test_a_task_that_is_cleared_calls_the_function_again_and_buys_what_is_new(
    decorated: Decorated, task_instance: TaskInstance, finish: Finish, simulator: Simulator
) -> None:
    calls = itertools.count(1)
    operator = decorated(lambda: ["a heron", f"seen by call {next(calls)}"])
    task_instance.run_until_deferred(operator)
    task_instance.clear()
    result = finish(operator, task_instance.run_until_deferred(operator))

    assert result["done"] == 2
    assert prompts_at(simulator) == ["a heron", "seen by call 1", "seen by call 2"]


def test_without_a_state_store_a_retry_calls_the_function_again(
    decorated: Decorated, task_instance: TaskInstance, finish: Finish, simulator: Simulator
) -> None:
    calls = itertools.count(1)
    operator = decorated(lambda: ["a heron", f"seen by call {next(calls)}"])
    task_instance.store = None
    task_instance.run_until_deferred(operator)
    result = finish(operator, task_instance.run_until_deferred(operator))

    assert result["done"] == 2
    assert prompts_at(simulator) == ["a heron", "seen by call 1", "seen by call 2"]


def test_what_it_returned_is_stored_beside_the_ledger_while_the_task_works(
    decorated: Decorated, task_instance: TaskInstance, finish: Finish, stored_rows: StoredRows
) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": "heron", "prompt": "A grey heron", "size": "2:3"}
        yield {"id": "robin", "prompt": "Ein Rotkehlchen im Grünen\u2028", "size": None}

    operator = decorated(rows)
    trigger = task_instance.run_until_deferred(operator)

    ((first, second),) = stored_rows().values()
    assert (first.id, first.request.prompt, first.request.size) == ("heron", "A grey heron", "2:3")
    assert (second.id, second.request.prompt) == ("robin", "Ein Rotkehlchen im Grünen\u2028")
    finish(operator, trigger)
    assert stored_rows() == {}


def test_each_mapped_instance_stores_its_own(decorated: Decorated, stored_rows: StoredRows) -> None:
    for map_index in range(3):
        instance = TaskInstance(task_id="rows", map_index=map_index)
        instance.run_until_deferred(decorated(lambda number=map_index: [f"heron {number}"]))

    assert sorted(row.request.prompt for (row,) in stored_rows().values()) == ["heron 0", "heron 1", "heron 2"]


def test_the_result_is_that_of_the_operator(
    decorated: Decorated, task_instance: TaskInstance, finish: Finish, bucket: str
) -> None:
    operator = decorated(lambda: [{"id": "heron", "prompt": "A grey heron"}])

    result = finish(operator, task_instance.run_until_deferred(operator))

    assert (result["total"], result["done"], result["failed"]) == (1, 1, 0)
    assert result["ledger"] == f"s3://{bucket}/catalogue/ledger/ledger.jsonl.gz"
    assert [picture["id"] for picture in result["objects"]] == ["heron"]


def test_parameters_of_the_operator_stand_in_the_decorator(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator
) -> None:
    task_instance.run_until_deferred(decorated(lambda: ["A grey heron"], size="2:3", resolution="1k"))

    (bought,) = simulator.tasks()
    assert (bought["body"]["size"], bought["body"]["resolution"]) == ("2:3", "1k")


def test_the_function_takes_arguments_and_the_context(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator
) -> None:
    def rows(bird: str, colour: str = "grey", *, ti: Any = None) -> list[str]:
        return [f"A {colour} {bird} of {ti.dag_id}"]

    task_instance.run_until_deferred(decorated(rows, "heron"))

    assert prompts_at(simulator) == ["A grey heron of a_dag"]


def test_braces_in_a_prompt_are_no_template(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator
) -> None:
    def begun() -> BaseOperator:
        operator = make()
        operator.render_template_fields(task_instance.context)
        return operator

    make = decorated(lambda: ["The text {{ 6 * 7 }} on a sign"])
    task_instance.run_until_deferred(begun)

    assert prompts_at(simulator) == ["The text {{ 6 * 7 }} on a sign"]


def test_a_file_may_be_given_by_its_address(
    decorated: Decorated, task_instance: TaskInstance, finish: Finish, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text("id,prompt\nheron,A grey heron\n")
    addresses = iter([str(file), "not asked for"])
    operator = decorated(lambda: next(addresses))

    result = finish(operator, task_instance.run_until_deferred(operator))

    assert result["done"] == 1
    assert next(addresses) == "not asked for"


@pytest.mark.parametrize(
    "kind", [Path, lambda file: ObjectStoragePath(f"file://{file}")], ids=["Path", "object storage"]
)
def test_a_file_may_be_given_as_a_path(
    decorated: Decorated,
    task_instance: TaskInstance,
    simulator: Simulator,
    tmp_path: Path,
    kind: Callable[[Path], Any],
) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text("id,prompt\nheron,A grey heron\n")

    task_instance.run_until_deferred(decorated(lambda: kind(file)))

    assert prompts_at(simulator) == ["A grey heron"]


@pytest.mark.parametrize("rows", [[], iter(())], ids=["list", "generator"])
def test_no_rows_buy_nothing_and_succeed(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator, rows: Any
) -> None:
    result = task_instance.run_until_deferred(decorated(lambda: rows))

    assert (result["total"], result["bought"]) == (0, 0)
    assert simulator.stats()["submits"]["received"] == 0


class Frame(list[str]):
    """Yields the names of its columns, as a data frame of pandas does."""

    columns = ("prompt", "size")


@pytest.mark.parametrize(
    ("given", "kind"),
    [(None, "NoneType"), ({"prompt": "a heron"}, "dict"), (b"prompts.csv", "bytes"), (Frame(["prompt"]), "Frame")],
    ids=["nothing", "one mapping", "bytes", "data frame"],
)
def test_what_is_no_dataset_is_refused_for_good(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator, given: Any, kind: str
) -> None:
    def rows() -> Any:
        return given

    with pytest.raises(
        InvalidRequestError, match=rf"^rows\(\) returned a {kind}: .*Nothing was submitted\.$"
    ) as refused:
        task_instance.run_until_deferred(decorated(rows))

    assert not refused.value.retryable
    assert simulator.stats()["submits"]["received"] == 0


def test_what_the_function_raises_is_raised_and_nothing_is_kept_or_bought(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator, s3_server: SeaweedFS, bucket: str
) -> None:
    def rows() -> Iterator[str]:
        yield "a heron"
        raise ConnectionError("the database has gone")

    with pytest.raises(ConnectionError, match="the database has gone"):
        task_instance.run_until_deferred(decorated(rows))

    assert simulator.stats()["submits"]["received"] == 0
    assert objects_in(s3_server, bucket) == []


def test_a_row_that_cannot_be_bought_is_named_by_its_number(
    decorated: Decorated, task_instance: TaskInstance, simulator: Simulator
) -> None:
    with pytest.raises(InvalidRequestError, match="row 2: "):
        task_instance.run_until_deferred(decorated(lambda: ["a heron", ("a", "robin")]))

    assert simulator.stats()["submits"]["received"] == 0


def test_the_ui_shows_the_decorator_and_the_arguments(decorated: Decorated) -> None:
    operator = decorated(lambda: ["a heron"])()

    assert operator.operator_name == "@task.apimart_images"
    assert {"op_args", "op_kwargs", "s3_prefix", "max_cost"} <= set(operator.template_fields)


def test_a_wrong_parameter_fails_when_the_dag_is_parsed(decorated: Decorated) -> None:
    with pytest.raises(InvalidRequestError, match="max_in_flight=0"):
        decorated(lambda: ["a heron"], max_in_flight=0)()


def test_it_takes_no_prompts_besides_those_of_the_function(decorated: Decorated) -> None:
    with pytest.raises(TypeError, match="prompts"):
        decorated(lambda: ["a heron"], prompts=["a robin"])()


def test_a_return_annotation_of_the_function_does_not_split_the_result(decorated: Decorated) -> None:
    def rows() -> dict[str, str]:
        raise NotImplementedError

    assert not decorated(rows)().multiple_outputs
    assert decorated(rows, multiple_outputs=True)().multiple_outputs


def test_defaults_of_the_dag_count_as_for_every_operator() -> None:
    with DAG("a_dag", schedule=None, default_args={"s3_bucket": "pictures", "apimart_conn_id": "other", "retries": 3}):

        @task.apimart_images
        def rows() -> list[str]:
            return ["a heron"]

        operator = rows().operator

    assert (operator.s3_bucket, operator.apimart_conn_id, operator.retries) == ("pictures", "other", 3)


def test_it_can_be_mapped_and_overridden() -> None:
    with DAG("a_dag", schedule=None):

        @task.apimart_images(s3_bucket="pictures", max_cost=1)
        def rows(bird: str, colour: str) -> list[str]:
            return [f"A {colour} {bird}"]

        mapped = (
            rows.override(task_id="birds", max_cost=2).partial(colour="grey").expand(bird=["heron", "robin"]).operator
        )

    assert isinstance(mapped, MappedOperator)
    assert (mapped.task_id, mapped.operator_name) == ("birds", "@task.apimart_images")
    operator = mapped.unmap({"op_kwargs": {"bird": "robin"}})
    assert (operator.s3_bucket, operator.max_cost) == ("pictures", 2)
    assert operator.python_callable(**operator.op_kwargs) == ["A grey robin"]
