"""Many submits side by side, none of which is lost when the caller stops listening."""

from __future__ import annotations

import asyncio
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from airflow_provider_apimart.exceptions import ApimartError
from airflow_provider_apimart.gateway.task import Submission

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.throttle import Pace

    #: A request and its idempotency key.
    Purchase = tuple[ImageRequest, str | None]
    #: The place of a purchase among all, and what became of it.
    Outcome = tuple[int, Submission | ApimartError]
    Attempt = tuple[int, Submission | Exception]

__all__ = ["asubmit_side_by_side", "submit_side_by_side"]


def submit_side_by_side(
    submit: Callable[[ImageRequest, str | None], Submission],
    purchases: Iterable[Purchase],
    *,
    pace: Pace,
    warn: Callable[[str], None],
) -> Iterator[Outcome]:
    """
    Yield outcomes in the order in which they come; a purchase is drawn when there is room for it.

    :param submit: buys one, in any thread.
    :param pace: says before each draw how many may be under way.
    :param warn: told of what was accepted after the caller stopped listening.
    """

    def attempt(place: int, purchase: Purchase) -> Attempt:
        try:
            return place, submit(*purchase)
        except Exception as error:  # noqa: BLE001 - raised when it is read
            return place, error

    numbered = enumerate(purchases)
    finished: set[Future[Attempt]] = set()
    under_way: set[Future[Attempt]] = set()
    with ThreadPoolExecutor(pace.max_concurrency, thread_name_prefix="apimart-submit") as pool:
        try:
            while True:
                # One by one: what was sent before drawing fails must not be forgotten.
                while len(under_way) < pace.concurrency and (drawn := next(numbered, None)):
                    under_way.add(pool.submit(attempt, *drawn))
                if not under_way:
                    return
                finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                while finished:
                    yield _read(finished.pop().result())
        finally:
            # There are some left only if the caller has stopped, or drawing failed: they may be accepted all the same.
            _warn_of_unread((future.result() for future in finished | under_way), warn)


async def asubmit_side_by_side(
    submit: Callable[[ImageRequest, str | None], Awaitable[Submission]],
    purchases: Iterable[Purchase],
    *,
    pace: Pace,
    warn: Callable[[str], None],
) -> AsyncGenerator[Outcome, None]:
    """Do what :func:`submit_side_by_side` does, in one event loop."""

    async def attempt(place: int, purchase: Purchase) -> Attempt:
        try:
            return place, await submit(*purchase)
        except Exception as error:  # noqa: BLE001 - raised when it is read
            return place, error

    numbered = enumerate(purchases)
    finished: set[asyncio.Task[Attempt]] = set()
    under_way: set[asyncio.Task[Attempt]] = set()
    try:
        while True:
            while len(under_way) < pace.concurrency and (drawn := next(numbered, None)):
                under_way.add(asyncio.create_task(attempt(*drawn)))
            if not under_way:
                return
            finished, under_way = await asyncio.wait(under_way, return_when=FIRST_COMPLETED)
            while finished:
                yield _read(finished.pop().result())
    finally:
        _warn_of_unread(await asyncio.gather(*finished, *under_way), warn)


def _read(attempt: Attempt) -> Outcome:
    """Return what became of a purchase, or raise what should never become of one."""
    place, result = attempt
    if isinstance(result, Submission | ApimartError):
        return place, result
    raise result


def _warn_of_unread(attempts: Iterable[Attempt], warn: Callable[[str], None]) -> None:
    for place, result in attempts:
        if isinstance(result, Submission):
            task_ids = ", ".join(task.task_id for task in result.tasks)
            warn(f"Request {place} was accepted as {task_ids} after its outcome was no longer read.")
        else:
            warn(f"Request {place} failed after its outcome was no longer read: {result}")
