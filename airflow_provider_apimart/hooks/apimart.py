"""The hook: an Airflow connection of type ``apimart`` as a client of its gateway."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_apimart.exceptions import (
    ApimartError,
    ConfigurationError,
    GatewayError,
    NotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.images import read_reference
from airflow_provider_apimart.gateway.polling import BatchEndpoint, look_up
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.hooks._submitting import asubmit_side_by_side, submit_side_by_side
from airflow_provider_apimart.hooks.connection_form import UI_FIELD_BEHAVIOUR, form_widgets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable
    from types import TracebackType
    from typing import Self

    import httpx
    from airflow.sdk import Connection

    from airflow_provider_apimart.gateway.client import AsyncGatewayClient, GatewayClient
    from airflow_provider_apimart.gateway.cost import Price
    from airflow_provider_apimart.gateway.endpoints import Balance, Endpoint
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.task import Submission, Task

__all__ = ["ApimartHook"]


class ApimartHook(BaseHook):
    """
    Talks to APIMart or APIMaster through an Airflow connection.

    The connection is looked up once, at the first call. A hook holds HTTP connections: :meth:`close` it, or use it in a
    ``with`` statement; the asynchronous methods belong to one event loop and to :meth:`aclose` or ``async with``.

    :param apimart_conn_id: id of a connection of type ``apimart``.
    :param transport: what carries blocking requests, for tests; the network unless given.
    :param async_transport: likewise for asynchronous requests.
    """

    conn_name_attr = "apimart_conn_id"
    default_conn_name = "apimart_default"
    conn_type = "apimart"
    hook_name = "APIMart"

    def __init__(
        self,
        apimart_conn_id: str = default_conn_name,
        *,
        transport: httpx.BaseTransport | None = None,
        async_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__()
        self.apimart_conn_id = apimart_conn_id
        self._transport = transport
        self._async_transport = async_transport
        self._async_client: AsyncGatewayClient | None = None
        self._connecting = asyncio.Lock()

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
        What the connection says.

        :raises ConfigurationError: naming the field of the connection that cannot be used.
        """
        return _settings(self.get_connection(self.apimart_conn_id))

    def get_conn(self) -> GatewayClient:
        """Return the blocking client, which is made once."""
        return self._client

    @cached_property
    def _client(self) -> GatewayClient:
        from airflow_provider_apimart.gateway.client import GatewayClient  # noqa: PLC0415 - loads httpx: not for a DAG to pay

        return GatewayClient(self.settings, transport=self._transport, notify=self._notify)

    @cached_property
    def batch_endpoint(self) -> BatchEndpoint:
        """What this hook has learnt about asking after many tasks at once."""
        return BatchEndpoint(enabled=self.settings.batch_polling, warn=lambda message: self.log.warning("%s", message))

    async def aload_settings(self) -> GatewaySettings:
        """
        Look the connection up, unless that was done before, without blocking the event loop.

        :raises ConfigurationError: naming the field of the connection that cannot be used.
        """
        if "settings" not in self.__dict__:
            # The blocking look-up stalls or breaks a triggerer; this one fills the same cache.
            self.__dict__["settings"] = _settings(await self.aget_connection(self.apimart_conn_id))
        return self.settings

    async def get_async_conn(self) -> AsyncGatewayClient:
        """Return the asynchronous client, which is made once, for the running event loop."""
        async with self._connecting:
            if self._async_client is None:
                await self.aload_settings()
                # In a thread: loading httpx and the certificate authorities takes longer than a loop may stand still.
                self._async_client = await asyncio.to_thread(self._make_async_client)
        return self._async_client

    def _make_async_client(self) -> AsyncGatewayClient:
        from airflow_provider_apimart.gateway.client import AsyncGatewayClient  # noqa: PLC0415 - as above

        return AsyncGatewayClient(self.settings, transport=self._async_transport, notify=self._notify)

    def _notify(self, message: str) -> None:
        self.log.info("%s", message)

    def submit(self, request: ImageRequest, *, idempotency_key: str | None = None) -> Submission:
        """
        Buy the pictures of one request, as one gateway task.

        Sent again by itself only after an answer that proves that nothing was accepted.

        :param request: a request that was checked, see :mod:`~airflow_provider_apimart.gateway.validation`.
        :param idempotency_key: the same for every attempt at this one purchase.
        :raises SubmitOutcomeUnknownError: when it may have been accepted and billed all the same.
        :raises GatewayError: when it was refused; nothing was charged.
        """
        return self.get_conn().send(endpoints.submit(self.settings, request, idempotency_key=idempotency_key))

    async def asubmit(self, request: ImageRequest, *, idempotency_key: str | None = None) -> Submission:
        """Do what :meth:`submit` does, asynchronously."""
        client = await self.get_async_conn()
        return await client.send(endpoints.submit(self.settings, request, idempotency_key=idempotency_key))

    def submit_many(
        self, purchases: Iterable[tuple[ImageRequest, str | None]]
    ) -> Generator[tuple[int, Submission | ApimartError], None, None]:
        """
        Do what :meth:`submit` does for many requests, as many at once as the connection's ``max_concurrency`` says.

        They share both that and its ``requests_per_second`` with all other submits of the account in this process.
        When the gateway refuses one for now (HTTP 429), all wait as long as it asks, for up to a minute, and half as
        many are under way then; step by step they become as many again.
        When the iterator is closed early, nothing more is drawn; what is under way then is waited for and logged with
        its task ids.

        :param purchases: requests with their idempotency keys; each is drawn when there is room for it.
        :return: the place of each request in ``purchases`` and its outcome, an error being one too, in the order in
            which they come.
        """
        client = self.get_conn()  # Made here: threads that all ask for it first would make several.
        yield from submit_side_by_side(
            lambda request, key: client.send(endpoints.submit(self.settings, request, idempotency_key=key)),
            purchases,
            pace=client.pace,
            warn=lambda message: self.log.warning("%s", message),
        )

    async def asubmit_many(
        self, purchases: Iterable[tuple[ImageRequest, str | None]]
    ) -> AsyncGenerator[tuple[int, Submission | ApimartError], None]:
        """Do what :meth:`submit_many` does, asynchronously; leave early only within ``contextlib.aclosing``."""
        client = await self.get_async_conn()
        outcomes = asubmit_side_by_side(
            lambda request, key: client.send(endpoints.submit(self.settings, request, idempotency_key=key)),
            purchases,
            pace=client.pace,
            warn=lambda message: self.log.warning("%s", message),
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    def get_task(self, task_id: str) -> Task:
        """
        Ask after one task.

        :raises TaskNotFoundError: when the gateway does not know the id.
        """
        return self.get_conn().send(endpoints.get_task(self.settings, task_id))

    async def aget_task(self, task_id: str) -> Task:
        """Do what :meth:`get_task` does, asynchronously."""
        client = await self.get_async_conn()
        return await client.send(endpoints.get_task(self.settings, task_id))

    def get_tasks(self, task_ids: Iterable[str]) -> dict[str, Task | GatewayError]:
        """
        Ask after many tasks, in batches where the gateway understands that.

        :return: for each id its task, or the error that asking after it gave; one bad id spoils no other.
        :raises GatewayError: when the gateway could not be asked at all.
        """
        client = self.get_conn()

        def send(call: Endpoint[Any]) -> Any:
            try:
                return client.send(call)
            except GatewayError as error:
                return error

        steps = look_up(self.settings, task_ids, self.batch_endpoint)
        outcomes = None
        while True:
            try:
                outcomes = [send(call) for call in steps.send(outcomes)]
            except StopIteration as finished:
                found: dict[str, Task | GatewayError] = finished.value
                return found

    async def aget_tasks(self, task_ids: Iterable[str]) -> dict[str, Task | GatewayError]:
        """Do what :meth:`get_tasks` does, asynchronously and with requests side by side."""
        client = await self.get_async_conn()
        slots = asyncio.Semaphore(self.settings.max_concurrency)

        async def send(call: Endpoint[Any]) -> Any:
            async with slots:
                try:
                    return await client.send(call)
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
        Ask what is left to spend. It is free.

        :raises GatewayError: for a wrong key; APIMaster offers no balance and answers ``NotFoundError``.
        """
        return self.get_conn().send(endpoints.get_balance())

    def get_price(self, model: str) -> Price:
        """Ask for a model's public price table, which is empty for a model that the gateway does not know."""
        return self.get_conn().send(endpoints.get_price(model))

    def upload_image(self, image: str | Path | bytes) -> str:
        """
        Upload a reference image, free of charge, and return its URL, which lives for 72 hours.

        Its type is told by its content, whatever its name is; the name does not leave this machine.

        :param image: a path, or the bytes of a JPEG, PNG, WebP or GIF of at most 20 MiB.
        :raises InvalidRequestError: for anything else. Nothing was sent.
        :raises OSError: for a file that cannot be read.
        """
        content = image if isinstance(image, bytes) else read_reference(Path(image))
        return self.get_conn().send(endpoints.upload_image(content))

    def test_connection(self) -> tuple[bool, str]:
        """Tell, free of charge, whether the gateway accepts the key, and what is left to spend."""
        try:
            try:
                balance = self.get_balance()
            except (NotFoundError, UnreadableAnswerError):
                models = self.get_conn().send(endpoints.list_models())
                return True, f"{self.settings.host} accepts the key and offers {len(models)} models."
        except ApimartError as error:
            return False, str(error)
        remaining = "no limit" if balance.remaining is None else f"{balance.remaining} left"
        return True, f"{self.settings.host} accepts the key; balance: {remaining}."

    def close(self) -> None:
        """Close the blocking client's connections."""
        if "_client" in self.__dict__:
            self._client.close()
            del self.__dict__["_client"]

    async def aclose(self) -> None:
        """Close the asynchronous client's connections."""
        if self._async_client is not None:
            await self._async_client.aclose()
            self._async_client = None

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
