"""
One request for pictures, as a value: its fields, and the JSON bodies of the tasks that it becomes.

From values as templates and tables give them, often as text, to a request.

Keys under which a gateway recognises a paid request that it has seen before.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "REQUEST_FIELDS",
    "REQUEST_PARAMETERS",
    "ImageRequest",
    "build_request",
    "digest",
    "fingerprint",
    "idempotency_key",
    "typed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """
    One request for ``n`` pictures of one prompt. A field left ``None`` is not sent.

    :param prompt: what the picture shows.
    :param model: the vendor's name of the model.
    :param size: ``"auto"``, a ratio such as ``"16:9"``, or pixels such as ``"1881x836"`` where the model takes them.
    :param resolution: ``"1k"``, ``"2k"`` or ``"4k"``.
    :param quality: ``"auto"``, ``"low"``, ``"medium"`` or ``"high"``.
    :param n: number of pictures.
    :param background: ``"auto"``, ``"opaque"`` or ``"transparent"``.
    :param moderation: strength of the model provider's filter, ``"auto"`` or ``"low"``.
    :param output_format: ``"png"``, ``"jpeg"`` or ``"webp"``.
    :param output_compression: 0 to 100, for jpeg and webp.
    :param image_urls: reference images: public URLs, or data URIs where the model takes them.
    :param mask_url: mask with an alpha channel, of the size of the first reference image.
    :param official_fallback: whether the gateway may use the dearer official channel when its own fails.
    :param extra_body: further fields, sent as they are. A value that the catalogue does not know can be sent here too.
    """

    prompt: str
    model: str = "gpt-image-2"
    size: str | None = None
    resolution: str | None = None
    quality: str | None = None
    n: int = 1
    background: str | None = None
    moderation: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    image_urls: tuple[str, ...] | None = None
    mask_url: str | None = None
    official_fallback: bool | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of this request as one task, in a stable order of keys."""
        named = {name: getattr(self, name) for name in REQUEST_FIELDS}
        sent = {name: value for name, value in named.items() if value is not None}
        if self.image_urls is not None:
            sent["image_urls"] = list(self.image_urls)
        return {**sent, **self.extra_body}

    def split(self, images_per_task: int | None) -> tuple[ImageRequest, ...]:
        """
        Return the requests, one per gateway task, that together ask for ``n`` pictures.

        :param images_per_task: what the gateway delivers in one task; ``None`` where that is unknown, and the
            request stays whole.
        """
        if images_per_task is None or self.n <= images_per_task:
            return (self,)
        whole, rest = divmod(self.n, images_per_task)
        counts = [images_per_task] * whole + ([rest] if rest else [])
        return tuple(replace(self, n=count) for count in counts)


#: Names of the fields that become keys of the JSON body.
REQUEST_FIELDS: Final = tuple(f.name for f in fields(ImageRequest) if f.name != "extra_body")


#: Names of everything that a request is made of.
REQUEST_PARAMETERS: Final = (*REQUEST_FIELDS, "extra_body")

_INTEGERS: Final = frozenset({"n", "output_compression"})
_BOOLEANS: Final = {"true": True, "false": False}
#: A column of whole numbers with a gap in it comes out of pandas as 1.0, 2.0.
_WHOLE_NUMBER: Final = re.compile(r"([+-]?[0-9]{1,9})(?:\.0+)?")


def typed(name: str, value: Any) -> Any:
    """
    Return what a value stands for: a number or true or false where the field wants that, else the value as it is.

    :param name: of the field.
    """
    if name in _INTEGERS:
        number = _WHOLE_NUMBER.fullmatch(str(value).strip()) if isinstance(value, str | float) else None
        return value if number is None else int(number[1])
    if name == "official_fallback" and isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower(), value)
    return value


def build_request(values: Mapping[str, Any]) -> ImageRequest:
    """
    Return the request of these values; ``None`` and an empty list of references are left out.

    :param values: by the names in :data:`REQUEST_PARAMETERS`, ``prompt`` among them.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if isinstance(given.get("image_urls"), list | tuple):
        given["image_urls"] = tuple(given["image_urls"]) or None
    return ImageRequest(**given)


def digest(value: Any) -> str:
    """Return 64 hexadecimal digits that are the same for equal JSON values, whatever the order of their keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def fingerprint(*, connection_id: str, path: str, body: Mapping[str, Any]) -> str:
    """Return a digest of what is asked for and of whom: another account's picture is another picture."""
    return digest([connection_id, path, body])


def idempotency_key(*identity: str | int) -> str:
    """
    Return the key for a purchase, the same on every machine for the same identity.

    :param identity: whatever tells this purchase from all others, in a fixed order.
    """
    joined = "\0".join(str(part) for part in identity)
    return f"airflow-{hashlib.sha256(joined.encode()).hexdigest()[:48]}"
