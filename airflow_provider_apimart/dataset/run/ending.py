"""
The end of a task on a dataset, when nothing is left to do or to wait for: it succeeds, or the reason why it fails.

==========================================================  =======================
Situation                                                   The task ends with
==========================================================  =======================
more calls have no picture than allowed, all of them late   TaskTimeoutError
more calls have no picture than allowed                     IncompleteDatasetError
rows are left because too many of the last calls failed     IncompleteDatasetError
rows are left because the budget allows no more             BudgetExceededError
no row is left, and no more have failed than allowed         its result
==========================================================  =======================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_apimart.dataset.run.plan import CallStep
from airflow_provider_apimart.exceptions import (
    ApimartError,
    BudgetExceededError,
    IncompleteDatasetError,
    TaskTimeoutError,
    TransferError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.dataset.ledger.money import Budget
    from airflow_provider_apimart.dataset.run.settings import Rules
    from airflow_provider_apimart.dataset.run.tally import Tally

__all__ = ["allowed_failures", "error_of_end", "not_copied", "out_of_time"]


def allowed_failures(total: int, max_failed: float | None) -> float:
    """Return how many calls may fail: ``max_failed`` is a number, or as a float a share of all."""
    allowed = max_failed or 0
    return allowed * total if isinstance(allowed, float) else allowed


def error_of_end(
    tally: Tally,
    rules: Rules,
    *,
    failure: str | None,
    objection: str | None,
    budget: Budget,
    errors: Mapping[bytes, str],
) -> ApimartError | None:
    """
    Return the error with which a task ends, or ``None`` where it succeeds.

    :param failure: why nothing more is bought after many failures; ``None`` where buying goes on.
    :param objection: why the budget does not allow the next call.
    :param budget: of the DAG run.
    :param errors: error messages of this worker's calls, by their keys.
    """
    money = f"Money of this run: {budget}."
    why_not = failure or objection or ""
    if tally.failed <= allowed_failures(tally.total, rules.max_failed):
        if not tally.left:
            return None
        reason = f"{tally.left} of {tally.total} rows were not bought. {why_not}".rstrip()
        if not failure:
            advice = "Raise max_cost and clear the task to buy the rest."
            if budget.untold:
                advice = "max_cost cannot be kept without known costs: clear the task without it to buy the rest."
            return BudgetExceededError(f"{reason} {money} What is bought is in S3. {advice}")
    else:
        unbought = f" {tally.left} of the others were not bought. {why_not}".rstrip() if tally.left else ""
        reason = f"{tally.failed} of {tally.total} rows have no picture.{unbought}"
    failed = "; ".join(tally.reasons(errors))
    if not tally.left and tally.count(CallStep.LATE) == tally.failed:
        return TaskTimeoutError(
            f"{reason} They have not ended at the gateway after {rules.timeout:g} s, and may be charged. {money} They "
            f"are recorded: a retry collects them and buys nothing twice. {failed}"
        )
    return IncompleteDatasetError(
        f"{reason} {money} The ledger names every row and its error. Clearing the task buys the rows again that "
        "were not charged; max_failed lets a task succeed with some rows missing; a verdict per row accepts a loss or "
        f"buys again (python -m airflow_provider_apimart.dataset --help). {failed}"
    )


def out_of_time(*, running: int, left: int) -> TaskTimeoutError:
    """Return the error of a try whose ``execution_timeout`` is over."""
    return TaskTimeoutError(
        f"execution_timeout is over; {running} paid call(s) are in flight and {left} row(s) were not bought. What was "
        "bought is recorded: a retry collects it and buys only what is missing."
    )


def not_copied(errors: Sequence[ApimartError]) -> TransferError:
    """Return the error of a task whose pictures could not be copied."""
    return TransferError(
        f"The pictures of {len(errors)} row(s) could not be copied. They were paid for and are recorded: a retry "
        f"copies them and buys nothing. The first: {errors[0]}",
        task_id=errors[0].task_id,
        retryable=any(error.retryable for error in errors),
    )
