"""Where a purchase record is kept: Airflow's task state store, which outlives tries and worker crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.operators._record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RecordStore"]

_KEY: Final = "apimart_purchase"


class RecordStore:
    """
    The record of one task instance; the same for all its tries, another one for each DAG run and map index.

    :param store: ``context["task_state_store"]``, or ``None`` where there is none: nothing is remembered then.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def of(cls, context: Mapping[str, Any], *, durable: bool) -> RecordStore:
        """Return the store of a running task; one that forgets below Airflow 3.3 or when ``durable`` is off."""
        return cls(context.get("task_state_store") if durable else None)

    @property
    def remembers(self) -> bool:
        """Whether there is a store at all."""
        return self._store is not None

    def read(self) -> Record | None:
        """
        Return the record, or ``None`` when nothing was ever noted.

        :raises RecordUnavailableError: when it cannot be read, which is no proof that there is none.
        """
        if self._store is None:
            return None
        try:
            value = self._store.get(_KEY)
            return None if value is None else Record.from_json(value)
        except Exception as error:
            raise RecordUnavailableError(
                f"The record of earlier purchases could not be read ({error}). Nothing was sent; a retry reads it anew."
            ) from error

    def write(self, record: Record) -> None:
        """
        Note the record, and make sure that it was noted.

        :raises RecordUnavailableError: when it was not.
        """
        if self._store is None:
            return
        from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - not there below Airflow 3.3

        try:
            self._store.set(_KEY, record.to_json(), retention=NEVER_EXPIRE)
        except Exception as error:
            raise RecordUnavailableError(f"The purchase could not be noted ({error}).") from error
        # Airflow 3.3.2 ignores the answer to a write, so only reading it back tells whether it arrived.
        if self.read() != record:
            raise RecordUnavailableError("The purchase could not be noted: the task state store did not keep it.")
