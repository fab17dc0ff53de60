"""Which tasks buy pictures, as Airflow's API is asked for them. Pure, but for the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow import __version__

__all__ = ["CLASSES", "NAMES", "UNDER_WAY", "begun", "buying"]

#: The operators' ``custom_operator_name``, which classes that are derived from them inherit.
NAMES: Final = ("APIMart image", "APIMart image dataset", "@task.apimart_images")
#: The same operators by the names of their classes.
CLASSES: Final = ("ApimartImageOperator", "ApimartImageDatasetOperator", "_ImagesDecoratedOperator")
#: States of tasks that have begun and not ended. One that goes on after a deferral is scheduled and queued once more.
UNDER_WAY: Final = ("scheduled", "queued", "running", "deferred", "up_for_retry", "restarting")
#: More than the clocks of the API server and of its database differ.
_CLOCKS_DIFFER: Final = timedelta(seconds=2)


def buying(airflow: str = __version__) -> dict[str, Any]:
    """
    Return the filter that leaves the task instances that buy pictures.

    :param airflow: the release. That of 3.1 knows the names of the very classes only, so derived ones are left out.
    """
    major, minor = (int(number) for number in airflow.split(".")[:2])
    return {"operator": CLASSES} if (major, minor) < (3, 2) else {"operator_name_pattern": "|".join(NAMES)}


def begun(before: datetime | None = None) -> dict[str, Any]:
    """
    Return the filter that leaves the task instances that have begun.

    :param before: the moment by which they have; ``None`` for now.
    """
    # For this filter, what has not begun begins now.
    latest = datetime.now(UTC) - _CLOCKS_DIFFER
    return {"start_date_lt": min(before or latest, latest).isoformat()}
