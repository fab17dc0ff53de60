"""Who looks at the pages, and an auth manager that knows rights on single DAGs, which Airflow's simple one does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails

AUTH_MANAGER = "plugins.people.AuthManagerByDag"
#: The DAG that a stranger may read.
THEIRS = "theirs"

_ROLES = {"admin": "ADMIN", "viewer": "VIEWER", "stranger": "VIEWER", "onlooker": "VIEWER", "returner": "VIEWER"}


class AuthManagerByDag(SimpleAuthManager):
    """
    Lets strangers read one DAG, and onlookers all of them but for what their tasks have returned. Returners read none
    until their session is renewed, which makes viewers of them.
    """

    #: Whose session Airflow wanted to renew, each time.
    renewals: ClassVar[list[str]] = []

    def refresh_user(self, *, user: SimpleAuthManagerUser) -> SimpleAuthManagerUser | None:
        self.renewals.append(user.username)
        return SimpleAuthManagerUser(username="viewer", role="VIEWER") if user.username == "returner" else None

    def is_authorized_dag(
        self, *, method: Any, user: SimpleAuthManagerUser, access_entity: Any = None, details: DagDetails | None = None
    ) -> bool:
        if user.username == "returner":
            return False
        if user.username == "stranger" and details and details.id not in {None, THEIRS}:
            return False
        if user.username == "onlooker" and access_entity is DagAccessEntity.XCOM:
            return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: SimpleAuthManagerUser, **options: Any) -> set[str]:
        known = super().filter_authorized_dag_ids(dag_ids=dag_ids, user=user, **options)
        return known & {THEIRS} if user.username == "stranger" else known


def token_of(name: str) -> str:
    """Return what the browser of a person would send."""
    from airflow.api_fastapi.app import get_auth_manager

    return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=_ROLES[name]))
