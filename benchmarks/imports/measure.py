"""Our operators beside those of other providers."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Final

from benchmarks.child import run_contestant
from benchmarks.measurement import Bar, Column, Report, Table, medians

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measurement import Figures

__all__ = ["measure", "report_of"]

_OURS: Final = "ours"
#: What a DAG file imports to use an operator; of ours both.
_CONTESTANTS: Final = {
    _OURS: ("airflow_provider_apimart.operators.image", "airflow_provider_apimart.transfers.apimart_to_s3"),
    "http": ("airflow.providers.http.operators.http",),
    "dbt-cloud": ("airflow.providers.dbt.cloud.operators.dbt",),
    "openai": ("airflow.providers.openai.operators.openai",),
    "anthropic": ("airflow.providers.anthropic.operators.batch",),
    "HttpToS3Operator": ("airflow.providers.amazon.aws.transfers.http_to_s3",),
}
#: Single imports differ by more than a run of a longer benchmark does.
_INTERPRETERS_PER_RUN: Final = 4
_TIMEOUT: Final = 600.0
_PART_OF_THE_LIGHTEST: Final = 1 / 4


def measure(*, runs: int, quick: bool) -> Report:
    """Import in turn, in fresh interpreters, of which there are several in each run."""
    names, interpreters = ([_OURS], 1) if quick else (list(_CONTESTANTS), _INTERPRETERS_PER_RUN)
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs * interpreters):
            for name, measured in figures.items():
                measured.append(_figures_of(name, folder))
    return report_of(figures)


def _figures_of(contestant: str, folder: str) -> Figures:
    modules, environment = _CONTESTANTS[contestant], {"AIRFLOW_HOME": folder}
    return run_contestant("benchmarks.imports.run", *modules, environment=environment, timeout=_TIMEOUT)


def report_of(figures: Mapping[str, Sequence[Figures]]) -> Report:
    """Return medians, and hold ours against the lightest of the others."""
    rows = {name: medians(runs) for name, runs in figures.items()}
    ours = rows[_OURS]
    columns = [
        Column("added wall s", lambda figures: figures["wall"], digits=3),
        Column("÷ ours", lambda figures: figures["wall"] / ours["wall"], digits=1),
        Column("added CPU s", lambda figures: figures["cpu"], digits=3),
        Column("added modules", lambda figures: figures["modules"], digits=0),
        Column("added RSS, MiB", lambda figures: figures["rss"], digits=1),
    ]
    peers = [row for name, row in rows.items() if name != _OURS]
    bars = [
        Bar(f"{what} ÷ those of the lightest peer", ours[key] / min(peer[key] for peer in peers), _PART_OF_THE_LIGHTEST)
        for key, what in (("wall", "added seconds"), ("modules", "added modules"))
        if peers
    ]
    return Report([Table("On top of DAG and BaseOperator", columns, rows)], bars)
