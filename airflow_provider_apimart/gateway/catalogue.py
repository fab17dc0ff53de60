"""
The catalogue: the values that each known model accepts on each gateway, as data from the vendors' own pages.

A value that a page lists and the vendor then ignores or changes has a notice, which is logged. A model that is not
listed is checked for types only, because new models appear every month. New values of a listed model can be sent in
``extra_body``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

__all__ = ["CATALOGUE", "MAX_REFERENCE_BYTES", "MEBIBYTE", "Gateway", "ModelSpec", "find_spec", "specs_of"]

MEBIBYTE: Final = 1024 * 1024
#: The largest reference image. The pages on uploads and on gpt-image-2 say 20 MB; the upload endpoint's own refusal,
#: ``413 file size N exceeds maximum 20971520 bytes``, shows that they mean mebibytes.
MAX_REFERENCE_BYTES: Final = 20 * MEBIBYTE


class Gateway(StrEnum):
    """The two vendors, whose APIs are dialects of one another."""

    APIMART = "apimart"
    APIMASTER = "apimaster"

    @property
    def takes_uploads(self) -> bool:
        """Return whether reference images can be uploaded; APIMaster documents no endpoint for that."""
        return self is Gateway.APIMART


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """
    The catalogue's entry for one model on one gateway. An empty tuple or ``False``: the model does not take the field.

    :param sizes: values of ``size`` besides pixel strings.
    :param refused_pairs: sizes and resolutions that the vendor refuses together.
    :param pixel_strings: whether ``size`` may also be a string such as ``"1881x836"``.
    :param max_pixels: limit on the pixels of a pixel string; ``None`` where no limit is documented.
    :param default_output_format: format of the pictures when ``output_format`` is not sent.
    :param images_per_task: limit on the pictures of one task. A greater ``n`` becomes several tasks.
    :param data_uris: whether ``image_urls`` may hold data URIs.
    :param notices: warnings by ``(field, value)``, or by ``(field, None)`` for any value of the field.
    """

    gateway: Gateway
    model: str
    sizes: tuple[str, ...]
    refused_pairs: frozenset[tuple[str, str]] = frozenset()
    pixel_strings: bool = False
    max_pixels: int | None = None
    resolutions: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    moderations: tuple[str, ...] = ()
    output_formats: tuple[str, ...] = ()
    compressible_formats: tuple[str, ...] = ()
    default_output_format: str = "png"
    images_per_task: int = 1
    max_reference_images: int
    data_uris: bool = False
    mask: bool = False
    official_fallback: bool = False
    notices: dict[tuple[str, object], str] = field(default_factory=dict)


_DEARER: Final = "the official channel costs more than the standard one"
_QUALITIES: Final = ("auto", "low", "medium", "high")
_BACKGROUNDS: Final = ("auto", "opaque", "transparent")
_MODERATIONS: Final = ("auto", "low")

#: Section "Size x Resolution Mapping" of APIMart's page on gpt-image-2-official: seven ratios have no 4k.
_UP_TO_2K: Final = ("1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5")
_UP_TO_4K: Final = ("16:9", "9:16", "2:1", "1:2", "21:9", "9:21")

_GPT_IMAGE_2_OFFICIAL: Final = ModelSpec(
    gateway=Gateway.APIMART,
    model="gpt-image-2-official",
    sizes=(*_UP_TO_2K, *_UP_TO_4K),
    refused_pairs=frozenset((size, "4k") for size in _UP_TO_2K),
    pixel_strings=True,
    max_pixels=8_294_400,
    resolutions=("1k", "2k", "4k"),
    qualities=_QUALITIES,
    backgrounds=_BACKGROUNDS,
    moderations=_MODERATIONS,
    output_formats=("png", "jpeg", "webp"),
    compressible_formats=("jpeg", "webp"),
    images_per_task=4,
    max_reference_images=16,
    mask=True,
    notices={
        ("background", "transparent"): (
            "the vendor's page says that gpt-image-2-official does not support transparent backgrounds and silently "
            "delivers 'auto' instead; gpt-image-1.5-official supports them"
        ),
    },
)

# Both pages document n up to 10 or an example with n=2; live responses to n=2 delivered one picture. One task each
# delivers what was asked for under either reading, at the same price per picture.
_GPT_IMAGE_2: Final = ModelSpec(
    gateway=Gateway.APIMART,
    model="gpt-image-2",
    sizes=("auto", *_UP_TO_2K, *_UP_TO_4K, "3:1", "1:3"),
    pixel_strings=True,
    resolutions=("1k", "2k", "4k"),
    qualities=("low", "medium", "high"),
    images_per_task=1,
    max_reference_images=16,
    data_uris=True,
    official_fallback=True,
    notices={
        ("quality", None): "the vendor's pages disagree on whether gpt-image-2 honours quality; it may be ignored",
        ("official_fallback", True): _DEARER,
    },
)

_GPT_IMAGE_2_APIMASTER: Final = replace(
    _GPT_IMAGE_2,
    gateway=Gateway.APIMASTER,
    qualities=(),
    notices={("official_fallback", True): _DEARER},
)


_GPT_IMAGE_1_OFFICIAL: Final = ModelSpec(
    gateway=Gateway.APIMART,
    model="gpt-image-1-official",
    sizes=("1:1", "2:3", "3:2"),
    qualities=_QUALITIES,
    backgrounds=_BACKGROUNDS,
    moderations=_MODERATIONS,
    output_formats=("png", "jpeg"),
    compressible_formats=("jpeg",),
    images_per_task=4,
    max_reference_images=15,
    mask=True,
)

CATALOGUE: Final[tuple[ModelSpec, ...]] = (
    _GPT_IMAGE_2_OFFICIAL,
    _GPT_IMAGE_2,
    _GPT_IMAGE_2_APIMASTER,
    _GPT_IMAGE_1_OFFICIAL,
    replace(_GPT_IMAGE_1_OFFICIAL, model="gpt-image-1.5-official"),
)


def specs_of(model: str) -> tuple[ModelSpec, ...]:
    """Return the model's entry on each gateway that offers it; empty for an unknown model."""
    return tuple(spec for spec in CATALOGUE if spec.model == model)


def find_spec(gateway: Gateway, model: str) -> ModelSpec | None:
    """Return the model's entry on one gateway, or ``None`` for a model that the catalogue does not know there."""
    return next((spec for spec in specs_of(model) if spec.gateway is gateway), None)
