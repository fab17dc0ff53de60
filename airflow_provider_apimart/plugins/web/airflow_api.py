"""Airflow's public REST API, asked with the rights of whoever asks for a page. I/O."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from anyio import CapacityLimiter
from fastapi import HTTPException, status

from airflow_provider_apimart.plugins.lazy_app import AIRFLOW

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fastapi import Request

    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["AirflowApi", "run_path", "task_path"]

#: Calls at the same time, of all pages. Airflow 3.3.2 looks each token up in the database from within the event loop:
#: when all connections to that are lent, 15 by default, the loop waits, and keeps everybody from giving theirs back.
_CALLS: Final = CapacityLimiter(4)
#: What says who is asking.
_CREDENTIALS: Final = {b"authorization", b"cookie"}


class AirflowApi:
    """
    The REST API of the very Airflow that shows the page, called within its process.

    It decides who may see what, so that no page has to. A context manager.

    :param request: for a page; whoever asks for that is who asks here.
    """

    def __init__(self, request: Request) -> None:
        self._root = request.scope.get("app_root_path", "")
        self._client = httpx.AsyncClient(
            # What Airflow itself raises is an answer like any other: HTTP 500.
            transport=httpx.ASGITransport(request.scope[AIRFLOW], raise_app_exceptions=False),
            base_url="http://airflow",
            headers=_credentials(request),
        )

    async def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """
        Return the answer to a call.

        :param path: below ``/api/v2``.
        :param parameters: of the query; those that are ``None`` are left out.
        :raises HTTPException: 401 and 403 as the API says them, 404 likewise, 502 for any other failure.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        async with _CALLS:
            answer = await self._client.get(f"{self._root}/api/v2{path}", params=given)
        if answer.status_code in {401, 403, 404}:
            raise HTTPException(answer.status_code, _REASONS[answer.status_code])
        if answer.is_error:
            raise HTTPException(
                status.HTTP_502_BAD_GATEWAY, f"Airflow's API answered {path} with HTTP {answer.status_code}."
            )
        found: dict[str, Any] = answer.json()
        return found

    async def find(self, path: str, **parameters: Any) -> dict[str, Any] | None:
        """Return the answer to a call, or ``None`` where there is nothing of that name."""
        try:
            return await self.get(path, **parameters)
        except HTTPException as error:
            if error.status_code == status.HTTP_404_NOT_FOUND:
                return None
            raise

    async def xcom(self, source: Scope, name: str) -> Any:
        """
        Return a value that a task instance has pushed, or ``None`` where there is none.

        :param source: the task instance.
        :param name: its key.
        """
        path = f"{task_path(source)}/xcomEntries/{quote(name)}"
        entry = await self.find(path, map_index=source.map_index)
        value = entry and entry["value"]
        if not isinstance(value, str):
            return value
        # As some releases of Airflow keep it.
        with suppress(ValueError):
            return json.loads(value)
        return value

    async def require_access(self, scope: Scope) -> None:
        """
        Refuse those who may not read what the tasks of a DAG have returned.

        :raises HTTPException: 401 or 403.
        """
        # What is there does not matter, so a name that nothing has: Airflow would count what it finds.
        await self.get(f"{task_path(scope)}/xcomEntries", xcom_key="-", limit=1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()


_REASONS: Final = {
    401: "Please sign in to Airflow.",
    403: "You may not see this in Airflow.",
    404: "There is no such thing in Airflow.",
}


def _credentials(request: Request) -> list[tuple[bytes, bytes]]:
    """
    Return the headers that say who is asking.

    Of a session it is a token of whom Airflow has recognised by it. With the cookie itself, Airflow would renew the
    session once more in each call: where an identity provider takes a refresh token only once, that ends the session.
    """
    sent = [(name, value) for name, value in request.headers.raw if name in _CREDENTIALS]
    if any(value.lower().startswith(b"bearer ") for _, value in sent):
        return [(name, value) for name, value in sent if name != b"cookie"]
    user = getattr(request.state, "user", None)
    if user is not None and COOKIE_NAME_JWT_TOKEN in request.cookies:
        return [(b"authorization", f"Bearer {get_auth_manager().generate_jwt(user)}".encode())]
    return sent


def run_path(scope: Scope) -> str:
    """Return the path of the task instances of a DAG, or of one of its runs."""
    return f"/dags/{quote(scope.dag_id, safe='')}/dagRuns/{quote(scope.run_id or '~', safe='~')}/taskInstances"


def task_path(scope: Scope) -> str:
    """Return the path of a task of a run; of all, where the scope names none."""
    return f"{run_path(scope)}/{quote(scope.task_id or '~', safe='~')}"
