"""Many tasks wait in Airflow's own triggerer, by our trigger and by those of other providers."""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.certificates import Certificates
from benchmarks.child import Server, run_contestant
from benchmarks.measurement import Report, medians
from benchmarks.triggerer.contestants import CONTESTANTS
from benchmarks.triggerer.report import all_reported, bars_of_a_day, bars_when_crowded, bars_when_full, table_of
from benchmarks.triggerer.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.measurement import Bar, Figures

__all__ = ["figures_of", "measure"]

#: The default capacity of a triggerer.
_FULL: Final = Scenario(tasks=1_000, interval=1.0)
_CROWDED: Final = Scenario(tasks=5_000, interval=1.0)
_LIFELIKE: Final = Scenario(tasks=1_000, interval=5.0, arriving_over=15.0, latency=0.1, cut_off=75.0)
_QUICK: Final = Scenario(tasks=50, interval=0.5, median=1.5, shortest=0.5, longest=3.0, cut_off=30.0)

_OWN: Final = ("apimart", "apimart without batch endpoint", "sleep only", "ideal loop")
#: Not openai and anthropic: they block the event loop or its few threads, and with 5,000 tasks only meet the cut-off.
_CROWD: Final = (*_OWN, "dbt-cloud", "http")
#: Seconds that a run may take besides the scenario.
_OVERHEAD: Final = 60.0


@dataclass(frozen=True, slots=True)
class Goal:
    """
    What is measured together, and what we promise of it.

    :param contestants: who takes part.
    :param bars: makes the promises.
    :param runs: of each contestant.
    """

    scenario: Scenario
    contestants: Sequence[str]
    bars: Callable[[Scenario, Mapping[str, Figures]], Iterable[Bar]]
    runs: int


def measure(*, runs: int, quick: bool) -> Report:
    """
    Let the contestants wait in turn.

    :param runs: of the first scenario; the others take too long, and run once.
    """
    goals = [Goal(_QUICK, _OWN, all_reported, 1)] if quick else _goals(runs)
    rows = [(goal, _rows(goal)) for goal in goals]
    return Report(
        [table_of(goal.scenario, figures, runs=goal.runs) for goal, figures in rows],
        [bar for goal, figures in rows for bar in goal.bars(goal.scenario, figures)],
    )


def _goals(runs: int) -> list[Goal]:
    return [
        Goal(_FULL, tuple(CONTESTANTS), bars_when_full, runs),
        Goal(_CROWDED, _CROWD, bars_when_crowded, 1),
        Goal(_LIFELIKE, tuple(CONTESTANTS), bars_of_a_day, 1),
    ]


def _rows(goal: Goal) -> Mapping[str, Figures]:
    """Return each contestant's medians, but what it finished in its worst run. They take turns: noise hits all."""
    figures = defaultdict(list)
    for _ in range(goal.runs):
        for contestant in goal.contestants:
            figures[contestant].append(figures_of(contestant, goal.scenario))
    return {
        contestant: {**medians(measured), "finished": min(run["finished"] for run in measured)}
        for contestant, measured in figures.items()
    }


def figures_of(contestant: str, scenario: Scenario, *, profile: str | None = None) -> Figures:
    """
    Run one contestant in a process of its own against a gateway of its own.

    :param profile: file for a profile of the runner.
    """
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates.create(Path(folder))
        environment = {
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "NO_PROXY": "127.0.0.1",
            **certificates.client_environment(),
        }
        gateway_arguments = [scenario.to_json(), str(certificates.server)]
        if not CONTESTANTS[contestant].has_batch:
            gateway_arguments.append("--without-batch")
        with Server("benchmarks.triggerer.gateway", *gateway_arguments) as gateway:
            return run_contestant(
                "benchmarks.triggerer.run",
                contestant,
                scenario.to_json(),
                gateway.announced["url"],
                *(["--profile", profile] if profile else []),
                environment=environment,
                timeout=scenario.cut_off + _OVERHEAD,
            )
