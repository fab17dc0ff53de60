"""What Airflow makes of the outlets of a task that has succeeded, as its API server does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow.sdk import Asset, BaseOperator
    from airflow.sdk.execution_time.context import OutletEventAccessors

__all__ = ["AssetEvent", "events_of"]


class AssetEvent(NamedTuple):
    name: str
    extra: dict[str, Any]


def events_of(
    operator: BaseOperator, outlet_events: OutletEventAccessors, known: Collection[Asset] = ()
) -> list[AssetEvent]:
    """
    Return the events of one task instance.

    :param outlet_events: those of the context in which the operator has ended.
    :param known: assets that DAGs of this Airflow name, besides the operator's own outlets.
    """
    return [AssetEvent(asset.name, outlet_events[asset].extra) for asset in _assets(operator, known)]


def _assets(operator: BaseOperator, known: Collection[Asset]) -> Iterator[Asset]:
    from airflow.sdk import Asset

    for outlet in operator.outlets:
        if isinstance(outlet, Asset):
            yield outlet
        else:
            yield from (asset for asset in known if asset.uri == outlet.uri)
