"""Waiting inline, on the worker, for those who switch deferral off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_apimart.exceptions import ApimartError
from airflow_provider_apimart.gateway.polling import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk.types import Logger

    from airflow_provider_apimart.gateway.task import Task
    from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["wait_for_tasks"]


def wait_for_tasks(
    hook: ApimartHook,
    task_ids: Sequence[str],
    *,
    first_look: float,
    poll_interval: float,
    deadline: float,
    log: Logger,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> dict[str, Task]:
    """
    Look at the tasks until all are finished or the deadline has passed.

    Trouble on the way is logged and waited out: a paid task must not be given up because a look at it failed.

    :param first_look: Unix seconds before which nobody needs to look.
    :param poll_interval: seconds between looks.
    :param deadline: Unix seconds.
    :return: the finished tasks; those that still run at the deadline are missing.
    """
    finished: dict[str, Task] = {}
    schedule = Schedule()
    for task_id in task_ids:
        schedule.add(task_id, first_look=first_look, interval=poll_interval)
    while (due := schedule.next_due()) is not None and clock() < deadline:
        sleep(max(0.0, min(due, deadline) - clock()))
        now = clock()
        taken = schedule.take_due(now)
        for task_id, outcome in _look(hook, taken, log).items():
            if isinstance(outcome, ApimartError):
                log.warning("Task %s could not be asked after, it goes on waiting: %s", task_id, outcome)
            elif outcome.is_finished:
                finished[task_id] = outcome
                schedule.remove(task_id)
        schedule.put_back(taken, looked_at=now)
    return finished


def _look(hook: ApimartHook, task_ids: Sequence[str], log: Logger) -> dict[str, Task | ApimartError]:
    if not task_ids:
        return {}
    try:
        return dict(hook.get_tasks(task_ids))
    except ApimartError as error:
        log.warning("The gateway could not be asked, the next look comes as planned: %s", error)
        return {}
