from __future__ import annotations

import pytest

from airflow_provider_apimart.plugins.web.scope import Scope, read_scope


@pytest.mark.parametrize(
    ("asked", "scope"),
    [
        ({"dag_id": "d"}, Scope("d")),
        ({"dag_id": "d", "task_id": "t"}, Scope("d")),
        ({"dag_id": "d", "run_id": "r"}, Scope("d", "r")),
        ({"dag_id": "d", "run_id": "r", "map_index": "3"}, Scope("d", "r")),
        ({"dag_id": "d", "run_id": "r", "task_id": "t"}, Scope("d", "r", "t", -1)),
        ({"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": "3"}, Scope("d", "r", "t", 3)),
    ],
)
def test_an_address_names_a_dag_a_run_or_a_task_instance(asked: dict[str, str], scope: Scope) -> None:
    assert read_scope(**asked) == scope


@pytest.mark.parametrize("map_index", ["{MAP_INDEX}", "-1", "", "three", "-7", "9" * 5_000])
def test_a_task_that_is_not_mapped_has_an_index_that_is_none(map_index: str) -> None:
    assert read_scope("d", "r", "t", map_index) == Scope("d", "r", "t", -1)


@pytest.mark.parametrize("scope", [Scope("d"), Scope("d", "r"), Scope("d", "r", "t", -1), Scope("d", "r", "t", 0)])
def test_the_parameters_of_a_scope_lead_back_to_it(scope: Scope) -> None:
    assert read_scope(**{name: str(value) for name, value in scope.query().items()}) == scope


def test_events_are_asked_for_by_what_the_scope_names() -> None:
    assert Scope("d", "r", "t", 0).of_events() == {
        "source_dag_id": "d",
        "source_run_id": "r",
        "source_task_id": "t",
        "source_map_index": 0,
    }
    assert [name for name, value in Scope("d").of_events().items() if value is not None] == ["source_dag_id"]
