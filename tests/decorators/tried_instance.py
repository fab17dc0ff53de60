"""A task instance that keeps its XComs from one worker of a try to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.task_instance import TaskInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator

__all__ = ["TriedInstance"]


class TriedInstance(TaskInstance):
    """One task instance over all its tries, whose XComs can be pulled."""

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcoms.get(key)

    def begin(self, make_operator: Callable[[], BaseOperator]) -> Any:
        """Begin a try, which Airflow does without the XComs of the last one."""
        self.xcoms.clear()
        return self.run_until_deferred(make_operator)
