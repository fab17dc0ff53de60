"""The newest line of each purchase, on disk; memory holds its place alone."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.entry import STATUSES, EntryStatus, rank
from airflow_provider_apimart.dataset.row import KEY_BYTES, call_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

__all__ = ["LineIdentity", "NewestLines", "identify", "purchase_of"]

#: In such an order of bytes that greater bytes are the newer line: attempt, refusals, status. Then row and first
#: picture, by which lines are sorted; then sender, place and length.
_PLACE: Final = struct.Struct(">IIBQIIQI")
_RANK: Final = slice(0, 9)
_SUBMISSION: Final = slice(0, 8)
_STATUS: Final = 8
_ORDER: Final = slice(9, 21)
_SENDER: Final = slice(21, 25)
_REFUSED: Final = STATUSES.index(EntryStatus.REFUSED)
_MOST: Final = 2**32 - 1


class LineIdentity(NamedTuple):
    """
    The purchase that a line is about.

    :param purchase: key and generation, see :func:`purchase_of`.
    :param rank: among the lines of the same purchase.
    :param sender: a checksum that tells apart two submissions of the purchase.
    """

    purchase: bytes
    rank: tuple[int, int, int]
    row: int
    first: int
    sender: int


def identify(line: bytes) -> LineIdentity:
    """
    Return the purchase that a line of the ledger is about.

    :raises ValueError: when it does not say.
    """
    try:
        values: dict[str, Any] = json.loads(line)
        first, generation = values.get("first", 0), values.get("generation", 0)
        own = rank(generation, values.get("attempt", 0), values.get("refusals", 0), values["status"])
        key = call_key(values["fingerprint"], values["id"], first)
        sender = f"{values.get('buyer')}/{values.get('try_number')}/{values.get('intended_at')}"
        checksum = zlib.crc32(sender.encode(errors="backslashreplace"))
        return LineIdentity(purchase_of(key, generation), own[1:], values["row"], first, checksum)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a ledger entry ({type(error).__name__}: {error})") from error


def purchase_of(key: bytes, generation: int) -> bytes:
    """Return what identifies a purchase among all lines."""
    return key + min(generation, _MOST).to_bytes(4)


@dataclass
class NewestLines:
    """The newest of all lines that are added about each purchase. A context manager."""

    _file: IO[bytes] = field(default_factory=TemporaryFile)
    _places: dict[bytes, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, line: bytes, identity: LineIdentity) -> None:
        """Add a line; of two with the same rank the later one stays."""
        attempt, refusals, status = identity.rank
        counts = (min(attempt, _MOST), min(refusals, _MOST), status, max(0, identity.row), max(0, identity.first))
        place = _PLACE.pack(*counts, identity.sender, self._file.tell(), len(line))
        known = self._places.get(identity.purchase)
        if known is None or _is_newer(place, known):
            self._places[identity.purchase] = place
            self._file.write(line)

    def line(self, key: bytes, generation: int) -> bytes | None:
        """Return the newest line of a purchase."""
        place = self._places.get(purchase_of(key, generation))
        return None if place is None else self._read(place)

    def lines(self) -> Iterator[bytes]:
        """Yield the newest line of each purchase, in the order of the rows."""
        for purchase in sorted(self._places, key=lambda each: self._places[each][_ORDER] + each):
            yield self._read(self._places[purchase])

    def oldest_first(self) -> Iterator[bytes]:
        """Yield the newest line of each purchase, older generations of all calls first."""
        for purchase in sorted(self._places, key=lambda each: each[KEY_BYTES:] + self._places[each][_ORDER]):
            yield self._read(self._places[purchase])

    def _read(self, place: bytes) -> bytes:
        *_, offset, length = _PLACE.unpack(place)
        self._file.seek(offset)
        return self._file.read(length)


def _is_newer(place: bytes, known: bytes) -> bool:
    if place[_SUBMISSION] == known[_SUBMISSION] and place[_SENDER] != known[_SENDER]:
        # Two senders, one of whom was refused, which says nothing about what the other submits.
        if place[_STATUS] == _REFUSED and known[_STATUS] < _REFUSED:
            return False
        if known[_STATUS] == _REFUSED and place[_STATUS] < _REFUSED:
            return True
    return place[_RANK] >= known[_RANK]
