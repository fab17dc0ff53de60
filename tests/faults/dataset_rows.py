"""Datasets to buy: some rows take several paid calls, one is of another model."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Row = dict[str, Any]

__all__ = ["call_count", "lines_of", "pictures_of", "some_rows", "write_rows"]


def some_rows(count: int) -> list[Row]:
    """Return rows, each twentieth of which asks for three pictures, and one for those of another model."""
    rows: list[Row] = [{"id": f"row-{number}", "prompt": f"picture {number}"} for number in range(count)]
    for row in rows[3::20]:
        row["n"] = 3
    rows[11] |= {"model": "gpt-image-2-official", "n": 2}
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pictures_of(rows: Sequence[Row]) -> Counter[str]:
    """Return how many pictures are to be bought for each prompt."""
    return Counter({row["prompt"]: row.get("n", 1) for row in rows})


def lines_of(rows: Sequence[Row]) -> Counter[tuple[str, int]]:
    """
    Return row and first picture of each paid call: gpt-image-2 delivers one picture each, its official channel four.
    """
    return Counter((row["id"], first) for row in rows for first in range(1 if "model" in row else row.get("n", 1)))


def call_count(rows: Sequence[Row]) -> int:
    return lines_of(rows).total()
