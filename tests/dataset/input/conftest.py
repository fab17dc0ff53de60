"""Fixtures for inputs: datasets, and a store that holds objects in memory."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_provider_apimart.dataset.input import Input, read_dataset
from airflow_provider_apimart.gateway.catalogue import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def read() -> Iterator[Callable[..., Input]]:
    """Read a dataset as the operator does, with its defaults, and close it after the test."""
    with ExitStack() as inputs:

        def read_it(prompts: Any, **options: Any) -> Input:
            defaults = {"defaults": {}, "gateway": Gateway.APIMART, "aws_conn_id": None, "on_invalid": "fail"}
            return inputs.enter_context(closing(read_dataset(prompts, **{**defaults, **options})))

        yield read_it


class Stored(NamedTuple):
    body: bytes


@dataclass
class MemoryStore:
    """
    :param reads: the number of bytes of each read.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    reads: list[tuple[str, int]] = field(default_factory=list)

    def put(self, name: str, content: bytes | IO[bytes]) -> bool:
        self.objects[name] = content if isinstance(content, bytes) else content.read()
        return True

    def get(self, name: str, *, start: int | None = None, end: int | None = None) -> Stored:
        if name not in self.objects:
            raise FileNotFoundError(name)
        body = self.objects[name][start:end]
        self.reads.append((name, len(body)))
        return Stored(body)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()
