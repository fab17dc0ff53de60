"""Who has written an object. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

__all__ = ["writer_id"]


def writer_id(ti: RuntimeTaskInstanceProtocol) -> str:
    """Return 16 hexadecimal digits that stand for a task instance, the same for all its tries."""
    identity = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
    return hashlib.sha256("\0".join(map(str, identity)).encode()).hexdigest()[:16]
