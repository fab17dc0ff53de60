"""What came of a dataset, by what the gateway counted and what is in the bucket."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faults.dataset_task import Shop
    from mypy_boto3_s3 import S3Client

__all__ = ["UNKNOWN", "Books"]

#: The states of a call whose sender has written no outcome, or has received none.
UNKNOWN = frozenset({"presumed_lost", "unanswered"})


@dataclass(frozen=True)
class Books:
    """
    All that can be seen from outside.

    :param sold: every task that the gateway has accepted.
    :param objects: of the ledger, by their keys below the dataset's prefix.
    :param pictures: SHA-256 of each picture, by the last part of its key.
    """

    sold: Sequence[Mapping[str, Any]]
    objects: Mapping[str, bytes]
    pictures: Mapping[str, str]

    @classmethod
    def read(cls, shop: Shop, client: S3Client, prefix: str) -> Books:
        """Read everything."""

        def content(key: str) -> bytes:
            return client.get_object(Bucket=shop.bucket, Key=key)["Body"].read()

        pages = client.get_paginator("list_objects_v2").paginate(Bucket=shop.bucket, Prefix=f"{prefix}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        with ThreadPoolExecutor(8) as pool:
            objects = dict(zip((key.removeprefix(f"{prefix}/") for key in keys), pool.map(content, keys), strict=True))
        pictures = {
            key.removeprefix("images/"): hashlib.sha256(held).hexdigest()
            for key, held in objects.items()
            if key.startswith("images/")
        }
        return cls(shop.gateway.tasks(), {key: objects[key] for key in objects if key.startswith("ledger/")}, pictures)

    @cached_property
    def charged(self) -> list[Mapping[str, Any]]:
        """The tasks that cost money."""
        return [task for task in self.sold if task["cost"]]

    @property
    def cost(self) -> float:
        """US dollars by the gateway's account."""
        return sum(task["cost"] for task in self.sold)

    def bought(self) -> Counter[str]:
        """Return how many pictures were bought for each prompt."""
        return Counter(task["prompt"] for task in self.charged for _ in range(_pictures_of(task)))

    def sold_twice(self) -> list[str]:
        """Return the idempotency keys under which more than one task was accepted."""
        keys = Counter(task["idempotency_key"] for task in self.sold)
        return [key for key, times in keys.items() if times > 1]

    def paid_pictures(self) -> Counter[tuple[str, str]]:
        """Return gateway task and index of each picture that was paid for."""
        return Counter((task["id"], str(index)) for task in self.charged for index in range(_pictures_of(task)))

    def stored_pictures(self) -> Counter[tuple[str, str]]:
        """Return gateway task and index of each picture in the bucket."""
        names = (name.partition(".")[0].rsplit("-", 2) for name in self.pictures)
        return Counter((task_id, index) for _, task_id, index in names)

    @cached_property
    def table(self) -> list[dict[str, Any]]:
        """The lines of ``ledger.jsonl.gz``."""
        return _lines(self.objects["ledger/ledger.jsonl.gz"])

    @property
    def is_merged(self) -> bool:
        """Whether the table has each purchase of the log, and as copied what the log ever had as copied."""
        logged = [
            line
            for key, content in self.objects.items()
            if key.startswith("ledger/log/")
            for line in _lines(content)[1:]  # The first line is a header.
        ]
        purchases = {(line["id"], line["first"], line["generation"]) for line in logged}
        in_table = {(line["id"], line["first"], line["generation"]): line["status"] for line in self.table}
        copied = {(line["id"], line["first"], line["generation"]) for line in logged if line["status"] == "copied"}
        return purchases <= in_table.keys() and {in_table[purchase] for purchase in copied} <= {"copied"}

    def lines(self) -> Counter[tuple[str, int]]:
        """Return row and first picture of each line of the table."""
        return Counter((line["id"], line["first"]) for line in self.table)

    def statuses(self) -> Counter[str]:
        """Return how many lines of the table have which status."""
        return Counter(line["status"] for line in self.table)

    def noted_pictures(self) -> dict[str, str]:
        """Return the SHA-256 of each picture by the last part of its key, as the table has it."""
        held = [picture for line in self.table for picture in line["objects"]]
        return {picture["uri"].rpartition("/")[2]: picture["sha256"] for picture in held}

    def unaccounted(self) -> list[str]:
        """Return the gateway tasks that cost money, and that the table has neither as copied nor as unknown."""
        copied = {task_id for line in self.table if line["status"] == "copied" for task_id in line["task_ids"]}
        unknown = {line["idempotency_key"] for line in self.unknown}
        return [it["id"] for it in self.charged if it["id"] not in copied and it["idempotency_key"] not in unknown]

    def summary(self) -> str:
        """Return the figures of a campaign in a line."""
        missing = (self.paid_pictures() - self.stored_pictures()).total()
        return (
            f"{len(self.sold)} tasks sold, {len(self.sold_twice())} keys twice, {len(self.unaccounted())} unaccounted, "
            f"{missing} paid pictures not in S3, {len(self.unknown)} calls of unknown outcome"
        )

    @property
    def unknown(self) -> list[dict[str, Any]]:
        """The lines of calls whose outcome is not known."""
        return [line for line in self.table if line["status"] in UNKNOWN]


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def _pictures_of(task: Mapping[str, Any]) -> int:
    return task["body"].get("n", 1)
