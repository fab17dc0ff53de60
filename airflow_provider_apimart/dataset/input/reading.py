"""A whole dataset, read and checked before the first row is paid for."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_apimart.dataset.input.checking import Checker, Columns, RowTally
from airflow_provider_apimart.dataset.input.rows import InvalidRow
from airflow_provider_apimart.dataset.input.source import open_source
from airflow_provider_apimart.dataset.input.stored import InputFacts, InputWriter
from airflow_provider_apimart.dataset.input.values import PromptTemplate
from airflow_provider_apimart.dataset.row import shard_of
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.dataset.input.rows import CheckedRow
    from airflow_provider_apimart.dataset.input.source import Source
    from airflow_provider_apimart.dataset.input.stored import Input
    from airflow_provider_apimart.gateway.catalogue import Gateway

__all__ = ["Shard", "read_dataset"]

#: A task's share of the rows: its index, from 0, and the number of shares.
Shard = tuple[int, int]

#: Invalid rows whose reasons are kept.
_LISTED: Final = 50


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
    Read and check all rows of a dataset. It is read once: a generator, or a file that changes, gives no second answer.

    :param prompts: see :func:`~airflow_provider_apimart.dataset.input.source.open_source`.
    :param defaults: values of request fields that a row leaves out.
    :param gateway: the one that will be called.
    :param id_column: names each row's picture. A row without an id is named after its request.
    :param columns: further columns that go into ledger and manifest.
    :param prompt_template: makes the prompts out of columns, see
        :class:`~airflow_provider_apimart.dataset.input.values.PromptTemplate`.
    :param shard: which of the rows are kept; ``None`` for all.
    :param limit: keep the first so many rows of this shard; ``None`` for all.
    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    :param on_invalid: ``"fail"`` on rows that cannot be bought, or ``"skip"`` them.
    :param on_suspicious: for prompts such as ``nan`` or ``#REF!``: ``"warn"``, ``"fail"``, or ``"skip"`` the rows.
    :raises InvalidRequestError: for a dataset that cannot be read, an unknown column, rows that cannot be bought
        (naming the first 50) unless they are skipped, and a dataset without any row that can. Nothing was submitted.
    :raises OSError: for a file that could not be read; the next try may be able to.
    """
    template = None if prompt_template is None else PromptTemplate(prompt_template)
    known = Columns(id_column, tuple(dict.fromkeys(columns)), template)
    with ExitStack() as on_error:
        source = open_source(prompts, aws_conn_id=aws_conn_id, known=known.known)
        checker = Checker(defaults, gateway, known, source.unit)
        writer = InputWriter()
        on_error.callback(writer.close)
        selection = _Selection(source, writer, shard, limit, skips_suspicious=on_suspicious == "skip")
        with closing(source.records) as records:
            for record in records:
                if (row := checker.check(record)) is not None:
                    selection.take(row)
        checker.require_columns()
        selection.require(is_skipping=on_invalid == "skip", fails_on_suspicious=on_suspicious == "fail")
        result = writer.finish(selection.facts(checker.duplicates))
        on_error.pop_all()
    return result


class _Selection:
    """The rows of one shard, and the numbers of all others."""

    def __init__(
        self, source: Source, writer: InputWriter, shard: Shard | None, limit: int | None, *, skips_suspicious: bool
    ) -> None:
        self._source = source
        self._writer = writer
        self._shard = shard
        self._limit = limit
        self._skips_suspicious = skips_suspicious
        self._total = 0
        self._left_out = 0
        self._invalid = 0
        self._listed: list[InvalidRow] = []
        self._suspicious = RowTally()
        self._notices: Counter[tuple[str, ...]] = Counter()

    def take(self, row: CheckedRow | InvalidRow) -> None:
        """Take one more row, if it belongs to this shard."""
        if isinstance(row, InvalidRow):
            self._invalid += 1
            if self._invalid <= _LISTED:
                self._listed.append(row)
            return
        if row.is_suspicious:
            self._suspicious.add(row.number)
            if self._skips_suspicious:
                return
        self._total += 1
        if row.template.notices:
            self._notices[row.template.notices] += 1
        if self._shard is not None and shard_of(row, self._shard[1]) != self._shard[0]:
            return
        if self._limit is not None and len(self._writer) >= self._limit:
            self._left_out += 1
        else:
            self._writer.add(row)

    def require(self, *, is_skipping: bool, fails_on_suspicious: bool) -> None:
        """
        Raise unless the rows may be bought.

        :param is_skipping: whether invalid rows may be skipped, as long as there are others.
        """
        if self._invalid and (not is_skipping or not self._total):
            listed = "; ".join(map(str, self._listed))
            more = f"; and {self._invalid - len(self._listed)} more" if self._invalid > len(self._listed) else ""
            of = "all" if not self._total else "some"
            hint = "" if not self._total else ", or skip them with on_invalid='skip'"
            raise InvalidRequestError(
                f"Cannot buy {of} rows of {self._source.name}: {self._invalid} of "
                f"{self._invalid + self._total} cannot be bought: {listed}{more}. Nothing was submitted or charged. "
                f"Correct them{hint}.",
                field="prompts",
            )
        if self._suspicious.count and (fails_on_suspicious or not self._total):
            raise InvalidRequestError(
                f"{self._suspicious_rows()}. Nothing was submitted or charged. Correct them, or set "
                "on_suspicious='warn' to buy them.",
                field="prompts",
            )

    def facts(self, duplicates: RowTally) -> InputFacts:
        """Return the facts about the dataset."""
        notices = []
        if duplicates.count:
            notices.append(
                f"{duplicates.count} row(s) of {self._source.name} request the same as an earlier row, with the same "
                f"id or without one, and are bought once: {duplicates.places(self._source.unit)}. To buy a picture for "
                "each, give each an id"
            )
        if self._suspicious.count:
            done = "skipped" if self._skips_suspicious else "bought all the same"
            notices.append(f"{self._suspicious_rows()}. They are {done}; see on_suspicious")
        by_text: Counter[str] = Counter()
        for texts, count in self._notices.items():
            by_text.update(dict.fromkeys(texts, count))
        notices += [f"{count} row(s): {text}" for text, count in by_text.items()]
        return InputFacts(
            total=self._total,
            left_out=self._left_out,
            invalid=self._invalid,
            suspicious=self._suspicious.count,
            listed=tuple(self._listed),
            notices=tuple(notices),
        )

    def _suspicious_rows(self) -> str:
        places = self._suspicious.places(self._source.unit)
        return (
            f"{self._suspicious.count} row(s) of {self._source.name} have a prompt that looks like a missing value, an "
            f"error or a placeholder: {places}"
        )
