"""The hook: an Airflow connection of type ``apimart`` as a client of its gateway."""

from __future__ import annotations

import asyncio
import atexit
import json
import threading
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from airflow.sdk import BaseHook

from airflow_provider_apimart.exceptions import (
    ApimartError,
    ConfigurationError,
    GatewayError,
    NotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.polling import BatchEndpoint, look_up
from airflow_provider_apimart.gateway.reference_images import read_reference
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import Submission
from airflow_provider_apimart.hooks.connection_form import UI_FIELD_BEHAVIOUR, form_widgets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    import httpx
    from airflow.sdk import Connection
    from anyio.from_thread import BlockingPortal

    from airflow_provider_apimart.gateway.client import GatewayClient
    from airflow_provider_apimart.gateway.cost import Price
    from airflow_provider_apimart.gateway.endpoints import Balance, Endpoint
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.task import Task

    #: The place of a purchase among all, and its outcome.
    Outcome = tuple[int, Submission | ApimartError]

__all__ = ["ApimartHook"]

T = TypeVar("T")


class ApimartHook(BaseHook):
    """
    Client of APIMart or APIMaster for one Airflow connection.

    The connection is looked up once, at the first request. A hook holds HTTP connections: :meth:`close` it, or use it
    in a ``with`` statement. The methods that begin with ``a`` belong to the running event loop, and end with
    :meth:`aclose` or ``async with``; the others run them in an event loop of the hook's own, and may be called from any
    thread.

    :param apimart_conn_id: id of a connection of type ``apimart``.
    :param transport: carries the requests, for tests; the network unless given.
    """

    conn_name_attr = "apimart_conn_id"
    default_conn_name = "apimart_default"
    conn_type = "apimart"
    hook_name = "APIMart"

    def __init__(
        self, apimart_conn_id: str = default_conn_name, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__()
        self.apimart_conn_id = apimart_conn_id
        self._transport = transport
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, GatewayClient] = WeakKeyDictionary()
        self._connecting: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._loop: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None
        self._opening = threading.Lock()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields for Airflow before 3.2; later versions read them from the provider info."""
        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and hidden fields of the form for Airflow before 3.2."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}

    @cached_property
    def settings(self) -> GatewaySettings:
        """
        The connection's fields, checked.

        :raises ConfigurationError: naming the field of the connection that cannot be used.
        """
        settings = _settings(self.get_connection(self.apimart_conn_id))
        for notice in settings.notices:
            self.log.warning("%s", notice)
        return settings

    async def aload_settings(self) -> GatewaySettings:
        """
        Look the connection up, unless that was done before, without blocking the event loop.

        :raises ConfigurationError: naming the field of the connection that cannot be used.
        """
        if "settings" not in self.__dict__:
            # The blocking look-up stalls or breaks a triggerer; this one fills the same cache.
            self.__dict__["settings"] = _settings(await self.aget_connection(self.apimart_conn_id))
        return self.settings

    @cached_property
    def batch_endpoint(self) -> BatchEndpoint:
        """The batch endpoint as this hook has come to know it."""
        return BatchEndpoint(enabled=self.settings.batch_polling, warn=lambda message: self.log.warning("%s", message))

    def submit(self, request: ImageRequest, *, idempotency_key: str | None = None) -> Submission:
        """
        Buy the pictures of one request, as one gateway task.

        Sent again by itself only after a response that proves that nothing was accepted.

        :param request: a request that was checked, see :mod:`~airflow_provider_apimart.gateway.validation`.
        :param idempotency_key: the same for every attempt at this one purchase.
        :raises SubmitOutcomeUnknownError: when it may have been accepted and billed all the same.
        :raises GatewayError: when it was refused; nothing was charged.
        """
        return self._run(partial(self.asubmit, request, idempotency_key=idempotency_key))

    async def asubmit(self, request: ImageRequest, *, idempotency_key: str | None = None) -> Submission:
        """Buy the pictures of one request; see :meth:`submit`."""
        return await self._send(endpoints.submit, request, idempotency_key=idempotency_key)

    def submit_many(
        self,
        purchases: Iterable[tuple[ImageRequest, str | None]],
        *,
        on_unread: Callable[[int, Submission], None] = lambda _place, _submission: None,
    ) -> Generator[Outcome, None, None]:
        """
        Submit many requests side by side, as many at once as the connection's ``max_concurrency`` allows.

        When the gateway refuses one for now (HTTP 429), all wait as long as it asks, for up to a minute, and half as
        many may be on the wire afterwards; the limit then grows again. When the generator is closed early, nothing
        more is drawn; submits on the wire are waited for, and logged with their task ids.

        :param purchases: requests with their idempotency keys; each is drawn when there is room for it.
        :param on_unread: called with the place of each submit that was on the wire when the generator was closed, or
            when a signal ended the wait for it, and that was accepted all the same.
        :return: the place of each request in ``purchases`` and its outcome, an error being one too, as they arrive.
        """
        portal = self._open_portal()
        client = portal.call(self._client)
        numbered = enumerate(purchases)
        places: dict[Future[Submission], int] = {}
        try:
            while True:
                # One by one: a submit that was started before drawing fails must not be forgotten.
                while len(places) < client.throttle.concurrency and (drawn := next(numbered, None)):
                    place, (request, key) = drawn
                    places[portal.start_task_soon(partial(self.asubmit, request, idempotency_key=key))] = place
                if not places:
                    return
                finished, _ = wait(places, return_when=FIRST_COMPLETED)
                for future in finished:
                    outcome: Submission | ApimartError
                    try:
                        outcome = future.result()
                    except ApimartError as error:
                        outcome = error
                    yield places.pop(future), outcome
        finally:
            # Left over only if the caller has stopped, or drawing failed: they may be accepted all the same.
            for future, place in places.items():
                self._log_unread(place, future)
                with suppress(ApimartError, CancelledError):
                    on_unread(place, future.result())

    def get_task(self, task_id: str) -> Task:
        """
        Return the present state of one task.

        :raises TaskNotFoundError: when the gateway says that it does not know the id. One such response proves nothing.
        :raises GatewayError: when its state could not be read; always retryable.
        """
        return self._run(self.aget_task, task_id)

    async def aget_task(self, task_id: str) -> Task:
        """Return the present state of one task; see :meth:`get_task`."""
        return await self._send(endpoints.get_task, task_id)

    def get_tasks(self, task_ids: Iterable[str]) -> dict[str, Task | GatewayError]:
        """
        Return the present state of many tasks, queried in batches where the gateway understands that.

        :return: for each id its task, or the error of its query; one bad id spoils no other.
        :raises GatewayError: when the gateway could not be queried at all; always retryable.
        """
        return self._run(self.aget_tasks, task_ids)

    async def aget_tasks(self, task_ids: Iterable[str]) -> dict[str, Task | GatewayError]:
        """Return the present state of many tasks; see :meth:`get_tasks`."""
        client = await self._client()

        async def send(endpoint: Endpoint[Any]) -> Any:
            try:
                return await client.send(endpoint)
            except GatewayError as error:
                return error

        steps = look_up(self.settings, task_ids, self.batch_endpoint)
        outcomes = None
        while True:
            try:
                outcomes = await asyncio.gather(*map(send, steps.send(outcomes)))
            except StopIteration as finished:
                found: dict[str, Task | GatewayError] = finished.value
                return found

    def get_balance(self) -> Balance:
        """
        Return the money that is left to spend. The query is free.

        :raises GatewayError: for a wrong key; APIMaster has no balance endpoint, which is a ``NotFoundError``.
        """
        return self._call(endpoints.get_balance)

    def get_price(self, model: str) -> Price:
        """Return a model's public price table, which is empty for a model that the gateway does not know."""
        return self._call(endpoints.get_price, model)

    def upload_image(self, image: str | Path | bytes) -> str:
        """
        Upload a reference image, free of charge, and return its URL, which lives for 72 hours.

        Its type is recognised by its content, whatever its name is; the name does not leave this machine.

        :param image: a path, or the bytes of a complete JPEG, PNG, WebP or GIF file of at most 20 MiB.
        :raises InvalidRequestError: for anything else. Nothing was submitted.
        :raises OSError: for a file that cannot be read.
        """
        content = image if isinstance(image, bytes) else read_reference(Path(image))
        return self._call(endpoints.upload_image, content)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the gateway accepts the key, and the money that is left to spend. The query is free."""
        try:
            try:
                balance = self.get_balance()
            except (NotFoundError, UnreadableAnswerError):
                models = self._call(endpoints.list_models)
                return True, f"{self.settings.host} accepts the key and offers {len(models)} models."
        except ApimartError as error:
            return False, str(error)
        remaining = "no limit" if balance.remaining is None else f"{balance.remaining} left"
        return True, f"{self.settings.host} accepts the key; balance: {remaining}."

    def close(self) -> None:
        """Close the connections that the blocking methods hold, and end their event loop."""
        with self._opening:
            loop, self._loop = self._loop, None
            portal, self._portal = self._portal, None
        if loop is None or portal is None:
            return
        atexit.unregister(self.close)
        try:
            portal.call(self.aclose)
        finally:
            # Requests are left only where Airflow has ended the task in the middle of one.
            portal.call(portal.stop, True)  # noqa: FBT003 - anyio's own signature: cancel what is left
            loop.__exit__(None, None, None)

    async def aclose(self) -> None:
        """Close the connections that the running event loop holds."""
        if client := self._clients.pop(asyncio.get_running_loop(), None):
            await client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _send(self, make: Callable[..., Endpoint[T]], *arguments: Any, **options: Any) -> T:
        """Send the request that a function of :mod:`~airflow_provider_apimart.gateway.endpoints` describes."""
        client = await self._client()
        return await client.send(make(self.settings, *arguments, **options))

    async def _client(self) -> GatewayClient:
        """Return the client of the running event loop, which is made once."""
        loop = asyncio.get_running_loop()
        async with self._connecting.setdefault(loop, asyncio.Lock()):
            if loop not in self._clients:
                await self.aload_settings()
                # In a thread: loading httpx and the certificate authorities takes longer than a loop may stand still.
                self._clients[loop] = await asyncio.to_thread(self._make_client)
        return self._clients[loop]

    def _call(self, make: Callable[..., Endpoint[T]], *arguments: Any) -> T:
        result: T = self._run(self._send, make, *arguments)
        return result

    def _run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run an asynchronous method in the hook's own event loop, and return its result."""
        return self._open_portal().call(function, *arguments)

    def _open_portal(self) -> BlockingPortal:
        """Return the way into the hook's own event loop, which the first thread that needs it starts."""
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - not for a DAG file to pay

        with self._opening:
            if self._portal is None:
                self.settings  # noqa: B018 - looked up by the thread that Airflow serves
                self._loop = start_blocking_portal()
                self._portal = self._loop.__enter__()
                # The interpreter hangs at its end when it finds an event loop whose thread it has stopped already.
                atexit.register(self.close)
            return self._portal

    def _make_client(self) -> GatewayClient:
        from airflow_provider_apimart.gateway.client import GatewayClient  # noqa: PLC0415 - loads httpx

        return GatewayClient(
            self.settings, transport=self._transport, notify=lambda message: self.log.info("%s", message)
        )

    def _log_unread(self, place: int, future: Future[Submission]) -> None:
        try:
            outcome = future.exception() or future.result()
        except CancelledError as error:  # The hook was closed meanwhile.
            outcome = error
        if isinstance(outcome, Submission):
            task_ids = ", ".join(task.task_id for task in outcome.tasks)
            self.log.warning("Request %d was accepted as %s after the caller had stopped reading", place, task_ids)
        else:
            self.log.warning("Request %d failed after the caller had stopped reading: %s", place, outcome)


def _settings(connection: Connection) -> GatewaySettings:
    name = f"Connection {connection.conn_id!r}"
    try:
        # Not extra_dejson, whose masking of secrets blocks an event loop: this extra holds none.
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        raise ConfigurationError(f"{name} has an extra that is not JSON.") from None
    if not isinstance(extra, dict):
        raise ConfigurationError(f"{name} has an extra that is not a JSON object.")
    return GatewaySettings.from_connection(
        password=connection.password, host=connection.host, port=connection.port, extra=extra, name=name
    )
