"""The cost of many rows, in bytes and in objects: no timing."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_provider_apimart.dataset.input import Input
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dataset.input.conftest import MemoryStore

    Read = Callable[..., Input]


def write_jsonl(path: Path, prompts: Iterator[str]) -> None:
    with path.open("w") as file:
        file.writelines(f"{json.dumps(prompt)}\n" for prompt in prompts)


def write_csv(path: Path, prompts: Iterator[str]) -> None:
    with path.open("w") as file:
        file.write("prompt\n")
        file.writelines(f"{prompt}\n" for prompt in prompts)


def write_parquet(path: Path, prompts: Iterator[str]) -> None:
    parquet.write_table(pa.table({"prompt": list(prompts)}), path, compression="none", use_dictionary=False)


@pytest.mark.parametrize("write", [write_jsonl, write_csv, write_parquet])
def test_memory_is_keys_and_not_texts(tmp_path: Path, read: Read, write: Callable[[Path, Iterator[str]], None]) -> None:
    path = tmp_path / f"prompts.{write.__name__.removeprefix('write_')}"
    write(path, (f"{number} {'x' * 2048}" for number in range(20_000)))
    small = tmp_path / f"small.{path.suffix}"
    write(small, iter(["a cat"]))
    read(small)  # What is imported on the way is not counted.

    tracemalloc.start()
    rows = read(path)
    _, most_in_python = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(rows) == 20_000
    assert path.stat().st_size > 39 * MEBIBYTE
    assert most_in_python < 6 * MEBIBYTE


def test_many_rows_take_few_bytes_in_memory_and_in_the_store(read: Read, store: MemoryStore) -> None:
    colours, things = ("red", "blue", "green", "enamel", "white"), ("teapot", "lamp", "chair", "table", "cup", "vase")

    def peak(count: int) -> tuple[Input, int]:
        tracemalloc.start()
        rows = read(
            {"id": f"sku-{i:06}", "prompt": f"a {colours[i % 5]} {things[i * 7 % 6]} number {i * 7919 % 40_000}"}
            for i in range(count)
        )
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return rows, size

    _, small = peak(1000)
    rows, large = peak(40_000)
    rows.save(store, "me")
    Input.load(store, "me").row(39_999)

    assert large - small < 6 * MEBIBYTE
    (_, keys), (_, member) = store.reads
    assert keys < 640_000
    assert member < 20_000
    prompts = "\n".join(rows.row(place).request.prompt for place in range(500))
    assert member < len(gzip.compress(prompts.encode())) + 500 * 10
