"""A gateway in this process that sells pictures, and counts the requests that it gets at once."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING

import httpx
from gateway.exchange import accepted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Shop"]

#: Seconds. A test fails when as many requests as it expects do not come together within them.
_PATIENCE = 300


class Shop(httpx.AsyncBaseTransport):
    """
    Accepts a purchase as the task ``task of <prompt>``.

    :param at_once: requests that it waits for before it answers any of them; one number for each round of requests,
        the last for all that follow.
    :param after: by prompt, another prompt that must have been received before it answers.
    :param answers: by prompt, the response or exception instead of that, once or, for a list, one after the other.

    ``requests`` are the requests received, and ``under_way`` the number of them at the time of each, itself included.
    """

    def __init__(
        self,
        *,
        at_once: int | Sequence[int] = 1,
        after: Mapping[str, str] | None = None,
        answers: Mapping[str, httpx.Response | Exception | list[httpx.Response]] | None = None,
    ) -> None:
        self.requests: list[httpx.Request] = []
        self.under_way: list[int] = []
        self._answers = {
            prompt: list(answer) if isinstance(answer, list) else [answer] for prompt, answer in (answers or {}).items()
        }
        self._after = after or {}
        self._received: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._under_way = 0
        self._barriers = _barriers([at_once] if isinstance(at_once, int) else at_once)

    @property
    def most_at_once(self) -> int:
        """The largest number of requests at the same time."""
        return max(self.under_way)

    @property
    def prompts(self) -> list[str]:
        """The prompts, in the order of their arrival."""
        return [_prompt(request) for request in self.requests]

    def received(self) -> list[tuple[str, httpx.Request]]:
        """Each prompt with its request."""
        return list(zip(self.prompts, self.requests, strict=True))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with self._counted(request) as barrier:
            async with asyncio.timeout(_PATIENCE):
                await barrier.wait()
                await self._received[self._awaited(request)].wait()
        return self._answer(request)

    def _awaited(self, request: httpx.Request) -> str:
        """The prompt that must have been received before this request is answered, by default its own."""
        prompt = _prompt(request)
        return self._after.get(prompt, prompt)

    @contextmanager
    def _counted(self, request: httpx.Request) -> Iterator[asyncio.Barrier]:
        self.requests.append(request)
        self._received[_prompt(request)].set()
        self._under_way += 1
        self.under_way.append(self._under_way)
        try:
            yield next(self._barriers)
        finally:
            self._under_way -= 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        prompt = _prompt(request)
        if not (prepared := self._answers.get(prompt)):
            return accepted(f"task of {prompt}")
        answer = prepared.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _barriers(sizes: Sequence[int]) -> Iterator[asyncio.Barrier]:
    """Yield for each request the barrier of its round."""
    rounds = [asyncio.Barrier(size) for size in sizes]
    for size, barrier in zip(sizes, rounds, strict=True):
        yield from repeat(barrier, size)
    yield from repeat(rounds[-1])


def _prompt(request: httpx.Request) -> str:
    return str(json.loads(request.content)["prompt"])
