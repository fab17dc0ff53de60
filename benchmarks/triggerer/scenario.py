"""What the contestants wait for: so many tasks of a gateway, which last as long as pictures do."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass
from typing import Final

__all__ = ["GatewayTask", "Scenario"]

_SEED: Final = 20_260
#: Digits at the end of a task's id: its number.
_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class GatewayTask:
    """
    One task at the gateway.

    :param number: counts from 0.
    :param arrives_after: seconds after the start at which an Airflow task begins to wait for it.
    :param ends_after: seconds after the start at which the gateway has finished it.
    """

    number: int
    arrives_after: float
    ends_after: float

    @property
    def id(self) -> str:
        """The gateway's id, in the form and length of the vendors' ids."""
        return f"task_01KPQ7J7DWB7QZ3WCE{self.number:0{_DIGITS}d}"

    @staticmethod
    def number_of(task_id: str) -> int:
        """Return the number of the task with an id."""
        return int(task_id[-_DIGITS:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    The same waiting for every contestant.

    :param tasks: how many.
    :param interval: seconds between two looks at a task.
    :param arriving_over: seconds over which the tasks arrive evenly; 0 for all at once.
    :param latency: seconds that the gateway takes for an answer.
    :param median: seconds that the median task lasts. The durations are lognormal, as those of pictures are.
    :param shortest: seconds that the shortest task lasts; likewise ``longest``.
    :param cut_off: seconds after which a run is ended, whatever is missing.
    """

    tasks: int
    interval: float
    arriving_over: float = 0.0
    latency: float = 0.0
    median: float = 12.0
    shortest: float = 4.0
    longest: float = 35.0
    cut_off: float = 120.0

    def to_json(self) -> str:
        """Return what :meth:`from_json` reads, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))

    def durations(self) -> list[float]:
        """Return how many seconds each task lasts; the same at every call."""
        draw = random.Random(_SEED)
        drawn = (draw.lognormvariate(math.log(self.median), 0.5) for _ in range(self.tasks))
        return [min(max(duration, self.shortest), self.longest) for duration in drawn]

    def gateway_tasks(self) -> list[GatewayTask]:
        """Return the tasks by their numbers."""
        arrivals = [self.arriving_over * number / self.tasks for number in range(self.tasks)]
        return [
            GatewayTask(number, arrival, arrival + duration)
            for number, (arrival, duration) in enumerate(zip(arrivals, self.durations(), strict=True))
        ]

    def warm_up_task(self) -> GatewayTask:
        """Return one more task, which is finished from the beginning."""
        return GatewayTask(self.tasks, 0.0, 0.0)

    def single_looks(self) -> int:
        """Return how many requests it takes to ask after each task once per interval, until it is finished."""
        return sum(math.ceil(duration / self.interval) for duration in self.durations())
