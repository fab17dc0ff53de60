"""The rows that a dataset's task has bought so far, from its ledger: it reports no event before it has succeeded."""

from __future__ import annotations

import json
import logging
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from airflow_provider_apimart.dataset.row import shard_of
from airflow_provider_apimart.exceptions import RecordUnavailableError, TransferError
from airflow_provider_apimart.plugins.web.card import Card, cards_of_line
from airflow_provider_apimart.plugins.web.collection import Page
from airflow_provider_apimart.plugins.web.live_ledger import live_ledger
from airflow_provider_apimart.plugins.web.stores import READING
from airflow_provider_apimart.transfers.stored_objects import writer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["find_live_rows"]

_log: Final = logging.getLogger(__name__)

#: Pictures that are shown of a dataset that is being worked on.
_MOST: Final = 240


async def find_live_rows(scope: Scope, rendered: Mapping[str, Any], keep: Callable[[Card], bool] | None = None) -> Page:
    """
    Return the newest rows that a task instance has bought, or is buying.

    :param scope: the task instance.
    :param rendered: its template fields.
    :param keep: returns whether to show a picture; ``None`` for all.
    """
    bucket, prefix = rendered.get("s3_bucket"), rendered.get("s3_prefix")
    if not bucket or not isinstance(bucket, str) or not isinstance(prefix, str):
        return Page()
    try:
        return await to_thread.run_sync(partial(_read, scope, rendered, keep), limiter=READING)
    except TransferError as error:
        return Page(notes=[f"The rows that {scope.task_id} has bought so far are not shown: {error}"])


def _read(scope: Scope, rendered: Mapping[str, Any], keep: Callable[[Card], bool] | None) -> Page:
    entries = _own(scope, _entries(scope, rendered), rendered.get("shard"))
    entries.sort(key=lambda entry: entry.updated_at, reverse=True)
    cards = (card for entry in entries for card in _cards(scope, entry) if keep is None or keep(card))
    page = Page(list(islice(cards, _MOST)))
    if next(cards, None):
        number = sum(max(1, len(entry.objects)) for entry in entries)
        page.notes.append(
            f"The newest {_MOST} of {number:,} are shown. The search covers all of them."
            if keep is None
            else f"The newest {_MOST} that match are shown."
        )
    return page


def _entries(scope: Scope, rendered: Mapping[str, Any]) -> list[Entry]:
    bucket, prefix = rendered["s3_bucket"], rendered["s3_prefix"].strip("/")
    ledger = live_ledger(bucket, prefix, rendered.get("aws_conn_id"), f"{scope.dag_id}/{scope.run_id}")
    try:
        return ledger.entries()
    except RecordUnavailableError as error:
        # The whole message may name endpoints and roles, which not everybody may see who may see pictures.
        _log.warning("The rows of %s are not shown: %s", scope, error)
        raise TransferError("its ledger could not be read. The API server's log says why.", charged="no") from error


def _own(scope: Scope, entries: list[Entry], shard: Any) -> list[Entry]:
    """Return the entries of calls that a task instance made. Those of 0.1 name none: there its shard decides."""
    buyer = writer_of(scope.dag_id, scope.run_id or "", scope.task_id or "", scope.map_index)
    try:
        index, count = map(int, shard)
    except (TypeError, ValueError):
        index, count = 0, 1
    return [
        entry
        for entry in entries
        if entry.buyer == buyer or (not entry.buyer and (count < 1 or shard_of(entry, count) == index))
    ]


def _cards(scope: Scope, entry: Entry) -> list[Card]:
    try:
        return cards_of_line(scope, json.loads(entry.to_line()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TransferError(f"row {entry.id} of its ledger cannot be understood.", charged="no") from error
