"""The reading of a whole dataset: all rows are checked and stored before the first one is paid for."""

from __future__ import annotations

from array import array
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_apimart.dataset.input.checking import Checker
from airflow_provider_apimart.dataset.input.source import open_source
from airflow_provider_apimart.dataset.input.stored import InputWriter, InvalidRow, row_line
from airflow_provider_apimart.dataset.input.values import PromptTemplate
from airflow_provider_apimart.dataset.row import call_key, shard_of
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.dataset.input.checking import CheckedRow
    from airflow_provider_apimart.dataset.input.source import Source
    from airflow_provider_apimart.dataset.input.stored import Input
    from airflow_provider_apimart.gateway.catalogue import Gateway

__all__ = ["Shard", "read_dataset"]

#: A task's share of the rows: its index, from 0, and the number of shares.
Shard = tuple[int, int]

#: Invalid rows whose reasons are kept.
_LISTED: Final = 50
#: Numbers of rows in a notice.
_MOST_NUMBERS: Final = 20


def read_dataset(
    prompts: Any,
    *,
    defaults: Mapping[str, Any],
    gateway: Gateway,
    id_column: str = "id",
    columns: Sequence[str] = (),
    prompt_template: str | None = None,
    shard: Shard | None = None,
    limit: int | None = None,
    aws_conn_id: str | None,
    on_invalid: Literal["fail", "skip"],
    on_suspicious: Literal["warn", "fail", "skip"] = "warn",
) -> Input:
    """
    Read and check all rows of a dataset, once.

    :param prompts: see :func:`~airflow_provider_apimart.dataset.input.source.open_source`.
    :param defaults: values of request fields that a row leaves out.
    :param gateway: the one that will be called.

    The other parameters are those of :class:`~airflow_provider_apimart.operators.dataset.ApimartImageDatasetOperator`.

    :raises InvalidRequestError: for a dataset that cannot be read, an unknown column, invalid rows (naming the first
        50) unless they are skipped, and a dataset whose rows are all invalid. Nothing was submitted.
    :raises OSError: for a file that cannot be read now; a retry may be able to.
    """
    template = None if prompt_template is None else PromptTemplate(prompt_template)
    of_template = () if template is None else template.columns
    known = tuple(dict.fromkeys((*REQUEST_PARAMETERS, id_column, *columns, *of_template)))
    source = open_source(prompts, aws_conn_id=aws_conn_id, known=known)
    checker = Checker(defaults, gateway, id_column, tuple(columns), template, known, source.unit)
    with ExitStack() as on_error:
        writer = InputWriter(on_error.enter_context(TemporaryFile()))
        selection = _Selection(source, writer, shard, limit, on_invalid, on_suspicious)
        with closing(source.records) as records:
            for record in records:
                selection.add(checker.check(record))
        checker.require_columns()
        selection.require_valid()
        rows = selection.finish()
        on_error.pop_all()
    return rows


@dataclass
class _Selection:
    """A filter that keeps the rows of one shard, up to the limit, and counts all others."""

    source: Source
    writer: InputWriter
    shard: Shard | None
    limit: int | None
    on_invalid: str
    on_suspicious: str
    _valid: int = 0
    _left_out: int = 0
    _invalid: int = 0
    _skipped: int = 0
    _listed: list[InvalidRow] = field(default_factory=list)
    _duplicates: array[int] = field(default_factory=lambda: array("Q"))
    _suspicious: array[int] = field(default_factory=lambda: array("Q"))
    _notices: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def add(self, row: CheckedRow | InvalidRow) -> None:
        """Add a row, which is kept if it may be bought, belongs to this shard, and is within the limit."""
        if isinstance(row, InvalidRow):
            self._invalid += 1
            if self._invalid <= _LISTED:
                self._listed.append(row)
            return
        if row.is_duplicate:
            self._duplicates.append(row.number)
            return
        if row.is_suspicious:
            self._suspicious.append(row.number)
            if self.on_suspicious == "skip":
                self._skipped += 1
                return
        self._valid += 1
        if row.template.notices:
            self._notices[row.template.notices] += 1
        if self.shard is not None and shard_of(row, self.shard[1]) != self.shard[0]:
            return
        if self.limit is not None and len(self.writer) >= self.limit:
            self._left_out += 1
            return
        template = row.template
        line = row_line(row.number, row.own_id, row.prompt, template.fields, row.columns)
        self.writer.add(call_key(row.fingerprint, row.id, 0), line, template.pictures)

    def require_valid(self) -> None:
        """Raise unless the rows may be bought: rows can be skipped only if there are others."""
        if self._invalid and (self.on_invalid == "fail" or not self._valid):
            listed = "; ".join(map(str, self._listed))
            more = f"; and {self._invalid - len(self._listed)} more" if self._invalid > len(self._listed) else ""
            of, hint = ("some", ", or skip them with on_invalid='skip'") if self._valid else ("all", "")
            raise InvalidRequestError(
                f"Cannot buy {of} rows of {self.source.name}: {self._invalid} of {self._invalid + self._valid} cannot "
                f"be bought: {listed}{more}. Nothing was submitted or charged. Correct them{hint}.",
                field="prompts",
            )
        if self._suspicious and (self.on_suspicious == "fail" or not self._valid):
            raise InvalidRequestError(
                f"{self._suspicious_rows()}. Nothing was submitted or charged. Correct them, or set "
                "on_suspicious='warn' to buy them.",
                field="prompts",
            )

    def finish(self) -> Input:
        """Return the input."""
        notices = []
        if self._duplicates:
            notices.append(
                f"{len(self._duplicates)} row(s) of {self.source.name} request the same as an earlier row, with the "
                f"same id or without one, and are bought once: {self._places(self._duplicates)}. To buy a picture for "
                "each, give each an id"
            )
        if self._suspicious:
            done = "skipped" if self.on_suspicious == "skip" else "bought nevertheless"
            notices.append(f"{self._suspicious_rows()}. They are {done}; see on_suspicious")
        by_text: Counter[str] = Counter()
        for texts, count in self._notices.items():
            by_text.update(dict.fromkeys(texts, count))
        notices += [f"{count} row(s): {text}" for text, count in by_text.items()]
        return self.writer.finish(self._left_out, self._invalid + self._skipped, self._listed, notices)

    def _suspicious_rows(self) -> str:
        return (
            f"{len(self._suspicious)} row(s) of {self.source.name} have a prompt that looks like a missing value, an "
            f"error or a placeholder: {self._places(self._suspicious)}"
        )

    def _places(self, numbers: Sequence[int]) -> str:
        """Return the places of rows in words, such as ``lines 2, 5 and 3 more``."""
        more = f" and {len(numbers) - _MOST_NUMBERS} more" if len(numbers) > _MOST_NUMBERS else ""
        plural = "s" if len(numbers) > 1 else ""
        return f"{self.source.unit}{plural} {', '.join(map(str, numbers[:_MOST_NUMBERS]))}{more}"
