"""
The checks of records: which may be bought, and why the others may not. Does no I/O.

Rows that differ only in their prompts are checked once: the rest of the request is a shared
:class:`~airflow_provider_apimart.dataset.input.rows.RequestTemplate`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.input.rows import CheckedRow, InvalidRow, RequestTemplate, Unreadable
from airflow_provider_apimart.dataset.input.values import (
    ID_ALLOWED,
    PromptTemplate,
    field_value,
    is_suspicious,
    json_value,
    own_id,
)
from airflow_provider_apimart.dataset.references.addresses import problems_before_upload
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import find_spec
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, ImageRequest, build_request
from airflow_provider_apimart.gateway.validation import Problem
from airflow_provider_apimart.gateway.validation import notices as notices_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_apimart.dataset.input.rows import Record
    from airflow_provider_apimart.gateway.catalogue import Gateway

__all__ = ["Checker", "Columns", "RowTally"]

#: Numbers of rows in a notice.
_MOST_NUMBERS: Final = 20
#: Templates, and sets of columns, that are held.
_MOST_HELD: Final = 1000
#: Values by which a template can be found again: equal ones of the same type mean the same.
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_LONGEST_KEY: Final = 500


@dataclass
class RowTally:
    """A number of rows, and the first of their numbers."""

    count: int = 0
    numbers: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Count one more row."""
        self.count += 1
        if self.count <= _MOST_NUMBERS:
            self.numbers.append(number)

    def places(self, unit: str) -> str:
        """Return the places of the rows in words, such as ``lines 2, 5 and 3 more``."""
        more = f" and {self.count - len(self.numbers)} more" if self.count > len(self.numbers) else ""
        return f"{unit}{'s' if self.count > 1 else ''} {', '.join(map(str, self.numbers))}{more}"


@dataclass(frozen=True)
class Columns:
    """
    The columns that a dataset may have.

    :param id_column: names the picture.
    :param passed: those that go into ledger and manifest.
    :param prompt_template: makes the prompt out of others.
    """

    id_column: str = "id"
    passed: Sequence[str] = ()
    prompt_template: PromptTemplate | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """All of them, each once."""
        of_template = self.prompt_template.columns if self.prompt_template else ()
        return tuple(dict.fromkeys((*REQUEST_PARAMETERS, self.id_column, *self.passed, *of_template)))


class Checker:
    """
    Checks the records of a dataset, one after the other.

    :param defaults: values of request fields that a record leaves out.
    :param gateway: the one that will be called.
    :param unit: what the number of a record counts, ``line`` or ``row``.
    """

    def __init__(self, defaults: Mapping[str, Any], gateway: Gateway, columns: Columns, unit: str = "row") -> None:
        usual = {name: field_value(name, value) for name, value in defaults.items()}
        self._usual_prompt = usual.pop("prompt", None) or ""
        self._usual = usual
        self._gateway = gateway
        self._columns = columns
        self._unit = unit
        #: The names of the request fields, without the prompt, of each set of columns that occurred.
        self._layouts: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._templates: dict[Any, tuple[RequestTemplate | None, ImageRequest]] = {}
        self._seen: set[str] = set()
        self._first = _FirstRows()
        self.duplicates = RowTally()

    def check(self, record: Record | Unreadable) -> CheckedRow | InvalidRow | None:
        """
        Return the row of a record, or the reasons why it cannot be bought; ``None`` for a row that repeats another.

        :raises InvalidRequestError: for a record with an unknown column.
        """
        if isinstance(record, Unreadable):
            return self._invalid(record.number, None, [record.reason])
        number, fields = record
        names = self._layouts.get(tuple(fields))
        if names is None:
            names = self._admit(number, fields)
        problems: list[str] = []
        own = self._own_id(fields, problems)
        columns = self._passed(fields, problems) if self._columns.passed else None
        prompt, is_odd = self._prompt(fields, problems)
        template, request = self._template(names, fields)
        fingerprint = template.fingerprint(prompt) if template and not problems and _is_prompt(prompt) else None
        if template is None or fingerprint is None:
            # The checks of one request say it in full, unless prompt_template has said what is missing.
            seen = replace(request, prompt="-" if prompt is None else prompt)
            problems += [str(problem) for problem in problems_before_upload(seen, self._gateway)]
            first = None if own is None else self._first.add(own, 0, number)
            if first is not None:
                problems.append(self._taken(own, first[0]))
            return self._invalid(number, own, problems)
        row = CheckedRow(number, own, fingerprint, prompt, template, columns, is_odd or is_suspicious(prompt))
        first = self._first.add(row.id, int(fingerprint[-15:], 16), number)
        if first is not None and first[1]:
            self.duplicates.add(number)
            return None
        if first is not None:
            return self._invalid(number, own, [self._taken(own, first[0])])
        return row

    def require_columns(self) -> None:
        """
        Refuse names of columns that no record has.

        :raises InvalidRequestError: naming the parameter. Rows without their ids would be other rows than before.
        """
        seen = self._seen
        if not seen:
            return
        named = {"columns": self._columns.passed, "id_column": (self._columns.id_column,)}
        for parameter, names in named.items():
            for name in names:
                if name not in seen and (parameter, name) != ("id_column", "id"):
                    raise InvalidRequestError(
                        f"{parameter} names {name!r}, a column that no row has{_nearest(name, seen)}. The columns are "
                        f"{', '.join(sorted(seen))}. Nothing was submitted. Correct {parameter}.",
                        field=parameter,
                        value=name,
                        allowed="the name of a column",
                    )

    def _invalid(self, number: int, row_id: str | None, reasons: list[str]) -> InvalidRow:
        return InvalidRow(f"{self._unit} {number}", row_id, tuple(reasons))

    def _taken(self, row_id: str | None, number: int) -> str:
        return (
            f"{self._columns.id_column}={row_id!r}: is also the id of {self._unit} {number}, which requests something "
            "else; must be an id of its own"
        )

    def _admit(self, number: int, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of a record's request fields, after checking that all its columns are known."""
        known = self._columns.known
        unknown = [name for name in fields if name not in known]
        if unknown:
            listed = ", ".join(f"{name!r:.80}{_nearest(name, known)}" for name in unknown)
            raise InvalidRequestError(
                f"{self._unit} {number} has unknown columns: {listed}. Known are {', '.join(known)}. Nothing was "
                "submitted. Name columns that are to go into the ledger in columns=, put further fields of the request "
                "into the column extra_body, as JSON, and leave out the others.",
                field=unknown[0],
                value=fields[unknown[0]],
                allowed=f"one of {', '.join(known)}",
            )
        names = tuple(name for name in REQUEST_PARAMETERS if name in fields and name != "prompt")
        self._seen.update(fields)
        if len(self._layouts) < _MOST_HELD:
            self._layouts[tuple(fields)] = names
        return names

    def _own_id(self, fields: Mapping[str, Any], problems: list[str]) -> str | None:
        value = fields.get(self._columns.id_column)
        try:
            return own_id(value)
        except ValueError:
            problems.append(str(Problem(self._columns.id_column, value, ID_ALLOWED)))
            return None

    def _passed(self, fields: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for name in self._columns.passed:
            value = fields.get(name)
            try:
                columns[name] = json_value(value)
            except (TypeError, ValueError, RecursionError) as error:
                allowed = f"must be a text, a number, a boolean, a date, or a list or mapping of these ({error})"
                problems.append(str(Problem(name, value, allowed)))
        return columns

    def _prompt(self, fields: Mapping[str, Any], problems: list[str]) -> tuple[Any, bool]:
        """Return the prompt, ``None`` where it cannot be made, and whether a value in it looks like a mistake."""
        value = fields.get("prompt")
        if type(value) is not str:
            value = field_value("prompt", value)
        template = self._columns.prompt_template
        if template is None:
            return (self._usual_prompt if value is None else value), False
        prompt, missing, is_odd = template.render(fields)
        problems += missing
        if "prompt" not in template.columns and value:
            problems.append(str(Problem("prompt", value, "must be left out: prompt_template does not use it")))
        return (None if missing else prompt), is_odd

    def _template(
        self, names: tuple[str, ...], fields: Mapping[str, Any]
    ) -> tuple[RequestTemplate | None, ImageRequest]:
        """Return the template of a record, ``None`` where something is wrong with it, and its request."""
        values = [fields[name] for name in names]
        key: Any = None
        if all(map(_is_key, values)):
            key = (names, *values, *map(type, values))
            if held := self._templates.get(key):
                return held
        given = {name: field_value(name, value) for name, value in zip(names, values, strict=True)}
        present = {name: value for name, value in given.items() if value is not None}
        request = build_request({**self._usual, **present, "prompt": "-"})
        found: tuple[RequestTemplate | None, ImageRequest] = (None, request)
        if not problems_before_upload(request, self._gateway):
            spec = find_spec(self._gateway, request.model)
            notices = tuple(notices_of(request, self._gateway))
            found = (RequestTemplate(request, spec.images_per_task if spec else None, notices), request)
        if key is not None:
            if len(self._templates) >= _MOST_HELD:
                self._templates.clear()
            self._templates[key] = found
        return found


class _FirstRows:
    """
    The ids of a dataset, each with the first row that has it.

    An open hash table over arrays: some 30 bytes for each row, a sixth of what a dictionary takes. Ids count as the
    same by 64 bits of their hash: two of a million rows have the same with a probability of 10^-8.
    """

    def __init__(self) -> None:
        self._ids = array("Q")
        self._requests = array("Q")
        self._numbers = array("Q")
        #: Places in these arrays, from 1; 0 is free.
        self._table = array("L", bytes(array("L").itemsize * 1024))

    def add(self, row_id: str, request: int, number: int) -> tuple[int, bool] | None:
        """
        Add a row; return the number of the first row with its id, and whether that requests the same.

        :param request: a number below 2^64 that stands for the request.
        :return: ``None`` for the first row with its id.
        """
        identity = hash(row_id) & 0xFFFF_FFFF_FFFF_FFFF
        table, mask = self._table, len(self._table) - 1
        slot = identity & mask
        while place := table[slot]:
            if self._ids[place - 1] == identity:
                return self._numbers[place - 1], self._requests[place - 1] == request
            slot = (slot + 1) & mask
        self._ids.append(identity)
        self._requests.append(request)
        self._numbers.append(number)
        table[slot] = len(self._ids)
        if len(self._ids) * 2 > len(table):
            self._grow()
        return None

    def _grow(self) -> None:
        table = array("L", bytes(self._table.itemsize * len(self._table) * 2))
        mask = len(table) - 1
        for place, identity in enumerate(self._ids, 1):
            slot = identity & mask
            while table[slot]:
                slot = (slot + 1) & mask
            table[slot] = place
        self._table = table


def _is_key(value: Any) -> bool:
    """Return whether a template can be found again by a value: an image as a data URI is too long to be held."""
    return type(value) in _SCALARS and (type(value) is not str or len(value) <= _LONGEST_KEY)


def _is_prompt(prompt: Any) -> bool:
    """Return whether a prompt is a text that can be submitted."""
    if not isinstance(prompt, str) or not prompt or prompt.isspace():
        return False
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return False
    return True


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.strip().lower(), list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
