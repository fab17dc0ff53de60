"""What a task returns about its dataset. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import TABLE
from airflow_provider_apimart.dataset.object_names import IMAGES
from airflow_provider_apimart.gateway.cost import total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger import State
    from airflow_provider_apimart.dataset.manifest import Manifest
    from airflow_provider_apimart.dataset.survey import Survey

__all__ = ["MOST_OBJECTS", "report_of"]

#: Paid calls whose pictures are listed one by one. An XCom is no place for more; the manifest is.
MOST_OBJECTS: Final = 1000


def report_of(found: Survey, own: Sequence[State], manifest: Manifest, *, invalid: int, ledger: str) -> dict[str, Any]:
    """
    Return the XCom value of a finished task.

    :param found: what the rows still need, which is nothing.
    :param own: the purchases of this DAG run.
    :param manifest: where each row's line is, with the entries of the first :data:`MOST_OBJECTS` of them.
    :param invalid: rows that were left out.
    :param ledger: address of the ledger's folder.
    """
    is_listed = found.total <= MOST_OBJECTS
    return {
        "schema_version": 1,
        "total": found.total,
        "done": found.done,
        "failed": found.failed,
        "invalid": invalid,
        "bought": sum(state.status in {Status.COPIED, Status.FAILED} and state.charged != "no" for state in own),
        "cost": total(state.cost for state in own) if own else 0.0,
        "credits_cost": total(state.credits_cost for state in own) if own else 0.0,
        "currency": "USD",
        "ledger": f"{ledger}{TABLE}",
        "images": f"{ledger.removesuffix('ledger/')}{IMAGES}",
        "manifest": manifest.address,
        "objects": [_object(entry, held) for entry in manifest.entries for held in entry.objects]
        if is_listed
        else None,
    }


def _object(entry: Entry, held: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": entry.id, "row": entry.row, "uri": held["uri"], "width": held["width"], "height": held["height"]}
