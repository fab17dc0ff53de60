"""One request to a gateway, as the endpoints and the rules of faults see it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.simulator import tasks

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_apimart.gateway.catalogue import Gateway
    from airflow_provider_apimart.simulator.faults import Subject
    from airflow_provider_apimart.simulator.tasks import Task
    from airflow_provider_apimart.simulator.world import World

__all__ = ["Call"]


@dataclass(slots=True, kw_only=True)
class Call:
    """
    One request to a gateway.

    :param endpoint: name of the endpoint, see :data:`.fault_kinds.ENDPOINTS`.
    :param body: the decoded JSON; ``None`` where the endpoint takes none or it cannot be decoded.
    :param afterwards: what is to be done once the answer is on its way.
    """

    world: World
    gateway: Gateway
    endpoint: str
    request: Request
    body: Any = None
    afterwards: ExitStack = field(default_factory=ExitStack)

    @property
    def base_url(self) -> str:
        """Return the address under which the client has reached the simulator, without a path."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}"

    @property
    def idempotency_key(self) -> str | None:
        """Return the header ``Idempotency-Key``."""
        return self.request.headers.get("Idempotency-Key")

    @property
    def is_authorized(self) -> bool:
        """Return whether the request carries a key that is accepted."""
        scheme, _, key = self.request.headers.get("Authorization", "").partition(" ")
        wanted = self.world.settings.api_key
        return scheme.lower() == "bearer" and (bool(key.strip()) if wanted is None else key.strip() == wanted)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Return what the request is about: the picture to be made, or the tasks asked for."""
        if self.endpoint == "submit":
            fields = self.body if isinstance(self.body, Mapping) else {}
            named = {name: str(fields[name]) for name in ("model", "prompt") if name in fields}
            key = {"idempotency_key": self.idempotency_key} if self.idempotency_key else {}
            return ({"gateway": self.gateway.value, **named, **key},)
        return tuple(_subject(task) for task in self._tasks()) or ({"gateway": self.gateway.value},)

    def show(self, task: Task) -> dict[str, Any]:
        """Return a task as the client may see it now."""
        world = self.world
        return tasks.view(task, now=world.now(), base_url=self.base_url, url_lifetime=world.settings.url_lifetime)

    def _tasks(self) -> list[Task]:
        store, parameters = self.world.store, self.request.path_params
        if self.endpoint == "image":
            picture = store.find_picture(parameters["name"])
            return [picture[0]] if picture else []
        asked = self.body.get("task_ids") if isinstance(self.body, Mapping) else [parameters.get("task_id")]
        found = [store.find(self.gateway, task_id) for task_id in asked] if isinstance(asked, list) else []
        return [task for task in found if task]


def _subject(task: Task) -> Subject:
    key = {"idempotency_key": task.idempotency_key} if task.idempotency_key else {}
    order = task.order
    return {
        "gateway": order.gateway.value,
        "model": order.model,
        "prompt": order.prompt,
        "task_id": task.id,
        **key,
    }
