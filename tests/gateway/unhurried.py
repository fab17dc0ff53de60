"""The network, with all the time there is to send a request: what takes too long is the answer, and nothing else."""

from __future__ import annotations

import httpx

__all__ = ["AsyncUnhurriedTransport", "UnhurriedTransport"]


class UnhurriedTransport(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(_unhurried(request))


class AsyncUnhurriedTransport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await super().handle_async_request(_unhurried(request))


def _unhurried(request: httpx.Request) -> httpx.Request:
    request.extensions["timeout"] |= {"connect": None, "write": None}
    return request
