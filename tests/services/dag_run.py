"""One DAG run as Airflow's REST API shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.waiting import PATIENCE, ServiceError, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.airflow_api import AirflowApi

__all__ = ["DagRun"]

UNMAPPED = -1


class DagRun:
    """
    A handle on a DAG run.

    :param api: the Airflow that it runs in.
    :param dag_id: its DAG.
    :param run_id: its id.
    """

    def __init__(self, api: AirflowApi, dag_id: str, run_id: str) -> None:
        self._api = api
        self.dag_id = dag_id
        self.run_id = run_id
        self._path = f"/dags/{dag_id}/dagRuns/{run_id}"

    def details(self) -> dict[str, Any]:
        return self._api.get(self._path)

    def task_instances(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """Return the task instances of the run, or of one of its tasks, by map index."""
        listed = self._api.get(f"{self._path}/taskInstances", limit=1000)["task_instances"]
        chosen = [instance for instance in listed if task_id in (None, instance["task_id"])]
        return sorted(chosen, key=lambda instance: (instance["task_id"], instance["map_index"]))

    def xcom(self, task_id: str, key: str = "return_value", *, map_index: int = UNMAPPED) -> Any:
        """Return an XCom as Python data."""
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/{key}"
        return self._api.get(path, map_index=map_index, deserialize=True)["value"]

    def log(self, task_id: str, *, map_index: int = UNMAPPED, try_number: int = 1) -> str:
        """Return the log of one try: a line for each event, and for each exception behind it."""
        path = f"{self._path}/taskInstances/{task_id}/logs/{try_number}"
        content = self._api.get(path, map_index=map_index, full_content=True)["content"]
        return "\n".join(line for entry in content for line in _lines(entry))

    def links(self, task_id: str, *, map_index: int = UNMAPPED) -> dict[str, str | None]:
        """Return the addresses of the buttons on the page of a task instance, by what is written on them."""
        return self._api.get(f"{self._path}/taskInstances/{task_id}/links", map_index=map_index)["extra_links"]

    def question(self, task_id: str) -> dict[str, Any] | None:
        """Return what a task asks a person, or ``None`` while it asks nothing."""
        listed = self._api.get(f"{self._path}/hitlDetails", task_id=task_id)["hitl_details"]
        return next(iter(listed), None)

    def answer(self, task_id: str, option: str) -> None:
        """Choose one of the options that a task offers."""
        path = f"{self._path}/taskInstances/{task_id}/{UNMAPPED}/hitlDetails"
        self._api.patch(path, chosen_options=[option], params_input={})

    def clear(self, *task_ids: str) -> None:
        """
        Wait for the end of the run, and clear tasks of it, so that they run again.

        A scheduler that ends a run in the moment in which the last of its tasks is cleared does not see that (3.3.2).
        """
        wait_until(
            lambda: self.details()["state"] in {"success", "failed"},
            what=f"the end of the run {self.run_id}",
            within=PATIENCE,
            explain=self.explain,
        )
        self._api.post(
            f"/dags/{self.dag_id}/clearTaskInstances",
            dry_run=False,
            only_failed=False,
            dag_run_id=self.run_id,
            task_ids=list(task_ids),
        )

    def mark_failed(self, task_id: str, *, map_index: int = UNMAPPED) -> None:
        instance = "" if map_index == UNMAPPED else f"/{map_index}"
        self._api.patch(f"{self._path}/taskInstances/{task_id}{instance}", new_state="failed")

    def wait(self, *, within: float = PATIENCE, while_waiting: Callable[[], object] = lambda: None) -> None:
        """
        Wait until the run has succeeded.

        :param while_waiting: is called between two looks, and may raise to give up.
        :raises ServiceError: when it fails or time is up, with the log of what failed.
        """

        def finished() -> str | None:
            while_waiting()
            state = self.details()["state"]
            return state if state in {"success", "failed"} else None

        state = wait_until(finished, what=f"the run {self.run_id}", within=within, pause=1, explain=self.explain)
        if state == "failed":
            raise ServiceError(f"The run {self.run_id} of {self.dag_id} failed.\n{self.explain()}")

    def explain(self) -> str:
        """Return the state of every task instance, and the log of the first one that failed."""
        instances = self.task_instances()
        lines = [f"{it['task_id']}[{it['map_index']}]: {it['state']} in try {it['try_number']}" for it in instances]
        for it in instances:
            if it["state"] in {"failed", "up_for_retry"}:
                lines.append(self.log(it["task_id"], map_index=it["map_index"], try_number=it["try_number"]))
                break
        return "\n".join(lines)


def _lines(entry: dict[str, Any]) -> list[str]:
    exceptions = [f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or ()]
    return [entry["event"], *exceptions]
