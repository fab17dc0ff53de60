"""What the simulator has counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.simulator.fault_kinds import ENDPOINTS
from airflow_provider_apimart.simulator.pricing import CREDITS_PER_DOLLAR
from airflow_provider_apimart.simulator.tasks import Task, state_at, task_cost

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Statistics"]


@dataclass(slots=True)
class Statistics:
    """
    Counters since the start or the last reset. Requests to ``/simulator/`` are not counted.

    :param requests: by endpoint.
    :param submits: by what became of them: each one received was accepted, replayed, refused or dropped.
    """

    requests: Counter[str] = field(default_factory=Counter)
    submits: Counter[str] = field(default_factory=Counter)
    user_agents: set[str] = field(default_factory=set)
    images_served: int = 0
    image_bytes_served: int = 0
    image_requests_with_authorization: int = 0

    def as_json(
        self, tasks: Iterable[Task], *, now: float, connections: int, faults_fired: dict[str, int]
    ) -> dict[str, Any]:
        """Return all counts as one JSON object."""
        tasks = list(tasks)
        cost = round(sum(task_cost(task) for task in tasks), 6)
        return {
            "connections": connections,
            "requests": {endpoint: self.requests[endpoint] for endpoint in ENDPOINTS},
            "submits": {
                "received": self.requests["submit"],
                **{name: self.submits[name] for name in ("accepted", "replayed", "refused", "dropped")},
            },
            "tasks": {"total": len(tasks), "by_status": Counter(state_at(task, now) for task in tasks)},
            "tasks_per_idempotency_key": Counter(task.idempotency_key for task in tasks if task.idempotency_key),
            "tasks_per_prompt": Counter(task.order.prompt for task in tasks),
            "cost": cost,
            "credits_cost": round(cost * CREDITS_PER_DOLLAR, 5),
            "images_served": self.images_served,
            "image_bytes_served": self.image_bytes_served,
            "image_requests_with_authorization": self.image_requests_with_authorization,
            "user_agents": sorted(self.user_agents),
            "faults_fired": faults_fired,
        }
