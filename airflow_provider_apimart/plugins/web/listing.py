"""All pictures that an event tells of, from where they are listed. I/O."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from anyio import to_thread
from fastapi import HTTPException

from airflow_provider_apimart.dataset.manifest import manifest_name
from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.plugins.web.card import Card, cards_of_event, cards_of_images, cards_of_line
from airflow_provider_apimart.plugins.web.manifests import read_manifest
from airflow_provider_apimart.plugins.web.stores import READING, names_below
from airflow_provider_apimart.transfers.stored_objects import writer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["Listing", "pictures_of"]


class Listing(NamedTuple):
    """
    Pictures of one event.

    :param note: why they are not all, for people.
    """

    cards: list[Card]
    note: str | None = None


async def pictures_of(api: AirflowApi, event: Event, scope: Scope) -> Listing:
    """
    Return all pictures of an event, or those that it lists itself, where the others cannot be read.

    :param scope: what the page is about. On that of a DAG, a row is shown with the run that has bought it.
    """
    try:
        if "manifest" in event.extra:
            # It has the rows that failed too, and says which run has bought each.
            return Listing(await to_thread.run_sync(partial(_of_manifest, event, scope), limiter=READING))
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


def _of_manifest(event: Event, scope: Scope) -> list[Card]:
    manifest, aws_conn_id = event.extra["manifest"], event.extra.get("aws_connection")
    try:
        lines = read_manifest(manifest, aws_conn_id=aws_conn_id).lines
        told_elsewhere = set() if scope.run_id else _told_elsewhere(event, {line["run_id"] for line in lines})
        shown = (line for line in lines if line["run_id"] not in told_elsewhere)
        return [card for line in shown for card in cards_of_line(event.source, line)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TransferError(f"{manifest} is no manifest of this release ({type(error).__name__}: {error})") from error


def _told_elsewhere(event: Event, buyers: set[str]) -> set[str]:
    """
    Return the runs of the same DAG that have told of their rows themselves: one that came to its end left a manifest.

    :param buyers: runs that have bought rows, as the ledger names them.
    """
    source = event.source
    others = buyers - {f"{source.dag_id}/{source.run_id}"}
    if not others:
        return set()
    folder, _, _ = event.extra["manifest"].rpartition("/")
    manifests = names_below(f"{folder}/", aws_conn_id=event.extra.get("aws_connection"))
    return {run for run in others if _manifest_of(run, source) in manifests}


def _manifest_of(run: str, source: Scope) -> str | None:
    dag_id, _, run_id = run.partition("/")
    if dag_id != source.dag_id or source.task_id is None:
        return None
    return manifest_name(writer_of(dag_id, run_id, source.task_id, source.map_index))
