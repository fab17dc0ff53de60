"""What a campaign has found, as a table, as lines and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from faults.kinds import KINDS
from rich.box import SIMPLE
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faults.campaign import Result

__all__ = ["as_json", "rows_of", "summary", "table_of", "total"]

COLUMNS = ("injected", "purchases", "doubles", "lost", "reported", "unknown", "recovered")


def rows_of(results: Sequence[Result]) -> dict[str, Counter[str]]:
    """
    Return the figures of each kind of fault.

    ``injected`` counts the kind in all scenarios, the rest those scenarios that were there for it.
    """
    rows: dict[str, Counter[str]] = {kind.name: Counter() for kind in KINDS}
    for result in results:
        for kind in result.injected:
            rows[kind]["injected"] += 1
        finding = result.finding
        rows[result.scenario.kind].update(
            scenarios=1,
            purchases=finding.purchases,
            doubles=finding.doubles,
            lost=finding.lost,
            reported=finding.named,
            unknown=int(finding.surfaced),
            recovered=int(finding.recovered),
        )
    return rows


def total(rows: dict[str, Counter[str]]) -> Counter[str]:
    """Return the sum of all rows."""
    return sum(rows.values(), start=Counter())


def table_of(results: Sequence[Result]) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("Fault", no_wrap=True)
    for title in (
        "Injected",
        "Purchases",
        "Double",
        "Lost",
        "Not had, named",
        "Reported unknown",
        "Recovered",
    ):
        table.add_column(title, justify="right")
    rows = {kind: row for kind, row in rows_of(results).items() if row}
    for name, row in rows.items():
        recovered = f"{row['recovered']} of {row['scenarios']}"
        table.add_row(name, *(str(row[column]) for column in COLUMNS[:-1]), recovered)
    table.add_section()
    whole = total(rows)
    table.add_row(
        "all", *(str(whole[column]) for column in COLUMNS[:-1]), f"{whole['recovered']} of {whole['scenarios']}"
    )
    return table


def summary(seed: int, results: Sequence[Result], running: Any, seconds: float) -> str:
    """Return the totals, and each broken promise with the command that repeats it."""
    whole = total(rows_of(results))
    figures = (
        f"{whole['injected']} faults in {len(results)} scenarios in {seconds:.0f} s, seed {seed}: "
        f"{whole['purchases']} purchases, {whole['doubles']} double, {whole['lost']} paid pictures lost; "
        f"{running.observer.looks} looks into the bucket"
    )
    lines = [figures]
    for result in results:
        for violation in result.finding.violations:
            scenario = result.scenario
            kinds = ", ".join(dict.fromkeys(fault.kind for fault in scenario.faults))
            lines += [
                f"BROKEN: {violation} [{kinds}]",
                f"  repeat: python -m faults.campaign --seed {seed} --only {scenario.index}",
            ]
    lines += [f"BROKEN: {violation}" for violation in running.violations]
    return "\n".join(lines)


def as_json(seed: int, results: Sequence[Result], violations: Sequence[str]) -> dict[str, Any]:
    """Return all figures as one JSON object."""
    rows = {kind: row for kind, row in rows_of(results).items() if row}
    return {
        "seed": seed,
        "totals": dict(total(rows)),
        "violations": [*violations, *(v for result in results for v in result.finding.violations)],
        "kinds": {kind: dict(row) for kind, row in rows.items()},
        "scenarios": [
            {
                "index": result.scenario.index,
                "faults": [
                    [fault.kind, fault.site, dict(fault.details), i in result.journal.fired]
                    for i, fault in enumerate(result.scenario.faults)
                ],
                "seconds": round(result.seconds, 2),
                "n": result.scenario.n,
                "model": result.scenario.model,
                "honours_keys": result.scenario.honours_keys,
                "on_unknown_submit": result.scenario.on_unknown_submit,
                "on_clear": result.scenario.on_clear,
                "clears": result.journal.clears,
                "outcomes": result.journal.outcomes,
                "violations": result.finding.violations,
            }
            for result in results
        ],
    }
