"""
What the gateways make of a submit body: refuse it, change it in silence, or take it as it is.

Fields that a model does not take are ignored, as both vendors do. Where their pages name no message, the ones here say
which field was wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from airflow_provider_apimart.gateway.catalogue import MEBIBYTE, Gateway, ModelSpec, find_spec
from airflow_provider_apimart.simulator import pixels
from airflow_provider_apimart.simulator.answers import Refusal

__all__ = ["Order", "read_order"]

_PIXEL_STRING: Final = re.compile(r"(\d{2,5})x(\d{2,5})")
_LONGEST_SIDE: Final = 3840
_MOST_PIXELS: Final = 8_294_400
_LARGEST_DATA_URI: Final = 20 * MEBIBYTE * 4 // 3 + 64
_MOST_IMAGES: Final = 10
_MOST_REFERENCES: Final = 16
_RESOLUTIONS: Final = ("1k", "2k", "4k")
_FORMATS: Final = ("png", "jpeg", "webp")
#: Outside 1-4 these models clamp ``n``; the others refuse.
_CLAMPED: Final = ("gpt-image-1-official", "gpt-image-1.5-official")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What the gateway will make for one accepted request.

    :param ratio: the ratio asked for, or ``None`` with a pixel string.
    :param resolution: ``1k``, ``2k`` or ``4k``, which decides price and duration; it follows from a pixel string.
    :param images: pictures that will be delivered, which ``n`` does not always decide.
    """

    gateway: Gateway
    model: str
    prompt: str
    ratio: str | None
    resolution: str
    width: int
    height: int
    quality: str | None
    image_format: str
    compression: int | None
    transparent: bool
    official_fallback: bool
    images: int


def read_order(gateway: Gateway, body: object) -> Order:
    """
    Return what a submit body asks for.

    :param gateway: the vendor asked.
    :param body: the decoded JSON.
    :raises Refusal: with the vendor's answer where it would not accept the body.
    """
    if not isinstance(body, Mapping):
        _refuse("Invalid request body")
    given = {name: value for name, value in body.items() if value is not None}
    model = given.get("model")
    if not isinstance(model, str) or not model:
        _refuse("model is required")
    prompt = given.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        _refuse("prompt is required")
    spec = find_spec(gateway, model)
    _check_choices(spec, given)
    _check_references(spec, given)
    ratio, resolution, (width, height) = _read_pixels(spec, given)
    image_format = _read_format(spec, given)
    return Order(
        gateway=gateway,
        model=model,
        prompt=prompt,
        ratio=ratio,
        resolution=resolution,
        width=width,
        height=height,
        quality=given.get("quality") if spec is None or spec.qualities else None,
        image_format=image_format,
        compression=_read_compression(spec, given, image_format),
        transparent=_read_transparency(spec, given, image_format),
        official_fallback=_read_fallback(spec, given),
        images=_read_images(spec, given),
    )


def _refuse(message: str) -> NoReturn:
    raise Refusal.documented(400, message)


def _check_choices(spec: ModelSpec | None, given: Mapping[str, Any]) -> None:
    if spec is None:
        return
    for name, allowed in (
        ("quality", spec.qualities),
        ("background", spec.backgrounds),
        ("moderation", spec.moderations),
        ("output_format", spec.output_formats),
    ):
        if allowed and name in given and given[name] not in allowed:
            _refuse(f"invalid {name}: {given[name]!r}, allowed: {', '.join(allowed)}")


def _check_references(spec: ModelSpec | None, given: Mapping[str, Any]) -> None:
    references = given.get("image_urls", [])
    if not isinstance(references, list) or not all(isinstance(reference, str) for reference in references):
        _refuse("image_urls must be an array of strings")
    limit = spec.max_reference_images if spec else _MOST_REFERENCES
    if len(references) > limit:
        _refuse(f"image_urls exceeds max {limit}")
    for index, reference in enumerate(references):
        if reference.startswith("data:image/"):
            if spec and not spec.data_uris:
                _refuse(f"image_urls[{index}] must be a public URL")
            if len(reference) > _LARGEST_DATA_URI:
                _refuse(f"image_urls[{index}] exceeds 20MB")
        elif not reference.startswith(("http://", "https://")):
            _refuse(f"image_urls[{index}] is neither a URL nor a data URI")
    if spec and spec.mask and given.get("mask_url") and not references:
        _refuse("mask_url must be used together with image_urls")


def _read_pixels(spec: ModelSpec | None, given: Mapping[str, Any]) -> tuple[str | None, str, tuple[int, int]]:
    resolution = given.get("resolution", "1k")
    if spec is None:
        resolution = str(resolution).lower() if str(resolution).lower() in _RESOLUTIONS else "1k"
    elif not spec.resolutions:
        resolution = "1k"
    elif resolution not in spec.resolutions:
        _refuse(f"invalid resolution: {resolution!r}, allowed: {', '.join(spec.resolutions)}")
    size = given.get("size", "1:1")
    match = _PIXEL_STRING.fullmatch(size) if isinstance(size, str) else None
    if match and (spec is None or spec.pixel_strings):
        return None, *_read_pixel_string(int(match[1]), int(match[2]))
    if spec is None:
        return "1:1", resolution, pixels.GPT_IMAGE_2.get(str(size), {}).get(resolution, (1024, 1024))
    if size not in spec.sizes:
        _refuse(f"invalid size: {size!r}, allowed: {', '.join(spec.sizes)}")
    ratio = "1:1" if size == "auto" else size
    row = pixels.pixel_table(spec.model)[ratio]
    if resolution not in row:
        _refuse(f"resolution {resolution} is not supported for size {size}")
    return ratio, resolution, row[resolution]


def _read_pixel_string(width: int, height: int) -> tuple[str, tuple[int, int]]:
    """Return the lowest resolution at which some ratio has as many pixels, and the pixels."""
    if max(width, height) > _LONGEST_SIDE or width * height > _MOST_PIXELS:
        _refuse(f"invalid size: {width}x{height} exceeds {_LONGEST_SIDE} a side or {_MOST_PIXELS} pixels")
    for resolution in ("1k", "2k"):
        if width * height <= max(math.prod(row[resolution]) for row in pixels.GPT_IMAGE_2.values()):
            return resolution, (width, height)
    return "4k", (width, height)


def _read_format(spec: ModelSpec | None, given: Mapping[str, Any]) -> str:
    if spec is None:
        return str(given["output_format"]) if given.get("output_format") in _FORMATS else "png"
    if not spec.output_formats:
        return spec.default_output_format
    return str(given.get("output_format", spec.default_output_format))


def _read_compression(spec: ModelSpec | None, given: Mapping[str, Any], image_format: str) -> int | None:
    value = given.get("output_compression")
    if value is None or (spec and not spec.output_formats):
        return None
    if not _is_integer(value) or not 0 <= value <= 100:  # noqa: PLR2004 - the documented range
        _refuse("output_compression must be a number from 0 to 100")
    return int(value) if spec is None or image_format in spec.compressible_formats else None


def _read_transparency(spec: ModelSpec | None, given: Mapping[str, Any], image_format: str) -> bool:
    """Return whether transparency is honoured; gpt-image-2-official silently delivers ``auto`` instead."""
    if given.get("background") != "transparent" or (spec and "transparent" not in spec.backgrounds):
        return False
    if spec and ("background", "transparent") in spec.notices:
        return False
    if image_format == "jpeg":
        _refuse("background transparent cannot be used with output_format jpeg")
    return True


def _read_fallback(spec: ModelSpec | None, given: Mapping[str, Any]) -> bool:
    if spec is None or not spec.official_fallback or "official_fallback" not in given:
        return False
    if not isinstance(given["official_fallback"], bool):
        _refuse("official_fallback must be a boolean")
    return bool(given["official_fallback"])


def _read_images(spec: ModelSpec | None, given: Mapping[str, Any]) -> int:
    n = given.get("n", 1)
    if not _is_integer(n):
        _refuse("n must be a number")
    if spec is None:
        most, delivered = _MOST_IMAGES, _MOST_IMAGES
    elif (spec.gateway, spec.model) == (Gateway.APIMART, "gpt-image-2"):
        # The page allows 1 to 10; live answers to n=2 held one picture.
        most, delivered = _MOST_IMAGES, spec.images_per_task
    else:
        most = delivered = spec.images_per_task
    if spec and spec.model in _CLAMPED:
        return min(max(int(n), 1), delivered)
    if not 1 <= n <= most:
        _refuse(f"invalid_n: n must be between 1 and {most}")
    return min(int(n), delivered)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
