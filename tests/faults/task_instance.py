"""The task instance and the state store of a try that runs in a process of its own: everything is kept in files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from faults.injector import Injector

__all__ = ["StateStore", "TaskInstance", "write_json"]


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


@dataclass(frozen=True)
class StateStore:
    """
    The task state store of one task instance.

    :param path: the file that all tries share.
    :param try_id: of the try that uses it. Airflow gives the task instance a new id for each try, and knows the old one
        no more: what an old try writes is lost without a word, and what it reads is not there.
    :param current: the file with the id of the current try.
    """

    path: Path
    try_id: str
    current: Path
    injector: Injector

    def get(self, key: str, default: Any = None) -> Any:
        self.injector.reach("store.get")
        values = json.loads(self.path.read_text()) if self.path.exists() and self._is_current() else {}
        return values.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:  # noqa: ARG002 - Airflow's own signature
        lost = self.injector.reach("store.set")
        if not lost and self._is_current():
            values = json.loads(self.path.read_text()) if self.path.exists() else {}
            write_json(self.path, {**values, key: value})
            with self.path.with_suffix(".history").open("a") as history:
                history.write(json.dumps(value) + "\n")
        self.injector.reach("store.set done")

    def _is_current(self) -> bool:
        return self.current.read_text() == self.try_id


@dataclass(frozen=True)
class TaskInstance:
    """One try."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    max_tries: int
    try_number: int
    try_id: str
    directory: Path
    injector: Injector

    def xcom_push(self, key: str, value: Any) -> None:
        self.injector.reach("xcom")
        with (self.directory / "xcom.jsonl").open("a") as file:
            file.write(json.dumps([key, value, self.try_id]) + "\n")
        self.injector.reach("xcom done")

    def xcom_pull(self, task_ids: Any = None, *, key: str = "return_value", default: Any = None, **_: Any) -> Any:
        """Return what this try has pushed: Airflow deletes the XComs of a task instance when its next try starts."""
        path = self.directory / "xcom.jsonl"
        if task_ids not in {None, self.task_id} or not path.exists():
            return default
        pushed = [json.loads(line) for line in path.read_text().splitlines()]
        return next((value for name, value, by in reversed(pushed) if (name, by) == (key, self.try_id)), default)
