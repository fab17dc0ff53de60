"""The network, with unlimited time to connect and to send: only the response can take too long."""

from __future__ import annotations

import httpx

__all__ = ["UnhurriedTransport"]


class UnhurriedTransport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["timeout"] |= {"connect": None, "write": None}
        return await super().handle_async_request(request)
