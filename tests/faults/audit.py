"""The check of every promise: the gateway's sales and the objects in the bucket, against the reports to the user."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from faults.journal import UNKNOWN
from services.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from faults.gateways import Gateway
    from faults.journal import Journal
    from faults.plan import Scenario

__all__ = ["Audit", "Finding", "Purchase", "audit", "read_purchases"]


@dataclass(frozen=True)
class Purchase:
    """
    A task that the gateway accepted.

    :param cost: US dollars that it is charged in the end.
    :param pictures: SHA-256 of each picture that it has; empty for one that is not finished.
    """

    task_id: str
    prompt: str
    idempotency_key: str
    created: float
    cost: float
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """
    All that is known of one scenario after its end.

    :param purchases: for its prompt, by the gateway's own account.
    :param stored: SHA-256 of each object under its prefix.
    :param known: everything that its processes have recorded for later tries, or reported.
    :param recorded: every version of the image task's record: what a later generation can know.
    :param log: everything that its processes have logged.
    """

    scenario: Scenario
    journal: Journal
    purchases: Sequence[Purchase]
    stored: frozenset[str]
    known: str
    recorded: str
    log: str


@dataclass
class Finding:
    """
    What came of one scenario.

    :param doubles: charged tasks beyond those that the request asked for, between two clears, and with
        ``on_clear="reuse"`` over all of them.
    :param lost: paid pictures that are not in the bucket and that no error names.
    :param surfaced: whether an outcome was reported as unknown.
    :param named: paid pictures that are not in the bucket, and that an error names.
    :param recovered: whether the image task and the copy succeeded in the end.
    """

    purchases: int = 0
    doubles: int = 0
    lost: int = 0
    named: int = 0
    surfaced: bool = False
    recovered: bool = False
    violations: list[str] = field(default_factory=list)


def read_purchases(gateway: Gateway) -> list[Purchase]:
    """Return all that a gateway has sold, after taking its faults out of force."""
    gateway.clear_faults()
    sold = []
    for task in gateway.tasks():
        pictures: tuple[str, ...] = ()
        if task["cost"] and "never_finishes" not in task["faults"]:
            pictures = _pictures(gateway, task["id"])
        key = task["idempotency_key"] or ""
        sold.append(Purchase(task["id"], task["prompt"], key, task["created"], task["cost"], pictures))
    return sold


def _pictures(gateway: Gateway, task_id: str) -> tuple[str, ...]:
    def finished() -> Mapping[str, Any] | None:
        view = gateway.view(task_id)
        return view if view["status"] == "completed" else None

    view = wait_until(finished, what=f"task {task_id} to finish", within=600, pause=0.1)
    urls = [url for image in view["result"]["images"] for url in image["url"]]
    return tuple(hashlib.sha256(gateway.download(url)).hexdigest() for url in urls)


def audit(facts: Audit) -> Finding:
    """Check every promise."""
    generations = _generations(facts)
    finding = Finding(
        purchases=sum(1 for purchase in facts.purchases if purchase.cost),
        surfaced=any(outcome.get("type") == UNKNOWN for _, _, outcome in facts.journal.outcomes),
        violations=list(facts.journal.violations),
    )
    for number, (purchases, told) in enumerate(generations):
        is_last = number == len(generations) - 1
        _check_doubles(facts, purchases, finding)
        _check_unknown(facts, purchases, told, finding)
        if is_last or facts.scenario.on_clear == "reuse":
            _check_losses(facts, purchases, told, finding, is_last=is_last)
    if facts.scenario.on_clear == "reuse":
        _check_doubles_over_clears(facts, finding)
    _check_result(facts, finding)
    finding.recovered = facts.journal.final["kind"] == "returned"
    return finding


def _generations(facts: Audit) -> list[tuple[list[Purchase], list[dict[str, Any]]]]:
    """Return for each time between two clears what was bought and which errors were reported."""
    bounds = [0.0, *facts.journal.clears, float("inf")]
    generations = []
    for start, end in pairwise(bounds):
        bought = [purchase for purchase in facts.purchases if start <= purchase.created < end]
        told = [
            outcome for at, _, outcome in facts.journal.outcomes if start <= at < end and outcome["kind"] == "raised"
        ]
        generations.append((bought, told))
    return generations


def _check_doubles(facts: Audit, purchases: Sequence[Purchase], finding: Finding) -> None:
    charged = [purchase for purchase in purchases if purchase.cost]
    doubles = len(charged) - facts.scenario.parts
    if doubles > 0:
        finding.doubles += doubles
        finding.violations.append(
            f"{len(charged)} tasks were bought where {facts.scenario.parts} were asked for: "
            + ", ".join(purchase.task_id for purchase in charged)
        )


def _check_doubles_over_clears(facts: Audit, finding: Finding) -> None:
    """A clear buys only what cannot be had any more."""
    fired = (fault for i, fault in enumerate(facts.scenario.faults) if i in facts.journal.fired)
    if any(fault.ends_purchase for fault in fired):
        return
    charged = [purchase for purchase in facts.purchases if purchase.cost]
    had = [purchase for purchase in charged if not _is_out_of_reach(facts, purchase)]
    doubles = len(had) - facts.scenario.parts - finding.doubles
    if doubles > 0:
        finding.doubles += doubles
        finding.violations.append(
            f"{len(had)} tasks were bought over {len(facts.journal.clears)} clears where {facts.scenario.parts} were "
            "asked for: " + ", ".join(purchase.task_id for purchase in had)
        )


def _is_out_of_reach(facts: Audit, purchase: Purchase) -> bool:
    """Return whether no later try can collect a purchase: nothing has kept its id, and its key cannot be sent again."""
    # A key belongs to one request: a gateway refuses it for another one.
    is_key_of_use = facts.scenario.honours_keys and facts.scenario.rendering not in {"prompt", "reference"}
    results = (outcome["value"] for _, _, outcome in facts.journal.outcomes if outcome["kind"] == "returned")
    is_kept = purchase.task_id in facts.recorded or any(purchase.task_id in str(result) for result in results)
    return not is_key_of_use and not is_kept


def _check_result(facts: Audit, finding: Finding) -> None:
    """The result names a prompt that was bought."""
    prompts = {purchase.prompt for purchase in facts.purchases}
    for _, _, outcome in facts.journal.outcomes:
        value = outcome.get("value")
        if isinstance(value, dict) and value.get("prompt", "") not in {"", *prompts}:
            finding.violations.append(f"the result names a prompt that was not bought: {value['prompt']}")


def _check_unknown(
    facts: Audit, purchases: Sequence[Purchase], told: Sequence[Mapping[str, Any]], finding: Finding
) -> None:
    """A purchase that cost money and that no later try knows of must have been reported, by the name of its key."""
    for purchase in purchases:
        if purchase.task_id in facts.known or not purchase.cost:
            continue
        reports = [error for error in told if error["type"] == UNKNOWN and error["charged"] == "unknown"]
        if any(_names(error, purchase) for error in reports):
            continue
        if reports:
            finding.violations.append(f"the report of an unknown outcome does not name {purchase.idempotency_key}")
        elif not _is_warned_of(purchase.idempotency_key, facts.log):
            # A person who clears a task before its next try gets no report but that line.
            finding.violations.append(f"task {purchase.task_id} was accepted, and nobody said that this is unknown")


def _check_losses(
    facts: Audit, purchases: Sequence[Purchase], told: Sequence[Mapping[str, Any]], finding: Finding, *, is_last: bool
) -> None:
    """A picture that was paid for is stored, or named to the user."""
    for purchase in purchases:
        if not purchase.cost or (purchase.pictures and facts.stored.issuperset(purchase.pictures)):
            continue
        missing = max(1, len(set(purchase.pictures) - facts.stored))
        if _is_named(facts, purchase, told, is_last=is_last):
            finding.named += missing
        else:
            finding.lost += missing
            finding.violations.append(f"task {purchase.task_id} was paid for, is not stored, and no error names it")


def _is_named(facts: Audit, purchase: Purchase, told: Sequence[Mapping[str, Any]], *, is_last: bool) -> bool:
    """Return whether the user knows of a picture that was paid for and is not there."""
    final = facts.journal.final
    if not is_last and any(_surfaces(error, purchase) for error in told):
        return True  # Known to whoever cleared the task.
    if not is_last and _is_warned_of(purchase.idempotency_key, facts.log):
        return True  # Told at the next try.
    if final["kind"] == "raised" and _surfaces(final, purchase):
        return True
    # An image task with some of its pictures succeeds, and warns of each that is not there.
    _, last_segment, _ = facts.journal.outcomes[-1]
    return last_segment == "copy" and _is_warned_of(purchase.task_id, facts.log)


def _is_warned_of(name: str, log: str) -> bool:
    return any("[warning" in line and name in line for line in log.splitlines())


def _surfaces(error: Mapping[str, Any], purchase: Purchase) -> bool:
    return error.get("charged") in {"yes", "unknown"} and _names(error, purchase)


def _names(error: Mapping[str, Any], purchase: Purchase) -> bool:
    text = f"{error.get('message')} {error.get('task_id')} {error.get('idempotency_key')}"
    return purchase.task_id in text or bool(purchase.idempotency_key and purchase.idempotency_key in text)


def find_secrets(directory: Path, secrets: Sequence[str]) -> list[str]:
    """Return the files below a directory that hold a secret."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]
