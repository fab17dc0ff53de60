"""Triggers that wait for tasks of the default connection, and what they fire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.triggers.apimart import ApimartTaskTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["event_of", "waiting_for"]


def waiting_for(task_ids: Sequence[str], **parameters: Any) -> ApimartTaskTrigger:
    """Make a trigger that looks often and gives up after a minute."""
    defaults = {"apimart_conn_id": "apimart_default", "deadline": time.time() + 60, "poll_interval": 0.1}
    return ApimartTaskTrigger(task_ids=task_ids, **{**defaults, **parameters})


async def event_of(trigger: ApimartTaskTrigger) -> dict[str, Any]:
    """Run a trigger to its end, and return the one event that it fires."""
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return events[0]
