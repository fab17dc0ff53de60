"""Storage of a dataset's settings: Airflow's task state store, or an XCom where there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.run.settings import DatasetSettings
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Logger

__all__ = ["read_settings", "write_settings"]

_KEY: Final = "apimart_dataset"


def read_settings(context: Context) -> DatasetSettings | None:
    """
    Return the settings that the task instance has recorded, or ``None`` where it has none.

    Below Airflow 3.3 an XCom holds them, which outlives a deferral but not a try.

    :raises RecordUnavailableError: when they cannot be read, which does not prove that there are none.
    """
    ti, store = context["ti"], context.get("task_state_store")
    try:
        if store is not None:
            value: Any = store.get(_KEY)
        else:
            value = ti.xcom_pull(task_ids=ti.task_id, key=_KEY, map_indexes=ti.map_index)
        return None if value is None else DatasetSettings.from_json(json.loads(value))
    except Exception as error:
        raise RecordUnavailableError(
            f"The settings of this task instance could not be read: {error}. Nothing was submitted. A retry reads them "
            "again."
        ) from error


def write_settings(context: Context, settings: DatasetSettings, log: Logger) -> None:
    """
    Record the settings of a generation before it buys anything.

    A failure is logged: the ledger keeps rows from being bought twice, as long as the prefix is the same.
    """
    store, value = context.get("task_state_store"), json.dumps(settings.to_json())
    try:
        if store is None:
            context["ti"].xcom_push(_KEY, value)
            return
        from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - from Airflow 3.3 on

        store.set(_KEY, value, retention=NEVER_EXPIRE)
    except Exception as error:  # noqa: BLE001 - whatever Airflow lacks
        log.warning("Could not record the settings of this task: %s. A retry renders its templates again.", error)
