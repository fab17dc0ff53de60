"""Wrong requests, generated from the catalogue: each model with each field wrong in every way that it can be."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.reference_files import DATA_URI

from airflow_provider_apimart.gateway.catalogue import CATALOGUE, MEBIBYTE, specs_of
from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_apimart.gateway.catalogue import ModelSpec

__all__ = ["INVALID", "InvalidRequest"]

URL = "https://cdn.example/reference.png"

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = 2


@dataclass(frozen=True)
class InvalidRequest:
    """
    A request that one model on one gateway refuses.

    :param field: the field to be named.
    :param fields: what is wrong, together: one field, or several that exclude each other.
    """

    spec: ModelSpec
    field: str
    fields: dict[str, Any]

    @property
    def request(self) -> ImageRequest:
        return ImageRequest(**{"prompt": "A lighthouse", "model": self.spec.model, **self.fields})

    @property
    def is_wrong_everywhere(self) -> bool:
        """Whether no other gateway takes the value for the same model."""
        value = self.fields[self.field]
        return not any(self.field == "quality" and value in spec.qualities for spec in specs_of(self.spec.model))

    def __str__(self) -> str:
        shown = ",".join(f"{name}={_SHORT.repr(value)}" for name, value in self.fields.items())
        return f"{self.spec.gateway}-{self.spec.model}-{shown}"


def _data_uri(mebibytes: float) -> str:
    return "data:image/png;base64," + "A" * int(mebibytes * MEBIBYTE * 4 / 3)


def _texts(_: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    for value in ("", "   ", None, 5, ["A lighthouse"]):
        yield "prompt", {"prompt": value}


def _counts(_: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    for value in (0, -1, 501, 10**9, "2", True, 1.5, None):
        yield "n", {"n": value}


def _sizes(spec: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    wrong: list[Any] = ["", "7:5", "1024", 1024, "0x100", "1024X1024", "1\u0660x10", "1" * 5000 + "x1", ["1:1"]]
    if not spec.pixel_strings:
        wrong.append("1024x1024")
    if spec.max_pixels is not None:
        wrong.append("3840x2161")
    if "auto" not in spec.sizes:
        wrong.append("auto")
    for value in wrong:
        yield "size", {"size": value}
    for size in spec.sizes:
        for resolution in spec.resolutions:
            if (size, resolution) in spec.refused_pairs:
                yield "size", {"size": size, "resolution": resolution}
    if ("1:1", "4k") in spec.refused_pairs:
        yield "size", {"size": None, "resolution": "4k"}


def _choices(spec: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, taken, unusual in (
        ("resolution", spec.resolutions, ("1k", "8k", "1K", 1, "")),
        ("quality", spec.qualities, ("low", "medium", "high", "xhigh", "LOW", 1, "")),
        ("background", spec.backgrounds, ("opaque", "transparent", "white", False, "")),
        ("moderation", spec.moderations, ("low", "high", 0, "")),
        ("output_format", spec.output_formats, ("png", "webp", "jpg", "PNG", 1, "")),
    ):
        for value in unusual:
            if value not in taken:
                yield name, {name: value}
    for value in ("true", 1) if spec.official_fallback else (True, False, "true"):
        yield "official_fallback", {"official_fallback": value}


def _compressions(spec: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    if not spec.compressible_formats:
        for value in (0, 90, "90"):
            yield "output_compression", {"output_compression": value}
        return
    for value in (-1, 101, "90", True, 50.5):
        yield "output_compression", {"output_compression": value, "output_format": "jpeg"}
    for output_format in (*sorted({*spec.output_formats} - {*spec.compressible_formats}), None):
        yield "output_compression", {"output_compression": 90, "output_format": output_format}
    yield "background", {"background": "transparent", "output_format": "jpeg"}


def _references(spec: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    wrong: list[Any] = [
        URL,
        5,
        {"url": URL},
        [{"url": URL}],
        [None],
        [URL, ""],
        ["ftp://cdn.example/a.png"],
        ["http://["],
        ["/local/file.png"],
        ["data:text/plain;base64,AA=="],
        ["data:image/png,raw"],
        ["data:image/png;base64,iVBORw0KGgo="],
        [URL] * (spec.max_reference_images + 1),
    ]
    if spec.data_uris:
        wrong += [[_data_uri(20.1)], [_data_uri(19)] * 14, ["data:image/png;base64,%%%"]]
    else:
        wrong += [[DATA_URI], [URL, DATA_URI]]
    for value in wrong:
        yield "image_urls", {"image_urls": value}


def _masks(spec: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    if not spec.mask:
        yield "mask_url", {"mask_url": URL, "image_urls": (URL,)}
        return
    yield "mask_url", {"mask_url": URL}
    yield "mask_url", {"mask_url": URL, "image_urls": ()}
    for value in (DATA_URI, "mask.png", "http://[", 5, ""):
        yield "mask_url", {"mask_url": value, "image_urls": (URL,)}


def _extra_bodies(_: ModelSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    for value in ({"prompt": "another"}, {"model": "another"}, {"n": 9}, None, 5, "size=1:1"):
        yield "extra_body", {"extra_body": value}
    yield "extra_body", {"extra_body": {"size": "1:1"}, "size": "1:1"}


INVALID = tuple(
    InvalidRequest(spec, field, fields)
    for spec in CATALOGUE
    for generate in (_texts, _counts, _sizes, _choices, _compressions, _references, _masks, _extra_bodies)
    for field, fields in generate(spec)
)
