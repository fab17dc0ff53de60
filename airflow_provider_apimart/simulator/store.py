"""What the two gateways know: tasks, the account, uploaded files, used keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.simulator.answers import Refusal
from airflow_provider_apimart.simulator.idempotency import IdempotencyLedger
from airflow_provider_apimart.simulator.pricing import picture_price
from airflow_provider_apimart.simulator.tasks import Task, draw_duration, draw_task_id, file_name, task_cost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.gateway.catalogue import Gateway
    from airflow_provider_apimart.simulator.settings import SimulatorSettings
    from airflow_provider_apimart.simulator.validation import Order

__all__ = ["Store", "Upload"]

_PICTURE: Final = re.compile(r".+_(task_[0-9A-Z]{26})_(\d+)\.\w+")


@dataclass(frozen=True, slots=True)
class Upload:
    """A reference image that was uploaded."""

    content: bytes
    media_type: str
    created: float


class Store:
    """
    Everything that is remembered between requests.

    A task is charged when it is accepted, with what it will cost in the end: one that is going to fail costs nothing.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self.tasks: dict[str, Task] = {}
        self.uploads: dict[str, Upload] = {}
        self.idempotency = IdempotencyLedger()
        self.spent = 0.0

    @property
    def remaining(self) -> float | None:
        """Return the US dollars left on the account; ``None`` for one without limit."""
        return None if self._settings.balance is None else round(self._settings.balance - self.spent, 6)

    def accept(
        self,
        order: Order,
        body: Mapping[str, Any],
        *,
        idempotency_key: str | None,
        faults: Mapping[str, Mapping[str, Any]],
        now: float,
    ) -> Task:
        """
        Start and charge a task.

        :raises Refusal: 402 where the account does not cover the full price.
        """
        if self.remaining is not None and picture_price(order) * order.images > self.remaining:
            raise Refusal.documented(402)
        random = Random(f"{self._settings.seed}:{len(self.tasks)}")
        task = Task(
            id=draw_task_id(random, now),
            secret=f"{random.getrandbits(32):08x}",
            order=order,
            body=body,
            idempotency_key=idempotency_key,
            created=now,
            duration=draw_duration(random, order, self._settings.speed),
            faults=faults,
        )
        self.tasks[task.id] = task
        self.spent = round(self.spent + task_cost(task), 6)
        return task

    def find(self, gateway: Gateway, task_id: object) -> Task | None:
        """Return a task, which only the vendor that accepted it knows."""
        task = self.tasks.get(task_id) if isinstance(task_id, str) else None
        return task if task and task.order.gateway is gateway else None

    def find_picture(self, name: str) -> tuple[Task, int] | None:
        """Return the task and the index of the picture that the last part of an address stands for."""
        match = _PICTURE.fullmatch(name)
        task = self.tasks.get(match[1]) if match else None
        if match is None or task is None:
            return None
        index = int(match[2])
        return (task, index) if index < task.order.images and name == file_name(task, index) else None
