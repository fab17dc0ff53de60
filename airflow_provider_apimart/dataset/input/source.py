"""The source of a dataset: a list, or a file wherever it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_apimart.dataset.input.rows import Record, Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Source", "open_source"]


class Source(NamedTuple):
    """
    A dataset that can be read once.

    :param name: of the dataset in messages.
    :param unit: what the number of a record counts, ``line`` or ``row``.
    """

    name: str
    unit: str
    records: Iterator[Record | Unreadable]


def open_source(prompts: Any, *, aws_conn_id: str | None, known: Collection[str]) -> Source:
    """Return the records of a list."""
    return Source("prompts", "row", (Record(n, {"prompt": i} if isinstance(i, str) else i) for n, i in enumerate(prompts, 1)))
