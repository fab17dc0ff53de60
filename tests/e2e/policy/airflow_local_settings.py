"""A cluster policy: Airflow imports it by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.timetables.simple import NullTimetable

if TYPE_CHECKING:
    from airflow.sdk import DAG

__all__ = ["dag_policy"]


def dag_policy(dag: DAG) -> None:
    """Buy nothing because it is a quarter past six: the tests count what they have bought themselves."""
    if dag.dag_id == "apimart_scheduled_picture":
        dag.timetable = NullTimetable()
