"""The values of this room: a record as the dataset has it, a row that was checked, and a row that cannot be bought."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.dataset.row import Kind, Row, kind_of, row_of
from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CheckedRow", "InvalidRow", "Record", "RequestTemplate", "Unreadable", "row_from_line"]

_FINGERPRINT_DIGITS: Final = 32
_ID_DIGITS: Final = 16

#: Encoder of the canonical JSON from which fingerprints are made.
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_ASCII: Final = json.JSONEncoder(separators=(",", ":"))
_encode = _CANONICAL.encode


class Record(NamedTuple):
    """
    A record of a dataset, not checked.

    :param number: the line on which it begins, with the header counted; of a list or a Parquet file the record, from 1.
    :param fields: values by the names of their columns.
    """

    number: int
    fields: Mapping[str, Any]


class Unreadable(NamedTuple):
    """A place in a dataset that does not hold a record. Records after it may be readable."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """
    A row that cannot be bought.

    :param where: its place in the dataset, such as ``line 3``.
    :param id: the dataset's own id, or ``None`` where it has none that can be read.
    """

    where: str
    id: str | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}{'' if self.id is None else f' ({self.id})'}: {'; '.join(self.reasons)}"


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """
    A request without its prompt. Rows that differ in nothing else share it, and what was found out about it.

    :param request: with a prompt that stands for any.
    :param images_per_task: number of pictures that the gateway delivers in one task; ``None`` where not known.
    :param notices: warnings about what the vendor makes of its fields.
    """

    request: ImageRequest
    images_per_task: int | None
    notices: tuple[str, ...] = ()
    kind: Kind = field(init=False)
    stored: str = field(init=False)
    _before: str = field(init=False)
    _after: str = field(init=False)

    def __post_init__(self) -> None:
        body = {name: value for name, value in self.request.body().items() if name != "prompt"}
        before = _encode({name: value for name, value in body.items() if name < "prompt"})[1:-1]
        after = _encode({name: value for name, value in body.items() if name > "prompt"})[1:-1]
        stored = {name: value for name, value in self.request.to_json().items() if name != "prompt"}
        for name, value in (
            ("kind", kind_of(self.request)),
            ("stored", _to_json(stored)),
            ("_before", f'{{{before}{"," if before else ""}"prompt":'),
            ("_after", f"{',' if after else ''}{after}}}"),
        ):
            object.__setattr__(self, name, value)

    def fingerprint(self, prompt: str) -> str:
        """
        Return :func:`~airflow_provider_apimart.dataset.row.row_fingerprint` of the request with this prompt.

        :raises UnicodeEncodeError: for a lone surrogate, which no request can carry.
        """
        canonical = f"{self._before}{_encode(prompt)}{self._after}"
        return hashlib.sha256(canonical.encode()).hexdigest()[:_FINGERPRINT_DIGITS]


class CheckedRow(NamedTuple):
    """
    A row that may be bought, with as few objects of its own as possible: a dataset may have a million rows.

    :param own_id: the dataset's own id, or ``None`` where it gives none.
    :param columns: further columns, as JSON values.
    :param is_suspicious: whether its prompt looks like a mistake.
    """

    number: int
    own_id: str | None
    fingerprint: str
    prompt: str
    template: RequestTemplate
    columns: Mapping[str, Any] | None = None
    is_suspicious: bool = False

    @property
    def id(self) -> str:
        """The name of its picture."""
        return self.fingerprint[:_ID_DIGITS] if self.own_id is None else self.own_id

    def to_line(self) -> bytes:
        """Return the row as a line of JSON, without its end, from which :func:`row_from_line` restores it."""
        own_id = "null" if self.own_id is None else _encode(self.own_id)
        columns = f",{_to_json(self.columns)}" if self.columns else ""
        prompt = _encode(self.prompt)
        line = f"[{self.number},{own_id},{prompt},{self.template.stored}{columns}]"
        return line.encode()


def row_from_line(line: bytes) -> Row:
    """Return the row of a line that :meth:`CheckedRow.to_line` made. Its fingerprint is computed again."""
    number, own_id, prompt, fields, *columns = json.loads(line)
    return row_of(number, own_id, ImageRequest.from_json({**fields, "prompt": prompt}), *columns)


def _to_json(value: Any) -> str:
    """Return the compact JSON of a value in ASCII, in which a lone surrogate is an escape."""
    return _ASCII.encode(value)
