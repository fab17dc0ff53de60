"""The asset events of a DAG, a run or a task, queried with the rights of the person who opened the page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.assets import IMAGES, PURCHASES
from airflow_provider_apimart.plugins.web.card import Status
from airflow_provider_apimart.plugins.web.events import read_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["EVENTS_AT_ONCE", "events_of_kind", "find_events", "query_events"]

#: Events of one query.
EVENTS_AT_ONCE: Final = 100


async def find_events(api: AirflowApi, scope: Scope, kind: Status, *, limit: int = EVENTS_AT_ONCE) -> list[Event]:
    """Return the newest events of a DAG, a run or a task: ``STORED`` for pictures in S3, ``BOUGHT`` for purchases."""
    until = datetime.now(UTC).isoformat()
    found = await query_events(api, scope, kind, until=until, offset=0, limit=limit)
    return events_of_kind(found["asset_events"], kind)


async def query_events(
    api: AirflowApi, scope: Scope, kind: Status, *, until: str, offset: int, limit: int = EVENTS_AT_ONCE
) -> dict[str, Any]:
    """
    Return events, the newest first, as Airflow's API describes them; on Airflow 3.1 those of the other kind too.

    :param until: the moment of the newest, in ISO 8601.
    :param offset: number of events to leave out.
    """
    return await api.get(
        "/assets/events",
        **scope.of_events(),
        name_pattern=(PURCHASES if kind is Status.BOUGHT else IMAGES).name,
        timestamp_lte=until,
        order_by="-timestamp",
        limit=limit,
        offset=offset,
    )


def events_of_kind(found: Iterable[Mapping[str, Any]], kind: Status) -> list[Event]:
    """Return the events of this provider of one kind, in their order."""
    # Airflow 3.1 cannot filter by the asset's name.
    return [event for event in read_events(found) if event.is_purchase == (kind is Status.BOUGHT)]
