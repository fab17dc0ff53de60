"""All pictures that an event reports, from the manifest or the XCom that lists them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from anyio import to_thread
from fastapi import HTTPException

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.plugins.web.card import Card, Status, cards_of_event, cards_of_images, cards_of_line
from airflow_provider_apimart.plugins.web.event_queries import EVENTS_AT_ONCE, events_of_kind, query_events
from airflow_provider_apimart.plugins.web.manifests import read_manifest
from airflow_provider_apimart.plugins.web.stores import READING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["Listing", "pictures_of"]

#: Queries for the events of earlier runs of a task.
_ROUNDS: Final = 5


class Listing(NamedTuple):
    """
    Pictures of one event.

    :param note: the reason why some are missing, for people.
    """

    cards: list[Card]
    note: str | None = None


async def pictures_of(api: AirflowApi, event: Event, scope: Scope) -> Listing:
    """
    Return all pictures of an event, or only those that it lists itself where the others cannot be read.

    :param scope: of the page. On the page of a DAG, a row is shown with the run that has bought it.
    """
    try:
        if "manifest" in event.extra:
            # It has the rows that failed too, and names the run that bought each.
            return Listing(await _of_manifest(api, event, scope))
        if event.has_list:
            return _of_images(event, await _objects(api, event.source))
    except (TransferError, HTTPException) as error:
        cards = cards_of_event(event)
        reason = error.detail if isinstance(error, HTTPException) else error
        return Listing(cards, f"{len(cards)} of {event.count} pictures of {event.source.task_id} are shown: {reason}")
    return _of_images(event, event.images)


def _of_images(event: Event, images: Sequence[Any]) -> Listing:
    cards = cards_of_images(event, images)
    if len(cards) == len(images):
        return Listing(cards)
    return Listing(
        cards,
        f"{len(cards)} of {len(images)} pictures of {event.source.task_id} are shown: "
        "what the task has reported of the others is not of the shape that this release writes.",
    )


async def _objects(api: AirflowApi, source: Scope) -> list[Any]:
    returned = await api.xcom(source, "return_value")
    objects = returned.get("objects") if isinstance(returned, dict) else None
    if not isinstance(objects, list):
        raise HTTPException(404, "the task's XCom is not there any more, or is kept elsewhere.")
    return objects


async def _of_manifest(api: AirflowApi, event: Event, scope: Scope) -> list[Card]:
    manifest, aws_conn_id = event.extra["manifest"], event.extra.get("aws_connection")
    read = partial(read_manifest, manifest, aws_conn_id=aws_conn_id)
    try:
        lines = (await to_thread.run_sync(read, limiter=READING)).lines
        buyers = set() if scope.run_id else {line["run_id"] for line in lines}
        elsewhere = await _shown_elsewhere(api, event, buyers)
        shown = [line for line in lines if line["run_id"] not in elsewhere]
        return await to_thread.run_sync(partial(_cards_of_lines, event.source, shown), limiter=READING)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TransferError(
            f"{manifest} is not a manifest that this release can read ({type(error).__name__}: {error})"
        ) from error


def _cards_of_lines(source: Scope, lines: Iterable[Mapping[str, Any]]) -> list[Card]:
    return [card for line in lines for card in cards_of_line(source, line)]


async def _shown_elsewhere(api: AirflowApi, event: Event, buyers: set[str]) -> set[str]:
    """
    Return the runs of the same task that have reported their rows themselves, in an earlier event with a manifest.

    :param buyers: runs that have bought rows, as the ledger names them.
    """
    source, task = event.source, replace(event.source, run_id=None)
    until = datetime.fromtimestamp(event.at, UTC).isoformat()
    missing = {run for run in buyers if run.partition("/")[0] == source.dag_id} - {_run_of(event)}
    reported: set[str] = set()
    for number in range(_ROUNDS):
        if not missing - reported:
            break
        offset = number * EVENTS_AT_ONCE
        found = await query_events(api, task, Status.STORED, until=until, offset=offset)
        earlier = events_of_kind(found["asset_events"], Status.STORED)
        reported |= {_run_of(each) for each in earlier if _folder_of(each) == _folder_of(event)}
        if offset + EVENTS_AT_ONCE >= found["total_entries"]:
            break
    return missing & reported


def _run_of(event: Event) -> str:
    return f"{event.source.dag_id}/{event.source.run_id}"


def _folder_of(event: Event) -> str:
    """Return the folder of the manifest of an event, which stands for the ledger; empty where it has no manifest."""
    return str(event.extra.get("manifest", "")).rpartition("/")[0]
