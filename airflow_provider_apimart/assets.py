"""
The provider's assets, and the extra data of their events: what was bought or stored, and its cost.

Every event is a row of Airflow's database, so it stays small for any number of pictures: it lists the first of them and
the address of a list of all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

from airflow.sdk import Asset

from airflow_provider_apimart.gateway.response import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "IMAGES",
    "MOST_LISTED",
    "PURCHASES",
    "ModelFigures",
    "images_extra",
    "purchase_extra",
    "with_assets",
]

_T = TypeVar("_T")

#: The asset of everything that was bought. Only its events are to be added up for costs.
PURCHASES: Final = Asset("apimart-purchases")
#: The asset of all pictures that were stored in S3.
IMAGES: Final = Asset("apimart-images")

#: Pictures, and gateway tasks, that one event lists at most.
MOST_LISTED: Final = 100
#: Bytes of JSON that they take at most: addresses may be long, and non-ASCII characters take 6 bytes or more.
_IMAGES_SIZE: Final = 64 * 1024
_TASK_IDS_SIZE: Final = 8 * 1024

_SCHEMA_VERSION: Final = 1
#: Facts about a picture that an event holds, where they are known.
_IMAGE_FIELDS: Final = (
    "uri",
    "task_id",
    "index",
    "id",
    "prompt",
    "model",
    "size",
    "resolution",
    "quality",
    "cost",
    "seconds",
    "width",
    "height",
    "bytes",
    "expires_at",
)


class ModelFigures(TypedDict):
    """
    The part of a purchase that one model made.

    :param delivered: pictures.
    :param cost: US dollars, the sum of what is known.
    :param unknown: paid calls whose cost is not known.
    """

    model: str
    delivered: int
    cost: float
    unknown: int


def purchase_extra(
    *,
    purchase: str,
    connection: str,
    gateway: str,
    bought_at: float,
    task_ids: Iterable[str],
    delivered: int,
    cost: float | None,
    credits_cost: float | None,
    models: Sequence[ModelFigures],
    ledger: str | None = None,
    images: Iterable[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """
    Return the extra data of the event of a purchase.

    :param purchase: id of the purchase. A later event with the same id replaces the earlier one.
    :param connection: id of the gateway's connection.
    :param gateway: the vendor, ``apimart`` or ``apimaster``.
    :param bought_at: Unix seconds of the last paid call in it.
    :param task_ids: ids of its gateway tasks.
    :param delivered: number of pictures.
    :param cost: US dollars, ``None`` when part of it is not known.
    :param credits_cost: the same in the gateway's credits.
    :param models: the same figures by model, as far as they are known.
    :param ledger: address of the dataset's ledger; ``None`` where there is none.
    :param images: the pictures, where nothing else lists them.
    """
    extra = {
        "schema_version": _SCHEMA_VERSION,
        "kind": "purchase",
        "purchase": purchase,
        "connection": connection,
        "gateway": gateway,
        "bought_at": bought_at,
        "task_ids": _first(task_ids, _TASK_IDS_SIZE),
        "delivered": delivered,
        "cost": cost,
        "credits_cost": credits_cost,
        "currency": "USD",
        "models": list(models),
    }
    if ledger is not None:
        extra["ledger"] = ledger
    if images is not None:
        extra["images"] = _first(map(_image, images), _IMAGES_SIZE)
    return extra


def images_extra(
    *,
    prefix: str,
    connection: str,
    aws_connection: str | None,
    count: int,
    task_ids: Iterable[str],
    models: Iterable[str],
    cost: float | None,
    credits_cost: float | None,
    images: Iterable[Mapping[str, Any]],
    manifest: str | None = None,
) -> dict[str, Any]:
    """
    Return the extra data of the event of pictures in S3.

    :param prefix: address of the folder that they are in.
    :param connection: id of the gateway's connection.
    :param aws_connection: id of the connection that reaches the bucket.
    :param count: number of pictures.
    :param task_ids: ids of the gateway tasks that made them.
    :param models: the models that made them, where known.
    :param cost: US dollars that they cost, whenever they were bought; ``None`` when part of it is not known.
    :param credits_cost: the same in the gateway's credits.
    :param images: the pictures, each with its ``uri``.
    :param manifest: address of the file that lists all of them; ``None`` where the task's XCom does.
    """
    extra = {
        "schema_version": _SCHEMA_VERSION,
        "kind": "images",
        "prefix": prefix,
        "connection": connection,
        "aws_connection": aws_connection,
        "count": count,
        "task_ids": _first(task_ids, _TASK_IDS_SIZE),
        "models": sorted(set(models)),
        "cost": cost,
        "credits_cost": credits_cost,
        "currency": "USD",
        "images": _first(map(_image, images), _IMAGES_SIZE),
    }
    return extra if manifest is None else {**extra, "manifest": manifest}


def _image(known: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: excerpt(known[name]) for name in ("id", "prompt") if isinstance(known.get(name), str)}
    values = {**known, **texts}
    return {name: values[name] for name in _IMAGE_FIELDS if values.get(name) is not None}


def _first(items: Iterable[_T], size: int) -> list[_T]:
    """Return as many items as one event may list, from the first on."""
    listed: list[_T] = []
    for item in items:
        size -= len(json.dumps(item)) + 2
        if len(listed) == MOST_LISTED or size < 0:
            break
        listed.append(item)
    return listed


def with_assets(outlets: Any, assets: tuple[Asset, ...]) -> list[Any]:
    """
    Return outlets with some assets added, each of them once.

    :param outlets: one outlet, several, or none, as DAG authors give them.
    """
    given = [] if outlets is None else list(outlets) if isinstance(outlets, list | tuple | set) else [outlets]
    return [*given, *(asset for asset in assets if asset not in given)]
