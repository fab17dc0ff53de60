"""Which assets an operator declares, and which of them its success is an event of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.definitions.asset import AssetUriRef

from airflow_provider_apimart.assets import IMAGES, PURCHASES, with_assets

if TYPE_CHECKING:
    from operators.task_instance import TaskInstance

BOUGHT = {"kind": "purchase", "cost": 0.5}
STORED = {"kind": "images", "prefix": "s3://pictures/posters"}
FOLDER = Asset("s3://pictures/posters")
OWN = Asset("a_table")


def test_its_assets_are_outlets_when_the_dag_is_parsed(producer: Any) -> None:
    assert producer()().outlets == [PURCHASES, IMAGES]


@pytest.mark.parametrize("declared", [OWN, [OWN]], ids=["one", "a list"])
def test_outlets_that_the_dag_author_declares_stay(producer: Any, declared: Any) -> None:
    assert producer(outlets=declared)().outlets == [OWN, PURCHASES, IMAGES]


def test_outlets_that_all_tasks_of_the_dag_have_stay(producer: Any) -> None:
    with DAG("a_dag", schedule=None, default_args={"outlets": [OWN]}):
        operator = producer()()
        mapped = producer.partial(task_id="mapped").expand(bought=[1, 2])

    assert operator.outlets == mapped.outlets == [OWN, PURCHASES, IMAGES]


def test_a_mapped_operator_declares_them_before_it_has_instances(producer: Any) -> None:
    with DAG("a_dag", schedule=None):
        mapped = producer.partial(task_id="a_task", outlets=[OWN]).expand(bought=[1, 2])

    assert mapped.outlets == [OWN, PURCHASES, IMAGES]
    assert mapped.unmap({"bought": 1}).outlets == [OWN, PURCHASES, IMAGES]


def test_what_one_operator_declares_is_no_default_of_another(producer: Any) -> None:
    with DAG("a_dag", schedule=None):
        producer.partial(task_id="a_task").expand(bought=[1, 2])
        from airflow.providers.standard.operators.empty import EmptyOperator

        assert EmptyOperator(task_id="another").outlets == []


def test_an_asset_that_is_declared_already_is_not_declared_twice() -> None:
    assert with_assets([IMAGES], (PURCHASES, IMAGES)) == [IMAGES, PURCHASES]
    assert with_assets(None, (IMAGES,)) == [IMAGES]


def test_a_success_is_an_event_of_what_there_is_to_say_something_of(producer: Any, task_instance: TaskInstance) -> None:
    task_instance.run_until_deferred(producer(bought=BOUGHT, outlets=[OWN]))
    task_instance.run_until_deferred(producer(stored=STORED))

    assert task_instance.events == [("a_table", {}), ("apimart-purchases", BOUGHT), ("apimart-images", STORED)]


def test_where_there_is_nothing_to_say_there_is_no_event(producer: Any, task_instance: TaskInstance) -> None:
    task_instance.run_until_deferred(producer())

    assert task_instance.events == []


def test_a_folder_that_a_dag_waits_for_has_an_event_of_its_own(producer: Any, task_instance: TaskInstance) -> None:
    task_instance.known_assets = [FOLDER, Asset("s3://pictures/elsewhere")]
    task_instance.run_until_deferred(producer(stored=STORED))

    assert task_instance.events == [("apimart-images", STORED), ("s3://pictures/posters", STORED)]


def test_a_folder_that_nobody_waits_for_is_named_but_not_made_an_asset(producer: Any) -> None:
    operator = producer(stored=STORED)()
    operator.execute({})

    assert operator.outlets == [IMAGES, AssetUriRef("s3://pictures/posters")]


def test_a_folder_that_the_dag_author_declares_has_one_event_whatever_its_name(
    producer: Any, task_instance: TaskInstance
) -> None:
    named = Asset("posters", uri="s3://pictures/posters/")
    task_instance.known_assets = [named]
    task_instance.run_until_deferred(producer(stored=STORED, outlets=[named, OWN]))

    assert task_instance.events == [("posters", STORED), ("a_table", {}), ("apimart-images", STORED)]


def test_an_address_that_can_be_no_asset_fails_no_task(producer: Any, task_instance: TaskInstance) -> None:
    stored = {**STORED, "prefix": f"s3://pictures/{'f' * 1500}"}
    task_instance.run_until_deferred(producer(stored=stored))

    assert task_instance.events == [("apimart-images", stored)]


def test_the_user_may_look_at_what_was_said(producer: Any) -> None:
    context: dict[str, Any] = {}
    producer(bought=BOUGHT)().execute(context)

    assert context["outlet_events"][PURCHASES].extra == BOUGHT
