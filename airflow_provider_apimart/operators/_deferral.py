"""The times of a deferral that Airflow's own ways make necessary. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

__all__ = ["HOLD_EVENT", "timeout_of"]

#: Seconds between a deferral and its event. An event that comes sooner can meet a scheduler that has not yet seen the
#: worker's process end, and takes the resumed task for a killed one (apache/airflow#67287, alive in 3.3.2).
HOLD_EVENT: Final = 10.0
#: Seconds by which Airflow's own timeout of the deferral outlasts the trigger's, which knows what it is doing.
_BACKSTOP: Final = 60.0


def timeout_of(deadline: float, *, now: float, poll_interval: float) -> timedelta:
    """
    Return after which time Airflow may give up a trigger that has not fired.

    :param deadline: Unix seconds at which the trigger itself gives up.
    """
    return timedelta(seconds=max(deadline - now, HOLD_EVENT) + poll_interval + _BACKSTOP)
