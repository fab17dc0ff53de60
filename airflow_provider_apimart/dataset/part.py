"""One paid call of a row, as a value. Most rows are one; a row that asks for many pictures may be several. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.row import Row
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["Kind", "Part", "key_of", "kind_of", "parts_of"]

#: What decides the price, as far as the ledger remembers it: model, size, resolution, quality and number of pictures.
Kind = tuple[str, str | None, str | None, str | None, int]

_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Part:
    """
    What one paid call of a row asks for.

    :param index: its place among the parts of the row, from 0.
    :param request: with the number of pictures that the gateway delivers in one task.
    """

    row: Row
    index: int
    request: ImageRequest

    @property
    def key(self) -> bytes:
        """What the ledger knows it by."""
        return key_of(self.row.fingerprint, self.row.id, self.index)


def parts_of(row: Row, images_per_task: int | None) -> tuple[Part, ...]:
    """
    Return the paid calls that a row takes.

    :param images_per_task: what the gateway delivers in one task; ``None`` where that is unknown, and the row is one.
    """
    return tuple(Part(row, index, request) for index, request in enumerate(row.request.split(images_per_task)))


def key_of(fingerprint: str, row_id: str, part: int) -> bytes:
    """Return what a purchase is known by in memory: a digest, since a ledger may hold a million of them."""
    return hashlib.sha256(f"{fingerprint}\0{row_id}\0{part}".encode(errors="backslashreplace")).digest()[:_KEY_BYTES]


def kind_of(request: ImageRequest) -> Kind:
    """Return what the price of a request depends on."""
    return (request.model, request.size, request.resolution, request.quality, request.n)
