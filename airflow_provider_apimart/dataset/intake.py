"""All rows of a dataset, read and checked before the first is paid for. I/O."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.checking import check_rows
from airflow_provider_apimart.dataset.part import parts_of
from airflow_provider_apimart.dataset.reading import read_records
from airflow_provider_apimart.dataset.row import InvalidRow, Row, shard_of
from airflow_provider_apimart.dataset.spool import Spool
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import find_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.gateway.catalogue import Gateway

__all__ = ["Intake", "Shard", "read_dataset"]

#: A task's share of the rows: its index, from 0, and the number of shares.
Shard = tuple[int, int]

#: Rows whose reasons are kept.
_LISTED: Final = 50


@dataclass
class Intake:
    """
    A dataset as it was read.

    :param spool: the paid calls that it takes, of this shard only.
    :param invalid: how many rows cannot be bought, of all shards.
    :param listed: the first of them.
    :param notices: what the vendors are known to make of some fields, with the number of rows concerned.
    """

    spool: Spool = field(default_factory=Spool)
    invalid: int = 0
    listed: list[InvalidRow] = field(default_factory=list)
    notices: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        more = f"; and {self.invalid - len(self.listed)} more" if self.invalid > len(self.listed) else ""
        return f"{self.invalid} row(s) cannot be bought: {'; '.join(map(str, self.listed))}{more}"

    def take(self, row: Row | InvalidRow, gateway: Gateway, shard: Shard | None) -> None:
        """Take one more row, if it belongs to this shard."""
        if isinstance(row, InvalidRow):
            self.invalid += 1
            self.listed += [row] if self.invalid <= _LISTED else []
        elif shard is None or shard_of(row, shard[1]) == shard[0]:
            spec = find_spec(gateway, row.request.model)
            for part in parts_of(row, spec.images_per_task if spec else None):
                self.spool.add(part)

    def close(self) -> None:
        """Remove the temporary file."""
        self.spool.close()


def read_dataset(
    prompts: Any,
    *,
    defaults: Mapping[str, Any],
    gateway: Gateway,
    id_column: str,
    shard: Shard | None,
    aws_conn_id: str | None,
    skip_invalid: bool,
) -> Intake:
    """
    Read and check all rows.

    :param prompts: see :func:`~airflow_provider_apimart.dataset.reading.read_records`.
    :param defaults: values of request fields that a row leaves out.
    :param shard: which of the rows are kept; ``None`` for all.
    :raises InvalidRequestError: for what is no dataset, for an unknown column, and unless ``skip_invalid`` for rows
        that cannot be bought, naming the first of them. Nothing was sent.
    :raises OSError: for a file that could not be read; the next try may be able to.
    """
    with ExitStack() as on_error:
        intake = Intake()
        on_error.callback(intake.close)
        records = read_records(prompts, aws_conn_id=aws_conn_id)
        for row in check_rows(records, defaults=defaults, gateway=gateway, id_field=id_column, notices=intake.notices):
            intake.take(row, gateway, shard)
        if intake.invalid and not skip_invalid:
            raise InvalidRequestError(
                f"{intake}. Nothing was sent. Mend them, or leave them out with on_invalid='skip'.", field="prompts"
            )
        on_error.pop_all()
    return intake
