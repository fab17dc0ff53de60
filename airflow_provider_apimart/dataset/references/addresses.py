"""
Reference images that a dataset names by where they lie, in place of a public URL. Pure.

==========================================  ==========================================================
``s3://bucket/key``                         an object; ``s3://conn_id@bucket/key`` names the connection
``/a/path``, ``file:///a/path``             a file of the worker; after ``file://``, ``%20`` is a space
``./a/path``, ``../a/path``                 likewise, from the directory in which the worker runs
``a/path.png``                              likewise, with the suffix of a picture, and no dot before the first slash
==========================================  ==========================================================

Anything else is taken for a mistake: ``htps://a.png``, ``example.com/a.png``, ``n/a``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from airflow_provider_apimart.gateway import validation
from airflow_provider_apimart.gateway.catalogue import find_spec
from airflow_provider_apimart.gateway.validation import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_apimart.gateway.catalogue import Gateway
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["S3Object", "addresses_of", "locate", "problems_before_upload", "resolved"]

#: What validation sees in place of an address. No such host can exist (RFC 2606).
_STAND_IN: Final = "https://reference.invalid/"
_PUBLIC: Final = frozenset({"http", "https", "data"})
_S3: Final = re.compile(r"s3[an]?://(?:(?P<conn_id>[^/@]+)@)?(?P<bucket>[^/@]+)/(?P<key>.*[^/])")
_FILE: Final = "file://"
_EXPLICIT: Final = re.compile(r"\.{0,2}/[^/]")
_BY_SUFFIX: Final = re.compile(r"(?:[^./:]+/(?:[^/:]+/)*)?[^/:]+\.(?:png|jpe?g|webp|gif)", re.IGNORECASE)
#: Control characters and halves of surrogate pairs.
_IN_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ALLOWED: Final = (
    "must be a public http or https URL, a data URI where the model takes them, or where the image lies: "
    "s3://bucket/key, /a/path, ./a/path, or a/path with the suffix of a picture"
)


class S3Object(NamedTuple):
    """
    An object in S3.

    :param conn_id: Airflow connection, where the address names one.
    """

    conn_id: str | None
    bucket: str
    key: str


def locate(address: str) -> S3Object | Path | None:
    """Return what an address leads to, or ``None`` for what is no address of an object or a file."""
    if found := _S3.fullmatch(address):
        return None if _IN_NO_NAME.search(address) else S3Object(**found.groupdict())
    if address.startswith(_FILE):
        path = unquote(address.removeprefix(_FILE))
        return _path(path) if path.startswith("/") else None
    return _path(address)


def addresses_of(request: ImageRequest) -> dict[str, S3Object | Path]:
    """Return the addresses that a request names, with what each leads to."""
    return {value: found for _, value in _private(request) if (found := locate(value)) is not None}


def resolved(request: ImageRequest, urls: Mapping[str, str]) -> ImageRequest:
    """
    Return a request with URLs in place of addresses.

    :param urls: by address. What is not in it stays as it is.
    """
    images: Any = request.image_urls
    if isinstance(images, tuple):
        images = tuple(urls.get(image, image) if isinstance(image, str) else image for image in images)
    mask: Any = request.mask_url
    if isinstance(mask, str):
        mask = urls.get(mask, mask)
    return replace(request, image_urls=images, mask_url=mask)


def problems_before_upload(request: ImageRequest, gateway: Gateway) -> list[Problem]:
    """
    Return every reason why the gateway would refuse the request once its addresses are URLs, as far as is known.

    That the images are there, and of a kind that the gateway takes, is only known when they are read.
    """
    private = dict.fromkeys(_private(request))
    if not private:
        return validation.problems_at(request, gateway)
    seen = resolved(request, {value: _STAND_IN for _, value in private})
    problems = [_as_written(problem, request, seen) for problem in validation.problems_at(seen, gateway)]
    wrong = {problem.field for problem in problems}
    for name, value in private:
        if locate(value) is None:
            problems.append(Problem(name, value, _ALLOWED))
        elif name not in wrong and (obstacle := _obstacle(name, request.model, gateway)):
            problems.append(Problem(name, value, f"must be a public URL: {gateway} takes no uploads, and {obstacle}"))
    return problems


def _private(request: ImageRequest) -> Iterator[tuple[str, str]]:
    """Yield field and value of each reference that is no public URL and no data URI."""
    images: Any = request.image_urls
    named = [("image_urls", image) for image in images] if isinstance(images, tuple) else []
    for name, value in (*named, ("mask_url", request.mask_url)):
        if isinstance(value, str) and value.partition(":")[0].lower() not in _PUBLIC:
            yield name, value


def _obstacle(name: str, model: str, gateway: Gateway) -> str | None:
    """Return why an image of this machine or of S3 cannot reach the gateway, or ``None`` where it can."""
    if gateway.takes_uploads:
        return None
    if name == "mask_url":
        return "a mask may not be a data URI"
    spec = find_spec(gateway, model)
    return None if spec and spec.data_uris else f"{model} is not known to take data URIs"


def _path(text: str) -> Path | None:
    is_path = _EXPLICIT.match(text) or _BY_SUFFIX.fullmatch(text)
    is_nameable = text == text.strip() and not _IN_NO_NAME.search(text)
    return Path(text) if is_path and is_nameable and text.rpartition("/")[2] not in {"", ".", ".."} else None


def _as_written(problem: Problem, request: ImageRequest, seen: ImageRequest) -> Problem:
    """Return a problem that validation found, with what the dataset says in place of the stand-ins."""
    if problem.value is getattr(seen, problem.field, None):
        return replace(problem, value=getattr(request, problem.field))
    return problem
