"""Which part of Airflow a page is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query

__all__ = ["UNMAPPED", "Scope", "ScopeQuery", "read_scope"]

#: The index of a task that is not mapped.
UNMAPPED: Final = -1
#: Digits of the largest index that a database holds.
_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class Scope:
    """
    A DAG, one of its runs, or one task instance of that.

    :param map_index: -1 for a task that is not mapped.
    """

    dag_id: str
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None

    @property
    def is_task(self) -> bool:
        """Whether it is one task instance."""
        return self.run_id is not None and self.task_id is not None

    def query(self) -> dict[str, Any]:
        """Return it as parameters of a page's address."""
        named = {"dag_id": self.dag_id, "run_id": self.run_id, "task_id": self.task_id}
        return {name: value for name, value in named.items() if value is not None} | (
            {"map_index": self.map_index} if self.is_task else {}
        )

    def of_events(self) -> dict[str, Any]:
        """Return it as a filter of asset events."""
        return {
            "source_dag_id": self.dag_id,
            "source_run_id": self.run_id,
            "source_task_id": self.task_id,
            "source_map_index": self.map_index,
        }


def read_scope(
    dag_id: Annotated[str, Query(min_length=1)], run_id: str = "", task_id: str = "", map_index: str = ""
) -> Scope:
    """
    Return what the parameters of an address stand for.

    :param map_index: text, because Airflow leaves the placeholder as it is where a task is not mapped.
    """
    index = int(map_index) if map_index.isdecimal() and len(map_index) <= _DIGITS else UNMAPPED
    if not run_id:
        return Scope(dag_id)
    return Scope(dag_id, run_id, task_id, index) if task_id else Scope(dag_id, run_id)


#: For a route: the scope that its address names.
ScopeQuery = Annotated[Scope, Depends(read_scope)]
