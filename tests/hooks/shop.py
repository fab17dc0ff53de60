"""A gateway in this process that sells pictures, and counts how many it is asked for at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING

import httpx
from gateway.exchange import accepted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    _Barriers = tuple[threading.Barrier, asyncio.Barrier]

__all__ = ["Shop"]

#: Seconds. A test fails when as many requests as it expects do not come together within them.
_PATIENCE = 10


class Shop(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """
    Accepts a purchase as the task ``task of <prompt>``.

    :param at_once: requests that it waits for before it answers any of them; one number for each round of requests,
        the last for all that follow.
    :param after: by prompt, another that it must have been asked for before it answers.
    :param answers: by prompt, what it answers or raises in place of that, once or, for a list, one after the other.

    ``requests`` keeps what was received, and ``under_way`` how many there were when each came, itself included.
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
        self._received: defaultdict[str, tuple[threading.Event, asyncio.Event]] = defaultdict(
            lambda: (threading.Event(), asyncio.Event())
        )
        self._under_way = 0
        self._lock = threading.Lock()
        self._barriers = _barriers([at_once] if isinstance(at_once, int) else at_once)

    @property
    def most_at_once(self) -> int:
        """How many were under way at the same time."""
        return max(self.under_way)

    @property
    def prompts(self) -> list[str]:
        """What was asked for, in that order."""
        return [_prompt(request) for request in self.requests]

    def received(self) -> list[tuple[str, httpx.Request]]:
        """What was asked for, and how."""
        return list(zip(self.prompts, self.requests, strict=True))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._counted(request) as (threads, _):
            threads.wait(_PATIENCE)
            self._received[self._awaited(request)][0].wait(_PATIENCE)
        return self._answer(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with self._counted(request) as (_, tasks):
            async with asyncio.timeout(_PATIENCE):
                await tasks.wait()
                await self._received[self._awaited(request)][1].wait()
        return self._answer(request)

    def _awaited(self, request: httpx.Request) -> str:
        """The prompt that must have been received before this request is answered, by default its own."""
        prompt = _prompt(request)
        return self._after.get(prompt, prompt)

    @contextmanager
    def _counted(self, request: httpx.Request) -> Iterator[_Barriers]:
        with self._lock:
            self.requests.append(request)
            for event in self._received[_prompt(request)]:
                event.set()
            self._under_way += 1
            self.under_way.append(self._under_way)
            barriers = next(self._barriers)
        try:
            yield barriers
        finally:
            with self._lock:
                self._under_way -= 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        prompt = _prompt(request)
        if not (prepared := self._answers.get(prompt)):
            return accepted(f"task of {prompt}")
        answer = prepared.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _barriers(sizes: Sequence[int]) -> Iterator[_Barriers]:
    """For each request that of its round."""
    rounds = [(threading.Barrier(size), asyncio.Barrier(size)) for size in sizes]
    for size, barriers in zip(sizes, rounds, strict=True):
        yield from repeat(barriers, size)
    yield from repeat(rounds[-1])


def _prompt(request: httpx.Request) -> str:
    return str(json.loads(request.content)["prompt"])
