"""
One contestant in one scenario, in Airflow's own triggerer.

Run as ``python -m benchmarks.triggerer.run CONTESTANT SCENARIO URL [--profile FILE]``; prints its figures as JSON. It
starts on the core of the contestants, where the runner stays; the supervisor moves to the core of the gateway.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from airflow._shared.observability.metrics import stats
from airflow.configuration import conf
from airflow.observability.metrics import stats_utils

from benchmarks.child import SERVER_CORE
from benchmarks.triggerer.contestants import CONTESTANTS
from benchmarks.triggerer.observations import Observations
from benchmarks.triggerer.scenario import Scenario
from benchmarks.triggerer.supervisor import RunnerOptions, WatchedSupervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measurement import Figures

__all__ = ["run"]

_KIB_PER_MIB = 1024
#: Seconds that the warm-up may take, and for which the runner idles after it.
_WARM_UP, _REST = 30.0, 2.0
#: Seconds in which the runner must end by itself, before it is killed.
_PATIENCE = 5.0
#: Seconds by which an event may seem to come before its task is finished.
_CLOCK_TOLERANCE = 0.01


def run(contestant_name: str, scenario: Scenario, url: str, *, profile: str | None = None) -> Figures:
    """
    Let a contestant wait for all tasks of a scenario, and return what it took, from the first task's arrival on.

    ``memory_per_task`` is the runner's peak of resident memory less what was resident before the first trigger, divided
    by the number of tasks, in KiB: what is needed only once is in it. Latencies are those of firing the event; an event
    that did not come is as late as the end of the run. CPU time is user and system time of all threads of a process.

    :param url: of the gateway.
    :param profile: file into which the runner's profile is written; its CPU time is worthless then.
    """
    supervisor, observations = _start(contestant_name, scenario, url, profile)
    try:
        _warm_up(supervisor)
        observations.reset()
        rss, before, started_at = _memory(supervisor, "VmRSS"), _counters(supervisor, url), time.time()
        _control(url, f"?at={started_at}")
        supervisor.let_arrive(started_at)
        _serve(supervisor, is_over=lambda: supervisor.is_over or time.time() >= started_at + scenario.cut_off)
        after, peak_rss = _counters(supervisor, url), _memory(supervisor, "VmHWM")
    finally:
        _end(supervisor)
    latencies = _latencies(scenario, observations, started_at, ended_at=after["wall"])
    premature = sum(latency < -_CLOCK_TOLERANCE for latency in latencies)
    percentiles = statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        "finished": len(supervisor.finished) - premature,
        "errors": supervisor.errors + premature,
        **{name: after[name] - before[name] for name in after},
        "peak_rss": peak_rss / _KIB_PER_MIB,
        "memory_per_task": (peak_rss - rss) / scenario.tasks,
        **{f"latency_p{percent}": percentiles[percent - 1] for percent in (50, 95, 99)},
        "longest_stall": observations.longest_stall,
        "longest_collection": observations.longest_collection,
    }


def _start(
    contestant_name: str, scenario: Scenario, url: str, profile: str | None
) -> tuple[WatchedSupervisor, Observations]:
    observations = Observations(scenario.tasks)
    _start_metrics()
    WatchedSupervisor.options = RunnerOptions(observations, profile)
    supervisor = WatchedSupervisor.start(
        contestant=CONTESTANTS[contestant_name], scenario=scenario, url=url, capacity=scenario.tasks
    )
    os.sched_setaffinity(0, {SERVER_CORE})
    return supervisor, observations


def _start_metrics() -> None:
    """Do what Airflow does before it forks; at the first metric it loads a list of them, which takes a while."""
    stats.initialize(
        factory=stats_utils.get_stats_factory(), export_legacy_names=conf.getboolean("metrics", "legacy_names_on")
    )
    stats.incr("triggers.blocked_main_thread", 0)


def _warm_up(supervisor: WatchedSupervisor) -> None:
    """Let one trigger run, and the runner come to rest."""
    begun_at = time.monotonic()
    supervisor.warm_up()
    _serve(supervisor, is_over=lambda: supervisor.is_over or time.monotonic() >= begun_at + _WARM_UP)
    if not supervisor.finished:
        raise RuntimeError("Not even the task that was finished from the beginning has been reported")
    rested_at = time.monotonic() + _REST
    _serve(supervisor, is_over=lambda: time.monotonic() >= rested_at)


def _serve(supervisor: WatchedSupervisor, *, is_over: Callable[[], bool]) -> None:
    """Be the supervisor for a while."""
    while not is_over():
        if not supervisor.is_alive():
            raise RuntimeError("The trigger runner has died")
        supervisor.run_once()


def _end(supervisor: WatchedSupervisor) -> None:
    """Ask the runner to end, and go on serving it meanwhile: it may have much to say."""
    os.kill(supervisor.pid, signal.SIGTERM)
    patient_until = time.monotonic() + _PATIENCE
    while supervisor.is_alive() and time.monotonic() < patient_until:
        supervisor.run_once()
    supervisor.kill(signal.SIGKILL)


def _counters(supervisor: WatchedSupervisor, url: str) -> dict[str, float]:
    """Return everything that only grows."""
    runner = psutil.Process(supervisor.pid).cpu_times()
    return {
        "wall": time.time(),
        "runner_cpu": runner.user + runner.system,
        "supervisor_cpu": time.process_time(),
        "lookups": supervisor.lookups,
        **_control(url),
    }


def _memory(supervisor: WatchedSupervisor, name: str) -> float:
    """Return KiB of the runner's memory, as the kernel names it."""
    lines = Path(f"/proc/{supervisor.pid}/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def _control(url: str, query: str = "") -> dict[str, float]:
    """Ask the gateway what it has counted, and start its tasks if the query says when."""
    with urllib.request.urlopen(f"{url}/control{query}", timeout=30) as answer:
        counted: dict[str, float] = json.load(answer)
    return counted


def _latencies(scenario: Scenario, observations: Observations, started_at: float, *, ended_at: float) -> list[float]:
    """Return how many seconds after a task's end its event came; where none came, how long it was overdue."""
    return [
        (observations.fired_at(task.number) or ended_at) - (started_at + task.ends_after)
        for task in scenario.gateway_tasks()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("scenario", type=Scenario.from_json)
    parser.add_argument("url")
    parser.add_argument("--profile")
    options = parser.parse_args(arguments)
    print(json.dumps(run(options.contestant, options.scenario, options.url, profile=options.profile)))


if __name__ == "__main__":
    main()
