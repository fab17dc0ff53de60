"""
Which pictures a task instance gives a right to see: those that it has reported, and no others.

The API server's connections reach more than the pictures, and more than whoever asks may see. So no address in a
request is believed: it must be one that a task, which runs with its DAG author's rights, has reported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fastapi import HTTPException, status

from airflow_provider_apimart.plugins.web.card import Status
from airflow_provider_apimart.plugins.web.collection import find_events
from airflow_provider_apimart.plugins.web.origins import DeliveredPicture, StoredPicture
from airflow_provider_apimart.plugins.web.under_way import find_instance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["delivered_by", "find_delivered", "find_stored", "is_below", "stored_by", "stored_by_dataset"]

#: Events of one task instance: one for each time it succeeded.
_EVENTS: Final = 20
#: A prefix names a bucket at least.
_PREFIX: Final = re.compile("s3://[^/]")


async def find_stored(api: AirflowApi, scope: Scope, uri: str) -> StoredPicture:
    """
    Return a picture in S3.

    :param scope: the task instance that is said to have put it there.
    :raises HTTPException: 404 unless that has reported a prefix above it.
    """
    found = stored_by(await find_events(api, scope, Status.STORED, limit=_EVENTS), uri)
    if found is None and (instance := await find_instance(api, scope)):
        found = stored_by_dataset(instance["rendered_fields"], uri)
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


def stored_by(events: Iterable[Event], uri: str) -> StoredPicture | None:
    """Return the object as a task instance reaches it that has reported a prefix above it; ``None`` for any other."""
    for event in events:
        if is_below(uri, event.extra.get("prefix")):
            return StoredPicture(uri, event.extra.get("aws_connection"))
    return None


def stored_by_dataset(rendered: Mapping[str, Any], uri: str) -> StoredPicture | None:
    """
    Return the object as the task of a dataset reaches it, which reports only in the end.

    :param rendered: its template fields.
    """
    bucket, prefix = rendered.get("s3_bucket"), rendered.get("s3_prefix")
    if not isinstance(bucket, str) or not isinstance(prefix, str):
        return None
    is_its_own = is_below(uri, f"s3://{bucket}/{prefix.strip('/')}")
    return StoredPicture(uri, rendered.get("aws_conn_id")) if is_its_own else None


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
