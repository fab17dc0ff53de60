"""What was seen of one contestant's run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.dataset.intervals import Interval

__all__ = ["Observed", "Session"]


@dataclass(frozen=True, slots=True)
class Session:
    """
    One stay on a worker.

    :param begin: Unix seconds at which its process came into being.
    :param end: Unix seconds at which it had done its work.
    :param resumed: whether it went on after a deferral.
    :param rss_before: MiB that the process held when the operator began.
    :param peak_rss: MiB that it held at most.
    """

    begin: float
    end: float
    resumed: bool
    rss_before: float
    peak_rss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """
    What was seen of one contestant's run.

    :param run: from when it was asked for to its end.
    :param finished: whether it came to its own end, and was not cut off.
    :param copying: when pictures were copied, in each session for itself.
    :param generating: when the gateway made each picture.
    :param submits: paid calls that the gateway received.
    :param most_per_row: of those it accepted, for the row that had the most.
    :param pictures: that are in S3.
    :param ledger: rows that the ledger knows as copied; none without a ledger.
    """

    run: Interval
    finished: bool
    sessions: Sequence[Session]
    copying: Sequence[Interval]
    generating: Sequence[Interval]
    submits: int
    most_per_row: int
    pictures: int
    ledger: int
