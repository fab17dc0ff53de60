"""Who has written an object. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

__all__ = ["writer_id", "writer_of"]


def writer_id(ti: RuntimeTaskInstanceProtocol) -> str:
    """Return 16 hexadecimal digits that stand for a task instance, the same for all its tries."""
    return writer_of(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)


def writer_of(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str:
    """Return the same for a task instance of which only the names are known; -1 for one that is not mapped."""
    identity = (dag_id, run_id, task_id, map_index)
    return hashlib.sha256("\0".join(map(str, identity)).encode()).hexdigest()[:16]
