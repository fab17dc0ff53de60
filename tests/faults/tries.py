"""The processes of one scenario's tries: started, ended, put to sleep, and asked what they reported."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faults.task_instance import write_json
from services.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.gateways import Gateway
    from faults.journal import Journal, Outcome, World
    from faults.plan import Scenario
    from faults.processes import Child

__all__ = ["SEGMENT_SECONDS", "Started", "Tries"]

SEGMENT_SECONDS = 600.0
#: Seconds. Airflow's default is 300; the scheduler looks for dead workers once in a while.
HEARTBEAT_TIMEOUT = 400.0
#: Seconds until a retry: URLs live for a day.
LONGEST_DELAY = 6 * 3600


@dataclass(frozen=True)
class Started:
    """A segment in its process, and the file for its outcome."""

    segment: str
    child: Child
    outcome: Path
    faults: list[dict[str, Any]]


class Tries:
    """
    All tries of one scenario's task instances: ``generate``, and ``copy``, which may be mapped.

    :param gateway_url: returns the address under which the scenario reaches its gateway.
    """

    def __init__(
        self, scenario: Scenario, journal: Journal, world: World, gateway: Gateway, gateway_url: Callable[[], str]
    ) -> None:
        self.directory = world.directory / scenario.name
        self.directory.mkdir()
        self._scenario = scenario
        self._journal = journal
        self._world = world
        self._gateway = gateway
        self._gateway_url = gateway_url
        self._rendered = 0
        self._number = Counter({"generate": 0, "copy": 0})
        self._max_tries = Counter({"generate": scenario.retries, "copy": scenario.retries})
        self._started: Counter[str] = Counter()
        self._began_at = time.time()
        self._latest: Child | None = None

    def begin(self, task_id: str) -> None:
        """Begin another try. Airflow gives the task instance a new id for it."""
        self._number[task_id] += 1
        (self.directory / f"current-{task_id}").write_text(self._try_id(task_id))

    def are_left(self, task_id: str) -> bool:
        """Return whether Airflow would retry once more."""
        return self._number[task_id] <= self._max_tries[task_id]

    def let_heartbeat_time_out(self) -> None:
        """Let the time pass after which Airflow takes a worker for dead: a record is that much older then."""
        path = self.directory / "state-generate.json"
        values = json.loads(path.read_text()) if path.exists() else {}
        for record in values.values():
            for part in record["parts"]:
                if "intended_at" in part:
                    part["intended_at"] -= HEARTBEAT_TIMEOUT
        write_json(path, values)

    def clear(self) -> None:
        """Do what Airflow does when a person clears the image task and what follows it."""
        for task_id, number in self._number.items():
            self._max_tries[task_id] = number + self._scenario.retries
        self._journal.clears.append(time.time())

    def run(self, segment: str, task_id: str, **more: Any) -> Outcome:
        """Run one segment to the end of its process."""
        return self.finish(self.start(segment, task_id, **more))

    def start(self, segment: str, task_id: str, *, map_index: int = -1, **more: Any) -> Started:
        """
        Start one segment of the present try.

        :param map_index: of the task instance, where the task is mapped.
        :param more: goes into the order for :func:`faults.segment.run_segment`.
        """
        self._started[segment] += 1
        occurrence = self._started[segment]
        outcome = f"outcome-{segment}-{occurrence}.json"
        faults = [
            {**fault.details, "id": index}
            for index, fault in enumerate(self._scenario.faults)
            if fault.site == segment and fault.occurrence == occurrence
        ]
        order = {
            "segment": segment,
            "directory": str(self.directory),
            "outcome": outcome,
            "log": f"{task_id}.log",
            "faults": faults,
            "environment": self._environment(),
            "try_id": self._try_id(task_id),
            "run_began_at": self._began_at,
            "task_instance": self._task_instance(task_id, map_index),
            **(self._copy_operator(more.pop("source")) if task_id == "copy" else self._image_operator(segment)),
            **more,
        }
        child = self._latest = self._world.fork_server.fork(order)
        return Started(segment, child, self.directory / outcome, faults)

    def finish(self, started: Started) -> Outcome:
        """Wait for the end of a process and return what it reported."""
        status = started.child.wait(SEGMENT_SECONDS)
        if status > 0:
            self._journal.violations.append(f"{started.segment} ended with exit status {status}, see {self.directory}")
        # A process may be killed after it has reported: what was reported counts.
        outcome = json.loads(started.outcome.read_text()) if started.outcome.exists() else {"kind": "died"}
        self._journal.outcomes.append((time.time(), started.segment, outcome))
        delay = outcome.get("delay")
        if isinstance(delay, float) and delay > LONGEST_DELAY:
            self._journal.violations.append(f"{started.segment} is to be retried in {delay:.0f} s")
        return outcome

    def falls_asleep(self, started: Started) -> bool:
        """Wait until a process sleeps or ends, where a fault sends it to sleep. Returns whether it sleeps."""
        marks = [self.directory / f"fired-{fault['id']}" for fault in started.faults if fault["action"] == "stop"]
        if not marks:
            return False
        wait_until(
            lambda: started.child.ended.is_set() or any(mark.exists() for mark in marks),
            what="a try to fall asleep",
            within=SEGMENT_SECONDS,
            pause=0.02,
        )
        return not started.child.ended.is_set()

    def kill_latest(self, seconds: float) -> None:
        """End the process that was started last, now or after some seconds."""
        child = self._latest
        if child is not None and seconds:
            threading.Timer(seconds, child.send, (signal.SIGKILL,)).start()
        elif child is not None:
            child.send(signal.SIGKILL)
            child.ended.wait(SEGMENT_SECONDS)

    def note_what_happened(self) -> None:
        """Write into the journal which faults happened in the processes."""
        self._journal.fired |= {int(path.name.partition("-")[2]) for path in self.directory.glob("fired-*")}

    def _try_id(self, task_id: str) -> str:
        return f"{task_id}-{self._number[task_id]}"

    def _task_instance(self, task_id: str, map_index: int) -> dict[str, Any]:
        return {
            "dag_id": "campaign",
            "run_id": self._scenario.name,
            "task_id": task_id,
            "map_index": map_index,
            "try_number": self._number[task_id],
            "max_tries": self._max_tries[task_id],
        }

    def _environment(self) -> dict[str, str]:
        limits = {"timeout": self._scenario.http_timeout, "max_concurrency": self._scenario.max_concurrency}
        apimart = {**self._gateway.connection, "host": self._gateway_url(), "extra": limits}
        aws = self._world.s3_connection
        retries = {"total_max_attempts": self._scenario.s3_attempts, "mode": "standard"}
        extra = {**aws["extra"], "endpoint_url": self._world.proxy.url, "config_kwargs": {"retries": retries}}
        return {
            "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(apimart),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({**aws, "extra": extra}),
        }

    def _copy_operator(self, source: Any) -> dict[str, Any]:
        return {
            "operator": "airflow_provider_apimart.transfers.apimart_to_s3:ApimartToS3Operator",
            "parameters": {
                "task_id": "copy",
                "retries": self._scenario.retries,
                "source": source,
                "s3_bucket": self._world.bucket,
                "s3_key": f"{self._scenario.name}/{self._scenario.key_template}",
            },
        }

    def _image_operator(self, segment: str) -> dict[str, Any]:
        scenario = self._scenario
        rendered = self._render() if segment in {"execute", "resume"} else {}
        return {
            "operator": scenario.operator,
            "rendered": rendered,
            "parameters": {
                "task_id": "generate",
                "retries": scenario.retries,
                "prompt": scenario.prompt,
                "model": scenario.model,
                "size": "256x256",
                "n": scenario.n,
                "output_format": scenario.output_format,
                "initial_delay": 0,
                "poll_interval": 0.1,
                "timeout": scenario.timeout,
                "on_unknown_submit": scenario.on_unknown_submit,
                "on_clear": scenario.on_clear,
                **scenario.parameters,
                **dict.fromkeys(rendered, "{{ params.upstream }}"),
            },
        }

    def _render(self) -> dict[str, Any]:
        """Return the templated fields for the next process, which renders them again."""
        self._rendered += 1
        rendered = self._scenario.rendered(self._rendered)
        if rendered != self._scenario.rendered(1):
            places = (i for i, fault in enumerate(self._scenario.faults) if fault.details.get("what") == "rendering")
            self._journal.fired.update(places)
        return rendered
