"""Where a page of the gallery begins. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

__all__ = ["START", "Cursor", "read_cursor"]


class Cursor(NamedTuple):
    """
    The place of the next picture.

    Task instances and events are listed newest first, and new ones come in while somebody turns pages.

    :param until: the moment, in ISO 8601, after which what has happened is left out; empty for the first page.
    :param offset: of the event that holds the picture, among those until then.
    :param within: of the picture, among those of the event.
    """

    until: str = ""
    offset: int = 0
    within: int = 0

    def __str__(self) -> str:
        return "" if self == START else f"{self.until}~{self.offset}~{self.within}"


#: The first page.
START = Cursor()


def read_cursor(text: str) -> Cursor:
    """Return the cursor that a text stands for; the first page for one that is no cursor."""
    until, _, place = text.partition("~")
    offset, _, within = place.partition("~")
    if not offset.isdecimal() or not within.isdecimal():
        return START
    try:
        return Cursor(datetime.fromisoformat(until).isoformat(), int(offset), int(within))
    except ValueError:
        return START
