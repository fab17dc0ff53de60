"""A client of Airflow's REST API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from services.dag_run import DagRun
from services.waiting import PATIENCE, ServiceError, wait_until

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

__all__ = ["AirflowApi"]

ATTEMPTS = 5
# Seconds: more than a component waits for SQLite.
REQUEST_SECONDS = 90


class _Login(httpx.Auth):
    """Fetches a token for the first request and sends it with every one."""

    requires_response_body = True

    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = url
        self._credentials = {"username": username, "password": password}
        self._token: str | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._token is None:
            answer = yield httpx.Request("POST", f"{self._url}/auth/token", json=self._credentials)
            self._token = answer.raise_for_status().json()["access_token"]
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class AirflowApi:
    """
    What the tests and the demo ask of Airflow.

    :param url: of the API server.
    :param username: of somebody who may do everything.
    :param password: theirs.
    """

    def __init__(self, url: str, *, username: str, password: str) -> None:
        self._client = httpx.Client(
            base_url=f"{url}/api/v2", auth=_Login(url, username, password), timeout=REQUEST_SECONDS, trust_env=False
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> Any:
        return self._request("GET", path, params=parameters)

    def post(self, path: str, **body: Any) -> Any:
        return self._request("POST", path, json=body)

    def patch(self, path: str, **body: Any) -> Any:
        return self._request("PATCH", path, json=body)

    def health(self) -> dict[str, Any]:
        """Return the state of the components. :raises httpx.TransportError: while nothing listens."""
        answer = self._client.get("/monitor/health", auth=None)
        return answer.raise_for_status().json()

    def add_connection(self, connection_id: str, connection: Mapping[str, Any]) -> None:
        """
        Store a connection in Airflow's database.

        :param connection: in the JSON form of ``AIRFLOW_CONN_*``.
        """
        extra = json.dumps(connection["extra"]) if "extra" in connection else None
        self.post("/connections", **{**connection, "connection_id": connection_id, "extra": extra})

    def import_errors(self) -> list[dict[str, Any]]:
        return self.get("/importErrors")["import_errors"]

    def wait_for_dag(self, dag_id: str, *, within: float = PATIENCE) -> None:
        """Wait until a DAG file was read."""

        def is_known() -> bool:
            if errors := self.import_errors():
                raise ServiceError("\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors))
            return any(dag["dag_id"] == dag_id for dag in self.get("/dags", limit=100)["dags"])

        wait_until(is_known, what=f"Airflow to read the DAG {dag_id}", within=within)

    def trigger(self, dag_id: str, **conf: Any) -> DagRun:
        """Start a run by hand, without a logical date."""
        run = self.post(f"/dags/{dag_id}/dagRuns", logical_date=None, conf=conf)
        return DagRun(self, dag_id, run["dag_run_id"])

    def dag_runs(self, dag_id: str) -> list[DagRun]:
        runs = self.get(f"/dags/{dag_id}/dagRuns", limit=100, order_by="id")["dag_runs"]
        return [DagRun(self, dag_id, run["dag_run_id"]) for run in runs]

    def backfills(self, dag_id: str) -> list[dict[str, Any]]:
        return self.get("/backfills", dag_id=dag_id)["backfills"]

    def _request(self, method: str, path: str, **options: Any) -> Any:
        for _ in range(ATTEMPTS):
            answer = self._client.request(method, path, **options)
            # Where Airflow finds SQLite locked by another component, it has done nothing and leaves it to the user.
            if answer.is_success or "Database error" not in answer.text:
                break
        if answer.is_error:
            raise ServiceError(f"{method} {answer.url} was answered with {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None
