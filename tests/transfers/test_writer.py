"""Who has written an object."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow_provider_apimart.transfers.stored_objects import writer_id


def writer(**changes: Any) -> str:
    ti: Any = SimpleNamespace(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 0, **changes})
    return writer_id(ti)


def test_all_tries_of_a_task_instance_are_one_writer_and_others_are_others() -> None:
    others = [writer(dag_id="e"), writer(run_id="e"), writer(task_id="e"), *(writer(map_index=it) for it in range(10))]

    assert writer(try_number=1) == writer(try_number=2)
    assert len(set(others)) == 13
    assert writer().isalnum()
