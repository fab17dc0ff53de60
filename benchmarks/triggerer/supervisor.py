"""Airflow's own supervisor of a trigger runner, without a database: triggers come from a list, events are collected."""

from __future__ import annotations

import cProfile
import time
import uuid
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.executors.workloads.trigger import RunTrigger
from airflow.jobs.triggerer_job_runner import TriggerLoggingFactory, TriggerRunnerSupervisor
from airflow.models.trigger import Trigger
from airflow.sdk.api.datamodels._generated import ConnectionResponse

from benchmarks.triggerer.contestants import Contestant, Wait
from benchmarks.triggerer.runner import WatchedRunner

if TYPE_CHECKING:
    from airflow.triggers.base import DiscrimatedTriggerEvent

    from benchmarks.triggerer.observations import Observations
    from benchmarks.triggerer.scenario import GatewayTask, Scenario

__all__ = ["RunnerOptions", "WatchedSupervisor"]


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """
    What the forked runner needs, which Airflow starts without arguments.

    :param observations: where it notes what it sees.
    :param profile: file for a profile of the runner, or none.
    """

    observations: Observations
    profile: str | None = None


@attrs.define(kw_only=True)
class WatchedSupervisor(TriggerRunnerSupervisor):
    """
    Feeds a runner with the triggers of one contestant and collects their events.

    It hands over triggers as the scenario lets them arrive. From a database it would take at most 50 per round
    (``[triggerer] max_trigger_to_select_per_loop``), and take longer for that than the shortest tasks last.

    :param contestant: whose triggers these are.
    :param scenario: what they wait for.
    :param url: of the gateway.
    """

    options: ClassVar[RunnerOptions]

    contestant: Contestant
    scenario: Scenario
    url: str
    lookups: int = attrs.field(default=0, init=False)
    finished: set[int] = attrs.field(factory=set, init=False)
    errors: int = attrs.field(default=0, init=False)
    _started_at: float = attrs.field(default=0.0, init=False)
    _arriving: deque[list[GatewayTask]] = attrs.field(factory=deque, init=False)
    _assigned: dict[int, list[GatewayTask]] = attrs.field(factory=dict, init=False)

    @classmethod
    def run_in_process(cls) -> None:
        """Be the runner, in the forked process."""
        runner = WatchedRunner(cls.options.observations)
        if cls.options.profile is None:
            runner.run()
            return
        profile = cProfile.Profile()
        try:
            profile.runcall(runner.run)
        finally:
            profile.dump_stats(cls.options.profile)

    def warm_up(self) -> None:
        """
        Begin with one trigger whose task is finished, over a connection of its own.

        What is loaded once in the life of a triggerer is loaded then.
        """
        task = self.scenario.warm_up_task()
        self._assigned[task.number + 1] = [task]

    def let_arrive(self, started_at: float) -> None:
        """Begin with the tasks of the scenario."""
        self.finished.clear()
        tasks = self.scenario.gateway_tasks()
        self._started_at = started_at
        self._arriving.extend([tasks] if self.contestant.is_one_for_all else ([task] for task in tasks))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to wait for."""
        return not self._arriving and not self._assigned

    def make_client(self) -> Any:
        """Return what looks up connections, in place of the API server."""
        return SimpleNamespace(connections=SimpleNamespace(get=self._connection))

    def load_triggers(self) -> None:
        """Assign all triggers that have arrived to this triggerer."""
        now = time.time() - self._started_at
        while self._arriving and self._arriving[0][0].arrives_after <= now:
            tasks = self._arriving.popleft()
            self._assigned[tasks[0].number + 1] = tasks
        self.update_triggers(set(self._assigned))

    def build_trigger_workloads(self, new_trigger_ids: set[int]) -> list[RunTrigger]:
        """Return what the runner needs to run new triggers."""
        return [self._workload(trigger_id, self._assigned[trigger_id]) for trigger_id in sorted(new_trigger_ids)]

    def on_trigger_event(self, trigger_id: int, event: DiscrimatedTriggerEvent) -> None:
        """Take note of an event, and of the end of a trigger at its last event."""
        number = event.payload["number"] if self.contestant.is_one_for_all else trigger_id - 1
        if self.contestant.has_succeeded(event.payload):
            self.finished.add(number)
        else:
            self._note_error(f"Trigger {trigger_id} fired {event.payload}")
        if not self.contestant.is_one_for_all or len(self.finished) == len(self._assigned[trigger_id]):
            self._assigned.pop(trigger_id, None)

    def on_trigger_failure(self, trigger_id: int, exc: list[str] | None) -> None:
        """Take note of a trigger that ended without an event."""
        self._note_error(f"Trigger {trigger_id} failed: {''.join(exc or [])}")
        self._assigned.pop(trigger_id, None)

    def clean_unused(self) -> None:
        """Leave out: there is no database to clean."""

    def heartbeat(self) -> None:
        """Leave out: there is no database to tell."""

    def metric_tags(self) -> dict[str, str]:
        """Return what the metrics ask for, which are sent nowhere."""
        return {"hostname": "localhost"}

    def _note_error(self, message: str) -> None:
        self.errors += 1
        self.process_log.error(message)

    def _workload(self, trigger_id: int, tasks: list[GatewayTask]) -> RunTrigger:
        wait = Wait(tasks, self._conn_id(trigger_id), self.url, self.scenario.interval, self._started_at)
        classpath, arguments = self.contestant.trigger(wait).serialize()
        task_instance = TaskInstanceDTO(
            id=uuid.uuid4(),
            dag_id="benchmark",
            task_id="generate",
            run_id="manual__2026-01-01T00:00:00+00:00",
            map_index=trigger_id - 1,
            try_number=1,
            dag_version_id=uuid.uuid4(),
            pool_slots=1,
            priority_weight=1,
        )
        self.logger_cache[trigger_id] = TriggerLoggingFactory(
            log_path=f"dag_id=benchmark/task_id=generate/map_index={trigger_id - 1}/attempt=1.log.trigger.1.log",
            ti=task_instance,
        )
        return RunTrigger(
            id=trigger_id, classpath=classpath, encrypted_kwargs=Trigger.encrypt_kwargs(arguments), ti=task_instance
        )

    def _conn_id(self, trigger_id: int) -> str:
        return "gateway" if trigger_id <= self.scenario.tasks else "warm_up"

    def _connection(self, conn_id: str) -> ConnectionResponse:
        self.lookups += 1
        unset = dict.fromkeys(("schema", "login", "port", "extra"))
        return ConnectionResponse.model_validate({**unset, "conn_id": conn_id, **self.contestant.connection(self.url)})
