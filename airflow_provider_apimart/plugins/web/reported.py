"""
Which pictures a task instance gives a right to see: those that it has reported, and no others.

The API server's connections reach more than the pictures, and more than whoever asks may see. So no address in a
request is believed: it must be one that a task, which runs with its DAG author's rights, has reported.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread
from cachetools import TTLCache
from fastapi import HTTPException, status

from airflow_provider_apimart.plugins.web.card import Status
from airflow_provider_apimart.plugins.web.event_queries import find_events
from airflow_provider_apimart.plugins.web.live_ledger import live_ledger
from airflow_provider_apimart.plugins.web.manifests import read_manifest
from airflow_provider_apimart.plugins.web.origins import DeliveredPicture, StoredPicture
from airflow_provider_apimart.plugins.web.stores import READING
from airflow_provider_apimart.plugins.web.under_way import find_instance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["delivered_by", "find_delivered", "find_stored", "is_below", "uris_of"]

#: Events of one task instance: one for each time it succeeded.
_EVENTS: Final = 20
#: A prefix names a bucket at least.
_PREFIX: Final = re.compile("s3://[^/]")
#: What XComs list of more pictures than events do, by task instance and moment of the event, for some minutes: to read
#: one of ten thousand pictures takes Airflow a tenth of a second.
_XCOMS: Final[TTLCache[tuple[Scope, float], frozenset[str]]] = TTLCache(maxsize=16, ttl=300)


async def find_stored(api: AirflowApi, scope: Scope, uri: str) -> StoredPicture:
    """
    Return a picture in S3.

    :param scope: the task instance that is said to have reported it.
    :raises HTTPException: 404 unless its very address is in what that has reported: in its events, in the XCom or the
        manifest of the newest, or, for a dataset, in the ledger among what its DAG run has bought.
    :raises ApimartError: when the manifest or the ledger cannot be read.
    """
    found = await _in_events(api, scope, uri) or await _in_ledger(api, scope, uri)
    if found is None:
        raise HTTPException(
            status.HTTP_404_NOT_FOUND, f"{scope.task_id} has not reported to have stored anything there."
        )
    return found


async def find_delivered(api: AirflowApi, scope: Scope, name: str) -> DeliveredPicture:
    """
    Return a picture that the gateway still has.

    :param scope: the task instance that is said to have bought it.
    :param name: the gateway's task id and the picture's place among the pictures of that: ``task_1-0``.
    :raises HTTPException: 404 unless it is in the XCom of that, whose purchase is known too.
    """
    events = await find_events(api, scope, Status.BOUGHT, limit=_EVENTS)
    found = delivered_by(events, await api.xcom(scope, "return_value"), name)
    if found is None:
        raise HTTPException(
            status.HTTP_404_NOT_FOUND,
            f"{scope.task_id} has not reported such a purchase, or its XCom is not there any more, or kept elsewhere.",
        )
    return found


def delivered_by(events: Iterable[Event], returned: Any, name: str) -> DeliveredPicture | None:
    """
    Return a picture of a task instance, or ``None`` where that has not bought it.

    :param events: of its purchases, each with the connection by which it was made.
    :param returned: what it returned, which has the URLs.
    """
    images = returned.get("images") if isinstance(returned, dict) else None
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and name == f"{image.get('task_id')}-{image.get('index')}":
            for event in events:
                if image["task_id"] in event.extra["task_ids"]:
                    return DeliveredPicture(str(image.get("url")), event.extra["connection"], name)
    return None


def uris_of(images: Any) -> frozenset[str]:
    """
    Return the addresses of pictures in S3.

    :param images: what a task has listed, in an event or an XCom.
    """
    listed = images if isinstance(images, list) else []
    uris = (image.get("uri") for image in listed if isinstance(image, dict))
    return frozenset(uri for uri in uris if isinstance(uri, str))


def is_below(uri: str, prefix: Any) -> bool:
    """
    Whether an object lies below a prefix, also for a store that resolves paths as a file system does.

    :param prefix: ``s3://bucket``, or with folders after that.
    """
    if not isinstance(prefix, str) or not _PREFIX.match(prefix):
        return False
    folder = f"{prefix.rstrip('/')}/"
    key = uri.removeprefix(folder)
    return key not in {"", uri} and {".", ".."}.isdisjoint(key.split("/"))


async def _in_events(api: AirflowApi, scope: Scope, uri: str) -> StoredPicture | None:
    events = await find_events(api, scope, Status.STORED, limit=_EVENTS)
    for event in events:
        if not is_below(uri, event.extra.get("prefix")):
            continue
        # What is listed outside of events belongs to the newest of them.
        if uri in uris_of(event.images) or (event is events[0] and uri in await _listed_outside(api, event)):
            return StoredPicture(uri, event.extra.get("aws_connection"))
    return None


async def _listed_outside(api: AirflowApi, event: Event) -> frozenset[str]:
    if "manifest" in event.extra:
        read = partial(read_manifest, str(event.extra["manifest"]), aws_conn_id=event.extra.get("aws_connection"))
        return (await to_thread.run_sync(read, limiter=READING)).uris
    if not event.has_list:
        return frozenset()
    if (event.source, event.at) not in _XCOMS:
        returned = await api.xcom(event.source, "return_value")
        _XCOMS[event.source, event.at] = uris_of(returned.get("objects") if isinstance(returned, dict) else None)
    return _XCOMS[event.source, event.at]


async def _in_ledger(api: AirflowApi, scope: Scope, uri: str) -> StoredPicture | None:
    instance = await find_instance(api, scope)
    rendered = instance["rendered_fields"] if instance else {}
    bucket, prefix, aws_conn_id = (rendered.get(name) for name in ("s3_bucket", "s3_prefix", "aws_conn_id"))
    if not isinstance(bucket, str) or not isinstance(prefix, str):
        return None
    prefix = prefix.strip("/")
    if not is_below(uri, f"s3://{bucket}/{prefix}"):
        return None
    listed = partial(_is_in_ledger, bucket, prefix, aws_conn_id, f"{scope.dag_id}/{scope.run_id}", uri)
    return StoredPicture(uri, aws_conn_id) if await to_thread.run_sync(listed, limiter=READING) else None


def _is_in_ledger(bucket: str, prefix: str, aws_conn_id: str | None, run: str, uri: str) -> bool:
    return live_ledger(bucket, prefix, aws_conn_id, run).lists(uri)
