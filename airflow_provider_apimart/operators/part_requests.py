"""The requests of a purchase's parts: restored from its record, priced, and with uploaded reference images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.dataset.addresses import addresses_of, resolved
from airflow_provider_apimart.exceptions import BudgetExceededError, InvalidRequestError, NotFoundError
from airflow_provider_apimart.gateway.request import build_request
from airflow_provider_apimart.operators.record import DIGEST, describe_request, shorten_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.operators.record import PurchaseRecord

__all__ = ["build_part_requests", "check_cost", "upload_references", "with_urls"]


def build_part_requests(record: PurchaseRecord, rendered: ImageRequest | None) -> list[ImageRequest]:
    """
    Return the request of each part.

    :param record: the record, whose request decides.
    :param rendered: the present rendering, which completes a record of 0.1, and long texts that were not recorded.
    :raises InvalidRequestError: when the record lacks something that the present rendering does not have.
    """
    if not record.request and rendered is None:
        raise InvalidRequestError("The request was not recorded and cannot be rendered. Nothing was submitted.")
    present = describe_request(rendered, is_compact=False)
    texts = {shorten_text(text): text for text in _texts(present)}
    values = (record.request or present).items()
    request = build_request({name: value if name == "prompt" else _restored(value, texts) for name, value in values})
    return [replace(request, n=part.n) for part in record.parts]


def check_cost(hook: ApimartHook, requests: Sequence[ImageRequest], limit: float | None) -> None:
    """
    Refuse to buy for more than a limit, or for a price that is not known.

    :param requests: what is to be bought; all of one model.
    :param limit: US dollars; ``None`` for no limit.
    :raises BudgetExceededError: before anything is submitted.
    """
    if limit is None:
        return
    estimates: list[float | None]
    try:
        price = hook.get_price(requests[0].model)
        estimates = [price.estimate(request) for request in requests]
    except NotFoundError:  # APIMaster publishes no prices.
        estimates = [None]
    known = [estimate for estimate in estimates if estimate is not None]
    is_known, estimated = len(known) == len(estimates), round(sum(known), 6)
    if is_known and estimated <= limit:
        return
    reason = f"is estimated at {estimated:g} USD" if is_known else "cannot be determined from the gateway's price list"
    raise BudgetExceededError(
        f"The price of {sum(request.n for request in requests)} picture(s) of {requests[0].model} {reason}, and "
        f"max_cost is {limit:g} USD. Nothing was submitted for them. Raise max_cost, or change the request."
    )


def upload_references(hook: ApimartHook, request: ImageRequest) -> dict[str, str]:
    """
    Upload the reference images of a request that are files or S3 objects, free of charge.

    :return: for each address its URL, or a data URI for a gateway that takes no uploads.
    :raises ApimartError: when an image cannot be read or uploaded. Nothing was submitted.
    """
    places = addresses_of(request)
    if not places:
        return {}
    from airflow_provider_apimart.dataset.reference_files import ReferenceFiles  # noqa: PLC0415 - loads boto3
    from airflow_provider_apimart.gateway.images import data_uri  # noqa: PLC0415 - loads imagesize

    make_url = hook.upload_image if hook.settings.gateway.takes_uploads else data_uri
    with ReferenceFiles("aws_default") as files:
        return {address: make_url(files.read(place)) for address, place in places.items()}


def with_urls(requests: Sequence[ImageRequest], uploads: Mapping[str, str]) -> list[ImageRequest]:
    """Return requests with URLs in place of the addresses of reference images."""
    return [resolved(request, uploads) for request in requests]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _restored(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, str) and value.startswith(DIGEST):
        if value not in texts:
            raise InvalidRequestError(
                "A long text of the request, such as a data URI, has changed since the first try, which recorded only "
                "its digest. Nothing was submitted. Clear the task to buy with the present request."
            )
        return texts[value]
    if isinstance(value, list | tuple):
        return [_restored(item, texts) for item in value]
    if isinstance(value, dict):
        return {name: _restored(item, texts) for name, item in value.items()}
    return value
