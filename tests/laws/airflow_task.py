"""A task instance over its tries, driven as Airflow drives it: XComs are wiped at a retry, the state store stays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from operators.task_instance import StateStore, TaskInstance

from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[], Any]

__all__ = ["AirflowTask", "FlakyStore", "age_record"]

#: Numbers this near to the present are taken for Unix seconds.
NEAR = 5 * 86_400


@dataclass
class AirflowTask(TaskInstance):
    try_number: int = 1

    def xcom_pull(self, *, key: str = "return_value", default: Any = None, **_: Any) -> Any:
        return self.xcoms.get(key, default)

    def begin_retry(self) -> None:
        """Do what Airflow does before another try."""
        self.xcoms.clear()
        self.try_number += 1

    def clear_task(self) -> None:
        """Do what a person, or a backfill that reprocesses its runs, does; the next run is a new generation."""
        self.clear()
        self.begin_retry()

    def run_tries(self, make: Make, *, retries: int = 2) -> Any:
        """Run tries until one succeeds, an error is final, or no retry is left."""
        while True:
            try:
                return self.run(make)
            except ApimartError as error:
                if not error.retryable or not retries:
                    raise
            retries -= 1
            self.begin_retry()


class FlakyStore(StateStore):
    """
    A state store that an API server behind it does not always answer for.

    :param is_down: asked before each write.
    :param raises: whether a write that fails says so; Airflow 3.3.2 ignores some.
    """

    def __init__(self, is_down: Callable[[], bool], *, raises: bool) -> None:
        super().__init__()
        self._is_down = is_down
        self._raises = raises

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if not self._is_down():
            super().set(key, value, retention=retention)
        elif self._raises:
            raise RuntimeError("API_SERVER_ERROR: no answer")


def age_record(store: StateStore, seconds: float, *, now: float) -> None:
    """Let everything that a store holds have happened so many seconds earlier."""

    def aged(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: aged(item) for name, item in value.items()}
        if isinstance(value, list):
            return [aged(item) for item in value]
        is_time = isinstance(value, int | float) and not isinstance(value, bool) and abs(value - now) < NEAR
        return value - seconds if is_time else value

    store.values = {key: json.dumps(aged(json.loads(text))) for key, text in store.values.items()}
