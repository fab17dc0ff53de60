"""
Whether a request is one that the named model accepts.

Pure functions over the catalogue. :func:`check` is for the gateway that will be called; :func:`check_anywhere` is for
the time when a DAG is parsed and no connection is looked up: it refuses only what every gateway would refuse.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES, MEBIBYTE, find_spec, specs_of
from airflow_provider_apimart.gateway.request import REQUEST_FIELDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow_provider_apimart.gateway.catalogue import Gateway, ModelSpec
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["Problem", "check", "check_anywhere", "notices", "problems_at", "problems_of", "require"]

#: Limit of all reference images together on APIMart's page on gpt-image-2.
_MAX_REFERENCES_BYTES: Final = 256 * MEBIBYTE

#: Percentages on APIMart's pages on the official models.
_COMPRESSIONS: Final = range(101)

_PIXELS = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
#: A data URI may be megabytes long.
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
#: Fields whose value decides what is bought and remembered, so that they cannot be smuggled in by ``extra_body``.
_NEVER_EXTRA: Final = frozenset({"prompt", "model", "n"})


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One reason why a request would be refused.

    :param because: the other fields that the reason rests on; while one of them is not known, neither is the problem.
    """

    field: str
    value: object
    allowed: str
    because: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.field}={_SHORT.repr(self.value)}: {self.allowed}"


def check(request: ImageRequest, gateway: Gateway, *, unknown: Collection[str] = ()) -> None:
    """
    Raise unless the gateway accepts the request, as far as the catalogue knows.

    :param unknown: names of fields whose values are not known yet, because they hold templates.
    :raises InvalidRequestError: naming every wrong field, its value and what is allowed. Nothing was sent.
    """
    problems = problems_at(request, gateway, unknown=unknown)
    if problems:
        raise _error(problems, f"{request.model} on {gateway}")


def check_anywhere(request: ImageRequest, *, unknown: Collection[str] = ()) -> None:
    """
    Raise unless at least one gateway accepts the request, as far as the catalogue knows.

    :param unknown: names of fields whose values are not known yet, because they hold templates.
    :raises InvalidRequestError: naming every wrong field, its value and what is allowed. Nothing was sent.
    """
    specs = specs_of(request.model) if "model" not in unknown else ()
    found = [_certain(request, spec, unknown) for spec in (specs or (None,))]
    if all(found):
        raise _error(min(found, key=len), request.model)


def notices(request: ImageRequest, gateway: Gateway) -> list[str]:
    """Return, for each field that the vendor ignores or changes without a word, what it makes of it."""
    spec = find_spec(gateway, request.model)
    if spec is None:
        unchecked = f"model {request.model!r} on {gateway} is not in the catalogue: its fields are sent unchecked"
        return [unchecked]
    return [
        f"{name}={getattr(request, name)!r}: {notice}"
        for (name, value), notice in spec.notices.items()
        if getattr(request, name) is not None and value in (None, getattr(request, name))
    ]


def problems_at(request: ImageRequest, gateway: Gateway, *, unknown: Collection[str] = ()) -> list[Problem]:
    """
    Return every reason why the gateway would refuse the request, as far as the catalogue knows.

    :param unknown: names of fields whose values are not known yet, because they hold templates.
    """
    return _certain(request, find_spec(gateway, request.model), unknown)


def problems_of(request: ImageRequest, spec: ModelSpec | None) -> list[Problem]:
    """Return every reason why the request would be refused; ``spec`` is ``None`` for an unknown model."""
    problems = [*_texts(request), *_count(request), *_extra_body(request)]
    if spec is not None:
        problems += [
            *_choices(request, spec),
            *_size(request, spec),
            *_output(request, spec),
            *_references(request, spec),
        ]
    return problems or list(_unsendable(request))


def require(name: str, value: object, holds: bool, allowed: str) -> None:  # noqa: FBT001 - the condition itself
    """
    Raise unless a parameter that is no field of the request holds what is allowed.

    :raises InvalidRequestError: naming the parameter, its value and what is allowed.
    """
    if not holds:
        raise InvalidRequestError(
            f"{name}={value!r}: must be {allowed}. Nothing was sent.", field=name, value=value, allowed=allowed
        )


def _certain(request: ImageRequest, spec: ModelSpec | None, unknown: Collection[str]) -> list[Problem]:
    """Return the problems that rest on known fields only; what ``extra_body`` carries counts as not known."""
    uncertain = {*unknown, *(request.extra_body if isinstance(request.extra_body, Mapping) else ())}
    return [problem for problem in problems_of(request, spec) if not {problem.field, *problem.because} & uncertain]


def _error(problems: list[Problem], where: str) -> InvalidRequestError:
    listed = "; ".join(str(problem) for problem in problems)
    first = problems[0]
    return InvalidRequestError(
        f"Invalid image request for {where}: {listed}. Nothing was sent.",
        field=first.field,
        value=first.value,
        allowed=first.allowed,
    )


def _texts(request: ImageRequest) -> Iterator[Problem]:
    for name in ("prompt", "model"):
        value = getattr(request, name)
        if not isinstance(value, str) or not value.strip():
            yield Problem(name, value, "must be a text that is not empty")


def _unsendable(request: ImageRequest) -> Iterator[Problem]:
    for name, value in request.body().items():
        try:
            json.dumps({name: value}, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()
        except (TypeError, ValueError, RecursionError):
            field = "extra_body" if name in request.extra_body else name
            yield Problem(field, value, "must be what JSON can hold: no NaN, no bytes, no half of a surrogate pair")


def _count(request: ImageRequest) -> Iterator[Problem]:
    if not _is_integer(request.n) or request.n < 1:
        yield Problem("n", request.n, "must be a whole number of at least 1, without quotes")


def _extra_body(request: ImageRequest) -> Iterator[Problem]:
    extra: Any = request.extra_body
    if not isinstance(extra, Mapping):
        yield Problem("extra_body", extra, "must be a mapping from field names to values")
        return
    for name in extra:
        if not isinstance(name, str):
            yield Problem("extra_body", name, "must have names that are texts")
        elif name in _NEVER_EXTRA:
            yield Problem("extra_body", name, f"must not hold {name!r}: set the parameter {name}")
        elif name in REQUEST_FIELDS and getattr(request, name) is not None:
            yield Problem("extra_body", name, f"must not repeat {name!r}, which is set as a parameter")


def _choices(request: ImageRequest, spec: ModelSpec) -> Iterator[Problem]:
    choices: Mapping[str, tuple[str, ...]] = {
        "resolution": spec.resolutions,
        "quality": spec.qualities,
        "background": spec.backgrounds,
        "moderation": spec.moderations,
        "output_format": spec.output_formats,
    }
    for name, allowed in choices.items():
        value = getattr(request, name)
        if value is not None and value not in allowed:
            yield Problem(name, value, _one_of(allowed))
    fallback: Any = request.official_fallback
    if fallback is not None and not spec.official_fallback:
        yield Problem("official_fallback", fallback, _one_of(()))
    elif fallback is not None and not isinstance(fallback, bool):
        yield Problem("official_fallback", fallback, "must be true or false")


def _size(request: ImageRequest, spec: ModelSpec) -> Iterator[Problem]:
    size: Any = request.size
    resolution = request.resolution
    if size is None or size in spec.sizes:
        # Without a size the output follows the reference images, and is 1:1 where there are none.
        ratio = size or (None if request.image_urls else "1:1")
        if (ratio, resolution) in spec.refused_pairs:
            supported = ", ".join(ratio for ratio in spec.sizes if (ratio, resolution) not in spec.refused_pairs)
            shown = size if size is not None else "None (which means 1:1)"
            allowed = f"at resolution {resolution} must be one of {supported}"
            yield Problem("size", shown, allowed, because=("resolution", "image_urls"))
        return
    pixels = _PIXELS.fullmatch(size) if isinstance(size, str) and spec.pixel_strings else None
    if pixels is None:
        or_pixels = " or pixels such as '1024x1024'" if spec.pixel_strings else ""
        yield Problem("size", size, _one_of(spec.sizes) + or_pixels)
    elif spec.max_pixels is not None and int(pixels[1]) * int(pixels[2]) > spec.max_pixels:
        yield Problem("size", size, f"must be at most {spec.max_pixels:,} pixels in all")


def _output(request: ImageRequest, spec: ModelSpec) -> Iterator[Problem]:
    compression = request.output_compression
    output_format = request.output_format or spec.default_output_format
    if compression is not None:
        if not spec.compressible_formats:
            yield Problem("output_compression", compression, _one_of(()))
        elif not _is_integer(compression) or compression not in _COMPRESSIONS:
            yield Problem("output_compression", compression, "must be a whole number from 0 to 100")
        elif output_format not in spec.compressible_formats:
            formats = " or ".join(spec.compressible_formats)
            allowed = f"has an effect only with output_format {formats}"
            yield Problem("output_compression", compression, allowed, because=("output_format",))
    if request.background == "transparent" and output_format == "jpeg" and "transparent" in spec.backgrounds:
        allowed = "cannot be combined with output_format 'jpeg'"
        yield Problem("background", request.background, allowed, because=("output_format",))


def _references(request: ImageRequest, spec: ModelSpec) -> Iterator[Problem]:
    urls: Any = request.image_urls
    if urls is not None:
        if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
            yield Problem("image_urls", urls, "must be a list of URLs, each a plain string")
            return
        if len(urls) > spec.max_reference_images:
            yield Problem("image_urls", f"{len(urls)} images", f"must be at most {spec.max_reference_images} images")
        for url in urls:
            yield from _reference("image_urls", url, data_uris=spec.data_uris)
        in_all = sum(_decoded_size(url) for url in urls if _DATA_URI.match(url))
        if in_all > _MAX_REFERENCES_BYTES:
            yield Problem("image_urls", f"{in_all} bytes", f"must be at most {_MAX_REFERENCES_BYTES} bytes in all")
    if request.mask_url is not None:
        if not spec.mask:
            yield Problem("mask_url", request.mask_url, _one_of(()))
        elif not urls:
            allowed = "needs image_urls: a mask applies to the first reference image"
            yield Problem("mask_url", request.mask_url, allowed, because=("image_urls",))
        else:
            yield from _reference("mask_url", request.mask_url, data_uris=False)


def _reference(name: str, url: Any, *, data_uris: bool) -> Iterator[Problem]:
    if not isinstance(url, str):
        yield Problem(name, url, "must be a public http or https URL, a plain string")
        return
    if url[:5].lower() == "data:":
        if not data_uris:
            yield Problem(name, url, "must be a public URL: this model takes no data URIs; upload_image() makes one")
        elif not _DATA_URI.match(url):
            yield Problem(name, url, "must be a data URI of the form data:image/png;base64,...")
        elif _decoded_size(url) > MAX_REFERENCE_BYTES:
            yield Problem(name, url, f"must hold at most {MAX_REFERENCE_BYTES} bytes per image")
        return
    if not _is_http_url(url):
        yield Problem(name, url, "must be a public http or https URL" + (" or a data URI" if data_uris else ""))


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _decoded_size(data_uri: str) -> int:
    encoded = len(data_uri) - data_uri.index(",") - 1
    return encoded * 3 // 4 - data_uri[-2:].count("=")


def _one_of(allowed: tuple[str, ...]) -> str:
    if not allowed:
        return "must be left out: this model does not take it"
    return "must be one of " + ", ".join(repr(value) for value in allowed)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
