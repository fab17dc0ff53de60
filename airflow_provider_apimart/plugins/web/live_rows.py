"""What a dataset's task has bought so far, from its ledger: there is no event of it before it has succeeded. I/O."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
from airflow_provider_apimart.dataset.line import to_line
from airflow_provider_apimart.exceptions import ApimartError
from airflow_provider_apimart.plugins.web.card import Card, cards_of_line
from airflow_provider_apimart.plugins.web.stores import READING, client_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["find_live_rows"]

#: Rows that are shown of a dataset that is being worked on.
_NEWEST: Final = 240


async def find_live_rows(scope: Scope, rendered: Mapping[str, Any]) -> list[Card]:
    """
    Return the rows that a DAG run has bought, or is buying, the newest first.

    :param scope: the task instance.
    :param rendered: its template fields.
    """
    if not rendered.get("s3_bucket") or "s3_prefix" not in rendered:
        return []
    try:
        return await to_thread.run_sync(partial(_read, scope, rendered), limiter=READING)
    except ApimartError:
        # It is being written to, and what is shown is a courtesy.
        return []


def _read(scope: Scope, rendered: Mapping[str, Any]) -> list[Card]:
    objects = LedgerObjects(
        client_of(rendered.get("aws_conn_id")), rendered["s3_bucket"], rendered["s3_prefix"].strip("/"), {}
    )
    run = f"{scope.dag_id}/{scope.run_id}"
    entries = [entry for entry in Journal(objects).read() if entry.run_id == run]
    ledger = Ledger()
    ledger.add(entries)
    newest = {entry.key: entry for entry in entries if ledger.is_newest(entry)}
    lines = (json.loads(to_line(entry)) for entry in sorted(newest.values(), key=lambda entry: -entry.updated_at))
    return [card for line in lines for card in cards_of_line(scope, line)][:_NEWEST]
