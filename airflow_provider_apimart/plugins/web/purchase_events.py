"""The events that tell of purchases, read with the rights of whoever asks for a page. I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cachetools import TTLCache

from airflow_provider_apimart.assets import PURCHASES
from airflow_provider_apimart.plugins.web.purchases import Purchase, latest, read_purchases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

__all__ = ["MOST_EVENTS", "Reading", "find_purchases"]

#: Events that are read for one page: Airflow takes half a millisecond of computing for each.
MOST_EVENTS: Final = 10_000
#: Events of one call, of which the API gives no more than its ``maximum_page_limit``, which is 100 unless set.
_ASKED: Final = 1000
#: Seconds for which purchases are kept in this process. Events do not change, but they can be deleted.
_KEPT_SECONDS: Final = 900
#: Purchases that are kept, of all people together.
_MOST_KEPT: Final = 30_000
#: How far back new events are looked for: they have the time at which their transaction began.
_OVERLAP: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Reading:
    """
    The purchases that Airflow knows of.

    :param since: the moment from which on events were asked for.
    :param until: the moment of the question.
    :param purchases: what the events tell of.
    :param unreadable: ids of events that claim to tell of a purchase, and cannot be understood.
    :param complete_since: where older events had to be left out, the moment from which on there are all.
    """

    since: datetime
    until: datetime
    purchases: list[Purchase]
    unreadable: frozenset[int]
    complete_since: datetime | None = None


#: Kept for the very person who has read them: nobody gets what somebody else may see.
_KEPT: Final[TTLCache[Hashable, Reading]] = TTLCache(
    maxsize=_MOST_KEPT, ttl=_KEPT_SECONDS, getsizeof=lambda reading: len(reading.purchases) + 1
)


async def find_purchases(
    api: AirflowApi,
    *,
    since: datetime,
    dag_id: str | None,
    user: str,
    readable: frozenset[str],
    most: int = MOST_EVENTS,
) -> Reading:
    """
    Return what was bought, as the newest events tell it.

    Airflow is asked each time, and refuses whom it must; what the same person has read a while ago, with the same
    rights, is not read again.

    :param since: events from then on. No event is older than its purchase.
    :param dag_id: of the only DAG that counts; ``None`` for all.
    :param user: id of the person who asks.
    :param readable: ids of the DAGs that this person may read. Airflow before 3.3 gives events of the others too.
    :param most: events that are read; it may be up to a page of the API more.
    """
    key = user, readable, dag_id
    kept: Reading | None = _KEPT.get(key)
    if kept is not None and kept.since <= since:
        found = await _read(api, since=kept.until - _OVERLAP, dag_id=dag_id, readable=readable, most=most)
        if found.complete_since is None:
            return replace(
                kept,
                until=found.until,
                purchases=latest([*kept.purchases, *found.purchases]),
                unreadable=kept.unreadable | found.unreadable,
            )
    _KEPT[key] = found = await _read(api, since=since, dag_id=dag_id, readable=readable, most=most)
    return found


async def _read(
    api: AirflowApi, *, since: datetime, dag_id: str | None, readable: frozenset[str], most: int
) -> Reading:
    until = datetime.now(UTC)
    read = number = 0
    oldest = None
    purchases: list[Purchase] = []
    unreadable: set[int] = set()
    async for answer in _pages(api, since=since, until=until, dag_id=dag_id, most=most):
        page = answer["asset_events"]
        # In place of whole events, which list pictures too, nothing is kept of them but the figures.
        told, failed = read_purchases(event for event in page if event["source_dag_id"] in readable)
        purchases += told
        unreadable |= failed
        read += len(page)
        number = number or answer["total_entries"]
        oldest = page[-1]["timestamp"]
    return Reading(
        since=since,
        until=until,
        purchases=latest(purchases),
        unreadable=frozenset(unreadable),
        complete_since=datetime.fromisoformat(oldest) if oldest and number > read else None,
    )


async def _pages(
    api: AirflowApi, *, since: datetime, until: datetime, dag_id: str | None, most: int
) -> AsyncIterator[dict[str, Any]]:
    """Give the API's answers with the newest events."""
    read = 0
    # Each call goes on from the moment of the last event: to skip thousands, a database sorts them all each time.
    before, skipped = until.isoformat(), 0
    while read < most:
        answer = await api.get(
            "/assets/events",
            name_pattern=PURCHASES.name,
            source_dag_id=dag_id,
            timestamp_gte=since.isoformat(),
            timestamp_lte=before,
            order_by="-timestamp",
            limit=_ASKED,
            offset=skipped,
        )
        page = answer["asset_events"]
        if not page:
            return
        yield answer
        if skipped + len(page) >= answer["total_entries"]:
            return
        read += len(page)
        last = page[-1]["timestamp"]
        skipped = (skipped if last == before else 0) + sum(event["timestamp"] == last for event in page)
        before = last
