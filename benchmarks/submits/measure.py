"""A thousand submits, beside the time that the gateway alone takes for them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.certificates import Certificates
from benchmarks.child import Server, run_contestant
from benchmarks.counting import counted_by
from benchmarks.measurement import Bar, Column, Report, Table, medians
from benchmarks.submits.contestants import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measurement import Figures

__all__ = ["measure", "report_of"]

_OURS: Final = "ours"
_LATENCY: Final = 0.05
_SUBMITS: Final = 1_000
_QUICK_SUBMITS: Final = 40
_OVER_IDEAL: Final = 1.3
_TIMEOUT: Final = 180.0


def measure(*, runs: int, quick: bool) -> Report:
    """Let the contestants submit in turn."""
    submits = _QUICK_SUBMITS if quick else _SUBMITS
    figures: dict[str, list[Figures]] = {name: [] for name in AT_ONCE}
    for _ in range(runs):
        for name, measured in figures.items():
            measured.append(_figures_of(name, submits))
    return report_of(figures, submits)


def _figures_of(contestant: str, submits: int) -> Figures:
    """Run a contestant once, against a gateway of its own, and return what it did and what the gateway counted."""
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates.create(Path(folder))
        with Server("benchmarks.submits.server", str(certificates.server), str(_LATENCY)) as gateway:
            url = gateway.announced["url"]
            connection = {"conn_type": "apimart", "host": url, "password": "sk-benchmark"}
            environment = {
                "AIRFLOW_HOME": folder,
                "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(connection),
                "NO_PROXY": "127.0.0.1",
                **certificates.client_environment(),
            }
            figures = run_contestant(
                "benchmarks.submits.run", contestant, url, str(submits), environment=environment, timeout=_TIMEOUT
            )
            counted = counted_by(url, certificates)
    counted["connections"] -= 1  # by which it was asked
    return {**figures, **counted, "ideal": submits / AT_ONCE[contestant] * _LATENCY}


def report_of(figures: Mapping[str, Sequence[Figures]], submits: int) -> Report:
    """
    Return medians, and hold ours against the time that the gateway alone takes.

    :param submits: how many each run should have made.
    """
    rows = {name: medians(runs) for name, runs in figures.items()}
    ours, runs = rows[_OURS], figures[_OURS]
    columns = [
        Column("wall s", lambda figures: figures["wall"]),
        Column("÷ ours", lambda figures: figures["wall"] / ours["wall"]),
        Column("submits/s", lambda figures: figures["submits"] / figures["wall"], digits=0),
        Column("wall ÷ ideal", lambda figures: figures["wall"] / figures["ideal"]),
        Column("CPU ms each", lambda figures: figures["cpu"] / figures["submits"] * 1000),
        Column("connections", lambda figures: figures["connections"], digits=0),
        Column("submits counted", lambda figures: figures["submits"], digits=0),
        Column("keys counted", lambda figures: figures["keys"], digits=0),
        Column("task ids received", lambda figures: figures["tasks"], digits=0),
    ]
    bars = [
        Bar("our wall ÷ (submits ÷ concurrency x latency)", ours["wall"] / ours["ideal"], _OVER_IDEAL),
        *(
            Bar(f"our {what} too many or too few, worst run", max(abs(run[key] - submits) for run in runs), 0)
            for key, what in (("submits", "submits"), ("keys", "idempotency keys"), ("tasks", "task ids"))
        ),
    ]
    title = f"{submits:,} submits, each answered after {_LATENCY * 1000:.0f} ms"
    return Report([Table(title, columns, rows)], bars)
