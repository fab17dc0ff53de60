"""Airflow behind the FAB auth manager, whose users may be allowed single DAGs only."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import httpx

from services.airflow_api import AirflowApi
from services.environment import executable
from services.process import ChildProcess

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from services.airflow_home import AirflowHome

__all__ = ["FabApiServer"]

AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


class FabApiServer:
    """
    One more API server on the database of an Airflow that has read its DAGs, with a user ``admin``. A context manager.

    :param airflow: the home of that Airflow.
    :param path: of the URL under which it serves.
    """

    def __init__(self, airflow: AirflowHome, *, path: str = "/airflow") -> None:
        self.home = airflow.another_api_server(
            path=path,
            AIRFLOW__CORE__AUTH_MANAGER=AUTH_MANAGER,
            # Tests sign in more often than people do.
            AIRFLOW__FAB__AUTH_RATE_LIMITED="False",
            # The commands below have made them all.
            AIRFLOW__FAB__UPDATE_FAB_PERMS="False",
        )
        self.process = ChildProcess(
            "Airflow's API server with FAB",
            [executable("airflow"), "api-server"],
            log=self.home.logs / "fab-api-server.log",
            environment=self.home.environment,
        )
        self.api = AirflowApi(self.home.url, username=self.home.username, password=self.home.password)
        self._fab = f"{self.home.url}/auth/fab/v1"

    def add_reader(self, name: str, *, dag_id: str) -> None:
        """
        Add a user who sees what a viewer sees, and plugins, but of one DAG only.

        :param name: theirs, and their role's. Their password is in ``home.passwords``.
        """
        viewer = self.api.get(f"{self._fab}/roles/Viewer")
        granted = [action for action in viewer["actions"] if action["resource"]["name"] != "DAGs"]
        # Whom FAB does not let read plugins, as viewers by default, Airflow shows no plugin's tabs.
        added = [
            {"action": {"name": "can_read"}, "resource": {"name": resource}}
            for resource in ("Plugins", f"DAG:{dag_id}")
        ]
        self.api.post(f"{self._fab}/roles", name=name, actions=[*granted, *added])
        self.home.passwords[name] = secrets.token_urlsafe(12)
        self.api.post(
            f"{self._fab}/users",
            username=name,
            password=self.home.passwords[name],
            email=f"{name}@example.org",
            first_name=name,
            last_name=name,
            roles=[{"name": name}],
        )

    def __enter__(self) -> Self:
        self._add_admin()
        # Makes a permission for each DAG.
        self.home.run("sync-perm", "--include-dags")
        try:
            self.process.start_until(self._answers)
        except BaseException:
            self.api.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.api.close()
        self.process.stop()

    def _add_admin(self) -> None:
        admin, password = self.home.username, self.home.password
        names = ["--username", admin, "--firstname", admin, "--lastname", admin, "--email", f"{admin}@example.org"]
        self.home.run("users", "create", "--role", "Admin", *names, "--password", password)

    def _answers(self) -> bool:
        try:
            self.api.health()
        except httpx.HTTPError:
            return False
        return True
