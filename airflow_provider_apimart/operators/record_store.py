"""Storage of a purchase's record: Airflow's task state store, or an XCom where there is none."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.operators.record import PurchaseRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk.types import Logger

__all__ = ["PurchaseStore"]

_KEY: Final = "apimart_purchase"
#: Seconds between attempts to write the record.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0


class PurchaseStore:
    """
    Storage of the record of one task instance.

    Airflow's task state store outlives tries. Where there is none, an XCom takes its place, which outlives a deferral
    but not a try.

    :param store: ``context["task_state_store"]``, or ``None``.
    :param ti: the task instance.
    :param log: its logger.
    """

    def __init__(self, store: Any, ti: Any, log: Logger) -> None:
        self._store = store
        self._ti = ti
        self._log = log
        #: The record as this try last read or wrote it.
        self._latest: PurchaseRecord | None = None

    def read(self) -> PurchaseRecord | None:
        """
        Return the record, or ``None`` when there is none.

        :raises RecordUnavailableError: when it cannot be read, which does not prove that there is none.
        """
        self._latest = self._stored()
        return self._latest

    def _stored(self) -> PurchaseRecord | None:
        try:
            value = self._pull(_KEY) if self._store is None else self._store.get(_KEY)
            return None if value is None else PurchaseRecord.from_json(value)
        except Exception as error:
            raise RecordUnavailableError(
                f"The record of earlier purchases could not be read: {error}. Nothing was submitted. "
                "A retry reads it again."
            ) from error

    def write_intent(self, record: PurchaseRecord, *, before: PurchaseRecord) -> None:
        """
        Persist what is about to be submitted. An XCom is of no use for that: a retry would not find it.

        :param before: the record to return to when the intent was persisted and its response was lost.
        :raises RecordUnavailableError: when it was not persisted, or when another try has recorded something since this
            one read the record. Nothing may be submitted then.
        """
        if self._store is None:
            return
        try:
            self._check_not_overtaken()
            self._write(record)
        except RecordUnavailableError as error:
            with suppress(RecordUnavailableError):
                # A retry would take an intent that arrived for a call that was made.
                if self._stored() == record:
                    self._write(before)
            error.args = (f"{error} Nothing was submitted for it. A retry reads the record again.",)
            raise

    def _check_not_overtaken(self) -> None:
        if self._stored() != self._latest:
            raise RecordUnavailableError("Another try of this task has recorded a purchase meanwhile.")

    def persist(self, record: PurchaseRecord, *, seconds: float = 0.0) -> bool:
        """
        Write the record, repeatedly with backoff where that fails, and return whether it was persisted.

        What it holds is paid for, so a failure is logged with the ids and does not end the try.

        :param seconds: the longest time to repeat it, at most three quarters of Airflow's heartbeat timeout; 0 for one
            attempt.
        """
        ends_at = time.monotonic() + min(seconds, _write_time_limit())
        pause = _FIRST_PAUSE
        while True:
            try:
                self._write(record)
            except RecordUnavailableError as error:
                if time.monotonic() + pause >= ends_at:
                    self._log.error(
                        "Could not record task %s: %s This try continues. A retry may not know these ids.",
                        ", ".join(record.task_ids),
                        error,
                    )
                    return False
                self._log.warning("Could not record the purchase: %s Trying again in %.1f s.", error, pause)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return True

    def push_task_ids(self, task_ids: Sequence[str]) -> None:
        """Show the accepted ids in the XCom ``task_ids``; a failure is logged."""
        try:
            self._ti.xcom_push("task_ids", list(task_ids))
        except Exception as error:  # noqa: BLE001 - whatever Airflow lacks, the tasks are paid for
            self._log.warning("Could not push the XCom task_ids (%s): %s", ", ".join(task_ids), error)

    def pull_task_ids(self) -> list[str]:
        """Return the accepted ids from the XCom ``task_ids``, or nothing."""
        try:
            return [str(task_id) for task_id in self._pull("task_ids") or ()]
        except Exception as error:  # noqa: BLE001 - there may be other sources
            self._log.warning("Could not read the XCom task_ids: %s", error)
            return []

    def _write(self, record: PurchaseRecord) -> None:
        """
        Persist the record, and read it back.

        :raises RecordUnavailableError: when it was not persisted.
        """
        try:
            if self._store is None:
                self._ti.xcom_push(_KEY, record.to_json())
                return
            from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - from Airflow 3.3 on

            self._store.set(_KEY, record.to_json(), retention=NEVER_EXPIRE)
        except Exception as error:
            raise RecordUnavailableError(f"The purchase could not be recorded: {error}.") from error
        # Airflow 3.3.2 ignores the response to a write, so only reading it back tells whether it arrived.
        if self.read() != record:
            raise RecordUnavailableError("The purchase could not be recorded: the task state store did not keep it.")

    def _pull(self, key: str) -> Any:
        return self._ti.xcom_pull(task_ids=self._ti.task_id, key=key, map_indexes=self._ti.map_index)


def _write_time_limit() -> float:
    """Return the seconds for which a record may be written again while Airflow does not answer."""
    from airflow.configuration import conf  # noqa: PLC0415 - reads its files when it is loaded

    # Beyond its heartbeat timeout Airflow takes the task for dead, and a late write is refused.
    return 0.75 * float(conf.getint("scheduler", "task_instance_heartbeat_timeout", fallback=300))
