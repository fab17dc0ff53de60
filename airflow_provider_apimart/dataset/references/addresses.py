"""
Addresses of reference images, which a request may hold in place of public URLs. Does no I/O.

==========================================  =====================================================================
``s3://bucket/key``                         an object; ``s3://conn_id@bucket/key`` names the connection
``/a/path``, ``file:///a/path``             a file of the worker; after ``file://``, ``%20`` is a space
``./a/path``, ``../a/path``                 a file, relative to the directory in which the worker runs
``a/path.png``                              the same; needs the suffix of a picture, and no dot before the first slash
==========================================  =====================================================================

Anything else counts as a mistake: ``htps://a.png``, ``example.com/a.png``, ``n/a``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from airflow_provider_apimart.gateway.catalogue import find_spec
from airflow_provider_apimart.gateway.validation import Problem, problems_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_apimart.gateway.catalogue import Gateway
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["S3Object", "addresses_of", "locate", "problems_before_upload", "replace_addresses"]

_PUBLIC: Final = frozenset({"http", "https", "data"})
_S3: Final = re.compile(r"s3[an]?://(?:(?P<conn_id>[^/@]+)@)?(?P<bucket>[^/@]+)/(?P<key>.*[^/])")
_FILE: Final = "file://"
_EXPLICIT: Final = re.compile(r"\.{0,2}/[^/]")
_BY_SUFFIX: Final = re.compile(r"(?:[^./:]+/(?:[^/:]+/)*)?[^/:]+\.(?:png|jpe?g|webp|gif)", re.IGNORECASE)
#: Control characters and halves of surrogate pairs.
_NOT_IN_A_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ALLOWED: Final = (
    "must be a public http or https URL, a data URI where the model takes them, or the address of an image: "
    "s3://bucket/key, /a/path, ./a/path, or a/path with the suffix of a picture"
)


class S3Object(NamedTuple):
    """
    An object in S3.

    :param conn_id: Airflow connection; ``None`` if the address names none.
    """

    conn_id: str | None
    bucket: str
    key: str


def locate(address: str) -> S3Object | Path | None:
    """Return the object or the file at an address, or ``None`` for a text that is not an address."""
    if match := _S3.fullmatch(address):
        return None if _NOT_IN_A_NAME.search(address) else S3Object(**match.groupdict())
    path = address
    if address.startswith(_FILE):
        path = unquote(address.removeprefix(_FILE))
        if not path.startswith("/"):
            return None
    if not (_EXPLICIT.match(path) or _BY_SUFFIX.fullmatch(path)):
        return None
    has_name = path == path.strip() and path.rpartition("/")[2] not in {"", ".", ".."}
    return Path(path) if has_name and not _NOT_IN_A_NAME.search(path) else None


def addresses_of(request: ImageRequest) -> dict[str, S3Object | Path]:
    """Return the object or the file at each address that a request names."""
    return {value: place for _, value in _not_public(request) if (place := locate(value)) is not None}


def replace_addresses(request: ImageRequest, urls: Mapping[str, str]) -> ImageRequest:
    """
    Return a valid request with URLs in place of addresses.

    :param urls: by address. A reference that is not among them is left unchanged.
    """
    images = request.image_urls
    if images is not None:
        images = tuple(urls.get(image, image) for image in images)
    return replace(request, image_urls=images, mask_url=urls.get(request.mask_url or "", request.mask_url))


def problems_before_upload(request: ImageRequest, gateway: Gateway) -> list[Problem]:
    """
    Return every reason why the gateway would refuse the request after the upload, as far as is known before it.

    Whether an image exists and can be used is known only when it is read.
    """
    problems = problems_at(request, gateway, local_references=True)
    is_known = find_spec(gateway, request.model) is not None
    for name, value in dict.fromkeys(_not_public(request)):
        if locate(value) is None:
            if not any((problem.field, problem.value) == (name, value) for problem in problems):
                problems.append(Problem(name, value, _ALLOWED))
        elif not (is_known or gateway.takes_uploads):
            reason = "masks cannot be" if name == "mask_url" else f"{request.model} is not known to take"
            problems.append(
                Problem(name, value, f"must be a public URL: {gateway} takes no uploads, and {reason} data URIs")
            )
    return problems


def _not_public(request: ImageRequest) -> Iterator[tuple[str, str]]:
    """Yield field and value of each reference that is neither a public URL nor a data URI."""
    images: Any = request.image_urls
    named = [("image_urls", image) for image in images] if isinstance(images, tuple) else []
    for name, value in (*named, ("mask_url", request.mask_url)):
        if isinstance(value, str) and value.partition(":")[0].lower() not in _PUBLIC:
            yield name, value
