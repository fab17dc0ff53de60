"""
Checks of requests and parameters before anything is submitted.

:func:`check` is for the gateway that will be called. :func:`check_anywhere` is for DAG parsing, when no connection is
looked up: it refuses only what every gateway would refuse. :func:`duration` and :func:`dollars` read times and money.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES, MEBIBYTE, find_spec, specs_of
from airflow_provider_apimart.gateway.parsing import read_number
from airflow_provider_apimart.gateway.reference_images import decode_data_uri, inspect_reference, is_data_uri
from airflow_provider_apimart.gateway.request import REQUEST_FIELDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow_provider_apimart.gateway.catalogue import Gateway, ModelSpec
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = [
    "MAX_PICTURES",
    "Problem",
    "check",
    "check_anywhere",
    "dollars",
    "duration",
    "notices",
    "problems_at",
    "require",
]

#: Pictures of one request. More are a dataset, whose ledger is made for that.
MAX_PICTURES: Final = 500

#: Limit of all reference images together on APIMart's page on gpt-image-2.
_MAX_REFERENCES_BYTES: Final = 256 * MEBIBYTE

#: Percentages on APIMart's pages on the official models.
_COMPRESSIONS: Final = range(101)

_PIXELS = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
#: An image that the caller uploads: an object in S3, an absolute or relative path, a file with the suffix of a picture.
_LOCAL = re.compile(
    r"s3[an]?://(?:[^/@]+@)?[^/@]+/.*[^/]|file:///.+|\.{0,2}/[^/].*|(?:[^./:]+/[^:]*|[^/:]+)\.(?:png|jpe?g|webp|gif)",
    re.IGNORECASE,
)
#: The text of a ``timedelta``, as a template renders it.
_CLOCK = re.compile(r"(?:(\d{1,3}) days?, )?(\d{1,2}):(\d{2}):(\d{2}(?:\.\d+)?)")
_MAX_SECONDS: Final = 366 * 86_400
#: A data URI may be megabytes long.
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
#: Fields that decide what is bought and recorded, so that ``extra_body`` must not replace them.
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


def check(
    request: ImageRequest, gateway: Gateway, *, unknown: Collection[str] = (), local_references: bool = False
) -> None:
    """
    Raise unless the gateway accepts the request, as far as the catalogue knows.

    :param unknown: names of fields whose values are not known yet, because they hold templates.
    :param local_references: whether reference images may also be local paths and ``s3://`` addresses, because the
        caller uploads them before it submits the request.
    :raises InvalidRequestError: naming every wrong field, its value and the allowed values. Nothing was submitted.
    """
    problems = problems_at(request, gateway, unknown=unknown, local_references=local_references)
    if problems:
        raise _error(problems, f"{request.model} on {gateway}")


def check_anywhere(request: ImageRequest, *, unknown: Collection[str] = (), local_references: bool = False) -> None:
    """
    Raise unless at least one gateway accepts the request, as far as the catalogue knows.

    Parameters and error are those of :func:`check`.
    """
    specs = specs_of(request.model) if "model" not in unknown else ()
    refusals = [_problems(request, spec, unknown, local=local_references) for spec in (specs or (None,))]
    if all(refusals):
        raise _error(min(refusals, key=len), request.model)


def notices(request: ImageRequest, gateway: Gateway) -> list[str]:
    """Return a warning for each field that the vendor silently ignores, changes or charges more for."""
    spec = find_spec(gateway, request.model)
    if spec is None:
        return [f"model {request.model!r} on {gateway} is not in the catalogue: its fields are sent unchecked"]
    return [
        f"{name}={getattr(request, name)!r}: {notice}"
        for (name, value), notice in spec.notices.items()
        if getattr(request, name) is not None and value in (None, getattr(request, name))
    ]


def problems_at(
    request: ImageRequest, gateway: Gateway, *, unknown: Collection[str] = (), local_references: bool = False
) -> list[Problem]:
    """Return every reason why the gateway would refuse the request, see :func:`check`."""
    return _problems(request, find_spec(gateway, request.model), unknown, local=local_references)


def _problems(request: ImageRequest, spec: ModelSpec | None, unknown: Collection[str], *, local: bool) -> list[Problem]:
    """Return the problems that rest on known fields only; a field that ``extra_body`` carries counts as not known."""
    problems = [*_basics(request), *_extra_body(request)]
    if spec is not None:
        problems += [
            *_choices(request, spec),
            *_size(request, spec),
            *_output(request, spec),
            *_references(request, spec, local=local),
        ]
    else:
        problems += _data_uris(request)
    uncertain = {*unknown, *(request.extra_body if isinstance(request.extra_body, Mapping) else ())}
    return [
        problem for problem in problems or _unsendable(request) if not {problem.field, *problem.because} & uncertain
    ]


def require(name: str, value: object, holds: bool, allowed: str) -> None:  # noqa: FBT001 - the condition itself
    """
    Raise unless a parameter, which is not a field of the request, has an allowed value.

    :raises InvalidRequestError: naming the parameter, its value and the allowed values.
    """
    if not holds:
        raise InvalidRequestError(
            f"{name}={_SHORT.repr(value)}: must be {allowed}. Nothing was submitted.",
            field=name,
            value=value,
            allowed=allowed,
        )


def duration(name: str, value: Any, *, may_be_zero: bool = False) -> float:
    """
    Return seconds that a parameter gives as a number, a ``timedelta``, or the text of either.

    :param may_be_zero: whether 0 seconds are allowed.
    :raises InvalidRequestError: for anything else, and for more than a year. Nothing was submitted.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else read_number(value)
    if seconds is None and isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())):
        days, hours, minutes, rest = clock.groups(default="0")
        seconds = int(days) * 86_400 + int(hours) * 3600 + int(minutes) * 60 + float(rest)
    holds = seconds is not None and (seconds > 0 or (may_be_zero and seconds == 0)) and seconds <= _MAX_SECONDS
    least = "0 seconds or more" if may_be_zero else "more than 0 seconds"
    require(name, value, holds, f"{least}, at most {_MAX_SECONDS} (a year), as a number or a timedelta")
    return seconds or 0.0


def dollars(name: str, value: Any) -> float | None:
    """
    Return US dollars that a parameter gives as a number or as text; ``None`` for no limit.

    :param value: ``None`` means no limit. A template that rendered to nothing does not: a limit was meant.
    :raises InvalidRequestError: for anything that is not an amount above 0. Nothing was submitted.
    """
    if value is None:
        return None
    amount = read_number(value)
    require(name, value, amount is not None and amount > 0, "more than 0 US dollars, as a number, or None for no limit")
    return amount


def _error(problems: list[Problem], where: str) -> InvalidRequestError:
    listed = "; ".join(str(problem) for problem in problems)
    first = problems[0]
    return InvalidRequestError(
        f"Invalid image request for {where}: {listed}. Nothing was submitted.",
        field=first.field,
        value=first.value,
        allowed=first.allowed,
    )


def _basics(request: ImageRequest) -> Iterator[Problem]:
    for name in ("prompt", "model"):
        value = getattr(request, name)
        if not isinstance(value, str) or not value.strip():
            yield Problem(name, value, "must be a text that is not empty")
    if not _is_integer(request.n) or request.n < 1:
        yield Problem("n", request.n, "must be a whole number of at least 1")
    elif request.n > MAX_PICTURES:
        yield Problem("n", request.n, f"must be at most {MAX_PICTURES}: ApimartImageDatasetOperator buys more")
    urls: Any = request.image_urls
    if urls is not None and not isinstance(urls, list | tuple):
        yield Problem("image_urls", urls, "must be a list of URLs; a text may hold one URL, or a JSON list of URLs")


def _unsendable(request: ImageRequest) -> Iterator[Problem]:
    for name, value in request.body().items():
        try:
            json.dumps({name: value}, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()
        except (TypeError, ValueError, RecursionError):
            field = "extra_body" if name in request.extra_body else name
            yield Problem(field, value, "must be valid JSON: without NaN, bytes or half of a surrogate pair")


def _extra_body(request: ImageRequest) -> Iterator[Problem]:
    extra: Any = request.extra_body
    if not isinstance(extra, Mapping):
        yield Problem("extra_body", extra, "must be a mapping from field names to values, or the JSON of one")
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
    if fallback is not None and not (spec.official_fallback and isinstance(fallback, bool)):
        yield Problem("official_fallback", fallback, "must be true or false" if spec.official_fallback else _one_of(()))


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


def _references(request: ImageRequest, spec: ModelSpec, *, local: bool) -> Iterator[Problem]:
    urls: Any = request.image_urls
    if isinstance(urls, list | tuple):
        if not all(isinstance(url, str) for url in urls):
            yield Problem("image_urls", urls, "must be a list of URLs, each a plain string")
            return
        if len(urls) > spec.max_reference_images:
            yield Problem("image_urls", f"{len(urls)} images", f"must be at most {spec.max_reference_images} images")
        for url in dict.fromkeys(urls):
            yield from _reference("image_urls", url, spec, local=local, data_uris=spec.data_uris)
        in_all = sum(_decoded_size(url) for url in urls if is_data_uri(url))
        if in_all > _MAX_REFERENCES_BYTES:
            yield Problem("image_urls", f"{in_all} bytes", f"must be at most {_MAX_REFERENCES_BYTES} bytes in all")
    if request.mask_url is not None:
        if not spec.mask:
            yield Problem("mask_url", request.mask_url, _one_of(()))
        elif not urls:
            allowed = "needs image_urls: a mask applies to the first reference image"
            yield Problem("mask_url", request.mask_url, allowed, because=("image_urls",))
        else:
            yield from _reference("mask_url", request.mask_url, spec, local=local, data_uris=False)


def _reference(name: str, url: Any, spec: ModelSpec, *, local: bool, data_uris: bool) -> Iterator[Problem]:
    if not isinstance(url, str):
        yield Problem(name, url, "must be a public http or https URL, a plain string")
        return
    if local and _LOCAL.fullmatch(url):
        if not (spec.gateway.takes_uploads or data_uris):
            yield Problem(name, url, f"must be a public URL: {spec.gateway} takes neither uploads nor data URIs here")
        return
    if url[:5].lower() == "data:":
        if not data_uris:
            yield Problem(name, url, "must be a public URL: this model takes no data URIs; upload_image() makes one")
        elif not is_data_uri(url):
            yield Problem(name, url, "must be a data URI of the form data:image/png;base64,...")
        else:
            yield from _content(name, url)
        return
    if not _is_http_url(url):
        or_data_uri = " or a data URI" if data_uris else ""
        or_local = ", or the address of a file: a path or s3://bucket/key" if local else ""
        yield Problem(name, url, f"must be a public http or https URL{or_data_uri}{or_local}")


def _data_uris(request: ImageRequest) -> Iterator[Problem]:
    """Yield the problems of the data URIs for a model of which nothing else is known."""
    urls: Any = request.image_urls
    images = urls if isinstance(urls, list | tuple) else ()
    for name, url in (*(("image_urls", url) for url in images), ("mask_url", request.mask_url)):
        if isinstance(url, str) and is_data_uri(url):
            yield from _content(name, url)


def _content(name: str, data_uri: str) -> Iterator[Problem]:
    if _decoded_size(data_uri) > MAX_REFERENCE_BYTES:
        yield Problem(name, data_uri, f"must hold at most {MAX_REFERENCE_BYTES} bytes per image")
        return
    try:
        inspect_reference(decode_data_uri(data_uri))
    except InvalidRequestError as error:
        yield Problem(name, data_uri, f"must be {error.allowed}; it {error.value}")


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
