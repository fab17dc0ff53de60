"""
The checks of records: which rows may be bought, and why the others may not. Does no I/O.

Rows that differ only in their prompts are checked once: they share a :class:`RequestTemplate`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.dataset.input.stored import InvalidRow
from airflow_provider_apimart.dataset.input.values import (
    ID_ALLOWED,
    NOT_JSON,
    field_value,
    is_suspicious,
    json_value,
    own_id,
)
from airflow_provider_apimart.dataset.references.addresses import problems_before_upload
from airflow_provider_apimart.dataset.row import FINGERPRINT_DIGITS, ID_DIGITS
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import find_spec
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, ImageRequest, build_request
from airflow_provider_apimart.gateway.validation import Problem
from airflow_provider_apimart.gateway.validation import notices as notices_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from airflow_provider_apimart.dataset.input.formats import Record
    from airflow_provider_apimart.dataset.input.stored import Pictures
    from airflow_provider_apimart.dataset.input.values import PromptTemplate
    from airflow_provider_apimart.gateway.catalogue import Gateway

__all__ = ["CheckedRow", "Checker", "RequestTemplate"]

#: Request templates that are kept in memory, unless they have a long value, such as an image as a data URI.
_TEMPLATES: Final = 1000
_SHORT: Final = 500
_SCALARS: Final = frozenset({int, float, bool, type(None)})
_REQUEST_NAMES: Final = frozenset(REQUEST_PARAMETERS) - {"prompt"}
_ALLOWED: Final = "must be a text, a number, a boolean, a date, or a list or mapping of these"
#: The prompt of a request template, which no dataset has.
_ANY_PROMPT: Final = "\0prompt"
#: Hexadecimal digits of a fingerprint that are compared, and their bits.
_DIGITS: Final = 15
_BITS: Final = 4 * _DIGITS
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class RequestTemplate(NamedTuple):
    """
    A valid request without its prompt. Rows that differ in nothing else share it.

    :param fields: JSON of the other fields.
    :param notices: warnings about fields that the vendor ignores, changes or charges more for.
    :param before: the canonical JSON of the request before the prompt, and ``after`` the prompt.
    """

    fields: str
    pictures: Pictures
    notices: tuple[str, ...]
    before: str
    after: str

    def fingerprint(self, prompt: str) -> str | None:
        """
        Return the :func:`~airflow_provider_apimart.dataset.row.row_fingerprint` of the request with this prompt.

        It is ``None`` for a prompt with half of a surrogate pair, which no request can carry.
        """
        try:
            canonical = f"{self.before}{_encode(prompt)}{self.after}".encode()
        except UnicodeEncodeError:
            return None
        return hashlib.sha256(canonical).hexdigest()[:FINGERPRINT_DIGITS]


class CheckedRow(NamedTuple):
    """
    A row that may be bought.

    :param own_id: the dataset's own id, or ``None`` if it gives none.
    :param columns: further columns, as JSON values.
    :param is_suspicious: whether its prompt looks like a mistake.
    :param is_duplicate: whether an earlier row has the same id and requests the same.
    """

    number: int
    own_id: str | None
    id: str
    fingerprint: str
    prompt: str
    template: RequestTemplate
    columns: Mapping[str, Any]
    is_suspicious: bool
    is_duplicate: bool


@dataclass
class Checker:
    """
    Checks the records of a dataset, one after the other. Does no I/O.

    :param defaults: values of request fields that a record leaves out.
    :param columns: further columns that are passed on.
    :param known: all columns that a record may have.
    """

    defaults: Mapping[str, Any]
    gateway: Gateway
    id_column: str
    columns: tuple[str, ...]
    prompt_template: PromptTemplate | None
    known: tuple[str, ...]
    unit: str
    #: The columns that occurred.
    _seen: set[str] = field(default_factory=set)
    #: By the hash of each id, its first row: the number above the lowest bits, which are a digest of the request. It is
    #: one integer to save memory, because a dataset may have a million rows.
    _first_rows: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._usual = {name: field_value(name, value) for name, value in self.defaults.items()}
        self._known = frozenset(self.known)
        self._cached_template = functools.lru_cache(_TEMPLATES, typed=True)(self._new_template)

    def check(self, record: Record) -> CheckedRow | InvalidRow:
        """
        Return the row of a record, or the reasons why it cannot be bought.

        :raises InvalidRequestError: for a record with an unknown column.
        """
        number, fields, problem = record
        if problem:
            return self._invalid(number, None, [problem])
        self._require_known(number, fields)
        problems: list[str] = []
        row_id = self._converted(self.id_column, fields, own_id, ID_ALLOWED, problems)
        columns = {name: self._converted(name, fields, json_value, _ALLOWED, problems) for name in self.columns}
        prompt = self._prompt(fields, problems)
        names = tuple([name for name in fields if name in _REQUEST_NAMES])
        values = [fields[name] for name in names]
        find = self._cached_template if all(map(_is_short, values)) else self._new_template
        template, request = find(names, *values)
        fingerprint = None
        if template and not problems and isinstance(prompt, str) and prompt and not prompt.isspace():
            fingerprint = template.fingerprint(prompt)
        if template is None or fingerprint is None:
            # "-" where prompt_template has already reported what is missing.
            full = replace(request, prompt="-" if prompt is None else prompt)
            problems += map(str, problems_before_upload(full, self.gateway))
            if row_id is not None and (first := self._first_row(row_id, 0, number)):
                problems.append(self._taken(row_id, first[0]))
            return self._invalid(number, row_id, problems)
        name = fingerprint[:ID_DIGITS] if row_id is None else row_id
        first = self._first_row(name, int(fingerprint[-_DIGITS:], 16), number)
        if first and not first[1]:
            return self._invalid(number, row_id, [self._taken(name, first[0])])
        is_odd = is_suspicious(prompt)
        if self.prompt_template is not None:
            is_odd = is_odd or any(is_suspicious(str(fields[column])) for column in self.prompt_template.columns)
        return CheckedRow(number, row_id, name, fingerprint, prompt, template, columns, is_odd, first is not None)

    def require_columns(self) -> None:
        """
        Refuse names of columns that no record has: rows without their ids would be bought again.

        :raises InvalidRequestError: naming the parameter.
        """
        named = [("columns", name) for name in self.columns]
        if self.id_column != "id":
            named.append(("id_column", self.id_column))
        for parameter, name in named:
            if self._seen and name not in self._seen:
                raise InvalidRequestError(
                    f"{parameter} names {name!r}, a column that no row has{_nearest(name, self._seen)}. The columns "
                    f"are {', '.join(sorted(self._seen))}. Nothing was submitted. Correct {parameter}.",
                    field=parameter,
                    value=name,
                    allowed="the name of a column",
                )

    def _require_known(self, number: int, fields: Mapping[str, Any]) -> None:
        self._seen.update(fields)
        if fields.keys() <= self._known:
            return
        unknown = [name for name in fields if name not in self._known]
        listed = ", ".join(f"{name!r:.80}{_nearest(name, self.known)}" for name in unknown)
        raise InvalidRequestError(
            f"{self.unit} {number} has unknown columns: {listed}. Known are {', '.join(self.known)}. Nothing was "
            "submitted. Name columns that are to go into the ledger in columns=, put further fields of the request "
            "into the column extra_body, as JSON, and leave out the others.",
            field=unknown[0],
            value=fields[unknown[0]],
            allowed=f"one of {', '.join(self.known)}",
        )

    def _converted(
        self, name: str, fields: Mapping[str, Any], convert: Callable[[Any], Any], allowed: str, problems: list[str]
    ) -> Any:
        value = fields.get(name)
        try:
            return convert(value)
        except NOT_JSON:
            problems.append(str(Problem(name, value, allowed)))
            return None

    def _prompt(self, fields: Mapping[str, Any], problems: list[str]) -> Any:
        """Return the prompt, or ``None`` if a column for it is missing."""
        value = fields.get("prompt")
        if type(value) is not str:
            value = field_value("prompt", value)
            value = "" if value is None else value
        template = self.prompt_template
        if template is None:
            return value
        if value and "prompt" not in template.columns:
            problems.append(str(Problem("prompt", value, "must be left out: prompt_template does not use it")))
        return template.render(fields, problems)

    def _new_template(self, names: tuple[str, ...], *values: Any) -> tuple[RequestTemplate | None, ImageRequest]:
        """Return the template of a record, ``None`` if its request is invalid, and the request."""
        given = {name: field_value(name, value) for name, value in zip(names, values, strict=True)}
        present = {name: value for name, value in given.items() if value is not None}
        request = build_request({**self._usual, **present, "prompt": _ANY_PROMPT})
        if problems_before_upload(request, self.gateway):
            return None, request
        spec = find_spec(self.gateway, request.model)
        fields = request.to_json()
        del fields["prompt"]
        before, _, after = _encode(request.body()).partition(f'"prompt":{_encode(_ANY_PROMPT)}')
        pictures = request.n, spec.images_per_task if spec else None
        notices = tuple(notices_of(request, self.gateway))
        return RequestTemplate(_encode(fields), pictures, notices, f'{before}"prompt":', after), request

    def _first_row(self, row_id: str, request: int, number: int) -> tuple[int, bool] | None:
        """
        Return the number of an earlier row with the same id, and whether it requests the same; ``None`` if it is new.

        :param request: a digest of the request; 0 for an invalid row.
        """
        row = number << _BITS | request
        first = self._first_rows.setdefault(hash(row_id), row)
        return None if first is row else (first >> _BITS, first & ((1 << _BITS) - 1) == request)

    def _invalid(self, number: int, row_id: str | None, reasons: Sequence[str]) -> InvalidRow:
        return InvalidRow(f"{self.unit} {number}", row_id, tuple(reasons))

    def _taken(self, row_id: str, number: int) -> str:
        return (
            f"{self.id_column}={row_id!r}: is also the id of {self.unit} {number}, which requests something else; must "
            "be an id of its own"
        )


def _is_short(value: Any) -> bool:
    return type(value) in _SCALARS or (type(value) is str and len(value) <= _SHORT)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.strip().lower(), list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
