"""TCP connections: counted, and cut on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from starlette.responses import Response
from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

__all__ = ["ConnectionProtocol", "Connections", "Cut", "CutMidway"]

_Address = tuple[str, int]


class Connections:
    """The open connections by the client's address, and how many have carried a request to a gateway."""

    STATE_KEY: Final = "connections"

    def __init__(self) -> None:
        self.used = 0
        self._transports: dict[_Address, asyncio.Transport] = {}
        self._counted: set[_Address] = set()

    def opened(self, address: _Address, transport: asyncio.Transport) -> None:
        """Note a new connection."""
        self._transports[address] = transport

    def closed(self, address: _Address) -> None:
        """Forget a connection."""
        self._transports.pop(address, None)
        self._counted.discard(address)

    def count(self, address: _Address) -> None:
        """Count the connection unless it has been counted already."""
        if address not in self._counted:
            self._counted.add(address)
            self.used += 1

    def cut(self, address: _Address) -> None:
        """Close the connection after what has been written so far."""
        if address in self._transports:
            self._transports[address].close()


# uvicorn declares the protocol that it found best for this machine as a variable, which is no base class to mypy.
class ConnectionProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol, telling the application's :class:`Connections` about itself."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection's transport."""
        super().connection_made(transport)
        self._connections = cast("Connections", self.app_state[Connections.STATE_KEY])
        self._connections.opened(self.client, cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection's transport."""
        self._connections.closed(self.client)
        super().connection_lost(exc)


class Cut(Response):
    """
    No answer: the connection is closed.

    :param connections: where the connection is known.
    """

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Close the connection."""
        self._connections.cut(tuple(scope["client"]))
        await _disconnected(receive)


class CutMidway(Response):
    """
    The headers of a whole body, part of it, and then a closed connection.

    :param connections: where the connection is known.
    :param sent: bytes of the body that are sent.
    """

    def __init__(self, connections: Connections, content: bytes, sent: int, media_type: str) -> None:
        super().__init__(content, media_type=media_type)
        self._connections = connections
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the beginning, and close the connection."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body)[: self._sent], "more_body": True})
        self._connections.cut(tuple(scope["client"]))
        await _disconnected(receive)


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
