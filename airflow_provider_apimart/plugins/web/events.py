"""The asset events of this provider, read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.assets import IMAGES, PURCHASES
from airflow_provider_apimart.plugins.web.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Event", "read_events"]

_KINDS: Final = {IMAGES.name: "images", PURCHASES.name: "purchase"}


@dataclass(frozen=True, slots=True)
class Event:
    """
    What a task instance has reported.

    :param source: the task instance.
    :param at: Unix seconds.
    :param extra: see :mod:`airflow_provider_apimart.assets`.
    """

    source: Scope
    at: float
    extra: Mapping[str, Any]

    @property
    def is_purchase(self) -> bool:
        """Whether it tells of money, as opposed to pictures in S3."""
        return bool(self.extra["kind"] == "purchase")

    @property
    def images(self) -> list[dict[str, Any]]:
        """The pictures that the event lists itself; it may tell of more."""
        return list(self.extra.get("images") or ())

    @property
    def count(self) -> int:
        """How many pictures it tells of."""
        return int(self.extra.get("count", len(self.images)))

    @property
    def has_list(self) -> bool:
        """Whether something else has more of its pictures, or tells more of them."""
        return "manifest" in self.extra or self.count > len(self.images)


def read_events(found: Iterable[Mapping[str, Any]]) -> list[Event]:
    """
    Return those events that are ours, in their order.

    :param found: events as Airflow's API gives them.
    """
    return [
        Event(
            source=Scope(it["source_dag_id"], it["source_run_id"], it["source_task_id"], it["source_map_index"]),
            at=datetime.fromisoformat(it["timestamp"]).timestamp(),
            extra=it["extra"],
        )
        for it in found
        if it["source_dag_id"] and _is_ours(it)
    ]


def _is_ours(found: Mapping[str, Any]) -> bool:
    # The same is said of other assets, where DAG authors want to schedule on them: it is counted once.
    return found["name"] in _KINDS and (found["extra"] or {}).get("kind") == _KINDS[found["name"]]
