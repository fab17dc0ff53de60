"""
What each known model on each gateway accepts, as data.

The source is the vendors' own pages. A value that a page lists and the vendor then ignores or changes carries a notice,
which the user is shown. A model that is not listed is not checked beyond its types: new ones appear monthly, and so
do values; ``extra_body`` carries those that this table does not know yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from airflow_provider_apimart.gateway import pixels

__all__ = ["CATALOGUE", "MAX_REFERENCE_BYTES", "MEBIBYTE", "Gateway", "ModelSpec", "find_spec", "specs_of"]

MEBIBYTE: Final = 1024 * 1024
#: The largest reference image. The pages on uploads and on gpt-image-2 say 20 MB; the upload endpoint's own refusal,
#: ``413 file size N exceeds maximum 20971520 bytes``, shows that they mean mebibytes.
MAX_REFERENCE_BYTES: Final = 20 * MEBIBYTE


class Gateway(StrEnum):
    """The two vendors, which speak dialects of one API."""

    APIMART = "apimart"
    APIMASTER = "apimaster"

    @property
    def takes_uploads(self) -> bool:
        """Whether reference images can be uploaded; APIMaster documents no endpoint for that."""
        return self is Gateway.APIMART


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """
    One model on one gateway. An empty tuple or ``False`` says that the model does not take the field.

    :param pixels: what each ratio delivers at each resolution; a missing pair is one that the vendor refuses.
    :param sizes: values of ``size`` besides pixel strings.
    :param pixel_strings: whether ``size`` may also be a string such as ``"1881x836"``.
    :param max_pixels: the most pixels that a pixel string may ask for; ``None`` where no limit is documented.
    :param default_output_format: what comes when ``output_format`` is not sent.
    :param images_per_task: what one task delivers at the most. A greater ``n`` becomes several tasks.
    :param data_uris: whether ``image_urls`` may hold data URIs.
    :param notices: for ``(field, value)``, or ``(field, None)`` for any value, what the vendor makes of it.
    """

    gateway: Gateway
    model: str
    pixels: pixels.PixelTable
    sizes: tuple[str, ...]
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

_GPT_IMAGE_2_OFFICIAL: Final = ModelSpec(
    gateway=Gateway.APIMART,
    model="gpt-image-2-official",
    pixels=pixels.GPT_IMAGE_2_OFFICIAL,
    sizes=tuple(pixels.GPT_IMAGE_2_OFFICIAL),
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

# Both pages document n up to 10 or an example with n=2; live answers to n=2 delivered one picture. One task each
# delivers what was asked for under either reading, at the same price per picture.
_GPT_IMAGE_2: Final = ModelSpec(
    gateway=Gateway.APIMART,
    model="gpt-image-2",
    pixels=pixels.GPT_IMAGE_2,
    sizes=("auto", *pixels.GPT_IMAGE_2),
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


def _gpt_image_1(model: str) -> ModelSpec:
    return ModelSpec(
        gateway=Gateway.APIMART,
        model=model,
        pixels=pixels.GPT_IMAGE_1,
        sizes=tuple(pixels.GPT_IMAGE_1),
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
    _gpt_image_1("gpt-image-1-official"),
    _gpt_image_1("gpt-image-1.5-official"),
)


def specs_of(model: str) -> tuple[ModelSpec, ...]:
    """Return the model's entry on each gateway that offers it; empty for an unknown model."""
    return tuple(spec for spec in CATALOGUE if spec.model == model)


def find_spec(gateway: Gateway, model: str) -> ModelSpec | None:
    """Return the model's entry on one gateway, or ``None`` for a model that the catalogue does not know there."""
    return next((spec for spec in specs_of(model) if spec.gateway is gateway), None)
