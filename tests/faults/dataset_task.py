"""One task instance of the dataset operator, from its start to its end, whose processes are killed on the way."""

from __future__ import annotations

import functools
import json
import signal
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from faults.dataset_clock import VARIABLE
from faults.drained_proxy import DrainedProxy
from faults.kills import DURING_A_READ
from services.s3_proxy import S3Rule
from services.waiting import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from faults.dataset_clock import DatasetClock
    from faults.gateways import Gateway
    from faults.journal import Outcome
    from faults.kills import Kill
    from faults.processes import Child, ForkServer

__all__ = ["DatasetTask", "Shop"]

SEGMENT_SECONDS = 600.0
#: Tries beyond those that kills end.
MORE_TRIES = 10
#: Seconds by which the time moves on where a task only waits: more than a worker waits for a response.
WAIT_SECONDS = 450.0
#: Seconds between two looks at a worker that may be stopped.
PAUSE = 0.02


@dataclass(frozen=True)
class Shop:
    """
    Where tasks buy, and where they keep what they have bought.

    :param s3_connection: to the server itself.
    :param clock: of all its processes.
    """

    directory: Path
    fork_server: ForkServer
    gateway: Gateway
    s3_connection: Mapping[str, Any]
    bucket: str
    clock: DatasetClock


@dataclass
class DatasetTask:
    """
    A task instance. A context manager.

    If it is to be killed, it has its own way to the gateway and to S3, on which its requests are counted.

    :param name: of the folder for its logs.
    :param parameters: of the operator.
    :param kills: that are to happen to its processes; ``killed`` are those that have happened. A worker that is stopped
        instead, as if it had lost its connection to Airflow, works on beside its successor: ``stopped`` are those.
    :param outcomes: of each of its processes.
    """

    shop: Shop
    name: str
    parameters: Mapping[str, Any]
    kills: Sequence[Kill] = ()
    run_id: str = "a_run"
    map_index: int = -1
    killed: list[Kill] = field(default_factory=list)
    stopped: list[Child] = field(default_factory=list)
    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)
    _waiting: list[Kill] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _latest: Child | None = None
    _stop_seconds: float = 0.0
    _try_number: int = 0

    @property
    def directory(self) -> Path:
        return self.shop.directory / self.name

    def run(self) -> Outcome:
        """Do what Airflow does until it succeeds or fails for good, and what a person does until all kills happened."""
        try:
            return self._run()
        finally:
            self._end_stopped()

    def _run(self) -> Outcome:
        while self._try_number <= self._max_tries:
            outcome = self._try()
            is_over = outcome["kind"] == "returned" or (outcome["kind"] == "raised" and not outcome["retry"])
            if is_over and not self._waiting:
                return outcome
            if is_over:
                self._replace_kills()
        raise ServiceError(f"{self.name} did not end in {self._try_number} tries. See {self.directory}")

    def clear(self) -> None:
        """Do what Airflow does when a person clears it."""
        self._max_tries = self._try_number + MORE_TRIES

    def pictures_written(self) -> dict[str, int]:
        """Return how often each picture was written, by the last part of its key."""
        written = self._s3.written.items()
        return {path.partition("/images/")[2]: times for path, times in written if "/images/" in path}

    def _try(self) -> Outcome:
        self._try_number += 1
        (self.directory / "current-buy").write_text(str(self._try_number))
        outcome = self._segment("execute")
        while outcome["kind"] == "deferred":
            resume = [outcome["method"], {"event": self._event(outcome)}]
            outcome = self._segment("resume", resume=resume)
        return outcome

    def _event(self, deferred: Outcome) -> Any:
        """Run the trigger until it fires, wherever and however often that takes."""
        arguments = dict(deferred["arguments"])
        if not arguments["task_ids"]:
            self.shop.clock.move_to(max(arguments["wake_at"], self.shop.clock.now() + WAIT_SECONDS))
        while True:
            fired = self._segment("trigger", trigger=deferred["trigger"], arguments=arguments)
            if fired["kind"] == "failed":
                raise ServiceError(f"The trigger of {self.name} failed. See {self.directory}")
            if fired["kind"] == "event":
                return fired["event"]

    def _segment(self, segment: str, **more: Any) -> Outcome:
        number = len(self.outcomes)
        outcome = self.directory / f"outcome-{number}.json"
        order = {
            "segment": segment,
            "directory": str(self.directory),
            "outcome": outcome.name,
            "log": "task.log",
            "faults": [],
            "environment": self._environment(),
            "try_id": str(self._try_number),
            "run_began_at": self._began_at,
            "task_instance": self._task_instance(),
            "operator": "airflow_provider_apimart.operators.dataset:ApimartImageDatasetOperator",
            "parameters": {
                "task_id": "buy",
                "initial_delay": 0,
                "poll_interval": 0.1,
                "timeout": 36000,
                **self.parameters,
            },
            **more,
        }
        is_worker = segment != "trigger"
        with self.shop.clock.working() if is_worker else nullcontext():
            self._latest = child = self.shop.fork_server.fork(order)
            with self._killing_by_the_clock(number, child), self._continuing(is_worker=is_worker):
                status = self._wait(child)
        if not self.stopped:  # A worker that is stopped keeps its connections.
            for proxy in (self._gateway, self._s3):
                proxy.drain()
        if status is None:
            self.outcomes.append((segment, {"kind": "died"}))
            return {"kind": "died"}
        if status > 0:
            raise ServiceError(f"{segment} {number} of {self.name} ended with {status}. See {self.directory}")
        # A process may be killed after it has reported: what was reported counts.
        reported = json.loads(outcome.read_text()) if outcome.exists() else {"kind": "died"}
        self.outcomes.append((segment, reported))
        return reported

    def _wait(self, child: Child) -> int | None:
        """Wait for the end of a process, and return its status; ``None`` for one that was stopped."""
        ends_at = time.monotonic() + SEGMENT_SECONDS
        while not child.ended.wait(PAUSE) and child not in self.stopped and time.monotonic() < ends_at:
            pass
        return None if child in self.stopped else child.wait(PAUSE)

    @contextmanager
    def _continuing(self, *, is_worker: bool) -> Iterator[None]:
        """Let workers that were stopped work on, beside their successor, from some moment of it on."""
        timers = [threading.Timer(self._stop_seconds, child.send, (signal.SIGCONT,)) for child in self.stopped]
        for timer in timers if is_worker else ():
            timer.start()
        yield
        for timer in timers:
            timer.cancel()

    def _end_stopped(self) -> None:
        for child in self.stopped:
            child.send(signal.SIGCONT)
            child.wait(SEGMENT_SECONDS)

    def _await(self, kills: Iterable[Kill]) -> None:
        """Let kills happen when their requests come by."""
        for kill in kills:
            self._waiting.append(kill)
            if kill.site != "clock":
                rule = S3Rule(path=kill.path, method=kill.method, action=kill.action, skip=kill.skip)
                rule.notify = functools.partial(self._kill_sender, kill, rule)
                (self._gateway if kill.site == "gateway" else self._s3).add_rule(rule)

    @contextmanager
    def _killing_by_the_clock(self, number: int, child: Child) -> Iterator[None]:
        with self._lock:
            due = next((kill for kill in self._waiting if kill.site == "clock" and kill.skip <= number), None)
        if due is None:
            yield
            return
        timer = threading.Timer(due.seconds, self._kill, (due, child))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _kill_sender(self, kill: Kill, rule: S3Rule) -> None:
        # A request may still be under way when its sender is dead already: the next one is meant then.
        if self._latest is None or not self._kill(kill, self._latest):
            rule.times += 1

    def _kill(self, kill: Kill, child: Child) -> bool:
        """Kill a process, and return whether that is what it died of."""
        with self._lock:
            if child.ended.is_set() or child in self.stopped:
                return False
            if kill.is_stop:
                self._stop_seconds = kill.seconds
                child.send(signal.SIGSTOP)
                self.stopped.append(child)
                self._waiting.remove(kill)
                return True
            child.send(signal.SIGKILL)
            if child.wait(SEGMENT_SECONDS) != -signal.SIGKILL:
                return False
            self._waiting.remove(kill)
            self.killed.append(kill)
            return True

    def _replace_kills(self) -> None:
        """Let the kills that have not happened, since there is nothing left to do, happen while the ledger is read."""
        with self._lock:
            left = len(self._waiting)
            self._waiting.clear()
            self._gateway.clear_rules()
            self._s3.clear_rules()
            self._await([replace(DURING_A_READ, skip=number) for number in range(left)])

    def _task_instance(self) -> dict[str, Any]:
        return {
            "dag_id": "campaign",
            "run_id": self.run_id,
            "task_id": "buy",
            "map_index": self.map_index,
            "try_number": self._try_number,
            "max_tries": self._max_tries,
        }

    def _environment(self) -> dict[str, str]:
        apimart, aws = dict(self.shop.gateway.connection), dict(self.shop.s3_connection)
        if self.kills:
            apimart["host"] = self._gateway.url
        aws["extra"] = {**aws["extra"], "endpoint_url": self._s3.url}
        return {
            VARIABLE: str(self.shop.clock.path),
            "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(apimart),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
        }

    def __enter__(self) -> Self:
        self.directory.mkdir()
        self._began_at = self.shop.clock.now()
        self._max_tries = len(self.kills) + MORE_TRIES
        with ExitStack() as stack:
            self._gateway = stack.enter_context(DrainedProxy(self.shop.gateway.url))
            self._s3 = stack.enter_context(
                DrainedProxy(self.shop.s3_connection["extra"]["endpoint_url"], clock=self.shop.clock)
            )
            self._stack = stack.pop_all()
        self._await(self.kills)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
