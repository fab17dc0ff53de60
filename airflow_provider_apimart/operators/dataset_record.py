"""Storage of a dataset's settings: Airflow's task state store, or an XCom where there is none."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.run.settings import DatasetSettings
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Logger

__all__ = ["keep_settings", "read_settings", "write_settings"]

_KEY: Final = "apimart_dataset"
#: Seconds before each attempt at reading or writing: a paid try must not end because the API server restarts.
_PAUSES: Final = (0.0, 1.0, 3.0)


def read_settings(context: Context) -> DatasetSettings | None:
    """
    Return the settings that the task instance has recorded, or ``None`` where it has none.

    Below Airflow 3.3 an XCom holds them, which outlives a deferral but not a try.

    :raises RecordUnavailableError: when they cannot be read, which does not prove that there are none.
    """
    failure: Exception | None = None
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            value = _stored(context)
            return None if value is None else DatasetSettings.from_json(json.loads(value))
        except Exception as error:  # noqa: BLE001 - whatever Airflow lacks
            failure = error
    raise RecordUnavailableError(
        f"The settings of this task instance could not be read: {failure}. Nothing was submitted. A retry reads them "
        "again."
    ) from failure


def write_settings(context: Context, settings: DatasetSettings) -> None:
    """
    Record the settings of a generation before it buys anything.

    :raises RecordUnavailableError: when it is not certain that they are recorded. Another try might render another
        prefix, and buy everything again.
    """
    value = json.dumps(settings.to_json())
    failure: Exception | str = "Airflow has lost it"
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            _store(context, value)
            # Airflow 3.3.2 ignores the response to a write.
            if _stored(context) == value:
                return
        except Exception as error:  # noqa: BLE001 - whatever Airflow lacks
            failure = error
    raise RecordUnavailableError(
        f"The settings of this task instance could not be recorded: {failure}. Nothing was submitted after that. A "
        "retry renders its templates again."
    )


def keep_settings(context: Context, settings: DatasetSettings, log: Logger) -> None:
    """Record the settings that came with an event, where that has failed before."""
    try:
        is_recorded = _stored(context) is not None
    except Exception:  # noqa: BLE001 - whatever Airflow lacks, paid pictures are collected
        return
    if not is_recorded:
        try:
            write_settings(context, settings)
        except RecordUnavailableError as error:
            log.warning("%s", error)


def _stored(context: Context) -> Any:
    ti, store = context["ti"], context.get("task_state_store")
    if store is not None:
        return store.get(_KEY)
    return ti.xcom_pull(task_ids=ti.task_id, key=_KEY, map_indexes=ti.map_index)


def _store(context: Context, value: str) -> None:
    store = context.get("task_state_store")
    if store is None:
        context["ti"].xcom_push(_KEY, value)
        return
    from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - from Airflow 3.3 on

    store.set(_KEY, value, retention=NEVER_EXPIRE)
